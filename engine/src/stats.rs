//! Counters of what the store did and the picture of them that callers get. Counting never takes
//! a lock; the picture is not one moment's, but every number is right on its own.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::histogram::{Histogram, Recorder};
use crate::options::IndexKind;
use crate::report::Progress;

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

/// A number that grows or shrinks.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Shares of a [`Sharded`] counter; threads beyond share again.
const SHARDS: usize = 16;

/// A counter for readers: each thread counts in a cache line of its own, so that readers on many
/// cores share no line that is written.
#[derive(Default)]
pub(crate) struct Sharded([Line; SHARDS]);

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Sharded {
    /// Counts one; tells how many this share had before.
    pub(crate) fn count(&self) -> u64 {
        let line = self.0.get(shard()).or(self.0.first());
        line.map_or(0, |line| line.0.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0
            .iter()
            .map(|line| line.0.load(Ordering::Relaxed))
            .sum()
    }
}

/// The share of this thread, told from where its own memory lies.
fn shard() -> usize {
    thread_local! {
        static MINE: u8 = const { 0 };
    }
    let address = MINE.with(|mine| std::ptr::from_ref(mine).addr() as u64);
    // The upper bits of a product with an odd constant differ for addresses that differ anywhere.
    usize::try_from(address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60).unwrap_or(0)
}

/// One read in so many is timed: reading the clock twice would cost a warm read a fifth.
const GETS_PER_TIMED: u64 = 64;
/// A write call that took longer, without the wait for its durability, counts as a stall.
const STALL_NS: u64 = 1_000_000;

/// What is counted while a store is open.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) user_bytes: Counter,
    pub(crate) written_bytes: Counter,
    pub(crate) merge_written_bytes: Counter,
    pub(crate) puts: Counter,
    pub(crate) deletes: Counter,
    pub(crate) gets: Sharded,
    pub(crate) syncs: Counter,
    pub(crate) rotations: Counter,
    pub(crate) merges: Counter,
    /// Merges and drops that removed puts: each may let tombstones retire.
    pub(crate) reclaims: Counter,
    pub(crate) stalls: Counter,
    pub(crate) evicted: Counter,
    /// Nanoseconds.
    pub(crate) get_latency: Recorder,
    pub(crate) write_latency: Recorder,
    pub(crate) sync_latency: Recorder,
    pub(crate) merge_latency: Recorder,
    /// Records.
    pub(crate) sync_group: Recorder,
    /// Milliseconds.
    pub(crate) reclaim_lateness: Recorder,
    /// As of the last look of the worker.
    pub(crate) expired_bytes: Gauge,
    /// Of the merge under way; both 0 if there is none.
    pub(crate) merging_done: Gauge,
    pub(crate) merging_total: Gauge,
}

impl Counters {
    /// Counts a point read; now and then one is timed.
    pub(crate) fn begin_get(&self) -> Option<Stopwatch> {
        let before = self.gets.count();
        before.is_multiple_of(GETS_PER_TIMED).then(Stopwatch::start)
    }

    pub(crate) fn end_get(&self, timed: Option<Stopwatch>) {
        if let Some(watch) = timed {
            self.get_latency.record(nanos(watch));
        }
    }

    pub(crate) fn end_write(&self, watch: Stopwatch) {
        let time = nanos(watch);
        self.write_latency.record(time);
        self.stalls.add(u64::from(time > STALL_NS));
    }
}

pub(crate) fn nanos(watch: Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A picture of a store, in a time that grows only with the number of keyspaces,
/// and of removed segments that somebody still holds. Counts are since it was opened unless said otherwise.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Stats {
    /// Segments in the log.
    pub segments: u64,
    /// Those of them in which something was met that cannot be read: they cost only the records hit, and merge
    /// leaves them alone. [`Store::verify`](crate::Store::verify) looks for more, and names the places.
    pub damaged_segments: u64,
    /// Bytes of all segment files, footers included, reserved space and hint files not.
    pub disk_bytes: u64,
    /// Bytes of live records, framing included; expired ones count until they are reclaimed.
    pub live_bytes: u64,
    /// Bytes of records that were replaced or deleted.
    pub dead_bytes: u64,
    /// Estimate of the live bytes that have expired and wait for reclaim: as of the worker's last
    /// look, at most ten seconds ago, or without background threads as of open or the last merge.
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
    /// Records evicted under [`Options::space_cap`](crate::Options::space_cap).
    pub evicted: u64,
    /// Write calls that took over 1 ms, the wait for their durability not counted.
    pub stalls: u64,
    /// Point reads in nanoseconds; one of 64 on each thread is timed.
    pub get_latency_ns: Histogram,
    /// Write calls, batches as one, in nanoseconds, without the wait for their durability.
    pub write_latency_ns: Histogram,
    /// Syncs in nanoseconds: one turn, which may cover several segments and the directory.
    pub sync_latency_ns: Histogram,
    /// Merges in nanoseconds, from the choice of inputs to their removal.
    pub merge_latency_ns: Histogram,
    /// How many records each sync brought to the device: the size of its group.
    pub sync_group_records: Histogram,
    /// How long after its expiry a record was reclaimed by merge, or a segment dropped after that
    /// of the last record in it, in milliseconds.
    pub reclaim_lateness_ms: Histogram,
    /// How far the merge under way has come, if there is one.
    pub merging: Option<Progress>,
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
