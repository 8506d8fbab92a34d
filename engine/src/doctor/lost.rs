//! Which keys a damaged place costs: those whose newest record lies there. The keydir knows where
//! each newest record is, from the hint file also of records that cannot be read any more.

use std::ops::Bound;
use std::sync::Arc;

use super::examination::{LOST_KEYS_MAX, LostKey};
use crate::error::Result;
use crate::keydir::space::Space;
use crate::options::IndexKind;
use crate::recovery::Recovered;
use crate::report::{Cost, Damage};
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::location::Location;
use crate::sync::atomic::Ordering;

/// Entries taken from an ordered keydir at once.
const PART_LEN: usize = 1_024;

/// What damage cost.
pub(super) struct Lost {
    pub(super) named: Vec<LostKey>,
    pub(super) total: u64,
    /// Damaged places of which nothing tells what stood there, as indices into the damage.
    pub(super) unknown: Vec<usize>,
}

/// A stretch of a segment in which records cannot be read.
struct Stretch {
    slot: u16,
    start: u64,
    end: u64,
    file: String,
}

/// The keys whose newest record lies in a damaged place.
pub(super) fn keys(recovered: &Recovered, damage: &[Damage]) -> Result<Lost> {
    let mut lost = Lost {
        named: Vec::new(),
        total: 0,
        unknown: Vec::new(),
    };
    let segments = recovered.log.table.by_id();
    let mut stretches = Vec::new();
    for (index, place) in damage.iter().enumerate() {
        if place.cost == Cost::Nothing {
            continue;
        }
        let segment = segments.iter().find(|segment| segment.name == place.file);
        let within = place.len > 0 && place.offset >= wide(RECORDS_START);
        match segment.filter(|_| within && place.cost == Cost::Records) {
            Some(segment) if tells_all(segment, place) => stretches.push(Stretch {
                slot: segment.slot,
                start: place.offset,
                end: place.offset.saturating_add(place.len),
                file: place.file.clone(),
            }),
            _ => lost.unknown.push(index),
        }
    }
    if !stretches.is_empty() {
        for space in recovered.spaces.all() {
            in_space(&space, &segments, &stretches, &mut lost);
        }
    }
    Ok(lost)
}

/// Whether the keydir holds every record of the place: from the hint file, or because header and
/// key were read and the value alone is bad.
fn tells_all(segment: &Segment, place: &Damage) -> bool {
    let value_alone = segment
        .look(place.offset, |header, _| header.record_len() == place.len)
        .unwrap_or(false);
    value_alone || segment.hinted.load(Ordering::Acquire)
}

fn in_space(space: &Space, segments: &[Arc<Segment>], stretches: &[Stretch], lost: &mut Lost) {
    let mut meet = |location: Location, key: Option<&[u8]>| {
        let offset = u64::from(location.offset);
        let hit = |stretch: &&Stretch| {
            stretch.slot == location.slot && (stretch.start..stretch.end).contains(&offset)
        };
        let Some(stretch) = stretches.iter().find(hit) else {
            return;
        };
        lost.total += 1;
        if lost.named.len() < LOST_KEYS_MAX {
            let segment = segments.iter().find(|s| s.slot == location.slot);
            let read = || segment.and_then(|s| s.look(offset, |_, key| key.to_vec()).ok());
            lost.named.push(LostKey {
                keyspace: space.entry.name.clone(),
                key: key.map(<[u8]>::to_vec).or_else(read),
                file: stretch.file.clone(),
                offset,
            });
        }
    };
    match space.entry.kind {
        IndexKind::Hash => {
            let mut part = Some(0);
            while let Some(from) = part {
                let (locations, next) = space.keydir.hash_part(from);
                for location in locations {
                    meet(location, None);
                }
                part = next;
            }
        }
        IndexKind::Ordered => {
            let mut after: Option<Box<[u8]>> = None;
            loop {
                let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let part = space
                    .keydir
                    .ordered_part((from, Bound::Unbounded), false, PART_LEN);
                for (key, location) in &part {
                    meet(*location, Some(key));
                }
                match part.into_iter().last() {
                    Some((key, _)) => after = Some(key),
                    None => break,
                }
            }
        }
    }
}
