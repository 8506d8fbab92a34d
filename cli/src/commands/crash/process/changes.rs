//! What the child's writes change: the same for whoever asks, so that the parent knows every state that
//! may be found.

use std::collections::BTreeMap;

use fastrand::Rng;
use peercask::Durability;

/// The keyspaces that the child writes.
pub(super) const SPACES: [&str; 2] = ["flat", "sorted"];
/// The key that holds the number of the last write.
pub(super) const NUMBER_KEY: &[u8] = b"number";

const KEYS: u32 = 40;
const VALUE_LEN_MAX: usize = 260;
/// Every so many writes is a batch over several keys.
const BATCH_EVERY: u64 = 6;

/// Which keyspace, the key, and the value; `None` deletes.
pub(super) struct Change {
    pub(super) space: usize,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// What write `number` changes.
pub(super) fn of_write(seed: u64, number: u64) -> Vec<Change> {
    let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let count = if number % BATCH_EVERY == 5 { 5 } else { 1 };
    let mut changes: Vec<Change> = (0..count)
        .map(|_| {
            let len = rng.usize(..VALUE_LEN_MAX);
            let value = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
            Change {
                space: rng.usize(..SPACES.len()),
                key: format!("key {}", rng.u32(..KEYS)).into_bytes(),
                value: (rng.u32(..4) > 0).then_some(value),
            }
        })
        .collect();
    // Every write leaves a trace, so that no two states are the same.
    changes.push(Change {
        space: 0,
        key: NUMBER_KEY.to_vec(),
        value: Some(number.to_le_bytes().to_vec()),
    });
    changes
}

/// Some writes are weaker than `Kernel`; the child does not say that they are acknowledged.
pub(super) fn durability(number: u64) -> Durability {
    match number % 11 {
        3..=5 => Durability::Buffered,
        8 if number.is_multiple_of(3) => Durability::Device,
        _ => Durability::Kernel,
    }
}

/// The last write that may be there when `least` was the last one acknowledged: the child says so of each
/// before it begins the next that it has to say.
pub(super) fn most(least: u64) -> u64 {
    let mut number = least + 1;
    while durability(number) < Durability::Kernel {
        number += 1;
    }
    number
}

/// All keys with their values, by keyspace.
pub(super) type Contents = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

/// The store as it should be after some number of writes.
pub(super) struct State {
    seed: u64,
    writes: u64,
    contents: Contents,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            seed,
            writes: 0,
            contents: Contents::new(),
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Goes on to the state after write `number`.
    pub(super) fn advance_to(&mut self, number: u64) {
        for next in self.writes + 1..=number {
            for change in of_write(self.seed, next) {
                let place = (change.space, change.key);
                match change.value {
                    Some(value) => self.contents.insert(place, value),
                    None => self.contents.remove(&place),
                };
            }
            self.writes = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_the_same_for_parent_and_child_and_no_two_states_are() {
        let (mut one, mut other) = (State::new(7), State::new(7));
        for number in 1..200 {
            one.advance_to(number);
            let number_there = one.contents().get(&(0, NUMBER_KEY.to_vec()));
            assert_eq!(number_there, Some(&number.to_le_bytes().to_vec()));
        }
        other.advance_to(199);
        assert_eq!(one.contents(), other.contents());
        assert!(of_write(7, 5).len() > 2, "batches are among them");
    }

    #[test]
    fn no_more_than_the_next_announced_write_may_follow() {
        assert_eq!(most(0), 1);
        assert_eq!(most(2), 6, "three weak writes and the next strong one");
        assert!((1..100).all(|least| durability(most(least)) >= Durability::Kernel));
    }
}
