//! The time of the books: the wall clock's, which is believed when it jumps forward, and goes on by the boot
//! clock when it steps back. What was stored under a clock that ran ahead is clamped when it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use peercask::Clock;

pub(crate) struct Time {
    clock: Arc<dyn Clock>,
    /// The greatest distance of the wall clock from the boot clock that was seen.
    offset_ms: AtomicI64,
}

impl Time {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Time {
        Time {
            clock,
            offset_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// Milliseconds since the Unix epoch; never runs backwards.
    pub(crate) fn now_ms(&self) -> u64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let boot = signed(self.clock.boot_ms());
        let offset = signed(self.clock.wall_ms()).saturating_sub(boot);
        let greatest = self
            .offset_ms
            .fetch_max(offset, Ordering::AcqRel)
            .max(offset);
        u64::try_from(boot.saturating_add(greatest)).unwrap_or(0)
    }
}
