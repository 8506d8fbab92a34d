//! The peerstore itself: opens, and offers each operation directly, from any thread. Handles with
//! callbacks, pending stores and a service behind them are in `connection.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use peercask::{KeyspaceOptions, Store};

use super::change::Applied;
use super::connection::Connection;
use super::core::{Core, Loaded};
use super::error::{Error, ErrorKind, Result};
use super::index::Count;
use super::iteration::Iteration;
use super::monitor::{Monitor, MonitorSpec};
use super::options::{Acknowledge, Options, Query, StoreOption};
use super::record::{Filter, PeerIdentity, Record};
use super::sweeper::Sweeper;

/// The keyspace of the records, in the store that holds them.
const KEYSPACE: &str = "gnunet-peerstore";

/// Stores whose records a peerstore of this process has an index of: a second index would not
/// see the first one's changes.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Records of subsystem, peer, key, value and expiry. Cheap to clone, usable from any thread; the
/// last handle dropped closes it.
///
/// ```
/// use peercask_peerstore::gnunet::{Filter, Options, PeerIdentity, Peerstore, Record, StoreOption};
///
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let dir = dir.path();
/// let peers = Peerstore::open(dir, Options::default())?;
/// let alice = PeerIdentity([1; 32]);
/// peers.store(&Record::new("fs", alice, "respect", "17"), StoreOption::Replace)?;
///
/// for found in peers.iterate(Filter::subsystem("fs").peer(alice))? {
///     let found = found?;
///     println!("{} -> {:?}", found.seq, found.record.value);
/// }
/// peers.forget_peer(alice)?;
/// peers.close()?;
/// # Ok::<(), peercask_peerstore::gnunet::Error>(())
/// ```
#[derive(Clone)]
pub struct Peerstore {
    pub(crate) handle: Arc<Handle>,
}

/// What handles, walks and monitors count; its last drop closes.
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
}

/// Records and bytes of one subsystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubsystemStats {
    /// Records, those expired but not yet swept included.
    pub records: u64,
    /// Their bytes, as [`Record::payload_bytes`] counts them.
    pub bytes: u64,
}

/// A picture of a peerstore.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PeerstoreStats {
    /// Each subsystem that has a record.
    pub subsystems: BTreeMap<Vec<u8>, SubsystemStats>,
    /// Records in all.
    pub records: u64,
    /// Everything up to this sequence number is visible.
    pub last_seq: u64,
    /// Bytes of the store's segments.
    pub disk_bytes: u64,
    /// Watches and monitors.
    pub monitors: u64,
    /// Walks under way.
    pub iterations: u64,
    /// Removed records that are kept for walks under way.
    pub kept_for_iterations: u64,
    /// Records that could not be read at open.
    pub damaged: u64,
    /// The last error of the sweep in the background, if there was one.
    pub last_sweep_error: Option<String>,
}

impl Peerstore {
    /// Opens the peerstore in `dir`, making it if the directory is missing or empty. Removes what
    /// has expired. The time that it takes grows with the number of records.
    ///
    /// # Errors
    /// `Locked` if another process or handle has it; `InvalidArgument` for a directory that holds
    /// something else or an option out of range; `NotFound`, `Corrupted`, `UnsupportedVersion`,
    /// `Io` as the store beneath says. A record that cannot be read is no error: see
    /// [`Peerstore::damaged`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Peerstore> {
        options.check()?;
        let store = Store::open(dir, options.store.clone())?;
        Peerstore::in_store(store, options, true)
    }

    /// A peerstore in a keyspace of its own of a store that the caller has open, and keeps open.
    ///
    /// # Errors
    /// `Locked` if this process has a peerstore on this store already; else as
    /// [`Peerstore::open`].
    pub fn on(store: &Store, options: Options) -> Result<Peerstore> {
        options.check()?;
        Peerstore::in_store(store.clone(), options, false)
    }

    fn in_store(store: Store, options: Options, owns_store: bool) -> Result<Peerstore> {
        let rows = store.keyspace(KEYSPACE, KeyspaceOptions::hash())?;
        // A store on a simulated disk has no directory, and there may be many of one name.
        if store.dir().exists() && !open_stores().insert(store.dir().to_path_buf()) {
            let what = format!("a peerstore on {} is open already", store.dir().display());
            return Err(Error::new(ErrorKind::Locked, what));
        }
        let dir = store.dir().to_path_buf();
        let loaded = Loaded::from(&store, &rows).inspect_err(|_| {
            open_stores().remove(&dir);
        })?;
        let core = Arc::new(Core::new(store, rows, options, owns_store, loaded));
        let handle = Arc::new(Handle { core: core.clone() });
        // On a full disk or with a poisoned store the sweep can wait; the records can be read.
        if let Err(error) = Sweeper::first(&core) {
            tracing::warn!(%error, "removing expired records at open failed");
        }
        if let Some(interval) = core.options.sweep_interval
            && core.options.background
        {
            Sweeper::start(&core, interval)?;
        }
        Ok(Peerstore { handle })
    }

    /// Ends all walks, watches and monitors, stops the background thread, and closes the store if
    /// [`Peerstore::open`] opened it. Calls of other handles answer `Closed` from then on.
    ///
    /// # Errors
    /// What kept the last writes from the device.
    pub fn close(self) -> Result<()> {
        self.handle.core.close()
    }

    /// A handle with GNUnet's semantics: pending stores, callbacks, watches that end with it.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection::local(self)
    }

    // ---- storing

    /// Stores a record, and returns its sequence number when it survives the death of the process.
    ///
    /// # Errors
    /// `InvalidRecord`, `TooLarge` and `QuotaExceeded` for the record; `StorageFull`, `Poisoned`,
    /// `Closed`, `Io`. Nothing is changed then.
    pub fn store(&self, record: &Record, option: StoreOption) -> Result<u64> {
        self.store_with(record, option, Acknowledge::Kernel)
    }

    /// Stores a record, and returns its sequence number when it is as safe as `acknowledge` says.
    ///
    /// # Errors
    /// As [`Peerstore::store`]. If the wait for the device fails (`Io`, `Poisoned`) the record is
    /// visible, and may be gone after a crash.
    pub fn store_with(
        &self,
        record: &Record,
        option: StoreOption,
        acknowledge: Acknowledge,
    ) -> Result<u64> {
        wait(self.handle.core.store_record(record, option, acknowledge)?)
    }

    /// Stores a record in place of those under its subsystem, peer and key, unless one of them
    /// expires later; `None` then. In one atomic step: what GNUnet does with the addresses
    /// (HELLOs) of a peer, for any value.
    ///
    /// # Errors
    /// As [`Peerstore::store_with`].
    pub fn store_newest(&self, record: &Record, acknowledge: Acknowledge) -> Result<Option<u64>> {
        self.handle
            .core
            .store_newest(record, acknowledge)?
            .map(wait)
            .transpose()
    }

    /// Removes all records that the filter chooses, in one atomic step; how many there were.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned`, `Closed`, `Io`; nothing is changed then.
    pub fn remove(&self, filter: &Filter) -> Result<u64> {
        let choose = |state: &super::core::State| state.index.all_of(filter);
        let (count, _) = self
            .handle
            .core
            .remove_chosen(Acknowledge::Kernel, choose)?;
        Ok(count)
    }

    /// Removes all records about a peer, in every subsystem, in one atomic step, on the device
    /// when it returns; how many there were.
    ///
    /// # Errors
    /// As [`Peerstore::remove`].
    pub fn forget_peer(&self, peer: PeerIdentity) -> Result<u64> {
        let choose = |state: &super::core::State| state.index.of_peer_everywhere(&peer);
        let (count, applied) = self
            .handle
            .core
            .remove_chosen(Acknowledge::Device, choose)?;
        applied.map(wait).transpose()?;
        Ok(count)
    }

    /// Removes the records that expire before `now_us` (microseconds since 1970), not those that
    /// expire then, and never one that expires never; how many there were. The cost is in
    /// proportion to that number.
    ///
    /// # Errors
    /// As [`Peerstore::remove`]; what was removed before the error stays removed.
    pub fn expire(&self, now_us: u64) -> Result<u64> {
        self.handle.core.sweep(now_us)
    }

    /// Removes what has expired by now.
    ///
    /// # Errors
    /// As [`Peerstore::expire`].
    pub fn expire_now(&self) -> Result<u64> {
        self.expire(self.now_us())
    }

    /// One step of what the background thread does: a sweep, if its interval has passed.
    ///
    /// # Errors
    /// As [`Peerstore::expire`].
    pub fn maintain(&self) -> Result<u64> {
        self.handle.core.check_open()?;
        Sweeper::step(&self.handle.core)
    }

    // ---- reading

    /// Walks over the records that a query chooses, as they are now.
    ///
    /// # Errors
    /// `Closed`.
    pub fn iterate(&self, query: impl Into<Query>) -> Result<Iteration> {
        self.handle.core.check_open()?;
        Ok(Iteration::start(&self.handle, &query.into()))
    }

    /// Watches what a filter chooses: see [`MonitorSpec`]. A slow monitor never makes a store
    /// wait; it is told that it missed something, and gets the records again.
    ///
    /// ```
    /// use peercask_peerstore::gnunet::{
    ///     Event, Filter, From, MonitorSpec, Options, PeerIdentity, Peerstore, Record, StoreOption,
    /// };
    ///
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// let peers = Peerstore::open(dir.path(), Options::default())?;
    /// let record = Record::new("fs", PeerIdentity([1; 32]), "respect", "17");
    /// peers.store(&record, StoreOption::Replace)?;
    /// let spec = MonitorSpec::new(Filter::subsystem("fs")).from(From::Existing);
    /// let mut monitor = peers.monitor(spec)?;
    /// assert!(matches!(monitor.try_next()?, Some(Event::Stored { .. })));
    /// assert!(matches!(monitor.try_next()?, Some(Event::Synced { .. })));
    /// assert!(monitor.try_next()?.is_none());
    /// # Ok::<(), peercask_peerstore::gnunet::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Closed`.
    pub fn monitor(&self, spec: impl Into<MonitorSpec>) -> Result<Monitor> {
        self.handle.core.check_open()?;
        Ok(Monitor::start(&self.handle, &spec.into()))
    }

    /// Counts and sizes.
    ///
    /// # Errors
    /// `Closed`.
    pub fn stats(&self) -> Result<PeerstoreStats> {
        let core = &self.handle.core;
        core.check_open()?;
        let disk_bytes = core.store.stats().disk_bytes;
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let state = core.read();
        let named = |(name, count): (Arc<[u8]>, Count)| {
            let stats = SubsystemStats {
                records: count.records,
                bytes: count.bytes,
            };
            (name.to_vec(), stats)
        };
        Ok(PeerstoreStats {
            subsystems: state.index.counts().into_iter().map(named).collect(),
            records: wide(state.index.len()),
            last_seq: state.last_seq,
            disk_bytes,
            monitors: wide(state.feed.subscriptions()),
            iterations: state.snapshots.values().sum(),
            kept_for_iterations: wide(state.index.dead_len()),
            damaged: wide(core.damaged.len()),
            last_sweep_error: core.sweeper.last_error(),
        })
    }

    /// What could not be read at open: file, offset and what does not hold, a line each.
    #[must_use]
    pub fn damaged(&self) -> &[String] {
        &self.handle.core.damaged
    }

    /// The time by which records expire: the store's, in microseconds since 1970, in steps of a
    /// millisecond, never backwards.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.handle.core.now_us()
    }

    /// The store beneath: for `verify`, `merge`, `sync` and its own counters.
    #[must_use]
    pub fn engine(&self) -> &Store {
        &self.handle.core.store
    }
}

impl fmt::Debug for Peerstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peerstore")
            .field("dir", &self.handle.core.store.dir())
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn close(&self) -> Result<()> {
        if !self.mark_closed() {
            return Ok(());
        }
        self.sweeper.join();
        self.wait_for_writer();
        self.write().feed.close();
        let dir = self.store.dir().to_path_buf();
        let result = match self.owns_store {
            true => self.store.clone().close(),
            false => self.store.sync(),
        };
        open_stores().remove(&dir);
        Ok(result?)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.core.close() {
            // Nobody is left to tell; who wants to know calls `Peerstore::close`.
            tracing::error!(%error, "closing a dropped peerstore failed");
        }
    }
}

/// Waits until a change is as durable as was asked.
pub(crate) fn wait(applied: Applied) -> Result<u64> {
    if let Some(commit) = applied.commit {
        commit.wait()?;
    }
    Ok(applied.seq)
}

fn open_stores() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
