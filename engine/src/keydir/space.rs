//! A keyspace inside the engine: its name, its id, its keydir. And the registry of them, by name
//! for callers and by id for records.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::either::Keydir;
use crate::segment::key_hash::key_hash;
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::KeyspaceId;

/// One keyspace.
pub(crate) struct Space {
    pub(crate) entry: KeyspaceEntry,
    pub(crate) keydir: Keydir,
    secret: [u8; 16],
    dropped: AtomicBool,
}

impl Space {
    pub(crate) fn new(entry: KeyspaceEntry, secret: [u8; 16]) -> Space {
        let keydir = Keydir::new(entry.kind);
        Space {
            entry,
            keydir,
            secret,
            dropped: AtomicBool::new(false),
        }
    }

    pub(crate) fn id(&self) -> KeyspaceId {
        self.entry.id
    }

    /// The hash under which keydir and hints know `key`.
    pub(crate) fn hash(&self, key: &[u8]) -> u128 {
        key_hash(&self.secret, self.entry.id, key)
    }

    /// Whether its keydir holds the keys, in their order.
    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.keydir, Keydir::Ordered(_))
    }

    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }
}

/// All keyspaces of a store.
#[derive(Default)]
pub(crate) struct Spaces {
    /// Guards the map; held for a lookup or a change, never across a file operation.
    by_name: RwLock<BTreeMap<String, Arc<Space>>>,
}

impl Spaces {
    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<Space>> {
        self.read().get(name).cloned()
    }

    pub(crate) fn by_id(&self, id: KeyspaceId) -> Option<Arc<Space>> {
        self.read().values().find(|space| space.id() == id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Space>> {
        self.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, space: Arc<Space>) {
        self.write().insert(space.entry.name.clone(), space);
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Space>> {
        self.write().remove(name)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Space>>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Arc<Space>>> {
        self.by_name.write().unwrap_or_else(PoisonError::into_inner)
    }
}
