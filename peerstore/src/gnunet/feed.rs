//! Who is told of what: subscriptions by filter, so that a store costs four look-ups however many
//! watch, each with a queue of limited length; and the last events, for those who come back.
//!
//! It knows events and filters, no store. Whoever falls behind loses its queue and is told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::event::Event;
use super::record::{Filter, PeerIdentity};
use super::waker::Waker;

/// Bytes of events that wait for one who is told, and one event more.
const QUEUE_BYTES_MAX: usize = 4 << 20;

/// One who is told. Dropping it ends the subscription.
pub(crate) struct Subscription {
    queue: Mutex<Queue>,
    removals: bool,
    waker: Arc<Waker>,
    number: u64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    behind: bool,
    closed: bool,
    /// The waker knows that there is something.
    rung: bool,
}

/// What a subscription has.
pub(crate) enum Next {
    Event(Arc<Event>),
    /// Events were lost; the queue was emptied.
    Behind,
    Nothing,
    Closed,
}

impl Subscription {
    /// The next event. With `Nothing` the waker will be rung by the next one.
    pub(crate) fn next(&self) -> Next {
        let mut queue = self.lock();
        if std::mem::take(&mut queue.behind) {
            return Next::Behind;
        }
        match queue.events.pop_front() {
            Some(event) => {
                queue.bytes -= event.bytes();
                Next::Event(event)
            }
            None if queue.closed => Next::Closed,
            None => {
                queue.rung = false;
                Next::Nothing
            }
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    fn push(&self, event: &Arc<Event>, queue_len: usize) {
        let mut queue = self.lock();
        if event.is_removal() && !self.removals || queue.behind {
            return;
        }
        let full = queue.events.len() >= queue_len || queue.bytes >= QUEUE_BYTES_MAX;
        if full {
            queue.events.clear();
            queue.bytes = 0;
            queue.behind = true;
        } else {
            queue.bytes += event.bytes();
            queue.events.push_back(event.clone());
        }
        self.ring(queue);
    }

    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        self.ring(queue);
    }

    fn ring(&self, mut queue: MutexGuard<'_, Queue>) {
        if !std::mem::replace(&mut queue.rung, true) {
            drop(queue);
            self.waker.ring(self.number);
        }
    }

    // A push or pop cannot leave the queue half changed.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events since a seq, if they are still known.
pub(crate) type Replay = Option<Vec<Arc<Event>>>;

pub(crate) struct Feed {
    by_filter: HashMap<Filter, Vec<Weak<Subscription>>>,
    queue_len: usize,
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    history_bytes_max: usize,
    /// Every event with a greater seq is in `history`.
    history_floor: u64,
}

impl Feed {
    pub(crate) fn new(queue_len: usize, history_bytes_max: usize, last_seq: u64) -> Feed {
        Feed {
            by_filter: HashMap::new(),
            queue_len,
            history: VecDeque::new(),
            history_bytes: 0,
            history_bytes_max,
            history_floor: last_seq,
        }
    }

    /// Subscribes to what is told from now on.
    pub(crate) fn subscribe(
        &mut self,
        filter: &Filter,
        removals: bool,
        waker: &Arc<Waker>,
        number: u64,
    ) -> Arc<Subscription> {
        let subscription = Arc::new(Subscription {
            queue: Mutex::default(),
            removals,
            waker: waker.clone(),
            number,
        });
        let told = self.by_filter.entry(filter.clone()).or_default();
        told.retain(|known| known.strong_count() > 0);
        told.push(Arc::downgrade(&subscription));
        // Filters whose last subscriber went are forgotten now and then.
        if self.by_filter.len().is_power_of_two() {
            self.by_filter
                .retain(|_, told| told.iter().any(|known| known.strong_count() > 0));
        }
        subscription
    }

    /// The events after `seq` that a subscription would have been told.
    pub(crate) fn replay(&self, seq: u64, filter: &Filter, removals: bool) -> Replay {
        if seq < self.history_floor {
            return None;
        }
        let from = self.history.partition_point(|event| event.seq() <= seq);
        let chosen = |event: &&Arc<Event>| {
            let named = event.names();
            named.is_some_and(|(subsystem, peer, key)| filter.matches(subsystem, peer, key))
                && (removals || !event.is_removal())
        };
        Some(self.history.range(from..).filter(chosen).cloned().collect())
    }

    /// Tells everyone concerned. Called in the order of commit.
    pub(crate) fn tell(&mut self, event: Event) {
        let event = Arc::new(event);
        let queue_len = self.queue_len;
        if let Some((subsystem, peer, key)) = event.names() {
            for filter in filters_of(subsystem, peer, key) {
                let Some(told) = self.by_filter.get_mut(&filter) else {
                    continue;
                };
                told.retain(|known| match known.upgrade() {
                    Some(subscription) => {
                        subscription.push(&event, queue_len);
                        true
                    }
                    None => false,
                });
                if told.is_empty() {
                    self.by_filter.remove(&filter);
                }
            }
        }
        self.remember(event);
    }

    /// Ends all subscriptions.
    pub(crate) fn close(&mut self) {
        for subscription in self.by_filter.drain().flat_map(|(_, told)| told) {
            if let Some(subscription) = subscription.upgrade() {
                subscription.close();
            }
        }
    }

    pub(crate) fn subscriptions(&self) -> usize {
        let living = |told: &Vec<Weak<Subscription>>| {
            told.iter().filter(|known| known.strong_count() > 0).count()
        };
        self.by_filter.values().map(living).sum()
    }

    fn remember(&mut self, event: Arc<Event>) {
        self.history_bytes += event.bytes();
        self.history.push_back(event);
        while self.history_bytes > self.history_bytes_max {
            let Some(old) = self.history.pop_front() else {
                return;
            };
            self.history_bytes -= old.bytes();
            self.history_floor = old.seq();
        }
    }
}

fn filters_of(subsystem: &Arc<[u8]>, peer: &PeerIdentity, key: &Arc<[u8]>) -> [Filter; 4] {
    let filter = |with_peer: bool, with_key: bool| Filter {
        subsystem: subsystem.clone(),
        peer: with_peer.then_some(*peer),
        key: with_key.then(|| key.clone()),
    };
    [
        filter(true, true),
        filter(true, false),
        filter(false, true),
        filter(false, false),
    ]
}
