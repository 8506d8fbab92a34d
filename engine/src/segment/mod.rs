//! Files of the log, from bytes to the set of segments. Read downwards: `format` holds every
//! on-disk constant, `record`, `header`, `hint_file` and `manifest` are pure functions on bytes,
//! `data_file` is one segment, `log` the ordered set of them.

pub(crate) mod base;
pub(crate) mod by_position;
pub(crate) mod catalog;
pub(crate) mod cursor;
pub(crate) mod data_file;
pub(crate) mod format;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub(crate) mod header;
pub(crate) mod hint_builder;
pub(crate) mod hint_file;
pub(crate) mod hinting;
pub(crate) mod hints;
pub(crate) mod image_file;
pub(crate) mod key_hash;
pub(crate) mod keyspace_entry;
pub(crate) mod label;
pub(crate) mod live;
pub(crate) mod location;
pub(crate) mod log;
pub(crate) mod manifest;
pub(crate) mod names;
pub(crate) mod pins;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod sealed_end;
pub(crate) mod sync_gate;
pub(crate) mod table;
pub(crate) mod totals;
pub(crate) mod waiters;
pub(crate) mod writer;
