//! A simulated disk. It replays a record of writes and flushes up to a power cut, and returns the files that are on the disk afterwards.

use std::collections::BTreeMap;

use edge_testing::random::Random;

/// Size of a sector in bytes. A disk writes a sector completely or not at all.
const SECTOR: usize = 512;

/// One change or one flush of one file of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The file's name without the database's path in front: `""`, `-wal` or `-journal`.
    pub name: String,
    pub operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
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
            let operation = match head[0] {
                b'w' => Operation::Write { offset, data },
                b't' => Operation::Truncate { length: offset },
                b'u' => Operation::Unlink,
                b's' => Operation::Sync,
                _ => return None,
            };
            Some(Event { name, operation })
        };
        events.push(event().expect("the record is complete"));
    }
    events
}

#[derive(Debug, Default)]
struct File {
    /// The file's bytes on the disk; `None` while the file does not exist.
    on_disk: Option<Vec<u8>>,
    in_memory: Vec<Operation>,
}

/// Returns the files that are on the disk when the power is cut after these events. A sector that was not flushed is on the disk with a
/// probability of `kept` percent. Deletions and truncations keep their order, as on a file system with a journal. With
/// `ignores_flushes`, flushes have no effect.
pub fn after_cut(
    events: &[Event],
    kept: usize,
    ignores_flushes: bool,
    random: &mut Random,
) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<&str, File> = BTreeMap::new();
    for Event { name, operation } in events {
        match operation {
            Operation::Sync if ignores_flushes => {}
            Operation::Sync => {
                // A flush also flushes the file system's journal, so that files deleted before stay deleted.
                files.values_mut().for_each(File::delete_for_good);
                let file = files.entry(name).or_default();
                for operation in std::mem::take(&mut file.in_memory) {
                    apply(&mut file.on_disk, &operation, |_| true);
                }
            }
            change => files.entry(name).or_default().in_memory.push(change.clone()),
        }
    }
    let mut left = BTreeMap::new();
    for (name, mut file) in files {
        let mut journal_ends = false;
        for operation in &file.in_memory {
            if !matches!(operation, Operation::Write { .. }) {
                journal_ends |= !random.percent(kept);
            }
            if journal_ends && !matches!(operation, Operation::Write { .. }) {
                continue;
            }
            apply(&mut file.on_disk, operation, |_| random.percent(kept));
        }
        left.extend(file.on_disk.map(|bytes| (name.to_owned(), bytes)));
    }
    left
}

impl File {
    /// Makes the last deletion of the file, and every change before it, permanent.
    fn delete_for_good(&mut self) {
        if let Some(last) = self.in_memory.iter().rposition(|operation| *operation == Operation::Unlink) {
            self.in_memory.drain(..=last);
            self.on_disk = None;
        }
    }
}

/// Applies an operation to a file. A write is applied sector by sector: `kept` receives the offset of a sector's bytes in the data and
/// returns whether they are written.
fn apply(file: &mut Option<Vec<u8>>, operation: &Operation, mut kept: impl FnMut(usize) -> bool) {
    match operation {
        Operation::Write { offset, data } => {
            let file = file.get_or_insert_default();
            let mut done = 0;
            while done < data.len() {
                // The piece of the data up to the end of a sector on the disk.
                let length = (SECTOR - (offset + done) % SECTOR).min(data.len() - done);
                let (from, to) = (offset + done, offset + done + length);
                if kept(done) {
                    file.resize(file.len().max(to), 0);
                    file[from..to].copy_from_slice(&data[done..done + length]);
                }
                done += length;
            }
        }
        Operation::Truncate { length } => file.get_or_insert_default().resize(*length, 0),
        Operation::Unlink => *file = None,
        Operation::Sync => {}
    }
}
