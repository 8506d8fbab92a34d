//! Where the log ends after an unclean stop. Seqs of the user stream have no gaps; what is
//! missing up to the synced mark is damage and reported, the first thing missing above it ends
//! the log, and what follows was never acknowledged as `Device`.

use std::cmp::Ordering::{Equal, Greater, Less};

use super::load::{Loaded, Step};
use crate::mutant::{self, Mutant};
use crate::report::{Cut, Damage, RecoveryReport};
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::SegmentKind;
use crate::segment::manifest::Manifest;

/// The end of the log.
pub(super) struct End {
    pub(super) last_seq: u64,
    /// Everything up to it was on the device.
    pub(super) synced_seq: u64,
}

/// The walk along the unsealed segments.
struct Walk {
    synced_seq: u64,
    /// The last seq accepted so far.
    last_seq: u64,
    /// Nothing from here on belongs to the log.
    ended: bool,
    /// The end of it was not met yet.
    batch: Option<OpenBatch>,
    /// Segments of which the end hangs on that batch: where it began, and where it went on.
    waiting: Vec<usize>,
}

/// A batch that was begun, and may go on in the next segment.
struct OpenBatch {
    /// Where its first member lies.
    segment: usize,
    offset: u64,
    /// The last seq before it.
    before: u64,
}

/// Decides for each unsealed segment where its data ends (`summary.data_len`) and tells what is
/// cut or damaged. One that goes wholly, or never held a record, ends where records start.
pub(super) fn find_end(
    manifest: &Manifest,
    loaded: &mut [Loaded],
    report: &mut RecoveryReport,
) -> End {
    let synced_seq = synced_mark(manifest, loaded);
    let last_seq = seen_by(manifest, loaded, report.manifest_rebuilt);
    let mut walk = Walk {
        synced_seq,
        last_seq,
        ended: false,
        batch: None,
        waiting: Vec::new(),
    };
    // The manifest vouches for the log up to the first segment that it did not see sealed: merges
    // may have taken the records away that its header counts on.
    // A rebuilt manifest vouches for all, since nothing tells what merges took.
    let mut vouched = if report.manifest_rebuilt {
        u64::MAX
    } else {
        manifest.seq_high.max(last_seq)
    };
    for (at, void_above) in void_from(loaded).into_iter().enumerate() {
        let Some(segment) = loaded.get_mut(at) else {
            break;
        };
        report.records += segment.summary.records;
        if segment.listed_sealed {
            continue;
        }
        if segment.header.kind == SegmentKind::Merged {
            keep_all(segment, report);
            continue;
        }
        let (prior_seq, base_seq) = (segment.header.prior_seq, segment.header.base_seq);
        if !walk.goes_on(prior_seq, base_seq) {
            walk.settle(loaded, report);
        }
        if prior_seq > void_above {
            // A part of a batch that was given up: it goes on from what is void.
            if let Some(segment) = loaded.get_mut(at) {
                segment.summary.data_len = wide(RECORDS_START);
                tell(segment, report);
            }
            continue;
        }
        if prior_seq <= vouched {
            walk.last_seq = walk.last_seq.max(prior_seq);
        }
        if !report.manifest_rebuilt {
            vouched = 0;
        }
        walk.segment(at, loaded, void_above, report);
        if walk.batch.is_none() {
            walk.settle(loaded, report);
        }
    }
    walk.settle(loaded, report);
    tell_lost_end(&walk, loaded, report);
    End {
        last_seq: walk.last_seq.max(synced_seq),
        synced_seq,
    }
}

/// What was on the device, and is not there any more, at the end of what was walked. Without an
/// unsealed segment the manifest saw the end of the log.
fn tell_lost_end(walk: &Walk, loaded: &[Loaded], report: &mut RecoveryReport) {
    let is_walked = |s: &Loaded| !s.listed_sealed && s.header.kind == SegmentKind::User;
    if !loaded.iter().any(is_walked) || walk.last_seq >= walk.synced_seq {
        return;
    }
    let lost = walk.synced_seq - walk.last_seq;
    let what = format!("the log ends {lost} records before the last one known to be synced");
    let file = loaded
        .last()
        .map_or_else(String::new, |segment| segment.name.clone());
    report.damage.push(Damage::at(&file, 0, 0, what));
}

/// Everything up to here is proven to have been on the device.
fn synced_mark(manifest: &Manifest, loaded: &[Loaded]) -> u64 {
    let of = |segment: &Loaded| {
        let sealed = if segment.listed_sealed {
            segment.summary.max_seq
        } else {
            0
        };
        segment.mark_seq.max(sealed)
    };
    loaded.iter().map(of).fold(manifest.synced_seq, u64::max)
}

/// Everything up to here lay in segments that the manifest saw sealed, or that merges took: what is
/// not in them any more is dead, not lost.
fn seen_by(manifest: &Manifest, loaded: &[Loaded], rebuilt: bool) -> u64 {
    let listed = loaded.iter().filter(|segment| segment.listed_sealed);
    let last_seq = listed.map(|segment| segment.summary.max_seq);
    let last_seq = last_seq.fold(0, u64::max);
    let all_sealed = manifest.segments.iter().all(|entry| entry.sealed);
    if rebuilt || !all_sealed {
        return last_seq;
    }
    // The mark may be of a moment after that in which the segments were listed; the high mark is not.
    last_seq.max(manifest.synced_seq.min(manifest.seq_high))
}

/// For each segment the seq above which a later segment's header says that nothing counts: the
/// remains of an append that failed.
fn void_from(loaded: &[Loaded]) -> Vec<u64> {
    let mut lowest = u64::MAX;
    let mut voids: Vec<u64> = loaded
        .iter()
        .rev()
        .map(|segment| {
            let here = lowest;
            if !segment.listed_sealed && segment.header.kind == SegmentKind::User {
                lowest = lowest.min(segment.header.prior_seq);
            }
            here
        })
        .collect();
    voids.reverse();
    voids
}

/// A merge output of which the end is lost, and that was accepted: what is left of it stays.
/// Its seqs are in no order, and it was synced before it got its name.
fn keep_all(segment: &mut Loaded, report: &mut RecoveryReport) {
    segment.summary.data_len = wide(RECORDS_START);
    for step in &segment.steps {
        match step {
            Step::Record {
                offset,
                len,
                value_ok,
                ..
            } => {
                report.records += 1;
                segment.summary.data_len = offset + len;
                if !value_ok {
                    let what = "the value's checksum does not hold; the key reads as an error";
                    report
                        .damage
                        .push(Damage::at(&segment.name, *offset, *len, what));
                }
            }
            Step::Gap { offset, len } => {
                let what = "no record can be read here; what it held is lost";
                report
                    .damage
                    .push(Damage::at(&segment.name, *offset, *len, what));
            }
        }
    }
}

impl Walk {
    fn segment(
        &mut self,
        at: usize,
        loaded: &mut [Loaded],
        void_above: u64,
        report: &mut RecoveryReport,
    ) {
        let Some(segment) = loaded.get_mut(at) else {
            return;
        };
        self.waiting.push(at);
        let mut end = wide(RECORDS_START);
        // A jump after an unclean stop is legitimate: the header tells what came before.
        if !self.ended {
            let prior_seq = segment.header.prior_seq;
            self.expect(prior_seq, &segment.name, wide(RECORDS_START), report);
            if !self.ended {
                self.last_seq = self.last_seq.max(segment.header.base_seq.saturating_sub(1));
            }
        }
        for step in &segment.steps {
            if self.ended {
                break;
            }
            let Step::Record {
                offset,
                len,
                seq,
                batch_follow,
                value_ok,
            } = *step
            else {
                continue;
            };
            let hole = seq.checked_sub(1) != Some(self.last_seq);
            self.expect(seq.saturating_sub(1), &segment.name, end, report);
            if hole && !self.ended {
                // A hole below the mark: what follows begins a batch of its own.
                self.batch = None;
            }
            let value_ok = value_ok || mutant::is_on(Mutant::ValueNotChecked);
            // What a failed append left ends its segment, not the log: that went on in the next.
            if seq > void_above {
                break;
            }
            self.ended |= !value_ok && seq > self.synced_seq;
            if self.ended {
                break;
            }
            if !value_ok {
                let what = "the value's checksum does not hold; the key reads as an error";
                report
                    .damage
                    .push(Damage::at(&segment.name, offset, len, what));
            }
            let before = self.last_seq;
            self.batch.get_or_insert(OpenBatch {
                segment: at,
                offset,
                before,
            });
            if batch_follow == 0 {
                self.batch = None;
            }
            self.last_seq = seq;
            end = offset + len;
        }
        segment.summary.data_len = end;
    }

    /// Whether the open batch goes on in a segment with such a header: no writer goes on behind a
    /// member that others follow, but in the next part of that batch.
    fn goes_on(&self, prior_seq: u64, base_seq: u64) -> bool {
        self.batch.is_some()
            && prior_seq == self.last_seq
            && base_seq.checked_sub(1) == Some(prior_seq)
    }

    /// The segments that were walked end where they end: an unfinished batch above the mark is
    /// absent as a whole, in all of them.
    fn settle(&mut self, loaded: &mut [Loaded], report: &mut RecoveryReport) {
        let counted = !mutant::is_on(Mutant::BatchCountIgnored);
        let batch = self.batch.take();
        let batch = batch.filter(|_| counted && self.last_seq > self.synced_seq);
        for at in std::mem::take(&mut self.waiting) {
            let Some(segment) = loaded.get_mut(at) else {
                continue;
            };
            if let Some(batch) = &batch {
                self.last_seq = batch.before;
                match at.cmp(&batch.segment) {
                    // There an older batch ended.
                    Less => {}
                    Equal => segment.summary.data_len = batch.offset,
                    Greater => segment.summary.data_len = wide(RECORDS_START),
                }
            }
            tell(segment, report);
        }
    }

    /// Everything up to `seq` should have been met; what lies between is damage up to the synced
    /// mark, and the end of the log above it.
    fn expect(&mut self, seq: u64, file: &str, offset: u64, report: &mut RecoveryReport) {
        if seq <= self.last_seq {
            return;
        }
        if self.last_seq < self.synced_seq {
            let lost = seq.min(self.synced_seq) - self.last_seq;
            let what = format!("{lost} synced records before this place are lost");
            report.damage.push(Damage::at(file, offset, 0, what));
        }
        if seq > self.synced_seq && !mutant::is_on(Mutant::GapIgnored) {
            self.ended = true;
        } else {
            self.last_seq = seq;
        }
    }
}

/// Reports what lies behind the end of a segment, and damage before it.
fn tell(segment: &Loaded, report: &mut RecoveryReport) {
    let end = segment.summary.data_len;
    let mut cut = Cut {
        file: segment.name.clone(),
        offset: end,
        bytes: 0,
        records: 0,
    };
    let mut kept = 0;
    for step in &segment.steps {
        match step {
            Step::Record { offset, len, .. } if *offset >= end => {
                cut.bytes += len;
                cut.records += 1;
            }
            Step::Gap { offset, len } if *offset >= end => cut.bytes += len,
            Step::Record { .. } => kept += 1,
            Step::Gap { offset, len } => {
                let what = "no record can be read here; what it held is lost";
                report
                    .damage
                    .push(Damage::at(&segment.name, *offset, *len, what));
            }
        }
    }
    report.records += kept;
    if cut.bytes > 0 {
        report.cut.push(cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::header::{SegmentHeader, Summary};
    use crate::segment::location::SegmentId;

    /// An unsealed segment with records of 100 bytes for `seqs`; a batch countdown beside each.
    fn segment(id: u64, prior_seq: u64, base_seq: u64, seqs: &[(u64, u32)]) -> Loaded {
        let header = SegmentHeader {
            store_id: [0; 16],
            id: SegmentId(id),
            salt: 7,
            base_seq,
            prior_seq,
            created_ms: 0,
            kind: SegmentKind::User,
            life_class: 0,
        };
        let record = |(i, (seq, batch_follow)): (usize, &(u64, u32))| Step::Record {
            offset: wide(RECORDS_START) + 100 * wide(i),
            len: 100,
            seq: *seq,
            batch_follow: *batch_follow,
            value_ok: true,
        };
        let mut loaded = Loaded::unsealed(header);
        loaded.summary = Summary::empty();
        loaded.steps = seqs.iter().enumerate().map(record).collect();
        loaded
    }

    fn manifest(synced_seq: u64) -> Manifest {
        Manifest {
            generation: 1,
            store_id: [0; 16],
            secret: [0; 16],
            next_segment: 1,
            next_keyspace: 2,
            seq_high: 0,
            synced_seq,
            time_ms: 0,
            keyspaces: Vec::new(),
            segments: Vec::new(),
            replaced: Vec::new(),
        }
    }

    /// The end that is found, and how many records each segment keeps.
    fn end_of(synced_seq: u64, mut loaded: Vec<Loaded>) -> (u64, Vec<u64>, RecoveryReport) {
        let mut report = RecoveryReport::default();
        let end = find_end(&manifest(synced_seq), &mut loaded, &mut report);
        let kept = |s: &Loaded| (s.summary.data_len - wide(RECORDS_START)) / 100;
        (end.last_seq, loaded.iter().map(kept).collect(), report)
    }

    #[test]
    fn what_a_failed_append_left_is_void_once_a_later_segment_began() {
        let loaded = vec![
            segment(1, 0, 1, &[(1, 0), (2, 0), (3, 0)]),
            segment(2, 2, 3, &[(3, 0), (4, 0)]),
        ];
        let (last_seq, kept, report) = end_of(0, loaded);
        assert_eq!((last_seq, kept), (4, vec![2, 2]));
        assert_eq!((report.cut.len(), report.damage.len()), (1, 0));
    }

    #[test]
    fn the_first_gap_above_the_mark_ends_the_log_and_one_below_is_damage() {
        let gap = || {
            vec![
                segment(1, 0, 1, &[(1, 0), (2, 0), (4, 0)]),
                segment(2, 4, 5, &[(5, 0)]),
            ]
        };
        let (last_seq, kept, report) = end_of(2, gap());
        assert_eq!((last_seq, kept, report.damage.len()), (2, vec![2, 0], 0));
        let (last_seq, kept, report) = end_of(4, gap());
        assert_eq!((last_seq, kept, report.damage.len()), (5, vec![3, 1], 1));
    }

    #[test]
    fn an_unfinished_batch_above_the_mark_goes_as_a_whole() {
        let torn = vec![segment(1, 0, 1, &[(1, 0), (2, 2), (3, 1)])];
        let (last_seq, kept, _) = end_of(0, torn);
        assert_eq!((last_seq, kept), (1, vec![1]));
        let hole = vec![segment(1, 0, 1, &[(1, 0), (2, 2), (4, 0), (5, 0)])];
        let (last_seq, kept, _) = end_of(1, hole);
        assert_eq!((last_seq, kept), (1, vec![1]));
    }

    #[test]
    fn a_batch_over_several_segments_is_whole_or_absent() {
        let parts = |last: &[(u64, u32)]| {
            vec![
                segment(1, 0, 1, &[(1, 0)]),
                segment(2, 1, 2, &[(2, 4), (3, 3)]),
                segment(3, 3, 4, &[(4, 2), (5, 1)]),
                segment(4, 5, 6, last),
            ]
        };
        let whole = end_of(0, parts(&[(6, 0), (7, 0)]));
        assert_eq!((whole.0, whole.1), (7, vec![1, 2, 2, 2]));
        assert_eq!(whole.2.cut.len(), 0);
        let torn = end_of(0, parts(&[]));
        assert_eq!((torn.0, torn.1), (1, vec![1, 0, 0, 0]));
        assert_eq!((torn.2.cut.len(), torn.2.damage.len()), (2, 0));
        // A part in the middle is not there, or has lost its end.
        let mut lost = parts(&[(6, 0)]);
        lost.remove(2);
        let (last_seq, kept, _) = end_of(0, lost);
        assert_eq!((last_seq, kept), (1, vec![1, 0, 0]));
        let mut short = parts(&[(6, 0)]);
        short[2].steps.pop();
        let (last_seq, kept, _) = end_of(0, short);
        assert_eq!((last_seq, kept), (1, vec![1, 0, 0, 0]));
        // Up to the mark the members stand alone.
        let (last_seq, kept, report) = end_of(6, parts(&[]));
        assert_eq!(
            (last_seq, kept, report.damage.len()),
            (6, vec![1, 2, 2, 0], 1)
        );
    }

    #[test]
    fn a_batch_that_begins_where_one_over_several_segments_ended_goes_alone() {
        let loaded = vec![
            segment(1, 0, 1, &[(1, 2), (2, 1)]),
            segment(2, 2, 3, &[(3, 0), (4, 2)]),
            segment(3, 4, 5, &[(5, 1)]),
        ];
        let (last_seq, kept, _) = end_of(0, loaded);
        assert_eq!((last_seq, kept), (3, vec![2, 1, 0]));
    }

    #[test]
    fn what_came_after_a_batch_that_was_given_up_voids_all_its_parts() {
        let loaded = vec![
            segment(1, 0, 1, &[(1, 0), (2, 3), (3, 2)]),
            segment(2, 3, 4, &[(4, 1)]),
            segment(3, 1, 2, &[(2, 0), (3, 0)]),
        ];
        let (last_seq, kept, report) = end_of(0, loaded);
        assert_eq!((last_seq, kept), (3, vec![1, 0, 2]));
        assert_eq!(report.damage.len(), 0);
    }

    /// The newest record up to the mark, a tombstone, went in a merge; then a segment that was never synced
    /// lost its name.
    #[test]
    fn what_a_merge_took_is_not_missed_when_the_next_segment_never_was() {
        let merged = || {
            let mut merged = segment(2, 0, 1, &[]);
            merged.listed_sealed = true;
            merged.summary.max_seq = 3;
            vec![merged, segment(4, 5, 6, &[(6, 0)])]
        };
        let find = |seq_high| {
            let (mut loaded, mut report) = (merged(), RecoveryReport::default());
            let manifest = Manifest {
                seq_high,
                ..manifest(4)
            };
            let end = find_end(&manifest, &mut loaded, &mut report);
            (end.last_seq, report.cut.len(), report.damage.len())
        };
        assert_eq!(find(4), (4, 1, 0));
        // A mark above all that the manifest had listed vouches for nothing.
        assert!(find(3).2 > 0);
    }

    #[test]
    fn a_jump_that_a_header_tells_of_is_no_gap() {
        let jump = 1 << 32;
        let loaded = vec![
            segment(1, 0, 1, &[(1, 0)]),
            segment(2, 1, jump, &[(jump, 0)]),
        ];
        let (last_seq, kept, report) = end_of(0, loaded);
        assert_eq!((last_seq, kept), (jump, vec![1, 1]));
        assert_eq!(report.damage.len(), 0);
    }
}
