//! bitcasky: Bitcask with all keys in memory and mapped data files. Whether writes are synced is
//! said once, when it opens.

use std::path::Path;

use bitcasky::bitcasky::Bitcasky;
use bitcasky::options::{BitcaskyOptions, SyncStrategy};
use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, Entry, Kind, Pair, Settings};

pub(super) const ENTRY: Entry = Entry {
    name: "bitcasky",
    kind: Kind::Rival,
    package: "bitcasky",
    advice: "BitcaskyOptions::default(); Kernel is its default (a sync a minute), Device is SyncStrategy::OSync; \
             it has no batches: they are single puts",
    ordered: false,
    persistent: true,
    levels: &[Durability::Kernel, Durability::Device],
    open: |dir, settings| Ok(Box::new(Casky::open(dir, settings)?)),
};

struct Casky(Bitcasky);

impl Casky {
    fn open(dir: &Path, settings: &Settings) -> Outcome<Casky> {
        let dir = dir.join("bitcasky");
        std::fs::create_dir_all(&dir)?;
        let mut options = BitcaskyOptions::default();
        if settings.durability == Durability::Device {
            options = options.sync_strategy(SyncStrategy::OSync);
        }
        Ok(Casky(Bitcasky::open(&dir, options)?))
    }
}

impl Backend for Casky {
    fn put(&self, key: &[u8], value: &[u8], _: Durability) -> Outcome<()> {
        Ok(self.0.put(key, value)?)
    }

    fn batch(&self, pairs: &[Pair], _: Durability) -> Outcome<()> {
        for (key, value) in pairs {
            self.0.put(key, value)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        let found = self.0.get(key)?;
        let there = found.is_some();
        // It hands out a new vector: taking that is the least copying.
        *out = found.unwrap_or_default();
        Ok(there)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.0.delete(key)?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.0.sync()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
