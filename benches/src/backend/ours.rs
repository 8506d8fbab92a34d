//! Peercask itself, with its default options, once for each kind of index.

use std::path::Path;
use std::time::Duration;

use peercask::{Durability, Keyspace, KeyspaceOptions, Merge, Options, Store, Write};

use super::{Backend, Counters, Entry, Kind, Pair, Reader, Settings};
use crate::Outcome;

const LEVELS: &[Durability] = &[Durability::Buffered, Durability::Kernel, Durability::Device];

pub(super) const HASH: Entry = Entry {
    name: "peercask-hash",
    kind: Kind::Ours,
    package: "peercask",
    advice: "default options, a hash keyspace",
    ordered: false,
    persistent: true,
    levels: LEVELS,
    open: |dir, settings| open(dir, settings, KeyspaceOptions::hash()),
};

pub(super) const ORDERED: Entry = Entry {
    name: "peercask-ordered",
    kind: Kind::Ours,
    package: "peercask",
    advice: "default options, an ordered keyspace",
    ordered: true,
    persistent: true,
    levels: LEVELS,
    open: |dir, settings| open(dir, settings, KeyspaceOptions::ordered()),
};

struct Ours {
    store: Store,
    keyspace: Keyspace,
}

fn open(dir: &Path, settings: &Settings, kind: KeyspaceOptions) -> Outcome<Box<dyn Backend>> {
    let mut options = Options::default();
    if let Some(clock) = &settings.clock {
        options = options.clock(clock.clone()).background(false);
    }
    if settings.alone {
        options = options.background(false);
    }
    if let Some(bytes) = settings.segment_bytes {
        options = options.segment_bytes(bytes);
    }
    let store = Store::open(dir, options)?;
    let keyspace = store.keyspace("bench", kind)?;
    Ok(Box::new(Ours { store, keyspace }))
}

impl Backend for Ours {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        let write = Write::new().durability(durability);
        self.keyspace.put_with(key, value, write)?.wait()?;
        Ok(())
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        let mut batch = self.store.batch();
        for (key, value) in pairs {
            batch.put(&self.keyspace, key, value);
        }
        batch.commit_with(durability)?.wait()?;
        Ok(())
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let found = self.keyspace.get(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        let (_, commit) = self.keyspace.delete_with(key, Durability::Buffered)?;
        commit.wait()?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.store.sync()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        drop(self.keyspace);
        Ok(self.store.close()?)
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(OurReader(&self.keyspace))))
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        for entry in self.keyspace.range(start..)? {
            let entry = entry?;
            if !each(&entry.key, &entry.value) {
                break;
            }
        }
        Ok(())
    }

    fn prefix(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.keyspace.prefix(prefix)? {
            let entry = entry?;
            each(&entry.key, &entry.value);
        }
        Ok(())
    }

    fn put_expiring(&self, key: &[u8], value: &[u8], life: Duration) -> Outcome<bool> {
        let write = Write::new().durability(Durability::Buffered).ttl(life);
        self.keyspace.put_with(key, value, write)?.wait()?;
        Ok(true)
    }

    fn tend(&self) -> Outcome<()> {
        self.store.merge(Merge::Needed)?;
        Ok(())
    }

    fn warm(&self, pairs: &[Pair]) -> Outcome<()> {
        let aside = self.store.keyspace("aside", KeyspaceOptions::hash())?;
        for (key, value) in pairs {
            let write = Write::new().durability(Durability::Buffered);
            aside.put_with(key, value, write)?.wait()?;
        }
        Ok(())
    }

    fn told_of_damage(&self) -> u64 {
        let recovery = self.store.recovery();
        crate::wide(recovery.damage.len() + recovery.cut.len())
    }

    fn counters(&self) -> Counters {
        let stats = self.store.stats();
        Counters {
            syncs: Some(stats.syncs),
            live_bytes: Some(stats.live_bytes - stats.expired_bytes.min(stats.live_bytes)),
            index_bytes: Some(stats.index_bytes),
        }
    }
}

/// The keyspace without the trait's call in between.
struct OurReader<'a>(&'a Keyspace);

impl Reader for OurReader<'_> {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
    }
}
