//! Decoded addresses of peers that were used of late, and refreshes that are not written yet. Bounded in
//! bytes; what is not written yet stays until it is. One for each shard; knows no store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::directory::SlotNumber;
use super::reach::Reach;

/// What a place in the cache costs beside what is in it.
const PLACE_BYTES: usize = 96;

struct Cached {
    reach: Arc<Reach>,
    /// What the store holds, if it holds something older.
    unwritten: Option<Unwritten>,
    /// Read since the hand came by.
    used: AtomicBool,
    bytes: usize,
}

/// A refresh that is not written yet.
#[derive(Clone)]
pub(crate) struct Unwritten {
    /// What the store holds.
    pub(crate) stored: Arc<Reach>,
    pub(crate) since_ms: u64,
}

pub(crate) struct Cache {
    entries: HashMap<SlotNumber, Cached>,
    /// The clock's hand goes round: used ones get another round. What is not written yet is not in it.
    round: VecDeque<SlotNumber>,
    bytes: usize,
    bytes_max: usize,
    unwritten_bytes: usize,
    unwritten_bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize, unwritten_bytes_max: usize) -> Cache {
        Cache {
            entries: HashMap::new(),
            round: VecDeque::new(),
            bytes: 0,
            bytes_max,
            unwritten_bytes: 0,
            // The other half is for those that are read.
            unwritten_bytes_max: unwritten_bytes_max.max(bytes_max / 2),
        }
    }

    pub(crate) fn get(&self, number: SlotNumber) -> Option<(Arc<Reach>, Option<Unwritten>)> {
        let cached = self.entries.get(&number)?;
        cached.used.store(true, Ordering::Relaxed);
        Some((cached.reach.clone(), cached.unwritten.clone()))
    }

    /// Whether a refresh of this size may wait.
    pub(crate) fn has_room_for(&self, reach: &Reach) -> bool {
        self.unwritten_bytes + reach.memory_bytes() + PLACE_BYTES <= self.unwritten_bytes_max
    }

    pub(crate) fn put(
        &mut self,
        number: SlotNumber,
        reach: Arc<Reach>,
        unwritten: Option<Unwritten>,
    ) {
        self.remove(number);
        let bytes = reach.memory_bytes() + PLACE_BYTES;
        if unwritten.is_none() {
            if bytes > self.bytes_max {
                return;
            }
            self.make_room(bytes);
            if self.bytes + bytes > self.bytes_max {
                return;
            }
        }
        self.bytes += bytes;
        match unwritten {
            Some(_) => self.unwritten_bytes += bytes,
            None => self.round.push_back(number),
        }
        let cached = Cached {
            reach,
            unwritten,
            used: AtomicBool::new(false),
            bytes,
        };
        self.entries.insert(number, cached);
        // Places of entries that were removed are dropped as the hand comes by, or here.
        if self.round.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            let mut seen = std::collections::HashSet::new();
            self.round
                .retain(|number| entries.contains_key(number) && seen.insert(*number));
        }
    }

    pub(crate) fn remove(&mut self, number: SlotNumber) {
        if let Some(cached) = self.entries.remove(&number) {
            self.bytes -= cached.bytes;
            if cached.unwritten.is_some() {
                self.unwritten_bytes -= cached.bytes;
            }
        }
    }

    /// Places whose refresh is not written yet and was put off before a moment.
    pub(crate) fn unwritten_before(&self, before_ms: u64) -> Vec<SlotNumber> {
        if self.unwritten_bytes == 0 {
            return Vec::new();
        }
        let since = |cached: &Cached| {
            cached
                .unwritten
                .as_ref()
                .map(|unwritten| unwritten.since_ms)
        };
        let due = |cached: &Cached| since(cached).is_some_and(|since_ms| since_ms < before_ms);
        let found = self.entries.iter().filter(|(_, cached)| due(cached));
        found.map(|(number, _)| *number).collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn make_room(&mut self, bytes: usize) {
        // A put costs a few steps, also if all were used; then it waits for a better moment.
        let mut turns = 16;
        while self.bytes + bytes > self.bytes_max && turns > 0 {
            turns -= 1;
            let Some(number) = self.round.pop_front() else {
                return;
            };
            let Some(cached) = self.entries.get(&number) else {
                continue;
            };
            if cached.unwritten.is_some() {
                continue;
            }
            if cached.used.swap(false, Ordering::Relaxed) {
                self.round.push_back(number);
            } else {
                self.remove(number);
            }
        }
    }
}
