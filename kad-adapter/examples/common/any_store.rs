//! Ours or `MemoryStore` behind one type, so that a control run differs in nothing else.

use std::borrow::Cow;

use libp2p_identity::PeerId;
use libp2p_kad::store::{MemoryStore, RecordStore, Result};
use libp2p_kad::{ProviderRecord, Record, RecordKey};
use peercask_kad::PersistentStore;

#[allow(clippy::large_enum_variant, reason = "there is one for a whole run")]
pub enum AnyStore {
    Memory(MemoryStore),
    Disk(PersistentStore),
}

macro_rules! either {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Memory($store) => $call,
            AnyStore::Disk($store) => $call,
        }
    };
}

impl RecordStore for AnyStore {
    type RecordsIter<'a> = Box<dyn Iterator<Item = Cow<'a, Record>> + 'a>;
    type ProvidedIter<'a> = Box<dyn Iterator<Item = Cow<'a, ProviderRecord>> + 'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        either!(self, store => store.get(key))
    }

    fn put(&mut self, record: Record) -> Result<()> {
        either!(self, store => store.put(record))
    }

    fn remove(&mut self, key: &RecordKey) {
        either!(self, store => store.remove(key));
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        either!(self, store => Box::new(store.records()))
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        either!(self, store => store.add_provider(record))
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        either!(self, store => store.providers(key))
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        either!(self, store => Box::new(store.provided()))
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        either!(self, store => store.remove_provider(key, provider));
    }
}
