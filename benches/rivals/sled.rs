//! sled: writes stay in its buffers for up to half a second, unless flushed.

use std::path::Path;

use peercask::Durability;
use sled::{Batch, Db, Mode};

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair};

pub(super) const ENTRY: Entry = Entry {
    name: "sled",
    kind: Kind::Rival,
    package: "sled",
    advice: "cache of 1 GiB, mode HighThroughput; Buffered is the default (500 ms), Device flushes after each write",
    ordered: true,
    persistent: true,
    levels: &[Durability::Buffered, Durability::Device],
    open: |dir, _| Ok(Box::new(Sled::open(dir)?)),
};

struct Sled(Db);

impl Sled {
    fn open(dir: &Path) -> Outcome<Sled> {
        let config = sled::Config::new()
            .path(dir.join("sled"))
            .cache_capacity(crate::wide(CACHE_BYTES))
            .mode(Mode::HighThroughput);
        Ok(Sled(config.open()?))
    }

    fn keep(&self, durability: Durability) -> Outcome<()> {
        if durability > Durability::Buffered {
            self.0.flush()?;
        }
        Ok(())
    }
}

impl Backend for Sled {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.0.insert(key, value)?;
        self.keep(durability)
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        let mut batch = Batch::default();
        for (key, value) in pairs {
            batch.insert(key.as_slice(), value.as_slice());
        }
        self.0.apply_batch(batch)?;
        self.keep(durability)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
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

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        for entry in self.0.range(start..) {
            let (key, value) = entry?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn prefix(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.0.scan_prefix(prefix) {
            let (key, value) = entry?;
            each(&key, &value);
        }
        Ok(())
    }
}
