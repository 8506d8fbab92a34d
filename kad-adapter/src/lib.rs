//! A Kademlia record store for rust-libp2p nodes that survives restarts and never holds up the
//! swarm.

#![forbid(unsafe_code)]

mod bell;
mod codec;
mod due;
mod error;
mod handle;
mod image;
mod index;
pub mod inspect;
#[cfg(feature = "prometheus-client")]
mod metrics;
mod open;
mod options;
mod pending;
mod providers;
mod report;
mod republish;
mod shared;
mod stats;
mod store;
mod time;
mod values;
mod windows;
mod writer;

pub use due::{Due, DueRecord, Published};
pub use error::{Error, Result};
pub use handle::Handle;
pub use options::{Limits, Options};
pub use report::OpenReport;
pub use republish::Republisher;
pub use stats::{Health, Histogram, LastError, Refusal, Refused, State, Stats};
pub use store::{Filled, PersistentStore};
pub use time::{ManualTime, SystemTime, Time};
pub use windows::{ProvidedIter, RecordsIter};
