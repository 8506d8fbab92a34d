//! The store as libp2p-kad holds it: the eight calls of the trait, timed, and what goes with them.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use libp2p_identity::PeerId;
use libp2p_kad::store::{self, RecordStore};
use libp2p_kad::{ProviderRecord, Record, RecordKey};

use crate::error::Result;
use crate::handle::Handle;
use crate::open;
use crate::options::Options;
use crate::shared::Shared;
use crate::windows::{ProvidedIter, RecordsIter};

/// A record store that survives restarts and never holds up the swarm.
///
/// It takes the place of `MemoryStore`. No call syncs, merges or walks; what each call costs and
/// what a crash leaves stands in the crate's documentation.
pub struct PersistentStore {
    shared: Arc<Shared>,
}

/// What came over from another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Filled {
    /// Value records taken.
    pub records: u64,
    /// Provider records taken.
    pub provides: u64,
    /// Records over a limit, left out and counted by reason in the statistics.
    pub refused: u64,
}

impl PersistentStore {
    /// Opens the store in `dir`, making it if there is none, for the node `local`.
    ///
    /// It reads the saved index, or after a crash every record: see [`Handle::report`]. Own
    /// records belong to an identity: with another `local` those of the one before are neither
    /// yielded nor served, and are there again when it comes back.
    ///
    /// # Errors
    /// `Engine` with kind `Locked` if it is open elsewhere; `NewerFormat`; `InvalidOption`; what
    /// the engine's open says. What a crash can leave is no error.
    pub fn open(dir: impl AsRef<Path>, local: PeerId, options: Options) -> Result<PersistentStore> {
        Ok(PersistentStore {
            shared: open::open(dir.as_ref(), local, options)?,
        })
    }

    /// The same on an engine that the program has opened itself, and whose other keyspaces it may
    /// use: for one directory under several stores, and for trials on a simulated disk. The
    /// engine's options are the program's; they should give `Kernel` durability or less. No index
    /// is saved, so that opening reads every record, and closing closes the engine for all.
    ///
    /// # Errors
    /// As [`PersistentStore::open`].
    pub fn open_on(
        engine: peercask::Store,
        local: PeerId,
        options: Options,
    ) -> Result<PersistentStore> {
        Ok(PersistentStore {
            shared: open::open_on(engine, local, options)?,
        })
    }

    /// A handle that works on when the store has moved into the behaviour.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: self.shared.clone(),
        }
    }

    /// Keeps the value records that `keep` says, with the changes that it makes to them; reads all
    /// of them.
    pub fn retain(&mut self, keep: impl FnMut(&RecordKey, &mut Record) -> bool) {
        self.shared.retain(keep);
    }

    /// Takes over what another store yields: its `records()`, its `provided()`, and the providers
    /// of the keys that it provides. The trait shows no more: provider records of other keys stay
    /// behind. Durable when [`Handle::sync`] has returned.
    ///
    /// # Errors
    /// What keeps the disk from taking them; what was taken stays.
    pub fn fill_from<S: RecordStore>(&mut self, other: &S) -> Result<Filled> {
        const BETWEEN_DRAINS: u64 = 1_000;
        let mut filled = Filled::default();
        for record in other.records() {
            match self.shared.put(&record) {
                Ok(()) => filled.records += 1,
                Err(_) => filled.refused += 1,
            }
        }
        for provided in other.provided() {
            for record in other.providers(&provided.key) {
                match self.shared.add_provider(&record) {
                    Ok(()) => filled.provides += 1,
                    Err(_) => filled.refused += 1,
                }
                if filled.provides % BETWEEN_DRAINS == 0 {
                    self.shared.drain()?;
                }
            }
        }
        self.shared.drain()?;
        Ok(filled)
    }

    fn timed<T>(&self, call: impl FnOnce(&Shared) -> T) -> T {
        let start = Instant::now();
        let answer = call(&self.shared);
        self.shared.counters.calls.note(start);
        answer
    }
}

impl RecordStore for PersistentStore {
    type RecordsIter<'a> = RecordsIter<'a>;
    type ProvidedIter<'a> = ProvidedIter<'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.timed(|shared| shared.get(key)).map(Cow::Owned)
    }

    fn put(&mut self, record: Record) -> store::Result<()> {
        self.timed(|shared| shared.put(&record))
    }

    fn remove(&mut self, key: &RecordKey) {
        self.timed(|shared| shared.remove(key));
    }

    fn records(&self) -> RecordsIter<'_> {
        self.timed(|_| RecordsIter::new(&self.shared))
    }

    fn add_provider(&mut self, record: ProviderRecord) -> store::Result<()> {
        self.timed(|shared| shared.add_provider(&record))
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.timed(|shared| shared.providers(key))
    }

    fn provided(&self) -> ProvidedIter<'_> {
        self.timed(|_| ProvidedIter::new(&self.shared))
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        self.timed(|shared| shared.remove_provider(key, provider));
    }
}

impl Drop for PersistentStore {
    /// Closes the store: the behaviour that held it is gone. Waits at most
    /// [`Options::close_timeout`]; [`Handle::close`] before tells how it went.
    fn drop(&mut self) {
        // An error has no way out of here; the handle's health shows it.
        if let Err(error) = self.shared.close(self.shared.options.close_timeout) {
            self.shared.counters.note(&error, 0);
        }
    }
}

impl fmt::Debug for PersistentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentStore")
            .field("dir", &self.shared.dir)
            .field("local", &self.shared.local)
            .finish_non_exhaustive()
    }
}
