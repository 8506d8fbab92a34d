//! Counters of what the store did and the picture of them that callers get. Counting never takes
//! a lock; the picture is not one moment's, but every number is right on its own.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::options::IndexKind;

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted while a store is open.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) user_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) merge_written_bytes: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    pub(crate) gets: Counter,
    pub(crate) syncs: Counter,
    pub(crate) rotations: Counter,
    pub(crate) merges: Counter,
    /// Merges and drops that removed puts: each may let tombstones retire.
    pub(crate) reclaims: Counter,
}

/// A picture of a store. Counts are since it was opened unless said otherwise.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Stats {
    /// Segments in the log.
    pub segments: u64,
    /// Bytes of all segment files, footers included, reserved space and hint files not.
    pub disk_bytes: u64,
    /// Bytes of live records, framing included; expired ones count until they are reclaimed.
    pub live_bytes: u64,
    /// Bytes of records that were replaced or deleted.
    pub dead_bytes: u64,
    /// Estimate of the live bytes that have expired and wait for reclaim.
    pub expired_bytes: u64,
    /// Bytes of tombstones.
    pub tombstone_bytes: u64,
    /// Snapshots that live, those of transactions included.
    pub snapshots: u64,
    /// Superseded versions that are kept for them: what they cost in memory is about 60 bytes
    /// each, and the key in an ordered keyspace.
    pub kept_versions: u64,
    /// Bytes of removed segment files whose space is still held by snapshots, iterators or lent
    /// values; it comes back with the last of them.
    pub removed_bytes: u64,
    /// Keys in all keyspaces, expired but unreclaimed ones included.
    pub keys: u64,
    /// Memory of all keydirs in bytes.
    pub index_bytes: u64,
    /// Bytes of keys and values that callers wrote.
    pub user_bytes: u64,
    /// Bytes written to segments, hint files and manifests, by merges too.
    pub written_bytes: u64,
    /// Bytes written by merges.
    pub merge_written_bytes: u64,
    /// Puts, members of batches counted singly.
    pub puts: u64,
    /// Deletes that wrote a tombstone.
    pub deletes: u64,
    /// Point reads.
    pub gets: u64,
    /// Calls that synced a file or the directory.
    pub syncs: u64,
    /// Segments sealed.
    pub rotations: u64,
    /// Merges done, whole drops included.
    pub merges: u64,
    /// The last seq given to a record.
    pub last_seq: u64,
    /// Everything up to this seq is on the device.
    pub synced_seq: u64,
    /// Why the store refuses writes, if it does.
    pub poisoned: Option<String>,
    /// The last error of a background thread, if there was one.
    pub last_background_error: Option<String>,
}

impl Stats {
    /// Bytes written per byte that callers wrote.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        ratio(self.written_bytes, self.user_bytes)
    }

    /// Bytes of segment files per live byte.
    #[must_use]
    pub fn space_amplification(&self) -> Option<f64> {
        ratio(self.disk_bytes, self.live_bytes)
    }

    /// Bytes of keydir memory per key.
    #[must_use]
    pub fn index_bytes_per_key(&self) -> Option<f64> {
        ratio(self.index_bytes, self.keys)
    }
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    // Precision beyond 2^53 bytes does not matter in a ratio.
    (b > 0).then(|| a as f64 / b as f64)
}

/// A keyspace as [`Store::keyspaces`](crate::Store::keyspaces) lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceInfo {
    /// Its name.
    pub name: String,
    /// The number that its records carry; never reused.
    pub id: u32,
    /// How it finds keys.
    pub kind: IndexKind,
    /// The life of records whose write names none.
    pub default_ttl: Option<Duration>,
    /// Keys, those of expired but unreclaimed records included.
    pub keys: u64,
    /// Bytes of live records, framing included.
    pub live_bytes: u64,
    /// Memory of its keydir in bytes.
    pub index_bytes: u64,
}
