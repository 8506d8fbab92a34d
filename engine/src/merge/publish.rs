//! The moment a merge counts, and what follows: the manifest declares the inputs dead, the keydir
//! is moved over entry by entry, the inputs leave the table, their files go.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use super::context::Merger;
use super::copy::{Copied, Move, Output};
use crate::disk::How;
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::past::Version;
use crate::pieces::Pieces;
use crate::report::MergeReport;
use crate::segment::data_file::{Parts, Sealed, Segment};
use crate::segment::hints;
use crate::segment::location::Location;
use crate::segment::names;
use crate::segment::record::RecordKind;

/// Makes the outputs of a merge count in the place of its inputs.
pub(super) fn publish(
    merger: &Merger<'_>,
    now_ms: u64,
    inputs: &[Arc<Segment>],
    copied: Copied,
    report: &mut MergeReport,
) -> Result<()> {
    let log = merger.log;
    // A record was left out because a newer one took its place; that one must not be lost now.
    if !mutant::is_on(Mutant::DeathsNotSynced) {
        log.sync_all()?;
    }
    let mut opened = Vec::new();
    for output in &copied.outputs {
        opened.push(open_output(merger, output)?);
    }
    if mutant::is_on(Mutant::UnlinkedBeforeDeclared) {
        for input in inputs {
            let _mutant = log.disk.remove(&input.name);
        }
    }
    log.declare_dead(now_ms, inputs)?;
    for (output, segment) in copied.outputs.iter().zip(&opened) {
        segment.set_live(output.live.clone());
        for change in output.moves.iter() {
            let to = change.to.map(|offset| Location {
                slot: segment.slot,
                offset,
            });
            if !apply(merger, change, to) {
                note_lost(segment, change);
            }
        }
    }
    for change in copied.removals.iter() {
        forget(merger, change);
    }
    report.segments_in += inputs.len() as u64;
    report.segments_out += opened.len() as u64;
    report.bytes_in += inputs.iter().map(|input| input.file_bytes()).sum::<u64>();
    report.bytes_out += opened.iter().map(|output| output.file_bytes()).sum::<u64>();
    report.records_copied += copied.records;
    remove(merger, inputs)
}

/// Declares segments dead that nothing takes the place of, and removes their keydir entries.
pub(super) fn retire(
    merger: &Merger<'_>,
    now_ms: u64,
    dead: &[Arc<Segment>],
    entries: Pieces<Move>,
) -> Result<()> {
    merger.log.declare_dead(now_ms, dead)?;
    for change in entries.iter() {
        forget(merger, change);
    }
    remove(merger, dead)
}

/// The keydir entries that may point into `segments`, told from their hints.
pub(super) fn entries_of(merger: &Merger<'_>, segments: &[Arc<Segment>]) -> Result<Pieces<Move>> {
    let mut entries = Pieces::default();
    for segment in segments {
        let hint = hints::of(merger.log, segment)?;
        for (section, shape) in hint.sections().iter().enumerate() {
            let rows = hint.rows_with_keys(section);
            let puts = rows.filter(|(row, _)| row.kind == RecordKind::Put);
            entries.extend(puts.map(|(row, key)| Move {
                keyspace: shape.keyspace(),
                hash: row.hash,
                key: key.unwrap_or_default().into(),
                from: Location {
                    slot: segment.slot,
                    offset: row.offset,
                },
                seq: row.seq,
                expiry: row.expiry,
                to: None,
            }));
        }
    }
    Ok(entries)
}

fn remove(merger: &Merger<'_>, dead: &[Arc<Segment>]) -> Result<()> {
    merger.log.table.remove(dead);
    merger.log.counters.merges.add(1);
    merger.log.remove_files()
}

/// Changes one keydir entry, if it still points where the merge found it.
fn apply(merger: &Merger<'_>, change: &Move, to: Option<Location>) -> bool {
    let Some(space) = merger.spaces.by_id(change.keyspace) else {
        return false;
    };
    space
        .keydir
        .change(change.hash, &change.key, Some(change.from), to)
}

/// Removes the entry of an expired record. If it has not expired in a snapshot, it is kept for
/// that.
fn forget(merger: &Merger<'_>, change: &Move) {
    let seen = merger.past.sees_alive(change.seq, change.expiry);
    if !seen || mutant::is_on(Mutant::ExpiredNotKept) {
        apply(merger, change, None);
        return;
    }
    // No write may come between the look and the change.
    let writer = merger.log.writer_for_close();
    let table = merger.log.table.load();
    if let Some(space) = merger.spaces.by_id(change.keyspace)
        && let Some(segment) = table.get(change.from.slot)
        && let found = space.keydir.candidates(change.hash, &change.key)
        && found.contains(change.from)
    {
        let version = Version {
            segment: segment.clone(),
            seq: change.seq,
            offset: change.from.offset,
        };
        let now = writer.last_seq() + 1;
        merger
            .past
            .keep(&space, change.hash, &change.key, version, now);
    }
    apply(merger, change, None);
}

/// A copied record was replaced or deleted meanwhile: its copy is dead from the start.
fn note_lost(segment: &Segment, change: &Move) {
    let Some(offset) = change.to else { return };
    let looked = segment.look(u64::from(offset), |header, _| *header);
    if let Ok(header) = looked {
        segment.note_dead(
            header.fields.keyspace,
            header.record_len(),
            header.fields.expiry,
        );
    }
}

fn open_output(merger: &Merger<'_>, output: &Output) -> Result<Arc<Segment>> {
    let log = merger.log;
    let name = names::segment(output.header.id);
    let file = log.disk.open(&name, How::Read);
    let file = file.map_err(|e| Error::io("open a merge output", &name, e))?;
    let sealed = Sealed {
        summary: output.summary,
        file_len: output.file_len,
    };
    let segment = log.table.add(|slot| {
        Segment::new(Parts {
            header: output.header.clone(),
            slot,
            disk: log.disk.clone(),
            file,
            map_len: Some(output.summary.data_len),
            written: output.summary.data_len,
            sealed: Some(sealed),
        })
    })?;
    segment.hinted.store(output.hinted, Ordering::Release);
    segment.made_at.store(log.written_seq(), Ordering::Release);
    segment
        .tombstones_tried
        .store(log.counters.reclaims.get(), Ordering::Release);
    segment.release_file();
    Ok(segment)
}
