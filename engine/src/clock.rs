//! Clocks, and the store time made of them: the only file that reads a clock of the system.
//! Expiry is wall-clock time, which steps; store time never runs backwards and does not believe
//! a large step forward until the caller confirms it. Order of writes never comes from here.

use crate::sync::Mutex;
use crate::sync::PoisonError;
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A forward step larger than this, against the boot clock, is not believed: one hour.
const FORWARD_STEP_MAX_MS: u64 = 3_600_000;
/// A jump larger than this across a reopen is not believed: 400 days.
const REOPEN_STEP_MAX_MS: u64 = 400 * 24 * 3_600_000;

/// Where a store gets the time from; tests and simulators bring their own.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch; may step in either direction.
    fn wall_ms(&self) -> u64;
    /// Milliseconds since some fixed moment, suspend included where the system can tell; never steps.
    fn boot_ms(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    #[cfg(target_os = "linux")]
    fn boot_ms(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
        seconds * 1_000 + nanos / 1_000_000
    }

    #[cfg(not(target_os = "linux"))]
    fn boot_ms(&self) -> u64 {
        use crate::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to, for tests.
#[derive(Debug)]
pub struct ManualClock {
    boot_ms: AtomicU64,
    wall_offset_ms: AtomicI64,
}

impl ManualClock {
    /// A clock whose wall time is `wall_ms` now.
    #[must_use]
    pub fn new(wall_ms: u64) -> ManualClock {
        let offset = i64::try_from(wall_ms).unwrap_or(i64::MAX);
        ManualClock {
            boot_ms: AtomicU64::new(0),
            wall_offset_ms: AtomicI64::new(offset),
        }
    }

    /// Lets time pass: both clocks move on.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as a wrong time server would.
    pub fn step_wall_ms(&self, by: i64) {
        self.wall_offset_ms.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock alone.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        let boot = i64::try_from(self.boot_ms()).unwrap_or(i64::MAX);
        let wall = i64::try_from(wall_ms).unwrap_or(i64::MAX);
        self.wall_offset_ms
            .store(wall.saturating_sub(boot), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        let boot = i64::try_from(self.boot_ms()).unwrap_or(i64::MAX);
        let wall = boot.saturating_add(self.wall_offset_ms.load(Ordering::SeqCst));
        u64::try_from(wall).unwrap_or(0)
    }

    fn boot_ms(&self) -> u64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
}

/// The wall clock went further forward than the store believes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockWarning {
    /// What the wall clock says.
    pub wall_ms: u64,
    /// What the store takes for the time instead.
    pub believed_ms: u64,
}

/// Store time: wall time that never runs backwards and never leaps.
pub(crate) struct StoreClock {
    clock: Arc<dyn Clock>,
    state: Mutex<Anchor>,
}

/// A believed moment and what the boot clock said then.
struct Anchor {
    believed_ms: u64,
    boot_ms: u64,
    warning: Option<ClockWarning>,
}

impl StoreClock {
    /// `high_water_ms` is the latest store time that the files prove; 0 for a new store.
    pub(crate) fn new(clock: Arc<dyn Clock>, high_water_ms: u64) -> StoreClock {
        let (wall, boot) = (clock.wall_ms(), clock.boot_ms());
        let leap = high_water_ms > 0 && wall > high_water_ms.saturating_add(REOPEN_STEP_MAX_MS);
        let anchor = if leap {
            let warning = ClockWarning {
                wall_ms: wall,
                believed_ms: high_water_ms,
            };
            Anchor {
                believed_ms: high_water_ms,
                boot_ms: boot,
                warning: Some(warning),
            }
        } else {
            Anchor {
                believed_ms: wall.max(high_water_ms),
                boot_ms: boot,
                warning: None,
            }
        };
        StoreClock {
            clock,
            state: Mutex::new(anchor),
        }
    }

    /// The store time in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        let (wall, boot) = (self.clock.wall_ms(), self.clock.boot_ms());
        let mut anchor = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread may bring a boot reading older than the anchor's; time then stands still.
        let elapsed = boot.saturating_sub(anchor.boot_ms);
        let expected = anchor.believed_ms.saturating_add(elapsed);
        let now = if wall > expected.saturating_add(FORWARD_STEP_MAX_MS) {
            let warning = ClockWarning {
                wall_ms: wall,
                believed_ms: expected,
            };
            if anchor.warning.is_none() {
                tracing::warn!(wall, expected, "the wall clock leapt forward; not believed");
            }
            anchor.warning = Some(warning);
            expected
        } else {
            anchor.warning = None;
            wall.max(expected)
        };
        anchor.believed_ms = now;
        anchor.boot_ms = anchor.boot_ms.max(boot);
        now
    }

    /// The doubt about the wall clock, if there is one.
    pub(crate) fn warning(&self) -> Option<ClockWarning> {
        self.now_ms();
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .warning
    }

    /// The caller says that the wall clock is right.
    pub(crate) fn confirm(&self) {
        let (wall, boot) = (self.clock.wall_ms(), self.clock.boot_ms());
        let mut anchor = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        anchor.believed_ms = anchor.believed_ms.max(wall);
        anchor.boot_ms = boot;
        anchor.warning = None;
    }
}

/// Measures how long a piece of work took; for reports and rates only.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// No time passes under a schedule explorer: what waits for a while there would never end.
    pub(crate) fn elapsed(self) -> Duration {
        if cfg!(all(test, any(feature = "shuttle", feature = "loom"))) {
            return Duration::ZERO;
        }
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn pair(wall: u64, high: u64) -> (Arc<ManualClock>, StoreClock) {
        let manual = Arc::new(ManualClock::new(wall));
        let store = StoreClock::new(manual.clone(), high);
        (manual, store)
    }

    #[test]
    fn a_step_back_never_turns_time_back_and_time_goes_on() {
        let (manual, store) = pair(10 * HOUR, 0);
        manual.step_wall_ms(-3_600_000);
        assert_eq!(store.now_ms(), 10 * HOUR);
        manual.advance(Duration::from_secs(60));
        assert_eq!(store.now_ms(), 10 * HOUR + 60_000);
    }

    #[test]
    fn a_leap_forward_is_reported_and_believed_only_when_confirmed() {
        let (manual, store) = pair(10 * HOUR, 0);
        manual.step_wall_ms(87_600 * 3_600_000);
        assert_eq!(store.now_ms(), 10 * HOUR);
        let warning = store.warning().expect("the leap is reported");
        assert_eq!(warning.believed_ms, 10 * HOUR);
        store.confirm();
        assert_eq!(store.now_ms(), 87_610 * HOUR);
        assert_eq!(store.warning(), None);
    }

    #[test]
    fn a_small_step_forward_is_believed() {
        let (manual, store) = pair(10 * HOUR, 0);
        manual.step_wall_ms(1_800_000);
        assert_eq!(store.now_ms(), 10 * HOUR + 1_800_000);
    }

    #[test]
    fn across_a_reopen_a_year_passes_but_a_decade_is_doubted() {
        let (_, year) = pair(365 * 24 * HOUR, 1);
        assert_eq!(year.now_ms(), 365 * 24 * HOUR);
        let (_, decade) = pair(3_650 * 24 * HOUR, 1);
        assert_eq!(decade.now_ms(), 1);
        assert!(decade.warning().is_some());
    }

    #[test]
    fn the_high_water_mark_is_a_floor() {
        let (_, store) = pair(5 * HOUR, 9 * HOUR);
        assert_eq!(store.now_ms(), 9 * HOUR);
    }
}
