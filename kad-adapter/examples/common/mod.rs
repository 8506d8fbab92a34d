//! A real node and how others talk to it: shared by the examples and the end-to-end tests.
#![allow(dead_code, unreachable_pub, reason = "each user takes a part")]

pub mod any_store;
pub mod child;
pub mod config;
mod job;
pub mod node;
pub mod swarm;
mod trouble;
