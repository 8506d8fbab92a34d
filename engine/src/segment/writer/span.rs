//! A batch that is written over several segments, made for it one after the other: each holds a
//! part, and each says in its header that the part before it is what came before. Nothing of it
//! counts until its last record is written; until then the writer is as it was, and it can be
//! taken back. Why recovery finds it whole or absent: docs/format.md, "Batches".

use std::sync::Arc;

use super::{Active, Room, Writer, check_cap};
use crate::disk::write_all_at;
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{self, Mutant};
use crate::segment::base::Base;
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::record::RecordHeader;

/// A batch on its way. It is ended by `end_span` or `abandon_span`, under the log lock under which
/// it was begun.
pub(crate) struct Span {
    /// Oldest first; all but the last are full.
    parts: Vec<Part>,
    next_seq: u64,
}

struct Part {
    active: Active,
    /// With the footer, once it has one.
    file_len: u64,
}

/// A part of a batch that was written, for the one who makes it visible.
pub(crate) struct Written {
    pub(crate) segment: Arc<Segment>,
    /// Its records lie before this offset.
    pub(crate) end: u64,
}

impl Writer {
    /// Begins a batch of `records` records, in segments of its own.
    ///
    /// # Errors
    /// `StorageFull` if there are no seqs for them; as `seal`.
    pub(crate) fn begin_span(&mut self, log: &Base, records: u64) -> Result<Span> {
        if self.next_seq.checked_add(records).is_none() {
            let what = "the store has used its last seq; export it into a new one";
            return Err(Error::new(ErrorKind::StorageFull, what));
        }
        self.seal(log)?;
        Ok(Span {
            parts: Vec::new(),
            next_seq: self.next_seq,
        })
    }

    /// Finds room for up to `max` bytes of the next records, in the part under way or a new one.
    ///
    /// # Errors
    /// As `make_room`; the batch is then to be abandoned.
    pub(crate) fn span_room(
        &mut self,
        log: &Base,
        span: &mut Span,
        now_ms: &dyn Fn() -> u64,
        max: u64,
    ) -> Result<Room> {
        check_cap(log, max)?;
        if max > span.left(log) {
            let before = match span.parts.is_empty() {
                true => self.last_seq,
                false => span.next_seq - 1,
            };
            let seqs = (before, span.next_seq);
            let active = self.new_segment(log, seqs, now_ms(), max)?;
            let file_len = active.end;
            span.parts.push(Part { active, file_len });
        }
        let part = span
            .parts
            .last_mut()
            .expect("made just now, or there before");
        part.active.reserve(log, max)?;
        Ok(Room {
            segment: part.active.segment.clone(),
            offset: part.active.end,
            first_seq: span.next_seq,
        })
    }

    /// Appends `scratch`, which holds `headers` and was encoded for the room that was found.
    /// `ends` says that the batch ends with it: before its last record is written, all full parts
    /// get their footers, so that nothing can fail afterwards.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; the batch is then to be abandoned.
    pub(crate) fn span_append(
        &mut self,
        log: &Base,
        span: &mut Span,
        headers: &[RecordHeader],
        ends: bool,
    ) -> Result<()> {
        let (last, full) = span.parts.split_last_mut().expect("room was found");
        if ends {
            for part in full {
                part.file_len = part.active.write_footer(log)?;
            }
        }
        let active = &mut last.active;
        write_all_at(&*active.file, &self.scratch, active.end)
            .map_err(|e| Error::io("append to the segment", &active.segment.name, e))?;
        active.segment.advance_written(wide(self.scratch.len()));
        for header in headers {
            active.summary.add(header);
        }
        active.end = active.summary.data_len;
        log.counters.written_bytes.add(wide(self.scratch.len()));
        span.next_seq += wide(headers.len());
        Ok(())
    }

    /// All of it is written: it is in the log from here on, and what follows goes behind it.
    pub(crate) fn end_span(&mut self, log: &Base, span: Span) -> Vec<Written> {
        let written = |part: &Part| Written {
            segment: part.active.segment.clone(),
            end: part.active.end,
        };
        let parts: Vec<Written> = span.parts.iter().map(written).collect();
        self.next_seq = span.next_seq;
        self.last_seq = self.next_seq - 1;
        let mut file_len = None;
        for mut part in span.parts {
            // The one before it is full, and makes place for it.
            if let Some(full) = file_len {
                self.retire_active(log, full);
            }
            part.active.written_seq = self.last_seq;
            self.active = Some(part.active);
            file_len = Some(part.file_len);
        }
        log.note_last(self.last_seq);
        log.note_written(self.last_seq);
        parts
    }

    /// Takes back what was written of it: none of it was whole, so no reader has seen it. Its files are removed, as
    /// no manifest can list them: that takes the log lock too. Who still holds one of them reads what was written.
    ///
    /// # Errors
    /// `cause`, and the store is poisoned, if a part can neither be removed nor emptied.
    pub(crate) fn abandon_span(&mut self, log: &Base, span: Span, cause: &Error) -> Result<()> {
        if mutant::is_on(Mutant::FailedAppendLeft) {
            return Ok(());
        }
        for Part { active, .. } in span.parts.into_iter().rev() {
            log.table.remove(std::slice::from_ref(&active.segment));
            if log.disk.remove(&active.segment.name).is_ok() {
                continue;
            }
            self.give_up(&[active.segment.header.id]);
            if let Err(e) = active.file.set_len(0) {
                let error = Error::io("empty a part of a batch", &active.segment.name, e);
                tracing::error!(%error, "after a failed append");
                return Err(log.poison(cause.clone()));
            }
        }
        Ok(())
    }
}

impl Span {
    /// How many bytes the part under way has room for.
    pub(crate) fn left(&self, log: &Base) -> u64 {
        self.parts.last().map_or(0, |part| {
            let end = log.part_bytes.min(part.active.capacity);
            end.saturating_sub(part.active.end)
        })
    }

    /// How many bytes a new part has room for.
    pub(crate) fn part_room(log: &Base) -> u64 {
        log.part_bytes.saturating_sub(wide(RECORDS_START))
    }
}
