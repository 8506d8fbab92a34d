//! The two background steps over what a store's handles share: the flusher's and the worker's. Their
//! threads call them, or whoever orders the steps himself.

use crate::sync::PoisonError;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::core::Core;
use crate::error::{ErrorKind, Result};
use crate::options::Durability;
use crate::report::MergeReport;
use crate::worker::{Bell, Pause};

/// Longest time that `Buffered` bytes wait in memory.
const BUFFER_INTERVAL: Duration = Duration::from_millis(10);

/// How often the flusher looks whether a watched record has expired.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How often the worker looks whether something expired or died while there is traffic.
const WORK_INTERVAL: Duration = Duration::from_secs(1);

/// And while there is none.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// After a kill, store time may start again at most this far back: ten minutes.
const TIME_SLACK_MS: u64 = 600_000;

impl Core {
    /// One turn of the flusher, cut short while somebody waits for records to expire.
    pub(crate) fn flusher_step(&self, bell: &Bell) -> Pause {
        let pause = self.flush_step(bell);
        match (self.log.feed.sweep(self.clock.now_ms()), pause) {
            (true, Pause::UntilRung) => Pause::For(SWEEP_INTERVAL),
            (true, Pause::For(time)) => Pause::For(time.min(SWEEP_INTERVAL)),
            (false, pause) => pause,
        }
    }

    /// From now on somebody waits for records to expire.
    pub(crate) fn ring_flusher(&self) {
        self.flusher.ring();
    }

    /// Hands buffered bytes to the kernel, and weaker writes to the device in their interval.
    /// Rung by the first write after a step; it lets others gather before it looks.
    fn flush_step(&self, bell: &Bell) -> Pause {
        bell.rest_unless_urgent(BUFFER_INTERVAL);
        self.flusher_rung.store(false, Ordering::Release);
        self.lead_for_futures();
        let (written, tail, last_seq) = {
            let mut writer = self.log.writer_for_close();
            let written = writer.write_tail(&self.log);
            (written, writer.has_tail(), writer.last_seq())
        };
        if let Err(error) = written {
            self.note_background(&error.to_string());
            let reached = |seq| self.log.written_seq() >= seq;
            self.log.waiters.fail(&error, Durability::Kernel, reached);
        }
        self.log.wake_reached();
        if tail {
            // It could not leave memory: tried again until it can.
            return Pause::For(BUFFER_INTERVAL);
        }
        let Some(interval) = self.options.sync_interval else {
            return Pause::UntilRung;
        };
        let mut since = self
            .unsynced_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.log.synced_seq() >= last_seq || self.log.poisoned().is_some() {
            *since = None;
            return Pause::UntilRung;
        }
        let watch = *since.get_or_insert_with(Stopwatch::start);
        let left = interval.saturating_sub(watch.elapsed());
        if !left.is_zero() {
            return Pause::For(left);
        }
        *since = None;
        drop(since);
        if let Err(error) = self.log.sync_until(last_seq) {
            self.note_background(&error.to_string());
        }
        Pause::UntilRung
    }

    /// The flusher's work without its waiting, for a simulator that orders the steps: what waits in
    /// memory goes to the kernel and, as when the sync interval is over, to the device.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn flusher_work(&self, interval_is_over: bool) -> Result<()> {
        let last_seq = {
            let mut writer = self.log.writer_for_close();
            writer.write_tail(&self.log)?;
            writer.last_seq()
        };
        match interval_is_over {
            true => self.log.sync_until(last_seq),
            false => Ok(()),
        }
    }

    /// The worker's work, for a simulator that orders the steps.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn worker_work(&self) -> Result<()> {
        self.work(&Bell::default())
    }

    /// Syncs for those who wait without a thread, as long as there are some.
    fn lead_for_futures(&self) {
        while let Some(seq) = self.log.waiters.demanded() {
            if self.log.synced_seq() >= seq {
                // Woken, though not all have asked again yet.
                return;
            }
            if let Err(error) = self.log.sync_until(seq) {
                let reached = |seq| self.log.synced_seq() >= seq;
                self.log.waiters.fail(&error, Durability::Device, reached);
            }
        }
    }

    /// Settles sealed segments, then merges what the watermarks ask for, at the rate allowed.
    pub(crate) fn worker_step(&self, bell: &Bell) -> Pause {
        let appended = self.log.counters.written_bytes.get();
        if let Err(error) = self.work(bell) {
            if !matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) {
                tracing::warn!(%error, "background work failed; it is tried again");
                self.note_background(&error.to_string());
            }
            return Pause::For(IDLE_INTERVAL);
        }
        let idle = self.log.counters.written_bytes.get() == appended;
        Pause::For(if idle { IDLE_INTERVAL } else { WORK_INTERVAL })
    }

    fn work(&self, bell: &Bell) -> Result<()> {
        // A merge that was called for does the same work: no need to wait for it.
        let Ok(_one_at_a_time) = self.merging.try_lock() else {
            return Ok(());
        };
        self.log.check_open()?;
        self.log.check_healthy()?;
        self.settle()?;
        self.log.take_reserve();
        self.look_for_expired();
        let now_ms = self.clock.now_ms();
        if self.log.manifest_time_is_stale(now_ms, TIME_SLACK_MS) {
            self.log.update_catalog(now_ms, |_| Ok(()))?;
        }
        let watch = Stopwatch::start();
        let spent = AtomicU64::new(0);
        let pace = |bytes: u64| {
            let spent = spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let due = self.options.merge_rate.map_or(Duration::ZERO, |rate| {
                Duration::from_secs_f64(spent as f64 / rate as f64)
            });
            match due.checked_sub(watch.elapsed()) {
                Some(ahead)
                    if ahead > Duration::from_millis(1)
                        && !self.merge_wanted.load(Ordering::Acquire) =>
                {
                    bell.rest(ahead.min(WORK_INTERVAL))
                }
                _ => !bell.is_stopping(),
            }
        };
        let merger = self.merger(&pace);
        let mut report = MergeReport::default();
        while merger.step(&mut report)? && !bell.is_stopping() {}
        self.image_if_due();
        Ok(())
    }
}
