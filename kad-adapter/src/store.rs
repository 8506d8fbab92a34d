//! The store as libp2p-kad holds it: the eight calls of the trait, timed, and what goes with them.

use std::borrow::Cow;
use std::collections::HashSet;
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
use crate::shared::{Shared, Spot};
use crate::windows::{ProvidedIter, RecordsIter};

/// A record store that survives restarts and never holds up the swarm.
///
/// It takes the place of `MemoryStore`. No call syncs, merges or walks; what each call costs and
/// what a crash leaves stands in the crate's documentation.
pub struct PersistentStore {
    shared: Arc<Shared>,
}

/// What a call of `records()` or `provided()` gave.
#[derive(Default)]
struct Window {
    yielded: bool,
    /// Something that no call before gave.
    brought: bool,
}

/// Calls until one brings nothing new. A window may be empty although there is more, where all is
/// close to its deadline: so many in a row are the end too.
fn all_windows(mut call: impl FnMut(&mut HashSet<Spot>) -> Result<Window>) -> Result<()> {
    const EMPTY_MAX: usize = 64;
    let mut seen = HashSet::new();
    let mut empty = 0;
    while empty < EMPTY_MAX {
        let window = call(&mut seen)?;
        if window.yielded && !window.brought {
            break;
        }
        empty = if window.yielded { 0 } else { empty + 1 };
    }
    Ok(())
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
    /// of the keys that it provides. One that yields windows, as this one does, is asked until a
    /// window brings nothing new. The trait shows no more: provider records of other keys stay
    /// behind, and of a store like this one what is close to its deadline. Memory follows the
    /// number of keys. Durable when [`Handle::sync`] has returned.
    ///
    /// # Errors
    /// What keeps the disk from taking them; what was taken stays.
    pub fn fill_from<S: RecordStore>(&mut self, other: &S) -> Result<Filled> {
        let mut filled = Filled::default();
        all_windows(|seen| {
            let mut window = Window::default();
            for record in other.records() {
                window.yielded = true;
                if seen.insert(Spot::of(record.key.as_ref())) {
                    window.brought = true;
                    match self.shared.put(&record) {
                        Ok(()) => filled.records += 1,
                        Err(_) => filled.refused += 1,
                    }
                }
            }
            Ok(window)
        })?;
        all_windows(|seen| {
            let mut window = Window::default();
            for provided in other.provided() {
                window.yielded = true;
                if seen.insert(Spot::of(provided.key.as_ref())) {
                    window.brought = true;
                    self.fill_providers(&other.providers(&provided.key), &mut filled)?;
                }
            }
            Ok(window)
        })?;
        self.shared.drain()?;
        Ok(filled)
    }

    fn fill_providers(&self, records: &[ProviderRecord], filled: &mut Filled) -> Result<()> {
        for record in records {
            // The queue is there to bound what others send; who fills a store waits instead.
            if self.shared.lock().pending.is_half_full() {
                self.shared.drain()?;
            }
            match self.shared.add_provider(record) {
                Ok(()) => filled.provides += 1,
                Err(_) => filled.refused += 1,
            }
        }
        Ok(())
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
