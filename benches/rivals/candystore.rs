//! candystore: a log of files with a mapped hash index. A write is in the kernel's page cache; a
//! checkpoint brings it to the device.

use std::path::Path;

use candystore::{CandyStore, Config};
use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, Entry, Kind, Pair};

pub(super) const ENTRY: Entry = Entry {
    name: "candystore",
    kind: Kind::Rival,
    package: "candystore",
    advice: "Config::default(); Kernel is set(), Device is set() and checkpoint(); it has no batches: they are single sets",
    ordered: false,
    persistent: true,
    levels: &[Durability::Kernel, Durability::Device],
    open: |dir, _| Ok(Box::new(Candy::open(dir)?)),
};

struct Candy(CandyStore);

impl Candy {
    fn open(dir: &Path) -> Outcome<Candy> {
        Ok(Candy(CandyStore::open(
            dir.join("candystore"),
            Config::default(),
        )?))
    }

    fn keep(&self, durability: Durability) -> Outcome<()> {
        if durability == Durability::Device {
            self.0.checkpoint()?;
        }
        Ok(())
    }
}

impl Backend for Candy {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.0.set(key, value)?;
        self.keep(durability)
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        for (key, value) in pairs {
            self.0.set(key, value)?;
        }
        self.keep(durability)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        let found = self.0.get(key)?;
        let there = found.is_some();
        // It hands out a new vector: taking that is the least copying.
        *out = found.unwrap_or_default();
        Ok(there)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.0.remove(key)?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        self.keep(Durability::Device)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }
}
