//! Optimistic writes of one key: they happen only if the current version is the expected one, and
//! otherwise answer with what is there instead. The comparison is made by `commit`, under the lock
//! under which all writes are ordered, so nothing comes between it and the write.

use crate::commit::{Condition, Op};
use crate::error::Result;
use crate::expected::Expected;
use crate::iter::entry_of;
use crate::keyspace::{Keyspace, expiry_ms};
use crate::options::{Durability, Write};
use crate::ticket::Commit;
use crate::value::Entry;

/// The answer of a conditional write.
#[must_use = "a refused write changed nothing, and an applied one is durable only when waited for"]
#[derive(Debug)]
pub enum Swap {
    /// The expectation held and the write is visible; wait for its durability with
    /// [`Commit::wait`].
    Applied(Commit),
    /// The expectation did not hold and nothing was changed. This is the version that stood there
    /// in that moment, `None` if there was no live one.
    Refused(Option<Entry>),
}

impl Swap {
    /// Waits until an applied write is as durable as was asked; whether it was applied.
    ///
    /// # Errors
    /// As [`Commit::wait`].
    pub fn applied(self) -> Result<bool> {
        match self {
            Swap::Applied(commit) => commit.wait().map(|_| true),
            Swap::Refused(_) => Ok(false),
        }
    }
}

impl Keyspace {
    /// Stores `value` if `key` has no live value, with the store's default durability.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store, Swap};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let names = store.keyspace("names", KeyspaceOptions::hash())?;
    /// assert!(names.put_if_absent("alice", "first")?.applied()?);
    /// match names.put_if_absent("alice", "second")? {
    ///     Swap::Refused(Some(entry)) => assert_eq!(entry.value, b"first"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Keyspace::put_if`].
    pub fn put_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Swap> {
        self.put_if(key, value, Expected::Absent, Write::new())
    }

    /// Stores `value` under `key` if the current version is as `expected`. Of several threads
    /// that expect the same version, one succeeds.
    ///
    /// ```
    /// # use peercask::{Expected, KeyspaceOptions, Options, Store, Swap, Write};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let counters = store.keyspace("counters", KeyspaceOptions::hash())?;
    /// counters.put("visits", 41_u64.to_le_bytes())?;
    /// let mut current = counters.entry("visits")?;
    /// loop {
    ///     let count = current.as_ref().map_or(0, |entry| {
    ///         u64::from_le_bytes(entry.value[..].try_into().expect("eight bytes"))
    ///     });
    ///     let expected = match &current {
    ///         Some(entry) => Expected::Seq(entry.seq),
    ///         None => Expected::Absent,
    ///     };
    ///     let next = (count + 1).to_le_bytes();
    ///     match counters.put_if("visits", next, expected, Write::new())? {
    ///         Swap::Applied(commit) => break commit.wait().map(drop)?,
    ///         Swap::Refused(now) => current = now,
    ///     }
    /// }
    /// assert_eq!(counters.get("visits")?.expect("there"), 42_u64.to_le_bytes());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The version that is compared with is the visible one; it may be less durable than this
    /// write, and becomes as durable before it does.
    ///
    /// # Errors
    /// As [`Keyspace::put`]; `Corrupted` if the current version cannot be read. An expectation
    /// that does not hold is no error but [`Swap::Refused`].
    pub fn put_if(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        expected: Expected<'_>,
        write: Write,
    ) -> Result<Swap> {
        let durability = write.durability.unwrap_or(self.handle.options.durability);
        let expiry = expiry_ms(&self.handle, &self.space, write.expiry);
        let op = Op::put(&self.space, key.as_ref(), value.as_ref(), expiry);
        self.swap(op, expected, durability)
    }

    /// Removes `key` if the current version is as `expected`. Removing what is expected to be
    /// absent, and is, writes nothing.
    ///
    /// # Errors
    /// As [`Keyspace::put_if`].
    pub fn delete_if(
        &self,
        key: impl AsRef<[u8]>,
        expected: Expected<'_>,
        durability: Durability,
    ) -> Result<Swap> {
        self.swap(Op::delete(&self.space, key.as_ref()), expected, durability)
    }

    fn swap(&self, op: Op<'_>, expected: Expected<'_>, durability: Durability) -> Result<Swap> {
        let condition = Condition {
            space: op.space,
            hash: op.hash,
            key: op.key,
            expected,
        };
        let outcome = self.handle.apply_if(&[condition], &[op], durability)?;
        Ok(match outcome.refused {
            None => Swap::Applied(Commit::new(&self.handle, outcome.seq, durability)),
            Some(refused) => Swap::Refused(refused.current.as_ref().map(entry_of)),
        })
    }
}
