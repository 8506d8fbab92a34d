//! What every step of a merge works with.

use crate::clock::StoreClock;
use crate::keydir::space::Spaces;
use crate::options::Options;
use crate::past::Past;
use crate::segment::data_file::Segment;
use crate::segment::log::Log;

/// A merge of at most this many segments at once.
pub(super) const INPUTS_MAX: usize = 32;
/// What a merge works with.
pub(crate) struct Merger<'a> {
    pub(crate) log: &'a Log,
    pub(crate) spaces: &'a Spaces,
    pub(crate) clock: &'a StoreClock,
    /// Snapshots in which what has expired has not.
    pub(crate) past: &'a Past,
    pub(crate) options: &'a Options,
    /// Told how many bytes were read or written; sleeps to keep the rate; false stops the merge.
    pub(crate) pace: &'a dyn Fn(u64) -> bool,
}

/// Whether a record of it could not be read: merge leaves such a segment alone.
pub(super) fn is_damaged(segment: &Segment) -> bool {
    segment.is_damaged()
}
