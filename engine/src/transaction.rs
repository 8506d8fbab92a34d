//! Transactions: reads from one moment, writes gathered in memory, one batch at the end. One at a
//! time has the turn (`turn`); its reads are those of a snapshot (`view`); its commit is that of
//! a batch (`commit`), after a comparison with the keys that plain writes touched meanwhile.
//!
//! Nothing of it is on disk before the commit, so a rollback is forgetting.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;

use crate::commit::{Op, Who};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::iter::{prefix_bounds, value_of};
use crate::key_cursor::{Bounds, BoundsRef, KeyCursor, PART_LEN};
use crate::keydir::space::Space;
use crate::keyspace::{Keyspace, expiry_ms};
use crate::options::{BATCH_BYTES_MAX, Durability, Write};
use crate::segment::data_file::Lent;
use crate::segment::format::NEVER;
use crate::segment::location::{KeyspaceId, Seq};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use crate::ticket::Commit;
use crate::turn::{Footprint, Ticket, Touch};
use crate::value::Value;
use crate::view::View;

/// Reads and writes that take effect together or not at all; made by [`Store::transaction`](crate::Store::transaction),
/// [`Store::begin`](crate::Store::begin) and their kin.
///
/// - Its reads are of the moment at which it began, with its own writes on top; other readers see
///   nothing of it before the commit, and then all of it.
/// - One transaction runs at a time; others wait for their turn in the order in which they asked.
///   Plain writes and batches go on. If one of them touches a key that the transaction read or
///   wrote, or any key within a stretch that it iterated over, the commit answers `Conflict`
///   and changes nothing: begin again.
/// - The commit is one batch: whole or absent after any crash.
/// - Dropping it rolls back at once, in any thread, with no runtime and nothing to clean up.
///
/// It is `'static` and `Send`, so it can be kept across await points. It keeps the store open. One
/// that is leaked keeps the turn, too: no other transaction begins until the store is closed;
/// plain writes, reads and merge go on.
#[must_use = "a transaction changes nothing until it is committed"]
pub struct Transaction {
    // The view goes before the turn: the next one finds nothing of this one left.
    view: View,
    changes: BTreeMap<KeyspaceId, Changes>,
    /// Guards what was read, so that reads need no exclusive access.
    footprint: Mutex<Footprint>,
    /// What the batch will hold at most.
    bytes: u64,
    turn: Turn,
}

/// The writes of a transaction to one keyspace.
struct Changes {
    space: Arc<Space>,
    /// `None` deletes.
    by_key: BTreeMap<Box<[u8]>, Option<Written>>,
}

/// A value that is not committed yet.
struct Written {
    value: Bytes,
    expiry: u64,
}

/// The right to be the one transaction, or a place in the queue for it.
pub(crate) struct Turn {
    handle: Arc<Handle>,
    pub(crate) ticket: Ticket,
    began: bool,
}

/// Iterates over what a transaction sees of an ordered keyspace, from both ends: keys and values.
pub struct TransactionIter<'a> {
    transaction: &'a Transaction,
    space: Arc<Space>,
    bounds: Bounds,
    cursor: KeyCursor,
    /// Where the footprint says how far each end has come.
    front: Option<usize>,
    back: Option<usize>,
}

impl Transaction {
    pub(crate) fn begin(mut turn: Turn) -> Result<Transaction> {
        let core = turn.handle.core();
        let view = View::take(core, || core.turns.touched.begin())?;
        turn.began = true;
        Ok(Transaction {
            view,
            changes: BTreeMap::new(),
            footprint: Mutex::default(),
            bytes: 0,
            turn,
        })
    }

    /// The last write of others that it sees.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.view.seq())
    }

    // ---- reading

    /// The value of `key`: its own write, else what was there when it began.
    ///
    /// # Errors
    /// As [`Snapshot::get`](crate::Snapshot::get).
    pub fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let (space, key) = (self.space(keyspace)?, key.as_ref());
        if let Some(own) = self.own(space.id(), key) {
            let live = own.as_ref().filter(|written| self.is_live(written));
            return Ok(live.map(|written| lend(written.value.clone())));
        }
        self.note_read(space.id(), key);
        Ok(self.view.find(space, key, true)?.as_ref().map(value_of))
    }

    /// Whether `key` has a live value in what the transaction sees.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub fn contains(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        let (space, key) = (self.space(keyspace)?, key.as_ref());
        if let Some(own) = self.own(space.id(), key) {
            return Ok(own.as_ref().is_some_and(|written| self.is_live(written)));
        }
        self.note_read(space.id(), key);
        Ok(self.view.find(space, key, false)?.is_some())
    }

    /// Keys and values between two keys of an ordered keyspace, by rising key; from both ends if
    /// asked.
    ///
    /// # Errors
    /// As [`Snapshot::range`](crate::Snapshot::range).
    pub fn range<K: AsRef<[u8]>, R: RangeBounds<K>>(
        &self,
        keyspace: &Keyspace,
        range: R,
    ) -> Result<TransactionIter<'_>> {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        self.between(
            keyspace,
            (owned(range.start_bound()), owned(range.end_bound())),
        )
    }

    /// Keys and values whose key starts with `prefix`, by rising key.
    ///
    /// # Errors
    /// As [`Transaction::range`].
    pub fn prefix(
        &self,
        keyspace: &Keyspace,
        prefix: impl AsRef<[u8]>,
    ) -> Result<TransactionIter<'_>> {
        self.between(keyspace, prefix_bounds(prefix.as_ref()))
    }

    /// All keys and values of an ordered keyspace by rising key.
    ///
    /// # Errors
    /// As [`Transaction::range`].
    pub fn iter(&self, keyspace: &Keyspace) -> Result<TransactionIter<'_>> {
        self.between(keyspace, (Bound::Unbounded, Bound::Unbounded))
    }

    // ---- writing

    /// Stores `value` under `key` when committed.
    ///
    /// # Errors
    /// `InvalidArgument` over a limit (of the whole transaction: [`BATCH_BYTES_MAX`]) or for a
    /// keyspace of another store; `NotFound` if the keyspace was dropped; `Closed`. The
    /// transaction stands as it was before the call.
    pub fn put(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        self.put_with(keyspace, key, value, Write::new())
    }

    /// Stores `value` with an expiry of its own. The durability of `write` plays no part: it is
    /// the commit's.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn put_with(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        write: Write,
    ) -> Result<()> {
        self.space(keyspace)?;
        let expiry = expiry_ms(&self.turn.handle, &keyspace.space, write.expiry);
        let value = value.as_ref();
        let op = Op::put(&keyspace.space, key.as_ref(), value, expiry);
        let written = || Written {
            value: Bytes::copy_from_slice(value),
            expiry,
        };
        self.change(keyspace, &op, || Some(written()))
    }

    /// Removes `key` when committed; whether it had a live value in what the transaction sees.
    ///
    /// # Errors
    /// As [`Transaction::put`] and [`Transaction::get`].
    pub fn delete(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        let existed = self.contains(keyspace, key)?;
        self.change(keyspace, &Op::delete(&keyspace.space, key), || None)?;
        Ok(existed)
    }

    // ---- the end

    /// Applies all writes as one batch with the store's default durability, and waits for it. The
    /// next transaction may begin before the wait is over.
    ///
    /// # Errors
    /// `Conflict` if a plain write touched a key of this transaction since it began (or so many
    /// keys that they were not all remembered); `StorageFull`, `Poisoned`, `Closed`, `NotFound`
    /// if one of its keyspaces was dropped. Nothing is applied then. If the wait fails (`Io`,
    /// `Poisoned`) the writes are visible, and may be gone after a crash.
    pub fn commit(self) -> Result<Seq> {
        let durability = self.turn.handle.options.durability;
        self.commit_with(durability)?.wait()
    }

    /// Applies all writes as one batch: visible together when this returns, durable together when
    /// the [`Commit`] was waited for. One that wrote nothing always succeeds.
    ///
    /// # Errors
    /// As [`Transaction::commit`], short of the wait.
    pub fn commit_with(self, durability: Durability) -> Result<Commit> {
        let handle = self.turn.handle.clone();
        let ops: Vec<Op<'_>> = self.changes.values().flat_map(Changes::ops).collect();
        let mut footprint = std::mem::take(&mut *self.footprint());
        for (id, changes) in &self.changes {
            let keys = footprint.keys.entry(*id).or_default();
            keys.extend(changes.by_key.keys().cloned());
        }
        let unharmed = || match handle.turns.touched.meets(&footprint) {
            Some(touch) if !ops.is_empty() => Err(conflict(&handle, &touch)),
            _ => Ok(()),
        };
        let outcome = handle.apply_as(Who::Transaction(&unharmed), &[], &ops, durability)?;
        Ok(Commit::new(&handle, outcome.seq, durability))
    }

    /// Forgets all writes and lets the next one have the turn, as dropping does.
    pub fn rollback(self) {}

    // ---- within

    fn space<'a>(&self, keyspace: &'a Keyspace) -> Result<&'a Space> {
        if !Arc::ptr_eq(self.view.core(), keyspace.handle.core()) {
            let what = format!("keyspace '{}' belongs to another store", keyspace.name());
            return Err(Error::invalid(what));
        }
        self.view.check(&keyspace.space)?;
        Ok(&keyspace.space)
    }

    /// Its own change of `key`, if there is one.
    fn own(&self, space: KeyspaceId, key: &[u8]) -> Option<&Option<Written>> {
        self.changes.get(&space)?.by_key.get(key)
    }

    fn is_live(&self, written: &Written) -> bool {
        written.expiry == NEVER || written.expiry > self.view.now_ms()
    }

    /// The first keys within bounds, of what it sees and of its own writes.
    fn keys(&self, space: &Space, bounds: BoundsRef<'_>, from_back: bool) -> Vec<Box<[u8]>> {
        let mut keys = self.view.ordered_part(space, bounds, from_back);
        if let Some(changes) = self.changes.get(&space.id()) {
            let own = changes.by_key.range::<[u8], _>(bounds).map(|(key, _)| key);
            if from_back {
                keys.extend(own.rev().take(PART_LEN).cloned());
            } else {
                keys.extend(own.take(PART_LEN).cloned());
            }
        }
        keys
    }

    fn note_read(&self, space: KeyspaceId, key: &[u8]) {
        let mut footprint = self.footprint();
        let keys = footprint.keys.entry(space).or_default();
        if !keys.contains(key) {
            keys.insert(key.into());
        }
    }

    fn footprint(&self) -> MutexGuard<'_, Footprint> {
        // A panic elsewhere leaves it whole: no foreign code runs inside.
        self.footprint
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &mut self,
        keyspace: &Keyspace,
        op: &Op<'_>,
        make: impl FnOnce() -> Option<Written>,
    ) -> Result<()> {
        self.space(keyspace)?;
        op.check()?;
        let old = self.own(op.space.id(), op.key);
        let old_bytes = old.map_or(0, |old| framed_len(&keyspace.space, op.key, old.as_ref()));
        let bytes = self.bytes - old_bytes + op.encoded_len_max();
        if bytes > BATCH_BYTES_MAX {
            return Err(Error::invalid(format!(
                "a transaction of {bytes} bytes is over the limit of {BATCH_BYTES_MAX} bytes; \
                 split it"
            )));
        }
        self.bytes = bytes;
        let changes = self.changes.entry(op.space.id());
        let changes = changes.or_insert_with(|| Changes {
            space: keyspace.space.clone(),
            by_key: BTreeMap::new(),
        });
        changes.by_key.insert(op.key.into(), make());
        Ok(())
    }

    fn between(&self, keyspace: &Keyspace, bounds: Bounds) -> Result<TransactionIter<'_>> {
        self.space(keyspace)?;
        keyspace.check_ordered("a range")?;
        Ok(TransactionIter {
            transaction: self,
            space: keyspace.space.clone(),
            cursor: KeyCursor::new(bounds.clone()),
            bounds,
            front: None,
            back: None,
        })
    }
}

impl Changes {
    fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        self.by_key.iter().map(|(key, written)| match written {
            Some(written) => Op::put(&self.space, key, &written.value, written.expiry),
            None => Op::delete(&self.space, key),
        })
    }
}

/// What the change of a key adds to the batch at most.
fn framed_len(space: &Space, key: &[u8], written: Option<&Written>) -> u64 {
    match written {
        Some(written) => Op::put(space, key, &written.value, written.expiry).encoded_len_max(),
        None => Op::delete(space, key).encoded_len_max(),
    }
}

fn lend(bytes: Bytes) -> Value {
    Value::new(Lent::Copied(bytes))
}

fn conflict(handle: &Handle, touch: &Touch) -> Error {
    let what = match touch {
        Touch::TooMany => "more was written beside the transaction than is remembered, so it is \
                           taken to conflict; begin again, and keep it shorter"
            .to_owned(),
        Touch::Key(space, key) => {
            let space = handle.spaces.by_id(*space);
            let name = space.map_or_else(String::new, |space| space.entry.name.clone());
            // Enough to know it by.
            let key = key.get(..64).unwrap_or(key).escape_ascii();
            format!(
                "a plain write touched key \"{key}\" of keyspace '{name}', which the transaction \
                 read or wrote; begin again"
            )
        }
    };
    Error::new(ErrorKind::Conflict, what)
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = self.changes.values().map(|changes| changes.by_key.len());
        f.debug_struct("Transaction")
            .field("seq", &self.view.seq())
            .field("writes", &writes.sum::<usize>())
            .finish_non_exhaustive()
    }
}

impl Turn {
    pub(crate) fn ask(handle: &Arc<Handle>) -> Turn {
        Turn::new(handle, handle.turns.ask())
    }

    pub(crate) fn new(handle: &Arc<Handle>, ticket: Ticket) -> Turn {
        Turn {
            handle: handle.clone(),
            ticket,
            began: false,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.began {
            self.handle.turns.touched.end();
        }
        self.handle.turns.give_up(self.ticket);
    }
}

impl TransactionIter<'_> {
    /// What the transaction sees under `key`.
    fn pair(&self, key: &[u8]) -> Result<Option<(Value, Value)>> {
        let transaction = self.transaction;
        if let Some(own) = transaction.own(self.space.id(), key) {
            let live = own.as_ref().filter(|written| transaction.is_live(written));
            let key = || lend(Bytes::copy_from_slice(key));
            return Ok(live.map(|written| (key(), lend(written.value.clone()))));
        }
        let found = transaction.view.find(&self.space, key, true)?;
        Ok(found.map(|record| {
            let entry = crate::iter::entry_of(&record);
            (entry.key, entry.value)
        }))
    }

    /// Notes in the footprint how far the front has come; `None` for to the end.
    fn note_front(&mut self, key: Option<&[u8]>) {
        let end = match key {
            Some(key) => Bound::Included(key.to_vec()),
            None => self.bounds.1.clone(),
        };
        let stretch = (self.bounds.0.clone(), end);
        self.front = Some(self.note(self.front, stretch));
    }

    fn note_back(&mut self, key: Option<&[u8]>) {
        let start = match key {
            Some(key) => Bound::Included(key.to_vec()),
            None => self.bounds.0.clone(),
        };
        let stretch = (start, self.bounds.1.clone());
        self.back = Some(self.note(self.back, stretch));
    }

    fn note(&self, at: Option<usize>, stretch: Bounds) -> usize {
        let ranges = &mut self.transaction.footprint().ranges;
        let noted = (self.space.id(), stretch);
        match at.and_then(|at| ranges.get_mut(at).map(|place| (at, place))) {
            Some((at, place)) => {
                *place = noted;
                at
            }
            None => {
                ranges.push(noted);
                ranges.len() - 1
            }
        }
    }
}

impl Iterator for TransactionIter<'_> {
    type Item = Result<(Value, Value)>;

    fn next(&mut self) -> Option<Result<(Value, Value)>> {
        loop {
            let (transaction, space) = (self.transaction, &self.space);
            let fetch = |bounds: BoundsRef<'_>, back| transaction.keys(space, bounds, back);
            let key = self.cursor.next(fetch);
            self.note_front(key.as_deref());
            if let Some(pair) = self.pair(&key?).transpose() {
                return Some(pair);
            }
        }
    }
}

impl DoubleEndedIterator for TransactionIter<'_> {
    fn next_back(&mut self) -> Option<Result<(Value, Value)>> {
        loop {
            let (transaction, space) = (self.transaction, &self.space);
            let fetch = |bounds: BoundsRef<'_>, back| transaction.keys(space, bounds, back);
            let key = self.cursor.next_back(fetch);
            self.note_back(key.as_deref());
            if let Some(pair) = self.pair(&key?).transpose() {
                return Some(pair);
            }
        }
    }
}
