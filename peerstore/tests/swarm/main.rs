//! The peer store of a swarm, fed with the swarm's own events, beside `MemoryStore` where both must
//! agree. The items are those of the store's checklist in the crate's docs.

#[path = "../checklist.rs"]
mod checklist;
#[path = "../common.rs"]
mod common;

mod customs;
mod dials;
mod lasting;
mod limits;
mod parity;
mod restart;
mod support;
mod table;
mod upstream;
