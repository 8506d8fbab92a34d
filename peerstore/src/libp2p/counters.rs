//! What is counted, in plain atomics, and the picture that a caller gets of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::datastore::DatastoreStats;
use super::event::RemovalReason;

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) peers: AtomicU64,
    pub(crate) addresses: AtomicU64,
    pub(crate) pinned: AtomicU64,
    pub(crate) certified: AtomicU64,
    pub(crate) envelopes: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) gc_runs: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) dial_failures: AtomicU64,
    pub(crate) peers_evicted: AtomicU64,
    pub(crate) peers_expired: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) writes_spared: AtomicU64,
}

impl Counters {
    pub(crate) fn removed(&self, reason: RemovalReason) {
        let counter = match reason {
            RemovalReason::Expired => &self.expired,
            RemovalReason::Deleted => &self.deleted,
            RemovalReason::Evicted => &self.evicted,
            RemovalReason::Superseded => &self.superseded,
            RemovalReason::DialFailure => &self.dial_failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves a counter from what a change found to what it left.
    pub(crate) fn shift(counter: &AtomicU64, before: usize, after: usize) {
        match after >= before {
            true => counter.fetch_add((after - before) as u64, Ordering::Relaxed),
            false => counter.fetch_sub((before - after) as u64, Ordering::Relaxed),
        };
    }
}

/// A picture of a peer store, in constant time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Peers that are known in any book.
    pub peers: u64,
    /// Addresses, expired but not yet removed ones included.
    pub addresses: u64,
    /// Addresses that do not expire.
    pub pinned: u64,
    /// Addresses that a signed record holds.
    pub certified: u64,
    /// Signed records.
    pub signed_records: u64,
    /// Reads of addresses that needed no datastore.
    pub cache_hits: u64,
    /// Reads of addresses that did.
    pub cache_misses: u64,
    /// Bytes of decoded addresses in memory.
    pub cache_bytes: u64,
    /// Removals of what had expired.
    pub gc_runs: u64,
    /// Peers in the index of what is due.
    pub gc_indexed: u64,
    /// Addresses removed because they had expired.
    pub addresses_expired: u64,
    /// Addresses that callers removed.
    pub addresses_deleted: u64,
    /// Addresses that went for a cap.
    pub addresses_evicted: u64,
    /// Addresses that a newer signed record left out.
    pub addresses_superseded: u64,
    /// Addresses that went for failed dials.
    pub addresses_failed: u64,
    /// Peers that went for a cap.
    pub peers_evicted: u64,
    /// Peers that were too old, or of which nothing was left.
    pub peers_expired: u64,
    /// Records that could not be read, each time that one was met.
    pub unreadable: u64,
    /// Changes that were written.
    pub writes: u64,
    /// Changes that needed no write.
    pub writes_spared: u64,
    /// How often a stream fell behind.
    pub streams_lagged: u64,
    /// Streams that live.
    pub streams: u64,
    /// The last error of the background thread, if there was one.
    pub last_background_error: Option<String>,
    /// Whether opening read the directory that the last close saved, instead of all records.
    pub opened_from_image: bool,
    /// The datastore's own figures.
    pub datastore: DatastoreStats,
}
