//! Merge: live records of some sealed segments are written anew, the segments removed. In this
//! order, so that a crash at any point loses and revives nothing: what is live is decided
//! (`decide`), copied (`copy`), synced and named; the log is synced, so that what made a record
//! dead is durable too; one manifest declares the inputs dead; the keydir is moved over by
//! compare-and-swap; the inputs leave the table and are unlinked (`publish`).
//!
//! Writers and readers go on all the while. One merge runs at a time.

mod context;
mod copy;
mod decide;
mod pick;
mod publish;

use std::sync::Arc;

pub(crate) use context::Merger;
use context::is_damaged;

use crate::clock::Stopwatch;
use crate::error::{Error, ErrorKind, Result};
use crate::report::MergeReport;
use crate::report::Progress;
use crate::segment::data_file::Segment;
use crate::segment::hints;
use crate::stats::nanos;

/// How much [`Store::merge`](crate::Store::merge) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merge {
    /// What the watermarks of [`Options`](crate::Options) ask for, as the background does.
    Needed,
    /// Everything: the active segment is sealed, and when the call returns no dead byte of what
    /// was dead before it is in any file. A forgotten secret is gone from the directory.
    Full,
}

/// Rounds of a full merge after the first, for tombstones that the one before set free.
const FULL_ROUNDS_MAX: usize = 8;

impl Merger<'_> {
    /// Runs until the watermarks are content, or once through everything.
    pub(crate) fn run(
        &self,
        how: Merge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<MergeReport> {
        let span = tracing::info_span!("merge", ?how);
        let _entered = span.enter();
        let mut report = MergeReport::default();
        match how {
            Merge::Needed => while self.step(&mut report)? {},
            Merge::Full => self.full(&mut report, progress)?,
        }
        let damaged = self
            .log
            .table
            .load()
            .iter()
            .filter(|s| is_damaged(s))
            .count();
        report.segments_damaged = damaged as u64;
        Ok(report)
    }

    /// The most urgent piece of work; false if there is none.
    pub(crate) fn step(&self, report: &mut MergeReport) -> Result<bool> {
        self.log.check_healthy()?;
        let now_ms = self.clock.now_ms();
        if self.log.writer()?.seal_if_expired(self.log, now_ms)? {
            self.log.settle()?;
        }
        let expired = pick::expired(self.log, now_ms);
        if !expired.is_empty() {
            self.drop_expired(now_ms, &expired, report)?;
            return Ok(true);
        }
        match pick::needed(self.log, self.options, now_ms) {
            Some(inputs) => self.merge(inputs, report),
            None => Ok(false),
        }
    }

    /// Whole segments of which nothing can be visible or needed any more: not even read.
    fn drop_expired(
        &self,
        now_ms: u64,
        expired: &[Arc<Segment>],
        report: &mut MergeReport,
    ) -> Result<()> {
        let entries = publish::entries_of(self, expired)?;
        if expired.iter().any(|segment| is_damaged(segment)) {
            // Found only now; the next step picks without it.
            return Ok(());
        }
        publish::retire(self, now_ms, expired, entries)?;
        for summary in expired.iter().filter_map(|segment| segment.sealed()) {
            let over = summary.summary.max_expiry.max(summary.summary.max_covers);
            let late = now_ms.saturating_sub(over);
            self.log.counters.reclaim_lateness.record(late);
        }
        self.log.counters.reclaims.add(1);
        report.segments_dropped += expired.len() as u64;
        report.bytes_in += expired
            .iter()
            .map(|segment| segment.file_bytes())
            .sum::<u64>();
        Ok(())
    }

    /// Merges `inputs` into new segments. An input with a record that cannot be read is left
    /// alone, and the others are merged without it. False if the merge was told to stop.
    fn merge(&self, inputs: Vec<Arc<Segment>>, report: &mut MergeReport) -> Result<bool> {
        let (watch, counters) = (Stopwatch::start(), &self.log.counters);
        let bytes = inputs.iter().map(|input| input.record_bytes()).sum();
        counters.merging_done.set(0);
        counters.merging_total.set(bytes);
        let merged = self.merge_what_can_be(inputs, report);
        counters.merging_total.set(0);
        if matches!(merged, Ok(true)) {
            counters.merge_latency.record(nanos(watch));
        }
        merged
    }

    fn merge_what_can_be(
        &self,
        mut inputs: Vec<Arc<Segment>>,
        report: &mut MergeReport,
    ) -> Result<bool> {
        while !inputs.is_empty() {
            let now_ms = self.clock.now_ms();
            // Asking for the hints may find an input damaged.
            for input in &inputs {
                hints::of(self.log, input)?;
            }
            inputs.retain(|input| !is_damaged(input));
            let decided = decide::decide(self, &inputs, now_ms)?;
            match copy::copy(self, &inputs, &decided, now_ms) {
                Ok(copied) => {
                    let Some(copied) = copied else {
                        return Ok(false);
                    };
                    if decided.drops_puts || copied.forgets() {
                        self.log.counters.reclaims.add(1);
                    }
                    publish::publish(self, now_ms, &inputs, copied, report)?;
                    report.records_dropped += decided.dropped;
                    report.tombstones_kept += decided.tombstones_kept;
                    return Ok(true);
                }
                Err(copy::Failed::Unreadable(index, error)) => {
                    if !error.is_of_damage() {
                        return Err(error);
                    }
                    let damaged = inputs.remove(index);
                    tracing::warn!(%error, "a segment is left out of merging");
                    damaged.mark_damaged();
                }
                // Where all together find no room, the one with most to give may.
                Err(copy::Failed::Other(error))
                    if error.kind() == ErrorKind::StorageFull && inputs.len() > 1 =>
                {
                    inputs.truncate(1);
                }
                Err(copy::Failed::Other(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Merges one segment, whatever the watermarks say.
    pub(crate) fn rewrite(&self, segment: &Arc<Segment>, report: &mut MergeReport) -> Result<bool> {
        let there = self
            .log
            .table
            .load()
            .get(segment.slot)
            .is_some_and(|held| held.header.id == segment.header.id);
        match there && !is_damaged(segment) {
            true => self.merge(vec![segment.clone()], report),
            false => Ok(false),
        }
    }

    fn full(&self, report: &mut MergeReport, progress: &mut dyn FnMut(Progress)) -> Result<()> {
        self.log.writer()?.seal(self.log)?;
        self.log.settle()?;
        let mut waiting = pick::all(self.log);
        // What dies from here on is not this call's to remove: under steady writes there is always
        // more of it, and each round would copy the whole store again.
        let last = waiting.iter().map(|segment| segment.header.id).max();
        let mut left = (usize::MAX, u64::MAX);
        for _ in 0..=FULL_ROUNDS_MAX {
            let now = pick::work(&waiting, last);
            if waiting.is_empty() || now >= left {
                break;
            }
            left = now;
            let total_bytes = waiting.iter().map(|segment| segment.file_bytes()).sum();
            let mut done_bytes = 0;
            for group in pick::groups(waiting, self.log.segment_bytes) {
                done_bytes += group
                    .iter()
                    .map(|segment| segment.file_bytes())
                    .sum::<u64>();
                if !self.merge(group, report)? {
                    return Err(Error::closed());
                }
                progress(Progress {
                    done_bytes,
                    total_bytes,
                });
            }
            waiting = pick::unfinished(self.log, last);
        }
        Ok(())
    }
}
