//! Snapshots: a consistent view of all keyspaces at one moment, for as long as a caller likes.
//! Taking one costs a lock for a moment and no copy; what it costs afterwards is told in `past`.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::iter::{entry_of, prefix_bounds, value_of};
use crate::key_cursor::{Bounds, BoundsRef, KeyCursor};
use crate::keydir::space::Space;
use crate::keyspace::Keyspace;
use crate::options::{IndexKind, KEY_LEN_MAX};
use crate::past::Version;
use crate::segment::location::Seq;
use crate::value::{Entry, Value};
use crate::view::View;

/// What all keyspaces held at one moment; made by [`Store::snapshot`](crate::Store::snapshot).
///
/// It sees a batch or transaction whole or not at all, and time stands still in it: what had not
/// expired then does not. Writes, merge and other readers go on, and never wait for it. Of each
/// key that is replaced or deleted while it lives, one entry of some 60 bytes (and the key, in an
/// ordered keyspace) stays in memory; keys that are added cost nothing. The disk space of segments
/// that merge removes comes back when no snapshot needs a version in them.
///
/// Cheap to clone, `'static` and `Send`. It does not keep the store open: after the store is
/// closed its reads answer `Closed`, and a snapshot that is leaked holds up neither close nor a
/// new open.
///
/// ```
/// # use peercask::{KeyspaceOptions, Options, Store};
/// # fn main() -> peercask::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let store = Store::open(dir.path(), Options::default())?;
/// let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
/// peers.put("alice", "1")?;
/// peers.put("bob", "2")?;
///
/// let snapshot = store.snapshot()?;
/// peers.put("alice", "changed")?;
/// peers.delete("bob")?;
/// assert_eq!(snapshot.get(&peers, "alice")?.expect("there"), b"1");
///
/// // From another thread, page by page, each page resumed behind the last key.
/// let reader = std::thread::spawn({
///     let (snapshot, peers) = (snapshot.clone(), peers.clone());
///     move || snapshot.walk_after(&peers, "alice").map(|walk| walk.count())
/// });
/// assert_eq!(reader.join().expect("joined")?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Snapshot {
    view: Arc<View>,
}

/// Iterates over the entries of an ordered keyspace in a snapshot, from both ends.
pub struct SnapshotIter {
    view: Arc<View>,
    space: Arc<Space>,
    cursor: KeyCursor,
}

/// Iterates over all entries of a keyspace in a snapshot: by key if it is ordered, else in an
/// order that stays the same for every walk of the keyspace while the store is open.
pub struct SnapshotWalk {
    by_key: Option<SnapshotIter>,
    view: Arc<View>,
    space: Arc<Space>,
    /// Where the next part begins; `None` after the last.
    part: Option<u64>,
    after: Option<u128>,
    found: std::vec::IntoIter<(u128, Result<Version>)>,
    ended: bool,
}

impl Snapshot {
    pub(crate) fn new(view: View) -> Snapshot {
        Snapshot {
            view: Arc::new(view),
        }
    }

    /// The last write that it sees.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.view.seq())
    }

    /// The store time at which it was taken, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.view.now_ms()
    }

    /// The value of `key`, lent without a copy.
    ///
    /// # Errors
    /// `InvalidArgument` for a keyspace of another store; else as
    /// [`Keyspace::get`](crate::Keyspace::get).
    pub fn get(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let found = self.space(keyspace)?;
        let found = self.view.find(found, key.as_ref(), true)?;
        Ok(found.as_ref().map(value_of))
    }

    /// Whether `key` had a live value; the value is not read.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn contains(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<bool> {
        let space = self.space(keyspace)?;
        Ok(self.view.find(space, key.as_ref(), false)?.is_some())
    }

    /// Key, value, seq and expiry of `key`.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn entry(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        let space = self.space(keyspace)?;
        let found = self.view.find(space, key.as_ref(), true)?;
        Ok(found.as_ref().map(entry_of))
    }

    /// All entries of a keyspace: see [`SnapshotWalk`].
    ///
    /// # Errors
    /// As [`Snapshot::get`]; also while it goes on.
    pub fn walk(&self, keyspace: &Keyspace) -> Result<SnapshotWalk> {
        self.space(keyspace)?;
        let all = (Bound::Unbounded, Bound::Unbounded);
        Ok(self.walk_from(keyspace, all, None))
    }

    /// The rest of a walk behind `key`, which need not be there any more: so a walk is resumed,
    /// in this snapshot or, with what changed in between, in a later one.
    ///
    /// # Errors
    /// `InvalidArgument` for a key over [`KEY_LEN_MAX`] bytes, which no walk can have given; else
    /// as [`Snapshot::walk`].
    pub fn walk_after(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<SnapshotWalk> {
        let (space, key) = (self.space(keyspace)?, key.as_ref());
        if key.len() > KEY_LEN_MAX {
            return Err(Error::invalid(format!(
                "a walk cannot go on behind a key of {} bytes: keys end at {KEY_LEN_MAX} bytes",
                key.len()
            )));
        }
        let hash = space.hash(key);
        let rest = (Bound::Excluded(key.to_vec()), Bound::Unbounded);
        Ok(self.walk_from(keyspace, rest, Some(hash)))
    }

    // ---- ordered keyspaces

    /// The entries between two keys, by rising key; from both ends if asked. To resume behind a
    /// key, let the range begin with `Bound::Excluded` of it.
    ///
    /// # Errors
    /// `InvalidArgument` on a hash keyspace, whose keys are not in memory; else as
    /// [`Snapshot::get`], also while it goes on.
    pub fn range<K: AsRef<[u8]>, R: RangeBounds<K>>(
        &self,
        keyspace: &Keyspace,
        range: R,
    ) -> Result<SnapshotIter> {
        let owned = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        self.between(
            keyspace,
            (owned(range.start_bound()), owned(range.end_bound())),
        )
    }

    /// The entries whose key starts with `prefix`, by rising key.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn prefix(&self, keyspace: &Keyspace, prefix: impl AsRef<[u8]>) -> Result<SnapshotIter> {
        self.between(keyspace, prefix_bounds(prefix.as_ref()))
    }

    /// All entries of an ordered keyspace by rising key.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn iter(&self, keyspace: &Keyspace) -> Result<SnapshotIter> {
        self.between(keyspace, (Bound::Unbounded, Bound::Unbounded))
    }

    /// The entry with the lowest key.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn first(&self, keyspace: &Keyspace) -> Result<Option<Entry>> {
        self.iter(keyspace)?.next().transpose()
    }

    /// The entry with the highest key.
    ///
    /// # Errors
    /// As [`Snapshot::range`].
    pub fn last(&self, keyspace: &Keyspace) -> Result<Option<Entry>> {
        self.iter(keyspace)?.next_back().transpose()
    }

    // ---- within

    fn space<'a>(&self, keyspace: &'a Keyspace) -> Result<&'a Space> {
        if !Arc::ptr_eq(self.view.core(), keyspace.handle.core()) {
            let what = format!("keyspace '{}' belongs to another store", keyspace.name());
            return Err(Error::invalid(what));
        }
        self.view.check(&keyspace.space)?;
        Ok(&keyspace.space)
    }

    fn between(&self, keyspace: &Keyspace, bounds: Bounds) -> Result<SnapshotIter> {
        self.space(keyspace)?;
        keyspace.check_ordered("a range")?;
        Ok(SnapshotIter {
            view: self.view.clone(),
            space: keyspace.space.clone(),
            cursor: KeyCursor::new(bounds),
        })
    }

    fn walk_from(&self, keyspace: &Keyspace, bounds: Bounds, after: Option<u128>) -> SnapshotWalk {
        let (view, space) = (self.view.clone(), keyspace.space.clone());
        let by_key = (keyspace.kind() == IndexKind::Ordered).then(|| SnapshotIter {
            view: view.clone(),
            space: space.clone(),
            cursor: KeyCursor::new(bounds),
        });
        SnapshotWalk {
            by_key,
            view,
            space,
            // Parts are told by the upper half of the hash.
            part: Some(after.map_or(0, |hash| (hash >> 64) as u64)),
            after,
            found: Vec::new().into_iter(),
            ended: false,
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("seq", &self.view.seq())
            .field("time_ms", &self.view.now_ms())
            .finish_non_exhaustive()
    }
}

impl SnapshotIter {
    fn entry(&self, key: &[u8]) -> Option<Result<Entry>> {
        let found = self.view.find(&self.space, key, true);
        found
            .map(|record| record.as_ref().map(entry_of))
            .transpose()
    }
}

impl Iterator for SnapshotIter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let (view, space) = (&self.view, &self.space);
            let fetch = |bounds: BoundsRef<'_>, back| view.ordered_part(space, bounds, back);
            let key = self.cursor.next(fetch)?;
            if let Some(entry) = self.entry(&key) {
                return Some(entry);
            }
        }
    }
}

impl DoubleEndedIterator for SnapshotIter {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        loop {
            let (view, space) = (&self.view, &self.space);
            let fetch = |bounds: BoundsRef<'_>, back| view.ordered_part(space, bounds, back);
            let key = self.cursor.next_back(fetch)?;
            if let Some(entry) = self.entry(&key) {
                return Some(entry);
            }
        }
    }
}

impl SnapshotWalk {
    /// Lists parts until one holds something; false after the last.
    fn fill(&mut self) -> Result<bool> {
        while self.found.len() == 0 {
            let Some(part) = self.part else {
                return Ok(false);
            };
            let (mut found, next) = self.view.hashed_part(&self.space, part)?;
            if let Some(after) = self.after.take() {
                found.retain(|(hash, _)| *hash > after);
            }
            self.part = next;
            self.found = found.into_iter();
        }
        Ok(true)
    }
}

impl Iterator for SnapshotWalk {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some(iter) = &mut self.by_key {
            return iter.next();
        }
        loop {
            if self.ended {
                return None;
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                // The store or keyspace went away: told once, and nothing after it.
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            let (_, version) = self.found.next()?;
            let read = version.and_then(|version| self.view.read(&self.space, &version));
            match read.map(|record| record.as_ref().map(entry_of)) {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
