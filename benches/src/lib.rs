//! Measures Peercask beside floors below which no such store can go, and beside other embedded
//! stores where they are built in. Used by the program `peercask-bench` and by `peercask bench`.
//!
//! A [`Backend`](backend::Backend) is a store under measure, a [`Workload`](workload::Workload) is
//! what is done to it. Each pair of them runs in a process of its own ([`runner`] starts it,
//! [`child`] is it), so that memory, written bytes and caches belong to it alone. What comes out
//! are [`Line`](line::Line)s; [`table`], [`goals`] and [`report`] show them.
//!
//! ```
//! use peercask_bench::{backend, workload};
//!
//! assert!(backend::all().iter().any(|entry| entry.name == "peercask-hash"));
//! assert!(workload::named("read-hit").is_some());
//! ```
// LMDB's maps are opened by unsafe calls, in `rivals/lmdb.rs` alone.
#![cfg_attr(not(feature = "lmdb"), forbid(unsafe_code))]
#![cfg_attr(feature = "lmdb", deny(unsafe_code))]

pub mod args;
pub mod backend;
pub mod child;
pub mod desk;
pub mod goals;
pub mod line;
pub mod load;
pub mod measure;
pub mod memory;
pub mod process;
pub mod program;
pub mod report;
pub mod runner;
pub mod table;
pub mod trial;
pub mod workload;

/// What went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of everything here.
pub type Outcome<T> = Result<T, Error>;

/// A length as a number that is as wide everywhere.
pub(crate) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A number as a length; what does not fit is more than any memory holds.
pub(crate) fn narrow(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
