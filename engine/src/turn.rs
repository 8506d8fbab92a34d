//! Whose turn it is: one transaction at a time, in the order in which they asked, whether they
//! wait as threads or as futures. And which keys plain writes touched during the turn, so that its
//! commit can tell a conflict. It knows keys and keyspace ids, no store and no record.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Poll, Waker};

use crate::error::{Error, Result};
use crate::key_cursor::{BoundsRef, is_void};
use crate::segment::location::KeyspaceId;

/// Bytes of keys that are remembered for one turn; a transaction beside which more was written
/// is taken to conflict.
const TOUCHED_BYTES_MAX: usize = 64 << 20;
/// What a remembered key costs beside its bytes, about.
const TOUCHED_OVERHEAD: usize = 32;

/// A place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

/// The turns of one store.
#[derive(Default)]
pub(crate) struct Turns {
    /// A leaf lock, held for a look.
    state: Mutex<State>,
    /// The holder changed, or the store was closed.
    changed: Condvar,
    pub(crate) touched: Touched,
}

#[derive(Default)]
struct State {
    holder: Option<Ticket>,
    /// The thread that runs a closure as the holder: it must not wait for itself.
    thread: Option<ThreadId>,
    waiting: VecDeque<(Ticket, Option<Waker>)>,
    next: u64,
    closed: bool,
}

impl Turns {
    /// Asks for a turn. What is asked for must be given up in the end, had or not.
    pub(crate) fn ask(&self) -> Ticket {
        let mut state = self.lock();
        let ticket = Ticket(state.next);
        state.next += 1;
        if state.holder.is_none() {
            state.holder = Some(ticket);
        } else {
            state.waiting.push_back((ticket, None));
        }
        ticket
    }

    /// Asks for a turn if it can be had at once.
    pub(crate) fn ask_now(&self) -> Option<Ticket> {
        let mut state = self.lock();
        if state.holder.is_some() {
            return None;
        }
        let ticket = Ticket(state.next);
        state.next += 1;
        state.holder = Some(ticket);
        Some(ticket)
    }

    /// Blocks until it is `ticket`'s turn.
    ///
    /// # Errors
    /// `Closed`; `InvalidArgument` in a thread that would wait for itself.
    pub(crate) fn wait(&self, ticket: Ticket) -> Result<()> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(Error::closed());
            }
            if state.holder == Some(ticket) {
                return Ok(());
            }
            if state.thread == Some(thread::current().id()) {
                return Err(Error::invalid(
                    "a transaction cannot begin inside the closure of another: it would wait for \
                     its own thread for ever; use the one that is given to the closure",
                ));
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it is `ticket`'s turn; `waker` is woken when it may be.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Result<()>> {
        let mut state = self.lock();
        if state.closed {
            return Poll::Ready(Err(Error::closed()));
        }
        if state.holder == Some(ticket) {
            return Poll::Ready(Ok(()));
        }
        let place = state.waiting.iter_mut().find(|(of, _)| *of == ticket);
        if let Some((_, kept)) = place {
            *kept = Some(waker.clone());
        }
        Poll::Pending
    }

    /// The holder runs a closure in this thread.
    pub(crate) fn note_thread(&self) {
        self.lock().thread = Some(thread::current().id());
    }

    /// Ends a turn or the waiting for one; the next in the queue has it at once.
    pub(crate) fn give_up(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.holder != Some(ticket) {
            state.waiting.retain(|(of, _)| *of != ticket);
            return;
        }
        state.thread = None;
        let next = state.waiting.pop_front();
        state.holder = next.as_ref().map(|(of, _)| *of);
        drop(state);
        match next {
            Some((_, Some(waker))) => waker.wake(),
            Some((_, None)) => self.changed.notify_all(),
            None => {}
        }
    }

    /// Nobody waits for a closed store.
    pub(crate) fn close(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.closed = true;
            let waiting = state.waiting.iter_mut();
            waiting.filter_map(|(_, waker)| waker.take()).collect()
        };
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves it whole: no foreign code runs inside.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys that plain writes touched since the turn began.
#[derive(Default)]
pub(crate) struct Touched {
    /// Whether a turn is under way; every write looks.
    open: AtomicBool,
    /// A leaf lock, held for one key or one comparison.
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    by_space: BTreeMap<KeyspaceId, BTreeSet<Box<[u8]>>>,
    bytes: usize,
    /// There were too many to remember.
    overflow: bool,
}

/// What a plain write touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Touch {
    Key(KeyspaceId, Box<[u8]>),
    TooMany,
}

/// What a transaction read or wrote.
#[derive(Default)]
pub(crate) struct Footprint {
    pub(crate) keys: BTreeMap<KeyspaceId, BTreeSet<Box<[u8]>>>,
    /// Stretches of ordered keyspaces that were iterated over, keys that are not there included.
    pub(crate) ranges: Vec<(KeyspaceId, OwnedBounds)>,
}

/// The ends of a stretch of keys.
pub(crate) type OwnedBounds = (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>);

impl Touched {
    /// From now on touched keys are remembered. Called under the log lock.
    pub(crate) fn begin(&self) {
        self.open.store(true, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.open.store(false, Ordering::Release);
        let gone = std::mem::take(&mut *self.lock());
        drop(gone);
    }

    /// A plain write touched `key`. Called under the log lock.
    pub(crate) fn note(&self, keyspace: KeyspaceId, key: &[u8]) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut keys = self.lock();
        if keys.overflow {
            return;
        }
        let of_space = keys.by_space.entry(keyspace).or_default();
        if of_space.contains(key) {
            return;
        }
        of_space.insert(key.into());
        keys.bytes += key.len() + TOUCHED_OVERHEAD;
        if keys.bytes > TOUCHED_BYTES_MAX {
            *keys = Keys {
                overflow: true,
                ..Keys::default()
            };
        }
    }

    /// A touched key that is in the footprint too.
    pub(crate) fn meets(&self, footprint: &Footprint) -> Option<Touch> {
        let keys = self.lock();
        if keys.overflow {
            return Some(Touch::TooMany);
        }
        for (space, touched) in &keys.by_space {
            let Some(of_space) = footprint.keys.get(space) else {
                continue;
            };
            // The smaller of the two is gone through.
            let (few, many) = if touched.len() < of_space.len() {
                (touched, of_space)
            } else {
                (of_space, touched)
            };
            if let Some(key) = few.iter().find(|key| many.contains(*key)) {
                return Some(Touch::Key(*space, key.clone()));
            }
        }
        footprint.ranges.iter().find_map(|(space, bounds)| {
            let touched = keys.by_space.get(space).filter(|_| !is_void(bounds))?;
            let bounds: BoundsRef<'_> = crate::key_cursor::as_ref(bounds);
            let key = touched.range::<[u8], _>(bounds).next()?;
            Some(Touch::Key(*space, key.clone()))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Bound;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn turns_go_round_in_the_order_of_asking_and_leave_no_trace() {
        let turns = Turns::default();
        let (a, b, c) = (turns.ask(), turns.ask(), turns.ask());
        turns.wait(a).expect("nobody was before it");
        assert_eq!(turns.ask_now(), None);
        // One that waits goes away.
        turns.give_up(b);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        assert!(turns.poll(c, &waker).is_pending());
        turns.give_up(a);
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "woken once");
        assert!(turns.poll(c, &waker).is_ready());
        turns.give_up(c);
        assert_eq!(turns.waiting(), 0);
        let d = turns.ask_now().expect("free again");
        turns.give_up(d);
    }

    #[test]
    fn a_closed_store_lets_everybody_go() {
        let turns = Turns::default();
        let (a, b) = (turns.ask(), turns.ask());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(count.clone());
        assert!(turns.poll(b, &waker).is_pending());
        turns.close();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(turns.wait(a).is_err());
        assert!(matches!(turns.poll(b, &waker), Poll::Ready(Err(_))));
    }

    #[test]
    fn a_thread_that_runs_a_transaction_does_not_wait_for_itself() {
        let turns = Turns::default();
        let a = turns.ask();
        turns.note_thread();
        let b = turns.ask();
        assert!(turns.wait(b).is_err());
        turns.give_up(b);
        turns.give_up(a);
        let c = turns.ask();
        turns.wait(c).expect("its turn");
    }

    #[test]
    fn touched_keys_meet_keys_and_stretches_of_their_own_keyspace() {
        let touched = Touched::default();
        let (one, two) = (KeyspaceId(1), KeyspaceId(2));
        touched.note(one, b"before");
        touched.begin();
        touched.note(one, b"k5");
        let mut footprint = Footprint::default();
        footprint
            .keys
            .entry(two)
            .or_default()
            .insert(b"k5"[..].into());
        footprint
            .keys
            .entry(one)
            .or_default()
            .insert(b"before"[..].into());
        let stretch = |low: &[u8], high: &[u8]| {
            (
                Bound::Excluded(low.to_vec()),
                Bound::Included(high.to_vec()),
            )
        };
        footprint.ranges.push((two, stretch(b"a", b"z")));
        footprint.ranges.push((one, stretch(b"k5", b"k9")));
        footprint.ranges.push((one, stretch(b"z", b"a")));
        assert_eq!(touched.meets(&footprint), None);
        footprint.ranges.push((one, stretch(b"k4", b"k5")));
        let key = Touch::Key(one, b"k5"[..].into());
        assert_eq!(touched.meets(&footprint), Some(key.clone()));
        footprint.ranges.clear();
        footprint
            .keys
            .entry(one)
            .or_default()
            .insert(b"k5"[..].into());
        assert_eq!(touched.meets(&footprint), Some(key));
        touched.end();
        touched.begin();
        assert_eq!(touched.meets(&footprint), None, "each turn begins anew");
    }

    #[test]
    fn more_than_can_be_remembered_is_a_conflict_and_costs_no_more_memory() {
        let touched = Touched::default();
        touched.begin();
        let mut key = vec![0; 60_000];
        for n in 0..2_000_u32 {
            key[..4].copy_from_slice(&n.to_le_bytes());
            touched.note(KeyspaceId(1), &key);
        }
        assert_eq!(touched.meets(&Footprint::default()), Some(Touch::TooMany));
        assert_eq!(touched.lock().by_space.len(), 0);
    }
}
