//! What a caller may choose: the mode, quotas, how a record is stored, what is walked and in which
//! order, when a store counts as done.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use peercask::Durability;

use super::error::{Error, Result};
use super::record::Filter;

/// What happens to the records that are there already under the same subsystem, peer and key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum StoreOption {
    /// They stay; the record is one more. An identical value is one more too.
    #[default]
    Multiple,
    /// They go, in the same atomic step: after any crash the old ones are there, or the new one.
    Replace,
}

/// When a store counts as done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub enum Acknowledge {
    /// The store has taken it, everyone sees it; it is with the kernel within 10 ms. What
    /// upstream's old interface means by its continuation, or rather more.
    Accepted,
    /// It survives the death of the process, kill -9 included. As much as upstream ever gives.
    #[default]
    Kernel,
    /// It survives a power cut.
    Device,
}

impl From<Acknowledge> for Durability {
    fn from(acknowledge: Acknowledge) -> Durability {
        match acknowledge {
            Acknowledge::Accepted => Durability::Buffered,
            Acknowledge::Kernel => Durability::Kernel,
            Acknowledge::Device => Durability::Device,
        }
    }
}

/// The order of an iteration. Both are stable across reopen, merge and crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Order {
    /// As they were stored, by sequence number; upstream's from 0.21 on. Such an iteration can be
    /// taken up again behind any sequence number.
    Insertion,
    /// By peer, then key, both as bytes, then as they were stored; upstream's up to 0.20.
    Peer,
}

/// What to walk: a filter, an order, and perhaps only what is newer than a sequence number.
///
/// ```
/// use peercask_peerstore::gnunet::{Filter, Order, Query};
///
/// let hellos = Query::new(Filter::subsystem("peerstore").key("peerstore-peer-hello-uri"));
/// let newer = hellos.clone().after(17);
/// let by_peer = hellos.order(Order::Peer);
/// # let _ = (newer, by_peer);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub(crate) filter: Filter,
    pub(crate) order: Option<Order>,
    pub(crate) after: u64,
}

impl Query {
    /// All that the filter chooses, in the order of the store's mode.
    #[must_use]
    pub fn new(filter: Filter) -> Query {
        Query {
            filter,
            order: None,
            after: 0,
        }
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Query {
        self.order = Some(order);
        self
    }

    /// Only records with a greater sequence number; in insertion order, whatever the mode, unless
    /// an order is set.
    #[must_use]
    pub fn after(mut self, seq: u64) -> Query {
        self.after = seq;
        self
    }
}

impl From<Filter> for Query {
    fn from(filter: Filter) -> Query {
        Query::new(filter)
    }
}

/// What the store does with a record that would take its subsystem over its quota, even when what
/// of the subsystem has expired goes first, as it does then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum QuotaRule {
    /// It is refused, with [`ErrorKind::QuotaExceeded`](super::ErrorKind::QuotaExceeded).
    Refuse,
    /// The oldest records of the subsystem go, in the same atomic step.
    EvictOldest,
}

/// How much a subsystem may keep: the answer to records that never expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Quota {
    /// The most records.
    pub records_max: u64,
    /// The most bytes, as [`Record::payload_bytes`](super::Record::payload_bytes) counts them.
    pub bytes_max: u64,
    /// What happens at the limit.
    pub rule: QuotaRule,
}

/// How a peerstore is opened. Two modes, and every field can be set on its own afterwards.
#[derive(Clone)]
pub struct Options {
    pub(crate) compatible: bool,
    pub(crate) hide_expired: bool,
    pub(crate) order: Order,
    pub(crate) value_len_max: usize,
    pub(crate) sweep_interval: Option<Duration>,
    pub(crate) history_bytes: usize,
    pub(crate) queue_len: usize,
    pub(crate) quotas: HashMap<Arc<[u8]>, Quota>,
    pub(crate) default_quota: Option<Quota>,
    pub(crate) background: bool,
    pub(crate) store: peercask::Options,
}

impl Default for Options {
    fn default() -> Options {
        Options::native()
    }
}

impl Options {
    /// The default: expired records are invisible at once, values up to 16 MiB, any byte in
    /// subsystem and key, insertion order.
    #[must_use]
    pub fn native() -> Options {
        Options {
            compatible: false,
            hide_expired: true,
            order: Order::Insertion,
            value_len_max: 16 << 20,
            sweep_interval: Some(Duration::from_secs(300)),
            history_bytes: 1 << 20,
            queue_len: 4_096,
            quotas: HashMap::new(),
            default_quota: None,
            background: true,
            store: peercask::Options::default(),
        }
    }

    /// As upstream's service up to 0.20: expired records are returned until they are swept, a
    /// record over [`WIRE_BYTES_MAX`](super::WIRE_BYTES_MAX) or with a NUL in a name is an error
    /// value, order is by peer and key.
    #[must_use]
    pub fn compatible() -> Options {
        Options {
            compatible: true,
            hide_expired: false,
            order: Order::Peer,
            ..Options::native()
        }
    }

    /// Whether an expired record is invisible at once (true, the native default) or returned
    /// until it is swept (false, the compatible default).
    #[must_use]
    pub fn hide_expired(mut self, hide: bool) -> Options {
        self.hide_expired = hide;
        self
    }

    /// The order of iterations that name none.
    #[must_use]
    pub fn order(mut self, order: Order) -> Options {
        self.order = order;
        self
    }

    /// The longest value of the native mode, in bytes. Default: 16 MiB; at most 1 GiB.
    #[must_use]
    pub fn value_len_max(mut self, bytes: usize) -> Options {
        self.value_len_max = bytes;
        self
    }

    /// How often expired records are removed. Default: 300 s, and always once at open. `None`:
    /// only when [`Peerstore::expire`](super::Peerstore::expire) is called.
    #[must_use]
    pub fn sweep_interval(mut self, interval: Option<Duration>) -> Options {
        self.sweep_interval = interval;
        self
    }

    /// How many bytes of recent events are kept in memory, so that a monitor that comes back
    /// misses no removal. Default: 1 MiB. 0 keeps none: a monitor that comes back is told so, and
    /// gets the records.
    #[must_use]
    pub fn history_bytes(mut self, bytes: usize) -> Options {
        self.history_bytes = bytes;
        self
    }

    /// How many events wait for one slow monitor before it falls behind; also 4 MiB of them.
    /// Default: 4,096.
    #[must_use]
    pub fn queue_len(mut self, events: usize) -> Options {
        self.queue_len = events;
        self
    }

    /// The quota of one subsystem.
    ///
    /// ```
    /// use peercask_peerstore::gnunet::{Options, Quota, QuotaRule};
    ///
    /// let quota = Quota { records_max: 10_000, bytes_max: 4 << 20, rule: QuotaRule::EvictOldest };
    /// let options = Options::default().quota("transport", quota);
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn quota(mut self, subsystem: impl AsRef<[u8]>, quota: Quota) -> Options {
        self.quotas.insert(subsystem.as_ref().into(), quota);
        self
    }

    /// The quota of every subsystem that has none of its own. Default: none.
    #[must_use]
    pub fn default_quota(mut self, quota: Option<Quota>) -> Options {
        self.default_quota = quota;
        self
    }

    /// Whether a background thread sweeps. Default: true. With false the host calls
    /// [`Peerstore::maintain`](super::Peerstore::maintain) now and then.
    #[must_use]
    pub fn background(mut self, background: bool) -> Options {
        self.background = background;
        self
    }

    /// How the store beneath is opened: clock, segment size, sync interval, background threads.
    #[must_use]
    pub fn store(mut self, options: peercask::Options) -> Options {
        self.store = options;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.value_len_max > 1 << 30 {
            return Err(Error::invalid("value_len_max must be at most 1 GiB"));
        }
        if self.sweep_interval == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "sweep_interval must be above 0; None turns the sweep off",
            ));
        }
        if self.queue_len == 0 {
            return Err(Error::invalid("queue_len must be at least 1"));
        }
        Ok(())
    }

    pub(crate) fn quota_of(&self, subsystem: &[u8]) -> Option<Quota> {
        self.quotas.get(subsystem).copied().or(self.default_quota)
    }
}
