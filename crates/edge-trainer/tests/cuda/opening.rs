//! Failures of a GPU before anything is scored on it.

use crate::{Gpu, remove};

#[test]
fn a_gpu_that_works_is_used_in_both_precisions() {
    let Some(gpu) = Gpu::new() else { return };
    assert_eq!(gpu.device("auto"), "cuda in f32 (CUDA is available), goldens replayed");
    assert_eq!(gpu.device("cuda"), "cuda in f32 (asked for), goldens replayed");
    assert_eq!(gpu.device("cpu"), "cpu in f32 (asked for), goldens replayed");
    let said = gpu.run(&["config", "check", "--device", "cuda", "--precision", "f16"]).expect(0);
    assert!(said.stdout.contains("cuda in f16 (asked for), goldens replayed"), "{}", said.stdout);
}

#[test]
fn goldens_that_a_constant_network_would_pass_are_named() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.add(0..1);
    let photo = gpu.place.photos().join("0.jpg");
    let said = gpu.run(&["score", "--device", "cpu", "--tag", "dog", photo.to_str().unwrap()]).expect(0);
    said.stderr_contains("the image embedding is nearly the same in all goldens of this bundle");
}

/// Fails unless `auto` uses the CPU and gives this reason, and `cuda` fails with the same reason and exit code 1. After this exit code a
/// service manager tries again.
#[track_caller]
fn is_refused(gpu: &Gpu, reason: &str) {
    let device = gpu.device("auto");
    assert!(device.starts_with("cpu in f32 (fallback: ") && device.contains(reason), "{device}");
    gpu.run(&["config", "check", "--device", "cuda"]).expect(1).stderr_contains(reason);
}

#[test]
fn without_a_driver_the_cpu_serves() {
    let Some(gpu) = Gpu::new() else { return };
    remove(&gpu.library("libcuda.so.1"));
    is_refused(&gpu, "CUDA driver library not found");
}

#[test]
fn without_one_of_its_libraries_the_cpu_serves() {
    for name in ["libcudart.so.12", "libnvrtc.so.12", "libcublas.so.12", "libcudnn.so.9"] {
        let Some(gpu) = Gpu::new() else { return };
        remove(&gpu.library(name));
        is_refused(&gpu, "could not be dlopen'd");
    }
}

#[test]
fn without_the_headers_that_kernels_are_compiled_with_the_cpu_serves() {
    let Some(gpu) = Gpu::new() else { return };
    remove(&gpu.place.path("cuda/include/cuda_fp16.h"));
    is_refused(&gpu, "Could not find a toolkit include dir containing cuda_fp16.h");
}

#[test]
fn without_a_device_the_cpu_serves() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("no-device");
    is_refused(&gpu, "cuInit returned 100");
}

#[test]
fn with_too_old_a_driver_the_cpu_serves() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("old");
    is_refused(&gpu, "CUDA driver too old");
}

#[test]
fn a_gpu_without_memory_is_refused() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("memory");
    is_refused(&gpu, "CUDA_ERROR_OUT_OF_MEMORY");
}

#[test]
fn a_gpu_whose_kernels_fail_is_refused() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("kernel");
    is_refused(&gpu, "CUDA_ERROR_LAUNCH_FAILED");
}
