//! `scripts/gpu_check`, which awaits a machine with a GPU: that it goes through, and that it does not pass what it must not.

use std::path::PathBuf;
use std::process::Command;

use super::Gpu;
use edge_testing::{Said, repository, skip};

/// The program of `tests/parity.rs`, which cargo puts beside this one.
fn suite() -> Option<PathBuf> {
    let here = std::env::current_exe().unwrap();
    let programs = std::fs::read_dir(here.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let named = programs.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("parity-") && path.extension().is_none()
    });
    named.max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
}

fn check(gpu: &Gpu, suite: &PathBuf) -> (Said, String) {
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
    let said = Said::of(command.output().unwrap());
    (said, std::fs::read_to_string(out.join("report.md")).unwrap())
}

/// `scripts/compare_scores` on a score and another one.
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
fn scores_that_are_apart_are_found() {
    let gpu = Gpu::new();
    // The scale is five wide: half of what is allowed on one of ten.
    assert!(compares(&gpu, "f16", ["3.0", "3.009"]) && !compares(&gpu, "f16", ["3.0", "3.011"]));
    assert!(compares(&gpu, "f32", ["3.0", "3.0004"]) && !compares(&gpu, "f32", ["3.0", "3.0006"]));
    assert!(!compares(&gpu, "f16", ["3.0", "nan"]) && !compares(&gpu, "f16", ["3.0", ""]));
}

#[test]
fn the_check_of_a_gpu_reports_and_fails_where_it_must() {
    let Some(suite) = suite() else {
        return skip("gpu_check", "it needs tests/parity.rs as a program: run all tests");
    };
    let gpu = Gpu::new();
    let (said, report) = check(&gpu, &suite);
    said.expect(0);
    for line in ["on cuda in f32: scores from", "on cuda in f16: scores from", "- f16: 24 scores", "all checks passed"]
    {
        assert!(report.contains(line), "{line:?} is not in the report:\n{report}");
    }
    assert!(!report.contains("SKIPPED"), "{report}");

    gpu.set("wrong");
    let (said, report) = check(&gpu, &suite);
    assert_ne!(said.code, Some(0));
    assert!(report.contains("FAILED") && !report.contains("all checks passed"), "{report}");
}
