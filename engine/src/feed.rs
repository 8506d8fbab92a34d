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
    subscribers: Mutex<Subscribers>,
}

/// Who watches what, so that a write looks at those alone whom it concerns.
#[derive(Default)]
struct Subscribers {
    spaces: BTreeMap<KeyspaceId, OfSpace>,
    /// For whom something came since they were woken last.
    due: Vec<Waker>,
}

/// All who watch one keyspace.
#[derive(Default)]
struct OfSpace {
    whole: Vec<Arc<Subscriber>>,
    by_key: Named,
    /// By the length of the prefix: a key asks once for each length that it has.
    by_prefix: BTreeMap<usize, Named>,
}

/// Those who watch one key, or one prefix.
type Named = BTreeMap<Box<[u8]>, Vec<Arc<Subscriber>>>;

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
        let space = subscribers.spaces.entry(subscriber.keyspace).or_default();
        space.list(&subscriber.scope).push(subscriber.clone());
        self.watched.store(true, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, subscriber: &Arc<Subscriber>) {
        let mut subscribers = self.lock();
        if let Some(space) = subscribers.spaces.get_mut(&subscriber.keyspace) {
            let list = space.list(&subscriber.scope);
            list.retain(|other| !Arc::ptr_eq(other, subscriber));
            space.forget_empty(&subscriber.scope);
            if space.is_empty() {
                subscribers.spaces.remove(&subscriber.keyspace);
            }
        }
        if subscribers.spaces.is_empty() {
            subscribers.due.clear();
        }
        self.watched
            .store(!subscribers.spaces.is_empty(), Ordering::Relaxed);
    }

    /// Queues a change for all whom it concerns. Under the log lock: this is the commit order.
    pub(crate) fn push(&self, written: &Written<'_>) {
        let mut subscribers = self.lock();
        let Subscribers { spaces, due } = &mut *subscribers;
        if let Some(space) = spaces.get(&written.keyspace) {
            let woken = space.concerned(written.key).filter_map(|s| s.push(written));
            due.extend(woken);
        }
    }

    /// Wakes those for whom something came. Call it without a lock.
    pub(crate) fn ring(&self) {
        if self.is_watched() {
            let due = std::mem::take(&mut self.lock().due);
            due.into_iter().for_each(Waker::wake);
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
        self.lock().all().any(expects)
    }

    fn wake_where(&self, chosen: impl Fn(&Queue) -> bool) {
        let wakers: Vec<Waker> = {
            let subscribers = self.lock();
            let chosen = subscribers.all().filter_map(|subscriber| {
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
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscribers {
    fn all(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.spaces.values().flat_map(OfSpace::all)
    }
}

impl OfSpace {
    /// Those whom a change of `key` concerns: nobody else is looked at.
    fn concerned(&self, key: &[u8]) -> impl Iterator<Item = &Arc<Subscriber>> {
        let by_prefix = self.by_prefix.range(..=key.len());
        let by_prefix = by_prefix.filter_map(|(len, named)| named.get(key.get(..*len)?));
        let lists = self.by_key.get(key).into_iter().chain(by_prefix);
        self.whole.iter().chain(lists.flatten())
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        let named = self.by_prefix.values().chain([&self.by_key]);
        let named = named.flat_map(BTreeMap::values).flatten();
        self.whole.iter().chain(named)
    }

    fn list(&mut self, scope: &Scope) -> &mut Vec<Arc<Subscriber>> {
        match scope {
            Scope::All => &mut self.whole,
            Scope::Key(key) => self.by_key.entry(key.clone()).or_default(),
            Scope::Prefix(prefix) => {
                let named = self.by_prefix.entry(prefix.len()).or_default();
                named.entry(prefix.clone()).or_default()
            }
        }
    }

    /// Nothing is kept of a scope that nobody watches any more.
    fn forget_empty(&mut self, scope: &Scope) {
        match scope {
            Scope::All => {}
            Scope::Key(key) => {
                if self.by_key.get(key).is_some_and(Vec::is_empty) {
                    self.by_key.remove(key);
                }
            }
            Scope::Prefix(prefix) => {
                let Some(named) = self.by_prefix.get_mut(&prefix.len()) else {
                    return;
                };
                if named.get(prefix).is_some_and(Vec::is_empty) {
                    named.remove(prefix);
                }
                if named.is_empty() {
                    self.by_prefix.remove(&prefix.len());
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.all().next().is_none()
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

    /// Queues a change; whom to wake for it, if the watcher waits.
    fn push(&self, written: &Written<'_>) -> Option<Waker> {
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
            return None;
        }
        let full = queue.events.len() >= self.capacity
            || (!queue.events.is_empty() && queue.key_bytes + written.key.len() > KEY_BYTES_MAX);
        // After a loss nothing is queued until the watcher was told: it is one gap.
        if queue.lost > 0 || full {
            queue.lost += 1;
            return queue.waker.take();
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
        queue.waker.take()
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
    fn next_deadline(&self) -> Option<u64> {
        let first = self.deadlines.as_ref()?.first_key_value();
        first.map(|((expiry, _), _)| *expiry)
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    fn written(keyspace: u32, seq: u64, key: &[u8], put: Option<u64>) -> Written<'_> {
        Written {
            keyspace: KeyspaceId(keyspace),
            seq,
            key,
            put,
            replaced: None,
            segment: SegmentId(1),
            location: Location { slot: 0, offset: 0 },
        }
    }

    fn write(subscriber: &Subscriber, seq: u64, key: &[u8], put: Option<u64>) {
        subscriber.push(&written(1, seq, key, put));
    }

    fn boxed(bytes: &[u8]) -> Box<[u8]> {
        Box::from(bytes)
    }

    /// A feed with one watcher for each keyspace and scope.
    fn feed(scopes: &[(u32, Scope)]) -> (Feed, Vec<Arc<Subscriber>>) {
        let (feed, mut all) = (Feed::default(), Vec::new());
        for (keyspace, scope) in scopes {
            let id = KeyspaceId(*keyspace);
            let subscriber = Arc::new(Subscriber::new(id, scope.clone(), 10, false));
            subscriber.go_live(0);
            feed.add(subscriber.clone());
            all.push(subscriber);
        }
        (feed, all)
    }

    #[test]
    fn a_write_looks_at_those_alone_whom_it_concerns() {
        let mut scopes = vec![(1, Scope::All)];
        for n in 0..1_000_u32 {
            scopes.push((2, Scope::All));
            scopes.push((1, Scope::Key(n.to_le_bytes().into())));
            scopes.push((1, Scope::Prefix(n.to_le_bytes().into())));
        }
        let (feed, all) = feed(&scopes);
        let looked = |keyspace, key: &[u8]| {
            let subscribers = feed.lock();
            let space = subscribers.spaces.get(&KeyspaceId(keyspace));
            space.map_or(0, |space| space.concerned(key).count())
        };
        assert_eq!(looked(1, b""), 1);
        assert_eq!(looked(1, &7_u32.to_le_bytes()), 3);
        assert_eq!(looked(1, &[7, 0, 0, 0, 9]), 2);
        assert_eq!(looked(1, &2_000_u32.to_le_bytes()), 1);
        assert_eq!((looked(2, b"any"), looked(3, b"any")), (1_000, 0));
        for subscriber in &all {
            feed.remove(subscriber);
        }
        assert!(!feed.is_watched());
        assert!(
            feed.lock().spaces.is_empty(),
            "nothing is kept of those who left"
        );
    }

    /// The index answers as the scopes do, for keys and scopes of few bytes, in all ways.
    #[test]
    fn whom_a_change_concerns_is_what_the_scopes_say() {
        let words: [&[u8]; 7] = [b"", b"a", b"ab", b"abc", b"b", b"ba", b"\xFF"];
        let mut scopes = vec![(1, Scope::All), (2, Scope::All)];
        for word in words {
            for keyspace in [1, 2] {
                scopes.push((keyspace, Scope::Key(word.into())));
                scopes.push((keyspace, Scope::Prefix(word.into())));
            }
        }
        let (feed, all) = feed(&scopes);
        for (seq, key) in (1..).zip(words) {
            feed.push(&written(1, seq, key, None));
            for subscriber in &all {
                let concerned = subscriber.keyspace.0 == 1 && subscriber.scope.holds(key);
                let expected = if concerned {
                    seq.to_string()
                } else {
                    "nothing".to_owned()
                };
                assert_eq!(
                    take(subscriber),
                    expected,
                    "{key:?} for {:?}",
                    subscriber.scope
                );
            }
        }
    }

    #[test]
    fn those_alone_are_woken_for_whom_something_came() {
        let scopes = [
            (1, Scope::All),
            (1, Scope::Key(boxed(b"other"))),
            (2, Scope::All),
        ];
        let (feed, all) = feed(&scopes);
        for subscriber in &all {
            assert_eq!(take(subscriber), "nothing");
        }
        feed.push(&written(1, 1, b"key", None));
        feed.push(&written(1, 2, b"key", None));
        assert_eq!(feed.lock().due.len(), 1, "once, and nobody else");
        feed.ring();
        assert!(feed.lock().due.is_empty());
        assert_eq!((take(&all[0]).as_str(), take(&all[0]).as_str()), ("1", "2"));
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
        assert!(Scope::All.holds(b""));
        assert!(Scope::Key(boxed(b"ab")).holds(b"ab") && !Scope::Key(boxed(b"ab")).holds(b"abc"));
        assert!(
            Scope::Prefix(boxed(b"ab")).holds(b"abc") && !Scope::Prefix(boxed(b"ab")).holds(b"a")
        );
    }
}
