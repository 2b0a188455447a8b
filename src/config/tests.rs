//! Tests of the configuration: unknown keys, ranges, precedence and the shipped example.

use super::*;

fn load(text: &str) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edge-scorer.toml");
    std::fs::write(&path, text).unwrap();
    let overrides = Overrides { model: Some("/m".into()), db: Some("/d.db".into()), ..Overrides::default() };
    Settings::load(Some(&path), &overrides)
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let error = load("[watch]\nsettle_ms = 5\ndris = [\"/a\"]\n").unwrap_err().to_string();
    assert!(error.ends_with("edge-scorer.toml:3: unknown key watch.dris; did you mean watch.dirs?"), "{error}");
    let error = load("[wacth]\n").unwrap_err().to_string();
    assert!(error.ends_with(":1: unknown key wacth; did you mean watch?"), "{error}");
    let error = load("[tags]\nzzz = 1\n").unwrap_err().to_string();
    assert!(error.contains("the known keys are always, from_directory, from_keywords, from_similarity"), "{error}");
}

#[test]
fn values_are_checked_and_named() {
    let error = load("[model]\ndevice = \"tpu\"").unwrap_err().to_string();
    assert!(error.contains("model.device: \"tpu\" is not a device: use auto, cpu or cuda"), "{error}");
    let error = load("[tags]\nfrom_similarity = 1000").unwrap_err().to_string();
    assert!(error.contains("tags.from_similarity is 1000; it must be 0 to 100"), "{error}");
    let error = load("[watch]\nrecursive = 3").unwrap_err().to_string();
    assert!(error.contains("recursive = 3") && error.contains("boolean"), "{error}");
    let error = load("[tags]\nalways = [\" \"]").unwrap_err().to_string();
    assert!(error.contains("a tag is empty"), "{error}");
}

#[test]
fn the_command_line_overrides_the_file_and_adds_tags() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[watch]\ndirs = [\"camera\"]\n[tags]\nalways = [\"night\", \"a  b\"]\n[model]\ndir=\"m\"\n")
        .unwrap();
    let overrides =
        Overrides { db: Some("/x/y.db".into()), tags: vec!["Night".into(), "dog".into()], ..Overrides::default() };
    let settings = Settings::load(Some(&path), &overrides).unwrap();
    assert_eq!(settings.watch.dirs, [dir.path().join("camera")]);
    assert_eq!(settings.model_dir().unwrap(), dir.path().join("m"));
    assert_eq!(settings.tags.always, ["night", "a b", "dog"]);
    assert_eq!(settings.store.path, Path::new("/x/y.db"));
    let overrides = Overrides { dirs: vec!["/elsewhere".into()], ..overrides };
    assert_eq!(Settings::load(Some(&path), &overrides).unwrap().watch.dirs, [PathBuf::from("/elsewhere")]);
}

#[test]
fn settings_load_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[store]\npath = \"s.db\"\n").unwrap();
    let settings = Settings { model_dir: None, ..Settings::load(Some(&path), &Overrides::default()).unwrap() };
    assert_eq!(settings.store.path, dir.path().join("s.db"));
    assert!(matches!(settings.model_dir(), Err(ConfigError::NoModel)));
}

#[test]
fn the_shipped_example_is_accepted_and_holds_only_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/edge-scorer.toml");
    let overrides = Overrides { model: Some("/m".into()), db: Some("/d.db".into()), ..Overrides::default() };
    let mut shipped = Settings::load(Some(&path), &overrides).unwrap();
    assert_eq!(shipped.watch.dirs, [PathBuf::from("/var/lib/camera")]);
    shipped.watch.dirs.clear();
    assert_eq!(shipped, Settings::load(None, &overrides).unwrap());
}
