//! A consistent view at a seq, as snapshots and transactions hold it: a seq, a frozen time, and
//! the promise of `past` to keep what is superseded from then on. It finds records and lists
//! keys; what callers get from that is their business.
//!
//! It keeps the store's memory, not the store open: one that is leaked holds no lock and no close
//! up.

use std::sync::Arc;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::key_cursor::{BoundsRef, PART_LEN};
use crate::keydir::space::Space;
use crate::lookup;
use crate::past::Version;
use crate::segment::data_file::Record;
use crate::segment::format::NEVER;

/// Versions by the hash of their key. What cannot be read has no key to be known by: it is told
/// once, at the end of its part.
pub(crate) type Found = Vec<(u128, Result<Version>)>;

/// A view; dropping it lets go of what was kept for it.
pub(crate) struct View {
    core: Arc<Core>,
    seq: u64,
    now_ms: u64,
}

impl View {
    /// A view of everything that is visible now; a batch is in it whole or not at all.
    ///
    /// `begun` runs while no write can come between.
    pub(crate) fn take(core: &Arc<Core>, begun: impl FnOnce()) -> Result<View> {
        let writer = core.log.writer_for_close();
        core.log.check_open()?;
        let (seq, now_ms) = (writer.last_seq(), core.clock.now_ms());
        core.past.take(seq, now_ms);
        begun();
        drop(writer);
        Ok(View {
            core: core.clone(),
            seq,
            now_ms,
        })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The store is open and the keyspace still there.
    pub(crate) fn check(&self, space: &Space) -> Result<()> {
        self.core.log.check_open()?;
        if space.is_dropped() {
            let gone = format!("keyspace '{}' was dropped", space.entry.name);
            return Err(Error::new(ErrorKind::NotFound, gone));
        }
        Ok(())
    }

    /// The record that was live when the view was taken.
    pub(crate) fn find(
        &self,
        space: &Space,
        key: &[u8],
        with_value: bool,
    ) -> Result<Option<Record>> {
        self.check(space)?;
        let timed = self.core.log.counters.begin_get();
        let (log, past) = (&self.core.log, &self.core.past);
        let found = lookup::find_at(log, past, space, key, self.seq, with_value)?;
        log.counters.end_get(timed);
        Ok(found.filter(|record| self.is_live(record)))
    }

    /// A version that was found before.
    pub(crate) fn read(&self, space: &Space, version: &Version) -> Result<Option<Record>> {
        self.check(space)?;
        let record = version.read(true)?;
        Ok(Some(record).filter(|record| self.is_live(record)))
    }

    /// The first keys within bounds that are in the keydir now, and of those that have changed.
    pub(crate) fn ordered_part(
        &self,
        space: &Space,
        bounds: BoundsRef<'_>,
        from_back: bool,
    ) -> Vec<Box<[u8]>> {
        // In this order: what leaves the keydir has been kept before.
        let current = space.keydir.ordered_part(bounds, from_back, PART_LEN);
        let past = &self.core.past;
        let mut keys = past.ordered_part(self.seq, space, bounds, from_back, PART_LEN);
        keys.extend(current.into_iter().map(|(key, _)| key));
        keys
    }

    /// All versions that were current when the view was taken, of the part of a hash keyspace that
    /// begins at `from`, by hash, and where the next part begins; begun with 0, `None` after the
    /// last.
    pub(crate) fn hashed_part(&self, space: &Space, from: u64) -> Result<(Found, Option<u64>)> {
        loop {
            // Of a dropped keyspace merge forgets the entries: they may point nowhere.
            self.check(space)?;
            let before = self.core.log.table.load_full();
            let (locations, next) = space.keydir.hash_part(from);
            let tables = [before, self.core.log.table.load_full()];
            let segment_of = |slot| tables.iter().find_map(|table| table.get(slot));
            // A segment that came and went between the two: the part is listed again.
            if locations.iter().any(|at| segment_of(at.slot).is_none()) {
                crate::sync::thread::yield_now();
                continue;
            }
            let mut found = Found::with_capacity(locations.len());
            for location in locations {
                let Some(segment) = segment_of(location.slot) else {
                    continue;
                };
                let looked = segment.look(u64::from(location.offset), |header, key| {
                    (space.hash(key), header.fields.seq)
                });
                match looked {
                    Ok((_, seq)) if seq > self.seq => {}
                    Ok((hash, seq)) => {
                        let version = Version {
                            segment: segment.clone(),
                            seq,
                            offset: location.offset,
                        };
                        found.push((hash, Ok(version)));
                    }
                    Err(error) => found.push((u128::MAX, Err(error))),
                }
            }
            let past = &self.core.past;
            let past = past.hashed_part(self.seq, space, from, next);
            found.extend(past.into_iter().map(|(hash, version)| (hash, Ok(version))));
            found.sort_by_key(|(hash, _)| *hash);
            // Superseded after it was listed: the same version twice.
            found.dedup_by(|b, a| a.0 == b.0 && a.1.is_ok() && b.1.is_ok());
            return Ok((found, next));
        }
    }

    fn is_live(&self, record: &Record) -> bool {
        let expiry = record.header.fields.expiry;
        expiry == NEVER || expiry > self.now_ms
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.core.past.release(self.seq);
    }
}
