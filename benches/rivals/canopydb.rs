//! canopydb: a B+ tree with a log before it. A commit is handed to the kernel, or synced.

use std::path::Path;

use canopydb::{Database, DbOptions, EnvOptions, ReadTransaction, Tree};
use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair, Reader};

const TREE: &[u8] = b"bench";

pub(super) const ENTRY: Entry = Entry {
    name: "canopydb",
    kind: Kind::Rival,
    package: "canopydb",
    advice: "cache of 1 GiB; a transaction a put; Kernel is the default commit, Device is commit_with(sync)",
    ordered: true,
    persistent: true,
    levels: &[Durability::Kernel, Durability::Device],
    open: |dir, _| Ok(Box::new(Canopy::open(dir)?)),
};

struct Canopy(Database);

impl Canopy {
    fn open(dir: &Path) -> Outcome<Canopy> {
        let dir = dir.join("canopydb");
        std::fs::create_dir_all(&dir)?;
        let mut options = EnvOptions::new(dir);
        options.page_cache_size = CACHE_BYTES;
        let db = Canopy(Database::with_options(options, DbOptions::new())?);
        db.change(Durability::Device, |_| Ok(()))?;
        Ok(db)
    }

    fn change(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Tree<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        let write = self.0.begin_write()?;
        let mut tree = write.get_or_create_tree(TREE)?;
        change(&mut tree)?;
        drop(tree);
        write.commit_with(durability == Durability::Device)?;
        Ok(())
    }
}

struct CanopyReader(ReadTransaction);

impl Reader for CanopyReader {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        out.clear();
        let Some(tree) = self.0.get_tree(TREE)? else {
            return Ok(false);
        };
        let found = tree.get(key)?;
        if let Some(value) = &found {
            out.extend_from_slice(value);
        }
        Ok(found.is_some())
    }
}

impl Backend for Canopy {
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()> {
        self.change(durability, |tree| Ok(tree.insert(key, value)?))
    }

    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()> {
        self.change(durability, |tree| {
            for (key, value) in pairs {
                tree.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        CanopyReader(self.0.begin_read()?).get(key, out)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.change(Durability::Kernel, |tree| {
            tree.delete(key)?;
            Ok(())
        })
    }

    fn sync(&self) -> Outcome<()> {
        Ok(self.0.sync()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.checkpoint()?)
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(Some(Box::new(CanopyReader(self.0.begin_read()?))))
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        let read = self.0.begin_read()?;
        let Some(tree) = read.get_tree(TREE)? else {
            return Ok(());
        };
        for entry in tree.range(start..)? {
            let (key, value) = entry?;
            if !each(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
