//! A watch or monitor: what is there already if asked for, then what is new, without a gap and
//! without a double. It is told through a subscription that starts in the same instant as its
//! snapshot; if its queue overflows it goes back to the records, and says so.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::event::Event;
use super::feed::{Next, Subscription};
use super::iteration::Iteration;
use super::options::{Order, Query};
use super::peerstore::Handle;
use super::record::Filter;
use super::waker::Waker;

/// Where a monitor starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum From {
    /// With what is stored from now on.
    #[default]
    Now,
    /// With the records that are there, in insertion order.
    Existing,
    /// Behind this sequence number: where an earlier monitor, of this process or another, ended.
    After(u64),
}

/// What to monitor.
///
/// ```
/// use peercask_peerstore::gnunet::{Filter, From, MonitorSpec};
///
/// let hellos = Filter::subsystem("peerstore").key("peerstore-peer-hello-uri");
/// let spec = MonitorSpec::new(hellos).from(From::Existing).removals(true);
/// # let _ = spec;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSpec {
    pub(crate) filter: Filter,
    pub(crate) from: From,
    pub(crate) removals: bool,
}

impl MonitorSpec {
    /// Monitors what the filter chooses, from now on.
    #[must_use]
    pub fn new(filter: Filter) -> MonitorSpec {
        MonitorSpec {
            filter,
            from: From::Now,
            removals: false,
        }
    }

    /// Where to start. Default: [`From::Now`].
    #[must_use]
    pub fn from(mut self, from: From) -> MonitorSpec {
        self.from = from;
        self
    }

    /// Whether deletes, expiry and evictions are told too. Default: no.
    #[must_use]
    pub fn removals(mut self, removals: bool) -> MonitorSpec {
        self.removals = removals;
        self
    }
}

impl std::convert::From<Filter> for MonitorSpec {
    fn from(filter: Filter) -> MonitorSpec {
        MonitorSpec::new(filter)
    }
}

/// A running watch or monitor. Made by [`Peerstore::monitor`](super::Peerstore::monitor);
/// dropping it ends it.
pub struct Monitor {
    handle: Arc<Handle>,
    filter: Filter,
    removals: bool,
    subscription: Arc<Subscription>,
    /// To be told before anything else.
    ahead: VecDeque<Arc<Event>>,
    existing: Option<Iteration>,
    /// Told when `existing` is through.
    synced_seq: Option<u64>,
    last_seq: u64,
}

impl Monitor {
    pub(crate) fn start(handle: &Arc<Handle>, spec: &MonitorSpec) -> Monitor {
        Monitor::with_waker(handle, spec, &Waker::new(), 0)
    }

    /// A monitor that rings `waker` with `number` when it has something.
    pub(crate) fn with_waker(
        handle: &Arc<Handle>,
        spec: &MonitorSpec,
        waker: &Arc<Waker>,
        number: u64,
    ) -> Monitor {
        let mut state = handle.core.write();
        let subscription = state
            .feed
            .subscribe(&spec.filter, spec.removals, waker, number);
        let now = state.last_seq;
        let mut monitor = Monitor {
            handle: handle.clone(),
            filter: spec.filter.clone(),
            removals: spec.removals,
            subscription,
            ahead: VecDeque::new(),
            existing: None,
            synced_seq: Some(now),
            last_seq: now,
        };
        let query = |after| {
            let query = Query::new(spec.filter.clone()).order(Order::Insertion);
            query.after(after)
        };
        match spec.from {
            From::Now => {}
            From::Existing => {
                let seq = state.hold_snapshot();
                monitor.existing = Some(Iteration::at(handle, &query(0), seq));
                monitor.last_seq = 0;
            }
            From::After(seq) => {
                // A seq that this store never gave comes from another one: all records follow.
                let after = if seq > now { 0 } else { seq };
                let replay = match seq > now {
                    true => None,
                    false => state.feed.replay(after, &spec.filter, spec.removals),
                };
                monitor.last_seq = after;
                if let Some(events) = replay {
                    monitor.ahead = events.into();
                } else {
                    monitor.ahead.push_back(Arc::new(Event::Missed { after }));
                    let seq = state.hold_snapshot();
                    monitor.existing = Some(Iteration::at(handle, &query(after), seq));
                }
            }
        }
        monitor
    }

    /// The next event, if there is one now.
    ///
    /// # Errors
    /// `Closed` when the peerstore is closed; `Corrupted` for a record that cannot be read: the
    /// monitor goes on behind it.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        // Who asks without waiting must not leave the rings to pile up.
        let waker = self.subscription.waker().clone();
        while waker.take(Duration::ZERO).is_some() {}
        Ok(self.advance(true)?.map(|event| Event::clone(&event)))
    }

    /// The next event, waiting up to `timeout` for one.
    ///
    /// # Errors
    /// As [`Monitor::try_next`].
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let started = Instant::now();
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let waker = self.subscription.waker().clone();
            waker.take(left);
        }
    }

    /// The sequence number from which a later monitor goes on without a gap: see [`From::After`].
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The next event; those of the initial pass only if `existing`. With `None` the waker will
    /// ring.
    pub(crate) fn advance(&mut self, existing: bool) -> Result<Option<Arc<Event>>> {
        loop {
            if let Some(event) = self.ahead.pop_front() {
                self.last_seq = event.seq();
                return Ok(Some(event));
            }
            if self.existing.is_some() {
                if !existing {
                    return Ok(None);
                }
                if let Some(event) = self.next_existing()? {
                    return Ok(Some(event));
                }
            }
            if let Some(seq) = self.synced_seq.take() {
                self.last_seq = seq;
                return Ok(Some(Arc::new(Event::Synced { seq })));
            }
            match self.subscription.next() {
                Next::Event(event) => {
                    self.last_seq = event.seq();
                    return Ok(Some(event));
                }
                Next::Nothing => return Ok(None),
                Next::Closed => return Err(Error::closed()),
                Next::Behind => self.catch_up(),
            }
        }
    }

    /// Whether the initial pass is still under way.
    pub(crate) fn is_in_initial_pass(&self) -> bool {
        self.existing.is_some()
    }

    fn next_existing(&mut self) -> Result<Option<Arc<Event>>> {
        let Some(iteration) = &mut self.existing else {
            return Ok(None);
        };
        let Some(stored) = iteration.next().transpose()? else {
            self.existing = None;
            return Ok(None);
        };
        self.last_seq = stored.seq;
        Ok(Some(Arc::new(Event::Stored {
            seq: stored.seq,
            record: stored.record,
            replaces: false,
        })))
    }

    /// Starts again behind the last event, with the same waker.
    fn catch_up(&mut self) {
        let spec = MonitorSpec {
            filter: self.filter.clone(),
            from: From::After(self.last_seq),
            removals: self.removals,
        };
        let (waker, number) = (
            self.subscription.waker().clone(),
            self.subscription.number(),
        );
        *self = Monitor::with_waker(&self.handle.clone(), &spec, &waker, number);
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("filter", &self.filter)
            .field("last_seq", &self.last_seq)
            .finish_non_exhaustive()
    }
}
