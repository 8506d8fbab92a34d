//! A thread as a waker: it sleeps until it is woken, for those who block where others await.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, PoisonError};

/// Lets a thread sleep until it is woken.
pub(crate) struct Parker {
    /// Guards whether it was woken.
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Arc<Parker> {
        Arc::new(Parker {
            rung: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    /// Until it is woken, or for so long.
    pub(crate) fn park(&self, timeout: Option<Duration>) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match timeout {
            Some(_) if *rung => {}
            Some(time) => {
                let waited = self.changed.wait_timeout(rung, time);
                rung = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                while !*rung {
                    let waited = self.changed.wait(rung);
                    rung = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        *rung = false;
    }

    pub(crate) fn is_rung(&self) -> bool {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // One thread sleeps here at most.
        self.changed.notify_one();
    }
}
