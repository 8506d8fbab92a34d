//! The log: the ordered set of segments, one of them active. It appends bytes that others
//! encoded, rotates, seals, syncs and saves the manifest. It knows offsets and seqs, not keys:
//! what a record means is the verbs' business (commit, merge, recovery).
//!
//! Locks, in the order they are taken: catalog, writer, then a segment's own.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::disk::{DiskFile, How};
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{self, Mutant};
use crate::segment::base::Base;
use crate::segment::catalog::{self, Catalog, NotWritten};
use crate::segment::data_file::Segment;
use crate::segment::location::SegmentId;
use crate::segment::manifest::{Manifest, SegmentEntry};
use crate::segment::names;
use crate::segment::pins::Pins;
use crate::segment::sync_gate::SyncGate;
use crate::segment::writer::Writer;
use crate::stats::nanos;

/// The set of segments and the one place that appends to it.
pub(crate) struct Log {
    base: Base,
    /// Guards the appending end of the log: the log lock.
    writer: Mutex<Writer>,
    /// Guards the manifest's own part and the writing of its files.
    catalog: Mutex<Catalog>,
    /// Who syncs for all, and who waits for it.
    gate: SyncGate,
    /// Segments whose files stay although they are dead.
    pins: Pins,
    /// What the last manifest knew of the table.
    manifest_state: AtomicU64,
    /// The store time that the last manifest carries; 0 if this handle wrote none.
    manifest_time_ms: AtomicU64,
}

impl Deref for Log {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
    }
}

impl Log {
    pub(crate) fn new(base: Base, writer: Writer, catalog: Catalog) -> Log {
        let state = table_state(&base.table.by_id());
        base.note_last(writer.last_seq());
        base.note_written(writer.last_seq());
        Log {
            base,
            writer: Mutex::new(writer),
            catalog: Mutex::new(catalog),
            gate: SyncGate::default(),
            pins: Pins::default(),
            manifest_state: AtomicU64::new(state),
            manifest_time_ms: AtomicU64::new(0),
        }
    }

    /// The log lock, for one who is going to write.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`.
    pub(crate) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = self.writer_for_close();
        self.check_open()?;
        self.check_healthy()?;
        Ok(writer)
    }

    /// The log lock whatever the state of the store.
    pub(crate) fn writer_for_close(&self) -> MutexGuard<'_, Writer> {
        // The writer's steps leave it consistent between any two calls that could panic.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The segments of the table, without parts of a batch that may yet be taken back.
    pub(crate) fn segments_that_count(&self) -> Vec<Arc<Segment>> {
        let _no_append = self.writer_for_close();
        self.table.by_id()
    }

    // ---- syncing

    /// Returns when everything up to `seq` is on the device. Threads that wait at once share
    /// syncs: the sync before is the window in which the next group gathers.
    pub(crate) fn sync_until(&self, seq: u64) -> Result<()> {
        while self.synced_seq() < seq && !mutant::is_on(Mutant::AcknowledgedBeforeSync) {
            let done = || self.synced_seq() >= seq;
            let Some(turn) = self.gate.lead_or_wait(seq, done, || self.waiters.len()) else {
                continue;
            };
            self.check_healthy()?;
            let result = self.sync_turn();
            turn.end(self.synced_seq());
            self.wake_reached();
            // Bytes that others hold back in memory are no concern of one who is synced.
            if self.synced_seq() < seq {
                result?;
            }
        }
        Ok(())
    }

    /// Brings everything appended so far to the device.
    pub(crate) fn sync_all(&self) -> Result<()> {
        self.check_writable()?;
        let seq = self.writer_for_close().last_seq();
        self.sync_until(seq)
    }

    /// Brings sealed segments to the device, footers included, so that merge and the manifest may
    /// take them for what they are.
    pub(crate) fn settle(&self) -> Result<()> {
        let turn = self.gate.lead();
        let result = if self.writer_for_close().has_unsettled() {
            self.sync_turn()
        } else {
            Ok(())
        };
        turn.end(self.synced_seq());
        self.wake_reached();
        result
    }

    /// One sync, by the one who leads. Older segments first: what a later record builds on
    /// must not be lost before it. A failure poisons the store, since nobody can tell afterwards
    /// what the device holds.
    fn sync_turn(&self) -> Result<()> {
        let span = tracing::debug_span!("sync");
        let _entered = span.enter();
        self.check_healthy()?;
        let turn = {
            let mut writer = self.writer_for_close();
            writer.begin_sync(self)
        };
        let (watch, synced_before) = (Stopwatch::start(), self.synced_seq());
        for segment in &turn.segments {
            let sealed = segment.sealed().is_some();
            if mutant::is_on(Mutant::SegmentSyncSkipped)
                || (sealed && mutant::is_on(Mutant::OlderSegmentsNotSynced))
            {
                continue;
            }
            let file = segment.open_file(How::Write);
            let synced = file.and_then(|file| {
                synced_by_name(&*file).map_err(|e| Error::io("sync the segment", &segment.name, e))
            });
            if !mutant::is_on(Mutant::SyncErrorSwallowed) {
                synced.map_err(|e| self.poison(e))?;
            }
            self.counters.syncs.add(1);
        }
        if turn.directory && !mutant::is_on(Mutant::DirectorySyncSkipped) {
            self.sync_directory()?;
            self.counters.syncs.add(1);
        }
        self.writer_for_close().end_sync(&turn);
        self.note_synced(turn.seq);
        self.counters.sync_latency.record(nanos(watch));
        let group = turn.seq.saturating_sub(synced_before);
        self.counters.sync_group.record(group);
        turn.tail_error.map_or(Ok(()), Err)
    }

    // ---- the manifest

    /// Changes the catalog and writes the manifest; the change stands only if that succeeds.
    pub(crate) fn update_catalog<T>(
        &self,
        time_ms: u64,
        change: impl FnOnce(&mut Catalog) -> Result<T>,
    ) -> Result<T> {
        self.check_healthy()?;
        let mut catalog = self.lock_catalog();
        let mut next = catalog.clone();
        let answer = change(&mut next)?;
        next.generation += 1;
        // A failed attempt may have left one copy; its generation is not used for another content.
        catalog.generation = next.generation;
        self.write_manifest_or_give_up_reserve(&next, time_ms, &[])?;
        self.set_keyspace_entries(next.keyspaces.clone());
        *catalog = next;
        Ok(answer)
    }

    /// Declares `inputs` dead: from here on they do not belong to the store, whatever a crash
    /// leaves of their files.
    pub(crate) fn declare_dead(&self, time_ms: u64, inputs: &[Arc<Segment>]) -> Result<()> {
        self.check_healthy()?;
        let mut catalog = self.lock_catalog();
        let mut next = catalog.clone();
        next.generation += 1;
        let ids: Vec<SegmentId> = inputs.iter().map(|input| input.header.id).collect();
        if !mutant::is_on(Mutant::InputsNotDeclared) {
            next.replaced.extend(&ids);
        }
        catalog.generation = next.generation;
        self.write_manifest_or_give_up_reserve(&next, time_ms, &ids)?;
        *catalog = next;
        Ok(())
    }

    /// The files of all segments that were declared dead are removed, durably. What fails is
    /// tried again with the next ones, or when the store opens.
    pub(crate) fn remove_files(&self) -> Result<()> {
        let mut gone = self.lock_catalog().replaced.clone();
        // While a merge moves the keydir its inputs are in the table, and dead: forgotten now, they would pass for
        // living ones, in the next manifest too. That merge comes here itself when they are out.
        let slots = self.table.load();
        gone.retain(|id| !slots.iter().any(|segment| segment.header.id == *id));
        drop(slots);
        // None of these is pinned from now on: pins are taken of what is not dead yet.
        gone.retain(|id| !self.pins.holds(*id));
        if gone.is_empty() {
            return Ok(());
        }
        let mut first_error = None;
        for name in gone
            .iter()
            .flat_map(|id| [names::segment(*id), names::hint(*id)])
        {
            match self.disk.remove(&name) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    first_error.get_or_insert(Error::io("remove a dead file", &name, e));
                }
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        self.sync_directory()?;
        // Takes effect with the next manifest, which is written for another reason.
        self.lock_catalog().replaced.retain(|id| !gone.contains(id));
        Ok(())
    }

    /// A point of the log that stands while writes and merges go on: everything written before is
    /// in sealed segments on the device, which the manifest answered with lists and nothing else,
    /// and their files stay as long as it is held.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, `StorageFull` if buffered bytes could not leave memory, `Io`.
    pub(crate) fn freeze(&self, time_ms: u64) -> Result<Frozen<'_>> {
        let (mut manifest, segments, pinned) = {
            let catalog = self.lock_catalog();
            let mut writer = self.writer()?;
            writer.seal(self)?;
            let mut segments = self.table.by_id();
            // What merge has declared dead may be in the table a little longer.
            segments.retain(|segment| !catalog.replaced.contains(&segment.header.id));
            let manifest = Manifest {
                generation: catalog.generation,
                store_id: catalog.store_id,
                secret: catalog.secret,
                next_segment: self.next_segment(),
                next_keyspace: catalog.next_keyspace,
                seq_high: writer.last_given_seq(),
                synced_seq: writer.last_seq(),
                time_ms,
                keyspaces: catalog.keyspaces.clone(),
                segments: Vec::new(),
                replaced: Vec::new(),
            };
            let ids: Vec<SegmentId> = segments.iter().map(|segment| segment.header.id).collect();
            self.pins.add(&ids);
            (manifest, segments, Pinned { log: self, ids })
        };
        self.settle()?;
        manifest.segments = segments.iter().map(|segment| entry_of(segment)).collect();
        Ok(Frozen {
            manifest,
            _pinned: pinned,
        })
    }

    /// Whether a reopen with a clock set back could see again what has expired by `now_ms`
    /// by more than `slack_ms`.
    pub(crate) fn manifest_time_is_stale(&self, now_ms: u64, slack_ms: u64) -> bool {
        let expires = |segment: &Arc<Segment>| segment.may_expire.load(Ordering::Acquire);
        now_ms.saturating_sub(self.manifest_time_ms.load(Ordering::Acquire)) > slack_ms
            && self.table.load().iter().any(expires)
    }

    /// The generation of the manifest that counts.
    pub(crate) fn manifest_generation(&self) -> u64 {
        self.lock_catalog().generation
    }

    /// Whether segments began or were settled since the manifest was written.
    pub(crate) fn manifest_is_stale(&self) -> bool {
        table_state(&self.table.by_id()) != self.manifest_state.load(Ordering::Acquire)
    }

    /// Merge and deletes must be able to end on a full disk: that is what the reserve is for.
    fn write_manifest_or_give_up_reserve(
        &self,
        catalog: &Catalog,
        time_ms: u64,
        dead: &[SegmentId],
    ) -> Result<()> {
        match self.write_manifest(catalog, time_ms, dead) {
            Err(e) if e.kind() == ErrorKind::StorageFull && self.give_up_reserve() => {
                self.write_manifest(catalog, time_ms, dead)
            }
            other => other,
        }
    }

    fn write_manifest(&self, catalog: &Catalog, time_ms: u64, dead: &[SegmentId]) -> Result<()> {
        let (seq_high, next_segment, segments, given_up) = {
            // Under the log lock no segment is half made: an id below the next one that is not in
            // the table is no user segment's.
            let mut writer = self.writer_for_close();
            let next_segment = self.next_segment();
            writer.note_manifest(next_segment);
            (
                writer.last_given_seq(),
                next_segment,
                self.table.by_id(),
                writer.take_given_up(),
            )
        };
        // What was declared dead before may still be in the table, while merge moves the keydir.
        let is_dead = |id: &SegmentId| dead.contains(id) || catalog.replaced.contains(id);
        let segments: Vec<_> = segments
            .into_iter()
            .filter(|segment| !is_dead(&segment.header.id))
            .collect();
        self.sync_given_up(&given_up)?;
        // Names first: a manifest must not list a file whose name a power cut could take.
        if !mutant::is_on(Mutant::NamesNotSynced) {
            self.sync_directory()?;
        }
        let manifest = Manifest {
            generation: catalog.generation,
            store_id: catalog.store_id,
            secret: catalog.secret,
            next_segment,
            next_keyspace: catalog.next_keyspace,
            seq_high,
            synced_seq: self.synced_seq(),
            time_ms,
            keyspaces: catalog.keyspaces.clone(),
            segments: segments.iter().map(|segment| entry_of(segment)).collect(),
            replaced: catalog.replaced.clone(),
        };
        let written = catalog::write(&*self.disk, &manifest).map_err(|failed| match failed {
            NotWritten::Before(error) => error,
            // What was told to the caller and what a crash would find may differ from here on.
            NotWritten::Halfway(error) => self.poison(error),
        })?;
        self.manifest_state
            .store(table_state(&segments), Ordering::Release);
        self.manifest_time_ms.store(time_ms, Ordering::Release);
        self.counters.written_bytes.add(written);
        Ok(())
    }

    /// A power cut may bring back the append that failed in them. While their ids are the youngest,
    /// recovery sees by the next segment that it is void; with an old id it would pass for a copy
    /// from a backup.
    fn sync_given_up(&self, given_up: &[SegmentId]) -> Result<()> {
        for (done, id) in given_up.iter().enumerate() {
            let name = names::segment(*id);
            match self.disk.open(&name, How::Write) {
                Ok(file) => {
                    let synced = file.sync_data();
                    synced.map_err(|e| self.poison(Error::io("sync", &name, e)))?;
                }
                // Removed by somebody else.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    let rest = given_up.get(done..).unwrap_or_default();
                    self.writer_for_close().give_up(rest);
                    return Err(Error::io("open", &name, e));
                }
            }
        }
        Ok(())
    }

    /// As every failed sync, one of the directory leaves nobody knowing what is durable.
    fn sync_directory(&self) -> Result<()> {
        let synced = self.disk.sync_dir();
        synced.map_err(|e| self.poison(Error::io("sync the directory", names::LOCK, e)))
    }

    fn lock_catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Log::freeze`].
pub(crate) struct Frozen<'a> {
    pub(crate) manifest: Manifest,
    _pinned: Pinned<'a>,
}

struct Pinned<'a> {
    log: &'a Log,
    ids: Vec<SegmentId>,
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.log.pins.release(&self.ids);
        // What died meanwhile goes now; what fails is tried again with the next dead files.
        if let Err(error) = self.log.remove_files() {
            tracing::warn!(%error, "dead files stay for now");
        }
    }
}

/// A number that changes when a segment begins, is settled or leaves.
fn table_state(segments: &[Arc<Segment>]) -> u64 {
    let state = |segment: &Arc<Segment>| {
        let id = segment.header.id.0;
        id.rotate_left(1) ^ u64::from(segment.is_settled())
    };
    segments.iter().map(state).fold(0, |sum, n| {
        // Odd and large, so that no two small changes cancel out.
        sum.wrapping_add(n).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

/// What the manifest says of a segment. One that is not on the device yet counts as unsealed: a
/// crash may leave less of it.
fn entry_of(segment: &Segment) -> SegmentEntry {
    match segment.sealed().filter(|_| segment.is_settled()) {
        None => SegmentEntry::unsealed(segment.header.clone()),
        Some(sealed) => SegmentEntry {
            header: segment.header.clone(),
            sealed: true,
            file_len: sealed.file_len,
            summary: sealed.summary,
        },
    }
}

/// A file that lost its last name takes bytes and syncs as ever, into nothing.
fn synced_by_name(file: &dyn DiskFile) -> io::Result<()> {
    file.sync_data()?;
    if file.links()? == 0 {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the file was removed while the store was open",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Core;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;
    use crate::handle::Handle;
    use crate::options::{KeyspaceOptions, Options};
    use crate::store::Store;

    #[test]
    fn a_manifest_written_while_merge_moves_the_keydir_lists_no_dead_input() {
        let disk = SimDisk::new(1);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let lock = shared.lock(names::LOCK).expect("free");
        let options = Options::default().background(false).reserve_bytes(0);
        let core = Core::open("sim".into(), &shared, lock, options).expect("opened");
        let store = Store::of(Handle::new(core.clone()));
        let space = store.keyspace("a", KeyspaceOptions::hash()).expect("made");
        space.put("key", "value").expect("put");
        core.log
            .writer()
            .expect("open")
            .seal(&core.log)
            .expect("sealed");
        core.log.settle().expect("settled");
        let input = core.log.table.by_id();
        core.log.declare_dead(0, &input).expect("declared");
        // As at the end of a checkpoint beside it.
        core.log.remove_files().expect("removed");
        let frozen = core.log.freeze(0).expect("frozen");
        assert_eq!(frozen.manifest.segments, [], "in a checkpoint");
        drop(frozen);
        store.keyspace("b", KeyspaceOptions::hash()).expect("made");
        let found = catalog::read(&disk, &disk.list().expect("listed")).expect("read");
        assert!(found.damaged.is_empty(), "both copies hold");
        assert_eq!(found.manifest.expect("there").segments, []);
    }
}
