//! Locks and atomics, from one door: std's by default. Schedule explorers (loom, shuttle) bring their own, which
//! have the same shape, so swapping them is a change of this file alone.
//!
//! `Arc` is not here: it is std's under every explorer that we use, and arc-swap insists on std's.

pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// Atomics, as `std::sync::atomic`.
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
}
