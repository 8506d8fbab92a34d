//! What becomes of each record of a merge's inputs, told from the hints and the keydir alone. A
//! put is live if the keydir points at exactly this place; a tombstone stays while a hint outside
//! the merge may hold an older version.

use std::sync::Arc;

use super::context::{Merger, is_damaged};
use crate::error::Result;
use crate::keydir::space::Space;
use crate::mutant::{self, Mutant};
use crate::segment::data_file::Segment;
use crate::segment::hint_file::HintRow;
use crate::segment::hints::{self, SegmentHint};
use crate::segment::location::{KeyspaceId, Location};
use crate::segment::record::RecordKind;

/// What is done with a record that is not simply left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// Copied as it is; `covers` says whether what it covers may still exist.
    Copy { covers: bool },
    /// An expired put that still hides something: a tombstone takes its place.
    Tombstone,
    /// An expired put that hides nothing: left out, and its keydir entry removed.
    Forget,
}

/// One record and its fate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) input: u32,
    pub(super) offset: u32,
    pub(super) hash: u128,
    pub(super) fate: Fate,
}

/// The fates of all records of the inputs, a list for each input, in the order in which the files
/// are read.
pub(super) struct Decided {
    pub(super) decisions: Vec<Vec<Decision>>,
    pub(super) dropped: u64,
    /// Whether puts are among them: only then can tombstones elsewhere have become needless.
    pub(super) drops_puts: bool,
    pub(super) tombstones_kept: u64,
}

/// Segments that are not part of the merge, for the question who else holds a hash.
struct Outside {
    segments: Vec<(u64, Arc<Segment>)>,
}

pub(super) fn decide(merger: &Merger<'_>, inputs: &[Arc<Segment>], now_ms: u64) -> Result<Decided> {
    let outside = Outside::of(merger, inputs);
    let mut decided = Decided {
        decisions: Vec::new(),
        dropped: 0,
        drops_puts: false,
        tombstones_kept: 0,
    };
    for (index, input) in inputs.iter().enumerate() {
        let hint = hints::of(merger.log, input)?;
        let input_index = u32::try_from(index).expect("a merge has few inputs");
        // As long as it can get, so that it need not be moved to grow; see `pieces`.
        let rows: usize = hint.sections().iter().map(|s| s.row_count()).sum();
        let mut decisions = Vec::with_capacity(rows);
        for (section, shape) in hint.sections().iter().enumerate() {
            let Some(space) = merger.spaces.by_id(shape.keyspace()) else {
                // The keyspace was dropped, and all its records with it.
                decided.dropped += shape.row_count() as u64;
                decided.drops_puts = true;
                continue;
            };
            for (row, key) in hint.rows_with_keys(section) {
                let key = key.unwrap_or_default();
                let judge = Judge {
                    merger,
                    outside: &outside,
                    space: &space,
                    input,
                    now_ms,
                };
                match judge.fate(&row, key)? {
                    Some(fate) => {
                        decided.tombstones_kept += u64::from(row.kind == RecordKind::Tombstone);
                        decisions.push(Decision {
                            input: input_index,
                            offset: row.offset,
                            hash: row.hash,
                            fate,
                        });
                    }
                    None => {
                        decided.dropped += 1;
                        decided.drops_puts |= row.kind == RecordKind::Put;
                    }
                }
            }
        }
        decisions.sort_unstable_by_key(|decision: &Decision| decision.offset);
        decisions.shrink_to_fit();
        decided.decisions.push(decisions);
    }
    // Old data first: records of like age come to lie together in the outputs, and will die alike.
    decided.decisions.sort_by_key(|decisions: &Vec<Decision>| {
        let first = decisions.first();
        let input = first.and_then(|first| inputs.get(first.input as usize));
        let sealed = input.and_then(|input| input.sealed());
        sealed.map_or(0, |sealed| sealed.summary.max_seq)
    });
    Ok(decided)
}

struct Judge<'a> {
    merger: &'a Merger<'a>,
    outside: &'a Outside,
    space: &'a Space,
    input: &'a Segment,
    now_ms: u64,
}

impl Judge<'_> {
    fn fate(&self, row: &HintRow, key: &[u8]) -> Result<Option<Fate>> {
        if row.kind == RecordKind::Tombstone {
            if mutant::is_on(Mutant::TombstonesRetireEarly) {
                return Ok(None);
            }
            let stays = row.covers > self.now_ms && self.hidden_elsewhere(row)?;
            return Ok(stays.then_some(Fate::Copy { covers: true }));
        }
        let here = Location {
            slot: self.input.slot,
            offset: row.offset,
        };
        if !self.space.keydir.candidates(row.hash, key).contains(here) {
            return Ok(None);
        }
        let covers = row.covers > self.now_ms && self.hidden_elsewhere(row)?;
        if let Some(late) = self.now_ms.checked_sub(row.expiry) {
            self.merger.log.counters.reclaim_lateness.record(late);
        }
        Ok(Some(match (row.expiry > self.now_ms, covers) {
            (true, covers) => Fate::Copy { covers },
            (false, true) if !mutant::is_on(Mutant::ExpiredLeavesNothing) => Fate::Tombstone,
            (false, _) => Fate::Forget,
        }))
    }

    fn hidden_elsewhere(&self, row: &HintRow) -> Result<bool> {
        self.outside
            .may_hold_older(self.merger, self.space.id(), row.hash, row.seq)
    }
}

impl Outside {
    fn of(merger: &Merger<'_>, inputs: &[Arc<Segment>]) -> Outside {
        let is_input = |segment: &Arc<Segment>| {
            inputs
                .iter()
                .any(|input| input.header.id == segment.header.id)
        };
        let min_seq = |segment: &Segment| {
            let sealed = segment.sealed().map(|sealed| sealed.summary.min_seq);
            sealed.unwrap_or(segment.header.base_seq)
        };
        let table = merger.log.table.load();
        let others = table.iter().filter(|segment| !is_input(segment));
        Outside {
            segments: others.map(|s| (min_seq(s), s.clone())).collect(),
        }
    }

    /// Whether a version older than `seq` may lie outside the merge.
    fn may_hold_older(
        &self,
        merger: &Merger<'_>,
        keyspace: KeyspaceId,
        hash: u128,
        seq: u64,
    ) -> Result<bool> {
        for (min_seq, segment) in &self.segments {
            if *min_seq >= seq {
                continue;
            }
            if segment.sealed().is_none() {
                return Ok(true);
            }
            let hint: Arc<SegmentHint> = hints::of(merger.log, segment)?;
            // What a damaged segment held is not known.
            if is_damaged(segment) || hint.contains_hash(keyspace, hash) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
