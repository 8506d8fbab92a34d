//! A store with a past: a fixed run of puts, overwrites, deletes and batches over two keyspaces,
//! with the state after each of them. Torn, damaged and killed stores are held against it.

use std::path::Path;

use peercask::inspect::{self, DumpItem, DumpRecord};
use peercask::{ErrorKind, Store};

use crate::support::{Contents, hash, ordered};

/// Keyspaces of a history.
pub(crate) const SPACES: [&str; 2] = ["flat", "sorted"];

/// One call of a caller: all of it counts, or nothing.
pub(crate) enum Step {
    Put(usize, &'static str, Vec<u8>),
    Delete(usize, &'static str),
    /// `None` deletes.
    Batch(Vec<(usize, &'static str, Option<Vec<u8>>)>),
}

/// What was written, in order.
#[derive(Default)]
pub(crate) struct History {
    /// The state before the first step, and after each.
    pub(crate) states: Vec<Contents>,
}

/// A value that tells which write it is of, some long, some empty.
fn value(number: usize) -> Vec<u8> {
    let mut value = format!("value number {number} ").into_bytes();
    value.resize(value.len() + number * 7 % 40, b'.');
    if number % 9 == 5 { Vec::new() } else { value }
}

/// Puts, overwrites, deletes and batches by turns; `number` tells one turn from the next.
fn steps(turns: std::ops::Range<usize>) -> Vec<Step> {
    const KEYS: [&str; 11] = [
        "apple",
        "b",
        "cherry/with a longer key",
        "date",
        "",
        "fig",
        "grape",
        "h",
        "i/j",
        "kiwi",
        "l",
    ];
    let mut steps = Vec::new();
    for turn in turns {
        let (key, next) = (KEYS[turn % 11], KEYS[(turn + 3) % 11]);
        let (space, other) = (turn % 2, (turn + 1) % 2);
        steps.push(Step::Put(space, key, value(turn * 4)));
        steps.push(Step::Batch(vec![
            (space, next, Some(value(turn * 4 + 1))),
            (other, key, Some(value(turn * 4 + 2))),
            (other, next, Some(value(turn * 4 + 3))),
        ]));
        if turn % 2 == 1 {
            steps.push(Step::Delete(other, key));
        }
        if turn % 3 == 2 {
            steps.push(Step::Batch(vec![
                (space, next, None),
                (other, "both", Some(value(turn))),
            ]));
        }
    }
    steps
}

impl History {
    pub(crate) fn new() -> History {
        History {
            states: vec![Contents::new()],
        }
    }

    /// The state after everything.
    pub(crate) fn last(&self) -> &Contents {
        self.states
            .last()
            .expect("there is one before the first step")
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len() - 1
    }

    /// Does these turns with the store's default durability, and remembers each state.
    pub(crate) fn run(&mut self, store: &Store, turns: std::ops::Range<usize>) {
        let spaces = [hash(store, SPACES[0]), ordered(store, SPACES[1])];
        for step in steps(turns) {
            let changes = match step {
                Step::Put(space, key, value) => {
                    spaces[space].put(key, &value).expect("put");
                    vec![(space, key, Some(value))]
                }
                Step::Delete(space, key) => {
                    assert!(spaces[space].delete(key).expect("deleted"), "it was there");
                    vec![(space, key, None)]
                }
                Step::Batch(items) => {
                    let mut batch = store.batch();
                    for (space, key, value) in &items {
                        match value {
                            Some(value) => batch.put(&spaces[*space], key, value),
                            None => batch.delete(&spaces[*space], key),
                        }
                    }
                    batch.commit().expect("committed");
                    items
                }
            };
            let mut state = self.last().clone();
            for (space, key, value) in changes {
                let place = (SPACES[space].to_owned(), key.as_bytes().to_vec());
                match value {
                    Some(value) => state.insert(place, value),
                    None => state.remove(&place),
                };
            }
            self.states.push(state);
        }
    }

    /// Every value that a key ever had.
    pub(crate) fn was_written(&self, place: &(String, Vec<u8>), value: &[u8]) -> bool {
        self.states
            .iter()
            .any(|state| state.get(place).is_some_and(|found| found == value))
    }

    /// Every key that was ever written.
    pub(crate) fn places(&self) -> Vec<(String, Vec<u8>)> {
        let mut places: Vec<_> = self
            .states
            .iter()
            .flat_map(|state| state.keys().cloned())
            .collect();
        places.sort();
        places.dedup();
        places
    }
}

/// What a key reads as: its value, nothing, or an error of damage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reading {
    Is(Vec<u8>),
    Absent,
    Damaged,
}

/// Reads each key by itself; only `Corrupted` is an error that damage may cause.
pub(crate) fn readings(
    store: &Store,
    places: &[(String, Vec<u8>)],
) -> Vec<((String, Vec<u8>), Reading)> {
    let read = |place: &(String, Vec<u8>)| {
        let keyspace = match store.existing_keyspace(&place.0) {
            Ok(keyspace) => keyspace,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                return Reading::Absent;
            }
        };
        match keyspace.get(&place.1) {
            Ok(Some(value)) => Reading::Is(value.to_vec()),
            Ok(None) => Reading::Absent,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
                assert!(
                    error.file().is_some() && error.offset().is_some(),
                    "{error}"
                );
                Reading::Damaged
            }
        }
    };
    places
        .iter()
        .map(|place| (place.clone(), read(place)))
        .collect()
}

pub(crate) fn expected(state: &Contents, place: &(String, Vec<u8>)) -> Reading {
    state
        .get(place)
        .map_or(Reading::Absent, |value| Reading::Is(value.clone()))
}

/// The records of a segment, as the dump tells them.
pub(crate) fn records(dir: &Path, segment: &str) -> Vec<DumpRecord> {
    let digits = segment.trim_start_matches("seg-").trim_end_matches(".cask");
    let id = u64::from_str_radix(digits, 16).expect("the name of a segment");
    let mut records = Vec::new();
    let mut visit = |item| {
        if let DumpItem::Record(record) = item {
            records.push(record);
        }
        true
    };
    inspect::dump(dir, id, &mut visit).expect("dumped");
    records
}
