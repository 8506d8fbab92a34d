//! The handle: what a program keeps when the store has moved into the behaviour. The trait has no
//! room for errors, statistics or an end; here they are.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use libp2p_identity::PeerId;
use libp2p_kad::{Record, RecordKey};
use peercask::{Merge, MergeReport};

use crate::due::{Due, Published};
use crate::error::{Error, Result};
use crate::report::OpenReport;
use crate::shared::{Shared, Which};
use crate::stats::{Health, Histogram, State, Stats};

/// A record store's other end: cheap to clone, usable from any thread.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use libp2p_identity::PeerId;
/// use peercask_kad::{Options, PersistentStore, State};
///
/// let dir = tempfile::tempdir()?;
/// let store = PersistentStore::open(dir.path(), PeerId::random(), Options::default())?;
/// let handle = store.handle();
/// // ... the store moves into `kad::Behaviour::new(local_id, store)` ...
/// assert_eq!(handle.health().state, State::Green);
/// assert_eq!(handle.stats().records, 0);
/// handle.close()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    /// The identity that the store was opened with.
    #[must_use]
    pub fn local_peer_id(&self) -> PeerId {
        self.shared.local
    }

    /// What opening found.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Counters and sizes; costs the same whatever the store holds. The sizes of the files are at
    /// most a second old.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let mut stats = Stats {
            live_bytes: counters.live_bytes.get(),
            dead_bytes: counters.dead_bytes.get(),
            disk_bytes: counters.disk_bytes.get(),
            added: counters.added.get(),
            refreshed: counters.refreshed.get(),
            removed: counters.removed.get(),
            swept: counters.swept.get(),
            sweep_looked: counters.sweep_looked.get(),
            evicted: counters.evicted.get(),
            refused: counters.refused(),
            trimmed: counters.trimmed.get(),
            io_errors: counters.io_errors.get(),
            undecodable: counters.undecodable.get(),
            damaged: counters.damaged.get(),
            lost: counters.lost.get(),
            syncs: counters.syncs.get(),
            slowest_call: counters.calls.max(),
            last_sweep_ms: counters.last_sweep_ms.get(),
            last_sweep_took: Duration::from_nanos(counters.last_sweep_ns.get()),
            ..Stats::default()
        };
        let state = self.shared.lock();
        stats.own_records = state.table(Which::OwnValues).live();
        stats.records = state.table(Which::Values).live() + stats.own_records;
        stats.provider_keys = state.table(Which::Provides).keys();
        stats.provider_records = state.table(Which::Provides).live();
        stats.own_keys = state.table(Which::OwnProvides).live();
        stats.providers = state.per_peer.len() as u64;
        stats.queue_records = state.pending.len() as u64;
        stats.queue_bytes = state.pending.bytes() as u64;
        let own = [Which::OwnValues, Which::OwnProvides].into_iter();
        let oldest = own.filter_map(|which| state.table(which).due.as_ref()?.oldest_s());
        let interval_s = crate::time::seconds(self.shared.options.republish_interval);
        stats.oldest_due_s = oldest.min().map(|second| second.saturating_add(interval_s));
        stats
    }

    /// How long the calls of the trait took since the store was opened.
    #[must_use]
    pub fn latencies(&self) -> Histogram {
        self.shared.counters.calls.picture()
    }

    /// Whether the store does what it is there for, and what last kept it from that.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        let counters = &shared.counters;
        let engine = shared.store.stats();
        let stopped = shared.is_closed()
            || engine.poisoned.is_some()
            || counters.worker_died.load(Ordering::Acquire);
        let state = if stopped {
            State::Stopped
        } else if counters.failing.load(Ordering::Acquire) {
            State::Red
        } else {
            State::Green
        };
        Health {
            state,
            last_error: counters.last_error(),
            poisoned: engine.poisoned,
            engine_error: engine.last_background_error,
            clock_warning: shared.store.clock_warning(),
            queue_records: shared.lock().pending.len() as u64,
            undecodable: counters.undecodable.get(),
            damaged: counters.damaged.get(),
        }
    }

    /// Returns when everything written before is on the device. It may take as long as a sync
    /// does: not for the swarm's thread.
    ///
    /// # Errors
    /// What kept it from the device; `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.open_store()?;
        self.shared.drain()?;
        Ok(self.shared.store.sync()?)
    }

    /// Gives space back now instead of in the background. Not for the swarm's thread.
    ///
    /// # Errors
    /// As the engine's merge; `Closed`.
    pub fn merge(&self, how: Merge) -> Result<MergeReport> {
        self.open_store()?;
        Ok(self.shared.store.merge(how)?)
    }

    /// What the background thread does, once: hands waiting records to the kernel, takes expired
    /// ones out, measures the files. For programs with [`Options::background`] off, and for tests.
    ///
    /// # Errors
    /// What kept waiting records from the kernel: they go on waiting. `Closed`.
    ///
    /// [`Options::background`]: crate::Options::background
    pub fn step(&self) -> Result<()> {
        self.shared.step()
    }

    /// Own records that were last published longer than `interval` ago, at most `max` of them, those
    /// that wait longest. A crash loses at most the last publishing times: these are published
    /// once more.
    ///
    /// # Errors
    /// `Closed`.
    pub fn due(&self, interval: Duration, max: usize) -> Result<Due> {
        self.shared.due(interval, max)
    }

    /// Notes that an own record was published now. False if there is none.
    ///
    /// # Errors
    /// `Closed`.
    pub fn mark_published(&self, what: Published, key: &RecordKey) -> Result<bool> {
        self.shared.mark_published(what, key)
    }

    /// How long own records go without being published again, as the store was opened.
    #[must_use]
    pub fn republish_interval(&self) -> Duration {
        self.shared.options.republish_interval
    }

    /// A value record that this node published, to publish it again.
    #[must_use]
    pub fn own_record(&self, key: &RecordKey) -> Option<Record> {
        if self.shared.is_closed() {
            return None;
        }
        self.shared.own_value(key)
    }

    /// Says that the wall clock is right, after [`Health::clock_warning`].
    ///
    /// # Errors
    /// As the engine's; `Closed`.
    pub fn confirm_clock(&self) -> Result<()> {
        self.open_store()?;
        Ok(self.shared.store.confirm_clock()?)
    }

    /// Brings everything to the device, saves the index and lets the directory go. Later calls of
    /// the store are refused and counted. Closing again answers the same.
    ///
    /// # Errors
    /// What kept it from the device; the store is closed nevertheless.
    pub fn close(&self) -> Result<()> {
        self.shared.close(Duration::MAX)
    }

    /// The engine's store, for its own statistics, verification and checkpoints. What is written
    /// to it directly the record store does not see.
    #[must_use]
    pub fn engine(&self) -> &peercask::Store {
        &self.shared.store
    }

    fn open_store(&self) -> Result<()> {
        if self.shared.is_closed() {
            return Err(Error::Closed);
        }
        Ok(())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("dir", &self.shared.dir)
            .field("local", &self.shared.local)
            .finish_non_exhaustive()
    }
}
