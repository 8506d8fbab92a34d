//! The appending end of the log: the active segment, how full it is, what is not yet on the
//! device. Every method runs under the log lock and leaves the writer whole when it fails:
//! nothing of a failed append can be found later.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use crate::disk::{DiskFile, How, write_all_at};
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{self, Mutant};
use crate::options::BATCH_BYTES_MAX;
use crate::segment::base::Base;
use crate::segment::data_file::{Parts, Sealed, Segment};
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::{Footer, SegmentHeader, SegmentKind, Summary};
use crate::segment::location::SegmentId;
use crate::segment::names;
use crate::segment::record::RecordHeader;

pub(crate) mod span;

/// Space is reserved at least this far ahead, so that few calls are needed.
const RESERVE_STEP_MIN: u64 = 64 << 10;
/// And at most this far, so that a small store stays small.
const RESERVE_STEP_MAX: u64 = 4 << 20;

/// A sync of a block's first bytes also changes the file's metadata, which costs the device a second
/// flush; blocks filled with zeros before spare it. Appends of more bytes fill their blocks
/// themselves: writing those twice would cost more than it spares.
const SMALL_APPEND_MAX: u64 = 4 << 10;
/// So many small durable appends in a row before any block is filled.
const SMALL_APPENDS_MIN: u32 = 4;
/// Zeros are written so far ahead: twice as far each time, up to the limit.
const FILL_STEP_MIN: u64 = 16 << 10;
const FILL_STEP_MAX: u64 = 256 << 10;
const BLOCK_LEN: u64 = 4 << 10;

/// One large value must not cost its size in memory for ever.
const SCRATCH_LEN_MAX: usize = 1 << 20;

/// The state behind the log lock.
pub(crate) struct Writer {
    active: Option<Active>,
    /// The last seq in the log.
    last_seq: u64,
    /// The seq that the next record gets; after an unclean stop not just one more.
    next_seq: u64,
    /// Sealed, but not known to be on the device; oldest first.
    unsynced: Vec<Arc<Segment>>,
    /// Given up before their first record since the last manifest: emptied, but not durably.
    given_up: Vec<SegmentId>,
    /// Segments with ids from here on stand in no manifest, not even in one that is being written.
    unlisted_from: u64,
    /// A name was made and the directory not synced since.
    directory_dirty: bool,
    /// The synced mark that was last put into a record.
    pub(crate) marked_seq: u64,
    /// Encoded records on their way; kept for its capacity.
    pub(crate) scratch: Vec<u8>,
    /// Memory for the tail of the next segment: what that of the one before took.
    buffer: Vec<u8>,
}

struct Active {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    /// Where the next record goes.
    end: u64,
    /// Up to where the map reaches; nothing may be appended past it.
    capacity: u64,
    /// Up to where blocks are reserved.
    reserved: u64,
    filling: Filling,
    summary: Summary,
    /// The last seq that is in the kernel.
    written_seq: u64,
    /// Something was appended since the last sync began.
    unsynced: bool,
}

/// How far blocks are filled with zeros.
#[derive(Default)]
struct Filling {
    /// Up to where; 0 if nowhere.
    end: u64,
    step: u64,
    /// Small durable appends since the last that was not.
    small_appends: u32,
}

/// One sync, begun under the log lock, done without it.
pub(crate) struct SyncTurn {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) directory: bool,
    /// What is on the device if all of it succeeds.
    pub(crate) seq: u64,
    /// Bytes that could not leave memory; they are not part of the turn.
    pub(crate) tail_error: Option<Error>,
    sealed: Vec<SegmentId>,
}

/// Where an append will lie.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) first_seq: u64,
}

impl Writer {
    pub(crate) fn new(last_seq: u64, next_seq: u64) -> Writer {
        Writer {
            active: None,
            last_seq,
            next_seq,
            unsynced: Vec::new(),
            given_up: Vec::new(),
            unlisted_from: 0,
            directory_dirty: false,
            marked_seq: 0,
            scratch: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(crate) fn give_up(&mut self, segments: &[SegmentId]) {
        self.given_up.extend_from_slice(segments);
    }

    /// The segments that were given up since this was asked last: before a manifest makes their ids old,
    /// that they hold nothing has to be durable.
    pub(crate) fn take_given_up(&mut self) -> Vec<SegmentId> {
        std::mem::take(&mut self.given_up)
    }

    /// A manifest is being written that may list every segment with an id below.
    pub(crate) fn note_manifest(&mut self, next_segment: u64) {
        self.unlisted_from = next_segment;
    }

    /// A reader has come up to here; for its statistics.
    pub(crate) fn note_read(&mut self, log: &Base, last_seq: u64) {
        self.last_seq = last_seq;
        log.note_last(last_seq);
    }

    /// The highest seq that anybody may have seen.
    pub(crate) fn last_given_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Finds room for up to `max` bytes of records that belong together: rotates if the active
    /// segment has none, and reserves the blocks, so that a full disk shows before anything is
    /// applied.
    ///
    /// # Errors
    /// `StorageFull`, or `Io`; nothing is changed that a caller could see.
    pub(crate) fn make_room(
        &mut self,
        log: &Base,
        now_ms: &dyn Fn() -> u64,
        max: u64,
    ) -> Result<Room> {
        let fits = |active: &Active| {
            active.end + max <= log.segment_bytes.min(active.capacity)
                || (active.end == wide(RECORDS_START) && active.end + max <= active.capacity)
        };
        check_cap(log, max)?;
        if self.active.as_ref().is_some_and(|active| !fits(active)) {
            self.seal(log)?;
        }
        if self.active.is_none() {
            self.create_segment(log, now_ms(), max)?;
        }
        // A batch has at most as many members as bytes.
        if self.next_seq.checked_add(BATCH_BYTES_MAX).is_none() {
            let what = "the store has used its last seq; export it into a new one";
            return Err(Error::new(ErrorKind::StorageFull, what));
        }
        let active = self
            .active
            .as_mut()
            .expect("made just now, or there before");
        active.reserve(log, max)?;
        Ok(Room {
            segment: active.segment.clone(),
            offset: active.end,
            first_seq: self.next_seq,
        })
    }

    /// Appends `scratch`, which holds `headers` and was encoded for the room that was made, to
    /// the bytes held in memory.
    pub(crate) fn append_buffered(&mut self, log: &Base, headers: &[RecordHeader]) -> Result<()> {
        let active = self.active.as_mut().expect("room was made");
        if active.tail_len() + wide(self.scratch.len()) > wide(log.buffer_bytes) {
            active.write_tail(log, self.last_seq)?;
        }
        active.segment.push_tail(&self.scratch);
        self.count(log, headers);
        Ok(())
    }

    /// Appends `scratch` to the file: it survives the process when this returns.
    ///
    /// If that fails the segment is sealed where it was: the next record goes to a new one,
    /// whose header voids whatever the failed write left behind.
    pub(crate) fn append_written(&mut self, log: &Base, headers: &[RecordHeader]) -> Result<()> {
        let active = self.active.as_mut().expect("room was made");
        active.write_tail(log, self.last_seq)?;
        let written = write_all_at(&*active.file, &self.scratch, active.end);
        if let Err(e) = written
            && !mutant::is_on(Mutant::PublishedBeforeWritten)
        {
            let error = Error::io("append to the segment", &active.segment.name, e);
            self.cut_back(log, &error)?;
            return Err(error);
        }
        active.segment.advance_written(wide(self.scratch.len()));
        self.count(log, headers);
        let last_seq = self.last_seq;
        if let Some(active) = self.active.as_mut() {
            active.written_seq = last_seq;
        }
        log.note_written(last_seq);
        Ok(())
    }

    /// The append that room was made for will be synced on its own: sees to it that few of these
    /// syncs have to change more than data.
    pub(crate) fn prepare_blocks(&mut self, log: &Base) {
        let len = wide(self.scratch.len());
        if let Some(active) = self.active.as_mut() {
            active.prepare_blocks(log, len);
        }
    }

    /// Hands bytes held in memory to the kernel.
    pub(crate) fn write_tail(&mut self, log: &Base) -> Result<()> {
        match &mut self.active {
            Some(active) => active.write_tail(log, self.last_seq),
            None => Ok(()),
        }
    }

    /// Whether something waits in memory.
    pub(crate) fn has_tail(&self) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.segment.tail_len() > 0)
    }

    /// Seals the active segment if nothing in it can be visible or needed any more, so that its
    /// space can come back although nobody writes. True if it was sealed.
    pub(crate) fn seal_if_expired(&mut self, log: &Base, now_ms: u64) -> Result<bool> {
        let over = self.active.as_ref().is_some_and(|active| {
            let summary = &active.summary;
            summary.records > 0 && summary.max_expiry <= now_ms && summary.max_covers <= now_ms
        });
        if over {
            self.seal(log)?;
        }
        Ok(over)
    }

    /// Whether a sealed segment is not known to be on the device.
    pub(crate) fn has_unsettled(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// Ends the active segment with a footer; the next write starts another. Not synced here.
    pub(crate) fn seal(&mut self, log: &Base) -> Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        active.write_tail(log, self.last_seq)?;
        if active.summary.records == 0 {
            self.discard_empty(log);
            return Ok(());
        }
        let file_len = active.write_footer(log)?;
        self.retire_active(log, file_len);
        Ok(())
    }

    // ---- sync turns

    /// What a sync has to cover now. Bytes held in memory go to the kernel first; if they
    /// cannot, the turn covers what is there.
    pub(crate) fn begin_sync(&mut self, log: &Base) -> SyncTurn {
        let tail_error = self.write_tail(log).err();
        let mut segments = self.unsynced.clone();
        let sealed = segments.iter().map(|segment| segment.header.id).collect();
        let mut seq = self.last_seq;
        if let Some(active) = &mut self.active {
            if tail_error.is_some() {
                seq = active.written_seq;
            }
            if std::mem::take(&mut active.unsynced) {
                segments.push(active.segment.clone());
            }
        }
        let directory = std::mem::take(&mut self.directory_dirty);
        SyncTurn {
            segments,
            directory,
            seq,
            tail_error,
            sealed,
        }
    }

    /// The turn succeeded.
    pub(crate) fn end_sync(&mut self, turn: &SyncTurn) {
        self.unsynced.retain(|segment| {
            let done = turn.sealed.contains(&segment.header.id);
            if done {
                segment.release_file();
                segment.synced.store(true, Ordering::Release);
            }
            !done
        });
    }

    // ---- within

    fn count(&mut self, log: &Base, headers: &[RecordHeader]) {
        let active = self.active.as_mut().expect("room was made");
        for header in headers {
            active.summary.add(header);
        }
        active.end = active.summary.data_len;
        active.unsynced = true;
        log.counters.written_bytes.add(wide(self.scratch.len()));
        if self.scratch.capacity() > SCRATCH_LEN_MAX {
            self.scratch = Vec::new();
        }
        self.next_seq += headers.len() as u64;
        self.last_seq = self.next_seq - 1;
        log.note_last(self.last_seq);
    }

    fn create_segment(&mut self, log: &Base, now_ms: u64, max: u64) -> Result<()> {
        let seqs = (self.last_seq, self.next_seq);
        self.active = Some(self.new_segment(log, seqs, now_ms, max)?);
        Ok(())
    }

    /// A segment behind `prior_seq`, the first record of which gets `base_seq`.
    fn new_segment(
        &mut self,
        log: &Base,
        (prior_seq, base_seq): (u64, u64),
        now_ms: u64,
        max: u64,
    ) -> Result<Active> {
        let header = SegmentHeader {
            store_id: log.store_id,
            id: log.new_segment_id()?,
            salt: log.random_u64()?,
            base_seq,
            prior_seq,
            created_ms: now_ms,
            kind: SegmentKind::User,
            life_class: 0,
        };
        let name = names::segment(header.id);
        let file = log.disk.open(&name, How::CreateNew);
        let file = file.map_err(|e| Error::io("create a segment", &name, e))?;
        let made = self.fill_new(log, header, file, &name, max);
        if made.is_err() {
            // Nothing was written to it; a leftover is removed when the store opens.
            let _first_error_counts = log.disk.remove(&name);
        }
        made
    }

    fn fill_new(
        &mut self,
        log: &Base,
        header: SegmentHeader,
        file: Arc<dyn DiskFile>,
        name: &str,
        max: u64,
    ) -> Result<Active> {
        write_all_at(&*file, &header.encode_file_start(), 0)
            .map_err(|e| Error::io("write the segment header", name, e))?;
        log.counters.written_bytes.add(wide(RECORDS_START));
        let capacity = log.segment_bytes.max(wide(RECORDS_START) + max);
        let segment = log.table.add(|slot| {
            Segment::new(Parts {
                header,
                slot,
                disk: log.disk.clone(),
                file: file.clone(),
                map_len: Some(capacity),
                written: wide(RECORDS_START),
                sealed: None,
            })
        })?;
        segment.swap_buffer(&mut self.buffer);
        self.directory_dirty = true;
        Ok(Active {
            segment,
            file,
            end: wide(RECORDS_START),
            capacity,
            reserved: wide(RECORDS_START),
            filling: Filling::default(),
            summary: Summary::empty(),
            written_seq: self.last_seq,
            unsynced: true,
        })
    }

    /// An append failed after it may have written something.
    fn cut_back(&mut self, log: &Base, cause: &Error) -> Result<()> {
        let Some(active) = &self.active else {
            return Ok(());
        };
        if mutant::is_on(Mutant::FailedAppendLeft) {
            return Ok(());
        }
        if let Err(e) = active.file.set_len(active.end) {
            let error = Error::io("cut back a failed append", &active.segment.name, e);
            tracing::error!(%error, "after a failed append");
            return Err(log.poison(cause.clone()));
        }
        if active.summary.records == 0 {
            self.discard_empty(log);
        } else {
            let end = active.end;
            self.retire_active(log, end);
        }
        Ok(())
    }

    /// The active segment becomes a sealed one that is still to be synced.
    fn retire_active(&mut self, log: &Base, file_len: u64) {
        if let Some(active) = self.active.take() {
            active.segment.swap_buffer(&mut self.buffer);
            active.segment.set_sealed(Sealed {
                summary: active.summary,
                file_len,
            });
            self.unsynced.push(active.segment);
            log.counters.rotations.add(1);
        }
    }

    /// An active segment without a record is removed, so that writes which fail again and again leave no
    /// files. If a manifest may list it, and would miss it, an empty file stays, which the next open
    /// removes. That the name is gone is durable before a manifest makes the id old, and before
    /// anything is acknowledged in the next segment: both sync the directory.
    fn discard_empty(&mut self, log: &Base) {
        let Some(active) = self.active.take() else {
            return;
        };
        log.table.remove(std::slice::from_ref(&active.segment));
        let id = active.segment.header.id;
        let gone = id.0 >= self.unlisted_from && log.disk.remove(&active.segment.name).is_ok();
        if !gone {
            // If this fails: one that keeps its header holds no record either.
            let _harmless = active.file.set_len(0);
            self.give_up(&[id]);
        }
    }
}

impl Active {
    /// Bytes that are held in memory: what the kernel has not got of what was appended.
    fn tail_len(&self) -> u64 {
        self.end - self.segment.written()
    }

    /// Reserves blocks for `max` bytes more, and some ahead unless space is short.
    fn reserve(&mut self, log: &Base, max: u64) -> Result<()> {
        let need = self.end + max;
        if need <= self.reserved {
            return Ok(());
        }
        let step = match log.is_lean() {
            true => 0,
            false => (self.reserved / 2).clamp(RESERVE_STEP_MIN, RESERVE_STEP_MAX),
        };
        let mut ahead = (need + step).min(self.capacity.max(need));
        if log.admit(ahead - self.reserved).is_err() {
            log.admit(need - self.reserved)?;
            ahead = need;
        }
        let result = self.file.reserve(ahead).map(|()| ahead);
        let result = match result {
            Err(e) if is_full(&e) => self.file.reserve(need).map(|()| need),
            other => other,
        };
        self.reserved = match result {
            Ok(reserved) => reserved,
            // The file system cannot: a full disk then shows at the write itself.
            Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {
                // Under a cap each further append is still asked for.
                if log.is_capped() { ahead } else { u64::MAX }
            }
            Err(e) => return Err(Error::io("reserve space in", &self.segment.name, e)),
        };
        Ok(())
    }

    /// Ends the file with a footer, or without one if there is no room: as after a crash. Answers
    /// with its length.
    fn write_footer(&self, log: &Base) -> Result<u64> {
        let footer = Footer {
            header: self.segment.header.clone(),
            summary: self.summary,
            group: None,
            keyspaces: log.keyspace_entries().as_ref().clone(),
        };
        let bytes = footer.encode();
        let with_footer = self.end + wide(bytes.len());
        let ended = write_all_at(&*self.file, &bytes, self.end)
            .and_then(|()| self.file.set_len(with_footer));
        match ended {
            Ok(()) => {
                log.counters.written_bytes.add(wide(bytes.len()));
                Ok(with_footer)
            }
            Err(e) => {
                let cut = self.file.set_len(self.end);
                cut.map_err(|_| Error::io("seal the segment", &self.segment.name, e))?;
                Ok(self.end)
            }
        }
    }

    /// Fills blocks ahead of small durable appends, as far as they are reserved.
    fn prepare_blocks(&mut self, log: &Base, len: u64) {
        let (need, filling) = (self.end + len, &mut self.filling);
        if len > SMALL_APPEND_MAX || log.is_lean() {
            *filling = Filling {
                end: filling.end,
                ..Filling::default()
            };
            return;
        }
        filling.small_appends = filling.small_appends.saturating_add(1);
        if need <= filling.end || filling.small_appends < SMALL_APPENDS_MIN {
            return;
        }
        // The block that the log ends in was written with the record before.
        let from = self.end.next_multiple_of(BLOCK_LEN).max(filling.end);
        filling.step = (filling.step * 2).clamp(FILL_STEP_MIN, FILL_STEP_MAX);
        let to = (from + filling.step).min(self.reserved);
        if self.reserved == u64::MAX || from >= to {
            return;
        }
        // It is only ever a preparation: what is wrong with the file the append itself tells.
        filling.end = to;
        if let Ok(written) = self.file.fill_reserved(from, to) {
            log.counters.written_bytes.add(written);
        }
    }

    fn write_tail(&mut self, log: &Base, last_seq: u64) -> Result<()> {
        let (file, name) = (&self.file, &self.segment.name);
        let written = self.segment.write_tail(|bytes, at| {
            write_all_at(&**file, bytes, at)
                .map_err(|e| Error::io("write buffered records to", name, e))
        })?;
        if written > 0 {
            self.written_seq = last_seq;
            self.unsynced = true;
            log.note_written(last_seq);
        }
        Ok(())
    }
}

/// Under a cap no segment may grow beyond what is kept for merging it.
fn check_cap(log: &Base, max: u64) -> Result<()> {
    if log.is_capped() && wide(RECORDS_START) + max > log.segment_bytes {
        return Err(Error::invalid(format!(
            "under a space cap a record or batch fits a segment: {max} bytes are more than \
             the {} of Options::segment_bytes",
            log.segment_bytes
        )));
    }
    Ok(())
}

fn is_full(error: &std::io::Error) -> bool {
    Error::io("", "", std::io::Error::from(error.kind())).kind() == ErrorKind::StorageFull
}
