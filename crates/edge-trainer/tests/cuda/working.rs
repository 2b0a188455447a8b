//! Failures of a GPU while it scores.

use crate::Gpu;
use edge_testing::make_old;

/// Fails unless the CPU takes over from a GPU with this fault, scores the remaining images, and log, `status` and database give this
/// reason.
#[track_caller]
fn the_cpu_takes_over(fault: &str, because: &str) {
    let Some(gpu) = Gpu::new() else { return };
    let daemon = gpu.daemon(&[]);
    gpu.add(0..3);
    gpu.expect_scored(3);
    assert_eq!(gpu.recorded(), "cuda in f32 (CUDA is available)");

    gpu.set(fault);
    gpu.add(3..9);
    gpu.expect_scored(9);
    let recorded = gpu.recorded();
    assert!(recorded.starts_with("cpu in f32 (fallback: cuda failed twice in use: "), "{recorded}");
    assert!(recorded.contains(because), "{recorded}");
    let status = gpu.place.scorer("status", &["--format", "json"]).expect(0).json();
    for model in [&status["model"], &status["daemon"]["model"]] {
        assert_eq!(model["device"], "cpu");
        assert!(model["device_reason"].as_str().unwrap().contains(because), "{status}");
    }
    // A GPU that works again is used only after the next start.
    gpu.set("works");
    gpu.add(9..12);
    gpu.expect_scored(12);
    assert!(gpu.recorded().starts_with("cpu"));
    let log = daemon.stop();
    assert_eq!(log.matches("a run on cuda failed and is tried once more: ").count(), 1, "{log}");
    assert_eq!(log.matches("scoring is slower from now on, because it runs on the CPU (").count(), 1, "{log}");

    let daemon = gpu.daemon(&[]);
    assert_eq!(gpu.recorded(), "cuda in f32 (CUDA is available)");
    gpu.add(12..14);
    gpu.expect_scored(14);
    daemon.stop();
}

#[test]
fn out_of_memory() {
    the_cpu_takes_over("memory", "CUDA_ERROR_OUT_OF_MEMORY");
}

#[test]
fn a_kernel_that_fails() {
    the_cpu_takes_over("kernel", "CUDA_ERROR_LAUNCH_FAILED");
}

#[test]
fn a_device_that_has_gone() {
    the_cpu_takes_over("gone", "failed on cuda");
}

#[test]
fn results_that_are_not_finite() {
    the_cpu_takes_over("nan", "cuda returned a wrong result");
}

#[test]
fn wrong_results() {
    the_cpu_takes_over(
        "wrong",
        "cuda returned a wrong result: the output of image_encoder.onnx for a golden input differs from the known \
         answer by",
    );
}

#[test]
fn a_driver_that_does_not_answer() {
    let Some(gpu) = Gpu::new() else { return };
    let config = gpu.place.config("[limits]\ngpu_timeout_s = 5\n");
    let daemon = gpu.daemon(&["--config", config.to_str().unwrap()]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("stuck");
    gpu.add(2..5);
    gpu.expect_scored(5);
    assert!(gpu.recorded().contains("the driver has not answered for 5 s"), "{}", gpu.recorded());
    // The end of the daemon does not wait for the stuck thread.
    daemon.stop();
}

#[test]
fn a_failure_that_does_not_recur_changes_nothing() {
    let Some(gpu) = Gpu::new() else { return };
    let daemon = gpu.daemon(&["--precision", "f16"]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("kernel-once");
    gpu.add(2..4);
    gpu.expect_scored(4);
    assert_eq!(gpu.recorded(), "cuda in f16 (CUDA is available)");
    let log = daemon.stop();
    assert_eq!(log.matches("a run on cuda failed and is tried once more: ").count(), 1, "{log}");
    assert!(!log.contains("from now on"), "{log}");
}

#[test]
fn with_device_cuda_the_daemon_ends_and_no_image_is_lost() {
    let Some(gpu) = Gpu::new() else { return };
    let daemon = gpu.daemon(&["--device", "cuda"]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("kernel");
    gpu.add(2..6);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cuda failed and no other device can take over"), "{log}");
    gpu.expect_scored(2);

    gpu.set("works");
    let daemon = gpu.daemon(&["--device", "cuda"]);
    gpu.expect_scored(6);
    daemon.stop();
}

#[test]
fn a_scan_with_device_cuda_fails_without_a_gpu_and_works_later() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.add(0..20);
    (0..20).for_each(|seed| make_old(&gpu.place.photo(format!("{seed}.jpg"))));
    let photos = gpu.place.photos();
    let db = gpu.place.db();
    let arguments = |device| ["scan", "--device", device, "--db", db.to_str().unwrap(), photos.to_str().unwrap()];
    gpu.set("gone");
    gpu.run(&arguments("cuda"))
        .expect(1)
        .stderr_contains("image_encoder.onnx cannot be prepared for cuda: a CUDA library panicked: ");
    assert!(!gpu.place.db().exists());
    gpu.set("works");
    gpu.run(&arguments("cuda")).expect(0);
    gpu.expect_scored(20);
    assert_eq!(gpu.recorded(), "cuda in f32 (asked for)");
}
