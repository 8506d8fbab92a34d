//! The way of a write: look at what it replaces, encode, append, publish in the keydir, wait for
//! the durability asked for. All but the waiting happens under the log lock, so log order,
//! seq order and the order in which writes become visible are one.
//!
//! It knows records and keydirs; rotation, files and syncs are the log's.

use crate::clock::StoreClock;
use crate::error::{Error, ErrorKind, Result};
use crate::expected::Expected;
use crate::feed::Written;
use crate::keydir::space::Space;
use crate::lookup::{self, Prior};
use crate::mutant::{self, Mutant};
use crate::options::{BATCH_BYTES_MAX, Durability, KEY_LEN_MAX, VALUE_LEN_MAX};
use crate::past::{Past, Version};
use crate::segment::data_file::Record;
use crate::segment::format::{NEVER, RECORD_HEADER_LEN_MAX, wide};
use crate::segment::location::Location;
use crate::segment::log::Log;
use crate::segment::record::{self, Mark, RecordFields, RecordHeader, RecordKind};
use crate::segment::writer::{Room, Writer};
use crate::turn::Touched;

/// One change of one key, as a caller asked for it.
pub(crate) struct Op<'a> {
    pub(crate) space: &'a Space,
    pub(crate) hash: u128,
    pub(crate) key: &'a [u8],
    pub(crate) change: Change<'a>,
}

pub(crate) enum Change<'a> {
    /// Milliseconds of expiry, `NEVER` for none.
    Put {
        value: &'a [u8],
        expiry: u64,
    },
    Delete,
}

/// What must hold of a key for a write to happen; of any key, written or not.
pub(crate) struct Condition<'a> {
    pub(crate) space: &'a Space,
    pub(crate) hash: u128,
    pub(crate) key: &'a [u8],
    pub(crate) expected: Expected<'a>,
}

/// What a write did.
pub(crate) struct Outcome {
    /// Waiting for this seq makes the write as durable as asked.
    pub(crate) seq: u64,
    /// Whether the last change met a live value.
    pub(crate) existed: bool,
    /// How many changes met a live value.
    pub(crate) met: u64,
    /// A condition did not hold, and nothing was changed.
    pub(crate) refused: Option<Refused>,
}

/// The first condition that did not hold.
pub(crate) struct Refused {
    pub(crate) index: usize,
    /// The live version that stands there instead.
    pub(crate) current: Option<Record>,
}

/// A change that will write a record.
pub(crate) struct Planned<'a, 'b> {
    pub(crate) op: &'b Op<'a>,
    pub(crate) prior: Option<Prior>,
}

impl<'a> Op<'a> {
    pub(crate) fn put(space: &'a Space, key: &'a [u8], value: &'a [u8], expiry: u64) -> Op<'a> {
        Op {
            space,
            hash: space.hash(key),
            key,
            change: Change::Put { value, expiry },
        }
    }

    pub(crate) fn delete(space: &'a Space, key: &'a [u8]) -> Op<'a> {
        Op {
            space,
            hash: space.hash(key),
            key,
            change: Change::Delete,
        }
    }

    fn value(&self) -> &'a [u8] {
        match self.change {
            Change::Put { value, .. } => value,
            Change::Delete => &[],
        }
    }

    pub(crate) fn is_delete(&self) -> bool {
        matches!(self.change, Change::Delete)
    }

    /// The limits that the format sets.
    pub(crate) fn check(&self) -> Result<()> {
        let (key_len, value_len) = (self.key.len(), wide(self.value().len()));
        if key_len > KEY_LEN_MAX {
            return Err(Error::invalid(format!(
                "a key of {key_len} bytes is over the limit of {KEY_LEN_MAX} bytes"
            )));
        }
        if value_len > VALUE_LEN_MAX {
            return Err(Error::invalid(format!(
                "a value of {value_len} bytes is over the limit of {VALUE_LEN_MAX} bytes; \
                 split it over several keys"
            )));
        }
        check_there(self.space)
    }

    pub(crate) fn encoded_len_max(&self) -> u64 {
        Op::delete_len_max(self.key) + wide(self.value().len())
    }

    /// What the tombstone of a key takes at most.
    pub(crate) fn delete_len_max(key: &[u8]) -> u64 {
        wide(RECORD_HEADER_LEN_MAX) + wide(key.len())
    }
}

impl Condition<'_> {
    /// `Some` if it does not hold: the live version that stands there, if any.
    fn broken_by(&self, log: &Log, clock: &StoreClock) -> Result<Option<Option<Record>>> {
        check_there(self.space)?;
        let found = lookup::find(log, self.space, self.hash, self.key, true)?;
        let current = found.filter(|record| {
            let expiry = record.header.fields.expiry;
            expiry == NEVER || expiry > clock.now_ms()
        });
        let holds = match (self.expected, &current) {
            (Expected::Absent, None) => true,
            (Expected::Seq(seq), Some(record)) => record.header.fields.seq == seq.0,
            (Expected::Value(value), Some(record)) => record.value() == value,
            (Expected::Absent, Some(_)) | (Expected::Seq(_) | Expected::Value(_), None) => false,
        };
        Ok((!holds).then_some(current))
    }
}

pub(crate) fn check_there(space: &Space) -> Result<()> {
    if space.is_dropped() {
        let gone = format!("keyspace '{}' was dropped", space.entry.name);
        return Err(Error::new(ErrorKind::NotFound, gone));
    }
    Ok(())
}

/// What a write works with.
pub(crate) struct Committer<'a> {
    pub(crate) log: &'a Log,
    pub(crate) clock: &'a StoreClock,
    pub(crate) past: &'a Past,
    pub(crate) touched: &'a Touched,
}

/// Who writes.
#[derive(Clone, Copy)]
pub(crate) enum Who<'a> {
    /// What it touches is told to the transaction under way.
    Plain,
    /// The transaction under way; asked under the log lock whether it may.
    Transaction(&'a dyn Fn() -> Result<()>),
}

/// Applies `ops`, of which no two have one key, together if all `conditions` hold: visible when
/// this returns, in the kernel if `durability` is more than `Buffered`. The device is waited for
/// apart.
pub(crate) fn apply(
    with: &Committer<'_>,
    who: Who<'_>,
    conditions: &[Condition<'_>],
    ops: &[Op<'_>],
    durability: Durability,
) -> Result<Outcome> {
    let (log, clock) = (with.log, with.clock);
    let bytes_max: u64 = ops.iter().map(Op::encoded_len_max).sum();
    if ops.len() > 1 && bytes_max > BATCH_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a batch of {bytes_max} bytes is over the limit of {BATCH_BYTES_MAX} bytes; split it"
        )));
    }
    for op in ops {
        op.check()?;
    }
    let mut writer = log.writer()?;
    // Once more under the lock: a drop marks its keyspace before it takes the lock.
    ops.iter().try_for_each(Op::check)?;
    if let Who::Transaction(may) = who {
        may()?;
    }
    for (index, condition) in conditions.iter().enumerate() {
        if let Some(current) = condition.broken_by(log, clock)? {
            return Ok(Outcome {
                seq: writer.last_seq(),
                existed: false,
                met: 0,
                refused: Some(Refused { index, current }),
            });
        }
    }
    write(with, who, &mut writer, ops, durability)
}

/// The way of changes that nothing speaks against, under the log lock.
pub(crate) fn write(
    with: &Committer<'_>,
    who: Who<'_>,
    writer: &mut Writer,
    ops: &[Op<'_>],
    durability: Durability,
) -> Result<Outcome> {
    let (log, clock) = (with.log, with.clock);
    let plan = plan(log, clock, ops)?;
    let planned = plan.planned;
    let outcome = |writer: &Writer| Outcome {
        seq: writer.last_seq(),
        existed: plan.existed,
        met: plan.met,
        refused: None,
    };
    if planned.is_empty() {
        // Nothing to write, yet the absence must be as durable as the caller asked.
        if durability != Durability::Buffered {
            writer.write_tail(log)?;
        }
        return Ok(outcome(writer));
    }
    let bytes_max: u64 = ops.iter().map(Op::encoded_len_max).sum();
    let room = make_room(log, writer, clock, ops, bytes_max)?;
    let headers = encode(log, writer, clock, &room, &planned, 0);
    if durability == Durability::Device {
        writer.prepare_blocks(log);
    }
    match durability {
        Durability::Buffered => writer.append_buffered(log, &headers)?,
        Durability::Kernel | Durability::Device => writer.append_written(log, &headers)?,
    }
    publish(with, &room, &planned, &headers);
    tell(with, who, &room, &planned, &headers);
    Ok(outcome(writer))
}

/// The records to write, and what their changes meet.
pub(crate) struct Plan<'a, 'b> {
    pub(crate) planned: Vec<Planned<'a, 'b>>,
    existed: bool,
    pub(crate) met: u64,
}

/// Looks at what each change replaces and leaves out deletes of what is not there.
pub(crate) fn plan<'a, 'b>(
    log: &Log,
    clock: &StoreClock,
    ops: &'b [Op<'a>],
) -> Result<Plan<'a, 'b>> {
    let mut plan = Plan {
        planned: Vec::with_capacity(ops.len()),
        existed: false,
        met: 0,
    };
    for op in ops {
        let prior = lookup::find_prior(log, op.space, op.hash, op.key)?;
        plan.existed = prior.is_some_and(|prior| match prior.header {
            Some(header) => {
                let expiry = header.fields.expiry;
                expiry == NEVER || expiry > clock.now_ms()
            }
            None => true,
        });
        plan.met += u64::from(plan.existed);
        // An expired version gets its tombstone too: a clock set back must not undo the delete.
        if !op.is_delete() || prior.is_some() {
            plan.planned.push(Planned { op, prior });
        }
    }
    Ok(plan)
}

/// Room for all. On a full disk deletes get some of the space that is kept for them.
fn make_room(
    log: &Log,
    writer: &mut Writer,
    clock: &StoreClock,
    ops: &[Op<'_>],
    bytes_max: u64,
) -> Result<Room> {
    // The clock is read only if a segment is begun.
    let now_ms = || clock.now_ms();
    let deletes = ops.iter().all(Op::is_delete);
    let was_lean = log.is_lean();
    if was_lean && !log.take_reserve() && !(deletes && log.spend_lean(bytes_max)) {
        return Err(disk_full());
    }
    match writer.make_room(log, &now_ms, bytes_max) {
        Err(e) if e.kind() == ErrorKind::StorageFull && deletes && log.give_up_reserve() => {
            log.spend_lean(bytes_max);
            writer.make_room(log, &now_ms, bytes_max)
        }
        other => other,
    }
}

pub(crate) fn disk_full() -> Error {
    let what = "the disk is full, and what is left is kept for deletes and merge; free space, \
                delete or merge, then try again";
    Error::new(ErrorKind::StorageFull, what)
}

/// Encodes the records for their room into the writer's scratch bytes; so many more of their batch
/// `follow`.
pub(crate) fn encode(
    log: &Log,
    writer: &mut Writer,
    clock: &StoreClock,
    room: &Room,
    planned: &[Planned<'_, '_>],
    follow: u32,
) -> Vec<RecordHeader> {
    let place = room.segment.header.place();
    let mut headers = Vec::with_capacity(planned.len());
    let mut scratch = std::mem::take(&mut writer.scratch);
    scratch.clear();
    for (i, Planned { op, prior }) in planned.iter().enumerate() {
        let seq = room.first_seq + wide(i);
        let (kind, expiry) = match op.change {
            Change::Put { expiry, .. } => (RecordKind::Put, expiry),
            Change::Delete => (RecordKind::Tombstone, NEVER),
        };
        let mark = if i == 0 {
            new_mark(log, writer, clock)
        } else {
            None
        };
        let fields = RecordFields {
            kind,
            keyspace: op.space.id(),
            seq,
            expiry,
            covers: covers(kind, expiry, prior.as_ref()),
            batch_follow: follow
                + u32::try_from(planned.len() - 1 - i).expect("a batch is below 2^30"),
            mark,
        };
        let offset = room.offset + wide(scratch.len());
        headers.push(record::encode(
            &mut scratch,
            place,
            offset,
            &fields,
            op.key,
            op.value(),
        ));
    }
    writer.scratch = scratch;
    headers
}

/// Until when the versions hidden by this record would live, if longer than the record itself.
fn covers(kind: RecordKind, expiry: u64, prior: Option<&Prior>) -> u64 {
    let Some(prior) = prior.filter(|_| !mutant::is_on(Mutant::CoversForgotten)) else {
        return 0;
    };
    let hidden = match prior.header {
        Some(header) => header.fields.expiry.max(header.fields.covers),
        None => NEVER,
    };
    match kind {
        RecordKind::Tombstone => hidden,
        RecordKind::Put if hidden > expiry => hidden,
        RecordKind::Put => 0,
    }
}

/// The synced-up-to mark, if it moved since the last one: it costs nothing otherwise.
fn new_mark(log: &Log, writer: &mut Writer, clock: &StoreClock) -> Option<Mark> {
    let synced_seq = match mutant::is_on(Mutant::MarkAhead) {
        true => writer.last_seq(),
        false => log.synced_seq(),
    };
    if synced_seq <= writer.marked_seq {
        return None;
    }
    writer.marked_seq = synced_seq;
    Some(Mark {
        synced_seq,
        time_ms: clock.now_ms(),
    })
}

/// Those who asked to know: the transaction under way, and watchers.
pub(crate) fn tell(
    with: &Committer<'_>,
    who: Who<'_>,
    room: &Room,
    planned: &[Planned<'_, '_>],
    headers: &[RecordHeader],
) {
    if matches!(who, Who::Plain) {
        for Planned { op, .. } in planned {
            with.touched.note(op.space.id(), op.key);
        }
    }
    if with.log.feed.is_watched() {
        announce(with.log, room, planned, headers);
    }
}

/// Makes the records visible, in log order, and counts what they replace as dead.
pub(crate) fn publish(
    with: &Committer<'_>,
    room: &Room,
    planned: &[Planned<'_, '_>],
    headers: &[RecordHeader],
) {
    let log = with.log;
    let mut offset = room.offset;
    for (Planned { op, prior }, header) in planned.iter().zip(headers) {
        let at = u32::try_from(offset).expect("segments end below 4 GiB");
        let location = Location {
            slot: room.segment.slot,
            offset: at,
        };
        let new = (header.fields.kind == RecordKind::Put).then_some(location);
        room.segment.note_live(header);
        replace(with, op, *prior, new, header.fields.seq);
        offset += header.record_len();
        match op.change {
            Change::Put { value, .. } => {
                log.counters.puts.add(1);
                log.counters
                    .user_bytes
                    .add(wide(op.key.len()) + wide(value.len()));
            }
            Change::Delete => log.counters.deletes.add(1),
        }
    }
}

/// Tells those who watch, in log order, once all of it can be read. They are woken later, without
/// the log lock.
fn announce(log: &Log, room: &Room, planned: &[Planned<'_, '_>], headers: &[RecordHeader]) {
    let mut offset = room.offset;
    for (Planned { op, prior }, header) in planned.iter().zip(headers) {
        let fields = &header.fields;
        let replaced = prior.and_then(|prior| prior.header);
        log.feed.push(&Written {
            keyspace: fields.keyspace,
            seq: fields.seq,
            key: op.key,
            put: (fields.kind == RecordKind::Put).then_some(fields.expiry),
            replaced: replaced.map(|old| (old.fields.expiry, old.fields.seq)),
            segment: room.segment.header.id,
            location: Location {
                slot: room.segment.slot,
                offset: u32::try_from(offset).expect("segments end below 4 GiB"),
            },
        });
        offset += header.record_len();
    }
}

/// Changes the keydir entry. Merge is the only other one who does, and it moves or removes an
/// entry without changing what it means; then the entry is looked up again.
pub(crate) fn replace(
    with: &Committer<'_>,
    op: &Op<'_>,
    mut prior: Option<Prior>,
    new: Option<Location>,
    seq: u64,
) {
    let log = with.log;
    loop {
        if let Some(prior) = &prior {
            let old_seq = prior.header.map_or(0, |header| header.fields.seq);
            // Kept before it leaves the keydir, so that a snapshot finds it in one or the other.
            if with.past.wants(old_seq)
                && !mutant::is_on(Mutant::SupersededNotKept)
                && let Some(segment) = log.table.load().get(prior.location.slot)
            {
                let version = Version {
                    segment: segment.clone(),
                    seq: old_seq,
                    offset: prior.location.offset,
                };
                with.past.keep(op.space, op.hash, op.key, version, seq);
            }
        }
        let old = prior.map(|prior| prior.location);
        if op.space.keydir.change(op.hash, op.key, old, new) {
            if let Some(Prior {
                location,
                header: Some(header),
            }) = prior
                && let Some(segment) = log.table.load().get(location.slot)
            {
                let fields = &header.fields;
                segment.note_dead(fields.keyspace, header.record_len(), fields.expiry);
            }
            op.space
                .keydir
                .tend(&|location| lookup::rehash(log, op.space, location));
            return;
        }
        prior = lookup::find_prior(log, op.space, op.hash, op.key).unwrap_or(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::location::KeyspaceId;

    fn prior(expiry: u64, covers: u64) -> Prior {
        let fields = RecordFields {
            kind: RecordKind::Put,
            keyspace: KeyspaceId(1),
            seq: 1,
            expiry,
            covers,
            batch_follow: 0,
            mark: None,
        };
        let header = RecordHeader {
            fields,
            key_len: 1,
            value_len: 0,
            header_len: 11,
            header_crc: 0,
            value_crc: 0,
        };
        Prior {
            location: Location {
                slot: 0,
                offset: 160,
            },
            header: Some(header),
        }
    }

    #[test]
    fn a_shorter_life_covers_the_longer_one_that_it_replaces_and_what_that_covered() {
        let put = RecordKind::Put;
        assert_eq!(covers(put, 10, Some(&prior(20, 0))), 20);
        assert_eq!(covers(put, 10, Some(&prior(5, 30))), 30);
        assert_eq!(covers(put, 10, Some(&prior(NEVER, 0))), NEVER);
        assert_eq!(covers(put, 30, Some(&prior(20, 0))), 0);
        assert_eq!(covers(put, NEVER, Some(&prior(NEVER, 0))), 0);
        assert_eq!(covers(put, 10, None), 0);
    }

    #[test]
    fn a_tombstone_covers_whatever_it_deletes() {
        let tombstone = RecordKind::Tombstone;
        assert_eq!(covers(tombstone, NEVER, Some(&prior(20, 0))), 20);
        assert_eq!(covers(tombstone, NEVER, Some(&prior(20, 90))), 90);
        let unreadable = Prior {
            location: Location {
                slot: 0,
                offset: 160,
            },
            header: None,
        };
        assert_eq!(covers(tombstone, NEVER, Some(&unreadable)), NEVER);
    }
}
