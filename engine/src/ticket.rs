//! The receipt of a write: its seq, and the wait until it is as durable as was asked.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::handle::Handle;
use crate::options::Durability;
use crate::segment::location::Seq;

/// A write that is visible; [`Commit::wait`] returns when it is as durable as was asked.
///
/// Dropping it does not undo the write. It then becomes durable with the next sync.
#[must_use = "the write is visible, but durable only when `wait` has returned"]
pub struct Commit {
    handle: Arc<Handle>,
    seq: u64,
    durability: Durability,
}

impl Commit {
    pub(crate) fn new(handle: &Arc<Handle>, seq: u64, durability: Durability) -> Commit {
        Commit {
            handle: handle.clone(),
            seq,
            durability,
        }
    }

    /// The write's place in the order of all writes: of a batch, its last member's.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// What was asked for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Waits until the write is as durable as was asked. Threads that wait at once share syncs.
    ///
    /// # Errors
    /// `Poisoned` or `Io` if the sync failed: the write is visible now, and may be gone after a
    /// crash.
    pub fn wait(self) -> Result<Seq> {
        self.handle.wait(self.seq, self.durability)?;
        Ok(Seq(self.seq))
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("seq", &self.seq)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
