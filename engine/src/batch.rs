//! A batch: changes of several keys, over several keyspaces, that become visible and durable
//! together. It owns what it is given until it is committed or dropped.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::Op;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::keydir::space::Space;
use crate::keyspace::{Keyspace, expiry_ms};
use crate::options::{Durability, Expiry, Write};
use crate::segment::location::Seq;
use crate::ticket::Commit;

/// Changes that are applied whole or not at all, after any crash. Made by
/// [`Store::batch`](crate::Store::batch); dropping it applies nothing.
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    handle: Arc<Handle>,
    items: Vec<Item>,
    /// What was wrong with an entry; told at commit.
    refused: Option<Error>,
}

struct Item {
    space: Arc<Space>,
    key: Vec<u8>,
    /// `None` deletes.
    value: Option<Vec<u8>>,
    expiry: Expiry,
}

impl Batch {
    pub(crate) fn new(handle: Arc<Handle>) -> Batch {
        Batch {
            handle,
            items: Vec::new(),
            refused: None,
        }
    }

    /// Adds a put. A later entry of the same key wins.
    pub fn put(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_with(keyspace, key, value, Write::new());
    }

    /// Adds a put with an expiry of its own. The durability of `write` plays no part: it is the
    /// batch's.
    pub fn put_with(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        write: Write,
    ) {
        self.add(
            keyspace,
            key.as_ref(),
            Some(value.as_ref().to_vec()),
            write.expiry,
        );
    }

    /// Adds a delete. A later entry of the same key wins.
    pub fn delete(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) {
        self.add(keyspace, key.as_ref(), None, Expiry::Never);
    }

    /// How many entries were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Applies all entries with the store's default durability, and waits for it.
    ///
    /// # Errors
    /// `InvalidArgument` over a limit or for a keyspace of another store, `StorageFull`,
    /// `Poisoned`, `Closed`, `NotFound` for a dropped keyspace; nothing is applied then.
    pub fn commit(self) -> Result<Seq> {
        let durability = self.handle.options.durability;
        self.commit_with(durability)?.wait()
    }

    /// Applies all entries: visible together when this returns, durable together when the
    /// [`Commit`] was waited for.
    ///
    /// # Errors
    /// As [`Batch::commit`], short of the wait.
    pub fn commit_with(self, durability: Durability) -> Result<Commit> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        let handle = &self.handle;
        let ops: Vec<Op<'_>> = last_of_each_key(&self.items)
            .map(|item| match &item.value {
                Some(value) => {
                    let expiry = expiry_ms(handle, &item.space, item.expiry);
                    Op::put(&item.space, &item.key, value, expiry)
                }
                None => Op::delete(&item.space, &item.key),
            })
            .collect();
        let outcome = handle.apply(&ops, durability)?;
        Ok(Commit::new(handle, outcome.seq, durability))
    }

    fn add(&mut self, keyspace: &Keyspace, key: &[u8], value: Option<Vec<u8>>, expiry: Expiry) {
        if !Arc::ptr_eq(&self.handle, &keyspace.handle) {
            let what = format!("keyspace '{}' belongs to another store", keyspace.name());
            self.refused.get_or_insert(Error::invalid(what));
            return;
        }
        self.items.push(Item {
            space: keyspace.space.clone(),
            key: key.to_vec(),
            value,
            expiry,
        });
    }
}

/// The entries that count, in the order in which they were added.
fn last_of_each_key(items: &[Item]) -> impl Iterator<Item = &Item> {
    let last: HashMap<(u32, &[u8]), usize> = items
        .iter()
        .enumerate()
        .map(|(at, item)| ((item.space.id().0, item.key.as_slice()), at))
        .collect();
    items.iter().enumerate().filter_map(move |(at, item)| {
        (last.get(&(item.space.id().0, item.key.as_slice())) == Some(&at)).then_some(item)
    })
}
