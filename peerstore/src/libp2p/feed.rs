//! Streams of events and of one peer's addresses: a bounded queue for each reader. Who writes puts and goes on;
//! a reader that is slow is told how much it missed. Dropping a stream ends it and frees what it held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use libp2p_core::Multiaddr;

use super::event::{Event, EventKind, Next};
use super::peer::Peer;

/// How many addresses a stream of one peer remembers, so as not to give them again.
const SEEN_MAX: usize = 4_096;

/// A queue between writers and one reader.
struct Queue<T> {
    state: Mutex<Waiting<T>>,
    rung: Condvar,
    len_max: usize,
    lagged: Arc<AtomicU64>,
}

struct Waiting<T> {
    items: VecDeque<Next<T>>,
    /// Lost behind the last item.
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl<T> Queue<T> {
    fn new(len_max: usize, lagged: Arc<AtomicU64>) -> Arc<Queue<T>> {
        Arc::new(Queue {
            state: Mutex::new(Waiting {
                items: VecDeque::new(),
                missed: 0,
                waker: None,
                closed: false,
            }),
            rung: Condvar::new(),
            len_max,
            lagged,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: T) {
        let waker = {
            let mut state = self.lock();
            if state.items.len() >= self.len_max {
                if state.missed == 0 {
                    self.lagged.fetch_add(1, Ordering::Relaxed);
                }
                state.missed += 1;
                return;
            }
            if state.missed > 0 {
                let missed = std::mem::take(&mut state.missed);
                state.items.push_back(Next::Lagged(missed));
            }
            state.items.push_back(Next::Item(item));
            state.waker.take()
        };
        self.rung.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn close(&self) {
        let waker = {
            let mut state = self.lock();
            state.closed = true;
            state.waker.take()
        };
        self.rung.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Waiting<T> {
    fn take(&mut self) -> Option<Next<T>> {
        match self.items.pop_front() {
            None if self.missed > 0 => Some(Next::Lagged(std::mem::take(&mut self.missed))),
            other => other,
        }
    }
}

/// Things that happen, as a stream: to be polled, waited for by a thread, or looked at. It ends when
/// the store is closed.
pub struct Stream<T> {
    queue: Arc<Queue<T>>,
}

impl<T> Stream<T> {
    /// The next one, if there is one.
    pub fn try_next(&mut self) -> Option<Next<T>> {
        self.queue.lock().take()
    }

    /// The next one within a time; `None` when it is over, or the store is closed.
    pub fn next_timeout(&mut self, patience: Duration) -> Option<Next<T>> {
        let state = self.queue.lock();
        let nothing =
            |state: &mut Waiting<T>| state.items.is_empty() && state.missed == 0 && !state.closed;
        let waited = self.queue.rung.wait_timeout_while(state, patience, nothing);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Waits for the next one; `None` when the store is closed and all was given.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would hide that it waits"
    )]
    pub fn next(&mut self) -> Option<Next<T>> {
        let mut state = self.queue.lock();
        loop {
            if let Some(next) = state.take() {
                return Some(next);
            }
            if state.closed {
                return None;
            }
            let waited = self.queue.rung.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next one for a task: `Ready(None)` when the store is closed and all was given. Needs no
    /// runtime.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Next<T>>> {
        let mut state = self.queue.lock();
        if let Some(next) = state.take() {
            return Poll::Ready(Some(next));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// One reader of one peer's addresses.
struct AddressReader {
    queue: Weak<Queue<Multiaddr>>,
    seen: HashSet<Multiaddr>,
}

impl AddressReader {
    fn offer(&mut self, addr: &Multiaddr) -> bool {
        let Some(queue) = self.queue.upgrade() else {
            return false;
        };
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        if self.seen.insert(addr.clone()) {
            queue.push(addr.clone());
        }
        true
    }
}

/// One reader of what happens to all peers.
struct EventReader {
    queue: Weak<Queue<Event>>,
    /// Whether it is told what a peer was before each change: that has to be read.
    wants_updates: bool,
}

/// All who listen.
pub(crate) struct Feed {
    everything: Mutex<Vec<EventReader>>,
    of_peer: Mutex<HashMap<Peer, Vec<AddressReader>>>,
    /// How many there are of both, so that a store without readers tells nobody for nothing.
    listeners: AtomicUsize,
    of_everything: AtomicUsize,
    /// Of these, those that are told of updates.
    of_updates: AtomicUsize,
    len_max: usize,
    lagged: Arc<AtomicU64>,
    closed: std::sync::atomic::AtomicBool,
}

impl Feed {
    pub(crate) fn new(len_max: usize) -> Feed {
        Feed {
            everything: Mutex::default(),
            of_peer: Mutex::default(),
            listeners: AtomicUsize::new(0),
            of_everything: AtomicUsize::new(0),
            of_updates: AtomicUsize::new(0),
            len_max,
            lagged: Arc::default(),
            closed: false.into(),
        }
    }

    /// Whether somebody is told of all updates, with what was before and is now.
    pub(crate) fn is_watched(&self) -> bool {
        self.of_updates.load(Ordering::Acquire) > 0
    }

    /// Whether anybody listens at all.
    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::Acquire) > 0
    }

    /// How often a stream began to lag.
    pub(crate) fn lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }

    pub(crate) fn listen(&self, wants_updates: bool) -> Stream<Event> {
        let queue = Queue::new(self.len_max, self.lagged.clone());
        let mut everything = lock(&self.everything);
        everything.push(EventReader {
            queue: Arc::downgrade(&queue),
            wants_updates,
        });
        self.count(&everything);
        self.listeners.fetch_add(1, Ordering::AcqRel);
        drop(everything);
        self.close_if_closed(&queue);
        Stream { queue }
    }

    /// What is there comes first; the caller sees to it that nothing comes between.
    pub(crate) fn listen_to(&self, peer: &Peer, there: &[Multiaddr]) -> Stream<Multiaddr> {
        let queue = Queue::new(self.len_max.max(there.len()), self.lagged.clone());
        let mut reader = AddressReader {
            queue: Arc::downgrade(&queue),
            seen: HashSet::new(),
        };
        for addr in there {
            reader.offer(addr);
        }
        lock(&self.of_peer).entry(*peer).or_default().push(reader);
        self.listeners.fetch_add(1, Ordering::AcqRel);
        self.close_if_closed(&queue);
        Stream { queue }
    }

    fn count(&self, everything: &[EventReader]) {
        let of_updates = everything.iter().filter(|reader| reader.wants_updates);
        self.of_updates.store(of_updates.count(), Ordering::Release);
        self.of_everything
            .store(everything.len(), Ordering::Release);
    }

    fn close_if_closed<T>(&self, queue: &Queue<T>) {
        if self.closed.load(Ordering::Acquire) {
            queue.close();
        }
    }

    pub(crate) fn tell(&self, events: &[Event]) {
        if !self.has_listeners() {
            return;
        }
        let mut gone = 0;
        if self.of_everything.load(Ordering::Acquire) > 0 {
            let mut everything = lock(&self.everything);
            everything.retain(|reader| {
                let Some(queue) = reader.queue.upgrade() else {
                    gone += 1;
                    return false;
                };
                let is_wanted = |event: &&Event| {
                    reader.wants_updates || !matches!(event.kind, EventKind::PeerUpdated { .. })
                };
                let wanted = events.iter().filter(is_wanted);
                wanted.for_each(|event| queue.push(event.clone()));
                true
            });
            self.count(&everything);
        }
        let mut of_peer = lock(&self.of_peer);
        for event in events {
            let EventKind::AddressAdded(address) = &event.kind else {
                continue;
            };
            let Some(readers) = of_peer.get_mut(&event.peer) else {
                continue;
            };
            readers.retain_mut(|reader| {
                let there = reader.offer(&address.addr);
                gone += usize::from(!there);
                there
            });
            if readers.is_empty() {
                of_peer.remove(&event.peer);
            }
        }
        self.listeners.fetch_sub(gone, Ordering::AcqRel);
    }

    /// Drops what is left of streams that were dropped while nothing was told.
    pub(crate) fn tidy(&self) {
        let mut gone = 0;
        let mut everything = lock(&self.everything);
        let before = everything.len();
        everything.retain(|reader| reader.queue.strong_count() > 0);
        gone += before - everything.len();
        self.count(&everything);
        drop(everything);
        let mut of_peer = lock(&self.of_peer);
        of_peer.retain(|_, readers| {
            let before = readers.len();
            readers.retain(|reader| reader.queue.strong_count() > 0);
            gone += before - readers.len();
            !readers.is_empty()
        });
        self.listeners.fetch_sub(gone, Ordering::AcqRel);
    }

    /// How many streams there are, dropped ones that were not noticed yet included.
    pub(crate) fn streams(&self) -> usize {
        self.listeners.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let everything = lock(&self.everything);
        let open = everything
            .iter()
            .filter_map(|reader| reader.queue.upgrade());
        open.for_each(|queue| queue.close());
        drop(everything);
        for reader in lock(&self.of_peer).values().flatten() {
            if let Some(queue) = reader.queue.upgrade() {
                queue.close();
            }
        }
    }
}

// What these guard is whole after every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
