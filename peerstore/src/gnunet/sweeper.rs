//! The one background thread: removes what has expired, at its interval. It is a step that tests
//! call themselves, `Peerstore::maintain`; the thread is stopped and joined at close.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core::Core;
use super::error::{Error, Result};

/// How often the thread looks at the store's time, which may run otherwise than the thread's.
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(10);

pub(crate) struct Sweeper {
    /// When the last sweep was, in microseconds of store time.
    last_us: Mutex<u64>,
    last_error: Mutex<Option<String>>,
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Stop {
    wanted: Mutex<bool>,
    rung: Condvar,
}

impl Sweeper {
    pub(crate) fn new() -> Sweeper {
        Sweeper {
            last_us: Mutex::new(0),
            last_error: Mutex::new(None),
            stop: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    pub(crate) fn start(core: &Arc<Core>, interval: Duration) -> Result<()> {
        let weak = Arc::downgrade(core);
        let stop = core.sweeper.stop.clone();
        let look = interval.min(LOOK_INTERVAL_MAX);
        let thread = std::thread::Builder::new()
            .name("peercask-sweeper".into())
            .spawn(move || run(&weak, &stop, look))
            .map_err(|error| Error::io("start the sweeper thread", &error))?;
        *lock(&core.sweeper.thread) = Some(thread);
        Ok(())
    }

    /// Stops the thread and waits for its end.
    pub(crate) fn join(&self) {
        *lock(&self.stop.wanted) = true;
        self.stop.rung.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the sweeper thread of a peerstore died of a panic");
        }
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// Sweeps if the interval has passed since the last time.
    pub(crate) fn step(core: &Core) -> Result<u64> {
        let Some(interval) = core.options.sweep_interval else {
            return Ok(0);
        };
        let now_us = core.now_us();
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        {
            let mut last_us = lock(&core.sweeper.last_us);
            if now_us < last_us.saturating_add(interval_us) {
                return Ok(0);
            }
            *last_us = now_us;
        }
        core.sweep(now_us)
    }

    /// The sweep at open.
    pub(crate) fn first(core: &Core) -> Result<u64> {
        let now_us = core.now_us();
        *lock(&core.sweeper.last_us) = now_us;
        core.sweep(now_us)
    }
}

fn run(core: &Weak<Core>, stop: &Stop, look: Duration) {
    loop {
        let wanted = lock(&stop.wanted);
        let waited = stop
            .rung
            .wait_timeout_while(wanted, look, |wanted| !*wanted);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = Sweeper::step(&core) {
            if error.kind() == super::ErrorKind::Closed {
                return;
            }
            // Tried again at the next interval; the records stay hidden or visible as before.
            tracing::warn!(%error, "removing expired records failed");
            *lock(&core.sweeper.last_error) = Some(error.to_string());
        }
    }
}

// What these guard is one value each.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
