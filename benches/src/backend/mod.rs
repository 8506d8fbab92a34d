//! The stores under measure, behind one trait: Peercask, the floors, and the rivals that are built
//! in (their files lie in `rivals/`). How each rival is set up follows its own documentation;
//! `advice` says what that was. All caches that can be sized are 1 GiB.

#[cfg(feature = "candystore")]
#[path = "../../rivals/candystore.rs"]
mod candystore;
#[cfg(feature = "canopydb")]
#[path = "../../rivals/canopydb.rs"]
mod canopydb;
#[cfg(feature = "fjall")]
#[path = "../../rivals/fjall.rs"]
mod fjall;
mod floors;
#[cfg(feature = "lmdb")]
#[path = "../../rivals/lmdb.rs"]
mod lmdb;
mod ours;
#[cfg(unix)]
pub mod raw;
#[cfg(feature = "redb")]
#[path = "../../rivals/redb.rs"]
mod redb;
#[cfg(feature = "rocksdb")]
#[path = "../../rivals/rocksdb.rs"]
mod rocksdb;
#[cfg(feature = "sled")]
#[path = "../../rivals/sled.rs"]
mod sled;
#[cfg(feature = "sqlite")]
#[path = "../../rivals/sqlite.rs"]
mod sqlite;
mod versions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peercask::{Durability, ManualClock};

use crate::Outcome;

/// Bytes of each rival's cache, where it has one.
#[cfg(any(
    feature = "redb",
    feature = "fjall",
    feature = "sled",
    feature = "canopydb",
    feature = "sqlite",
    feature = "rocksdb"
))]
const CACHE_BYTES: usize = 1 << 30;

/// A key and its value, owned.
pub type Pair = (Vec<u8>, Vec<u8>);

/// A store under measure, used by several threads at once.
pub trait Backend: Send + Sync {
    /// Writes one value; on return it survives what `durability` says.
    ///
    /// # Errors
    /// The store's.
    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Outcome<()>;

    /// Writes all or none; on return they survive what `durability` says.
    ///
    /// # Errors
    /// The store's.
    fn batch(&self, pairs: &[Pair], durability: Durability) -> Outcome<()>;

    /// Copies the value of `key` into `out`, which is cleared before; false if there is none.
    ///
    /// # Errors
    /// The store's.
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool>;

    /// Removes `key`, with the weakest durability that the store has.
    ///
    /// # Errors
    /// The store's.
    fn delete(&self, key: &[u8]) -> Outcome<()>;

    /// Brings everything to the device.
    ///
    /// # Errors
    /// The store's.
    fn sync(&self) -> Outcome<()>;

    /// Closes it as its documentation says.
    ///
    /// # Errors
    /// The store's.
    fn close(self: Box<Self>) -> Outcome<()>;

    /// The quickest way of one thread to read while nobody writes, if it is another than `get`.
    ///
    /// # Errors
    /// The store's.
    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        Ok(None)
    }

    /// Hands out entries by rising key from `start` until `each` says false.
    ///
    /// # Errors
    /// The store's; that it has no order.
    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        let _ = (start, each);
        Err("this store keeps no order".into())
    }

    /// Hands out all entries whose key starts with `prefix`, by rising key.
    ///
    /// # Errors
    /// As [`Backend::scan`].
    fn prefix(&self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        self.scan(prefix, &mut |key, value| {
            let within = key.starts_with(prefix);
            if within {
                each(key, value);
            }
            within
        })
    }

    /// Writes a value that expires by itself; false if the store cannot do that.
    ///
    /// # Errors
    /// The store's.
    fn put_expiring(&self, key: &[u8], value: &[u8], life: Duration) -> Outcome<bool> {
        let _ = (key, value, life);
        Ok(false)
    }

    /// Gives back what expired, as the store's own background does now and then.
    ///
    /// # Errors
    /// The store's.
    fn tend(&self) -> Outcome<()> {
        Ok(())
    }

    /// Writes `pairs` aside, where they are no keys of the store under measure, so that its
    /// buffers are there; a store that has no aside does nothing.
    ///
    /// # Errors
    /// The store's.
    fn warm(&self, pairs: &[Pair]) -> Outcome<()> {
        let _ = pairs;
        Ok(())
    }

    /// Of how much damage the store told when it opened, by an interface of its own.
    fn told_of_damage(&self) -> u64 {
        0
    }

    /// What the store counts of itself.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// One thread's reads.
pub trait Reader {
    /// As [`Backend::get`].
    ///
    /// # Errors
    /// The store's.
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool>;
}

/// What a store counts of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Syncs.
    pub syncs: Option<u64>,
    /// Bytes of live records, framing included.
    pub live_bytes: Option<u64>,
    /// Bytes of its indexes.
    pub index_bytes: Option<u64>,
}

/// What a workload asks of an open beyond the defaults.
#[derive(Clone, Default)]
pub struct Settings {
    /// A clock that the workload moves, and no background threads of Peercask's own.
    pub clock: Option<Arc<ManualClock>>,
    /// The size of Peercask's segments.
    pub segment_bytes: Option<u64>,
    /// Without background threads of Peercask's own: nothing but the index grows.
    pub alone: bool,
    /// The strongest promise that writes will ask for: some stores are told once, when they open.
    pub durability: Durability,
}

/// What a backend is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Peercask.
    Ours,
    /// What no such store can beat.
    Floor,
    /// Another store.
    Rival,
}

/// A backend that can be asked for by name.
pub struct Entry {
    /// Its name in every line.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The crate whose version is printed.
    pub package: &'static str,
    /// How it is set up, and why.
    pub advice: &'static str,
    /// Whether it has scans.
    pub ordered: bool,
    /// Whether what it holds is there when it is opened again.
    pub persistent: bool,
    /// The promises that it can make, the weakest first. One that keeps more than is asked for
    /// does not make the weaker one.
    pub levels: &'static [Durability],
    /// Opens it in a directory that exists.
    pub open: fn(&Path, &Settings) -> Outcome<Box<dyn Backend>>,
}

impl Entry {
    /// The version of its crate as built in.
    #[must_use]
    pub fn version(&self) -> Option<&'static str> {
        versions::of(self.package)
    }

    /// The weakest promise it makes.
    #[must_use]
    pub fn weakest(&self) -> Durability {
        self.levels.first().copied().unwrap_or_default()
    }
}

/// All that are built in: Peercask, the floors, the rivals.
#[must_use]
pub fn all() -> &'static [Entry] {
    ALL
}

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

static ALL: &[Entry] = &[
    ours::HASH,
    ours::ORDERED,
    floors::MAP,
    floors::LOG,
    #[cfg(feature = "redb")]
    redb::ENTRY,
    #[cfg(feature = "fjall")]
    fjall::ENTRY,
    #[cfg(feature = "sled")]
    sled::ENTRY,
    #[cfg(feature = "lmdb")]
    lmdb::ENTRY,
    #[cfg(feature = "canopydb")]
    canopydb::ENTRY,
    #[cfg(feature = "sqlite")]
    sqlite::ENTRY,
    #[cfg(feature = "candystore")]
    candystore::ENTRY,
    #[cfg(feature = "rocksdb")]
    rocksdb::ENTRY,
];

#[cfg(test)]
mod tests;
