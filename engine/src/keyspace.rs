//! What users and adapters hold: one keyspace of a store, with all reads and single writes.
//! It turns calls into ops for `commit` and lookups for `lookup`, and does little itself.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use crate::commit::Op;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::iter::{self, Iter, Walk, entry_of, value_of};
use crate::keydir::space::Space;
use crate::lookup;
use crate::options::{Durability, Expiry, IndexKind, Write};
use crate::segment::data_file::Record;
use crate::segment::format::NEVER;
use crate::stats::KeyspaceInfo;
use crate::ticket::Commit;
use crate::value::{Entry, Value, ValueReader};
use crate::watch::{Watch, WatchOptions};

/// A named share of a store. Cheap to clone, usable from any thread; it keeps the store open.
#[derive(Clone)]
pub struct Keyspace {
    pub(crate) handle: Arc<Handle>,
    pub(crate) space: Arc<Space>,
}

impl Keyspace {
    pub(crate) fn new(handle: Arc<Handle>, space: Arc<Space>) -> Keyspace {
        Keyspace { handle, space }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.space.entry.name
    }

    /// The number that its records carry; never reused.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.space.id().0
    }

    /// How it finds keys.
    #[must_use]
    pub fn kind(&self) -> IndexKind {
        self.space.entry.kind
    }

    /// Its size and options.
    ///
    /// # Errors
    /// `Closed`; `NotFound` if it was dropped.
    pub fn info(&self) -> Result<KeyspaceInfo> {
        self.check()?;
        Ok(info_of(&self.handle, &self.space))
    }

    // ---- writing

    /// Stores `value` under `key` with the store's default durability, and waits for it.
    ///
    /// # Errors
    /// `InvalidArgument` over a limit, `StorageFull`, `Poisoned`, `Closed`, `NotFound` if the
    /// keyspace was dropped; nothing is changed then. If the wait fails (`Io`, `Poisoned`) the
    /// value is visible, and may be gone after a crash.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.put_with(key, value, Write::new())?.wait()?;
        Ok(())
    }

    /// Stores `value` under `key` with choices of its own. The value is visible when this
    /// returns, and durable when the [`Commit`] was waited for.
    ///
    /// # Errors
    /// As [`Keyspace::put`], short of the wait.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        write: Write,
    ) -> Result<Commit> {
        let durability = write.durability.unwrap_or(self.handle.options.durability);
        let expiry = expiry_ms(&self.handle, &self.space, write.expiry);
        let op = Op::put(&self.space, key.as_ref(), value.as_ref(), expiry);
        let outcome = self.handle.apply(&[op], durability)?;
        Ok(Commit::new(&self.handle, outcome.seq, durability))
    }

    /// Removes `key`, with the store's default durability; true if it had a live value.
    ///
    /// # Errors
    /// As [`Keyspace::put`]. On a full disk deletes work on while the kept reserve lasts.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let (existed, commit) = self.delete_with(key, self.handle.options.durability)?;
        commit.wait()?;
        Ok(existed)
    }

    /// Removes `key`; true if it had a live value. What is not there costs no write.
    ///
    /// # Errors
    /// As [`Keyspace::put`], short of the wait.
    pub fn delete_with(
        &self,
        key: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<(bool, Commit)> {
        let op = Op::delete(&self.space, key.as_ref());
        let outcome = self.handle.apply(&[op], durability)?;
        Ok((
            outcome.existed,
            Commit::new(&self.handle, outcome.seq, durability),
        ))
    }

    // ---- reading

    /// The value of `key`, lent from the store without a copy. Both checksums were verified.
    ///
    /// # Errors
    /// `Corrupted` with file and offset if the record does not hold; `Io`; `Closed`; `NotFound`
    /// if the keyspace was dropped. A key that is absent or expired is `Ok(None)`.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        Ok(self
            .find(key.as_ref(), true)?
            .map(|record| value_of(&record)))
    }

    /// Whether `key` has a live value; the value is not read.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.find(key.as_ref(), false)?.is_some())
    }

    /// Key, value, seq and expiry of `key`.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn entry(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        Ok(self
            .find(key.as_ref(), true)?
            .map(|record| entry_of(&record)))
    }

    /// The values of several keys, in their order. Each is its own moment's: writes may come
    /// between.
    ///
    /// # Errors
    /// As [`Keyspace::get`], for the first key that fails.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// A part of the value of `key`, as far as it lies within it.
    ///
    /// # Errors
    /// As [`Keyspace::get`]; the whole value is verified.
    pub fn get_range(&self, key: impl AsRef<[u8]>, range: Range<u64>) -> Result<Option<Value>> {
        let Some(value) = self.get(key)? else {
            return Ok(None);
        };
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(value.len());
        let (start, end) = (clamp(range.start), clamp(range.end));
        Ok(Some(value.part(start, end.saturating_sub(start))))
    }

    /// Reads the value of `key` as a stream, from any position.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn reader(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        Ok(self.get(key)?.map(ValueReader::new))
    }

    /// All live entries in no particular order, for both kinds. Entries written or removed during
    /// the walk may or may not be met; no key is met twice unless it is written meanwhile.
    #[must_use]
    pub fn walk(&self) -> Walk {
        Walk::new(self.handle.clone(), self.space.clone())
    }

    // ---- ordered keyspaces

    /// The live entries between two keys, by rising key; from both ends if asked.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace, whose keys are not in memory.
    pub fn range<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, range: R) -> Result<Iter> {
        self.check_ordered("a range")?;
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        let bounds = (owned(range.start_bound()), owned(range.end_bound()));
        Ok(Iter::new(self.handle.clone(), self.space.clone(), bounds))
    }

    /// The live entries whose key starts with `prefix`, by rising key.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace, whose keys are not in memory.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        self.check_ordered("a prefix")?;
        let bounds = iter::prefix_bounds(prefix.as_ref());
        Ok(Iter::new(self.handle.clone(), self.space.clone(), bounds))
    }

    /// All live entries by rising key.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace; see [`Keyspace::walk`].
    pub fn iter(&self) -> Result<Iter> {
        self.range::<&[u8], _>(..)
    }

    /// The live entry with the lowest key.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace; else as [`Keyspace::get`].
    pub fn first(&self) -> Result<Option<Entry>> {
        self.iter()?.next().transpose()
    }

    /// The live entry with the highest key.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace; else as [`Keyspace::get`].
    pub fn last(&self) -> Result<Option<Entry>> {
        self.iter()?.next_back().transpose()
    }

    /// How many live entries lie between two keys. Records that may expire are looked at, the
    /// others are counted from memory.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace; else as [`Keyspace::get`].
    pub fn count<K: AsRef<[u8]>, R: RangeBounds<K>>(&self, range: R) -> Result<u64> {
        self.range(range)?.count_live()
    }

    /// How many keys there are, those of expired but unreclaimed records included; from memory.
    #[must_use]
    pub fn keys_estimate(&self) -> u64 {
        self.space.keydir.len()
    }

    /// What is written here from now on, or after a seq: see [`Watch`].
    ///
    /// # Errors
    /// `HistoryGone` if merge took what was written after [`WatchOptions::after`], with the
    /// earliest seq that can be had in [`Error::earliest_seq`]; `InvalidArgument` if that seq was
    /// never given, or the capacity is 0; `NotFound` if the keyspace was dropped; `Closed`.
    pub fn watch(&self, options: WatchOptions) -> Result<Watch> {
        self.check()?;
        Watch::start(&self.handle, &self.space, options)
    }

    // ---- within

    fn find(&self, key: &[u8], with_value: bool) -> Result<Option<Record>> {
        self.check()?;
        let timed = self.handle.log.counters.begin_get();
        let hash = self.space.hash(key);
        let found = lookup::find(&self.handle.log, &self.space, hash, key, with_value)?;
        self.handle.log.counters.end_get(timed);
        Ok(found.filter(|record| {
            let expiry = record.header.fields.expiry;
            expiry == NEVER || expiry > self.handle.clock.now_ms()
        }))
    }

    fn check(&self) -> Result<()> {
        iter::check(&self.handle, &self.space)
    }

    pub(crate) fn check_ordered(&self, what: &str) -> Result<()> {
        self.check()?;
        if self.kind() == IndexKind::Ordered {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{what} needs an ordered keyspace; '{}' is a hash keyspace, whose keys are not in \
             memory: use walk(), or make it with KeyspaceOptions::ordered()",
            self.name()
        )))
    }
}

impl fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyspace")
            .field("name", &self.name())
            .field("id", &self.id())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// The moment of expiry on disk.
pub(crate) fn expiry_ms(handle: &Handle, space: &Space, expiry: Expiry) -> u64 {
    let after = |ms: u64| handle.clock.now_ms().saturating_add(ms);
    match expiry {
        Expiry::Never => NEVER,
        Expiry::At(ms) => ms,
        Expiry::After(ttl) => after(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        Expiry::Default if space.entry.default_ttl_ms == 0 => NEVER,
        Expiry::Default => after(space.entry.default_ttl_ms),
    }
}

pub(crate) fn info_of(handle: &Handle, space: &Space) -> KeyspaceInfo {
    let entry = &space.entry;
    let ttl = entry.default_ttl_ms;
    let table = handle.log.table.load();
    KeyspaceInfo {
        name: entry.name.clone(),
        id: entry.id.0,
        kind: entry.kind,
        default_ttl: (ttl > 0).then(|| std::time::Duration::from_millis(ttl)),
        keys: space.keydir.len(),
        live_bytes: table
            .iter()
            .map(|segment| segment.live_of(entry.id).0)
            .sum(),
        index_bytes: space.keydir.index_bytes(),
    }
}
