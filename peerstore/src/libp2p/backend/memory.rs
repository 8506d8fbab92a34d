//! A datastore that ends with the process: a sorted map.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;

use crate::libp2p::datastore::{Acknowledge, Batch, Datastore, DatastoreStats, Entries};
use crate::libp2p::error::{Error, Result};

/// A datastore in memory, for nodes that shall forget and for tests.
#[derive(Default)]
pub struct MemoryDatastore {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Vec<u8>, Bytes>,
    bytes: u64,
    written_bytes: u64,
    writes: u64,
    closed: bool,
}

impl MemoryDatastore {
    /// Empty.
    #[must_use]
    pub fn new() -> MemoryDatastore {
        MemoryDatastore::default()
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Result<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match state.closed {
            true => Err(Error::closed()),
            false => Ok(look(&state)),
        }
    }

    // Every change is made of steps that cannot panic.
    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Datastore for MemoryDatastore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.read(|state| state.entries.get(key).cloned())
    }

    fn has(&self, key: &[u8]) -> Result<bool> {
        self.read(|state| state.entries.contains_key(key))
    }

    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        let found = self.read(|state| {
            let from = state.entries.range(prefix.to_vec()..);
            let within = from.take_while(|(key, _)| key.starts_with(prefix));
            let copied = within.map(|(key, value)| Ok((Bytes::from(key.clone()), value.clone())));
            copied.collect::<Vec<_>>()
        })?;
        Ok(Box::new(found.into_iter()))
    }

    fn commit(&self, batch: Batch, _: Acknowledge) -> Result<()> {
        let mut state = self.write();
        if state.closed {
            return Err(Error::closed());
        }
        for (key, value) in batch.changes {
            let key_len = key.len() as u64;
            let added = value
                .as_ref()
                .map_or(0, |value| key_len + value.len() as u64);
            state.writes += 1;
            state.written_bytes += added.max(key_len);
            let old = match value {
                Some(value) => state.entries.insert(key, value),
                None => state.entries.remove(&key),
            };
            let gone = old.map_or(0, |old| key_len + old.len() as u64);
            state.bytes = state.bytes.saturating_add(added).saturating_sub(gone);
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn close(&self) -> Result<()> {
        let mut state = self.write();
        state.closed = true;
        state.entries = BTreeMap::new();
        Ok(())
    }

    fn merge(&self) -> Result<()> {
        self.read(|_| ())
    }

    fn stats(&self) -> DatastoreStats {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        DatastoreStats {
            live_bytes: state.bytes,
            written_bytes: state.written_bytes,
            writes: state.writes,
            ..DatastoreStats::default()
        }
    }
}
