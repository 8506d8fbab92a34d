//! Ctrl-C: the first one asks long work to end at its next good place, the second ends it at once.
//!
//! Only commands with such places call `watch`; the others simply die, which a store survives. This
//! file must never know a store.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Exit, Failure};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WATCHED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C sets a flag instead of ending the process.
pub(crate) fn watch() -> Result<(), Failure> {
    // Tests run several commands in one process.
    if WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::new(Exit::Other, format!("cannot watch for Ctrl-C: {error}")))
}

pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Fails when Ctrl-C was pressed. For work whose parts need no tidying up.
pub(crate) fn check() -> Result<(), Failure> {
    if requested() {
        return Err(Failure::new(Exit::Interrupted, "interrupted"));
    }
    Ok(())
}
