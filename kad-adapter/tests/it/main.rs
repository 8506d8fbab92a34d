//! The tests of the record store, one binary. The crate's documentation maps the items of the
//! checklist to the tests in here.
#![expect(clippy::cast_possible_truncation, reason = "tests")]

#[path = "../../examples/common/mod.rs"]
mod common;
#[path = "../skip.rs"]
mod skip;

mod bad_input;
mod behaviour;
mod churn;
mod closing;
mod crash;
mod crash_open;
mod damage;
mod due;
mod durability;
mod full;
mod kill;
mod model;
mod operating;
mod parity;
mod quotas;
mod readme;
mod support;
mod swarm_thread;
mod time;
mod tiny;
mod upstream;
mod upstream_queries;
