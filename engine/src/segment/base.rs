//! What every part of the log shares: the disk, the table of segments, ids, counters, and whether
//! the store still takes writes. It holds no lock across any call and knows neither the active
//! segment (writer) nor the manifest (log).

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{OnceLock, PoisonError, RwLock};
use std::any::Any;
use std::io;
use std::sync::Arc;

use crate::disk::capped::{Capped, Ledger};
use crate::disk::{Disk, How};
use crate::error::{Error, ErrorKind, Result};
use crate::feed::Feed;
use crate::options::Durability;
use crate::segment::format::{SECRET_LEN, STORE_ID_LEN};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::SegmentId;
use crate::segment::names;
use crate::segment::table::Table;
use crate::segment::waiters::Waiters;
use crate::stats::Counters;

/// Under a cap, what manifests, footers and headers may take beside the records.
const CAP_SLACK: u64 = 64 << 10;

/// What stays free under a cap so that any segment can be merged: its survivors, and as much again
/// for hint files.
fn merge_headroom(segment_bytes: u64) -> u64 {
    2 * segment_bytes + CAP_SLACK
}

/// The least cap that a store with such segments works under.
pub(crate) fn space_cap_min(segment_bytes: u64, reserve_bytes: u64) -> u64 {
    merge_headroom(segment_bytes) + 2 * segment_bytes + reserve_bytes + CAP_SLACK
}

fn ledger_of(disk: &dyn Disk) -> Option<Arc<Ledger>> {
    let disk: &dyn Any = disk;
    let capped = disk.downcast_ref::<Capped>()?;
    Some(capped.ledger().clone())
}

/// Shared by the log and its writer.
pub(crate) struct Base {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    pub(crate) segment_bytes: u64,
    /// How much of a batch over several segments one of them takes.
    pub(crate) part_bytes: u64,
    pub(crate) buffer_bytes: usize,
    pub(crate) reserve_bytes: u64,
    /// What the files may take together, if there is a cap.
    room: Option<Arc<Ledger>>,
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) secret: [u8; SECRET_LEN],
    /// Opened for reading alone.
    pub(crate) only_reads: bool,
    /// What footers repeat of the catalog; a leaf lock, held for a clone.
    keyspaces: RwLock<Arc<Vec<KeyspaceEntry>>>,
    next_segment: AtomicU64,
    /// The last seq that was given to a record which counts, for those who must not wait for the log lock.
    last_seq: AtomicU64,
    /// Everything up to this seq is in the kernel.
    written_seq: AtomicU64,
    /// Everything up to this seq is on the device.
    synced_seq: AtomicU64,
    /// Who waits for either without a thread.
    pub(crate) waiters: Waiters,
    /// Who watches what is written.
    pub(crate) feed: Feed,
    /// The generation of the last keydir image.
    image: AtomicU64,
    poison: OnceLock<Error>,
    closed: AtomicBool,
    /// The reserve was given up; what deletes used of it since.
    lean: AtomicBool,
    lean_bytes: AtomicU64,
}

/// The numbers that a log starts with.
pub(crate) struct BaseStart {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) table: Table,
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) secret: [u8; SECRET_LEN],
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    pub(crate) next_segment: u64,
    pub(crate) synced_seq: u64,
    /// The generation of the last keydir image found.
    pub(crate) image: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) part_bytes: u64,
    pub(crate) buffer_bytes: usize,
    pub(crate) reserve_bytes: u64,
    pub(crate) only_reads: bool,
}

impl Base {
    pub(crate) fn new(start: BaseStart) -> Base {
        Base {
            room: ledger_of(&*start.disk),
            disk: start.disk,
            table: start.table,
            counters: Counters::default(),
            segment_bytes: start.segment_bytes,
            part_bytes: start.part_bytes,
            buffer_bytes: start.buffer_bytes,
            reserve_bytes: start.reserve_bytes,
            store_id: start.store_id,
            secret: start.secret,
            only_reads: start.only_reads,
            keyspaces: RwLock::new(Arc::new(start.keyspaces)),
            next_segment: AtomicU64::new(start.next_segment),
            last_seq: AtomicU64::new(0),
            written_seq: AtomicU64::new(start.synced_seq),
            synced_seq: AtomicU64::new(start.synced_seq),
            waiters: Waiters::default(),
            feed: Feed::default(),
            image: AtomicU64::new(start.image),
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            lean: AtomicBool::new(false),
            lean_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn synced_seq(&self) -> u64 {
        self.synced_seq.load(Ordering::Acquire)
    }

    pub(crate) fn note_synced(&self, seq: u64) {
        self.synced_seq.fetch_max(seq, Ordering::AcqRel);
    }

    pub(crate) fn written_seq(&self) -> u64 {
        self.written_seq
            .load(Ordering::Acquire)
            .max(self.synced_seq())
    }

    /// As the writer had it when it last changed.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq.load(Ordering::Acquire)
    }

    /// Under the log lock, which keeps it rising.
    pub(crate) fn note_last(&self, seq: u64) {
        self.last_seq.store(seq, Ordering::Release);
    }

    /// Under the log lock, which keeps the mark rising.
    pub(crate) fn note_written(&self, seq: u64) {
        self.written_seq.store(seq, Ordering::Release);
    }

    /// What everything up to `seq` survives by now.
    pub(crate) fn reached(&self, seq: u64) -> Durability {
        if self.synced_seq() >= seq {
            Durability::Device
        } else if self.written_seq() >= seq {
            Durability::Kernel
        } else {
            Durability::Buffered
        }
    }

    /// Wakes those whose durability was reached. Call it without a lock.
    pub(crate) fn wake_reached(&self) {
        self.waiters
            .wake(|seq, durability| self.reached(seq) >= durability);
    }

    /// An id that was never given out before in this directory.
    /// An id that no segment of this store had before.
    ///
    /// # Errors
    /// `StorageFull` when there is none left, which takes 2^64 segments or a stray file of that name.
    pub(crate) fn new_segment_id(&self) -> Result<SegmentId> {
        let next = |id: u64| id.checked_add(1);
        let taken = self
            .next_segment
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        taken.map(SegmentId).map_err(|last| {
            let name = names::segment(SegmentId(last));
            let what = format!(
                "no segment id is left after {name}; if that file is not the store's, close the \
                 store, move it away and open again; else export into a new store"
            );
            Error::new(ErrorKind::StorageFull, what)
        })
    }

    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.load(Ordering::Acquire)
    }

    /// The generation that the next keydir image gets.
    pub(crate) fn next_image(&self) -> u64 {
        self.image.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(crate) fn random_u64(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        let filled = self.disk.random(&mut bytes);
        filled.map_err(|e| Error::io("get random bytes for", names::LOCK, e))?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn keyspace_entries(&self) -> Arc<Vec<KeyspaceEntry>> {
        self.keyspaces
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_keyspace_entries(&self, entries: Vec<KeyspaceEntry>) {
        *self
            .keyspaces
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
    }

    // ---- states of the whole

    /// Refuses writes from now on; the first cause is kept. Returns the error for the caller.
    pub(crate) fn poison(&self, cause: Error) -> Error {
        if self.poison.set(cause.clone()).is_ok() {
            let span = tracing::error_span!("poison", %cause);
            let _entered = span.enter();
            tracing::error!("the store is poisoned: it refuses writes until reopened");
            self.waiters.wake_all();
        }
        cause
    }

    pub(crate) fn poisoned(&self) -> Option<&Error> {
        self.poison.get()
    }

    /// Whether it takes writes at all.
    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.only_reads {
            let what = "the store was opened for reading alone; open it with Store::open to write";
            return Err(Error::new(ErrorKind::ReadOnly, what));
        }
        Ok(())
    }

    pub(crate) fn check_healthy(&self) -> Result<()> {
        self.check_writable()?;
        match self.poison.get() {
            Some(cause) => Err(Error::poisoned_by(cause)),
            None => Ok(()),
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::closed())
        } else {
            Ok(())
        }
    }

    /// True for the one caller that closes.
    pub(crate) fn mark_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    // ---- the space cap

    /// Whether so much more may be written by callers: what merge needs stays free. What merge is
    /// writing does not count against them.
    ///
    /// # Errors
    /// `StorageFull`.
    pub(crate) fn admit(&self, bytes: u64) -> Result<()> {
        let kept = match self.is_lean() {
            // Only deletes get here: what manifests do not take of the slack is theirs, too.
            true => merge_headroom(self.segment_bytes) - CAP_SLACK / 2,
            false => merge_headroom(self.segment_bytes),
        };
        self.admit_beside(kept, bytes)
    }

    /// Whether a file may be written that one can do without: it leaves all to merge and deletes.
    pub(crate) fn admit_spare(&self, bytes: u64) -> Result<()> {
        self.admit_beside(merge_headroom(self.segment_bytes), bytes)
    }

    fn admit_beside(&self, kept: u64, bytes: u64) -> Result<()> {
        let Some(room) = &self.room else {
            return Ok(());
        };
        if room.settled().saturating_add(bytes).saturating_add(kept) <= room.cap() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::StorageFull,
            format!(
                "the store's files take {} of the {} bytes of its cap, and {kept} are kept for \
                 merge; delete or merge, then try again, or raise Options::space_cap",
                room.total(),
                room.cap()
            ),
        ))
    }

    pub(crate) fn is_capped(&self) -> bool {
        self.room.is_some()
    }

    // ---- space for deletes

    /// Keeps some space aside for deletes and merge on a full disk; false if there is none to keep.
    pub(crate) fn take_reserve(&self) -> bool {
        if self.reserve_bytes == 0 {
            return true;
        }
        let file = match self.disk.open(names::RESERVE, How::CreateNew) {
            Ok(file) => file,
            // It is there already.
            Err(e) => return e.kind() == io::ErrorKind::AlreadyExists,
        };
        if self.admit_spare(self.reserve_bytes).is_err() {
            let _nothing_kept = self.disk.remove(names::RESERVE);
            return false;
        }
        match file.reserve(self.reserve_bytes) {
            Err(e) if e.kind() != io::ErrorKind::Unsupported => {
                // Deletes may fail on a full disk without it; nothing else depends on it.
                let _nothing_kept = self.disk.remove(names::RESERVE);
                false
            }
            Ok(()) | Err(_) => {
                self.lean_bytes.store(0, Ordering::Release);
                self.lean.store(false, Ordering::Release);
                true
            }
        }
    }

    /// Gives the kept space back to the file system; true if there was some. The store is lean
    /// until it can be taken again: puts are refused, so that deletes and merge get what it held.
    pub(crate) fn give_up_reserve(&self) -> bool {
        let given = self.disk.remove(names::RESERVE).is_ok();
        if given {
            tracing::warn!("the disk is full: the space kept for deletes and merge is given up");
            self.lean.store(true, Ordering::Release);
        }
        given
    }

    /// Whether the reserve was given up and could not be taken again yet.
    pub(crate) fn is_lean(&self) -> bool {
        self.lean.load(Ordering::Acquire)
    }

    /// Deletes on a full disk may use half of what the reserve held; the rest is merge's.
    pub(crate) fn spend_lean(&self, bytes: u64) -> bool {
        if self.is_capped() {
            // Merge has room of its own under a cap, and `admit` keeps deletes out of it.
            return true;
        }
        let spent = self.lean_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        spent <= self.reserve_bytes / 2
    }
}
