//! Work on many images at once.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::bounded;

/// Calls `work` for 0 to `count` on all processors and hands every result to `take` on the caller's thread, in the order in
/// which they are ready. When `take` fails, each thread ends after the piece at hand.
///
/// # Errors
/// What `take` says.
pub fn for_each<T: Send, E>(
    count: usize,
    work: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let next = AtomicUsize::new(0);
    let (next, work) = (&next, &work);
    thread::scope(|scope| {
        let (send, receive) = bounded(threads.max(1));
        for i in 0..threads {
            let send = send.clone();
            let loop_ = move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    // The receiver is gone when `take` failed.
                    if index >= count || send.send((index, work(index))).is_err() {
                        break;
                    }
                }
            };
            // Fewer threads than asked for do the same work later; without any it is done below.
            if thread::Builder::new().name(format!("images-{i}")).spawn_scoped(scope, loop_).is_err() {
                break;
            }
        }
        drop(send);
        for (index, result) in receive {
            take(index, result)?;
        }
        (next.load(Ordering::Relaxed)..count).try_for_each(|index| take(index, work(index)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_and_a_failure_ends_the_work() {
        let mut seen = vec![0; 100];
        let count = |i: usize, twice: usize| {
            assert_eq!(twice, 2 * i);
            seen[i] += 1;
            Ok::<(), ()>(())
        };
        for_each(100, |i| 2 * i, count).unwrap();
        assert_eq!(seen, vec![1; 100]);
        assert_eq!(for_each(1000, |i| i, |_, i| if i == 5 { Err(i) } else { Ok(()) }), Err(5));
        assert_eq!(for_each(0, |i| i, |_, i| Err(i)), Ok(()));
    }
}
