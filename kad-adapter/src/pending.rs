//! Writes on their way to the engine: foreign provider records and other soft state. The newest
//! write of a slot is what readers see; what is in the engine's hands stays visible until it is
//! there. Bounded: who finds it full is refused.

use std::collections::{BTreeMap, VecDeque};

/// A table's number and a slot.
pub(crate) type Place = (u8, u32);

/// One write that has not been done.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// `None` deletes.
    pub(crate) value: Option<Box<[u8]>>,
    /// When the engine may drop it, in milliseconds since the epoch; `u64::MAX` for never.
    pub(crate) expires_ms: u64,
    stamp: u64,
    in_flight: bool,
}

/// A write handed out to be done.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) value: Option<Box<[u8]>>,
    pub(crate) expires_ms: u64,
    stamp: u64,
}

/// All of them, in the order in which they came.
pub(crate) struct Pending {
    waiting: BTreeMap<Place, Waiting>,
    order: VecDeque<(Place, u64)>,
    bytes: usize,
    next_stamp: u64,
    records_max: usize,
    bytes_max: usize,
}

impl Pending {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Pending {
        Pending {
            waiting: BTreeMap::new(),
            order: VecDeque::with_capacity(records_max.min(65_536)),
            bytes: 0,
            next_stamp: 0,
            records_max,
            bytes_max,
        }
    }

    /// Whether another write of `len` bytes finds room.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.order.len() < self.records_max && self.bytes + len <= self.bytes_max
    }

    /// Whether who fills it on purpose should have it emptied first: one record more may be large.
    pub(crate) fn is_half_full(&self) -> bool {
        self.order.len() >= self.records_max.div_ceil(2) || self.bytes >= self.bytes_max / 2
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The newest value of a slot, if it waits here: `Some(None)` is a delete.
    pub(crate) fn get(&self, place: Place) -> Option<Option<&[u8]>> {
        self.waiting
            .get(&place)
            .map(|waiting| waiting.value.as_deref())
    }

    /// Whether the slot's write is in the engine's hands.
    pub(crate) fn is_in_flight(&self, place: Place) -> bool {
        self.waiting
            .get(&place)
            .is_some_and(|waiting| waiting.in_flight)
    }

    /// Adds a write; it replaces one of the same slot.
    pub(crate) fn push(&mut self, place: Place, value: Option<Box<[u8]>>, expires_ms: u64) {
        self.bytes += value.as_ref().map_or(0, |value| value.len());
        if let Some(waiting) = self.waiting.get_mut(&place)
            && !waiting.in_flight
        {
            self.bytes -= waiting.value.as_ref().map_or(0, |old| old.len());
            waiting.value = value;
            waiting.expires_ms = expires_ms;
            return;
        }
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let waiting = Waiting {
            value,
            expires_ms,
            stamp,
            in_flight: false,
        };
        if let Some(old) = self.waiting.insert(place, waiting) {
            self.bytes -= old.value.map_or(0, |old| old.len());
        }
        self.order.push_back((place, stamp));
    }

    /// Forgets a write that nobody has begun. True if there was one.
    pub(crate) fn forget(&mut self, place: Place) -> bool {
        let begun = |waiting: &Waiting| waiting.in_flight;
        if self.waiting.get(&place).is_none_or(begun) {
            return false;
        }
        if let Some(old) = self.waiting.remove(&place) {
            self.bytes -= old.value.map_or(0, |old| old.len());
        }
        true
    }

    /// The next writes, at most so many and so many bytes; they stay visible until `done`.
    pub(crate) fn take(&mut self, records_max: usize, bytes_max: usize) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        let mut bytes = 0;
        while taken.len() < records_max && bytes < bytes_max {
            let Some((place, stamp)) = self.order.pop_front() else {
                break;
            };
            if let Some(waiting) = self.waiting.get_mut(&place)
                && waiting.stamp == stamp
            {
                waiting.in_flight = true;
                bytes += waiting.value.as_ref().map_or(0, |value| value.len());
                taken.push(Taken {
                    place,
                    value: waiting.value.clone(),
                    expires_ms: waiting.expires_ms,
                    stamp,
                });
            }
        }
        taken
    }

    /// A write is done; true if nothing newer waits for its slot.
    pub(crate) fn done(&mut self, taken: &Taken) -> bool {
        let same = |waiting: &Waiting| waiting.stamp == taken.stamp;
        if !self.waiting.get(&taken.place).is_some_and(same) {
            return !self.waiting.contains_key(&taken.place);
        }
        if let Some(old) = self.waiting.remove(&taken.place) {
            self.bytes -= old.value.map_or(0, |old| old.len());
        }
        true
    }

    /// Writes that failed come first again.
    pub(crate) fn put_back(&mut self, taken: Vec<Taken>) {
        for Taken { place, stamp, .. } in taken.into_iter().rev() {
            if let Some(waiting) = self.waiting.get_mut(&place)
                && waiting.stamp == stamp
            {
                waiting.in_flight = false;
                self.order.push_front((place, stamp));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<Box<[u8]>> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn the_newest_write_of_a_slot_is_seen_and_done_once() {
        let mut pending = Pending::new(10, 100);
        pending.push((0, 1), value("old"), 0);
        pending.push((0, 1), value("new"), 0);
        assert_eq!(pending.get((0, 1)), Some(Some(b"new".as_slice())));
        assert_eq!(pending.bytes(), 3);
        let taken = pending.take(10, 100);
        assert_eq!(taken.len(), 1);
        assert!(pending.done(&taken[0]));
        assert!(pending.is_empty());
        assert_eq!(pending.bytes(), 0);
    }

    #[test]
    fn a_write_behind_one_that_is_in_flight_comes_after_it() {
        let mut pending = Pending::new(10, 100);
        pending.push((0, 1), value("first"), 0);
        let first = pending.take(10, 100);
        assert!(!pending.forget((0, 1)), "it is in the engine's hands");
        pending.push((0, 1), None, 0);
        assert_eq!(pending.get((0, 1)), Some(None));
        assert!(!pending.done(&first[0]), "a delete waits for the slot");
        let second = pending.take(10, 100);
        assert_eq!(second[0].value, None);
        assert!(pending.done(&second[0]));
        assert_eq!((pending.len(), pending.bytes()), (0, 0));
    }

    #[test]
    fn failed_writes_keep_their_place_and_count() {
        let mut pending = Pending::new(3, 100);
        for slot in 0..3 {
            pending.push((0, slot), value("x"), 0);
        }
        assert!(!pending.has_room(1));
        let taken = pending.take(2, 100);
        pending.put_back(taken);
        let slots: Vec<u32> = pending.take(9, 100).iter().map(|t| t.place.1).collect();
        assert_eq!(slots, [0, 1, 2]);
        assert_eq!(pending.bytes(), 3);
    }
}
