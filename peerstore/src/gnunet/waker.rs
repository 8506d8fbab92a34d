//! How one who waits for several monitors learns which of them has something: a list of their
//! numbers, a condition to wait on, and a byte down a socket for one who waits in `poll`.
//! It knows no event.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Woken by monitors, waited on by who owns them.
pub(crate) struct Waker {
    /// Numbers that have something, each once.
    ready: Mutex<VecDeque<u64>>,
    rung: Condvar,
    /// The far end is what `poll` looks at.
    pipe: Option<UnixStream>,
}

impl Waker {
    pub(crate) fn new() -> Arc<Waker> {
        Waker::with(None)
    }

    /// A waker and the socket that becomes readable when it is rung.
    pub(crate) fn with_pipe() -> io::Result<(Arc<Waker>, UnixStream)> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok((Waker::with(Some(near)), far))
    }

    fn with(pipe: Option<UnixStream>) -> Arc<Waker> {
        Arc::new(Waker {
            ready: Mutex::new(VecDeque::new()),
            rung: Condvar::new(),
            pipe,
        })
    }

    /// Says that `number` has something. Whoever calls sees to it that it calls once until asked.
    pub(crate) fn ring(&self, number: u64) {
        self.lock().push_back(number);
        self.rung.notify_all();
        if let Some(mut pipe) = self.pipe.as_ref() {
            // A full pipe has been rung; one whose far end is gone wakes nobody.
            let _ = pipe.write(&[1]);
        }
    }

    /// A number that has something; waits up to `timeout` for one.
    pub(crate) fn take(&self, timeout: Duration) -> Option<u64> {
        let mut ready = self.lock();
        if ready.is_empty() && !timeout.is_zero() {
            let waited = self
                .rung
                .wait_timeout_while(ready, timeout, |ready| ready.is_empty());
            ready = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        ready.pop_front()
    }

    /// Empties the socket of `with_pipe`.
    pub(crate) fn drain(mut far: &UnixStream) {
        let mut bytes = [0; 64];
        while matches!(far.read(&mut bytes), Ok(len) if len > 0) {}
    }

    // A push or pop cannot leave the list half changed.
    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
