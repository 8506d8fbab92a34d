//! The integration tests of the workspace: one binary, one module a subject.

mod batch;
mod checkpoint;
mod cli;
mod compat;
mod damage;
mod durability;
mod expiry;
mod full;
mod history;
mod kill;
mod leaks;
mod merge;
mod model;
mod open;
mod ordered;
mod read_only;
mod snapshot;
mod support;
mod swap;
mod system;
mod threads;
mod ticket;
mod tidy;
mod torn;
mod values;
mod watch;
