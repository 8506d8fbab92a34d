//! The same work on many things, by several threads that live no longer than the work: what an open
//! does. Nothing outlasts a call.

use std::cmp::Ordering as Order;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, PoisonError};

/// Fewer things are sorted sooner than a thread starts.
const SORTED_ALONE: usize = if cfg!(all(test, feature = "shuttle")) {
    4
} else {
    20_000
};

/// The answers to all items, in their order; with one thread in the caller's own.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if threads.min(items.len()) <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    crate::sync::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let answer = work(item);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, answer)| answer).collect()
}

/// Sorts; what is equal may change places.
pub(crate) fn sort<T: Send>(
    items: &mut [T],
    threads: usize,
    order: &(impl Fn(&T, &T) -> Order + Sync),
) {
    if threads <= 1 || items.len() < SORTED_ALONE {
        items.sort_unstable_by(order);
        return;
    }
    let middle = items.len() / 2;
    let (below, _, above) = items.select_nth_unstable_by(middle, order);
    crate::sync::thread::scope(|scope| {
        scope.spawn(|| sort(below, threads / 2, order));
        sort(above, threads - threads / 2, order);
    });
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_items_whoever_works() {
        let items: Vec<u64> = (0..1_000).collect();
        let doubled: Vec<u64> = items.iter().map(|i| i * 2).collect();
        for threads in [0, 1, 2, 7, 5_000] {
            assert_eq!(in_parallel(&items, threads, |i| i * 2), doubled);
        }
    }

    #[test]
    fn all_threads_together_sort_as_one_does() {
        let mixed = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50;
        for len in [0, 1, 2, SORTED_ALONE as u64, 100_000] {
            let mut sorted: Vec<u64> = (0..len).map(mixed).collect();
            sorted.sort_unstable();
            for threads in [1, 2, 3, 8] {
                let mut items: Vec<u64> = (0..len).map(mixed).collect();
                sort(&mut items, threads, &u64::cmp);
                assert_eq!(items, sorted, "{len} by {threads}");
            }
        }
    }
}
