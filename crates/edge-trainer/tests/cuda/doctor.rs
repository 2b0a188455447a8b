//! What the doctor says of each of these GPUs.

use std::path::Path;

use serde_json::Value;

use crate::{Gpu, remove};
use edge_testing::Said;

impl Gpu {
    fn doctor(&self, more: &[&str]) -> Said {
        let db = self.place.db();
        self.run(&[&["doctor", "--db", db.to_str().unwrap()], more].concat())
    }
}

/// The finding on a subject.
#[track_caller]
fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|f| f["subject"] == subject).unwrap_or_else(|| panic!("nothing on {subject} in {report:#}"))
}

/// With `cuda` asked for, this is the problem and this the advice; with `auto` it is none, because the CPU serves.
#[track_caller]
fn finds(gpu: &Gpu, subject: &str, found: &str, next: &str) {
    let report = gpu.doctor(&["--format", "json", "--device", "cuda"]).expect(1).json();
    let finding = finding(&report, subject);
    assert_eq!(finding["state"], "problem", "{finding}");
    assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
    assert!(finding["next"].as_str().unwrap().contains(next), "{finding}");
    gpu.doctor(&["--device", "auto"]).expect(0);
}

#[test]
fn a_gpu_in_order() {
    let gpu = Gpu::new();
    let report = gpu.doctor(&["--format", "json", "--device", "cuda"]).expect(0).json();
    assert_eq!(report["problems"], 0);
    for (subject, found) in [
        ("driver", "for CUDA 13.0"),
        ("CUDA runtime", "12.6"),
        ("NVRTC", "12.6"),
        ("cuBLAS", "for CUDA 12.6"),
        ("cuDNN", "9.2.1"),
        ("device", "Stub 0, compute capability 8.7, 8192 of 8192 MiB free"),
    ] {
        assert_eq!(finding(&report, subject)["found"], found);
    }
    for device in ["cpu in f32", "cuda in f32", "cuda in f16"] {
        let found = finding(&report, device)["found"].as_str().unwrap();
        assert!(
            found.starts_with("goldens right: scores within 0.0e0, embeddings within 0.0e0; opened in "),
            "{found}"
        );
    }
    let said = gpu.doctor(&[]).expect(0);
    assert!(said.stdout.contains("\n  gpu       device: Stub 0, compute capability 8.7, "), "{}", said.stdout);
}

#[test]
fn libraries_that_are_missing() {
    let missing = [
        ("libcuda.so.1", "driver", "Install NVIDIA's driver"),
        ("libcudart.so.12", "CUDA runtime", "Install the CUDA toolkit's libraries"),
        ("libnvrtc.so.12", "NVRTC", "Install the CUDA toolkit's libraries"),
        ("libcublas.so.12", "cuBLAS", "Install the CUDA toolkit's libraries"),
        ("libcudnn.so.9", "cuDNN", "Install cuDNN 9"),
    ];
    for (library, subject, next) in missing {
        let gpu = Gpu::new();
        // The others are names of the driver's file: it must not go with its name.
        if library == "libcuda.so.1" {
            std::fs::rename(gpu.library(library), gpu.library("elsewhere.so")).unwrap();
            for name in ["libcudart.so.12", "libnvrtc.so.12", "libcublas.so.12", "libcudnn.so.9"] {
                remove(&gpu.library(name));
                std::os::unix::fs::symlink(Path::new("elsewhere.so"), gpu.library(name)).unwrap();
            }
        } else {
            remove(&gpu.library(library));
        }
        finds(&gpu, subject, "is not found by the loader", next);
    }
}

#[test]
fn a_device_that_is_not_there() {
    let gpu = Gpu::new();
    gpu.set("no-device");
    finds(&gpu, "device", "CUDA_ERROR", "look at `nvidia-smi`");
}

#[test]
fn a_driver_that_is_too_old() {
    let gpu = Gpu::new();
    gpu.set("old");
    finds(&gpu, "cuda in f32", "CUDA driver too old", "mend what the report says");
}

#[test]
fn a_device_that_has_no_memory_or_fails_or_answers_wrongly() {
    for (fault, found) in [
        ("memory", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("kernel", "CUDA_ERROR_LAUNCH_FAILED"),
        ("wrong", "image_embedding of the goldens is off by"),
        ("nan", "the image embedding of the goldens is not finite"),
    ] {
        let gpu = Gpu::new();
        gpu.set(fault);
        finds(&gpu, if fault == "kernel" { "device" } else { "cuda in f32" }, found, "");
    }
}

#[test]
fn a_driver_that_crashes() {
    let gpu = Gpu::new();
    gpu.set("crash");
    finds(&gpu, "cuda in f32", "ended without an answer (signal: 11", "Nothing can be scored on this device");
}
