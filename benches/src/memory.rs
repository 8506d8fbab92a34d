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
    /// Of each look: the keys of the look before, and the highest so far.
    looks: Vec<(u64, u64)>,
}

/// More looks than any run has: the list must not grow while memory is measured.
const LOOKS_MAX: usize = 4_096;

impl Default for PerKey {
    fn default() -> PerKey {
        PerKey::new()
    }
}

impl PerKey {
    /// Made before anything is measured: what it takes is not to be counted.
    #[must_use]
    pub fn new() -> PerKey {
        PerKey {
            before: 0,
            keys: 0,
            highest: 0.0,
            looks: Vec::with_capacity(LOOKS_MAX),
        }
    }

    /// Begins without a key; `before` is allocated now.
    pub fn begin(&mut self, before: u64) {
        self.before = before;
    }

    /// There are `keys` now.
    pub fn look(&mut self, keys: u64) {
        if let Some(highest) = highest()
            && self.keys > 0
        {
            let held = highest.saturating_sub(self.before);
            self.highest = self.highest.max(held as f64 / self.keys as f64);
            if self.looks.len() < LOOKS_MAX {
                self.looks.push((self.keys, held));
            }
        }
        self.keys = keys;
    }

    /// The highest so far of what does not stay the same whatever the keys.
    #[must_use]
    pub fn highest_beyond(&self, fixed: f64) -> Option<f64> {
        let beyond = |(keys, held): &(u64, u64)| (*held as f64 - fixed) / *keys as f64;
        self.looks.iter().map(beyond).max_by(f64::total_cmp)
    }

    /// The highest so far; none if nothing counts.
    #[must_use]
    pub fn highest(&self) -> Option<f64> {
        is_counted().then_some(self.highest)
    }
}
