//! What a counting allocator saw. A program that wants memory counted declares an [`Allocator`] as
//! its global one and names it here; others count nothing.

use std::alloc::System;
use std::sync::OnceLock;

/// The system's allocator, counted.
pub type Allocator = cap::Cap<System>;

/// One that refuses nothing; for a `#[global_allocator]`.
#[must_use]
pub const fn allocator() -> Allocator {
    Allocator::new(System, usize::MAX)
}

static INSTALLED: OnceLock<&'static Allocator> = OnceLock::new();

/// Says which allocator counts. The first one stays.
pub fn install(allocator: &'static Allocator) {
    let _ = INSTALLED.set(allocator);
}

/// Whether one counts.
#[must_use]
pub fn is_counted() -> bool {
    INSTALLED.get().is_some()
}

/// Bytes that are allocated now.
#[must_use]
pub fn held() -> Option<u64> {
    INSTALLED.get().map(|a| crate::wide(a.allocated()))
}

/// The most bytes that were allocated at any moment since the program began.
#[must_use]
pub fn highest() -> Option<u64> {
    INSTALLED.get().map(|a| crate::wide(a.max_allocated()))
}

/// Follows the bytes a key while keys come: the highest quotient of any moment.
///
/// The allocator knows its highest, not when that was. So between two looks every moment is given
/// the highest so far and the fewest keys of that stretch: never too little.
pub struct PerKey {
    before: u64,
    keys: u64,
    highest: f64,
}

impl PerKey {
    /// Begins with `keys` keys there; `before` was allocated when there were none.
    #[must_use]
    pub fn from(before: u64, keys: u64) -> PerKey {
        PerKey {
            before,
            keys,
            highest: 0.0,
        }
    }

    /// There are `keys` now.
    pub fn look(&mut self, keys: u64) {
        if let Some(highest) = highest()
            && self.keys > 0
        {
            let held = highest.saturating_sub(self.before) as f64;
            self.highest = self.highest.max(held / self.keys as f64);
        }
        self.keys = keys;
    }

    /// The highest so far; none if nothing counts.
    #[must_use]
    pub fn highest(&self) -> Option<f64> {
        is_counted().then_some(self.highest)
    }
}
