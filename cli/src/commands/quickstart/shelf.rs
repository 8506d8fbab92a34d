//! The two keyspaces of a quickstart, which must always agree: `files`, a hash keyspace from key to
//! content, and `paths`, an ordered one from the same key to the content's length in decimal.
//!
//! Each file is one batch over both, so a crash leaves it in both or in neither.

use peercask::{Durability, Keyspace, KeyspaceOptions, Result, Store, Value};

pub(super) struct Shelf {
    pub(super) store: Store,
    pub(super) files: Keyspace,
    pub(super) paths: Keyspace,
}

/// What both keyspaces say about one key.
pub(super) struct Found {
    pub(super) content: Option<Value>,
    pub(super) len: Option<u64>,
}

impl Shelf {
    pub(super) fn open(store: Store) -> Result<Shelf> {
        Ok(Shelf {
            files: store.keyspace("files", KeyspaceOptions::hash())?,
            paths: store.keyspace("paths", KeyspaceOptions::ordered())?,
            store,
        })
    }

    pub(super) fn put(&self, key: &[u8], content: &[u8], durability: Durability) -> Result<()> {
        let mut batch = self.store.batch();
        batch.put(&self.files, key, content);
        batch.put(&self.paths, key, content.len().to_string());
        batch.commit_with(durability)?.wait()?;
        Ok(())
    }

    pub(super) fn delete(&self, key: &[u8], durability: Durability) -> Result<()> {
        let mut batch = self.store.batch();
        batch.delete(&self.files, key);
        batch.delete(&self.paths, key);
        batch.commit_with(durability)?.wait()?;
        Ok(())
    }

    pub(super) fn look(&self, key: &[u8]) -> Result<Found> {
        let len = self.paths.get(key)?;
        Ok(Found {
            content: self.files.get(key)?,
            // Bytes that are no number are a length that agrees with nothing.
            len: len.map(|text| parse_len(&text).unwrap_or(u64::MAX)),
        })
    }
}

pub(super) fn parse_len(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
