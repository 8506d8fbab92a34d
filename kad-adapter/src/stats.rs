//! Counters, and the pictures of them that a handle gives: every number costs the same whatever
//! the store holds.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why something was not taken, or not taken whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The value is too large.
    ValueTooLarge,
    /// The key is too long.
    KeyTooLong,
    /// The quota of value records is used up.
    Records,
    /// The quota of keys with providers is used up.
    Keys,
    /// The quota of provider records is used up.
    Provides,
    /// The key has as many providers as it may have; `Ok` was answered, as `MemoryStore` does.
    KeyFull,
    /// The provider has as many records here as it may have.
    Provider,
    /// The files are as large as they may be.
    Disk,
    /// The writer's queue is full.
    Queue,
    /// The disk refused the write.
    Failed,
    /// The store was closed.
    Closed,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 11] = [
        Refusal::ValueTooLarge,
        Refusal::KeyTooLong,
        Refusal::Records,
        Refusal::Keys,
        Refusal::Provides,
        Refusal::KeyFull,
        Refusal::Provider,
        Refusal::Disk,
        Refusal::Queue,
        Refusal::Failed,
        Refusal::Closed,
    ];

    /// A short name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Refusal::ValueTooLarge => "value_too_large",
            Refusal::KeyTooLong => "key_too_long",
            Refusal::Records => "records",
            Refusal::Keys => "keys",
            Refusal::Provides => "provides",
            Refusal::KeyFull => "key_full",
            Refusal::Provider => "provider",
            Refusal::Disk => "disk",
            Refusal::Queue => "queue",
            Refusal::Failed => "failed",
            Refusal::Closed => "closed",
        }
    }

    fn index(self) -> usize {
        Refusal::ALL
            .iter()
            .position(|other| *other == self)
            .expect("all of them are listed")
    }
}

/// How often each reason applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Refused([u64; Refusal::ALL.len()]);

impl Refused {
    /// How often this one applied.
    #[must_use]
    pub fn of(&self, reason: Refusal) -> u64 {
        self.0[reason.index()]
    }

    /// How often any applied.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

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

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Takes away what was counted before.
    pub(crate) fn take(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
}

/// What is counted while a store is open.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) refused: [Counter; Refusal::ALL.len()],
    pub(crate) trimmed: Counter,
    pub(crate) added: Counter,
    pub(crate) refreshed: Counter,
    pub(crate) removed: Counter,
    pub(crate) swept: Counter,
    pub(crate) sweep_looked: Counter,
    pub(crate) evicted: Counter,
    pub(crate) io_errors: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) damaged: Counter,
    pub(crate) lost: Counter,
    pub(crate) disk_bytes: Counter,
    pub(crate) live_bytes: Counter,
    pub(crate) dead_bytes: Counter,
    pub(crate) syncs: Counter,
    /// Bytes handed to the engine since the files were last measured.
    pub(crate) written_since: Counter,
    pub(crate) last_sweep_ms: Counter,
    pub(crate) last_sweep_ns: Counter,
    pub(crate) calls: Latency,
    pub(crate) failing: AtomicBool,
    pub(crate) worker_died: AtomicBool,
    last_error: Mutex<Option<LastError>>,
}

impl Counters {
    pub(crate) fn refuse(&self, reason: Refusal) {
        self.refused[reason.index()].add(1);
    }

    pub(crate) fn refused(&self) -> Refused {
        Refused(std::array::from_fn(|at| self.refused[at].get()))
    }

    /// A write failed: health is red until one succeeds.
    pub(crate) fn note_error(&self, what: &dyn fmt::Display, now_ms: u64) {
        self.io_errors.add(1);
        self.failing.store(true, Ordering::Release);
        self.note(what, now_ms);
    }

    /// Something is wrong that writing does not heal.
    pub(crate) fn note(&self, what: &dyn fmt::Display, now_ms: u64) {
        let error = LastError {
            message: what.to_string(),
            at_ms: now_ms,
        };
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(error);
    }

    pub(crate) fn note_success(&self) {
        // Read first: in the common case nobody writes the shared line.
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Release);
        }
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        let last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// The newest thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What, with file and cause.
    pub message: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Whether the store does what it is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Writes succeed.
    Green,
    /// The last write failed; reads go on, and it becomes green by itself when one succeeds.
    Red,
    /// Writes are over until the store is opened again: a sync failed, a thread died, or it was
    /// closed.
    Stopped,
}

/// What the trait has no room to say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The sum of it.
    pub state: State,
    /// The newest error, even if it is over.
    pub last_error: Option<LastError>,
    /// Why the engine refuses writes, if it does.
    pub poisoned: Option<String>,
    /// The newest error of the engine's own threads.
    pub engine_error: Option<String>,
    /// The wall clock says a time that is not believed; see [`Handle::confirm_clock`].
    ///
    /// [`Handle::confirm_clock`]: crate::Handle::confirm_clock
    pub clock_warning: Option<peercask::ClockWarning>,
    /// Writes that wait.
    pub queue_records: u64,
    /// Stored records whose bytes say nothing; they are skipped and kept for inspection.
    pub undecodable: u64,
    /// Stored records whose checksum does not hold.
    pub damaged: u64,
}

/// A picture of a store. Counts are since it was opened unless said otherwise.
#[derive(Clone, Debug, PartialEq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Value records that have not expired, own ones included.
    pub records: u64,
    /// Value records that this node published.
    pub own_records: u64,
    /// Keys that have foreign providers.
    pub provider_keys: u64,
    /// Foreign provider records that have not expired.
    pub provider_records: u64,
    /// Keys that this node provides.
    pub own_keys: u64,
    /// Different foreign providers.
    pub providers: u64,
    /// Bytes of live records in the files.
    pub live_bytes: u64,
    /// Bytes of replaced, deleted and expired records in the files.
    pub dead_bytes: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Records added that were not there.
    pub added: u64,
    /// Records replaced.
    pub refreshed: u64,
    /// Records removed by a call.
    pub removed: u64,
    /// Expired records that the sweep took out.
    pub swept: u64,
    /// Index entries that the sweep looked at: what it took out and no more.
    pub sweep_looked: u64,
    /// Expired records that made room for fresh ones before the sweep came.
    pub evicted: u64,
    /// What was refused, by reason.
    pub refused: Refused,
    /// Provider records whose addresses were cut to the limit.
    pub trimmed: u64,
    /// Writes that wait for the writer.
    pub queue_records: u64,
    /// Their bytes.
    pub queue_bytes: u64,
    /// Writes and reads that the disk refused.
    pub io_errors: u64,
    /// Records whose bytes say nothing.
    pub undecodable: u64,
    /// Records whose checksum does not hold.
    pub damaged: u64,
    /// Records that the index knew and the disk did not have.
    pub lost: u64,
    /// Syncs of files and of the directory, by the engine.
    pub syncs: u64,
    /// The slowest call of the trait.
    pub slowest_call: Duration,
    /// When the sweep last ran, in milliseconds since the Unix epoch.
    pub last_sweep_ms: u64,
    /// How long it took.
    pub last_sweep_took: Duration,
    /// When the own record that is or will be due first is due, in seconds since the Unix epoch.
    /// `None` if there is no own record.
    pub oldest_due_s: Option<u32>,
}

/// How long calls took, by powers of two.
pub(crate) struct Latency {
    counts: [AtomicU64; 48],
    max_ns: AtomicU64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            max_ns: AtomicU64::new(0),
        }
    }
}

impl Latency {
    pub(crate) fn note(&self, since: Instant) {
        let ns = crate::time::ns_of(since.elapsed());
        let bucket = (64 - ns.leading_zeros() as usize).min(self.counts.len() - 1);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Ordering::Relaxed))
    }

    pub(crate) fn picture(&self) -> Histogram {
        let counts = self.counts.iter().enumerate();
        Histogram {
            buckets: counts
                .map(|(bits, count)| {
                    let upper = Duration::from_nanos(1 << bits);
                    (upper, count.load(Ordering::Relaxed))
                })
                .collect(),
        }
    }
}

/// How many calls took less than each power of two of nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bound and count, by rising bound.
    pub buckets: Vec<(Duration, u64)>,
}

impl Histogram {
    /// An upper bound of the duration that this share of all calls stayed below: 0.99 for the
    /// 99th percentile.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let total: u64 = self.buckets.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        for (upper, count) in &self.buckets {
            seen += count;
            if total > 0 && seen as f64 >= share * total as f64 {
                return *upper;
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_name_and_a_place_of_its_own() {
        let counters = Counters::default();
        for (times, reason) in Refusal::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.refuse(*reason));
        }
        for (times, reason) in Refusal::ALL.iter().enumerate() {
            assert_eq!(
                counters.refused().of(*reason),
                times as u64,
                "{}",
                reason.name()
            );
        }
        assert_eq!(counters.refused().total(), 55);
    }

    #[test]
    fn a_quantile_is_an_upper_bound() {
        let latency = Latency::default();
        for _ in 0..100 {
            latency.note(Instant::now());
        }
        assert!(latency.picture().quantile(0.99) < Duration::from_millis(100));
        assert!(latency.max() > Duration::ZERO);
        assert_eq!(Histogram { buckets: vec![] }.quantile(0.5), Duration::ZERO);
    }
}
