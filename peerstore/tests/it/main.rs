//! The tests of the peerstore: one binary, one module a subject. What a connection means is tested
//! twice by the same code, in process and through the service (`both!`).
#![cfg(all(feature = "gnunet", unix))]

#[path = "../checklist.rs"]
mod checklist;
#[path = "../common.rs"]
mod common;

mod crash;
mod disk;
mod expiry;
mod handles;
mod iterate;
mod lab;
mod monitors;
mod quota;
mod random;
mod records;
mod service;
#[cfg(feature = "sqlite")]
mod sqlite;
mod support;
mod table;
mod watch;
