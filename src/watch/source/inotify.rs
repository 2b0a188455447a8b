//! Turns inotify events into hints. Directories are watched and never single files, so that a file that is renamed into a
//! directory is noticed. Links are not followed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, INotifyWatcher, RecursiveMode, Watcher};

use super::error::WatchError;
use super::hint::{Hint, RescanReason};
use super::sink::Sink;
use crate::watch::names::{has_image_extension, is_hidden_below};

/// The watches on a directory and, if recursive, on all directories below it.
pub(super) struct Inotify {
    watcher: INotifyWatcher,
}

impl fmt::Debug for Inotify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inotify").finish_non_exhaustive()
    }
}

impl Inotify {
    /// Starts to watch the directory `root`, with its subdirectories if `recursive`. Hints go to `sink`.
    pub fn start(root: &Path, recursive: bool, sink: &Arc<Sink>) -> Result<Self, WatchError> {
        let fail = |error: notify::Error| WatchError::of_notify(root, recursive, &error);
        let handler = {
            let sink = sink.clone();
            move |event: notify::Result<Event>| handle(&sink, recursive, event)
        };
        let config = Config::default().with_follow_symlinks(false);
        let mut watcher = INotifyWatcher::new(handler, config).map_err(fail)?;
        let mode = if recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        watcher.watch(root, mode).map_err(fail)?;
        Ok(Self { watcher })
    }

    /// Blocks until notify has added watches on the new directories that it has reported.
    pub fn catch_up(&mut self) {
        // notify's thread adds watches at the end of a round of events. It replies to a configuration only between two
        // rounds.
        if let Err(error) = self.watcher.configure(Config::default()) {
            log::debug!("notify does not reply: {error}");
        }
    }
}

fn handle(sink: &Sink, recursive: bool, event: notify::Result<Event>) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let reason = WatchError::of_notify(sink.root(), recursive, &error).to_string();
            sink.rescan(sink.root(), RescanReason::Failed(reason.clone()));
            return sink.failed(reason);
        }
    };
    if event.need_rescan() {
        return sink.rescan(sink.root(), RescanReason::KernelOverflow);
    }
    for path in &event.paths {
        let gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)));
        if path == sink.root() {
            if gone {
                sink.root_lost();
            }
        } else if is_hidden_below(sink.root(), path) {
            continue;
        } else if gone {
            // Report every deleted path: after the deletion a file can no longer be told from a directory.
            sink.hint(Hint::Removed(path.clone()));
        } else {
            changed(sink, recursive, event.kind, path);
        }
    }
}

fn changed(sink: &Sink, recursive: bool, kind: EventKind, path: &Path) {
    let is_new_directory = match kind {
        EventKind::Create(CreateKind::Folder) => true,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => path.symlink_metadata().is_ok_and(|m| m.is_dir()),
        _ => false,
    };
    if is_new_directory {
        if recursive {
            sink.rescan(path, RescanReason::NewDirectory);
        }
        return;
    }
    let matters = match kind {
        EventKind::Create(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        // notify reports a rename as From and To, and then once more as Both.
        EventKind::Modify(kind) => kind != ModifyKind::Name(RenameMode::Both),
        _ => false,
    };
    if matters && has_image_extension(path) {
        sink.hint(Hint::Changed(path.to_owned()));
    }
}
