//! The index of one kind of record: slots, ordered by place in the keyspace and by deadline.
//! It reads no record and knows no disk.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::due::Due;
use super::slab::{Entry, Slab, SlotState};

/// High and low half of the key's prefix, then the slot: twelve bytes instead of sixteen.
type ByKey = [u32; 3];

/// One kind of record.
pub(crate) struct Table {
    slab: Slab,
    by_key: BTreeSet<ByKey>,
    by_deadline: BTreeSet<(u32, u32)>,
    /// Present where records are published by this node.
    pub(crate) due: Option<Due>,
    /// Different keys.
    keys: u64,
    /// Entries in the order of deadlines up to and with `expired_until`.
    expired: u64,
    expired_until: (u32, u32),
    quarantined: u64,
}

/// An entry as it was found on disk; `seq` decides between two of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) seq: u64,
    pub(crate) slot: u32,
}

impl Table {
    pub(crate) fn new(own: bool) -> Table {
        Table {
            slab: Slab::new(),
            by_key: BTreeSet::new(),
            by_deadline: BTreeSet::new(),
            due: own.then(Due::default),
            keys: 0,
            expired: 0,
            expired_until: (0, 0),
            quarantined: 0,
        }
    }

    /// From all that was found, in any order, and the slots whose bytes nobody can read.
    pub(crate) fn build(own: bool, mut found: Vec<Found>, quarantined: &[u32]) -> Table {
        let mut table = Table::new(own);
        found.sort_unstable_by_key(|found| {
            let Entry { prefix, tag, .. } = found.entry;
            (prefix, tag, u64::MAX - found.seq)
        });
        // Of two copies of one record the one written later counts.
        found.dedup_by_key(|found| (found.entry.prefix, found.entry.tag));
        let mut keys = None;
        for Found { entry, slot, .. } in &found {
            table.slab.claim(*slot, *entry, SlotState::Live);
            table.keys += u64::from(keys.replace(entry.prefix) != Some(entry.prefix));
        }
        for slot in quarantined {
            let nothing = Entry {
                prefix: 0,
                tag: 0,
                deadline_s: 0,
                ordinal: 0,
            };
            table.slab.claim(*slot, nothing, SlotState::Quarantined);
            table.quarantined += 1;
        }
        table.slab.fill_gaps();
        table.by_key = found
            .iter()
            .map(|found| by_key(found.entry.prefix, found.slot))
            .collect();
        table.by_deadline = found
            .iter()
            .filter(|found| found.entry.deadline_s > 0)
            .map(|found| (found.entry.deadline_s, found.slot))
            .collect();
        table
    }

    /// The slot of a record.
    pub(crate) fn find(&self, prefix: u64, tag: u64) -> Option<u32> {
        self.of_key(prefix)
            .find(|slot| self.slab.entry(*slot).tag == tag)
    }

    /// All slots of a key, in no particular order.
    pub(crate) fn of_key(&self, prefix: u64) -> impl Iterator<Item = u32> + '_ {
        self.by_key
            .range(by_key(prefix, 0)..=by_key(prefix, u32::MAX))
            .map(|[_, _, slot]| *slot)
    }

    /// Slots in the order of the keyspace, from a prefix on.
    pub(crate) fn at_prefix(&self, prefix: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.at_place(prefix, 0)
    }

    /// The same from a slot of a prefix on.
    pub(crate) fn at_place(&self, prefix: u64, slot: u32) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.by_key
            .range(by_key(prefix, slot)..)
            .map(|[high, low, slot]| (u64::from(*high) << 32 | u64::from(*low), *slot))
    }

    pub(crate) fn entry(&self, slot: u32) -> Entry {
        self.slab.entry(slot)
    }

    pub(crate) fn is_live(&self, slot: u32) -> bool {
        self.slab.state(slot) == SlotState::Live
    }

    /// Adds a record; `None` if there is no slot left.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<u32> {
        let new_key = self.of_key(entry.prefix).next().is_none();
        let slot = self.slab.take(entry)?;
        self.keys += u64::from(new_key);
        self.by_key.insert(by_key(entry.prefix, slot));
        self.add_deadline(slot, entry.deadline_s);
        Some(slot)
    }

    pub(crate) fn set_deadline(&mut self, slot: u32, deadline_s: u32) {
        let old = self.slab.entry(slot).deadline_s;
        if old == deadline_s {
            return;
        }
        self.drop_deadline(slot, old);
        self.slab.set_deadline(slot, deadline_s);
        self.add_deadline(slot, deadline_s);
    }

    /// Takes a record out. Its slot is free at once, or when `release` says so.
    pub(crate) fn remove(&mut self, slot: u32, next: SlotState) -> Entry {
        let entry = self.slab.entry(slot);
        self.by_key.remove(&by_key(entry.prefix, slot));
        self.drop_deadline(slot, entry.deadline_s);
        if let Some(due) = &mut self.due {
            due.remove(slot);
        }
        if self.of_key(entry.prefix).next().is_none() {
            self.keys -= 1;
        }
        match next {
            SlotState::Free => self.slab.release(slot),
            SlotState::Quarantined => {
                self.quarantined += 1;
                self.slab.set_state(slot, next);
            }
            SlotState::Live | SlotState::Leaving => {
                self.slab.set_state(slot, SlotState::Leaving);
            }
        }
        entry
    }

    /// The last write of a slot's old record is done.
    pub(crate) fn release(&mut self, slot: u32) {
        if self.slab.state(slot) == SlotState::Leaving {
            self.slab.release(slot);
        }
    }

    /// The record whose deadline comes first.
    pub(crate) fn first_deadline(&self) -> Option<(u32, u32)> {
        self.by_deadline.first().copied()
    }

    /// Up to `max` slots whose deadline is not after `second`, the earliest first.
    pub(crate) fn deadlines_until(&self, second: u32) -> impl Iterator<Item = u32> + '_ {
        self.by_deadline
            .range(..=(second, u32::MAX))
            .map(|(_, slot)| *slot)
    }

    /// Counts what has expired up to `now_s`, at most `max` entries; true if there may be more.
    pub(crate) fn count_expired(&mut self, now_s: u32, max: usize) -> bool {
        let end = (now_s, u32::MAX);
        if end <= self.expired_until {
            return false;
        }
        let range = (Bound::Excluded(self.expired_until), Bound::Included(end));
        let (mut counted, mut last) = (0, end);
        for entry in self.by_deadline.range(range).take(max) {
            counted += 1;
            last = *entry;
        }
        let more = counted == max;
        self.expired += counted as u64;
        self.expired_until = if more { last } else { end };
        more
    }

    /// Records, those that have expired left out as far as counted.
    pub(crate) fn live(&self) -> u64 {
        self.len().saturating_sub(self.expired)
    }

    /// Records, those that wait for the sweep included.
    pub(crate) fn len(&self) -> u64 {
        self.by_key.len() as u64
    }

    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// Slots whose bytes nobody can read.
    pub(crate) fn quarantined_slots(&self) -> Vec<u32> {
        if self.quarantined == 0 {
            return Vec::new();
        }
        (0..self.slab.high())
            .filter(|slot| self.slab.state(*slot) == SlotState::Quarantined)
            .collect()
    }

    fn add_deadline(&mut self, slot: u32, deadline_s: u32) {
        if deadline_s > 0 && self.by_deadline.insert((deadline_s, slot)) {
            self.expired += u64::from((deadline_s, slot) <= self.expired_until);
        }
    }

    fn drop_deadline(&mut self, slot: u32, deadline_s: u32) {
        if deadline_s > 0 && self.by_deadline.remove(&(deadline_s, slot)) {
            self.expired -= u64::from((deadline_s, slot) <= self.expired_until);
        }
    }
}

fn by_key(prefix: u64, slot: u32) -> ByKey {
    let high = u32::try_from(prefix >> 32).expect("the upper half");
    let low = u32::try_from(prefix & 0xFFFF_FFFF).expect("the lower half");
    [high, low, slot]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefix: u64, tag: u64, deadline_s: u32) -> Entry {
        Entry {
            prefix,
            tag,
            deadline_s,
            ordinal: 0,
        }
    }

    #[test]
    fn keys_are_counted_once_and_found_in_their_order() {
        let mut table = Table::new(false);
        for (prefix, tag) in [(9 << 40, 1), (3, 1), (9 << 40, 2), (7, 1)] {
            table.insert(entry(prefix, tag, 0));
        }
        assert_eq!((table.len(), table.keys()), (4, 3));
        let order: Vec<u64> = table.at_prefix(4).map(|(prefix, _)| prefix).collect();
        assert_eq!(order, [7, 9 << 40, 9 << 40]);
        let slot = table.find(9 << 40, 2).expect("there");
        table.remove(slot, SlotState::Free);
        assert_eq!((table.len(), table.keys()), (3, 3));
        assert_eq!(table.find(9 << 40, 2), None);
    }

    #[test]
    fn expired_entries_are_not_counted_as_live_whatever_happens_to_them() {
        let mut table = Table::new(false);
        let a = table.insert(entry(1, 1, 10)).expect("a slot");
        let b = table.insert(entry(2, 1, 20)).expect("a slot");
        table.insert(entry(3, 1, 0));
        assert!(!table.count_expired(15, 10));
        assert_eq!(table.live(), 2);
        table.set_deadline(a, 30);
        assert_eq!(table.live(), 3);
        table.set_deadline(a, 5);
        assert_eq!(table.live(), 2);
        assert!(table.count_expired(25, 1), "one is counted, more may come");
        table.count_expired(25, 1);
        assert_eq!(table.live(), 1);
        assert_eq!(table.deadlines_until(25).collect::<Vec<_>>(), [a, b]);
        table.remove(a, SlotState::Free);
        table.remove(b, SlotState::Free);
        assert_eq!((table.live(), table.len()), (1, 1));
    }

    #[test]
    fn of_two_copies_of_one_record_the_later_counts() {
        let found = |slot, seq, ordinal| Found {
            entry: Entry {
                ordinal,
                ..entry(5, 6, 0)
            },
            seq,
            slot,
        };
        let table = Table::build(false, vec![found(0, 10, 1), found(1, 11, 2)], &[2]);
        assert_eq!(table.len(), 1);
        assert_eq!(table.find(5, 6), Some(1));
        assert_eq!(table.quarantined_slots(), [2]);
    }
}
