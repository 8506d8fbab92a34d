//! Moments: unix nanoseconds on disk, `Instant` towards libp2p, and the one anchor between them.
//! Everything is integer arithmetic on the anchor, so a deadline comes back to the nanosecond. The
//! anchor moves only when the two clocks drift apart by more than a second: after a suspend, which
//! `Instant` sleeps through, or when the believed wall clock was set forward.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peercask::{Clock, ManualClock, SystemClock};

/// The two clocks may differ by this much before the anchor is set anew: one second.
const DRIFT_MAX_NS: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Where a record store gets the time from: the engine's two clocks and the one of libp2p.
pub trait Time: Clock {
    /// What `Instant::now()` says; on Linux it stands still during suspend.
    fn instant(&self) -> Instant;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTime {
    clock: SystemClock,
}

impl Clock for SystemTime {
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    fn boot_ms(&self) -> u64 {
        self.clock.boot_ms()
    }
}

impl Time for SystemTime {
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// Clocks that move only when told to, for tests.
#[derive(Debug)]
pub struct ManualTime {
    clock: ManualClock,
    start: Instant,
    ns: AtomicU64,
}

impl ManualTime {
    /// Clocks whose wall time is `wall_ms` now.
    #[must_use]
    pub fn new(wall_ms: u64) -> ManualTime {
        ManualTime {
            clock: ManualClock::new(wall_ms),
            start: Instant::now(),
            ns: AtomicU64::new(0),
        }
    }

    /// Lets time pass on all three clocks.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.ns.fetch_add(ns_of(by), Ordering::SeqCst);
    }

    /// Lets time pass as in a suspend: `Instant` does not see it.
    pub fn suspend(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Steps the wall clock alone, as a wrong time server would.
    pub fn step_wall_ms(&self, by: i64) {
        self.clock.step_wall_ms(by);
    }
}

impl Clock for ManualTime {
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    fn boot_ms(&self) -> u64 {
        self.clock.boot_ms()
    }
}

impl Time for ManualTime {
    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.ns.load(Ordering::SeqCst))
    }
}

/// The engine's clock, taken from a [`Time`].
pub(crate) struct EngineClock(pub(crate) Arc<dyn Time>);

impl Clock for EngineClock {
    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }

    fn boot_ms(&self) -> u64 {
        self.0.boot_ms()
    }
}

impl fmt::Debug for EngineClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineClock")
    }
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    unix_ns: u64,
    instant: Instant,
}

impl Anchor {
    pub(crate) fn new(now_ms: u64, instant: Instant) -> Anchor {
        Anchor {
            unix_ns: now_ms.saturating_mul(NS_PER_MS),
            instant,
        }
    }

    /// Sets the anchor anew if the clocks have drifted apart; true if so.
    pub(crate) fn follow(&mut self, now_ms: u64, instant: Instant) -> bool {
        let believed = now_ms.saturating_mul(NS_PER_MS);
        let drifted = self.unix_ns_of(instant).abs_diff(believed) > DRIFT_MAX_NS;
        if drifted {
            *self = Anchor::new(now_ms, instant);
        }
        drifted
    }

    /// Unix nanoseconds of a moment of libp2p's clock.
    pub(crate) fn unix_ns_of(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.unix_ns.saturating_add(ns_of(after)),
            None => {
                let before = self.instant.saturating_duration_since(instant);
                self.unix_ns.saturating_sub(ns_of(before))
            }
        }
    }

    /// The moment of libp2p's clock. One that the clock cannot say is the nearest that it can.
    pub(crate) fn instant_of(&self, unix_ns: u64) -> Instant {
        if let Some(after) = unix_ns.checked_sub(self.unix_ns) {
            let mut after = Duration::from_nanos(after);
            loop {
                match self.instant.checked_add(after) {
                    Some(instant) => return instant,
                    None => after /= 2,
                }
            }
        }
        let before = Duration::from_nanos(self.unix_ns - unix_ns);
        self.instant.checked_sub(before).unwrap_or(self.instant)
    }
}

/// Whole nanoseconds, at most what 64 bits hold: 584 years.
pub(crate) fn ns_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The second at whose beginning a deadline is certainly over. 0 is kept for "never".
pub(crate) fn second_after(unix_ns: u64) -> u32 {
    u32::try_from(unix_ns.div_ceil(NS_PER_S))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// The last full second of store time.
pub(crate) fn second_of_ms(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1_000).unwrap_or(u32::MAX)
}

/// Seconds of a duration, rounded up.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(u128::from(NS_PER_S))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_back_to_the_nanosecond_in_both_directions() {
        let anchor = Anchor::new(1_700_000_000_123, Instant::now());
        for ns in [0, 1, 999_999_999, 48 * 3_600 * NS_PER_S + 7] {
            let later = anchor.instant + Duration::from_nanos(ns);
            assert_eq!(anchor.instant_of(anchor.unix_ns_of(later)), later);
        }
    }

    #[test]
    fn moments_that_the_clock_cannot_say_do_not_panic() {
        let anchor = Anchor::new(1_700_000_000_123, Instant::now());
        let _far = anchor.instant_of(u64::MAX);
        let _before_boot = anchor.instant_of(0);
        assert_eq!(second_after(0), 1);
        assert_eq!(second_after(u64::MAX), u32::MAX);
    }

    #[test]
    fn the_anchor_stays_until_the_clocks_differ_by_more_than_a_second() {
        let start = Instant::now();
        let mut anchor = Anchor::new(1_000_000, start);
        assert!(!anchor.follow(1_000_900, start));
        assert!(anchor.follow(1_000_000 + 8 * 3_600_000, start));
        assert_eq!(
            anchor.unix_ns_of(start),
            (1_000_000 + 8 * 3_600_000) * NS_PER_MS
        );
    }
}
