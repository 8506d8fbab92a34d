//! What opening found: plain data.

use std::time::Duration;

use libp2p_identity::PeerId;

/// What opening a record store found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// What the engine found, cut and repaired, with file and offset of every loss.
    pub recovery: peercask::RecoveryReport,
    /// The index came from its saved image; else every record was read.
    pub index_from_image: bool,
    /// Records in the index.
    pub records: u64,
    /// Records that had expired and were left out.
    pub expired: u64,
    /// Records whose bytes say nothing: skipped, counted, kept for inspection.
    pub undecodable: u64,
    /// Records whose checksum does not hold: skipped, counted.
    pub damaged: u64,
    /// The identity that the store was last opened with, if it was another one. Its own records
    /// are kept apart, and are not served until it comes back.
    pub identity_before: Option<PeerId>,
    /// How long opening took.
    pub elapsed: Duration,
    /// Of that, the engine's part.
    pub engine_elapsed: Duration,
}
