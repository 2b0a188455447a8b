//! Runs a function on many items on all processors.

use std::convert::Infallible;

use crossbeam_channel::bounded;
use rayon::prelude::*;

/// Calls `work` for 0 to `count` on all processors. Passes each result with its index to `take` on the calling thread,
/// in the order of completion. If `take` fails, the remaining items are skipped.
///
/// Must not be called on a thread of rayon's pool, because the calling thread waits for the pool.
///
/// # Errors
/// The first error of `take`.
pub fn for_each<T: Send, E>(
    count: usize,
    work: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    // The channel has room for all results: threads of the pool never wait, so `take` may use the pool too.
    let (send, receive) = bounded(count);
    let work = &work;
    rayon::in_place_scope(|scope| {
        scope.spawn(move |_| {
            // Sending fails if `take` failed. Items are distributed one by one, because their times differ much.
            let items = (0..count).into_par_iter().with_max_len(1);
            drop(items.try_for_each_with(send, |send, index| send.send((index, work(index)))));
        });
        receive.into_iter().try_for_each(|(index, result)| take(index, result))
    })
}

/// Calls `work` for 0 to `count` on all processors and returns the results in order. `done` is called on the calling
/// thread after each item.
pub fn map<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync, mut done: impl FnMut()) -> Vec<T> {
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    let keep = |index: usize, result| {
        results[index] = Some(result);
        done();
        Ok::<(), Infallible>(())
    };
    let Ok(()) = for_each(count, work, keep);
    results.into_iter().flatten().collect()
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

    #[test]
    fn results_are_in_order_and_the_receiver_may_use_the_pool() {
        let mut calls = 0;
        let sum = || (0..1000usize).into_par_iter().sum::<usize>();
        let results = map(200, |i| i * i, || calls += sum() / 499_500);
        assert_eq!(results, (0..200).map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(calls, 200);
    }
}
