//! The store on the real system, where that misbehaves: files cut under a reader, descriptors used
//! up, system calls that fail or never return, processes that race, directories copied while they
//! live. What this machine lacks for a test is told by `support::skipped`.

mod calls;
mod checkpoints;
mod copies;
mod descriptors;
mod directory;
mod kinds;
mod positional;
mod races;
mod remounted;
