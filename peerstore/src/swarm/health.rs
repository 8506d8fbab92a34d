//! How a store is, for the program's own eyes: the swarm has none.

use std::path::PathBuf;

/// How the store is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Health {
    /// The last change that failed, as text; what the swarm told then is lost.
    pub last_error: Option<String>,
    /// How many changes failed.
    pub errors: u64,
    /// Peers that were heard of, or connected to this node, and not taken: there were as many as there may be.
    pub refused_peers: u64,
    /// Signed records that were not taken, because there were as many as there may be; what else their peers
    /// told was.
    pub refused_records: u64,
    /// Look-ups answered as not known, because [`Config::scratch_bytes_max`] was lent.
    pub not_lent: u64,
    /// Custom data that said nothing to this version of the program, and was dropped.
    pub custom_dropped: u64,
    /// Failed dials that did not count, because this node reached nobody.
    pub failures_without_contact: u64,
    /// Records that could not be read at opening, as text; the rest is served.
    pub damaged: Vec<String>,
    /// Where a store lies now that could not be opened at all; this one began empty.
    pub set_aside: Option<PathBuf>,
}
