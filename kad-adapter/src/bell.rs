//! Wakes the background thread, tells it to stop, and tells others when it has ended.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the thread and its callers tell each other.
#[derive(Default)]
pub(crate) struct Bell {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    rung: bool,
    stopping: bool,
    /// A thread runs that will end; without one nobody needs to be waited for.
    running: bool,
}

impl Bell {
    /// Something waits to be written.
    pub(crate) fn ring(&self) {
        let mut flags = self.lock();
        if !std::mem::replace(&mut flags.rung, true) {
            drop(flags);
            self.changed.notify_all();
        }
    }

    /// Waits for a ring, at most for `time`. True if it rang.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let flags = self.lock();
        let idle = |flags: &mut Flags| !flags.rung && !flags.stopping;
        let waited = self.changed.wait_timeout_while(flags, time, idle);
        let mut flags = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::take(&mut flags.rung)
    }

    /// Waits for `time`, or until told to stop.
    pub(crate) fn rest(&self, time: Duration) {
        let flags = self.lock();
        let going = |flags: &mut Flags| !flags.stopping;
        let waited = self.changed.wait_timeout_while(flags, time, going);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    pub(crate) fn set_running(&self, running: bool) {
        self.lock().running = running;
        self.changed.notify_all();
    }

    pub(crate) fn is_running(&self) -> bool {
        self.lock().running
    }

    /// Waits until the thread has ended; false if it has not within `time`.
    pub(crate) fn wait_ended(&self, time: Duration) -> bool {
        let flags = self.lock();
        let running = |flags: &mut Flags| flags.running;
        let waited = self.changed.wait_timeout_while(flags, time, running);
        !waited.unwrap_or_else(PoisonError::into_inner).0.running
    }

    fn lock(&self) -> MutexGuard<'_, Flags> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
