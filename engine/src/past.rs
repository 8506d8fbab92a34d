//! Superseded versions that live snapshots still see. Nothing here while no snapshot lives; then
//! one entry for each key that is replaced or deleted for the first time since the newest one was
//! taken. An entry holds its segment in memory, so the version stays readable where it lies,
//! whatever merge does with the file.
//!
//! It knows keyspaces by id and segments by reference, no record and no verb. Why so:
//! docs/decisions/021-snapshots-keep-what-changes.md.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::error::Result;
use crate::keydir::space::Space;
use crate::segment::data_file::{Record, Segment};
use crate::segment::location::KeyspaceId;

/// Entries handled at once when a snapshot ends, so that nobody waits for the lock for long.
const SLICE_LEN: usize = 256;

/// A version that is no longer current, where it lies.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) segment: Arc<Segment>,
    /// 0 if it cannot be read: it is then taken to have been there always.
    pub(crate) seq: u64,
    pub(crate) offset: u32,
}

impl Version {
    pub(crate) fn read(&self, with_value: bool) -> Result<Record> {
        self.segment.read(u64::from(self.offset), with_value)
    }
}

/// A key of a hash keyspace by its hash, in the order in which the keydir lists its parts. Bytes
/// rather than a number, which would be aligned to 16 and cost as much again.
type Hashed = [u8; 16];

/// What one keyspace kept; one of the two is empty.
#[derive(Default)]
struct Kept {
    hashed: BTreeMap<Hashed, Version>,
    ordered: BTreeMap<Box<[u8]>, Version>,
}

impl Kept {
    fn len(&self) -> usize {
        self.hashed.len() + self.ordered.len()
    }
}

/// What was superseded while a snapshot was the newest: of each key the version that it sees.
struct Epoch {
    /// Snapshots taken at this seq that still live.
    holders: usize,
    /// The earliest of the times that they froze.
    oldest_ms: u64,
    kept: BTreeMap<KeyspaceId, Kept>,
}

type Epochs = BTreeMap<u64, Epoch>;

/// The epochs of all live snapshots of a store.
///
/// A snapshot finds a key's version in the first epoch, from its own upwards, that has the key:
/// that is the version which was superseded first after the snapshot was taken. If it is younger
/// than the snapshot, the key was absent then.
#[derive(Default)]
pub(crate) struct Past {
    /// The seq of the newest live snapshot plus one; 0 if there is none. Every write looks.
    newest: AtomicU64,
    /// A leaf lock, held for one entry or one slice.
    epochs: RwLock<Epochs>,
}

impl Past {
    /// Begins to keep what a snapshot at `seq` sees. Called under the log lock, so that no write
    /// is half before and half behind it.
    pub(crate) fn take(&self, seq: u64, now_ms: u64) {
        let mut epochs = self.write();
        let epoch = epochs.entry(seq).or_insert_with(|| Epoch {
            holders: 0,
            oldest_ms: now_ms,
            kept: BTreeMap::new(),
        });
        if epoch.holders == 0 {
            epoch.oldest_ms = now_ms;
        }
        epoch.holders += 1;
        self.note_newest(&epochs);
    }

    /// A snapshot at `seq` is gone. What an older one sees goes to that, the rest is forgotten.
    pub(crate) fn release(&self, seq: u64) {
        {
            let mut epochs = self.write();
            let Some(epoch) = epochs.get_mut(&seq) else {
                return;
            };
            epoch.holders -= 1;
            self.note_newest(&epochs);
        }
        // What goes is dropped without the lock: it may be the last hold on a map.
        while let Some(gone) = self.release_slice(seq) {
            drop(gone);
        }
    }

    /// Whether some live snapshot may see a version of this seq.
    pub(crate) fn wants(&self, seq: u64) -> bool {
        self.newest.load(Ordering::Acquire) > seq
    }

    /// Whether a live snapshot sees a version that expires at `expiry` as not expired.
    pub(crate) fn sees_alive(&self, seq: u64, expiry: u64) -> bool {
        self.wants(seq)
            && self
                .read()
                .range(seq..)
                .any(|(_, epoch)| epoch.holders > 0 && epoch.oldest_ms < expiry)
    }

    /// Keeps the version of a key that the write `superseded_at` takes the place of, if a live
    /// snapshot sees it. Called under the log lock, before the keydir is changed.
    pub(crate) fn keep(
        &self,
        space: &Space,
        hash: u128,
        key: &[u8],
        version: Version,
        superseded_at: u64,
    ) {
        let mut epochs = self.write();
        let seen_by = version.seq..superseded_at.max(version.seq);
        let newest = epochs.range_mut(seen_by).rev();
        let Some((_, epoch)) = newest.into_iter().find(|(_, epoch)| epoch.holders > 0) else {
            return;
        };
        let kept = epoch.kept.entry(space.id()).or_default();
        if space.is_ordered() {
            kept.ordered.insert(key.into(), version);
        } else {
            kept.hashed.insert(hashed(hash), version);
        }
    }

    /// The version that a snapshot at `seq` sees, if it is not the current one.
    pub(crate) fn find(&self, seq: u64, space: &Space, hash: u128, key: &[u8]) -> Option<Version> {
        let epochs = self.read();
        let kept = epochs
            .range(seq..)
            .filter_map(|(_, epoch)| epoch.kept.get(&space.id()));
        let mut found = if space.is_ordered() {
            kept.filter_map(|kept| kept.ordered.get(key)).next()
        } else {
            let hashed = hashed(hash);
            kept.filter_map(|kept| kept.hashed.get(&hashed)).next()
        };
        found.take_if(|version| version.seq > seq);
        found.cloned()
    }

    /// Up to `max` keys of an ordered keyspace between two bounds, from the front or the back,
    /// that have changed since `seq`.
    pub(crate) fn ordered_part(
        &self,
        seq: u64,
        space: &Space,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        from_back: bool,
        max: usize,
    ) -> Vec<Box<[u8]>> {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        for (_, epoch) in self.read().range(seq..) {
            let Some(kept) = epoch.kept.get(&space.id()) else {
                continue;
            };
            let range = kept.ordered.range::<[u8], _>(bounds).map(|(key, _)| key);
            if from_back {
                keys.extend(range.rev().take(max).cloned());
            } else {
                keys.extend(range.take(max).cloned());
            }
        }
        keys
    }

    /// What a snapshot at `seq` sees of the part of a hash keyspace that begins at `from` and ends
    /// before `next`, and is no longer current.
    pub(crate) fn hashed_part(
        &self,
        seq: u64,
        space: &Space,
        from: u64,
        next: Option<u64>,
    ) -> Vec<(u128, Version)> {
        // Parts are told by the upper half of the hash.
        let edge = |upper: u64| hashed(u128::from(upper) << 64);
        let end = next.map_or(Bound::Unbounded, |next| Bound::Excluded(edge(next)));
        let ends = (Bound::Included(edge(from)), end);
        let mut first: BTreeMap<Hashed, Version> = BTreeMap::new();
        for (_, epoch) in self.read().range(seq..) {
            let kept = epoch.kept.get(&space.id());
            for (hashed, version) in kept.into_iter().flat_map(|k| k.hashed.range(ends)) {
                first.entry(*hashed).or_insert_with(|| version.clone());
            }
        }
        first.retain(|_, version| version.seq <= seq);
        let found = first.into_iter();
        found.map(|(h, v)| (hash_of(h), v)).collect()
    }

    /// Nobody can ask for a dropped keyspace any more.
    pub(crate) fn forget_space(&self, keyspace: KeyspaceId) {
        let mut epochs = self.write();
        let gone: Vec<Option<Kept>> = epochs
            .values_mut()
            .map(|epoch| epoch.kept.remove(&keyspace))
            .collect();
        drop(epochs);
        drop(gone);
    }

    /// How many snapshots live.
    pub(crate) fn snapshots(&self) -> u64 {
        let epochs = self.read();
        epochs.values().map(|epoch| epoch.holders as u64).sum()
    }

    /// How many versions are kept for them.
    pub(crate) fn versions(&self) -> u64 {
        let epochs = self.read();
        let kept = epochs.values().flat_map(|epoch| epoch.kept.values());
        kept.map(|kept| kept.len() as u64).sum()
    }

    // ---- within

    /// Hands some of a released epoch's versions down, and takes it out when it is empty; what is
    /// returned is to be dropped. `None` when there is nothing left to do.
    fn release_slice(&self, seq: u64) -> Option<Vec<Kept>> {
        let mut epochs = self.write();
        // Taken again meanwhile, or another does the same.
        if epochs.get(&seq)?.holders > 0 {
            return None;
        }
        let Some((&older, _)) = epochs.range(..seq).next_back() else {
            let epoch = epochs.remove(&seq)?;
            drop(epochs);
            drop(epoch);
            return None;
        };
        let epoch = epochs.get_mut(&seq)?;
        let Some(mut first) = epoch.kept.first_entry() else {
            epochs.remove(&seq);
            return None;
        };
        let (keyspace, slice) = (*first.key(), split(first.get_mut()));
        if first.get().len() == 0 {
            first.remove();
        }
        let down = epochs.get_mut(&older)?;
        let down = down.kept.entry(keyspace).or_default();
        let mut gone = Kept::default();
        for (key, version) in slice.hashed {
            let to = if version.seq <= older {
                &mut *down
            } else {
                &mut gone
            };
            to.hashed.entry(key).or_insert(version);
        }
        for (key, version) in slice.ordered {
            let to = if version.seq <= older {
                &mut *down
            } else {
                &mut gone
            };
            to.ordered.entry(key).or_insert(version);
        }
        Some(vec![gone])
    }

    fn note_newest(&self, epochs: &Epochs) {
        let mut live = epochs.iter().rev().filter(|(_, epoch)| epoch.holders > 0);
        let newest = live.next().map_or(0, |(seq, _)| seq + 1);
        self.newest.store(newest, Ordering::Release);
    }

    // A panic elsewhere cannot leave the map half changed: no foreign code runs inside.
    fn read(&self) -> RwLockReadGuard<'_, Epochs> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Epochs> {
        self.epochs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes up to one slice of entries out of `kept`.
fn split(kept: &mut Kept) -> Kept {
    let mut slice = Kept::default();
    while slice.len() < SLICE_LEN {
        if let Some((key, version)) = kept.hashed.pop_first() {
            slice.hashed.insert(key, version);
        } else if let Some((key, version)) = kept.ordered.pop_first() {
            slice.ordered.insert(key, version);
        } else {
            break;
        }
    }
    slice
}

#[expect(clippy::big_endian_bytes, reason = "bytes in the order of the numbers")]
fn hashed(hash: u128) -> Hashed {
    hash.to_be_bytes()
}

#[expect(clippy::big_endian_bytes, reason = "the way back")]
fn hash_of(hashed: Hashed) -> u128 {
    u128::from_be_bytes(hashed)
}
