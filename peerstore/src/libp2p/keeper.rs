//! The one background thread: removes what has expired and writes what waited long enough, at its interval. It
//! is a step that tests call themselves, `Peerstore::maintain`; the thread is stopped and joined at close.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::core::{Core, SHARDS, lock};
use super::editor::LATENCY_WAIT_MS;
use super::error::{Error, ErrorKind, Result};
use super::gc::GcReport;
use super::options::GcMode;

/// How often the thread looks at the time, which may run otherwise than the thread's.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    opened_ms: u64,
    /// 0 for never.
    last_gc_ms: AtomicU64,
    last_fill_ms: AtomicU64,
    last_error: Mutex<Option<String>>,
    stop: Arc<Stop>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Stop {
    wanted: Mutex<bool>,
    rung: Condvar,
}

impl Keeper {
    pub(crate) fn new(opened_ms: u64) -> Keeper {
        Keeper {
            opened_ms,
            last_gc_ms: AtomicU64::new(0),
            last_fill_ms: AtomicU64::new(0),
            last_error: Mutex::new(None),
            stop: Arc::default(),
            thread: Mutex::new(None),
        }
    }

    pub(crate) fn start(core: &Arc<Core>) -> Result<()> {
        let weak = Arc::downgrade(core);
        let stop = core.keeper.stop.clone();
        let thread = std::thread::Builder::new()
            .name("peercask-keeper".into())
            .spawn(move || run(&weak, &stop))
            .map_err(|error| {
                let what = format!("could not start the keeper thread: {error}");
                Error::new(ErrorKind::Io, what)
            })?;
        *lock(&core.keeper.thread) = Some(thread);
        Ok(())
    }

    /// Stops the thread and waits for its end.
    pub(crate) fn join(&self) {
        *lock(&self.stop.wanted) = true;
        self.stop.rung.notify_all();
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        // The last handle may be dropped by the thread itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the keeper thread of a peer store died of a panic");
        }
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }
}

fn run(core: &Weak<Core>, stop: &Stop) {
    loop {
        let wanted = lock(&stop.wanted);
        let waited = stop
            .rung
            .wait_timeout_while(wanted, LOOK_INTERVAL, |wanted| !*wanted);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let Some(core) = core.upgrade() else { return };
        if let Err(error) = core.maintain() {
            if error.kind() == ErrorKind::Closed {
                return;
            }
            // Tried again at the next interval; what has expired stays invisible.
            tracing::warn!(%error, "the upkeep of a peer store failed");
            *lock(&core.keeper.last_error) = Some(error.to_string());
        }
    }
}

impl Core {
    /// What is due of the background's work.
    pub(crate) fn maintain(&self) -> Result<GcReport> {
        self.check_writable()?;
        self.feed.tidy();
        let now_ms = self.now_ms();
        for number in 0..SHARDS {
            self.write_unwritten(number, |unwritten, reach| {
                let waited = now_ms.saturating_sub(unwritten.since_ms) >= LATENCY_WAIT_MS;
                waited && unwritten.stored.latency_ns != reach.latency_ns
            })?;
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let delay_ms = millis(self.options.gc_initial_delay);
        if now_ms < self.keeper.opened_ms.saturating_add(delay_ms) {
            return Ok(GcReport::default());
        }
        let is_due = |last: &AtomicU64, interval: Duration| {
            let last_ms = last.load(Ordering::Acquire);
            let due = last_ms == 0 || now_ms >= last_ms.saturating_add(millis(interval));
            if due {
                last.store(now_ms, Ordering::Release);
            }
            due
        };
        match self.options.gc {
            GcMode::Off | GcMode::Manual => Ok(GcReport::default()),
            GcMode::FullSweep(interval) | GcMode::Incremental(interval) => {
                match is_due(&self.keeper.last_gc_ms, interval) {
                    true => self.gc(),
                    false => Ok(GcReport::default()),
                }
            }
            GcMode::Lookahead { interval, window } => {
                if is_due(&self.keeper.last_fill_ms, window) {
                    self.look_ahead(now_ms.saturating_add(millis(window)));
                }
                match is_due(&self.keeper.last_gc_ms, interval) {
                    true => self.gc_indexed(),
                    false => Ok(GcReport::default()),
                }
            }
        }
    }
}
