//! The crash lab: proof that nothing is lost, for the engine and for programs that use it. Behind the feature
//! `sim`; no dependency of its own.
//!
//! - [`SimDisk`] is a disk in memory with a page cache that loses what was not synced: any subset
//!   of sectors, names and sizes that a real disk may lose. It has faults on demand, a clock that
//!   steps, and rots. `Store::open_on` opens a store on it, [`Directory`] keeps files beside it.
//! - [`Explorer`] runs a program, or workloads of its own, crashes it after every call that changes
//!   the disk in every legal way or in many, and asks a check about each.
//! - [`Case`] names one crash in a word that can be stored and replayed; [`Report`] tells in
//!   numbers what was tried, and each [`Violation`] as a story with a ready-made test.
//!
//! A program that keeps two counters in step, without a batch:
//!
//! ```
//! use peercask::crash::Explorer;
//! use peercask::{KeyspaceOptions, Options};
//!
//! let report = Explorer::new().states(500).explore(
//!     |run| {
//!         let store = run.open(Options::default())?;
//!         let counters = store.keyspace("counters", KeyspaceOptions::hash())?;
//!         for n in 1..4_u8 {
//!             counters.put("a", [n])?;
//!             counters.put("b", [n])?;
//!             run.note(n);
//!         }
//!         Ok(())
//!     },
//!     |crashed| {
//!         let store = crashed.open(Options::default())?;
//!         let counters = store.keyspace("counters", KeyspaceOptions::hash())?;
//!         assert_eq!(counters.get("a")?.as_deref(), counters.get("b")?.as_deref());
//!         Ok(())
//!     },
//! );
//! assert!(!report.violations.is_empty(), "two puts are not one");
//! println!("{}", report.violations[0].story);
//! ```

mod case;
mod coverage;
mod explorer;
mod files;
mod history;
mod judge;
mod machine;
mod open;
mod program;
mod report;
mod runs;
mod shrink;
mod steps;
mod subject;
mod survival;
#[cfg(test)]
mod tests;
mod tour;
mod trace;

pub use crate::disk::sim::{Call, Cut, Failure, Fault, Operation, SimDisk};
pub use crate::disk::site::Site;
pub use case::{Case, Crash};
pub use explorer::Explorer;
pub use files::{Directory, OsDirectory, SimDirectory};
pub use open::Background;
pub use program::{Crashed, Outcome, Run};
pub use report::{PointReport, Progress, Report, SiteReport, Verdict, Violation, Without};
pub use steps::{Change, Step, Workload};
