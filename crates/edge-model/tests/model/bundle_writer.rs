//! Tests that a bundle is written completely or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use edge_model::backend::DeviceChoice;
use edge_model::bundle::{Bundle, BundleError, BundleWriter, Manifest};
use edge_model::scorer::Scorer;
use edge_testing::{Place, model};

/// The bytes of every file below a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// A writer with all files of the shipped bundle, and a manifest with another name, to be finished at `target`.
fn rewrite(target: &Path, name: &str) -> (BundleWriter, Manifest) {
    let shipped = Bundle::open(&model()).unwrap();
    let mut writer = BundleWriter::create(target).unwrap();
    for file in shipped.manifest().files.keys() {
        writer.add(file, &shipped.read(file).unwrap()).unwrap();
    }
    (writer, Manifest { name: name.to_owned(), files: BTreeMap::new(), ..shipped.manifest().clone() })
}

#[test]
fn a_bundle_is_written_completely_or_not_at_all() {
    let place = Place::new();
    let (parent, target) = (place.path("models"), place.path("models/mine"));
    let names = || std::fs::read_dir(&parent).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();

    // An unfinished bundle that is dropped leaves nothing.
    drop(rewrite(&target, "first"));
    assert!(names().is_empty(), "{:?}", names());

    let (writer, manifest) = rewrite(&target, "first");
    let digest = writer
        .finish(manifest, |dir| {
            assert!(!target.exists() && dir.starts_with(&parent), "the bundle was put in place before it was verified");
            Scorer::open(dir, DeviceChoice::Cpu).map(|scorer| scorer.digest().to_owned())
        })
        .unwrap();
    assert_eq!(names(), ["mine"]);
    assert_eq!(Bundle::open(&target).unwrap().digest(), digest);

    let before = contents(&target);
    let (writer, manifest) = rewrite(&target, "second");
    let refused = writer.finish(manifest, |_| Err::<(), _>(BundleError::Missing { dir: "by verify".into() }));
    assert!(matches!(refused, Err(BundleError::Missing { .. })));
    assert_eq!((contents(&target), names()), (before, vec!["mine".into()]));

    let (writer, manifest) = rewrite(&target, "third");
    writer.finish(manifest, |dir| Bundle::open(dir).map(drop)).unwrap();
    assert_eq!((Bundle::open(&target).unwrap().manifest().name.as_str(), names()), ("third", vec!["mine".into()]));
}

#[test]
fn a_bundle_is_replaced_without_a_moment_in_which_there_is_none() {
    let place = Place::new();
    let target = place.path("mine");
    let write = |name: &str| {
        let (writer, manifest) = rewrite(&target, name);
        writer.finish(manifest, |_| Ok::<(), BundleError>(())).unwrap();
    };
    write("0");
    let done = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut opened = 0;
            while !done.load(Ordering::Relaxed) {
                Bundle::open(&target).unwrap();
                opened += 1;
            }
            opened
        });
        (1..=5).for_each(|n| write(&n.to_string()));
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(opened > 0);
    assert_eq!(Bundle::open(&target).unwrap().manifest().name, "5");
}

#[test]
fn a_directory_that_is_not_a_bundle_is_never_replaced() {
    let place = Place::new();
    place.write("dear.jpg", b"only copy");
    let error = BundleWriter::create(&place.photos()).unwrap_err();
    assert!(matches!(error, BundleError::InTheWay { .. }));
    assert!(error.to_string().contains("photos: exists and is not a model bundle, so it is not replaced"), "{error}");
    let error = BundleWriter::create(&place.photo("dear.jpg")).unwrap_err();
    assert!(matches!(error, BundleError::InTheWay { .. }), "{error}");
    // An empty directory is replaced.
    let empty = place.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let (writer, manifest) = rewrite(&empty, "mine");
    writer.finish(manifest, |_| Ok::<(), BundleError>(())).unwrap();
    assert_eq!(Bundle::open(&empty).unwrap().manifest().name, "mine");
}
