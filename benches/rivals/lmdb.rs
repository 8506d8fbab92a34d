//! LMDB, through heed: one transaction a put, which is on the device unless the whole environment
//! was opened without syncs. The only file of the crate with unsafe calls: heed cannot know that
//! nobody else changes the mapped file. Not built unless asked for.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};
use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, Entry, Kind, Pair, Reader, Settings};

/// Address space for the map; the file grows only as far as it is used.
const MAP_BYTES: usize = 64 << 30;
const READERS_MAX: u32 = 1_100;

pub(super) const ENTRY: Entry = Entry {
    name: "lmdb",
    kind: Kind::Rival,
    package: "heed",
    advice: "heed; a transaction a put; Kernel with MDB_NOSYNC, Device by default; readers alone keep one transaction",
    ordered: true,
    persistent: true,
    levels: &[Durability::Kernel, Durability::Device],
    open: |dir, settings| Ok(Box::new(Lmdb::open(dir, settings)?)),
};

struct Lmdb {
    env: Env<WithoutTls>,
    db: Database<Bytes, Bytes>,
}

impl Lmdb {
    fn open(dir: &Path, settings: &Settings) -> Outcome<Lmdb> {
        // A thread may hold a reader and still read otherwise.
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_readers(READERS_MAX);
        #[expect(
            unsafe_code,
            reason = "heed asks its caller to keep others away from the file"
        )]
        let env = {
            if settings.durability < Durability::Device {
                // SAFETY: without syncs a power cut may break the file; nothing here outlives one.
                unsafe { options.flags(EnvFlags::NO_SYNC) };
            }
            // SAFETY: the directory is this process's own and new; no other opens or cuts the file.
            unsafe { options.open(dir)? }
        };
        let mut write = env.write_txn()?;
        let db = env.create_database(&mut write, None)?;
        write.commit()?;
        Ok(Lmdb { env, db })
    }
}

struct LmdbReader<'a> {
    txn: RoTxn<'a, WithoutTls>,
    db: Database<Bytes, Bytes>,
}

impl Reader for LmdbReader<'_> {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        Ok(copy(self.db.get(&self.txn, key)?, out))
    }
}

fn copy(found: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.extend_from_slice(found.unwrap_or_default());
    found.is_some()
}

impl Backend for Lmdb {
    fn put(&self, key: &[u8], value: &[u8], _: Durability) -> Outcome<()> {
        let mut write = self.env.write_txn()?;
        self.db.put(&mut write, key, value)?;
        Ok(write.commit()?)
    }

    fn batch(&self, pairs: &[Pair], _: Durability) -> Outcome<()> {
        let mut write = self.env.write_txn()?;
        for (key, value) in pairs {
            self.db.put(&mut write, key, value)?;
        }
        Ok(write.commit()?)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        let read = self.env.read_txn()?;
        Ok(copy(self.db.get(&read, key)?, out))
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        let mut write = self.env.write_txn()?;
        self.db.delete(&mut write, key)?;
        Ok(write.commit()?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.env.force_sync()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(LmdbReader {
            txn: self.env.read_txn()?,
            db: self.db,
        })))
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        let read = self.env.read_txn()?;
        let bounds = (Bound::Included(start), Bound::Unbounded);
        // LMDB knows no empty key, which would be the start of everything.
        let all = (Bound::Unbounded, Bound::Unbounded);
        let bounds = if start.is_empty() { all } else { bounds };
        for entry in self.db.range(&read, &bounds)? {
            let (key, value) = entry?;
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }
}
