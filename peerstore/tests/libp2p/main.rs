//! The tests of libp2p's books: one binary, one module a subject. What a book means is tested by the same code
//! on every datastore (`each_backend!`).

#[path = "../checklist.rs"]
mod checklist;
#[path = "../common.rs"]
mod common;

mod address_rules;
#[cfg(target_os = "linux")]
mod alone;
mod books;
mod certified;
mod datastores;
mod durability;
mod events;
mod gc;
mod go_suite;
mod growth;
mod image;
mod keys;
#[cfg(feature = "leveldb")]
mod leveldb;
mod linear;
mod moving;
mod slices;
mod support;
mod table;
mod threads;
mod told;
mod versions;
