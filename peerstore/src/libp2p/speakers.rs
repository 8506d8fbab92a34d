//! Numbers for names of protocols, so that which peers speak one is a bitmap of places.

use std::collections::HashMap;

use super::core::ShardState;
use super::directory::SlotNumber;

/// The most names that get a number. What strangers invent beyond that is found by a scan.
const NAMES_MAX: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Numbers {
    numbers: HashMap<Box<str>, u32>,
    /// Some names have no number: an answer from the bitmaps may be short.
    overflowed: bool,
}

impl Numbers {
    pub(crate) fn of(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.numbers.len() >= NAMES_MAX {
            self.overflowed = true;
            return None;
        }
        let number = u32::try_from(self.numbers.len()).ok()?;
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    /// The number of a name, or whether nobody speaks it for certain.
    pub(crate) fn find(&self, name: &str) -> Found {
        match self.numbers.get(name) {
            Some(number) => Found::Number(*number),
            None if self.overflowed => Found::Unknown,
            None => Found::Nobody,
        }
    }
}

/// What the numbers know of a name.
pub(crate) enum Found {
    Number(u32),
    Nobody,
    /// It may be one of those that got no number.
    Unknown,
}

impl ShardState {
    pub(crate) fn speaks(&mut self, place: SlotNumber, protocol: u32) {
        self.speakers.entry(protocol).or_default().insert(place);
    }

    pub(crate) fn speaks_no_more(&mut self, place: SlotNumber, protocol: u32) {
        if let Some(places) = self.speakers.get_mut(&protocol) {
            places.remove(place);
            if places.is_empty() {
                self.speakers.remove(&protocol);
            }
        }
    }
}
