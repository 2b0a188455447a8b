//! What goes wrong with a GPU while it scores.

use std::time::Duration;

use crate::Gpu;
use edge_testing::make_old;

/// A GPU that fails at work is left for the CPU, which scores what the GPU did not, and everyone can see it.
#[track_caller]
fn is_left_for_the_cpu(fault: &str, because: &str) {
    let gpu = Gpu::new();
    let daemon = gpu.daemon(&[]);
    gpu.add(0..3);
    gpu.expect_scored(3);
    assert_eq!(gpu.recorded(), "cuda in f32 (CUDA is available)");

    gpu.set(fault);
    gpu.add(3..9);
    gpu.expect_scored(9);
    let recorded = gpu.recorded();
    assert!(recorded.starts_with("cpu in f32 (fallback: cuda failed twice while it worked: "), "{recorded}");
    assert!(recorded.contains(because), "{recorded}");
    let status = gpu.place.scorer("status", &["--format", "json"]).expect(0).json();
    for model in [&status["model"], &status["daemon"]["model"]] {
        assert_eq!(model["device"], "cpu");
        assert!(model["device_reason"].as_str().unwrap().contains(because), "{status}");
    }
    // A GPU that works again is not trusted before the next start.
    gpu.set("works");
    gpu.add(9..12);
    gpu.expect_scored(12);
    assert!(gpu.recorded().starts_with("cpu"));
    let log = daemon.stop();
    assert_eq!(log.matches("trying once more: ").count(), 1, "{log}");
    assert_eq!(log.matches("from now on the CPU scores, more slowly: ").count(), 1, "{log}");

    let daemon = gpu.daemon(&[]);
    assert_eq!(gpu.recorded(), "cuda in f32 (CUDA is available)");
    gpu.add(12..14);
    gpu.expect_scored(14);
    daemon.stop();
}

#[test]
fn out_of_memory() {
    is_left_for_the_cpu("memory", "CUDA_ERROR_OUT_OF_MEMORY");
}

#[test]
fn a_kernel_that_fails() {
    is_left_for_the_cpu("kernel", "CUDA_ERROR_LAUNCH_FAILED");
}

#[test]
fn a_device_that_has_gone() {
    is_left_for_the_cpu("gone", "failed on cuda");
}

#[test]
fn answers_that_are_not_numbers() {
    is_left_for_the_cpu("nan", "cuda answers wrongly");
}

#[test]
fn answers_that_are_wrong() {
    is_left_for_the_cpu("wrong", "cuda answers wrongly: what image_encoder.onnx says of a known input is off by");
}

#[test]
fn a_driver_that_does_not_answer() {
    let gpu = Gpu::new();
    let daemon = gpu.daemon(&[]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("stuck");
    gpu.add(2..5);
    std::thread::sleep(Duration::from_secs(25));
    gpu.expect_scored(5);
    assert!(gpu.recorded().contains("the driver has not answered for 30 s"), "{}", gpu.recorded());
    // Nobody waits for the thread that does.
    daemon.stop();
}

#[test]
fn a_failure_that_does_not_come_again_changes_nothing() {
    let gpu = Gpu::new();
    let daemon = gpu.daemon(&["--precision", "f16"]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("kernel-once");
    gpu.add(2..4);
    gpu.expect_scored(4);
    assert_eq!(gpu.recorded(), "cuda in f16 (CUDA is available)");
    let log = daemon.stop();
    assert_eq!(log.matches("trying once more: ").count(), 1, "{log}");
    assert!(!log.contains("from now on"), "{log}");
}

#[test]
fn where_cuda_was_asked_for_the_daemon_ends_and_nothing_is_lost() {
    let gpu = Gpu::new();
    let daemon = gpu.daemon(&["--device", "cuda"]);
    gpu.add(0..2);
    gpu.expect_scored(2);
    gpu.set("kernel");
    gpu.add(2..6);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cuda has failed and nothing may take its place"), "{log}");
    gpu.expect_scored(2);

    gpu.set("works");
    let daemon = gpu.daemon(&["--device", "cuda"]);
    gpu.expect_scored(6);
    daemon.stop();
}

#[test]
fn a_scan_that_has_no_gpu_where_it_was_asked_for_is_done_later() {
    let gpu = Gpu::new();
    gpu.add(0..20);
    (0..20).for_each(|seed| make_old(&gpu.place.photo(format!("{seed}.jpg"))));
    let photos = gpu.place.photos();
    let db = gpu.place.db();
    let arguments = |device| ["scan", "--device", device, "--db", db.to_str().unwrap(), photos.to_str().unwrap()];
    gpu.set("gone");
    gpu.run(&arguments("cuda"))
        .expect(1)
        .complains("image_encoder.onnx cannot be prepared for cuda: a library below gave up: ");
    assert!(!gpu.place.db().exists());
    gpu.set("works");
    gpu.run(&arguments("cuda")).expect(0);
    gpu.expect_scored(20);
    assert_eq!(gpu.recorded(), "cuda in f32 (asked for)");
}
