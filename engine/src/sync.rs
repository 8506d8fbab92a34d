//! Locks, atomics and threads, from one door: std's by default. The engine's own tests swap in
//! those of a schedule explorer by a feature: `shuttle` for random schedules of the whole engine,
//! `loom` for every schedule and every weak-memory outcome of its small lock-free parts. With
//! either on, only the tests made for it can run.
//!
//! `Arc` is not here: it is std's under shuttle, and arc-swap insists on std's. `OnceLock` is
//! std's always: what initialises one here takes no lock and so cannot be held up in between.

#[cfg(not(any(all(test, feature = "shuttle"), all(test, feature = "loom"))))]
mod chosen {
    pub(crate) use std::sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
    };
    pub(crate) use std::thread;
}

#[cfg(all(test, feature = "shuttle", not(feature = "loom")))]
mod chosen {
    pub(crate) use shuttle::sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
    };
    pub(crate) use shuttle::thread;
}

#[cfg(all(test, feature = "loom"))]
mod chosen {
    pub(crate) use loom::sync::{
        Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic,
    };

    /// loom has no scopes; recovery, which uses one, does not run under it.
    pub(crate) mod thread {
        pub(crate) use loom::thread::{ThreadId, current, yield_now};
        pub(crate) use std::thread::scope;
    }
}

pub(crate) use chosen::{
    Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, thread,
};
pub(crate) use std::sync::{OnceLock, PoisonError};
