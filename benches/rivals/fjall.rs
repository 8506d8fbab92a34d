//! fjall: an LSM tree. By default a write is handed to the kernel; with manual persisting it stays
//! in a buffer.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair, Settings};

pub(super) const ENTRY: Entry = Entry {
    name: "fjall",
    kind: Kind::Rival,
    package: "fjall",
    advice: "cache of 1 GiB; Buffered with manual_journal_persist, Kernel by default, Device with persist(SyncData)",
    ordered: true,
    persistent: true,
    levels: &[Durability::Buffered, Durability::Kernel, Durability::Device],
    open: |dir, settings| Ok(Box::new(Fjall::open(dir, settings)?)),
};

struct Fjall {
    db: Database,
    keyspace: Keyspace,
    /// Writes stay in a buffer unless persisted.
    manual: bool,
}

impl Fjall {
    fn open(dir: &Path, settings: &Settings) -> Outcome<Fjall> {
        let manual = settings.durability == Durability::Buffered;
        let db = Database::builder(dir.join("fjall"))
            .cache_size(crate::wide(CACHE_BYTES))
            .manual_journal_persist(manual)
            .open()?;
        let keyspace = db.keyspace("bench", KeyspaceCreateOptions::default)?;
        Ok(Fjall {
            db,
            keyspace,
            manual,
        })
    }

    fn keep(&self, durability: Durability) -> Outcome<()> {
        match durability {
            Durability::Buffered => {}
            Durability::Kernel if self.manual => self.db.persist(PersistMode::Buffer)?,
            Durability::Kernel => {}
            Durability::Device => self.db.persist(PersistMode::SyncData)?,
        }
        Ok(())
    }
}

impl Backend for Fjall {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.keyspace.insert(key, value)?;
        self.keep(durability)
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        let mut batch = self.db.batch();
        for (key, value) in pairs {
            batch.insert(&self.keyspace, key.as_slice(), value.as_slice());
        }
        batch.commit()?;
        self.keep(durability)
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
        Ok(self.keyspace.remove(key)?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        for entry in self.keyspace.range(start..) {
            let (key, value) = entry.into_inner()?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn prefix(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.keyspace.prefix(prefix) {
            let (key, value) = entry.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }
}
