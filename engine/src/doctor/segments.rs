//! The state of each segment: those in the log as recovery would leave it, those of which nothing
//! counts, and those that the manifest misses.

use super::examination::{HintState, SegmentState, Standing};
use super::look::Look;
use crate::disk::{Disk, How, read_full_at};
use crate::error::{Error, Result};
use crate::recovery::Recovered;
use crate::report::Damage;
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::{SegmentHeader, SegmentKind};
use crate::segment::location::SegmentId;
use crate::segment::names::{self, FileName};
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// Read at once.
const PART_LEN: usize = 1 << 20;

/// The states of all segments, by their numbers.
pub(super) fn states(
    disk: &dyn Disk,
    look: &Look<'_>,
    recovered: &Recovered,
    damage: &[Damage],
) -> Result<Vec<SegmentState>> {
    let mut states = Vec::new();
    let log = recovered.log.table.by_id();
    for segment in &log {
        states.push(of_log(disk, look, recovered, segment, damage)?);
    }
    let known = |id: SegmentId| log.iter().any(|segment| segment.header.id == id);
    let report = &recovered.report;
    for name in &look.listed {
        let FileName::Segment(id) = names::parse(name) else {
            continue;
        };
        let told = |list: &[String]| list.contains(name);
        let elsewhere = told(&report.foreign_files) || told(&report.removed_files);
        if !known(id) && (!elsewhere || report.cut.iter().any(|cut| cut.file == *name)) {
            states.push(without_records(disk, look, id, damage)?);
        }
    }
    for entry in look.manifest.iter().flat_map(|m| &m.segments) {
        let id = entry.header.id;
        if !known(id) && !look.listed.contains(&names::segment(id)) {
            states.push(SegmentState {
                kind: kind_of(&entry.header),
                records: entry.summary.records,
                first_seq: entry.summary.min_seq,
                last_seq: entry.summary.max_seq,
                ..nothing(look, id, Standing::Missing, damage)
            });
        }
    }
    states.sort_by_key(|state| state.id);
    Ok(states)
}

/// A segment of which records count.
fn of_log(
    disk: &dyn Disk,
    look: &Look<'_>,
    recovered: &Recovered,
    segment: &Segment,
    damage: &[Damage],
) -> Result<SegmentState> {
    let id = segment.header.id;
    let named = look.manifest.iter().flat_map(|m| &m.segments);
    let sealed_there = named
        .into_iter()
        .any(|entry| entry.header.id == id && entry.sealed);
    let summary = segment.sealed().map(|sealed| sealed.summary);
    let data_len = summary.map_or(wide(RECORDS_START), |summary| summary.data_len);
    let file_len = file_len(disk, &segment.name)?;
    let mut state = SegmentState {
        file_len,
        kind: kind_of(&segment.header),
        records: summary.map_or(0, |summary| summary.records),
        first_seq: summary.map_or(0, |summary| summary.min_seq),
        last_seq: summary.map_or(0, |summary| summary.max_seq),
        durable_records: summary.map_or(0, |summary| summary.records),
        durable_len: data_len,
        data_len,
        ..nothing(look, id, Standing::Sealed, damage)
    };
    if !sealed_there {
        state.standing = Standing::Unsealed;
        state.hint = HintState::None;
        (state.durable_records, state.durable_len) =
            durable(segment, data_len, recovered.report.synced_seq)?;
        state.reserved_len = zeros_behind(disk, &segment.name, data_len)?;
    } else if file_len < data_len {
        state.standing = Standing::Missing;
    }
    Ok(state)
}

/// Records up to the synced mark, and where the last of them ends.
fn durable(segment: &Segment, data_len: u64, synced_seq: u64) -> Result<(u64, u64)> {
    let bytes = segment.all_bytes()?;
    let options = ScanOptions {
        check_values: false,
    };
    let (mut records, mut end) = (0, wide(RECORDS_START));
    for item in Scan::new(bytes.as_ref(), data_len, &segment.header, options) {
        if let ScanItem::Record { offset, header, .. } = item
            && header.fields.seq <= synced_seq
        {
            records += 1;
            end = offset + header.record_len();
        }
    }
    Ok((records, end))
}

/// A file that open would remove: nothing in it counts.
fn without_records(
    disk: &dyn Disk,
    look: &Look<'_>,
    id: SegmentId,
    damage: &[Damage],
) -> Result<SegmentState> {
    let name = names::segment(id);
    let failed = |e| Error::io("read the segment header of", &name, e);
    let file = disk.open(&name, How::Read).map_err(failed)?;
    let mut start = vec![0; RECORDS_START];
    let n = read_full_at(&*file, &mut start, 0).map_err(failed)?;
    start.truncate(n);
    let header = SegmentHeader::decode_file_start(&start).ok();
    Ok(SegmentState {
        file_len: file.len().map_err(failed)?,
        kind: header.map_or("unknown", |(header, _)| kind_of(&header)),
        reserved_len: zeros_behind(disk, &name, wide(RECORDS_START))?,
        ..nothing(look, id, Standing::Empty, damage)
    })
}

fn nothing(look: &Look<'_>, id: SegmentId, standing: Standing, damage: &[Damage]) -> SegmentState {
    let (file, hint_file) = (names::segment(id), names::hint(id));
    let of = |place: &&Damage| place.file == file;
    let hint_damage = damage.iter().find(|place| place.file == hint_file);
    SegmentState {
        id: id.0,
        file_len: 0,
        kind: "unknown",
        standing,
        records: 0,
        first_seq: 0,
        last_seq: 0,
        durable_records: 0,
        durable_len: 0,
        data_len: 0,
        reserved_len: 0,
        damaged_places: wide(damage.iter().filter(of).count()),
        hint: match hint_damage {
            Some(place) => HintState::Damaged(place.what.clone()),
            None if standing != Standing::Sealed => HintState::None,
            None if look.listed.contains(&hint_file) => HintState::Valid,
            None => HintState::Missing,
        },
        file,
    }
}

fn kind_of(header: &SegmentHeader) -> &'static str {
    match header.kind {
        SegmentKind::User => "user",
        SegmentKind::Merged => "merged",
    }
}

fn file_len(disk: &dyn Disk, name: &str) -> Result<u64> {
    let failed = |e| Error::io("read the length of", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    file.len().map_err(failed)
}

/// Zeros at the very end of a file, behind `from`. Read by position: a living writer may shorten
/// the file, and a map of it would kill the reader.
fn zeros_behind(disk: &dyn Disk, name: &str, from: u64) -> Result<u64> {
    let failed = |e| Error::io("read the segment", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let (mut at, mut zeros) = (from, 0);
    let mut part = vec![0; PART_LEN];
    loop {
        let n = read_full_at(&*file, &mut part, at).map_err(failed)?;
        let read = part.get(..n).unwrap_or_default();
        let last = wide(read.iter().rev().take_while(|byte| **byte == 0).count());
        zeros = if last == wide(n) { zeros + last } else { last };
        at += wide(n);
        if n < PART_LEN {
            return Ok(zeros);
        }
    }
}
