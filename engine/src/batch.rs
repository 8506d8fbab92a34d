//! A batch: changes of several keys, over several keyspaces, that become visible and durable
//! together. It owns what it is given until it is committed or dropped.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::{Condition, Op};
use crate::error::{Error, ErrorKind, Result};
use crate::expected::Expected;
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
    expectations: Vec<Expectation>,
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

/// What the current version of a key must be, whether the batch writes the key or not.
struct Expectation {
    space: Arc<Space>,
    key: Vec<u8>,
    what: What,
}

/// `Expected` with bytes of its own.
enum What {
    Absent,
    Seq(Seq),
    Value(Vec<u8>),
}

impl What {
    fn as_expected(&self) -> Expected<'_> {
        match self {
            What::Absent => Expected::Absent,
            What::Seq(seq) => Expected::Seq(*seq),
            What::Value(value) => Expected::Value(value),
        }
    }
}

impl Batch {
    pub(crate) fn new(handle: Arc<Handle>) -> Batch {
        Batch {
            handle,
            items: Vec::new(),
            expectations: Vec::new(),
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

    /// Makes the whole batch depend on the version of `key` that it meets, whether it writes the
    /// key or not: if that is not as `expected`, [`Batch::commit`] answers `Conflict` and changes
    /// nothing. Every expectation is about the moment before the batch, under the lock that orders
    /// all writes.
    ///
    /// ```
    /// # use peercask::{ErrorKind, Expected, KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let coins = store.keyspace("coins", KeyspaceOptions::hash())?;
    /// coins.put("alice", "3")?;
    /// let give = || {
    ///     let mut batch = store.batch();
    ///     batch.expect(&coins, "alice", Expected::Value(b"3"));
    ///     batch.expect(&coins, "bob", Expected::Absent);
    ///     batch.put(&coins, "alice", "2");
    ///     batch.put(&coins, "bob", "1");
    ///     batch.commit()
    /// };
    /// give()?;
    /// assert_eq!(give().expect_err("spent").kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    pub fn expect(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, expected: Expected<'_>) {
        if !self.is_of_store(keyspace) {
            return;
        }
        self.expectations.push(Expectation {
            space: keyspace.space.clone(),
            key: key.as_ref().to_vec(),
            what: match expected {
                Expected::Absent => What::Absent,
                Expected::Seq(seq) => What::Seq(seq),
                Expected::Value(value) => What::Value(value.to_vec()),
            },
        });
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
    /// `Poisoned`, `Closed`, `NotFound` for a dropped keyspace, `Conflict` if an expectation does
    /// not hold (the message names the key and the seq that it has); nothing is applied then.
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
        let conditions: Vec<Condition<'_>> = self
            .expectations
            .iter()
            .map(|expectation| Condition {
                space: &expectation.space,
                hash: expectation.space.hash(&expectation.key),
                key: &expectation.key,
                expected: expectation.what.as_expected(),
            })
            .collect();
        let outcome = handle.apply_if(&conditions, &ops, durability)?;
        if let Some(refused) = outcome.refused {
            let current = refused.current.map(|record| record.header.fields.seq);
            return Err(conflict(conditions.get(refused.index), current));
        }
        Ok(Commit::new(handle, outcome.seq, durability))
    }

    fn add(&mut self, keyspace: &Keyspace, key: &[u8], value: Option<Vec<u8>>, expiry: Expiry) {
        if self.is_of_store(keyspace) {
            self.items.push(Item {
                space: keyspace.space.clone(),
                key: key.to_vec(),
                value,
                expiry,
            });
        }
    }

    /// Whether the keyspace is of the batch's store; if not, that is told at commit.
    fn is_of_store(&mut self, keyspace: &Keyspace) -> bool {
        let same = Arc::ptr_eq(&self.handle, &keyspace.handle);
        if !same {
            let what = format!("keyspace '{}' belongs to another store", keyspace.name());
            self.refused.get_or_insert(Error::invalid(what));
        }
        same
    }
}

fn conflict(condition: Option<&Condition<'_>>, current: Option<u64>) -> Error {
    let found = match current {
        Some(seq) => format!("it has seq {seq}"),
        None => "it has no live value".to_owned(),
    };
    let what = condition.map_or_else(String::new, |condition| {
        format!(
            "key \"{}\" of keyspace '{}' was expected {}, but {found}; read again and retry",
            // Enough to know it by.
            condition
                .key
                .get(..64)
                .unwrap_or(condition.key)
                .escape_ascii(),
            condition.space.entry.name,
            condition.expected,
        )
    });
    Error::new(ErrorKind::Conflict, what)
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
