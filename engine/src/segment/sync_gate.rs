//! The hand-over of group commit: one thread leads and syncs for all who wait; when it is done
//! it wakes those it served, and the first whose write came too late leads the next group.
//! It knows neither the log nor what a sync is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Wake as _;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::parker::Parker;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The leader waits this part of the last sync's time for writers to come back, at most.
const GATHER_PART: u32 = 8;

/// In the place of a seq, of one who waits for a turn of its own: no record has it.
const ASKS: u64 = u64::MAX;

/// Lets one thread lead at a time.
#[derive(Default)]
pub(crate) struct SyncGate {
    /// Guards who leads and who waits; not held during a sync.
    state: Mutex<State>,
    /// How many wait, for a leader who gathers: it does not take the lock from those who come.
    gathered: AtomicUsize,
}

#[derive(Default)]
struct State {
    leading: bool,
    /// Threads that sleep until the turn under way is over, or until it is theirs to lead the next.
    /// Whoever is not in here and not done is on the way here, or leads.
    waiting: VecDeque<Waiting>,
    /// Threads that wait for a turn of their own: the next is theirs, however fast a writer comes
    /// back.
    asking: usize,
    /// Who was there when the last turn ended: those it served, who are likely to come back, and
    /// those who came too late for it.
    expected: usize,
    /// How long it took.
    last_turn: Duration,
}

struct Waiting {
    seq: u64,
    parker: Arc<Parker>,
}

/// The right to sync; given back when dropped.
pub(crate) struct Turn<'a> {
    gate: &'a SyncGate,
    watch: Stopwatch,
    /// Members that do not wait as threads: the leader, if it writes, and futures.
    others: usize,
    /// Up to where all are served; unknown when the turn failed.
    reached: Option<u64>,
}

impl SyncGate {
    /// The next turn for one who waits for `seq`, or `None` when it is worth looking again.
    /// `is_done` is asked under the gate's lock; `futures` tells how many wait without a thread.
    pub(crate) fn lead_or_wait(
        &self,
        seq: u64,
        is_done: impl Fn() -> bool,
        futures: impl Fn() -> usize,
    ) -> Option<Turn<'_>> {
        let state = self.lock();
        if is_done() {
            return None;
        }
        if !state.leading && state.asking == 0 {
            return Some(self.begin(state, || 1 + futures()));
        }
        // Where nobody leads, one who asked is on the way to it.
        self.wait(state, seq);
        None
    }

    /// Waits for the turn: no writer gets one before it that begins from now on.
    pub(crate) fn lead(&self) -> Turn<'_> {
        let mut state = self.lock();
        state.asking += 1;
        while state.leading {
            self.wait(state, ASKS);
            state = self.lock();
        }
        state.asking -= 1;
        self.begin(state, || 0)
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, seq: u64) {
        let parker = Parker::new();
        state.waiting.push_back(Waiting {
            seq,
            parker: parker.clone(),
        });
        self.gathered.store(state.waiting.len(), Ordering::Release);
        drop(state);
        parker.park(None);
    }

    /// Waits a little for those whom the last turn served, who are likely to come back; never
    /// for one alone. Without it two halves of the writers would take turns for ever, each half
    /// appending while the other is synced.
    fn begin<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        others: impl Fn() -> usize,
    ) -> Turn<'a> {
        state.leading = true;
        let (expected, patience) = (state.expected, state.last_turn / GATHER_PART);
        let mut waiting = state.waiting.len();
        drop(state);
        let mut beside = others();
        let mut watch = Stopwatch::start();
        let gather = watch;
        while waiting + beside < expected && gather.elapsed() < patience {
            crate::sync::thread::yield_now();
            (waiting, beside) = (self.gathered.load(Ordering::Acquire), others());
            watch = Stopwatch::start();
        }
        Turn {
            gate: self,
            watch,
            others: beside,
            reached: None,
        }
    }

    // Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Ends the turn: everybody up to `reached` is served.
    pub(crate) fn end(mut self, reached: u64) {
        self.reached = Some(reached);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.leading = false;
        state.expected = state.waiting.len() + self.others;
        state.last_turn = self.watch.elapsed();
        let all = std::mem::take(&mut state.waiting);
        let is_served = |waiting: &Waiting| self.reached.is_none_or(|seq| waiting.seq <= seq);
        let (mut woken, mut late): (VecDeque<Waiting>, VecDeque<Waiting>) =
            all.into_iter().partition(is_served);
        // One who asked for it has the next turn, else one of those who came too late leads it, or looks
        // whether somebody does. It is woken last: the served are back all the sooner.
        let asks = late.iter().position(|waiting| waiting.seq == ASKS);
        woken.extend(late.remove(asks.unwrap_or(0)));
        state.waiting = late;
        self.gate
            .gathered
            .store(state.waiting.len(), Ordering::Release);
        drop(state);
        for waiting in woken {
            waiting.parker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::atomic::AtomicU64;

    /// A writer that comes back at once, as one alone does, would else win against the thread that
    /// has to be woken first, again and again.
    #[test]
    fn who_asks_for_a_turn_gets_the_next_although_a_writer_is_back_at_once() {
        let gate = SyncGate::default();
        let turns = Mutex::new(Vec::new());
        let begun = |who| turns.lock().expect("no panic").push(who);
        crate::sync::thread::scope(|scope| {
            for _ in 0..50 {
                let turn = gate.lead_or_wait(1, || false, || 0).expect("it is free");
                begun("writer");
                let asks = scope.spawn(|| {
                    let _turn = gate.lead();
                    begun("asker");
                });
                while gate.lock().asking == 0 {
                    crate::sync::thread::yield_now();
                }
                turn.end(1);
                while gate.lead_or_wait(2, || false, || 0).is_none() {}
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
                            let Some(turn) = gate.lead_or_wait(mine, is_done, || 0) else {
                                continue;
                            };
                            assert_eq!(leaders.fetch_add(1, Ordering::SeqCst), 0);
                            let target = asked.load(Ordering::SeqCst);
                            crate::sync::thread::yield_now();
                            served.fetch_max(target, Ordering::SeqCst);
                            leaders.fetch_sub(1, Ordering::SeqCst);
                            if turns.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
                                // As a turn that fails: all look for themselves.
                                drop(turn);
                            } else {
                                turn.end(target);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(served.load(Ordering::SeqCst), 1_600);
        assert!(turns.load(Ordering::SeqCst) <= 1_600);
    }
}
