//! The log read by seq, for one who was not there when it was written. The segments that writes
//! made hold every seq in order until merge takes them; what merge left of them is not a history.
//! Nothing is pinned: a segment is held only while it is read.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::segment::base::Base;
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::SegmentKind;
use crate::segment::location::{KeyspaceId, Location, SegmentId};
use crate::segment::record::RecordKind;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// A place in the history of a store.
pub(crate) struct History {
    /// Everything up to this seq was read.
    position: u64,
    reading: Option<Reading>,
}

struct Reading {
    segment: Arc<Segment>,
    offset: u64,
}

/// A record as the history tells it.
pub(crate) struct Logged {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) seq: u64,
    pub(crate) key: Box<[u8]>,
    /// `None` for a tombstone; else the expiry.
    pub(crate) put: Option<u64>,
    pub(crate) segment: SegmentId,
    pub(crate) location: Location,
}

/// The smallest seq after which everything is still there, of a log whose last seq is `last_seq`.
pub(crate) fn earliest(log: &Base, last_seq: u64) -> u64 {
    let mut segments = user_segments(log);
    segments.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.header.base_seq));
    let mut from = last_seq;
    for segment in segments {
        // The one in which the log ends, then each that ends where the one behind it begins.
        if end_of(&segment).is_some_and(|end| end != from) {
            break;
        }
        from = segment.header.prior_seq;
    }
    from
}

/// The last seq of a sealed segment; that of the active one moves.
fn end_of(segment: &Segment) -> Option<u64> {
    segment.sealed().map(|sealed| sealed.summary.max_seq)
}

fn user_segments(log: &Base) -> Vec<Arc<Segment>> {
    let table = log.table.load();
    let users = table
        .iter()
        .filter(|segment| segment.header.kind == SegmentKind::User);
    users.cloned().collect()
}

impl History {
    /// From the write after `seq` on.
    pub(crate) fn after(seq: u64) -> History {
        History {
            position: seq,
            reading: None,
        }
    }

    /// Everything up to this seq was read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next record up to `last_seq`, which must be visible; `None` when that was read.
    ///
    /// # Errors
    /// `HistoryGone` if merge took the next record; `Corrupted` with file and offset if one does
    /// not hold: the next call goes on behind it.
    pub(crate) fn next(&mut self, log: &Base, last_seq: u64) -> Result<Option<Logged>> {
        while self.position < last_seq {
            let Some(reading) = &mut self.reading else {
                self.reading = Some(self.find(log, last_seq)?);
                continue;
            };
            if let Some(sealed) = reading.segment.sealed()
                && reading.offset >= sealed.summary.data_len
            {
                self.position = self.position.max(sealed.summary.max_seq);
                self.reading = None;
                continue;
            }
            match reading.next() {
                Ok(past) if past.seq > self.position => {
                    self.position = past.seq;
                    return Ok(Some(past));
                }
                Ok(_) => {}
                // It was sealed between the two looks, and there is no further record.
                Err(_) if reading.is_at_end() => {}
                Err(error) => {
                    if reading.skip_damage() {
                        self.position = last_seq;
                    }
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// The segment in which the next record lies.
    fn find(&self, log: &Base, last_seq: u64) -> Result<Reading> {
        let holds = |segment: &Arc<Segment>| {
            segment.header.prior_seq <= self.position
                && end_of(segment).is_none_or(|end| self.position < end)
        };
        match user_segments(log).into_iter().find(holds) {
            Some(segment) => Ok(Reading {
                segment,
                offset: wide(RECORDS_START),
            }),
            None => Err(Error::history_gone(self.position, earliest(log, last_seq))),
        }
    }
}

impl Reading {
    fn next(&mut self) -> Result<Logged> {
        let (segment, offset) = (&self.segment, self.offset);
        let location = Location {
            slot: segment.slot,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        let (past, len) = segment.look(offset, |header, key| {
            let fields = &header.fields;
            let past = Logged {
                keyspace: fields.keyspace,
                seq: fields.seq,
                key: key.into(),
                put: (fields.kind == RecordKind::Put).then_some(fields.expiry),
                segment: segment.header.id,
                location,
            };
            (past, header.record_len())
        })?;
        self.offset += len;
        Ok(past)
    }

    fn is_at_end(&self) -> bool {
        let sealed = self.segment.sealed();
        sealed.is_some_and(|sealed| self.offset >= sealed.summary.data_len)
    }

    /// To the next record that holds, or to the end; true if that is where records are appended.
    fn skip_damage(&mut self) -> bool {
        let end = self
            .segment
            .sealed()
            .map_or(self.segment.written(), |s| s.summary.data_len);
        let bytes = self.segment.readable_bytes();
        let gap = bytes.ok().and_then(|bytes| {
            let options = ScanOptions {
                check_values: false,
            };
            let header = &self.segment.header;
            let first =
                Scan::resume(bytes.as_ref(), end, header, options, self.offset, None).next();
            match first {
                Some(ScanItem::Gap { offset, len }) => Some(offset + len),
                _ => None,
            }
        });
        self.offset = gap.unwrap_or(end);
        self.segment.sealed().is_none() && self.offset >= self.segment.written()
    }
}
