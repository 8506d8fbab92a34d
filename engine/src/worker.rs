//! A background thread: named, woken by a bell, stopped at will, loud when it dies. It runs a
//! closure and knows no store.

use std::io;
// Std's own and not `crate::sync`'s: a worker's thread is a real one, which no schedule explorer orders; they call
// the step instead. Nothing in here waits for anything but the bell.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// When a worker takes its next step unless the bell rings.
pub(crate) enum Pause {
    For(Duration),
    UntilRung,
}

/// Wakes a worker; cheap to clone and to ring.
#[derive(Clone, Default)]
pub(crate) struct Bell {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Guards what the worker waits for.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    /// Rung by one who cannot wait for others to gather.
    urgent: bool,
    stopping: bool,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.lock().rung = true;
        // After unlocking, so that the worker does not wake only to wait for the lock.
        self.shared.changed.notify_all();
    }

    /// As [`Bell::ring`], and a [`Bell::rest_unless_urgent`] ends too.
    pub(crate) fn ring_urgently(&self) {
        let mut state = self.lock();
        state.rung = true;
        state.urgent = true;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits for `time`, or less if the worker is to stop or was rung urgently since the last
    /// such rest.
    pub(crate) fn rest_unless_urgent(&self, time: Duration) {
        let state = self.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, time, |s| !s.stopping && !s.urgent);
        waited.unwrap_or_else(PoisonError::into_inner).0.urgent = false;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits for `time`, or less if the worker is to stop. False if it is to stop.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let state = self.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, time, |s| !s.stopping);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }

    fn stop(&self) {
        self.lock().stopping = true;
        self.shared.changed.notify_all();
    }

    /// Waits as `pause` says; false when the worker is to stop.
    fn wait(&self, pause: &Pause) -> bool {
        let state = self.lock();
        let idle = |state: &mut State| !state.rung && !state.stopping;
        let mut state = match pause {
            Pause::For(time) => {
                let waited = self.shared.changed.wait_timeout_while(state, *time, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            Pause::UntilRung => {
                let waited = self.shared.changed.wait_while(state, idle);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        state.rung = false;
        !state.stopping
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running thread; dropped, it is stopped and joined.
pub(crate) struct Worker {
    bell: Bell,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs `step` again and again. If it panics, `died` is told why and the thread ends.
    pub(crate) fn spawn(
        name: &str,
        bell: Bell,
        mut step: impl FnMut(&Bell) -> Pause + Send + 'static,
        died: impl FnOnce(String) + Send + 'static,
    ) -> io::Result<Worker> {
        let own = bell.clone();
        let body = move || {
            let run = std::panic::AssertUnwindSafe(|| {
                while !own.is_stopping() {
                    let pause = step(&own);
                    if !own.wait(&pause) {
                        break;
                    }
                }
            });
            if let Err(panic) = std::panic::catch_unwind(run) {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                died(text.unwrap_or_else(|| "panicked".to_owned()));
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        Ok(Worker {
            bell,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic was caught inside and told to `died`.
            let _nothing_to_tell = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_worker_steps_when_rung_and_ends_when_dropped() {
        let (tell, told) = sync_channel(16);
        let bell = Bell::default();
        let step = move |_: &Bell| {
            tell.send(()).expect("the test listens");
            Pause::UntilRung
        };
        let worker = Worker::spawn("test", bell.clone(), step, |_| {}).expect("spawned");
        told.recv().expect("the first step comes by itself");
        bell.ring();
        told.recv().expect("the second when rung");
        drop(worker);
        assert!(told.recv().is_err(), "the thread has let go of its closure");
    }

    #[test]
    fn a_panic_is_told() {
        let (tell, told) = sync_channel(1);
        let died = move |why: String| tell.send(why).expect("the test listens");
        let step = |_: &Bell| -> Pause { panic!("out of coffee") };
        let _worker = Worker::spawn("test", Bell::default(), step, died).expect("spawned");
        assert_eq!(told.recv().expect("told"), "out of coffee");
    }
}
