//! `edge-scorer doctor` with a stub GPU that fails in different ways.

use std::path::Path;

use serde_json::Value;

use crate::{Gpu, remove};
use edge_testing::ProgramOutput;

impl Gpu {
    fn doctor(&self, more: &[&str]) -> ProgramOutput {
        let db = self.place.db();
        self.run(&[&["doctor", "--db", db.to_str().unwrap()], more].concat())
    }
}

/// The report's finding on a subject.
#[track_caller]
fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|f| f["subject"] == subject).unwrap_or_else(|| panic!("no finding on {subject} in {report:#}"))
}

/// Fails unless `doctor --device cuda` reports the subject as a problem, with the words `found` in the finding and `next` in the advice.
/// `doctor --device auto` must report no problem, because it uses the CPU.
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
    let Some(gpu) = Gpu::new() else { return };
    let report = gpu.doctor(&["--format", "json", "--device", "cuda"]).expect(0).json();
    assert_eq!(report["problems"], 0);
    for (subject, found) in [
        ("driver", "supports CUDA up to 13.0"),
        ("CUDA runtime", "12.6"),
        ("NVRTC", "12.6"),
        ("cuBLAS", "built for CUDA 12.6"),
        ("cuDNN", "9.2.1"),
        ("device", "Stub 0, compute capability 8.7, 8192 of 8192 MiB free"),
    ] {
        assert_eq!(finding(&report, subject)["found"], found);
    }
    for device in ["cpu in f32", "cuda in f32", "cuda in f16"] {
        let found = finding(&report, device)["found"].as_str().unwrap();
        assert!(
            found.starts_with("goldens reproduced: scores within 0.0e0, embeddings within 0.0e0; opened in "),
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
        let Some(gpu) = Gpu::new() else { return };
        // The other libraries are links to the driver's file, so the file is renamed and linked again.
        if library == "libcuda.so.1" {
            std::fs::rename(gpu.library(library), gpu.library("elsewhere.so")).unwrap();
            for name in ["libcudart.so.12", "libnvrtc.so.12", "libcublas.so.12", "libcudnn.so.9"] {
                remove(&gpu.library(name));
                std::os::unix::fs::symlink(Path::new("elsewhere.so"), gpu.library(name)).unwrap();
            }
        } else {
            remove(&gpu.library(library));
        }
        finds(&gpu, subject, "the loader does not find", next);
    }
}

#[test]
fn a_device_that_does_not_exist() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("no-device");
    finds(&gpu, "device", "CUDA_ERROR", "Check `nvidia-smi`");
}

#[test]
fn a_driver_that_is_too_old() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("old");
    finds(&gpu, "cuda in f32", "CUDA driver too old", "Fix the problems reported above");
}

#[test]
fn a_device_without_memory_or_with_wrong_results() {
    for (fault, found) in [
        ("memory", "CUDA_ERROR_OUT_OF_MEMORY"),
        ("kernel", "CUDA_ERROR_LAUNCH_FAILED"),
        ("wrong", "the image embedding of the goldens differs from the trainer's result by"),
        ("nan", "cuda returns NaN or infinity for the image embedding of a golden"),
    ] {
        let Some(gpu) = Gpu::new() else { return };
        gpu.set(fault);
        finds(&gpu, if fault == "kernel" { "device" } else { "cuda in f32" }, found, "");
    }
}

#[test]
fn a_driver_that_crashes() {
    let Some(gpu) = Gpu::new() else { return };
    gpu.set("crash");
    finds(&gpu, "cuda in f32", "ended without a result (signal: 11", "Nothing can be scored with this device");
}
