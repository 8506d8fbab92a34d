//! The state that every handle of a store shares, and the two background steps over it. It wires
//! log, keydirs and clock together and does little itself.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::cap;
use crate::checkpoint;
use crate::clear;
use crate::clock::{Stopwatch, StoreClock};
use crate::commit::{self, Committer, Condition, Op, Outcome, Who};
use crate::disk::{Disk, Lock};
use crate::error::{Error, ErrorKind, Result};
use crate::image;
use crate::key_cursor::Bounds;
use crate::keydir::space::{Space, Spaces};
use crate::merge::{Merge, Merger};
use crate::options::{Durability, Options};
use crate::past::Past;
use crate::recovery::{self, Follower, Recovered};
use crate::report::{CheckpointReport, MergeReport, Progress, RecoveryReport};
use crate::segment::hints;
use crate::segment::log::Log;
use crate::segment::waiters::{Look, Place};
use crate::turn::Turns;
use crate::worker::{Bell, Pause, Worker};

/// So often a put makes room before it gives up.
const EVICTIONS_MAX: usize = 64;

/// What handles share.
pub(crate) struct Core {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) spaces: Spaces,
    pub(crate) clock: StoreClock,
    /// What live snapshots still see.
    pub(crate) past: Past,
    /// Whose turn it is to be the one transaction.
    pub(crate) turns: Turns,
    pub(crate) recovery: RecoveryReport,
    /// Held by the one merge that runs at a time.
    pub(crate) merging: Mutex<()>,
    /// Somebody waits for a merge under way to end: it need not keep its rate.
    pub(crate) merge_wanted: AtomicBool,
    /// Held by the one checkpoint that is made at a time; close waits for it.
    checkpointing: Mutex<()>,
    /// What had been written when the last keydir image was.
    imaged_at: AtomicU64,
    /// Held while a keyspace is made or dropped, so that two callers do not make one twice.
    keyspace_changes: Mutex<()>,
    /// Bytes wait in memory, or a weaker write for its sync.
    pub(crate) flusher_rung: AtomicBool,
    /// When the flusher first saw a write that is not on the device.
    pub(crate) unsynced_since: Mutex<Option<Stopwatch>>,
    pub(crate) flusher: Bell,
    worker: Bell,
    background_error: Mutex<Option<String>>,
    /// How far a store that only reads has come; held for a refresh.
    follower: Option<Mutex<Follower>>,
    /// The kernel lock; let go when the store is closed.
    lock: Mutex<Option<Box<dyn Lock>>>,
    threads: Mutex<Vec<Worker>>,
}

impl Core {
    pub(crate) fn open(
        dir: PathBuf,
        disk: &Arc<dyn Disk>,
        lock: Box<dyn Lock>,
        options: Options,
    ) -> Result<Arc<Core>> {
        let capped = cap::capped(disk, &options)?;
        let recovered = recovery::open(capped.as_ref().unwrap_or(disk), &options)?;
        let core = Core::of(dir, recovered, Some(lock), None, options);
        core.look_for_expired();
        if core.options.background {
            core.start_threads()?;
        }
        Ok(core)
    }

    /// Opens for reading alone: no lock, no thread, nothing written.
    pub(crate) fn open_read_only(
        dir: PathBuf,
        disk: &Arc<dyn Disk>,
        options: Options,
    ) -> Result<Arc<Core>> {
        let (recovered, follower) = recovery::open_read_only(disk, &options)?;
        Ok(Core::of(dir, recovered, None, Some(follower), options))
    }

    fn of(
        dir: PathBuf,
        recovered: Recovered,
        lock: Option<Box<dyn Lock>>,
        follower: Option<Follower>,
        mut options: Options,
    ) -> Arc<Core> {
        // Whoever listens draws no bar for the rest of the store's life.
        options.open_progress = None;
        Arc::new(Core {
            dir,
            log: recovered.log,
            spaces: recovered.spaces,
            clock: recovered.clock,
            past: Past::default(),
            turns: Turns::default(),
            recovery: recovered.report,
            merging: Mutex::new(()),
            merge_wanted: AtomicBool::new(false),
            checkpointing: Mutex::new(()),
            imaged_at: AtomicU64::new(0),
            keyspace_changes: Mutex::new(()),
            flusher_rung: AtomicBool::new(false),
            unsynced_since: Mutex::new(None),
            flusher: Bell::default(),
            worker: Bell::default(),
            background_error: Mutex::new(None),
            lock: Mutex::new(lock),
            follower: follower.map(Mutex::new),
            threads: Mutex::new(Vec::new()),
            options,
        })
    }

    // ---- writing

    /// Applies ops together; the device is waited for by the caller.
    pub(crate) fn apply(&self, ops: &[Op<'_>], durability: Durability) -> Result<Outcome> {
        self.apply_if(&[], ops, durability)
    }

    /// Applies ops together if all conditions hold.
    pub(crate) fn apply_if(
        &self,
        conditions: &[Condition<'_>],
        ops: &[Op<'_>],
        durability: Durability,
    ) -> Result<Outcome> {
        self.apply_as(Who::Plain, conditions, ops, durability)
    }

    /// As `apply_if`, for whom it may concern.
    pub(crate) fn apply_as(
        &self,
        who: Who<'_>,
        conditions: &[Condition<'_>],
        ops: &[Op<'_>],
        durability: Durability,
    ) -> Result<Outcome> {
        let once = || {
            self.write(durability, |with| {
                commit::apply(with, who, conditions, ops, durability)
            })
        };
        let mut applied = once();
        for _ in 0..EVICTIONS_MAX {
            if !self.may_evict_for(ops, &applied) || !self.evict(ops)? {
                break;
            }
            applied = once();
        }
        applied
    }

    /// Deletes all keys of an ordered keyspace within bounds, together.
    pub(crate) fn delete_between(
        &self,
        space: &Space,
        bounds: &Bounds,
        durability: Durability,
    ) -> Result<Outcome> {
        self.write(durability, |with| {
            clear::delete_between(with, space, bounds, durability)
        })
    }

    /// Writes, and wakes whom that concerns.
    fn write(
        &self,
        durability: Durability,
        write: impl FnOnce(&Committer<'_>) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let watch = Stopwatch::start();
        let rotations = self.log.counters.rotations.get();
        let outcome = write(&Committer {
            log: &self.log,
            clock: &self.clock,
            past: &self.past,
            touched: &self.turns.touched,
        })?;
        self.log.feed.ring();
        if durability != Durability::Device && !self.flusher_rung.swap(true, Ordering::AcqRel) {
            self.flusher.ring();
        }
        if self.log.counters.rotations.get() != rotations {
            self.worker.ring();
        }
        self.log.counters.end_write(watch);
        Ok(outcome)
    }

    /// Returns when the write is as durable as asked.
    pub(crate) fn wait(&self, seq: u64, durability: Durability) -> Result<()> {
        match durability {
            Durability::Buffered => Ok(()),
            Durability::Kernel if self.log.written_seq() >= seq => Ok(()),
            // Written weaker, asked for more since.
            Durability::Kernel => self.log.writer_for_close().write_tail(&self.log),
            Durability::Device => self.log.sync_until(seq),
        }
    }

    /// The same without a thread that blocks: `waker` is woken when it is worth asking again.
    /// The flusher leads for those who wait so; where there is none, the caller does it here.
    pub(crate) fn poll_wait(
        &self,
        seq: u64,
        durability: Durability,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<()>> {
        if !self.options.background || self.log.reached(seq) >= durability {
            self.log.waiters.leave(place);
            return Poll::Ready(self.wait(seq, durability));
        }
        let answer = || {
            if self.log.reached(seq) >= durability {
                return Some(Ok(()));
            }
            self.log.check_healthy().err().map(Err)
        };
        let look = Look {
            seq,
            durability,
            demands: true,
            answer: &answer,
        };
        let polled = self.log.waiters.poll(place, &look, waker);
        if polled.is_pending() {
            self.flusher.ring_urgently();
        }
        polled
    }

    pub(crate) fn merge(
        &self,
        how: Merge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<MergeReport> {
        self.log.check_writable()?;
        self.merge_wanted.store(true, Ordering::Release);
        let _one_at_a_time = lock(&self.merging);
        self.merge_wanted.store(false, Ordering::Release);
        // Asked under the lock that close takes: what runs after it would be another's store.
        self.log.check_open()?;
        self.settle()?;
        let merged = self
            .merger(&|_| self.log.check_open().is_ok())
            .run(how, progress);
        self.look_for_expired();
        merged
    }

    /// The right to merge; one has it at a time.
    pub(crate) fn merge_turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.merging)
    }

    /// The one figure of `stats` that needs a look at every segment.
    pub(crate) fn look_for_expired(&self) {
        let now_ms = self.clock.now_ms();
        let table = self.log.table.load();
        let expired = table.iter().map(|segment| segment.expired_bytes(now_ms));
        self.log.counters.expired_bytes.set(expired.sum());
    }

    /// Follows the writer; true if there was something new.
    pub(crate) fn refresh(&self) -> Result<bool> {
        self.log.check_open()?;
        match &self.follower {
            Some(follower) => {
                let (log, spaces) = (&self.log, &self.spaces);
                recovery::refresh(log, spaces, &self.options, &self.past, &mut lock(follower))
            }
            // A writer sees everything at once.
            None => Ok(false),
        }
    }

    /// Makes `dir` a checkpoint of what was written before the call.
    pub(crate) fn checkpoint(
        &self,
        dir: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CheckpointReport> {
        let _one_at_a_time = lock(&self.checkpointing);
        self.log.check_open()?;
        self.log.check_healthy()?;
        let span = tracing::info_span!("checkpoint");
        let _entered = span.enter();
        let shown = dir.display().to_string();
        let to = checkpoint::directory(&*self.log.disk, dir)?;
        checkpoint::check_target(&*to, &shown)?;
        let frozen = self.log.freeze(self.clock.now_ms())?;
        let manifest = frozen.manifest.clone();
        checkpoint::write(&*self.log.disk, manifest, &*to, &shown, progress)
    }

    /// Saves the keydirs, one at a time with merges; answers how many bytes.
    pub(crate) fn save_image(&self) -> Result<u64> {
        let _no_merge_runs = lock(&self.merging);
        self.log.check_open()?;
        self.log.check_healthy()?;
        // A segment that the manifest does not list as sealed is scanned, image or not.
        self.settle()?;
        self.write_image()
    }

    fn write_image(&self) -> Result<u64> {
        let spaces = self.spaces.all();
        let len = spaces.iter().map(|space| space.keydir.index_bytes()).sum();
        // Under a space cap it is a file that one can do without.
        self.log.admit_spare(len)?;
        let saved = image::save(&self.log, &self.spaces);
        // After a failure not before the next time either: it is tried often enough.
        let written = self.log.counters.written_bytes.get();
        self.imaged_at.store(written, Ordering::Release);
        saved
    }

    /// Bytes written since the last image.
    fn since_image(&self) -> u64 {
        let written = self.log.counters.written_bytes.get();
        written.saturating_sub(self.imaged_at.load(Ordering::Acquire))
    }

    /// What all keydirs take, if that is worth an image.
    fn image_len(&self) -> Option<u64> {
        let spaces = self.spaces.all();
        let len = spaces.iter().map(|space| space.keydir.index_bytes()).sum();
        (len >= self.options.image_index_bytes).then_some(len)
    }

    /// After so much log that an open without it would take long, and that it costs little.
    pub(crate) fn image_if_due(&self) {
        let is_due = |len: u64| self.since_image() >= self.options.image_log_bytes.max(8 * len);
        if self.image_len().is_some_and(is_due)
            && let Err(error) = self.write_image()
        {
            tracing::warn!(%error, "the keydir image was not saved; the one before still counts");
        }
    }

    pub(crate) fn merger<'a>(&'a self, pace: &'a dyn Fn(u64) -> bool) -> Merger<'a> {
        Merger {
            log: &self.log,
            spaces: &self.spaces,
            clock: &self.clock,
            past: &self.past,
            options: &self.options,
            pace,
        }
    }

    /// Sealed segments reach the device and get their hint files; the manifest names them. It does so without
    /// a hint file that failed, which is told.
    pub(crate) fn settle(&self) -> Result<()> {
        let hinted = self.settle_and_hint()?;
        hinted.map_or(Ok(()), Err)
    }

    /// As `settle`; answers with the first hint file that failed.
    fn settle_and_hint(&self) -> Result<Option<Error>> {
        self.log.settle()?;
        let mut failed = None;
        for segment in self.log.table.by_id() {
            let hinted = segment.hinted.load(Ordering::Acquire);
            // One that is damaged gets no hint file, however often it is read.
            if segment.is_settled() && !hinted && !segment.is_damaged() {
                match hints::of(&self.log, &segment) {
                    Ok(_) => {}
                    Err(e) if e.is_of_damage() => segment.mark_damaged(),
                    Err(e) => failed = failed.or(Some(e)),
                }
            }
        }
        if self.log.manifest_is_stale() {
            self.log.update_catalog(self.clock.now_ms(), |_| Ok(()))?;
        }
        Ok(failed)
    }

    // ---- background

    fn start_threads(self: &Arc<Core>) -> Result<()> {
        let failed = |e| Error::io("start a thread for", &self.dir.to_string_lossy(), e);
        let (weak, dead) = (Arc::downgrade(self), Arc::downgrade(self));
        let flusher = Worker::spawn(
            "peercask-flusher",
            self.flusher.clone(),
            move |bell| {
                weak.upgrade()
                    .map_or(Pause::UntilRung, |core| core.flusher_step(bell))
            },
            move |why| {
                if let Some(core) = dead.upgrade() {
                    let what = format!("the flusher thread died: {why}");
                    core.note_background(&what);
                    core.log.poison(Error::new(ErrorKind::Io, what));
                }
            },
        )
        .map_err(failed)?;
        let (weak, dead) = (Arc::downgrade(self), Arc::downgrade(self));
        let worker = Worker::spawn(
            "peercask-worker",
            self.worker.clone(),
            move |bell| {
                weak.upgrade()
                    .map_or(Pause::UntilRung, |core| core.worker_step(bell))
            },
            move |why| {
                if let Some(core) = dead.upgrade() {
                    core.note_background(&format!("the worker thread died: {why}"));
                }
            },
        )
        .map_err(failed)?;
        lock(&self.threads).extend([flusher, worker]);
        Ok(())
    }

    /// Held while a keyspace is made or dropped; close waits for it.
    fn keyspace_changes(&self) -> MutexGuard<'_, ()> {
        lock(&self.keyspace_changes)
    }

    /// The right to change the catalog of a store that is still open.
    pub(crate) fn catalog_turn(&self) -> Result<MutexGuard<'_, ()>> {
        let turn = self.keyspace_changes();
        self.log.check_open()?;
        Ok(turn)
    }

    pub(crate) fn note_background(&self, what: &str) {
        *lock(&self.background_error) = Some(what.to_owned());
    }

    pub(crate) fn background_error(&self) -> Option<String> {
        lock(&self.background_error).clone()
    }

    // ---- the end

    /// Stops the threads, brings everything to the device, seals, and lets the lock go. Only the
    /// first caller does it.
    pub(crate) fn close(&self) -> Result<()> {
        if !self.log.mark_closed() {
            return Ok(());
        }
        self.turns.close();
        lock(&self.threads).clear();
        let _no_keyspace_is_made = self.keyspace_changes();
        let _no_merge_runs = lock(&self.merging);
        let _no_checkpoint_is_made = lock(&self.checkpointing);
        let result = match self.log.only_reads {
            true => Ok(()),
            false => self.seal_all(),
        };
        self.log.waiters.end();
        self.log.feed.ring_all();
        *lock(&self.lock) = None;
        result
    }

    fn seal_all(&self) -> Result<()> {
        // What is in memory after a failed sync is doubtful; the next open decides by the files.
        self.log.check_healthy()?;
        self.log.writer_for_close().seal(&self.log)?;
        if let Some(error) = self.settle_and_hint()? {
            // The next open scans the segment: slower, and the same.
            tracing::warn!(%error, "closed without a hint file");
        }
        let now_ms = self.clock.now_ms();
        if self.log.manifest_time_is_stale(now_ms, 0) {
            // Store time does not run backwards across a reopen either.
            self.log.update_catalog(now_ms, |_| Ok(()))?;
        }
        let is_new = self.since_image() > 0 || !self.recovery.image_used;
        if is_new
            && self.image_len().is_some()
            && let Err(error) = self.write_image()
        {
            // The next open reads the hints: slower, and the same.
            tracing::warn!(%error, "closed without saving the keydirs");
        }
        Ok(())
    }
}

// A panic under one of these leaves what they guard whole: they hold no half-done work.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
