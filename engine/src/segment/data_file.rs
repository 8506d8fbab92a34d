//! One segment in memory: its header, its bytes (mapped, or still held back in the tail), what is
//! live in it. It reads and checks records at an offset; it never decides which records are
//! current and never writes by itself: the log does. Bytes are described in docs/format.md.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::bytes::FileBytes;
use crate::disk::map::Map;
use crate::disk::tolerant::{Unreadable, read_patiently};
use crate::disk::{Disk, DiskFile, How};
use crate::error::{Error, Result};
use crate::segment::by_position::Reading;
use crate::segment::format::{NEVER, RECORDS_START, wide};
use crate::segment::header::{SegmentHeader, Summary};
use crate::segment::hint_file::Hint;
use crate::segment::live::Live;
use crate::segment::location::KeyspaceId;
use crate::segment::names;
use crate::segment::record::{self, RecordFault, RecordHeader, RecordKind};
use crate::segment::totals::{Holdings, Totals};

/// One large batch must not cost its size in memory for ever.
const BUFFER_KEPT_MAX: usize = 1 << 20;

/// A segment of the log.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    /// Index in the table of open segments.
    pub(crate) slot: u16,
    pub(crate) name: String,
    disk: Arc<dyn Disk>,
    map: Option<Map>,
    /// Kept open while written or unsynced, and where there is no map.
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Bytes before it are in the kernel and never change.
    written: AtomicU64,
    /// Guards the bytes after `written`, which exist in memory alone.
    tail: RwLock<Vec<u8>>,
    /// Set once, when nothing is appended any more.
    sealed: RwLock<Option<Sealed>>,
    pub(crate) synced: AtomicBool,
    /// There is a hint file.
    pub(crate) hinted: AtomicBool,
    /// Parsed once, when merge first asks for it; mapped, so it costs no memory of ours.
    pub(crate) hint: OnceLock<Arc<Hint<FileBytes>>>,
    /// Holds a record that could not be read: merge leaves it alone.
    damaged: AtomicBool,
    /// Some record may expire; else counting needs to read none.
    pub(crate) may_expire: AtomicBool,
    /// The last seq when a merge had written it; 0 if that is not known.
    pub(crate) made_at: AtomicU64,
    /// A merge may retire tombstones here if the log lost dead puts since this count.
    pub(crate) tombstones_tried: AtomicU64,
    /// Guards what is live here.
    live: Mutex<Counted>,
    /// Where it is counted, once it is in the table.
    totals: OnceLock<Arc<Totals>>,
}

/// What is live, and whether the totals know of it.
#[derive(Default)]
struct Counted {
    live: Live,
    counts: bool,
}

/// What is known of a segment that is no longer appended to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) summary: Summary,
    /// With the footer.
    pub(crate) file_len: u64,
}

/// A record that was found where it should be; header and key hold.
pub(crate) struct Record {
    pub(crate) header: RecordHeader,
    pub(crate) bytes: Lent,
}

impl Record {
    /// The bytes of the value.
    pub(crate) fn value(&self) -> &[u8] {
        let bytes = self.bytes.as_slice();
        bytes.get(self.header.value_range()).unwrap_or_default()
    }
}

/// Bytes of a segment that outlive the call: a reference to its map, or a copy.
#[derive(Clone)]
pub(crate) enum Lent {
    Mapped {
        segment: Arc<Segment>,
        start: usize,
        len: usize,
    },
    Copied(Bytes),
}

impl Lent {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Lent::Mapped {
                segment,
                start,
                len,
            } => {
                // The range was checked when it was lent, and a map does not shrink.
                segment
                    .map
                    .as_ref()
                    .and_then(|map| map.written(*start, *len))
                    .unwrap_or_default()
            }
            Lent::Copied(bytes) => bytes,
        }
    }

    /// A part of these bytes; empty where the range lies outside.
    pub(crate) fn part(&self, from: usize, part_len: usize) -> Lent {
        match self {
            Lent::Mapped {
                segment,
                start,
                len,
            } => {
                let from = from.min(*len);
                let part_len = part_len.min(len - from);
                Lent::Mapped {
                    segment: segment.clone(),
                    start: start + from,
                    len: part_len,
                }
            }
            Lent::Copied(bytes) => {
                let from = from.min(bytes.len());
                let end = (from + part_len).min(bytes.len());
                Lent::Copied(bytes.slice(from..end))
            }
        }
    }
}

/// How a segment enters the table.
pub(crate) struct Parts {
    pub(crate) header: SegmentHeader,
    pub(crate) slot: u16,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// How long the map is to be: the data, or all that may be appended. `None` where the file may
    /// lose bytes beneath a map, since another process appends to it.
    pub(crate) map_len: Option<u64>,
    pub(crate) written: u64,
    pub(crate) sealed: Option<Sealed>,
}

impl Segment {
    pub(crate) fn new(parts: Parts) -> Result<Segment> {
        let name = names::segment(parts.header.id);
        let map = match parts.map_len {
            Some(len) => parts.file.map(len.max(wide(RECORDS_START))),
            None => Ok(None),
        };
        let map = map.map_err(|e| Error::io("map the segment", &name, e))?;
        let sealed = parts.sealed;
        let expires = sealed.is_none_or(|s| s.summary.min_expiry != NEVER);
        Ok(Segment {
            slot: parts.slot,
            disk: parts.disk,
            map,
            file: Mutex::new(Some(parts.file)),
            written: AtomicU64::new(parts.written),
            tail: RwLock::new(Vec::new()),
            sealed: RwLock::new(sealed),
            synced: AtomicBool::new(sealed.is_some()),
            hinted: AtomicBool::new(false),
            hint: OnceLock::new(),
            damaged: AtomicBool::new(false),
            may_expire: AtomicBool::new(expires && sealed.is_some()),
            made_at: AtomicU64::new(0),
            tombstones_tried: AtomicU64::new(0),
            live: Mutex::new(Counted::default()),
            totals: OnceLock::new(),
            header: parts.header,
            name,
        })
    }

    // ---- reading

    /// The record at `offset`, with its checksums verified; the value's only if `with_value`.
    pub(crate) fn read(self: &Arc<Segment>, offset: u64, with_value: bool) -> Result<Record> {
        let place = self.header.place();
        let fault = |fault: RecordFault| Error::corrupted(&self.name, offset, fault);
        let record = match self.mapped_from(offset) {
            Some((start, bytes)) => {
                let header = record::decode(bytes, place, offset).map_err(fault)?;
                let len = to_len(header.record_len());
                Record {
                    header,
                    bytes: Lent::Mapped {
                        segment: self.clone(),
                        start,
                        len,
                    },
                }
            }
            None => {
                let copy = self.copy_of_record(offset)?;
                let header = record::decode(&copy, place, offset).map_err(fault)?;
                Record {
                    header,
                    bytes: Lent::Copied(copy.into()),
                }
            }
        };
        if with_value
            && !record::value_holds(record.bytes.as_slice(), &record.header, place, offset)
        {
            let what = "the value's checksum does not hold";
            return Err(Error::corrupted(&self.name, offset, what));
        }
        Ok(record)
    }

    /// Looks at header and key of the record at `offset`, lending nothing.
    pub(crate) fn look<T>(
        &self,
        offset: u64,
        look: impl FnOnce(&RecordHeader, &[u8]) -> T,
    ) -> Result<T> {
        let place = self.header.place();
        let fault = |fault: RecordFault| Error::corrupted(&self.name, offset, fault);
        if let Some((_, bytes)) = self.mapped_from(offset) {
            let header = record::decode(bytes, place, offset).map_err(fault)?;
            return Ok(look(&header, header.key(bytes)));
        }
        let copy = self.copy_of_record(offset)?;
        let header = record::decode(&copy, place, offset).map_err(fault)?;
        Ok(look(&header, header.key(&copy)))
    }

    /// All bytes that are in the kernel, for a scan.
    pub(crate) fn all_bytes(&self) -> Result<Cow<'_, [u8]>> {
        match self.read_all()? {
            (bytes, None) => Ok(bytes),
            (_, Some(lost)) => Err(Error::unreadable(
                "read the segment",
                &self.name,
                lost.error,
            )),
        }
    }

    /// The same; what the device cannot read is zeros, which a scan takes for a gap.
    pub(crate) fn readable_bytes(&self) -> Result<Cow<'_, [u8]>> {
        Ok(self.read_all()?.0)
    }

    fn read_all(&self) -> Result<(Cow<'_, [u8]>, Option<Unreadable>)> {
        let written = to_len(self.written.load(Ordering::Acquire));
        if let Some(bytes) = self.map.as_ref().and_then(|map| map.written(0, written)) {
            return Ok((bytes.into(), None));
        }
        let read = read_patiently(&*self.open_file(How::Read)?, 0, written);
        let (bytes, unreadable) = read.map_err(|e| Error::io("read the segment", &self.name, e))?;
        Ok((bytes.into(), unreadable))
    }

    /// From `offset` to the end of what is in the kernel, if there is a map and it covers that.
    fn mapped_from(&self, offset: u64) -> Option<(usize, &[u8])> {
        let map = self.map.as_ref()?;
        let written = self.written.load(Ordering::Acquire);
        let len = written.checked_sub(offset).filter(|len| *len > 0)?;
        let start = usize::try_from(offset).ok()?;
        Some((start, map.written(start, usize::try_from(len).ok()?)?))
    }

    /// Header, key and value copied out of the tail, or read where there is no map.
    fn copy_of_record(&self, offset: u64) -> Result<Vec<u8>> {
        {
            let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
            // Under the tail's lock, `written` is where the tail starts.
            let written = self.written.load(Ordering::Acquire);
            if offset >= written {
                let start = to_len(offset - written);
                let bytes = tail.get(start..).unwrap_or_default();
                return self.cut_record(bytes, offset).map(<[u8]>::to_vec);
            }
        }
        if let Some((_, bytes)) = self.mapped_from(offset) {
            // It left the tail between the two looks.
            return self.cut_record(bytes, offset).map(<[u8]>::to_vec);
        }
        self.read_record(offset)
    }

    fn cut_record<'a>(&self, bytes: &'a [u8], offset: u64) -> Result<&'a [u8]> {
        let header = record::decode(bytes, self.header.place(), offset)
            .map_err(|fault| Error::corrupted(&self.name, offset, fault))?;
        Ok(bytes.get(..to_len(header.record_len())).unwrap_or(bytes))
    }

    fn read_record(&self, offset: u64) -> Result<Vec<u8>> {
        let reading = Reading {
            file: &*self.open_file(How::Read)?,
            name: &self.name,
            place: self.header.place(),
            offset,
            available: self.written().saturating_sub(offset),
        };
        reading.record()
    }

    // ---- writing, for the log alone

    /// The file, kept or opened anew.
    pub(crate) fn open_file(&self, how: How) -> Result<Arc<dyn DiskFile>> {
        let mut kept = lock(&self.file);
        if let Some(file) = &*kept {
            return Ok(file.clone());
        }
        let file = self.disk.open(&self.name, how);
        let file = file.map_err(|e| Error::io("open the segment", &self.name, e))?;
        if self.map.is_none() {
            *kept = Some(file.clone());
        }
        Ok(file)
    }

    /// Lets the file go once it is sealed and synced; a map needs no descriptor.
    pub(crate) fn release_file(&self) {
        if self.map.is_some() {
            *lock(&self.file) = None;
        }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn tail_len(&self) -> usize {
        self.tail
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Appends records to the tail in memory.
    pub(crate) fn push_tail(&self, records: &[u8]) {
        self.tail
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(records);
        self.shift_files(0, wide(records.len()));
    }

    /// Hands the tail to `write` and forgets it if that succeeds. Readers may look on meanwhile.
    pub(crate) fn write_tail(&self, write: impl FnOnce(&[u8], u64) -> Result<()>) -> Result<u64> {
        let len = {
            let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
            if tail.is_empty() {
                return Ok(0);
            }
            write(&tail, self.written())?;
            wide(tail.len())
        };
        // Only the holder of the log lock appends, and that is the caller: the length stands.
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        self.written.fetch_add(len, Ordering::AcqRel);
        tail.clear();
        if tail.capacity() > BUFFER_KEPT_MAX.max(2 * to_len(len)) {
            *tail = Vec::new();
        }
        self.shift_files(len, 0);
        Ok(len)
    }

    /// Exchanges the memory of the tail, of which everything was written: a sealed segment needs none,
    /// and a new one takes it over.
    pub(crate) fn swap_buffer(&self, buffer: &mut Vec<u8>) {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        if tail.is_empty() {
            std::mem::swap(&mut *tail, buffer);
        }
    }

    /// Bytes that went past the tail were written; there must be no tail.
    pub(crate) fn advance_written(&self, len: u64) {
        self.written.fetch_add(len, Ordering::AcqRel);
        self.shift_files(len, len);
    }

    pub(crate) fn set_sealed(&self, sealed: Sealed) {
        let before = self.in_files();
        *self.sealed.write().unwrap_or_else(PoisonError::into_inner) = Some(sealed);
        if let Some(totals) = self.totals.get() {
            totals.shift(before, self.in_files());
        }
    }

    pub(crate) fn sealed(&self) -> Option<Sealed> {
        *self.sealed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sealed and on the device: merge and hints may take it for what it is.
    pub(crate) fn is_settled(&self) -> bool {
        self.synced.load(Ordering::Acquire) && self.sealed().is_some()
    }

    /// Whether a record of it could not be read: merge leaves such a segment alone.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// A record of it could not be read; so it stays until the store is opened again.
    pub(crate) fn mark_damaged(&self) {
        let counted = lock(&self.live);
        if !self.damaged.swap(true, Ordering::AcqRel)
            && let Some(totals) = self.totals.get().filter(|_| counted.counts)
        {
            let damaged = Holdings {
                damaged: 1,
                ..Holdings::default()
            };
            totals.shift(Holdings::default(), damaged);
        }
    }

    // ---- what is live

    pub(crate) fn note_live(&self, header: &RecordHeader) {
        let fields = &header.fields;
        let len = header.record_len();
        match fields.kind {
            RecordKind::Put => self.add_live(fields.keyspace, len, fields.expiry),
            RecordKind::Tombstone => self.change_live(|live| live.tombstone_bytes += len),
        }
    }

    pub(crate) fn add_live(&self, keyspace: KeyspaceId, len: u64, expiry: u64) {
        if expiry != NEVER {
            self.may_expire.store(true, Ordering::Release);
        }
        self.change_live(|live| live.add(keyspace, len, expiry, self.header.created_ms));
    }

    /// A put of this segment is no longer current.
    pub(crate) fn note_dead(&self, keyspace: KeyspaceId, len: u64, expiry: u64) {
        self.change_live(|live| live.remove(keyspace, len, expiry, self.header.created_ms));
    }

    /// Everything of a dropped keyspace is dead.
    pub(crate) fn drop_keyspace(&self, keyspace: KeyspaceId) {
        self.change_live(|live| live.drop_keyspace(keyspace));
    }

    /// Takes over what recovery or a merge counted.
    pub(crate) fn set_live(&self, live: Live) {
        self.change_live(|old| *old = live);
    }

    /// Adds what a part of recovery counted.
    pub(crate) fn add_all_live(&self, more: &Live) {
        if more.expires() {
            self.may_expire.store(true, Ordering::Release);
        }
        self.change_live(|live| live.absorb(more));
    }

    pub(crate) fn live(&self) -> Live {
        lock(&self.live).live.clone()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        lock(&self.live).live.bytes()
    }

    pub(crate) fn live_of(&self, keyspace: KeyspaceId) -> (u64, u64) {
        lock(&self.live).live.of(keyspace)
    }

    pub(crate) fn tombstone_bytes(&self) -> u64 {
        lock(&self.live).live.tombstone_bytes
    }

    /// About how many live bytes have expired by `now_ms`.
    pub(crate) fn expired_bytes(&self, now_ms: u64) -> u64 {
        lock(&self.live).live.expired(now_ms)
    }

    // ---- the totals

    /// It is in the table now.
    pub(crate) fn enter(&self, totals: &Arc<Totals>) {
        let totals = self.totals.get_or_init(|| totals.clone());
        let mut counted = lock(&self.live);
        counted.counts = true;
        totals.shift(Holdings::default(), self.holdings(&counted.live));
    }

    /// It has left the table.
    pub(crate) fn leave(&self) {
        let mut counted = lock(&self.live);
        if let Some(totals) = self.totals.get().filter(|_| counted.counts) {
            counted.counts = false;
            totals.shift(self.holdings(&counted.live), Holdings::default());
        }
    }

    fn change_live(&self, change: impl FnOnce(&mut Live)) {
        let mut counted = lock(&self.live);
        let before = live_part(&counted.live);
        change(&mut counted.live);
        if let Some(totals) = self.totals.get().filter(|_| counted.counts) {
            totals.shift(before, live_part(&counted.live));
        }
    }

    /// The active segment's file or records grew; it is in the table all the while.
    fn shift_files(&self, file_bytes: u64, record_bytes: u64) {
        if let Some(totals) = self.totals.get() {
            let grown = Holdings {
                file_bytes,
                record_bytes,
                ..Holdings::default()
            };
            totals.shift(Holdings::default(), grown);
        }
    }

    fn in_files(&self) -> Holdings {
        Holdings {
            segments: 1,
            file_bytes: self.file_bytes(),
            record_bytes: self.record_bytes(),
            ..Holdings::default()
        }
    }

    fn holdings(&self, live: &Live) -> Holdings {
        Holdings {
            live_bytes: live.bytes(),
            tombstone_bytes: live.tombstone_bytes,
            damaged: u64::from(self.is_damaged()),
            ..self.in_files()
        }
    }

    /// Bytes of records, whatever their state.
    pub(crate) fn record_bytes(&self) -> u64 {
        let tail = wide(self.tail_len());
        let end = self
            .sealed()
            .map_or(self.written() + tail, |sealed| sealed.summary.data_len);
        end.saturating_sub(wide(RECORDS_START))
    }

    /// Bytes of the named file that hold something, footer included.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.sealed()
            .map_or(self.written(), |sealed| sealed.file_len)
    }
}

fn live_part(live: &Live) -> Holdings {
    Holdings {
        live_bytes: live.bytes(),
        tombstone_bytes: live.tombstone_bytes,
        ..Holdings::default()
    }
}

/// A length that was checked against a file or map of this process before.
fn to_len(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

// No foreign code runs under these locks, so a panic elsewhere leaves them whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
