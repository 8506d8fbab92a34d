//! Which line of the engine asked the disk for something: noted just before each call that changes
//! a file or a directory, and looked up by the simulated disk, so that the crash lab can say of every
//! call site whether the power was cut there and what its sync is good for. Costs nothing
//! where there is no simulated disk.

#[cfg(any(test, feature = "sim"))]
use std::panic::Location;

/// A line of source that calls the disk.
#[cfg(any(test, feature = "sim"))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Site {
    /// The file, below `src/` of the engine.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

#[cfg(any(test, feature = "sim"))]
impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

#[cfg(any(test, feature = "sim"))]
thread_local! {
    static CALLER: std::cell::Cell<Option<&'static Location<'static>>> = const { std::cell::Cell::new(None) };
}

/// Notes who calls.
#[track_caller]
#[inline]
pub(crate) fn mark() {
    #[cfg(any(test, feature = "sim"))]
    CALLER.set(Some(Location::caller()));
}

/// Who marked last, if that is `asked`; forgotten in any case.
#[cfg(any(test, feature = "sim"))]
pub(crate) fn take(asked: bool) -> Option<Site> {
    let caller = CALLER.take().filter(|_| asked)?;
    let file = caller.file();
    let below = file.rsplit_once("src/").map_or(file, |(_, below)| below);
    Some(Site {
        file: below,
        line: caller.line(),
    })
}
