//! Numbers for names of protocols, so that which peers speak one is a bitmap of places.

use std::collections::HashMap;
use std::ops::Range;

use super::core::ShardState;
use super::directory::SlotNumber;

/// The most names that get a number. What strangers invent beyond that is found by a scan.
const NAMES_MAX: usize = 1 << 16;
/// The longest name that gets a number, in bytes: names stay for as long as the store is open.
const NAME_LEN_MAX: usize = 255;

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
        if self.numbers.len() >= NAMES_MAX || name.len() > NAME_LEN_MAX {
            self.overflowed = true;
            return None;
        }
        let number = u32::try_from(self.numbers.len()).ok()?;
        self.numbers.insert(name.into(), number);
        Some(number)
    }

    /// All names by their numbers, and whether some have none.
    pub(crate) fn names(&self) -> (Vec<String>, bool) {
        let mut names: Vec<(u32, &str)> = self
            .numbers
            .iter()
            .map(|(name, number)| (*number, name.as_ref()))
            .collect();
        names.sort_unstable();
        let names = names.into_iter().map(|(_, name)| name.to_owned());
        (names.collect(), self.overflowed)
    }

    /// Numbers that were saved; none if a name stands there twice, or may have none.
    pub(crate) fn of_names(names: &[String], overflowed: bool) -> Option<Numbers> {
        let mut numbers = Numbers::default();
        for (at, name) in names.iter().enumerate() {
            let number = numbers.of(name)?;
            if number as usize != at {
                return None;
            }
        }
        numbers.overflowed = overflowed;
        Some(numbers)
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

    /// Who of some places speaks what: place and number of the protocol, in order.
    pub(crate) fn spoken(&self, places: Range<SlotNumber>) -> Vec<(SlotNumber, u32)> {
        let all = self.speakers.iter();
        let mut spoken: Vec<(SlotNumber, u32)> = all
            .flat_map(|(protocol, speakers)| {
                let some = speakers.range(places.clone());
                some.map(move |place| (place, *protocol))
            })
            .collect();
        spoken.sort_unstable();
        spoken
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_long_get_no_number_and_are_looked_for_elsewhere() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.of("/a"), Some(0));
        assert!(matches!(numbers.find("/b"), Found::Nobody));
        assert_eq!(numbers.of(&"x".repeat(NAME_LEN_MAX)), Some(1));
        assert_eq!(numbers.of(&"x".repeat(NAME_LEN_MAX + 1)), None);
        assert!(matches!(numbers.find("/b"), Found::Unknown));
        let (names, overflowed) = numbers.names();
        let again = Numbers::of_names(&names, overflowed).expect("as they were");
        assert!(matches!(again.find("/a"), Found::Number(0)));
        assert!(matches!(again.find("/b"), Found::Unknown));
        assert!(Numbers::of_names(&["/a".to_owned(), "/a".to_owned()], false).is_none());
    }
}
