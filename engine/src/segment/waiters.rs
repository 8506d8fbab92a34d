//! Those who wait for durability without a thread: a waker each, under the seq that it waits for.
//! Whoever moved the kernel's or the device's mark on wakes them; nobody asks again and again.
//! It knows neither who syncs nor what a sync is.

use std::collections::BTreeMap;
use std::task::{Poll, Waker};

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// All who wait.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Guards who waits; a leaf, held for a look and never while a waker runs.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By place, which rises: who came first is served first.
    waiting: BTreeMap<u64, Waiting>,
    next_place: u64,
    /// The store is closed: no mark moves any more.
    ended: bool,
}

struct Waiting {
    seq: u64,
    durability: Durability,
    /// Somebody must see to it; one that only watches is content with the next sync.
    demands: bool,
    waker: Waker,
    failed: Option<Error>,
}

/// A place among those who wait; given back with [`Waiters::leave`].
#[derive(Default)]
pub(crate) struct Place(Option<u64>);

/// What is asked under the lock, so that no mark moves unseen between look and wait.
pub(crate) struct Look<'a> {
    pub(crate) seq: u64,
    pub(crate) durability: Durability,
    pub(crate) demands: bool,
    /// `Some` when there is nothing to wait for any more.
    pub(crate) answer: &'a dyn Fn() -> Option<Result<()>>,
}

impl Waiters {
    /// The answer, or a place in the list: `waker` is woken when it is worth asking again.
    pub(crate) fn poll(
        &self,
        place: &mut Place,
        look: &Look<'_>,
        waker: &Waker,
    ) -> Poll<Result<()>> {
        let mut state = self.lock();
        let failed = place
            .0
            .and_then(|at| state.waiting.get(&at)?.failed.clone());
        let ended = state.ended.then(|| Err(Error::closed()));
        let answer = (look.answer)().or(failed.map(Err)).or(ended);
        if let Some(answer) = answer {
            state.leave(place);
            return Poll::Ready(answer);
        }
        let at = *place.0.get_or_insert(state.next_place);
        state.next_place = state.next_place.max(at + 1);
        let waiting = Waiting {
            seq: look.seq,
            durability: look.durability,
            demands: look.demands,
            waker: waker.clone(),
            failed: None,
        };
        state.waiting.insert(at, waiting);
        Poll::Pending
    }

    /// Whoever held the place is not woken any more.
    pub(crate) fn leave(&self, place: &mut Place) {
        if place.0.is_some() {
            self.lock().leave(place);
        }
    }

    /// Wakes all whose wait may be over. Call it without a lock.
    pub(crate) fn wake(&self, reached: impl Fn(u64, Durability) -> bool) {
        self.wake_where(|waiting| reached(waiting.seq, waiting.durability));
    }

    /// Wakes everybody: the store was poisoned.
    pub(crate) fn wake_all(&self) {
        self.wake_where(|_| true);
    }

    /// Wakes everybody for the last time: the store is closed.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.wake_all();
    }

    /// Nothing that was written is still on its way.
    pub(crate) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// The highest seq for which somebody demands the device and was not answered yet.
    pub(crate) fn demanded(&self) -> Option<u64> {
        let state = self.lock();
        let open = state.waiting.values().filter(|waiting| {
            waiting.demands && waiting.failed.is_none() && waiting.durability == Durability::Device
        });
        open.map(|waiting| waiting.seq).max()
    }

    /// How many wait: they count as members of the next group.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Answers all who demand what could not be done.
    pub(crate) fn fail(
        &self,
        error: &Error,
        durability: Durability,
        reached: impl Fn(u64) -> bool,
    ) {
        self.wake_where(|waiting| {
            let hit = waiting.demands && waiting.durability == durability && !reached(waiting.seq);
            if hit {
                waiting.failed = Some(error.clone());
            }
            hit
        });
    }

    fn wake_where(&self, mut chosen: impl FnMut(&mut Waiting) -> bool) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            let chosen = state
                .waiting
                .values_mut()
                .filter_map(|waiting| chosen(waiting).then(|| waiting.waker.clone()));
            chosen.collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    // Nothing that can panic runs under this lock but a caller's look, which only reads.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, place: &mut Place) {
        if let Some(at) = place.0.take() {
            self.waiting.remove(&at);
        }
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn look(seq: u64, durability: Durability) -> Look<'static> {
        Look {
            seq,
            durability,
            demands: true,
            answer: &|| None,
        }
    }

    #[test]
    fn only_those_whose_mark_was_reached_are_woken_and_who_left_is_not() {
        let waiters = Waiters::default();
        let woken: [Arc<Counting>; 3] = Default::default();
        let mut places: [Place; 3] = Default::default();
        for (at, (place, count)) in places.iter_mut().zip(&woken).enumerate() {
            let waker = Waker::from(count.clone());
            let seq = at as u64 + 1;
            assert!(
                waiters
                    .poll(place, &look(seq, Durability::Device), &waker)
                    .is_pending()
            );
        }
        assert_eq!(waiters.demanded(), Some(3));
        waiters.leave(&mut places[0]);
        waiters.wake(|seq, _| seq <= 2);
        let counts: Vec<u64> = woken
            .iter()
            .map(|count| count.0.load(Ordering::SeqCst))
            .collect();
        assert_eq!(counts, [0, 1, 0]);
        let reached = Look {
            answer: &|| Some(Ok(())),
            ..look(2, Durability::Device)
        };
        let polled = waiters.poll(&mut places[1], &reached, Waker::noop());
        assert!(matches!(polled, Poll::Ready(Ok(()))));
        assert_eq!(waiters.len(), 1, "who was answered has left");
    }

    #[test]
    fn a_failure_is_told_to_those_who_demanded_and_the_end_to_all() {
        let waiters = Waiters::default();
        let (mut demanding, mut watching) = (Place::default(), Place::default());
        let watch = Look {
            demands: false,
            ..look(5, Durability::Device)
        };
        assert!(
            waiters
                .poll(&mut demanding, &look(5, Durability::Device), Waker::noop())
                .is_pending()
        );
        assert!(
            waiters
                .poll(&mut watching, &watch, Waker::noop())
                .is_pending()
        );
        waiters.fail(&Error::invalid("no"), Durability::Device, |_| false);
        let told = waiters.poll(&mut demanding, &look(5, Durability::Device), Waker::noop());
        assert!(matches!(told, Poll::Ready(Err(_))));
        assert!(
            waiters
                .poll(&mut watching, &watch, Waker::noop())
                .is_pending()
        );
        waiters.end();
        let told = waiters.poll(&mut watching, &watch, Waker::noop());
        assert!(matches!(told, Poll::Ready(Err(_))));
    }
}
