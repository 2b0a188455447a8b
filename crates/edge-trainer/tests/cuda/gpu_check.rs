//! `scripts/gpu_check`: it passes on a GPU that works and fails on one that does not.

use std::path::PathBuf;
use std::process::Command;

use super::Gpu;
use edge_testing::{ProgramOutput, has_program, repository, skip};

/// The test program `parity`, which cargo puts beside this one.
fn suite() -> Option<PathBuf> {
    let here = std::env::current_exe().unwrap();
    let programs = std::fs::read_dir(here.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let named = programs.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("parity-") && path.extension().is_none()
    });
    named.max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
}

/// Runs `scripts/gpu_check` with the parity suite, on the CUDA driver that `gpu` simulates. Returns the script's output and the report that it
/// wrote.
fn check(gpu: &Gpu, suite: &PathBuf) -> (ProgramOutput, String) {
    let mut command = Command::new(repository("scripts/gpu_check"));
    gpu.plug_in(&mut command);
    let out = gpu.place.path("report");
    command.args([
        "--only",
        "scoring",
        "--device",
        "cuda:0",
        "--runs",
        "1",
        "--scorer",
        edge_testing::program("edge-scorer").to_str().unwrap(),
    ]);
    command.arg("--suite").arg(suite).arg("--model").arg(&gpu.model).arg("--out").arg(&out);
    let said = ProgramOutput::of(command.output().unwrap());
    (said, std::fs::read_to_string(out.join("report.md")).unwrap())
}

/// Whether `scripts/compare_scores` accepts two scores of one image as equal.
fn compares(gpu: &Gpu, precision: &str, scores: [&str; 2]) -> bool {
    let mut command = Command::new(repository("scripts/compare_scores"));
    command.arg(gpu.model.join("manifest.json"));
    for (name, score) in ["a.csv", "b.csv"].iter().zip(scores) {
        let path = gpu.place.path(name);
        std::fs::write(&path, format!("path,tag,score,similarity\nx.jpg,birds,{score},0.5\n")).unwrap();
        command.arg(path);
    }
    command.arg(precision).output().unwrap().status.success()
}

#[test]
fn different_scores_are_found() {
    if !has_program("gpu_check::different_scores_are_found", "python3") {
        return;
    }
    let Some(gpu) = Gpu::new() else { return };
    // The model's scale is five wide, so the allowed differences are half of those on a scale of ten.
    assert!(compares(&gpu, "f16", ["3.0", "3.009"]) && !compares(&gpu, "f16", ["3.0", "3.011"]));
    assert!(compares(&gpu, "f32", ["3.0", "3.0004"]) && !compares(&gpu, "f32", ["3.0", "3.0006"]));
    assert!(!compares(&gpu, "f16", ["3.0", "nan"]) && !compares(&gpu, "f16", ["3.0", ""]));
}

#[test]
fn the_check_of_a_gpu_passes_and_fails_as_the_gpu_does() {
    let test = "gpu_check::the_check_of_a_gpu_passes_and_fails_as_the_gpu_does";
    // The script runs Python programs, and some with the Python that the variable names.
    let python = std::env::var("EDGE_SCORER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !["bash", "python3", &python].iter().all(|program| has_program(test, program)) {
        return;
    }
    let Some(suite) = suite() else {
        return skip(test, "the test program parity is not built: run scripts/test");
    };
    let Some(gpu) = Gpu::new() else { return };
    let (said, report) = check(&gpu, &suite);
    said.expect(0);
    for line in ["on cuda in f32: scores from", "on cuda in f16: scores from", "- f16: 30 scores", "all checks passed"]
    {
        assert!(report.contains(line), "{line:?} is not in the report:\n{report}");
    }
    // A processor without 8-bit products, which `doctor` also reports, cannot be compared in int8; nothing else may be missing.
    let missing: Vec<&str> = report.lines().filter(|line| line.contains("SKIPPED")).collect();
    let has_int8 = !report.contains("cpu in int8: not supported on this machine");
    assert!(missing.is_empty() || !has_int8 && missing.len() == 1 && missing[0].contains("in int8"), "{report}");

    gpu.set("wrong");
    let (said, report) = check(&gpu, &suite);
    assert_ne!(said.code, Some(0));
    assert!(report.contains("FAILED") && !report.contains("all checks passed"), "{report}");
}
