//! What is written in a trial: a few small puts, overwrites and deletes, each acknowledged before the next
//! begins; and the child that writes them and says so.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, Entry, Kind, Settings};

/// Keys in use.
pub const KEYS: u8 = 5;

/// Key to value.
pub type Content = BTreeMap<u8, Vec<u8>>;

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Puts a value.
    Put(u8, Vec<u8>),
    /// Deletes a key.
    Delete(u8),
}

/// Write `number`, the same whoever asks. Each value is like no other.
#[must_use]
pub fn change(number: usize) -> Change {
    let keys = [0, 1, 2, 0, 1, 3, 2, 4, 0, 3];
    let key = keys[number % keys.len()];
    if number % 10 == 4 {
        return Change::Delete(key);
    }
    let mut value = format!("write {number} of key {key} ").into_bytes();
    value.resize(20 + number * 37 % 300, b'a' + key);
    Change::Put(key, value)
}

/// What a store holds after the first `count` writes.
#[must_use]
pub fn content(count: usize) -> Content {
    let mut content = Content::new();
    for number in 0..count {
        match change(number) {
            Change::Put(key, value) => content.insert(key, value),
            Change::Delete(key) => content.remove(&key),
        };
    }
    content
}

/// The key as stores see it.
#[must_use]
pub fn key_bytes(key: u8) -> [u8; 8] {
    [b'k', b'e', b'y', b'-', b'0', b'0', b'0', b'0' + key]
}

/// Opens a store as every child of a trial does. Peercask makes its directory itself, as each rival does that has
/// one.
///
/// # Errors
/// The store's.
pub fn open(entry: &Entry, dir: &Path) -> Outcome<Box<dyn Backend>> {
    let own: PathBuf = match entry.kind {
        Kind::Ours => dir.join("peercask"),
        Kind::Floor | Kind::Rival => dir.to_path_buf(),
    };
    let settings = Settings {
        durability: Durability::Device,
        ..Settings::default()
    };
    (entry.open)(&own, &settings)
}

/// The child that writes: `begin N` before each write, `ack N` when it is acknowledged. It ends without closing the
/// store unless it is told to.
///
/// # Errors
/// The store's.
pub fn write(entry: &Entry, dir: &Path, count: usize, close: bool) -> Outcome<()> {
    let store = open(entry, dir)?;
    for number in 0..count {
        say(&format!("begin {number}"))?;
        match change(number) {
            Change::Put(key, value) => store.put(&key_bytes(key), &value, Durability::Device)?,
            Change::Delete(key) => {
                store.delete(&key_bytes(key))?;
                store.sync()?;
            }
        }
        say(&format!("ack {number}"))?;
    }
    if close {
        return store.close();
    }
    // As a kill would: nothing is dropped.
    std::process::exit(0)
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    // One call for each line: a trace shows it as it came.
    out.write_all(format!("{line}\n").as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_overwrite_and_delete_and_no_value_comes_twice() {
        let mut values: Vec<Vec<u8>> = (0..20)
            .filter_map(|number| match change(number) {
                Change::Put(_, value) => Some(value),
                Change::Delete(_) => None,
            })
            .collect();
        let count = values.len();
        values.sort();
        values.dedup();
        assert_eq!((values.len(), count), (18, 18));
        assert_eq!(content(0), Content::new());
        assert!(!content(5).contains_key(&1), "deleted by write 4");
        assert_eq!(content(20).len(), 4);
        assert!((0..20).all(|number| match change(number) {
            Change::Put(key, _) | Change::Delete(key) => key < KEYS,
        }));
    }
}
