//! What a program under trial is given while it runs, and what its check is given of each crash.

use crate::sync::{Mutex, PoisonError};
use std::cell::RefCell;
use std::collections::HashSet;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::files::SimDirectory;
use crate::clock::Clock;
use crate::disk::sim::{SimDisk, mix};
use crate::error::Result;
use crate::options::Options;
use crate::store::Store;

/// How a program or a check ends; any error will do, and a panic counts as one.
pub type Outcome = std::result::Result<(), Box<dyn Error>>;

/// One run of a program: its disk, and the notes that it leaves for the check.
pub struct Run<N> {
    disk: SimDisk,
    notes: Arc<Mutex<Vec<N>>>,
}

impl<N: Clone> Run<N> {
    pub(super) fn new(disk: SimDisk, notes: Arc<Mutex<Vec<N>>>) -> Run<N> {
        Run { disk, notes }
    }

    /// The disk of this run.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Opens a store in the disk's own directory: [`Store::open_on`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self, options: Options) -> Result<Store> {
        Store::open_on(&self.disk, options)
    }

    /// A directory for files of the program's own.
    #[must_use]
    pub fn directory(&self, name: &str) -> SimDirectory {
        self.disk.directory(name)
    }

    /// Notes something that the check should know of: "about to write 7", "7 was acknowledged".
    /// The check of a crash gets the notes that were made before it. They stand for the world outside, and are
    /// never lost.
    pub fn note(&self, note: N) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(note);
    }
}

/// What one crash left, for the check to judge.
pub struct Crashed<'a, N> {
    pub(super) disk: &'a SimDisk,
    pub(super) notes: &'a [N],
    pub(super) faulty: bool,
    pub(super) killed: bool,
    /// Media that were lived on before, in this exploration.
    pub(super) lived: &'a RefCell<HashSet<u64>>,
}

impl<N> Crashed<'_, N> {
    /// The disk after the crash. The check may do with it what it likes.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        self.disk
    }

    /// Opens the store in the disk's own directory: [`Store::open_on`]. The first store that is
    /// opened is crashed again within its recovery, if the explorer's depth says so.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(&self, options: Options) -> Result<Store> {
        Store::open_on(self.disk, options)
    }

    /// The directory of the program's own files.
    #[must_use]
    pub fn directory(&self, name: &str) -> SimDirectory {
        self.disk.directory(name)
    }

    /// What the program noted before the crash, oldest first.
    #[must_use]
    pub fn notes(&self) -> &[N] {
        self.notes
    }

    /// Only the process died, in every crash that led here: what reached the kernel is there.
    #[must_use]
    pub fn was_killed(&self) -> bool {
        self.killed
    }

    /// Runs `life` on the disk as it is now, unless it held with the very same bytes, time and
    /// `expected` before: what it does depends on nothing else but the dice of short writes.
    pub(super) fn live_on(&self, expected: &impl Hash, life: impl FnOnce() -> Outcome) -> Outcome {
        let mut hasher = DefaultHasher::new();
        expected.hash(&mut hasher);
        let (bytes, now_ms) = (self.disk.digest(), self.disk.clock().wall_ms());
        let medium = mix(&[bytes, now_ms, hasher.finish()]);
        if !self.lived.borrow().contains(&medium) {
            life()?;
            self.lived.borrow_mut().insert(medium);
        }
        Ok(())
    }

    /// Whether the disk had faults in this run: a program may have ended early then.
    #[must_use]
    pub fn had_faults(&self) -> bool {
        self.faulty
    }
}
