//! Whom to evict when a store is at its cap: live records that expire, the soonest first, told from
//! hints and keydirs. Eviction is a delete like any other, so a tombstone is written before merge
//! takes the record; nothing here writes.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::error::Result;
use crate::keydir::space::{Space, Spaces};
use crate::segment::data_file::Segment;
use crate::segment::format::NEVER;
use crate::segment::hints;
use crate::segment::location::Location;
use crate::segment::log::Log;
use crate::segment::record::RecordKind;

/// A record that has to go.
pub(crate) struct Victim {
    pub(crate) space: Arc<Space>,
    pub(crate) key: Box<[u8]>,
    pub(crate) seq: u64,
    pub(crate) segment: Arc<Segment>,
}

/// Ordered by expiry, then seq: the greatest is the last to go.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    expiry: u64,
    seq: u64,
    len: u64,
    /// Index of its segment and keyspace in the lists made on the way.
    segment: usize,
    space: usize,
    offset: u32,
}

/// The live records of settled segments that expire first, so many that together they hold about
/// `bytes`; the soonest first.
pub(crate) fn soonest(log: &Log, spaces: &Spaces, bytes: u64) -> Result<Vec<Victim>> {
    let segments: Vec<Arc<Segment>> = log.table.load().iter().cloned().collect();
    let all = spaces.all();
    let (mut chosen, mut held) = (BinaryHeap::new(), 0);
    for (index, segment) in segments.iter().enumerate() {
        let summary = segment.sealed().map(|sealed| sealed.summary);
        let expires = summary.is_some_and(|summary| summary.min_expiry != NEVER);
        let damaged = segment.is_damaged();
        if !segment.is_settled() || !expires || damaged {
            continue;
        }
        let hint = hints::of(log, segment)?;
        for (section, shape) in hint.sections().iter().enumerate() {
            let Some(at) = all.iter().position(|space| space.id() == shape.keyspace()) else {
                continue;
            };
            for (row, key) in hint.rows_with_keys(section) {
                let here = Location {
                    slot: segment.slot,
                    offset: row.offset,
                };
                let last = chosen.peek().map_or(NEVER, |last: &Candidate| last.expiry);
                let late = row.expiry == NEVER || (held >= bytes && row.expiry >= last);
                if row.kind != RecordKind::Put
                    || late
                    || !is_current(all.get(at), row.hash, key, here)
                {
                    continue;
                }
                held += row.len;
                chosen.push(Candidate {
                    expiry: row.expiry,
                    seq: row.seq,
                    len: row.len,
                    segment: index,
                    space: at,
                    offset: row.offset,
                });
                while let Some(last) = chosen.peek().filter(|last| held - last.len >= bytes) {
                    held -= last.len;
                    chosen.pop();
                }
            }
        }
    }
    let chosen = chosen.into_sorted_vec().into_iter();
    chosen
        .filter_map(|candidate| victim(&segments, &all, &candidate).transpose())
        .collect()
}

fn is_current(space: Option<&Arc<Space>>, hash: u128, key: Option<&[u8]>, here: Location) -> bool {
    let key = key.unwrap_or_default();
    space.is_some_and(|space| space.keydir.candidates(hash, key).contains(here))
}

/// With the key from its record; `None` if that cannot be read.
fn victim(segments: &[Arc<Segment>], all: &[Arc<Space>], of: &Candidate) -> Result<Option<Victim>> {
    let (Some(segment), Some(space)) = (segments.get(of.segment), all.get(of.space)) else {
        return Ok(None);
    };
    match segment.look(u64::from(of.offset), |_, key| Box::from(key)) {
        Ok(key) => Ok(Some(Victim {
            space: space.clone(),
            key,
            seq: of.seq,
            segment: segment.clone(),
        })),
        Err(e) if e.is_of_damage() => {
            segment.mark_damaged();
            Ok(None)
        }
        Err(e) => Err(e),
    }
}
