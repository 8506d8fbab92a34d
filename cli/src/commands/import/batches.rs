//! Records on their way into a store: gathered into batches, committed, and synced at the end.
//!
//! It must never know whether a record was a line or a file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use peercask::{
    Batch, Durability, ErrorKind, IndexKind, KEY_LEN_MAX, Keyspace, Store, VALUE_LEN_MAX, Write,
};

use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::units::counted;

/// A batch is committed when it holds this many records or bytes: few enough writes to be fast, small
/// enough to be redone.
const BATCH_RECORDS: u64 = 1_000;
const BATCH_BYTES: u64 = 8 << 20;

/// What has been written.
#[derive(Clone, Copy, Default)]
pub(super) struct Imported {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) batches: u64,
}

/// Why a record did not get in.
pub(super) enum Trouble {
    /// The record is at fault; others may follow.
    Bad(String),
    /// The store or the source is; nothing can follow.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(failure)
    }
}

pub(super) struct Importer<'a> {
    store: &'a Store,
    index: Option<IndexKind>,
    durability: Durability,
    keyspaces: HashMap<String, Keyspace>,
    batch: Batch,
    pending: Imported,
    done: Imported,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        store: &'a Store,
        index: Option<IndexKind>,
        durability: Durability,
    ) -> Importer<'a> {
        Importer {
            store,
            index,
            durability,
            keyspaces: HashMap::new(),
            batch: store.batch(),
            pending: Imported::default(),
            done: Imported::default(),
        }
    }

    /// Adds a record; it is written with its batch.
    pub(super) fn put(
        &mut self,
        keyspace: &str,
        key: &[u8],
        value: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Result<(), Trouble> {
        check_limits(key, value)?;
        let keyspace = self.keyspace(keyspace)?;
        let mut write = Write::new().durability(self.durability);
        if let Some(at_ms) = expires_at_ms {
            write = write.expires_at_ms(at_ms);
        }
        let bytes = len_u64(key) + len_u64(value);
        if bytes >= BATCH_BYTES {
            // Alone: a single value may be longer than a batch is allowed to be. Earlier records of the
            // same key go first.
            self.commit()?;
            let commit = keyspace
                .put_with(key, value, write)
                .map_err(Failure::from)?;
            commit.wait().map_err(|error| self.failed(error))?;
            self.done.records += 1;
            self.done.bytes += bytes;
            self.done.batches += 1;
            return Ok(());
        }
        self.batch.put_with(&keyspace, key, value, write);
        self.pending.records += 1;
        self.pending.bytes += bytes;
        if self.pending.records >= BATCH_RECORDS || self.pending.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// Writes what is pending and syncs everything.
    pub(super) fn finish(&mut self) -> Result<Imported, Failure> {
        self.commit()?;
        self.store.sync().map_err(|error| self.failed(error))?;
        Ok(self.done)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, self.store.batch());
        let written = std::mem::take(&mut self.pending);
        batch
            .commit_with(self.durability)
            .and_then(peercask::Commit::wait)
            .map_err(|error| self.failed(error))?;
        self.done.records += written.records;
        self.done.bytes += written.bytes;
        self.done.batches += 1;
        Ok(())
    }

    fn keyspace(&mut self, name: &str) -> Result<Keyspace, Trouble> {
        match self.keyspaces.entry(name.to_owned()) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let keyspace = match opening::keyspace_or_create(self.store, name, self.index) {
                    Ok(keyspace) => keyspace,
                    // A name that is empty or too long, or one keyspace too many.
                    Err(failure) if failure.exit == Exit::Usage => {
                        return Err(Trouble::Bad(failure.message.unwrap_or_default()));
                    }
                    Err(failure) => return Err(Trouble::Failed(failure)),
                };
                Ok(place.insert(keyspace).clone())
            }
        }
    }

    /// An error of the store, with how far the import had come.
    fn failed(&self, error: peercask::Error) -> Failure {
        let full = error.kind() == ErrorKind::StorageFull;
        let failure = Failure::from(error);
        let known = counted(self.done.records, "record");
        let advice = if full {
            "; make room and import again"
        } else {
            ""
        };
        let message = failure.message.unwrap_or_default();
        Failure::new(
            failure.exit,
            format!("{message} (imported before: {known}){advice}"),
        )
    }
}

fn check_limits(key: &[u8], value: &[u8]) -> Result<(), Trouble> {
    if key.len() > KEY_LEN_MAX {
        let message = format!(
            "the key has {} bytes, at most {KEY_LEN_MAX} are allowed",
            key.len()
        );
        return Err(Trouble::Bad(message));
    }
    if len_u64(value) > VALUE_LEN_MAX {
        let message = format!(
            "the value has {} bytes, at most {VALUE_LEN_MAX} are allowed",
            value.len()
        );
        return Err(Trouble::Bad(message));
    }
    Ok(())
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("memory holds less than 2^64 bytes")
}
