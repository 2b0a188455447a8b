//! Files of the repository, built programs, and changes to files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{has_program, test_name};

/// The directory of reference data beside the repository, if it exists.
pub fn shared_data() -> Option<PathBuf> {
    let dir = repository("../shared/data");
    dir.is_dir().then_some(dir)
}

/// A file of the repository, by its path from the root.
pub fn repository(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is in crates/edge-testing");
    root.join(path)
}

/// The path of a built program, in the directory that `EDGE_SCORER_PROGRAMS` names. Without that variable, the path is the one that
/// plain cargo uses, beside the directory of the test programs. Cargo builds a package's programs only for the tests of that package;
/// `scripts/test` builds all programs.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let path = match std::env::var_os("EDGE_SCORER_PROGRAMS") {
        Some(directory) => PathBuf::from(directory).join(name),
        None => std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(name),
    };
    assert!(path.is_file(), "{} is not built: run scripts/test", path.display());
    path
}

/// Directory of the bundle that is shipped with edge-scorer.
pub fn model() -> PathBuf {
    repository("models/small")
}

/// A copy of the shipped bundle in `dir`, for tests that change it.
pub fn copy_of_model(dir: &Path) -> PathBuf {
    let target = dir.join("model");
    copy_dir(&model(), &target);
    target
}

/// Changes the manifest of a bundle.
pub fn change_manifest(bundle: &Path, change: impl FnOnce(&mut Value)) {
    let path = bundle.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

/// Changes a file of a bundle, and writes its new size and digest into the manifest.
pub fn forge(bundle: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(bundle.join(name)).unwrap();
    change(&mut bytes);
    std::fs::write(bundle.join(name), &bytes).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = json!({ "sha256": sha256, "size_bytes": bytes.len() });
    change_manifest(bundle, |manifest| manifest["files"][name] = entry);
}

/// Copies a directory and everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Compiles a C file of the repository into a shared library. Returns false, and reports the running test as skipped, if there is no C
/// compiler.
#[must_use]
pub fn compile_library(source: &str, library: &Path) -> bool {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if !has_program(&test_name(), &compiler) {
        return false;
    }
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(library).arg(repository(source));
    assert!(compile.status().unwrap().success(), "{source} does not compile");
    true
}

/// Sets a file's modification time to an hour ago, so that the file counts as settled.
pub fn make_old(path: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(hour_ago).unwrap();
}
