//! Making room under a space cap: what is dead or expired first, then what expires soonest. It is
//! the part of the core that a put calls, without any lock, when it found no room.

use crate::commit::{self, Committer, Condition, Op, Outcome, Who};
use crate::core::Core;
use crate::error::{ErrorKind, Result};
use crate::evict::{self, Victim};
use crate::expected::Expected;
use crate::options::{AtCap, Durability};
use crate::report::MergeReport;
use crate::segment::location::Seq;

/// Of a segment, at least this part is evicted at once, so that few puts pay for it.
const EVICTED_PART: u64 = 4;

impl Core {
    /// Whether a write that failed may be tried again once others were evicted for it.
    pub(crate) fn may_evict_for(&self, ops: &[Op<'_>], applied: &Result<Outcome>) -> bool {
        self.options.space_cap.is_some()
            && self.options.at_cap == AtCap::Evict
            && matches!(applied, Err(e) if e.kind() == ErrorKind::StorageFull)
            && !ops.iter().all(Op::is_delete)
    }

    /// Makes room under the cap: what is dead or expired goes first, then what expires soonest.
    /// False if there is nothing that can go.
    pub(crate) fn evict(&self, ops: &[Op<'_>]) -> Result<bool> {
        let span = tracing::debug_span!("evict");
        let _entered = span.enter();
        let _one_at_a_time = self.merge_turn();
        self.log.check_open()?;
        self.settle()?;
        let pace = |_| self.log.check_open().is_ok();
        let merger = self.merger(&pace);
        let mut report = MergeReport::default();
        while merger.step(&mut report)? {}
        let need: u64 = ops.iter().map(Op::encoded_len_max).sum();
        if self.log.take_reserve() && self.log.admit(need).is_ok() {
            return Ok(true);
        }
        let mut bytes = need.max(self.options.segment_bytes / EVICTED_PART);
        if self.log.is_lean() {
            // The reserve wants its room back, too.
            bytes += self.options.reserve_bytes;
        }
        let mut victims = evict::soonest(&self.log, &self.spaces, bytes)?;
        if victims.is_empty() {
            self.log.writer()?.seal(&self.log)?;
            self.settle()?;
            victims = evict::soonest(&self.log, &self.spaces, bytes)?;
        }
        let gone = self.bury(&victims)?;
        let mut segments: Vec<_> = victims
            .iter()
            .take(gone)
            .map(|victim| &victim.segment)
            .collect();
        segments.sort_unstable_by_key(|segment| segment.header.id);
        segments.dedup_by_key(|segment| segment.header.id);
        for segment in segments {
            merger.rewrite(segment, &mut report)?;
        }
        while merger.step(&mut report)? {}
        self.log.take_reserve();
        Ok(gone > 0)
    }

    /// Tombstones for those who have to go, unless they were written anew meanwhile; how many of
    /// them were seen to before the room for tombstones was used up.
    fn bury(&self, victims: &[Victim]) -> Result<usize> {
        let with = Committer {
            log: &self.log,
            clock: &self.clock,
            past: &self.past,
            touched: &self.turns.touched,
        };
        for (done, victim) in victims.iter().enumerate() {
            let op = Op::delete(&victim.space, &victim.key);
            let unchanged = Condition {
                space: &victim.space,
                hash: op.hash,
                key: &victim.key,
                expected: Expected::Seq(Seq(victim.seq)),
            };
            match commit::apply(&with, Who::Plain, &[unchanged], &[op], Durability::Buffered) {
                Ok(outcome) => {
                    let evicted = u64::from(outcome.refused.is_none());
                    self.log.counters.evicted.add(evicted);
                }
                Err(e) if e.kind() == ErrorKind::StorageFull => return Ok(done),
                // Its keyspace was dropped: it is gone already.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(victims.len())
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use crate::clock::ManualClock;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;
    use crate::handle::Handle;
    use crate::keyspace::Keyspace;
    use crate::merge::Merge;
    use crate::options::{KeyspaceOptions, Options, Write};
    use crate::segment::names;
    use crate::store::Store;

    const CAP: u64 = 220_000;
    const START_MS: u64 = 1_700_000_000_000;

    /// A disk that is looked at after every call that changes it, and the most it ever held.
    fn watched() -> (SimDisk, Arc<AtomicUsize>) {
        let (disk, most) = (SimDisk::new(1), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        disk.set_hook(Some(Box::new(move |state| {
            let bytes = state.named_bytes();
            assert!(bytes as u64 <= CAP, "{bytes} bytes after {:?}", state.last);
            seen.fetch_max(bytes, Ordering::SeqCst);
        })));
        (disk, most)
    }

    fn open(disk: &SimDisk, at_cap: AtCap) -> (Store, Keyspace, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(START_MS));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let lock = shared.lock(names::LOCK).expect("free");
        let options = Options::default()
            .background(false)
            .segment_bytes(4_096)
            .reserve_bytes(8_192)
            .durability(Durability::Kernel)
            .space_cap(Some(CAP))
            .at_cap(at_cap)
            .clock(clock.clone());
        let core = Core::open("sim".into(), &shared, lock, options).expect("opened");
        let store = Store::of(Handle::new(core));
        let keyspace = store.keyspace("k", KeyspaceOptions::hash()).expect("made");
        (store, keyspace, clock)
    }

    fn random(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *state >> 40
    }

    #[test]
    fn no_disk_call_takes_the_files_over_the_cap_and_all_but_puts_go_on_at_it() {
        let (disk, most) = watched();
        let (mut store, mut keyspace, _) = open(&disk, AtCap::Refuse);
        let (mut model, mut chance) = (BTreeMap::new(), 7);
        let (mut refused, mut after) = (0, 0);
        for step in 0..6_000_u64 {
            let key = random(&mut chance) % 600;
            match random(&mut chance) % 100 {
                0..70 => {
                    let value = vec![1; 40 + usize::try_from(key % 500).expect("small")];
                    match keyspace.put(key.to_le_bytes(), &value) {
                        Ok(()) => {
                            after += u64::from(refused > 0);
                            model.insert(key, value);
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                            refused += 1;
                        }
                    }
                }
                70..96 => {
                    let existed = keyspace.delete(key.to_le_bytes());
                    match existed {
                        Ok(existed) => assert_eq!(existed, model.remove(&key).is_some()),
                        // What is kept for deletes is used up, until a merge.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
                    }
                }
                96..98 => drop(store.merge(Merge::Needed).expect("merge goes on")),
                98 if step % 5 == 0 => {
                    drop(keyspace);
                    store.close().expect("closed");
                    (store, keyspace, _) = open(&disk, AtCap::Refuse);
                }
                _ => {
                    let got = keyspace.get(key.to_le_bytes()).expect("read");
                    assert_eq!(got.as_deref(), model.get(&key).map(Vec::as_slice));
                }
            }
        }
        assert!(
            refused > 0 && after > 0,
            "refused, and taken again: {refused}, {after}"
        );
        let most = most.load(Ordering::SeqCst) as u64;
        assert!(most > CAP / 2, "the cap was come near: {most}");
        assert_eq!(store.stats().keys, model.len() as u64);
    }

    #[test]
    fn what_expires_soonest_is_evicted_and_does_not_come_back() {
        let (disk, _) = watched();
        let (store, keyspace, _) = open(&disk, AtCap::Evict);
        let mut stays = Vec::new();
        for n in 0..3_000_u64 {
            let life = Duration::from_secs(1_000 + n);
            let value = vec![2; 150];
            let commit = keyspace.put_with(n.to_le_bytes(), &value, Write::new().ttl(life));
            commit.expect("room is made").wait().expect("written");
            if n % 100 == 0 {
                let key = format!("stays {n}");
                keyspace.put(&key, &value).expect("room is made");
                stays.push(key);
            }
        }
        let evicted = store.stats().evicted;
        assert!(evicted > 1_500, "{evicted} evicted");
        let left = |keyspace: &Keyspace| -> Vec<u64> {
            let all = (0..3_000_u64).filter(|n| keyspace.contains(n.to_le_bytes()).expect("read"));
            all.collect()
        };
        let survivors = left(&keyspace);
        assert_eq!(
            survivors.len() as u64 + evicted,
            3_000,
            "each is there or evicted"
        );
        // They expire in the order of their numbers: those that are left are the last ones.
        let first = survivors.first().copied().expect("some are left");
        assert_eq!(survivors, (first..3_000).collect::<Vec<u64>>());
        drop(keyspace);
        store.close().expect("closed");
        let (_store, keyspace, _) = open(&disk, AtCap::Evict);
        assert_eq!(left(&keyspace), survivors);
        for key in stays {
            assert!(
                keyspace.contains(&key).expect("read"),
                "{key} never expires"
            );
        }
    }

    #[test]
    fn where_nothing_expires_eviction_refuses_and_dead_bytes_are_taken_first() {
        let (disk, _) = watched();
        let (store, keyspace, _) = open(&disk, AtCap::Evict);
        // One key over and over: all but its last version is dead.
        for n in 0..2_000_u64 {
            keyspace
                .put("key", [n.to_le_bytes(); 20].concat())
                .expect("the dead make room");
        }
        assert_eq!(store.stats().evicted, 0);
        let full = (0..3_000_u64).find_map(|n| keyspace.put(n.to_le_bytes(), [3; 150]).err());
        assert_eq!(full.expect("at the cap").kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_snapshot_that_holds_on_leads_to_a_refusal_not_beyond_the_cap() {
        let (disk, _) = watched();
        let (store, keyspace, _) = open(&disk, AtCap::Refuse);
        keyspace.put("old", [1; 1_000]).expect("stored");
        let snapshot = store.snapshot().expect("taken");
        let mut refused = 0;
        for n in 0..1_500_u64 {
            match keyspace.put((n % 700).to_le_bytes(), [4; 200]) {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    refused += 1;
                }
            }
            if n % 50 == 0 {
                let _either = store.merge(Merge::Needed);
            }
        }
        assert!(refused > 0);
        let old = snapshot.get(&keyspace, "old").expect("read");
        assert_eq!(old.as_deref(), Some(&[1; 1_000][..]));
    }
}
