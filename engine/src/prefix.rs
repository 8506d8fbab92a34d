//! Deleting all keys that start with a prefix, as one batch of tombstones. Why no record kind of its
//! own: docs/decisions/023-prefixes-are-deleted-by-a-batch.md.

use crate::error::Result;
use crate::iter::prefix_bounds;
use crate::keyspace::Keyspace;
use crate::options::Durability;
use crate::ticket::Commit;

impl Keyspace {
    /// Removes every key that starts with `prefix`, with the store's default durability; how many
    /// had a live value. An empty prefix empties the keyspace.
    ///
    /// All of them are removed together: after any crash they are all there or all gone, and a
    /// snapshot or transaction sees all or none of it. A read beside it may find some keys gone
    /// and others not yet; a write under the prefix comes wholly before it or wholly after.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let addresses = store.keyspace("addresses", KeyspaceOptions::ordered())?;
    /// addresses.put("alice/1", "192.0.2.7")?;
    /// addresses.put("alice/2", "192.0.2.8")?;
    /// addresses.put("bob/1", "192.0.2.9")?;
    /// assert_eq!(addresses.delete_prefix("alice/")?, 2);
    /// assert_eq!(addresses.iter()?.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It costs a tombstone for each key, and other writes, syncs, and the taking of snapshots wait while these
    /// are written: about a second for some hundred thousand keys. More of them than fit a segment are written over
    /// several; in memory it takes less than some ten MiB, beside what snapshots that are alive
    /// keep of each key. To give up everything at once, drop the keyspace, which costs the same at
    /// any size.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace, whose keys are not in memory, and for more than
    /// [`DELETE_PREFIX_KEYS_MAX`](crate::DELETE_PREFIX_KEYS_MAX) keys; `StorageFull` if there is no
    /// room for all of the tombstones, also where single deletes would still go; else as
    /// [`Keyspace::delete`]. Nothing is removed then.
    pub fn delete_prefix(&self, prefix: impl AsRef<[u8]>) -> Result<u64> {
        let (removed, commit) = self.delete_prefix_with(prefix, self.handle.options.durability)?;
        commit.wait()?;
        Ok(removed)
    }

    /// As [`Keyspace::delete_prefix`]: gone when this returns, durably when the [`Commit`] was
    /// waited for.
    ///
    /// # Errors
    /// As [`Keyspace::delete_prefix`], short of the wait.
    pub fn delete_prefix_with(
        &self,
        prefix: impl AsRef<[u8]>,
        durability: Durability,
    ) -> Result<(u64, Commit)> {
        self.check_ordered("delete_prefix")?;
        let bounds = prefix_bounds(prefix.as_ref());
        let outcome = self
            .handle
            .delete_between(&self.space, &bounds, durability)?;
        let commit = Commit::new(&self.handle, outcome.seq, durability);
        Ok((outcome.met, commit))
    }
}
