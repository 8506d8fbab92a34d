//! The hand-over of group commit: one thread leads and syncs for all who wait; when it is done
//! they wake together, and the next of them whose write came too late leads the next group.
//! It knows neither the log nor what a sync is.

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// The leader waits this part of the last sync's time for writers to come back, at most.
const GATHER_PART: u32 = 8;

/// Lets one thread lead at a time.
#[derive(Default)]
pub(crate) struct SyncGate {
    /// Guards who leads and who waits; not held during a sync.
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    leading: bool,
    /// Threads that wait for the turn under way or the next.
    waiting: usize,
    /// Threads that wait for a turn of their own: the next is theirs, however fast a writer comes
    /// back.
    asking: usize,
    /// How many threads the last turn served, and how long it took.
    last_group: usize,
    last_turn: Duration,
}

/// The right to sync; given back when dropped.
pub(crate) struct Turn<'a> {
    gate: &'a SyncGate,
    watch: Stopwatch,
    group: usize,
}

impl SyncGate {
    /// The next turn, or `None` when a turn ended meanwhile and the caller should look again.
    /// `is_done` is asked under the gate's lock; `futures` tells how many wait without a thread.
    pub(crate) fn lead_or_wait(
        &self,
        is_done: impl Fn() -> bool,
        futures: impl Fn() -> usize,
    ) -> Option<Turn<'_>> {
        let mut state = self.lock();
        if is_done() {
            return None;
        }
        if !state.leading && state.asking == 0 {
            state.leading = true;
            return Some(self.begin(state, futures));
        }
        state.waiting += 1;
        let mut state = self
            .done
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        None
    }

    /// Waits for the turn: no writer gets one before it that begins from now on.
    pub(crate) fn lead(&self) -> Turn<'_> {
        let mut state = self.lock();
        state.asking += 1;
        while state.leading {
            let waited = self.done.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.asking -= 1;
        state.leading = true;
        Turn {
            gate: self,
            watch: Stopwatch::start(),
            group: 1,
        }
    }

    /// Waits a little for those whom the last turn served, who are likely to come back; never
    /// when it served one alone.
    fn begin<'a>(&'a self, state: MutexGuard<'a, State>, futures: impl Fn() -> usize) -> Turn<'a> {
        let (expected, patience) = (state.last_group, state.last_turn / GATHER_PART);
        let mut group = state.waiting + 1 + futures();
        drop(state);
        let gather = Stopwatch::start();
        while group < expected && gather.elapsed() < patience {
            crate::sync::thread::yield_now();
            group = self.lock().waiting + 1 + futures();
        }
        Turn {
            gate: self,
            watch: Stopwatch::start(),
            group,
        }
    }

    // Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.leading = false;
        state.last_group = self.group;
        state.last_turn = self.watch.elapsed();
        drop(state);
        self.gate.done.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// A writer that comes back at once, as one alone does, would else win against the thread that
    /// has to be woken first, again and again.
    #[test]
    fn who_asks_for_a_turn_gets_the_next_although_a_writer_is_back_at_once() {
        let gate = SyncGate::default();
        let turns = Mutex::new(Vec::new());
        let begun = |who| turns.lock().expect("no panic").push(who);
        crate::sync::thread::scope(|scope| {
            for _ in 0..50 {
                let turn = gate.lead_or_wait(|| false, || 0).expect("it is free");
                begun("writer");
                let asks = scope.spawn(|| {
                    let _turn = gate.lead();
                    begun("asker");
                });
                while gate.lock().asking == 0 {
                    crate::sync::thread::yield_now();
                }
                drop(turn);
                while gate.lead_or_wait(|| false, || 0).is_none() {}
                begun("writer");
                asks.join().expect("joined");
            }
        });
        let turns = turns.into_inner().expect("no panic");
        assert!(
            turns
                .chunks(3)
                .all(|three| three == ["writer", "asker", "writer"])
        );
    }

    #[test]
    fn all_who_wait_are_served_and_no_two_lead_at_once() {
        let gate = SyncGate::default();
        let (asked, served, leaders) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let turns = AtomicU64::new(0);
        crate::sync::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = asked.fetch_add(1, Ordering::SeqCst) + 1;
                        let is_done = || served.load(Ordering::SeqCst) >= mine;
                        while !is_done() {
                            let Some(_turn) = gate.lead_or_wait(is_done, || 0) else {
                                continue;
                            };
                            assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0);
                            let target = asked.load(Ordering::SeqCst);
                            crate::sync::thread::yield_now();
                            served.fetch_max(target, Ordering::SeqCst);
                            leaders.fetch_sub(1, Ordering::SeqCst);
                            turns.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(served.load(Ordering::SeqCst), 1_600);
        assert!(turns.load(Ordering::SeqCst) <= 1_600);
    }
}
