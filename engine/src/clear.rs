//! Deleting everything between two bounds of an ordered keyspace as one batch of tombstones,
//! whatever its size. What is small goes the way of any batch; more is written over segments of
//! its own, a stretch at a time, so that no more than a stretch is ever held in memory. It all
//! happens under the log lock: nobody writes in between, and nobody else sees a half.
//! Why: docs/decisions/023-prefixes-are-deleted-by-a-batch.md.

use crate::commit::{self, Committer, Op, Outcome, Planned, Who};
use crate::error::{Error, Result};
use crate::key_cursor::{Bounds, BoundsRef, KeyCursor, PART_LEN};
use crate::keydir::space::Space;
use crate::lookup;
use crate::options::{DELETE_PREFIX_KEYS_MAX, Durability};
use crate::segment::data_file::Record;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::writer::span::{Span, Written};
use crate::segment::writer::{Room, Writer};

/// Deletes that take no more are gathered in memory, as those of any batch are.
const GATHERED_BYTES_MAX: u64 = 4 << 20;
/// Of more, so much is encoded and written at once.
const STRETCH_BYTES_MAX: u64 = 256 << 10;

/// Deletes all keys within bounds: those that are there when the log lock is had, so that no write
/// comes between the listing and the deletes.
pub(crate) fn delete_between(
    with: &Committer<'_>,
    space: &Space,
    bounds: &Bounds,
    durability: Durability,
) -> Result<Outcome> {
    let mut writer = with.log.writer()?;
    commit::check_there(space)?;
    let gathered_max = Span::part_room(with.log).min(GATHERED_BYTES_MAX);
    loop {
        let mut keys = Keys::new(space, bounds);
        let gathered = keys.take(gathered_max);
        let rest = keys.count();
        if rest == 0 {
            let ops = deletes(space, &gathered);
            return commit::write(with, Who::Plain, &mut writer, &ops, durability);
        }
        let count = wide(gathered.len()) + rest;
        drop(gathered);
        if count > DELETE_PREFIX_KEYS_MAX {
            return Err(Error::invalid(format!(
                "{count} keys are more than the {DELETE_PREFIX_KEYS_MAX} that one delete_prefix \
                 removes; delete by longer prefixes, or drop the keyspace"
            )));
        }
        if with.log.is_lean() && !with.log.take_reserve() {
            return Err(commit::disk_full());
        }
        // A merge may take expired keys out of the keydir meanwhile. There is an end of these:
        // nobody can add any.
        if let Some(outcome) = spread(with, space, bounds, &mut writer, count)? {
            return Ok(outcome);
        }
    }
}

/// Writes `count` tombstones over segments of their own, then makes them visible. `None` if there
/// are fewer keys by now; then nothing is changed.
fn spread(
    with: &Committer<'_>,
    space: &Space,
    bounds: &Bounds,
    writer: &mut Writer,
    count: u64,
) -> Result<Option<Outcome>> {
    let mut span = writer.begin_span(with.log, count)?;
    let mut keys = Keys::new(space, bounds);
    match write_all(with, &mut keys, writer, &mut span, count) {
        Ok(Some(met)) => {
            let parts = writer.end_span(with.log, span);
            make_visible(with, space, bounds, &parts, writer.last_seq())?;
            Ok(Some(Outcome {
                seq: writer.last_seq(),
                existed: met > 0,
                met,
                refused: None,
            }))
        }
        Ok(None) => {
            let cause = Error::invalid("keys expired while they were deleted");
            writer.abandon_span(with.log, span, &cause)?;
            Ok(None)
        }
        Err(error) => {
            writer.abandon_span(with.log, span, &error)?;
            Err(error)
        }
    }
}

/// How many live values the deletes met, if there were `count` keys.
fn write_all(
    with: &Committer<'_>,
    keys: &mut Keys<'_>,
    writer: &mut Writer,
    span: &mut Span,
    count: u64,
) -> Result<Option<u64>> {
    let (log, clock) = (with.log, with.clock);
    let now_ms = || clock.now_ms();
    let (mut left, mut met) = (count, 0);
    while left > 0 {
        let part_room = match span.left(log) {
            // What is next may need a new part.
            room if room < keys.next_len() => Span::part_room(log),
            room => room,
        };
        let stretch = keys.take(part_room.min(STRETCH_BYTES_MAX));
        let ops = deletes(keys.space, &stretch);
        let plan = commit::plan(log, clock, &ops)?;
        let planned = wide(plan.planned.len());
        if planned == 0 || planned < wide(ops.len()) || planned > left {
            return Ok(None);
        }
        let bytes_max = ops.iter().map(Op::encoded_len_max).sum();
        let room = writer.span_room(log, span, &now_ms, bytes_max)?;
        left -= planned;
        let follow = u32::try_from(left).expect("bounded by DELETE_PREFIX_KEYS_MAX");
        let headers = commit::encode(log, writer, clock, &room, &plan.planned, follow);
        writer.span_append(log, span, &headers, left == 0)?;
        met += plan.met;
    }
    Ok(Some(met))
}

/// Takes the keys out of the keydir and tells whom it concerns, as the records say that were just
/// written.
fn make_visible(
    with: &Committer<'_>,
    space: &Space,
    bounds: &Bounds,
    parts: &[Written],
    last_seq: u64,
) -> Result<()> {
    let shown = parts.iter().try_for_each(|part| show(with, space, part));
    // Nothing is left but where a record could not be read back: all or none is what counts.
    let mut keys = Keys::new(space, bounds);
    while let Some(key) = keys.next() {
        let op = Op::delete(space, &key);
        let prior = lookup::find_prior(with.log, space, op.hash, &key).unwrap_or(None);
        commit::replace(with, &op, prior, None, last_seq);
    }
    // What was written is not what is there: whether it holds is for recovery to say.
    shown.map_err(|error| with.log.poison(error))
}

/// The records of one part, a few at a time.
fn show(with: &Committer<'_>, space: &Space, part: &Written) -> Result<()> {
    let mut offset = wide(RECORDS_START);
    while offset < part.end {
        let start = offset;
        let mut records: Vec<Record> = Vec::with_capacity(PART_LEN);
        while offset < part.end && records.len() < PART_LEN {
            let record = part.segment.read(offset, false)?;
            offset += record.header.record_len();
            records.push(record);
        }
        let mut ops = Vec::with_capacity(PART_LEN);
        for record in &records {
            ops.push(Op::delete(
                space,
                record.header.key(record.bytes.as_slice()),
            ));
        }
        let mut planned = Vec::with_capacity(PART_LEN);
        for op in &ops {
            let prior = lookup::find_prior(with.log, space, op.hash, op.key).unwrap_or(None);
            planned.push(Planned { op, prior });
        }
        let headers: Vec<_> = records.iter().map(|record| record.header).collect();
        let room = Room {
            segment: part.segment.clone(),
            offset: start,
            first_seq: headers.first().map_or(0, |header| header.fields.seq),
        };
        commit::publish(with, &room, &planned, &headers);
        commit::tell(with, Who::Plain, &room, &planned, &headers);
    }
    Ok(())
}

fn deletes<'a>(space: &'a Space, keys: &'a [Box<[u8]>]) -> Vec<Op<'a>> {
    keys.iter().map(|key| Op::delete(space, key)).collect()
}

/// The keys of the keydir within bounds, in order, a few fetched at a time.
struct Keys<'a> {
    space: &'a Space,
    cursor: KeyCursor,
    /// Fetched, and not taken yet.
    ahead: Option<Box<[u8]>>,
}

impl<'a> Keys<'a> {
    fn new(space: &'a Space, bounds: &Bounds) -> Keys<'a> {
        Keys {
            space,
            cursor: KeyCursor::new(bounds.clone()),
            ahead: None,
        }
    }

    fn next(&mut self) -> Option<Box<[u8]>> {
        let fetch = |bounds: BoundsRef<'_>, back| {
            let part = self.space.keydir.ordered_part(bounds, back, PART_LEN);
            part.into_iter().map(|(key, _)| key).collect()
        };
        self.ahead.take().or_else(|| self.cursor.next(fetch))
    }

    /// How many bytes the tombstone of the next key takes at most; 0 if there is none.
    fn next_len(&mut self) -> u64 {
        self.ahead = self.next();
        let next = self.ahead.as_deref();
        next.map_or(0, Op::delete_len_max)
    }

    /// The next keys of which the tombstones take no more than `bytes_max`; one at least, if there
    /// is one.
    fn take(&mut self, bytes_max: u64) -> Vec<Box<[u8]>> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        while let Some(key) = self.next() {
            bytes += Op::delete_len_max(&key);
            if bytes > bytes_max && !keys.is_empty() {
                self.ahead = Some(key);
                break;
            }
            keys.push(key);
        }
        keys
    }

    /// How many are left.
    fn count(&mut self) -> u64 {
        std::iter::from_fn(|| self.next()).fold(0, |count, _| count + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::IndexKind;
    use crate::segment::keyspace_entry::KeyspaceEntry;
    use crate::segment::location::{KeyspaceId, Location};
    use std::ops::Bound;

    fn space_of(keys: &[Vec<u8>]) -> Space {
        let entry = KeyspaceEntry {
            id: KeyspaceId(1),
            kind: IndexKind::Ordered,
            default_ttl_ms: 0,
            created_ms: 0,
            name: "sorted".to_owned(),
        };
        let space = Space::new(entry, [7; 16]);
        for key in keys {
            let at = Location { slot: 1, offset: 8 };
            assert!(space.keydir.change(space.hash(key), key, None, Some(at)));
        }
        space
    }

    /// What a deletion of any size holds at a time is bounded by bytes, a key longer than these
    /// comes alone, and each key comes once.
    #[test]
    fn keys_are_taken_a_stretch_at_a_time_and_counted_without_being_held() {
        let keys: Vec<Vec<u8>> = (0..3_000_usize)
            .map(|n| {
                format!(
                    "{n:06}{}",
                    "x".repeat(if n % 500 == 3 { 5_000 } else { n % 90 })
                )
            })
            .map(String::into_bytes)
            .collect();
        let space = space_of(&keys);
        let bounds = (Bound::Unbounded, Bound::Unbounded);
        for bytes_max in [1, 200, 3_000, 1 << 20] {
            let (mut all, mut taken) = (Keys::new(&space, &bounds), Vec::new());
            loop {
                let next = all.next_len();
                let stretch = all.take(bytes_max);
                let bytes: u64 = stretch.iter().map(|key| Op::delete_len_max(key)).sum();
                assert!(bytes <= bytes_max || stretch.len() == 1, "{bytes}");
                assert_eq!(stretch.is_empty(), next == 0);
                if stretch.is_empty() {
                    break;
                }
                taken.extend(stretch);
            }
            assert!(
                taken
                    .iter()
                    .map(|key| &**key)
                    .eq(keys.iter().map(Vec::as_slice))
            );
            let mut rest = Keys::new(&space, &bounds);
            let first = rest.take(bytes_max).len();
            assert_eq!(wide(first) + rest.count(), 3_000);
        }
    }
}
