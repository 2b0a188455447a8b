//! A disk that remembers only what it was asked to: played from a record of writes and flushes up to the moment of a power cut.

use std::collections::BTreeMap;

use edge_testing::chance::Chance;

/// Drives write a sector whole or not at all.
const SECTOR: usize = 512;

/// One change, or one flush, of one file of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What comes behind the database's path in the file's name.
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

/// Reads a record as disk.c writes it.
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
        events.push(event().expect("a record that is whole"));
    }
    events
}

#[derive(Debug, Default)]
struct File {
    /// None while there is no such file.
    on_disk: Option<Vec<u8>>,
    in_memory: Vec<What>,
}

/// The files that are on the disk when the power is cut behind these events. Of what was not flushed each sector is there with a
/// probability of `kept` percent; a file system with a journal keeps the order of deleting and cutting off.
/// A disk that `lies` takes a flush for done without doing it.
pub fn after_cut(events: &[Event], kept: usize, lies: bool, chance: &mut Chance) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<&str, File> = BTreeMap::new();
    for Event { name, what } in events {
        match what {
            What::Sync if lies => {}
            What::Sync => {
                // The journal of the file system is flushed too, so that what was deleted before stays deleted.
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
                journal_ends |= !chance.percent(kept);
            }
            if journal_ends && !matches!(what, What::Write { .. }) {
                continue;
            }
            apply(&mut file.on_disk, what, |_| chance.percent(kept));
        }
        left.extend(file.on_disk.map(|bytes| (name.to_owned(), bytes)));
    }
    left
}

impl File {
    fn delete_for_good(&mut self) {
        if let Some(last) = self.in_memory.iter().rposition(|what| *what == What::Unlink) {
            self.in_memory.drain(..=last);
            self.on_disk = None;
        }
    }
}

/// Changes a file; of a write only the sectors, counted from its start, that are `kept`.
fn apply(file: &mut Option<Vec<u8>>, what: &What, mut kept: impl FnMut(usize) -> bool) {
    match what {
        What::Write { offset, data } => {
            let file = file.get_or_insert_default();
            let mut done = 0;
            while done < data.len() {
                // Up to the end of the sector on the disk.
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
