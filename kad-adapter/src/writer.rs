//! The background thread: hands pending writes to the engine in batches, sweeps what has expired,
//! measures the files, and closes the store. Each is a step that a program without threads calls
//! itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use peercask::{Durability, Write};

use crate::error::{Error, Result};
use crate::image;
use crate::index::slab::SlotState;
use crate::pending::Taken;
use crate::shared::{Shared, Which};
use crate::time::{ns_of, seconds};

/// Writes in one batch, and their bytes.
const BATCH_RECORDS_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Index entries that the sweep takes under one lock.
const SWEEP_SLICE_LEN: usize = 128;
/// Index entries that it counts under one lock.
const COUNT_SLICE_LEN: usize = 4_096;
/// Between two looks at what has expired.
const TICK: Duration = Duration::from_millis(250);
/// Between two measurements of the files.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Before a failed write is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Starts the thread; it ends when the bell says so, and closes the store then.
pub(crate) fn start(shared: &Arc<Shared>) -> Result<()> {
    let own = shared.clone();
    let bell = shared.bell.clone();
    bell.set_running(true);
    let body = move || {
        let ran = catch_unwind(AssertUnwindSafe(|| run(&own)));
        if ran.is_err() {
            own.counters.worker_died.store(true, Ordering::Release);
            own.counters.note(
                &"the record store's background thread panicked",
                own.store.now_ms(),
            );
        }
        own.bell.set_running(false);
    };
    let spawned = std::thread::Builder::new()
        .name("peercask-kad".to_owned())
        .spawn(body);
    if let Err(error) = spawned {
        bell.set_running(false);
        return Err(Error::Thread(error.to_string()));
    }
    Ok(())
}

fn run(shared: &Shared) {
    let mut maintained = Instant::now();
    let mut measured: Option<Instant> = None;
    while !shared.bell.is_stopping() {
        let waiting = !shared.lock().pending.is_empty();
        if shared.bell.wait(TICK) || waiting {
            shared.bell.rest(shared.options.write_window);
            if shared.drain().is_err() {
                shared.bell.rest(RETRY);
            }
        }
        if maintained.elapsed() >= TICK {
            maintained = Instant::now();
            shared.sweep();
            if measured.is_none_or(|at| at.elapsed() >= MEASURE_INTERVAL) {
                measured = Some(Instant::now());
                shared.measure();
            }
        }
    }
    shared.finish();
}

impl Shared {
    /// What the thread does, once: writes, sweeps, measures.
    pub(crate) fn step(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let drained = self.drain();
        self.sweep();
        self.measure();
        drained
    }

    /// Hands all pending writes to the engine.
    pub(crate) fn drain(&self) -> Result<()> {
        let _in_order = held(&self.drain_turn);
        loop {
            let taken = self.lock().pending.take(BATCH_RECORDS_MAX, BATCH_BYTES_MAX);
            if taken.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.commit(&taken) {
                self.lock().pending.put_back(taken);
                self.counters.note_error(&error, self.store.now_ms());
                return Err(error.into());
            }
            self.counters.note_success();
            let mut state = self.lock();
            for write in &taken {
                if state.pending.done(write)
                    && write.value.is_none()
                    && let Some(table) = state.table_of(write.place)
                {
                    table.release(write.place.1);
                }
            }
        }
    }

    fn commit(&self, taken: &[Taken]) -> peercask::Result<()> {
        let mut batch = self.store.batch();
        for write in taken {
            let (space, key) = (self.space(write.place), write.place.1.to_le_bytes());
            match &write.value {
                Some(value) => {
                    let expiry = Write::new().expires_at_ms(write.expires_ms);
                    batch.put_with(space, key, value, expiry);
                }
                None => batch.delete(space, key),
            }
        }
        batch.commit_with(Durability::Kernel)?.wait()?;
        Ok(())
    }

    /// Takes out what is past its deadline and grace: work for these and no more.
    pub(crate) fn sweep(&self) {
        let start = Instant::now();
        let now = self.now();
        self.lock()
            .anchor
            .follow(now.ms, self.options.time.instant());
        for which in Which::ALL {
            while self
                .lock()
                .table_mut(which)
                .count_expired(now.second, COUNT_SLICE_LEN)
            {}
        }
        let until_s = now.second.saturating_sub(seconds(self.options.grace));
        for which in Which::ALL {
            while self.sweep_slice(which, until_s) == SWEEP_SLICE_LEN {}
        }
        self.counters.last_sweep_ms.set(now.ms);
        self.counters.last_sweep_ns.set(ns_of(start.elapsed()));
    }

    /// Up to a slice of them; how many were taken out.
    fn sweep_slice(&self, which: Which, until_s: u32) -> usize {
        // Closed meanwhile: what is over is left out when the store opens again.
        let Some(mut state) = self.lock_to_change() else {
            return 0;
        };
        let table = state.table(which);
        let slots: Vec<u32> = table
            .deadlines_until(until_s)
            .take(SWEEP_SLICE_LEN)
            .collect();
        self.counters.sweep_looked.add(slots.len() as u64);
        let mut swept = 0;
        for slot in slots {
            let place = which.place(slot);
            // What the engine holds in its hands is taken next time.
            if !state.pending.is_in_flight(place) {
                state.pending.forget(place);
                self.take_out(&mut state, which, slot, SlotState::Free);
                swept += 1;
            }
        }
        self.counters.swept.add(swept as u64);
        swept
    }

    /// Looks how large the files are.
    pub(crate) fn measure(&self) {
        let stats = self.store.stats();
        let before = self.counters.written_since.get();
        let listed = self.dir.as_deref().and_then(|dir| dir_bytes(dir).ok());
        let bytes = listed.unwrap_or(stats.disk_bytes);
        let waiting = self.lock().pending.bytes() as u64;
        self.counters.disk_bytes.set(bytes + waiting);
        self.counters.written_since.take(before);
        let counters = &self.counters;
        counters.live_bytes.set(stats.live_bytes);
        counters
            .dead_bytes
            .set(stats.dead_bytes + stats.expired_bytes);
        counters.syncs.set(stats.syncs);
    }

    // ---- the end

    /// Fences later calls and closes; waits at most for `time`. Whoever comes later gets the same
    /// answer.
    pub(crate) fn close(&self, time: Duration) -> Result<()> {
        let first = !self.closed.swap(true, Ordering::AcqRel);
        if self.bell.is_running() {
            self.bell.stop();
            if !self.bell.wait_ended(time) {
                let what = format!("closing takes longer than {time:?}; it goes on");
                return Err(Error::Thread(what));
            }
        } else if first {
            self.finish();
        }
        held(&self.ended).clone().unwrap_or(Ok(()))
    }

    /// Writes what waits, saves the index, closes the engine. Once.
    fn finish(&self) {
        self.closed.store(true, Ordering::Release);
        let mut ended = held(&self.ended);
        if ended.is_some() {
            return;
        }
        // Who was in a change of the index has ended it; nobody begins another.
        drop(self.lock());
        let drained = self.drain();
        // Without all writes the image would not be the log's; the next opening walks instead.
        let saved = match drained {
            Ok(()) => image::save(self).map_err(|error| self.counters.note(&error, 0)),
            Err(_) => Err(()),
        };
        if saved.is_err() {
            self.dir.iter().for_each(|dir| image::remove(dir));
        }
        let closed = self.store.clone().close().map_err(Error::from);
        *ended = Some(drained.and(closed));
    }
}

/// All files of the directory together: blocks where the system tells, reserved space included.
fn dir_bytes(dir: &std::path::Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        // A file that went away meanwhile takes no space.
        if let Ok(metadata) = entry?.metadata() {
            bytes += occupied(&metadata);
        }
    }
    Ok(bytes)
}

#[cfg(unix)]
fn occupied(metadata: &std::fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.blocks().saturating_mul(512)
}

#[cfg(not(unix))]
fn occupied(metadata: &std::fs::Metadata) -> u64 {
    metadata.len()
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
