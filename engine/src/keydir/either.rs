//! One keydir of either kind behind one interface, so that verbs need not care which they hold.
//!
//! The only way to change an entry is to say what it was before: an unconditional change lost
//! data in every engine that had one.

use std::ops::Bound;

use super::candidates::Candidates;
use super::hash::{HashKeydir, Rehash};
use super::image::save_ordered;
use super::ordered::OrderedKeydir;
use crate::options::IndexKind;
use crate::segment::location::Location;

/// The keydir of one keyspace.
pub(crate) enum Keydir {
    Hash(Box<HashKeydir>),
    Ordered(OrderedKeydir),
}

impl Keydir {
    pub(crate) fn new(kind: IndexKind) -> Keydir {
        match kind {
            IndexKind::Hash => Keydir::Hash(Box::new(HashKeydir::new())),
            IndexKind::Ordered => Keydir::Ordered(OrderedKeydir::new()),
        }
    }

    /// Where the key may lie. The caller compares the key with the record's.
    pub(crate) fn candidates(&self, hash: u128, key: &[u8]) -> Candidates {
        match self {
            Keydir::Hash(keydir) => keydir.candidates(hash),
            Keydir::Ordered(keydir) => keydir.candidates(key),
        }
    }

    /// Puts `new` in the place of `old`; false, and no change, if `old` is not what stands there.
    /// `None` as `old` adds an entry: only the writer does so, after it found the key absent.
    pub(crate) fn change(
        &self,
        hash: u128,
        key: &[u8],
        old: Option<Location>,
        new: Option<Location>,
    ) -> bool {
        match self {
            Keydir::Hash(keydir) => keydir.change(hash, old, new),
            Keydir::Ordered(keydir) => keydir.change(key, old, new),
        }
    }

    /// Entries, those of expired but unreclaimed records included.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Keydir::Hash(keydir) => keydir.len(),
            Keydir::Ordered(keydir) => keydir.len(),
        }
    }

    /// Bytes of memory: exact for the hash kind, an estimate of allocator use for the ordered.
    pub(crate) fn index_bytes(&self) -> u64 {
        match self {
            Keydir::Hash(keydir) => keydir.index_bytes(),
            Keydir::Ordered(keydir) => keydir.index_bytes(),
        }
    }

    /// Grows what is due to grow, a small piece each time: called after writes, by the writer.
    pub(crate) fn tend(&self, rehash: Rehash<'_>) {
        match self {
            Keydir::Hash(keydir) => keydir.tend(rehash),
            Keydir::Ordered(_) => {}
        }
    }

    /// The locations of the part of a hash keydir that begins at `from`, for an unordered walk,
    /// and where the next part begins; begun with 0, `None` after the last.
    pub(crate) fn hash_part(&self, from: u64) -> (Vec<Location>, Option<u64>) {
        match self {
            Keydir::Hash(keydir) => keydir.part(from),
            Keydir::Ordered(_) => (Vec::new(), None),
        }
    }

    /// Up to `max` entries between two bounds, from the front or the back.
    pub(crate) fn ordered_part(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        from_back: bool,
        max: usize,
    ) -> Vec<(Box<[u8]>, Location)> {
        match self {
            Keydir::Hash(_) => Vec::new(),
            Keydir::Ordered(keydir) => keydir.part(bounds, from_back, max),
        }
    }

    /// Gives all entries to `emit`, block by block, and counts them. Writers go on meanwhile: of
    /// what changes during the call some is in the blocks and some is not.
    pub(crate) fn save<E>(&self, emit: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
        match self {
            Keydir::Hash(keydir) => keydir.save(emit),
            Keydir::Ordered(keydir) => save_ordered(keydir, emit),
        }
    }
}
