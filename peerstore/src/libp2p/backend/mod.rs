//! Datastores: Peercask, memory, and SQLite (feature `sqlite`).

mod memory;
mod on_peercask;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryDatastore;
pub use on_peercask::PeercaskDatastore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDatastore;
