//! RocksDB, set up as its tuning guide advises for flash: Bloom filters, dynamic levels, index and
//! filter blocks in the cache.

use std::path::Path;

use peercask::Durability;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair, Settings};

pub(super) const ENTRY: Entry = Entry {
    name: "rocksdb",
    kind: Kind::Rival,
    package: "rocksdb",
    advice: "block cache of 1 GiB, Bloom filters of 10 bits, 16 KiB blocks, LZ4, dynamic levels, 6 background jobs; \
             Buffered keeps its log in memory, Kernel is the default, Device is sync",
    ordered: true,
    persistent: true,
    levels: &[Durability::Buffered, Durability::Kernel, Durability::Device],
    open: |dir, settings| Ok(Box::new(Rocks::open(dir, settings)?)),
};

const BACKGROUND_JOBS: i32 = 6;

struct Rocks {
    db: DB,
    sync: WriteOptions,
    plain: WriteOptions,
    manual: bool,
}

impl Rocks {
    fn open(dir: &Path, settings: &Settings) -> Outcome<Rocks> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        blocks.set_bloom_filter(10.0, false);
        blocks.set_block_size(16 << 10);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let manual = settings.durability == Durability::Buffered;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_max_background_jobs(BACKGROUND_JOBS);
        options.set_bytes_per_sync(1 << 20);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_manual_wal_flush(manual);
        let db = DB::open(&options, dir.join("rocksdb"))?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        Ok(Rocks {
            db,
            sync,
            plain: WriteOptions::default(),
            manual,
        })
    }

    fn how(&self, durability: Durability) -> &WriteOptions {
        match durability {
            Durability::Device => &self.sync,
            _ => &self.plain,
        }
    }

    fn keep(&self, durability: Durability) -> Outcome<()> {
        if self.manual && durability == Durability::Kernel {
            self.db.flush_wal(false)?;
        }
        Ok(())
    }
}

impl Backend for Rocks {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.db.put_opt(key, value, self.how(durability))?;
        self.keep(durability)
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        self.db.write_opt(&batch, self.how(durability))?;
        self.keep(durability)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let found = self.db.get_pinned(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.db.delete_opt(key, &self.plain)?)
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.db.flush_wal(true)?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.sync()
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        for entry in self
            .db
            .iterator(IteratorMode::From(start, Direction::Forward))
        {
            let (key, value) = entry?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
