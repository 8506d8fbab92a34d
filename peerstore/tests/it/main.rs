//! The tests of the peerstore: one binary, one module a subject. What a connection means is tested
//! twice by the same code, in process and through the service (`both!`).
#![cfg(all(feature = "gnunet", unix))]

mod crash;
mod disk;
mod expiry;
mod handles;
mod iterate;
mod monitors;
mod quota;
mod random;
mod records;
mod service;
mod support;
mod watch;
