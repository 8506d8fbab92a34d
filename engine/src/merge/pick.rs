//! Which segments to merge: those with most to gain for longest. Every rule leads to less of what it
//! picks by, so picking comes to an end by itself.
//!
//! A dead byte in a segment that changes little is worth more than one in a segment that is still
//! dying: the first will not come back by waiting, the second will bring others along. How fast a
//! segment dies shows in what of it died since its file was written, whether by a writer or a
//! merge. So gain counts times that time, against what would have to be written again: the order
//! of greatest decline of the cost still to come. What expires soon is left to fall by itself.

use crate::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::{INPUTS_MAX, is_damaged};
use crate::options::Options;
use crate::segment::base::Base;
use crate::segment::data_file::Segment;
use crate::segment::format::NEVER;
use crate::segment::header::{SegmentKind, Summary};
use crate::segment::location::SegmentId;

/// A merge that gains less than this share of its input is not worth its writes.
const GAIN_MIN: f64 = 0.05;
/// From this share of dead bytes on a merge writes next to nothing.
const ALL_DEAD_SHARE: f64 = 0.98;
/// Segments below this part of the full size are small.
const SMALL_DIVISOR: u64 = 4;
/// And those that a merge wrote below this one: each leaves what did not fill its last output, and
/// will be merged for what dies in it anyway.
const SMALL_MERGED_DIVISOR: u64 = 16;
/// So many small segments of one kind are made into one.
const SMALL_COUNT: usize = 8;
/// From this share of tombstones on it is worth asking whether they can retire.
const TOMBSTONE_SHARE: f64 = 0.25;

/// A segment that may be merged, with what it would give.
struct Candidate {
    segment: Arc<Segment>,
    bytes: u64,
    /// Dead, or expired as far as can be told.
    gain: u64,
    tombstones: u64,
    /// How many writes ago its file was complete.
    age: u64,
    /// Most of its time is over: soon it can be dropped unread.
    falling: bool,
    /// Next to all of it is: what it would give comes by itself, and what is left need not be copied.
    ending: bool,
}

impl Candidate {
    fn share(&self, of: u64) -> f64 {
        of as f64 / self.bytes.max(1) as f64
    }

    /// What merging it now is worth: the higher the sooner.
    fn worth(&self) -> f64 {
        let gain = self.share(self.gain);
        if gain >= ALL_DEAD_SHARE {
            // Nothing to write: never a reason to wait.
            return f64::INFINITY;
        }
        gain * self.age as f64 / (1.0 - gain)
    }
}

/// Whether the last of `parts` of the time has begun for which anything in a segment can be needed.
fn is_in_last(parts: u64, summary: &Summary, created_ms: u64, now_ms: u64) -> bool {
    let end = summary.max_expiry.max(summary.max_covers);
    end != NEVER && end.saturating_sub(now_ms) < end.saturating_sub(created_ms) / parts
}

fn candidates(base: &Base, now_ms: u64) -> Vec<Candidate> {
    let settled = |segment: &&Arc<Segment>| segment.is_settled() && !is_damaged(segment);
    let table = base.table.load();
    let made = made_at(&base.table.by_id());
    let newest = base.written_seq();
    table
        .iter()
        .filter(settled)
        .map(|segment| {
            let summary = segment.sealed().map(|sealed| sealed.summary);
            let made = made.get(&segment.header.id).copied().unwrap_or(newest);
            let created_ms = segment.header.created_ms;
            let in_last =
                |parts| summary.is_some_and(|s| is_in_last(parts, &s, created_ms, now_ms));
            let bytes = segment.record_bytes();
            let live = segment.live_bytes();
            let tombstones = segment.tombstone_bytes();
            let dead = bytes.saturating_sub(live + tombstones);
            let expired = segment.expired_bytes(now_ms).min(live);
            Candidate {
                segment: segment.clone(),
                bytes,
                gain: dead + expired,
                tombstones,
                age: newest.saturating_sub(made).max(1),
                falling: in_last(4),
                ending: in_last(8),
            }
        })
        .collect()
}

/// About the last seq when each segment's file was complete. Of a merge that ran before the store
/// was opened no more is known than that it came after all segments with smaller ids.
fn made_at(by_id: &[Arc<Segment>]) -> BTreeMap<SegmentId, u64> {
    let mut before = 0;
    let mut made = BTreeMap::new();
    for segment in by_id {
        let base_seq = segment.header.base_seq;
        let last_seq = segment.sealed().map(|sealed| sealed.summary.max_seq);
        let last_seq = last_seq.unwrap_or(base_seq);
        before = before.max(last_seq);
        let known = segment.made_at.load(Ordering::Acquire);
        let at = match segment.header.kind {
            SegmentKind::User => last_seq,
            SegmentKind::Merged if known > 0 => known,
            SegmentKind::Merged => before,
        };
        made.insert(segment.header.id, at);
    }
    made
}

/// Segments in which every put has expired and so has all that their records cover.
pub(super) fn expired(base: &Base, now_ms: u64) -> Vec<Arc<Segment>> {
    let over = |segment: &Segment| {
        let summary = segment.sealed().filter(|_| segment.is_settled());
        summary.map(|sealed| sealed.summary).is_some_and(|summary| {
            summary.max_expiry != NEVER
                && summary.max_expiry <= now_ms
                && summary.max_covers <= now_ms
                && summary.records > 0
        })
    };
    base.table
        .load()
        .iter()
        .filter(|s| over(s) && !is_damaged(s))
        .cloned()
        .collect()
}

/// What the watermarks ask for, most urgent first.
pub(super) fn needed(base: &Base, options: &Options, now_ms: u64) -> Option<Vec<Arc<Segment>>> {
    let mut all = candidates(base, now_ms);
    all.sort_by(|a, b| b.worth().total_cmp(&a.worth()));
    let total: u64 = all.iter().map(|candidate| candidate.bytes).sum();
    let live: u64 = total
        - all
            .iter()
            .map(|c| c.gain + c.tombstones)
            .sum::<u64>()
            .min(total);
    let allowed = live as f64 * options.merge_space_amplification + base.segment_bytes as f64;
    let over_bound = total as f64 > allowed;
    let wait = |c: &Candidate| c.ending && !over_bound && c.share(c.gain) < ALL_DEAD_SHARE;
    let enough = |c: &&Candidate| c.share(c.gain) >= options.merge_dead_share && !wait(c);
    let some = |c: &&Candidate| c.share(c.gain) >= GAIN_MIN;
    let mut picked = bounded(all.iter().filter(enough), base.segment_bytes);
    if picked.is_empty() && over_bound {
        let staying = all.iter().filter(|c| !c.falling).filter(some);
        picked = bounded(staying, base.segment_bytes);
        if picked.is_empty() {
            picked = bounded(all.iter().filter(some), base.segment_bytes);
        }
    }
    if !picked.is_empty() {
        return Some(picked);
    }
    tombstones(base, &all, over_bound).or_else(|| small(base, &all))
}

/// Segments with many tombstones, once for each time that puts were reclaimed since: only then
/// can more of them retire.
fn tombstones(base: &Base, all: &[Candidate], over_bound: bool) -> Option<Vec<Arc<Segment>>> {
    let reclaims = base.counters.reclaims.get();
    let worth = |candidate: &&Candidate| {
        let enough = candidate.share(candidate.tombstones) >= TOMBSTONE_SHARE;
        let tried = candidate.segment.tombstones_tried.load(Ordering::Acquire);
        candidate.tombstones > 0 && (enough || over_bound) && tried < reclaims
    };
    let picked = bounded(all.iter().filter(worth), base.segment_bytes);
    for segment in &picked {
        segment.tombstones_tried.store(reclaims, Ordering::Release);
    }
    (!picked.is_empty()).then_some(picked)
}

/// Many small segments of one kind: each open and close leaves one.
fn small(base: &Base, all: &[Candidate]) -> Option<Vec<Arc<Segment>>> {
    let mut kinds: BTreeMap<(bool, u8), Vec<&Candidate>> = BTreeMap::new();
    for candidate in all {
        let header = &candidate.segment.header;
        let is_merged = header.kind == SegmentKind::Merged;
        let divisor = match is_merged {
            true => SMALL_MERGED_DIVISOR,
            false => SMALL_DIVISOR,
        };
        if candidate.bytes < base.segment_bytes / divisor {
            let kind = (is_merged, header.life_class);
            kinds.entry(kind).or_default().push(candidate);
        }
    }
    let many = kinds
        .into_values()
        .find(|small| small.len() >= SMALL_COUNT)?;
    Some(bounded(many.into_iter(), base.segment_bytes))
}

/// As many as one merge takes: bounded in number and in bytes to copy.
fn bounded<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
    segment_bytes: u64,
) -> Vec<Arc<Segment>> {
    let mut picked = Vec::new();
    let mut copied = 0;
    for candidate in candidates {
        copied += candidate.bytes.saturating_sub(candidate.gain);
        if !picked.is_empty() && (picked.len() == INPUTS_MAX || copied > 2 * segment_bytes) {
            break;
        }
        picked.push(candidate.segment.clone());
    }
    picked
}

/// All segments, oldest records first.
pub(super) fn all(base: &Base) -> Vec<Arc<Segment>> {
    sorted(base, |_| true)
}

/// What a full merge of all segments up to `last` has still to do, oldest records first: those that
/// are there yet, and outputs with tombstones, which may hide nothing any more.
pub(super) fn unfinished(base: &Base, last: Option<SegmentId>) -> Vec<Arc<Segment>> {
    sorted(base, |segment| {
        let is_output = segment.header.kind == SegmentKind::Merged;
        is_before(segment, last) || is_output && segment.tombstone_bytes() > 0
    })
}

/// How much that is: it has to become less with each round, or another would be for nothing.
pub(super) fn work(segments: &[Arc<Segment>], last: Option<SegmentId>) -> (usize, u64) {
    let before = segments.iter().filter(|segment| is_before(segment, last));
    let tombstones = segments.iter().map(|segment| segment.tombstone_bytes());
    (before.count(), tombstones.sum())
}

fn is_before(segment: &Segment, last: Option<SegmentId>) -> bool {
    last.is_some_and(|last| segment.header.id <= last)
}

fn sorted(base: &Base, wanted: impl Fn(&Segment) -> bool) -> Vec<Arc<Segment>> {
    let mut segments = base.table.by_id();
    segments.retain(|segment| segment.is_settled() && !is_damaged(segment) && wanted(segment));
    segments.sort_by_key(|segment| segment.sealed().map_or(0, |s| s.summary.min_seq));
    segments
}

/// Cuts a list into merges of bounded size.
pub(super) fn groups(segments: Vec<Arc<Segment>>, segment_bytes: u64) -> Vec<Vec<Arc<Segment>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut bytes = 0;
    for segment in segments {
        bytes += segment.record_bytes();
        match groups.last_mut() {
            Some(group) if group.len() < INPUTS_MAX && bytes <= 4 * segment_bytes => {
                group.push(segment);
            }
            _ => {
                bytes = segment.record_bytes();
                groups.push(vec![segment]);
            }
        }
    }
    groups
}
