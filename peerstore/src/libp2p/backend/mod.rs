//! Datastores: Peercask, memory, and SQLite (feature `sqlite`).

#[cfg(feature = "leveldb")]
mod leveldb;
mod memory;
mod on_peercask;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "leveldb")]
pub use leveldb::{LEVELDB_BYTES_MAX, LevelDbEntries};
pub use memory::MemoryDatastore;
pub use on_peercask::PeercaskDatastore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDatastore;
