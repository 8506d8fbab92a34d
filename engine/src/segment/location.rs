//! Ids and positions: which segment, which keyspace, which write, where in memory's table of
//! segments.
//!
//! Plain numbers with names, so that one cannot be taken for another. Knows no bytes on disk, no
//! file name and no lock; everything above may import it.

use std::fmt;

/// The number of a segment: given out once, in rising order, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SegmentId(pub(crate) u64);

impl fmt::Display for SegmentId {
    /// Sixteen hex digits, as in the file name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The place of a write in the order of all writes of a store; the highest one of a key wins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a keyspace as records carry it: starts at 1, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct KeyspaceId(pub(crate) u32);

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a record lies, as the keydir keeps it: 48 bits at most.
///
/// A slot is an index into the in-memory table of open segments and means nothing on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Location {
    /// Which of the open segments.
    pub(crate) slot: u16,
    /// Where in the segment the record starts.
    pub(crate) offset: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_as_in_file_names_and_reports() {
        assert_eq!(SegmentId(0xAB).to_string(), "00000000000000ab");
        assert_eq!(Seq(42).to_string(), "42");
        assert_eq!(KeyspaceId(7).to_string(), "7");
    }
}
