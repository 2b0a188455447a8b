//! A simulated disk. It replays a record of writes and flushes up to a power cut, and returns what is on the disk afterwards.

use std::collections::BTreeMap;

use edge_testing::random::Random;

/// Disks write a sector completely or not at all.
const SECTOR: usize = 512;

/// One change or one flush of one file of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The file's name without the database's path in front: `""`, `-wal` or `-journal`.
    pub name: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Write { offset: usize, data: Vec<u8> },
    Truncate { length: usize },
    Unlink,
    Sync,
}

/// Reads a record in the format of `disk.c`.
pub fn read(mut record: &[u8]) -> Vec<Event> {
    let mut take = |length: usize| {
        let (head, rest) = record.split_at_checked(length)?;
        record = rest;
        Some(head)
    };
    let mut events = Vec::new();
    while let Some(head) = take(2) {
        let mut event = || {
            let name = String::from_utf8(take(head[1].into())?.to_vec()).ok()?;
            let offset = usize::try_from(u64::from_ne_bytes(take(8)?.try_into().ok()?)).ok()?;
            let length = usize::try_from(u32::from_ne_bytes(take(4)?.try_into().ok()?)).ok()?;
            let data = take(length)?.to_vec();
            let what = match head[0] {
                b'w' => What::Write { offset, data },
                b't' => What::Truncate { length: offset },
                b'u' => What::Unlink,
                b's' => What::Sync,
                _ => return None,
            };
            Some(Event { name, what })
        };
        events.push(event().expect("the record is complete"));
    }
    events
}

#[derive(Debug, Default)]
struct File {
    /// `None` while the file does not exist.
    on_disk: Option<Vec<u8>>,
    in_memory: Vec<What>,
}

/// Returns the files that are on the disk when the power is cut after these events. A sector that was not flushed is on the disk with a
/// probability of `kept` percent. Deletions and truncations keep their order, as on a file system with a journal. A disk that `lies`
/// ignores flushes.
pub fn after_cut(events: &[Event], kept: usize, lies: bool, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<&str, File> = BTreeMap::new();
    for Event { name, what } in events {
        match what {
            What::Sync if lies => {}
            What::Sync => {
                // A flush also flushes the file system's journal, so that files deleted before stay deleted.
                files.values_mut().for_each(File::delete_for_good);
                let file = files.entry(name).or_default();
                for what in std::mem::take(&mut file.in_memory) {
                    apply(&mut file.on_disk, &what, |_| true);
                }
            }
            change => files.entry(name).or_default().in_memory.push(change.clone()),
        }
    }
    let mut left = BTreeMap::new();
    for (name, mut file) in files {
        let mut journal_ends = false;
        for what in &file.in_memory {
            if !matches!(what, What::Write { .. }) {
                journal_ends |= !random.percent(kept);
            }
            if journal_ends && !matches!(what, What::Write { .. }) {
                continue;
            }
            apply(&mut file.on_disk, what, |_| random.percent(kept));
        }
        left.extend(file.on_disk.map(|bytes| (name.to_owned(), bytes)));
    }
    left
}

impl File {
    /// Makes the last deletion permanent, with everything before it.
    fn delete_for_good(&mut self) {
        if let Some(last) = self.in_memory.iter().rposition(|what| *what == What::Unlink) {
            self.in_memory.drain(..=last);
            self.on_disk = None;
        }
    }
}

/// Applies an event to a file. `kept` receives the offset of a sector in the data of a write and returns whether it is written.
fn apply(file: &mut Option<Vec<u8>>, what: &What, mut kept: impl FnMut(usize) -> bool) {
    match what {
        What::Write { offset, data } => {
            let file = file.get_or_insert_default();
            let mut done = 0;
            while done < data.len() {
                // To the end of the sector on the disk.
                let length = (SECTOR - (offset + done) % SECTOR).min(data.len() - done);
                let (from, to) = (offset + done, offset + done + length);
                if kept(done) {
                    file.resize(file.len().max(to), 0);
                    file[from..to].copy_from_slice(&data[done..done + length]);
                }
                done += length;
            }
        }
        What::Truncate { length } => file.get_or_insert_default().resize(*length, 0),
        What::Unlink => *file = None,
        What::Sync => {}
    }
}
