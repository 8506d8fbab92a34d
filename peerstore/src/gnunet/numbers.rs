//! Small numbers for things that many records share: subsystems, peers, keys. A number is given
//! back when its last record goes, and may be given again.

use std::collections::HashMap;
use std::hash::Hash;

/// Things by number and numbers by thing, counted by use. The hash is keyed per process:
/// strangers choose peers and keys.
pub(crate) struct Numbers<T> {
    by_thing: HashMap<T, u32>,
    things: Vec<Option<(T, u32)>>,
    free: Vec<u32>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    pub(crate) fn new() -> Numbers<T> {
        Numbers {
            by_thing: HashMap::new(),
            things: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn find(&self, thing: &T) -> Option<u32> {
        self.by_thing.get(thing).copied()
    }

    /// The number of `thing`, used once more.
    pub(crate) fn take(&mut self, thing: &T) -> u32 {
        if let Some(&number) = self.by_thing.get(thing) {
            if let Some((_, uses)) = &mut self.things[index(number)] {
                *uses += 1;
            }
            return number;
        }
        let entry = Some((thing.clone(), 1));
        let number = match self.free.pop() {
            Some(number) => {
                self.things[index(number)] = entry;
                number
            }
            None => {
                self.things.push(entry);
                u32::try_from(self.things.len() - 1).expect("fewer than 2^32 names")
            }
        };
        self.by_thing.insert(thing.clone(), number);
        number
    }

    /// Takes one use back.
    pub(crate) fn release(&mut self, number: u32) {
        let place = &mut self.things[index(number)];
        let Some((_, uses)) = place else { return };
        *uses -= 1;
        if *uses == 0
            && let Some((thing, _)) = place.take()
        {
            self.by_thing.remove(&thing);
            self.free.push(number);
        }
    }

    /// The thing of a number in use.
    pub(crate) fn thing(&self, number: u32) -> &T {
        let (thing, _) = self.things[index(number)]
            .as_ref()
            .expect("a slot holds a use of its numbers");
        thing
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("32 bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lives_as_long_as_its_last_use_and_is_given_again() {
        let mut numbers = Numbers::new();
        let a = numbers.take(&"a");
        assert_eq!(numbers.take(&"a"), a);
        let b = numbers.take(&"b");
        assert_ne!(a, b);
        numbers.release(a);
        assert_eq!(numbers.find(&"a"), Some(a));
        numbers.release(a);
        assert_eq!(numbers.find(&"a"), None);
        assert_eq!(numbers.take(&"c"), a);
        assert_eq!((*numbers.thing(a), *numbers.thing(b)), ("c", "b"));
    }
}
