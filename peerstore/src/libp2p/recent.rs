//! Which peers may be evicted, the longest not updated first; kept only if there is a limit of peers. Knows places
//! in the directory and no names: a peer costs some forty bytes here, and about as many more while something
//! protects it for a time.

use std::collections::{BTreeSet, HashMap};

use super::directory::SlotNumber;

/// Rooms for so many more peers of a shard are made at a time.
const GROWTH: usize = 1_024;

/// A place in the directory of a shard, by the number of the shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn new(shard: usize, slot: SlotNumber) -> Place {
        Place((shard as u64) << 32 | u64::from(slot))
    }

    pub(crate) fn shard(self) -> usize {
        usize::try_from(self.0 >> 32).unwrap_or(0)
    }

    pub(crate) fn slot(self) -> SlotNumber {
        SlotNumber::try_from(self.0 & u64::from(SlotNumber::MAX)).unwrap_or(SlotNumber::MAX)
    }
}

#[derive(Default)]
pub(crate) struct Recent {
    /// Those that may go.
    by_time: BTreeSet<(u64, Place)>,
    /// Those that something protects up to a moment.
    by_end: BTreeSet<(u64, Place)>,
    /// The ends of these.
    ends: HashMap<Place, u64>,
    /// Of each shard and place when it was last updated, and one more; 0 for those that are not here.
    updated: Vec<Vec<u64>>,
}

impl Recent {
    /// A peer that was updated at a moment and may go after another one; 0 for at once.
    pub(crate) fn set(&mut self, place: Place, updated_ms: u64, protected_until_ms: u64) {
        self.remove(place);
        *self.updated_at(place) = updated_ms.saturating_add(1);
        match protected_until_ms {
            0 => self.by_time.insert((updated_ms, place)),
            end_ms => {
                self.ends.insert(place, end_ms);
                self.by_end.insert((end_ms, place))
            }
        };
    }

    /// A peer that may never go, or is gone.
    pub(crate) fn remove(&mut self, place: Place) {
        let updated = std::mem::take(self.updated_at(place));
        let Some(updated_ms) = updated.checked_sub(1) else {
            return;
        };
        match self.ends.remove(&place) {
            Some(end_ms) => self.by_end.remove(&(end_ms, place)),
            None => self.by_time.remove(&(updated_ms, place)),
        };
    }

    /// When a peer was last updated, if nothing protected it when this was last looked at.
    pub(crate) fn updated_ms(&self, place: Place) -> Option<u64> {
        let shard = self.updated.get(place.shard())?;
        let updated = shard.get(usize::try_from(place.slot()).ok()?)?;
        let updated_ms = updated.checked_sub(1)?;
        (!self.ends.contains_key(&place)).then_some(updated_ms)
    }

    /// Takes out the one that goes first, of those that nothing protects now.
    pub(crate) fn take_first(&mut self, now_ms: u64) -> Option<Place> {
        while let Some((end_ms, place)) = self.by_end.first().copied() {
            if end_ms > now_ms {
                break;
            }
            let updated_ms = self.updated_at(place).saturating_sub(1);
            self.set(place, updated_ms, 0);
        }
        let (_, place) = self.by_time.pop_first()?;
        *self.updated_at(place) = 0;
        Some(place)
    }

    fn updated_at(&mut self, place: Place) -> &mut u64 {
        let (shard, slot) = (place.shard(), place.slot() as usize);
        if self.updated.len() <= shard {
            self.updated.resize(shard + 1, Vec::new());
        }
        let places = &mut self.updated[shard];
        if places.len() <= slot {
            // Step by step: a table that doubled would be half empty.
            let len = (slot + 1).next_multiple_of(GROWTH);
            places.reserve_exact(len - places.len());
            places.resize(len, 0);
        }
        &mut places[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_go_goes_by_its_last_update_and_who_is_protected_after_its_end() {
        let mut recent = Recent::default();
        let place = |number| Place::new(63, number);
        for (number, updated_ms, end_ms) in [(0, 5, 0), (1, 3, 0), (2, 1, 100), (3, 2, 200)] {
            recent.set(place(number), updated_ms, end_ms);
        }
        assert_eq!(recent.updated_ms(place(1)), Some(3));
        assert_eq!(recent.updated_ms(place(2)), None);
        assert_eq!(recent.take_first(99), Some(place(1)));
        assert_eq!(recent.take_first(100), Some(place(2)));
        // Updated again, protected for longer, gone.
        recent.set(place(3), 9, 300);
        recent.set(place(0), 8, 0);
        recent.set(place(4_000), 7, 0);
        recent.remove(place(4_000));
        recent.remove(place(4_001));
        assert_eq!(recent.take_first(299), Some(place(0)));
        assert_eq!(recent.take_first(299), None);
        assert_eq!(recent.take_first(300), Some(place(3)));
        assert_eq!(recent.take_first(u64::MAX), None);
        assert!(recent.ends.is_empty() && recent.by_end.is_empty());
        assert_eq!((place(7).shard(), place(7).slot()), (63, 7));
    }
}
