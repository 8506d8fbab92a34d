//! From sorted hints to keydirs: the rows of all segments are merged by hash, the highest seq of
//! each hash wins, and only a put that won gets an entry. The order of files plays no part, so
//! doing it again gives the same. Ranges of the hash are done in parallel.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;

use super::load::HintBytes;
use crate::keydir::either::Keydir;
use crate::keydir::ordered::Entries;
use crate::keydir::space::{Space, Spaces};
use crate::mutant::{self, Mutant};
use crate::parallel::{self, in_parallel};
use crate::segment::data_file::Segment;
use crate::segment::hint_file::{Hint, HintRow};
use crate::segment::live::Live;
use crate::segment::location::{KeyspaceId, Location};
use crate::segment::record::RecordKind;

type Loaded = (Arc<Segment>, Hint<HintBytes>);

/// Ranges of the hash; more than threads, so that they end together.
const RANGES: usize = 64;
/// Fewer rows are one range; a schedule explorer sees many of few.
const ROWS_ALONE: usize = if cfg!(all(test, feature = "shuttle")) {
    4
} else {
    10_000
};

/// Where one segment's rows of a keyspace stand in the merge.
struct Cursor<'a> {
    index: usize,
    hint: &'a Hint<HintBytes>,
    section: usize,
    row: usize,
    end: usize,
}

/// What one range of one keyspace gave.
#[derive(Default)]
struct Filled<'a> {
    live: BTreeMap<usize, Live>,
    /// Keys as they stand in the hints.
    ordered: Vec<(&'a [u8], Location)>,
    /// In the order of their hashes.
    hashed: Vec<(u128, Location)>,
}

/// Fills all keydirs and counts what is live in each segment.
pub(super) fn keydirs(spaces: &Spaces, segments: &[Loaded], threads: usize) {
    for (segment, hint) in segments {
        let mut live = Live::default();
        for section in 0..hint.sections().len() {
            let tombstones = hint
                .rows(section)
                .filter(|row| row.kind == RecordKind::Tombstone);
            live.tombstone_bytes += tombstones.map(|row| row.len).sum::<u64>();
        }
        segment.set_live(live);
    }
    for space in spaces.all() {
        keydir(&space, segments, threads);
    }
}

fn keydir(space: &Space, segments: &[Loaded], threads: usize) {
    let rows: usize = segments
        .iter()
        .filter_map(|(_, hint)| hint.sections().get(hint.section_for(space.id())?))
        .map(|section| section.row_count())
        .sum();
    if rows == 0 {
        return;
    }
    if let Keydir::Hash(keydir) = &space.keydir {
        keydir.expect(rows as u64);
    }
    let ranges = ranges_for(rows);
    let all: Vec<usize> = (0..ranges).collect();
    let filled = in_parallel(&all, threads, |range| {
        one_range(space, segments, *range, ranges)
    });
    let mut ordered = Vec::new();
    for mut filled in filled {
        for (index, live) in filled.live {
            if let Some((segment, _)) = segments.get(index) {
                segment.add_all_live(&live);
            }
        }
        ordered.append(&mut filled.ordered);
    }
    if let Keydir::Ordered(keydir) = &space.keydir {
        keydir.fill(&[by_key(ordered, threads)], threads);
    }
}

/// In the order of the keys. What two keys differ in is looked for beside them first: the keys
/// themselves lie all over the hints.
fn by_key<'a>(entries: Vec<(&'a [u8], Location)>, threads: usize) -> Entries<'a> {
    let heads = Heads::of(entries.iter().map(|(key, _)| *key));
    let mut keyed: Vec<(u64, &[u8], Location)> = entries
        .into_iter()
        .map(|(key, at)| (heads.of_key(key), key, at))
        .collect();
    parallel::sort(&mut keyed, threads, &|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    // Rows of two hashes with one key: no writer makes such a hint. A walk over a key that is there twice has no end.
    keyed.dedup_by(|later, first| (later.0, later.1) == (first.0, first.1));
    keyed.into_iter().map(|(_, key, at)| (key, at)).collect()
}

/// What some keys begin with alike: the few bytes behind it tell nearly all of them apart.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    shared: Option<&'a [u8]>,
}

impl<'a> Heads<'a> {
    /// Of no keys.
    pub(super) fn none() -> Heads<'a> {
        Heads { shared: None }
    }

    pub(super) fn of(keys: impl Iterator<Item = &'a [u8]>) -> Heads<'a> {
        keys.fold(Heads::none(), |heads, key| {
            heads.with(Heads { shared: Some(key) })
        })
    }

    /// Of the keys of both.
    pub(super) fn with(self, other: Heads<'a>) -> Heads<'a> {
        let (Some(a), Some(b)) = (self.shared, other.shared) else {
            return Heads {
                shared: self.shared.or(other.shared),
            };
        };
        let alike = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        Heads {
            shared: a.get(..alike),
        }
    }

    /// The first bytes of one of the keys behind what they share: where they differ they order two keys.
    #[inline]
    pub(super) fn of_key(self, key: &[u8]) -> u64 {
        let shared = self.shared.map_or(0, <[u8]>::len);
        let rest = key.get(shared..).unwrap_or_default();
        let mut head = [0; 8];
        match rest.first_chunk() {
            Some(whole) => head = *whole,
            None => head.iter_mut().zip(rest).for_each(|(to, from)| *to = *from),
        }
        u64::from_le_bytes(head).swap_bytes()
    }

    /// How any key stands to one of the keys, given with its head.
    #[inline]
    pub(super) fn order(self, any: &[u8], (head, key): (u64, &[u8])) -> Ordering {
        match self.shared {
            Some(shared) if any.starts_with(shared) => (self.of_key(any), any).cmp(&(head, key)),
            _ => any.cmp(key),
        }
    }
}

/// Into how many ranges so many rows are cut.
pub(super) fn ranges_for(rows: usize) -> usize {
    if rows < ROWS_ALONE { 1 } else { RANGES }
}

/// Where the rows of a range stand in a section, which is sorted by hash.
pub(super) fn rows_of_range(
    hint: &Hint<HintBytes>,
    section: usize,
    range: usize,
    ranges: usize,
) -> Range<usize> {
    let start = hint.lower_bound(section, range_start(range, ranges));
    let end = if range + 1 == ranges {
        let section = hint.sections().get(section);
        section.map_or(0, |section| section.row_count())
    } else {
        hint.lower_bound(section, range_start(range + 1, ranges))
    };
    start..end
}

/// The first hash of range `range` of `ranges`.
fn range_start(range: usize, ranges: usize) -> u128 {
    (u128::MAX / ranges as u128).wrapping_mul(range as u128)
}

fn one_range<'a>(space: &Space, segments: &'a [Loaded], range: usize, ranges: usize) -> Filled<'a> {
    let mut cursors = cursors(space.id(), segments, range, ranges);
    let mut heap: BinaryHeap<Reverse<(u128, u64, usize)>> = BinaryHeap::new();
    for (i, cursor) in cursors.iter_mut().enumerate() {
        push_next(&mut heap, cursor, i);
    }
    let mut filled = Filled::default();
    let mut best: Option<(HintRow, usize, usize)> = None;
    while let Some(Reverse((hash, _, i))) = heap.pop() {
        if best.is_some_and(|(row, ..)| row.hash != hash) {
            settle(space, segments, &cursors, best.take(), &mut filled);
        }
        let Some(cursor) = cursors.get_mut(i) else {
            continue;
        };
        let row = cursor.hint.row(cursor.section, cursor.row);
        // Rows of one hash come in the order of their seqs: a later one replaces.
        if best.is_none() || !mutant::is_on(Mutant::LowestSeqWins) {
            best = Some((row, i, cursor.row));
        }
        cursor.row += 1;
        push_next(&mut heap, cursor, i);
    }
    settle(space, segments, &cursors, best, &mut filled);
    if let Keydir::Hash(keydir) = &space.keydir {
        keydir.fill(&std::mem::take(&mut filled.hashed));
    }
    filled
}

fn cursors<'a>(
    keyspace: KeyspaceId,
    segments: &'a [Loaded],
    range: usize,
    ranges: usize,
) -> Vec<Cursor<'a>> {
    let mut cursors = Vec::new();
    for (index, (_, hint)) in segments.iter().enumerate() {
        let Some(section) = hint.section_for(keyspace) else {
            continue;
        };
        let Range { start: row, end } = rows_of_range(hint, section, range, ranges);
        cursors.push(Cursor {
            index,
            hint,
            section,
            row,
            end,
        });
    }
    cursors
}

fn push_next(heap: &mut BinaryHeap<Reverse<(u128, u64, usize)>>, cursor: &Cursor<'_>, i: usize) {
    if cursor.row < cursor.end {
        let row = cursor.hint.row(cursor.section, cursor.row);
        heap.push(Reverse((row.hash, row.seq, i)));
    }
}

/// The winner of one hash gets its entry, if it is a put.
fn settle<'a>(
    space: &Space,
    segments: &[Loaded],
    cursors: &[Cursor<'a>],
    best: Option<(HintRow, usize, usize)>,
    filled: &mut Filled<'a>,
) {
    let Some((row, i, at)) = best.filter(|(row, ..)| row.kind == RecordKind::Put) else {
        return;
    };
    let Some(cursor) = cursors.get(i) else { return };
    let Some((segment, _)) = segments.get(cursor.index) else {
        return;
    };
    let location = Location {
        slot: segment.slot,
        offset: row.offset,
    };
    match &space.keydir {
        Keydir::Hash(_) => filled.hashed.push((row.hash, location)),
        Keydir::Ordered(_) => {
            if let Some(key) = cursor.hint.key(cursor.section, at) {
                filled.ordered.push((key, location));
            }
        }
    }
    let live = filled.live.entry(cursor.index).or_default();
    live.add(space.id(), row.len, row.expiry, segment.header.created_ms);
}
