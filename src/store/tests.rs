//! Tests of opening a database: which files are created, refused or left unchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::testing::{NOW, TempStore};
use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_database_and_its_directory_belong_to_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/edge-scorer/scores.db");
    let mut store = Store::open(&path).unwrap();
    store.begin().unwrap().commit().unwrap();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.clone().into_os_string();
        file.push(suffix);
        assert_eq!(mode(Path::new(&file)), 0o600, "{suffix}");
    }
}

#[test]
fn the_settings_of_a_writer_are_in_force() {
    let store = TempStore::new();
    let pragma = |name: &str| -> String {
        let sql = format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}");
        store.conn.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("foreign_keys"), "1");
    assert_eq!(pragma("synchronous"), "1", "normal");
    assert_eq!(pragma("temp_store"), "2", "memory");
    assert_eq!(pragma("journal_size_limit"), WAL_LIMIT_BYTES.to_string());
    let timeout: i64 = store.conn.query_row("SELECT timeout FROM pragma_busy_timeout", [], |row| row.get(0)).unwrap();
    assert_eq!(timeout, 5000);
    assert_eq!(pragma("user_version"), SCHEMA_VERSION.to_string());
}

#[test]
fn opening_again_keeps_everything() {
    let mut store = TempStore::new();
    let image = store.add_image("a", &["/a"]);
    let again = Store::open(&store.path).unwrap();
    assert_eq!(again.migrated_from(), None);
    assert!(again.image(image).unwrap().is_some());
}

#[test]
fn reading_never_makes_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    let error = Store::open_read_only(&path).unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }));
    assert!(error.to_string().contains("edge-scorer scan"), "{error}");
    fs::write(&path, "").unwrap();
    assert!(matches!(Store::open_read_only(&path), Err(StoreError::NotFound { .. })));
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn a_reader_cannot_write() {
    let mut writer = TempStore::new();
    let image = writer.add_image("a", &["/a"]);
    let mut reader = Store::open_read_only(&writer.path).unwrap();
    assert!(reader.image(image).unwrap().is_some());
    let error = reader.retry_failures(None, NOW).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[test]
fn an_empty_file_becomes_a_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    fs::write(&path, "").unwrap();
    assert_eq!(Store::open(&path).unwrap().counts().unwrap().images, 0);
}

#[test]
fn a_file_that_is_not_a_database_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    for content in ["x".to_owned(), "x".repeat(600), "not a database\n".repeat(1000)] {
        let path = dir.path().join("holiday.jpg");
        fs::write(&path, &content).unwrap();
        for error in [Store::open(&path).unwrap_err(), Store::open_read_only(&path).unwrap_err()] {
            assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
            assert!(error.to_string().contains("holiday.jpg: not an SQLite database, so it is not changed"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotADatabase { .. })), "a directory");
}

#[test]
fn a_database_of_another_program_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE score (theirs)").unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Foreign { application_id: 0, .. })));
    assert!(matches!(Store::open_read_only(&path), Err(StoreError::Foreign { application_id: 0, .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_older_database_is_migrated_by_a_writer_and_refused_by_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA application_id = 0x45536372").unwrap();
    let error = Store::open_read_only(&path).unwrap_err();
    assert!(matches!(error, StoreError::NeedsMigration { found: 0, .. }));
    assert!(error.to_string().contains("edge-scorer migrate"), "{error}");
    assert_eq!(Store::open(&path).unwrap().migrated_from(), Some(0));
    assert_eq!(Store::open(&path).unwrap().migrated_from(), None);
}

#[test]
fn a_newer_database_is_refused() {
    let store = TempStore::new();
    store.conn.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    assert!(matches!(Store::open(&store.path), Err(StoreError::TooNew { .. })));
    assert!(matches!(Store::open_read_only(&store.path), Err(StoreError::TooNew { .. })));
}

#[test]
fn a_damaged_database_is_reported_as_damaged() {
    let mut store = TempStore::new();
    for n in 0..50 {
        store.add_image(&n.to_string(), &[&format!("/{n}")]);
    }
    store.checkpoint().unwrap();
    let path = store.path.clone();
    let mut bytes = fs::read(&path).unwrap();
    // Damage the second half of the file (rows), then everything after the first page (schema and rows).
    let length = bytes.len();
    for intact in [length / 2, 4096] {
        bytes[intact..].fill(0xa5);
        let copy = path.with_extension("damaged");
        fs::write(&copy, &bytes).unwrap();
        let error = Store::open(&copy).and_then(|store| store.files_under(Path::new("/"), None, 99)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(!error.is_transient());
        assert_eq!(fs::read(&copy).unwrap()[intact..], bytes[intact..], "the file is unchanged");

        let before = fs::read(&copy).unwrap();
        let aside = set_aside_if_damaged(&copy, NOW).unwrap().unwrap();
        assert!(!copy.exists());
        assert_eq!(fs::read(&aside).unwrap(), before);
        assert!(aside.to_str().unwrap().contains(".damaged-20"), "{}", aside.display());
        fs::remove_file(aside).unwrap();
    }
    assert_eq!(set_aside_if_damaged(&path, NOW).unwrap(), None, "nothing is wrong with it");
    assert!(path.exists());
}

#[test]
fn names_with_a_meaning_to_sqlite_are_plain_files() {
    let dir = tempfile::tempdir().unwrap();
    for name in [":memory:", "file:x?mode=memory", "it's \"odd\"\n%.db"] {
        let path = dir.path().join(name);
        Store::open(&path).unwrap();
        assert!(path.is_file(), "{name:?}");
        Store::open_read_only(&path).unwrap();
    }
}

#[test]
fn processes_that_start_together_agree_on_one_database() {
    let dir = tempfile::tempdir().unwrap();
    let path = &dir.path().join("scores.db");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::open(path).map(drop))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    let store = Store::open(path).unwrap();
    let tables: i64 =
        store.conn.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0)).unwrap();
    assert_eq!(tables, 7);
}

#[test]
fn a_locked_database_is_reported_as_busy() {
    let mut store = TempStore::new();
    let mut other = Store::open(&store.path).unwrap();
    other.conn.busy_timeout(Duration::ZERO).unwrap();
    let batch = store.begin().unwrap();
    let error = other.begin().unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }) && error.is_transient(), "{error}");
    batch.commit().unwrap();
    other.begin().unwrap().commit().unwrap();
}

#[test]
fn a_full_disk_rolls_back_the_batch_and_is_reported() {
    let mut store = TempStore::new();
    let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.conn.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).unwrap();
    let batch = store.begin().unwrap();
    let error = (0..1000).find_map(|n| batch.tag_id(&format!("{n}{}", "x".repeat(200))).err()).unwrap();
    assert!(matches!(error, StoreError::Full { .. }) && error.is_transient(), "{error}");
    drop(batch);
    store.conn.pragma_update_and_check(None, "max_page_count", 1 << 30, |_| Ok(())).unwrap();
    assert_eq!(store.counts().unwrap().tags, 0);
    store.add_image("a", &["/a"]);
}
