//! Who watches, and what waits for them: a bounded queue for each, filled by commit under the log
//! lock and emptied by the watcher. A full queue counts what it loses and holds nobody up. It
//! knows keys and places, not records; an unwatched write asks it for one flag.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use crate::segment::location::{KeyspaceId, Location, SegmentId};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The most bytes of keys that one queue holds, beside its bound in events.
const KEY_BYTES_MAX: usize = 1 << 20;

/// All who watch a store.
#[derive(Default)]
pub(crate) struct Feed {
    /// Whether there is anybody: all that an unwatched write asks.
    watched: AtomicBool,
    /// Guards the list; a leaf but for the queues, held for a look and never while a waker runs.
    subscribers: Mutex<Vec<Arc<Subscriber>>>,
}

/// Which keys of its keyspace one watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Key(Box<[u8]>),
    Prefix(Box<[u8]>),
}

impl Scope {
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        match self {
            Scope::All => true,
            Scope::Key(only) => &**only == key,
            Scope::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// One who watches.
pub(crate) struct Subscriber {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) scope: Scope,
    /// Events that the queue holds at most.
    capacity: usize,
    /// Guards what waits for it; a leaf.
    state: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Its watcher takes from the queue; else it still reads the log, and nothing is queued.
    live: bool,
    events: VecDeque<Queued>,
    key_bytes: usize,
    /// What did not fit, since the last event in the queue.
    lost: u64,
    /// The last seq that was queued or, before the first, where the watch began.
    last_seq: u64,
    /// Moments of expiry with the seq of their record, if the watcher asked for these.
    deadlines: Option<Deadlines>,
    waker: Option<Waker>,
}

/// Moments of expiry, each with the seq of its record, and the key.
type Deadlines = BTreeMap<(u64, u64), Box<[u8]>>;

/// A change as it waits in a queue; the value stays in the log.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) seq: u64,
    pub(crate) key: Box<[u8]>,
    /// `None` for a delete; else the expiry.
    pub(crate) put: Option<u64>,
    pub(crate) segment: SegmentId,
    pub(crate) location: Location,
}

/// A change as commit tells it.
pub(crate) struct Written<'a> {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) seq: u64,
    pub(crate) key: &'a [u8],
    pub(crate) put: Option<u64>,
    /// Expiry and seq of the version that it took the place of.
    pub(crate) replaced: Option<(u64, u64)>,
    pub(crate) segment: SegmentId,
    pub(crate) location: Location,
}

/// What a watcher finds in its queue.
pub(crate) enum Taken {
    Event(Queued),
    /// So many were lost after this seq.
    Lagged {
        missed: u64,
        after: u64,
    },
    /// Nothing; the waker is called when that changes.
    Nothing,
}

impl Feed {
    /// Asked under the log lock, as subscribing is done: no write that follows misses anybody.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Under the log lock.
    pub(crate) fn add(&self, subscriber: Arc<Subscriber>) {
        let mut subscribers = self.lock();
        subscribers.push(subscriber);
        self.watched.store(true, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, subscriber: &Arc<Subscriber>) {
        let mut subscribers = self.lock();
        subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
        self.watched
            .store(!subscribers.is_empty(), Ordering::Relaxed);
    }

    /// Queues a change for all whom it concerns. Under the log lock: this is the commit order.
    pub(crate) fn push(&self, written: &Written<'_>) {
        for subscriber in self.lock().iter() {
            if subscriber.keyspace == written.keyspace && subscriber.scope.holds(written.key) {
                subscriber.push(written);
            }
        }
    }

    /// Wakes those for whom something waits. Call it without a lock.
    pub(crate) fn ring(&self) {
        if self.is_watched() {
            self.wake_where(Queue::has_some);
        }
    }

    /// Wakes everybody, to look whether its keyspace or the store is gone.
    pub(crate) fn ring_all(&self) {
        self.wake_where(|_| true);
    }

    /// Wakes those for whom a record has expired; true if anybody waits for such.
    pub(crate) fn sweep(&self, now_ms: u64) -> bool {
        if !self.is_watched() {
            return false;
        }
        self.wake_where(|queue| queue.next_deadline().is_some_and(|at| at <= now_ms));
        let expects = |subscriber: &Arc<Subscriber>| subscriber.lock().deadlines.is_some();
        self.lock().iter().any(expects)
    }

    fn wake_where(&self, chosen: impl Fn(&Queue) -> bool) {
        let wakers: Vec<Waker> = {
            let subscribers = self.lock();
            let chosen = subscribers.iter().filter_map(|subscriber| {
                let mut queue = subscriber.lock();
                if chosen(&queue) {
                    queue.waker.take()
                } else {
                    None
                }
            });
            chosen.collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    // Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    /// `expiry` says whether moments of expiry are kept.
    pub(crate) fn new(
        keyspace: KeyspaceId,
        scope: Scope,
        capacity: usize,
        expiry: bool,
    ) -> Subscriber {
        let queue = Queue {
            deadlines: expiry.then(BTreeMap::new),
            ..Queue::default()
        };
        Subscriber {
            keyspace,
            scope,
            capacity,
            state: Mutex::new(queue),
        }
    }

    fn push(&self, written: &Written<'_>) {
        let mut queue = self.lock();
        if let Some(deadlines) = &mut queue.deadlines {
            if let Some(replaced) = written.replaced {
                deadlines.remove(&replaced);
            }
            if let Some(expiry) = written.put.filter(|expiry| *expiry != u64::MAX) {
                deadlines.insert((expiry, written.seq), written.key.into());
            }
        }
        if !queue.live {
            return;
        }
        let full = queue.events.len() >= self.capacity
            || (!queue.events.is_empty() && queue.key_bytes + written.key.len() > KEY_BYTES_MAX);
        // After a loss nothing is queued until the watcher was told: it is one gap.
        if queue.lost > 0 || full {
            queue.lost += 1;
            return;
        }
        queue.key_bytes += written.key.len();
        queue.last_seq = written.seq;
        queue.events.push_back(Queued {
            seq: written.seq,
            key: written.key.into(),
            put: written.put,
            segment: written.segment,
            location: written.location,
        });
    }

    /// The next event, or a place for `waker`.
    pub(crate) fn take(&self, waker: &Waker) -> Taken {
        let mut queue = self.lock();
        if let Some(event) = queue.events.pop_front() {
            queue.key_bytes -= event.key.len();
            return Taken::Event(event);
        }
        if queue.lost > 0 {
            let missed = std::mem::take(&mut queue.lost);
            return Taken::Lagged {
                missed,
                after: queue.last_seq,
            };
        }
        queue.waker = Some(waker.clone());
        Taken::Nothing
    }

    /// From here on events are queued: everything up to `seq` was read. Under the log lock.
    pub(crate) fn go_live(&self, seq: u64) {
        let mut queue = self.lock();
        queue.live = true;
        queue.last_seq = seq;
    }

    /// Back to reading the log: what is queued is forgotten.
    pub(crate) fn go_back(&self) {
        let mut queue = self.lock();
        queue.live = false;
        queue.events.clear();
        queue.key_bytes = 0;
        queue.lost = 0;
    }

    // ---- expiry

    pub(crate) fn expects_expiry(&self) -> bool {
        self.lock().deadlines.is_some()
    }

    pub(crate) fn track(&self, expiry: u64, seq: u64, key: &[u8]) {
        if let Some(deadlines) = &mut self.lock().deadlines {
            deadlines.insert((expiry, seq), key.into());
        }
    }

    pub(crate) fn untrack(&self, expiry: u64, seq: u64) {
        if let Some(deadlines) = &mut self.lock().deadlines {
            deadlines.remove(&(expiry, seq));
        }
    }

    /// A record that has expired, written before `before_seq` and before all that is queued;
    /// taken once.
    pub(crate) fn take_expired(
        &self,
        now_ms: u64,
        before_seq: u64,
    ) -> Option<(u64, u64, Box<[u8]>)> {
        let mut queue = self.lock();
        let front = queue
            .events
            .front()
            .map_or(before_seq, |event| event.seq.min(before_seq));
        if queue.events.is_empty() && queue.lost > 0 {
            return None;
        }
        let deadlines = queue.deadlines.as_mut()?;
        let due = deadlines.range(..=(now_ms, u64::MAX));
        let (expiry, seq) = due.map(|(at, _)| *at).find(|(_, seq)| *seq < front)?;
        let key = deadlines.remove(&(expiry, seq))?;
        Some((expiry, seq, key))
    }

    // Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn has_some(&self) -> bool {
        !self.events.is_empty() || self.lost > 0
    }

    fn next_deadline(&self) -> Option<u64> {
        let first = self.deadlines.as_ref()?.first_key_value();
        first.map(|((expiry, _), _)| *expiry)
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    fn write(subscriber: &Subscriber, seq: u64, key: &[u8], put: Option<u64>) {
        subscriber.push(&Written {
            keyspace: KeyspaceId(1),
            seq,
            key,
            put,
            replaced: None,
            segment: SegmentId(1),
            location: Location { slot: 0, offset: 0 },
        });
    }

    fn take(subscriber: &Subscriber) -> String {
        match subscriber.take(Waker::noop()) {
            Taken::Event(event) => event.seq.to_string(),
            Taken::Lagged { missed, after } => format!("lagged by {missed} after {after}"),
            Taken::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn a_full_queue_keeps_the_oldest_and_counts_the_rest_once() {
        let subscriber = Subscriber::new(KeyspaceId(1), Scope::All, 2, false);
        subscriber.go_live(0);
        for seq in 1..=5 {
            write(&subscriber, seq, b"k", None);
        }
        assert_eq!(take(&subscriber), "1");
        // There is room again, but behind a gap that was not told yet.
        write(&subscriber, 6, b"k", None);
        let told: Vec<String> = (0..3).map(|_| take(&subscriber)).collect();
        assert_eq!(told, ["2", "lagged by 4 after 2", "nothing"]);
        write(&subscriber, 7, b"k", None);
        assert_eq!(take(&subscriber), "7");
    }

    #[test]
    fn long_keys_fill_a_queue_before_its_count_does() {
        let subscriber = Subscriber::new(KeyspaceId(1), Scope::All, 1_000, false);
        subscriber.go_live(0);
        let key = vec![0; 65_535];
        for seq in 1..=40 {
            write(&subscriber, seq, &key, None);
        }
        let mut queued = 0;
        while !take(&subscriber).starts_with("lagged") {
            queued += 1;
        }
        assert_eq!(queued, KEY_BYTES_MAX / 65_535);
    }

    #[test]
    fn an_expired_record_is_told_once_and_never_before_it_was_written() {
        let subscriber = Subscriber::new(KeyspaceId(1), Scope::All, 10, true);
        subscriber.go_live(0);
        write(&subscriber, 1, b"a", Some(100));
        write(&subscriber, 2, b"b", Some(50));
        assert!(
            subscriber.take_expired(200, u64::MAX).is_none(),
            "not told yet of either"
        );
        assert_eq!(take(&subscriber), "1");
        let (_, seq, key) = subscriber.take_expired(200, u64::MAX).expect("it is over");
        assert_eq!((seq, &*key), (1, &b"a"[..]));
        assert_eq!(take(&subscriber), "2");
        assert!(subscriber.take_expired(49, u64::MAX).is_none());
        assert!(subscriber.take_expired(50, u64::MAX).is_some());
        assert!(
            subscriber.take_expired(200, u64::MAX).is_none(),
            "only once"
        );
    }

    #[test]
    fn scopes_hold_what_they_name() {
        let boxed = |bytes: &[u8]| Box::from(bytes);
        assert!(Scope::All.holds(b""));
        assert!(Scope::Key(boxed(b"ab")).holds(b"ab") && !Scope::Key(boxed(b"ab")).holds(b"abc"));
        assert!(
            Scope::Prefix(boxed(b"ab")).holds(b"abc") && !Scope::Prefix(boxed(b"ab")).holds(b"a")
        );
    }
}
