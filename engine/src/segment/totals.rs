//! What all segments of the table hold together, kept up to date by each of them, so that nobody
//! needs to go through them to know it. Knows no segment.

use crate::sync::atomic::{AtomicU64, Ordering};

/// One segment's part, or the sum of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    pub(crate) segments: u64,
    pub(crate) file_bytes: u64,
    pub(crate) record_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) tombstone_bytes: u64,
    /// Segments with a record that could not be read.
    pub(crate) damaged: u64,
}

/// The sum of all.
#[derive(Default)]
pub(crate) struct Totals {
    segments: AtomicU64,
    file_bytes: AtomicU64,
    record_bytes: AtomicU64,
    live_bytes: AtomicU64,
    tombstone_bytes: AtomicU64,
    damaged: AtomicU64,
}

impl Totals {
    /// A segment's part was `before` and is `after`.
    pub(crate) fn shift(&self, before: Holdings, after: Holdings) {
        let one = |total: &AtomicU64, before: u64, after: u64| {
            if before != after {
                // Wraps when it sinks; the sum comes out right.
                total.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        };
        one(&self.segments, before.segments, after.segments);
        one(&self.file_bytes, before.file_bytes, after.file_bytes);
        one(&self.record_bytes, before.record_bytes, after.record_bytes);
        one(&self.live_bytes, before.live_bytes, after.live_bytes);
        one(&self.damaged, before.damaged, after.damaged);
        one(
            &self.tombstone_bytes,
            before.tombstone_bytes,
            after.tombstone_bytes,
        );
    }

    pub(crate) fn all(&self) -> Holdings {
        let load = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Holdings {
            segments: load(&self.segments),
            file_bytes: load(&self.file_bytes),
            record_bytes: load(&self.record_bytes),
            live_bytes: load(&self.live_bytes),
            tombstone_bytes: load(&self.tombstone_bytes),
            damaged: load(&self.damaged),
        }
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::clock::ManualClock;
    use crate::core::Core;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;
    use crate::handle::Handle;
    use crate::merge::Merge;
    use crate::options::{Durability, KeyspaceOptions, Options, Write};
    use crate::segment::names;
    use crate::store::Store;

    fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> (Arc<Core>, Store) {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let lock = shared.lock(names::LOCK).expect("free");
        let options = Options::default()
            .background(false)
            .reserve_bytes(0)
            .segment_bytes(4_096)
            .clock(clock.clone());
        let core = Core::open("sim".into(), &shared, lock, options).expect("opened");
        (core.clone(), Store::of(Handle::new(core)))
    }

    /// What the segments say when each is asked.
    fn counted(core: &Core) -> Holdings {
        let mut all = Holdings::default();
        for segment in core.log.table.load().iter() {
            all.segments += 1;
            all.file_bytes += segment.file_bytes();
            all.record_bytes += segment.record_bytes();
            all.live_bytes += segment.live_bytes();
            all.tombstone_bytes += segment.tombstone_bytes();
            all.damaged += u64::from(segment.is_damaged());
        }
        all
    }

    #[test]
    fn the_totals_are_what_the_segments_say_after_every_step() {
        let (disk, clock) = (
            SimDisk::new(1),
            Arc::new(ManualClock::new(1_700_000_000_000)),
        );
        let (mut core, mut store) = open(&disk, &clock);
        let mut random = 7_u64;
        for step in 0..600_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(step | 1);
            let pick = random >> 40;
            let name = ["a", "b"][usize::from(pick.is_multiple_of(7))];
            let space = store
                .keyspace(name, KeyspaceOptions::hash())
                .expect("there");
            let key = [u8::try_from(pick % 23).expect("small")];
            let how = [Durability::Buffered, Durability::Kernel, Durability::Device];
            let durability = how[usize::try_from(pick % 3).expect("small")];
            match pick % 40 {
                0 => drop(store.merge(Merge::Needed).expect("merged")),
                1 => drop(store.merge(Merge::Full).expect("merged")),
                2 => drop(store.drop_keyspace("b").expect("dropped")),
                3 => clock.advance(Duration::from_secs(200)),
                4 => {
                    drop(space);
                    store.close().expect("closed");
                    drop(core);
                    (core, store) = open(&disk, &clock);
                }
                5..12 => drop(space.delete_with(key, durability).expect("deleted")),
                _ => {
                    let life = Duration::from_secs(1 + pick % 900);
                    let write = Write::new().ttl(life).durability(durability);
                    let value = vec![1; usize::try_from(pick % 400).expect("small")];
                    drop(space.put_with(key, value, write).expect("put"));
                }
            }
            assert_eq!(
                core.log.table.totals.all(),
                counted(&core),
                "after step {step}"
            );
        }
    }
}
