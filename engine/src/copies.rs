//! What a store offers to others than its writer: readers beside it, checkpoints and the way back,
//! and the repair of what is damaged. It checks paths and calls the verbs.

use std::path::Path;

use crate::checkpoint;
use crate::core::Core;
use crate::disk::os::{OsDisk, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::options::Options;
use crate::repair;
use crate::report::{CheckpointReport, Progress, RepairReport};
use crate::store::{Store, check_finished, disk_of, no_store};

impl Store {
    /// Opens the store in `dir` for reading alone, while another process or handle may have it open
    /// for writing. No lock is taken and nothing is written: not to put a crash right, not on a
    /// file system that is mounted read-only, not to a checkpoint, which stays one.
    ///
    /// It shows what its writer had handed to the kernel by then: `Kernel` and `Device` writes at
    /// once, `Buffered` ones within 10 ms. [`Store::refresh`] follows; between two of them the
    /// view stands still, but for expiry. Merge and rotation do not disturb it: what the writer
    /// removes stays readable here until the next refresh. [`Options`] that concern writing mean
    /// nothing here.
    ///
    /// # Errors
    /// `NotFound` if there is no store; `InvalidArgument` if `dir` is a file or an unfinished
    /// checkpoint; `Corrupted` as for [`Store::open`]; `Conflict` if the writer is too fast for
    /// it, try again; `UnsupportedFormat`; `Io`.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let dir = dir.path();
    /// let store = Store::open(dir, Options::default())?;
    /// let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
    /// peers.put("alice", "here")?;
    ///
    /// let reader = Store::open_read_only(dir, Options::default())?; // in any process
    /// peers.put("bob", "there")?;
    /// let seen = reader.existing_keyspace("peers")?;
    /// assert_eq!(seen.count::<&str, _>(..)?, 1);
    /// assert!(reader.refresh()?);
    /// assert_eq!(seen.count::<&str, _>(..)?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_read_only(dir: impl AsRef<Path>, options: Options) -> Result<Store> {
        options.check()?;
        let dir = dir.as_ref();
        let shown = dir.display().to_string();
        match OsDisk::look(dir).map_err(|e| Error::io("look at", &shown, e))? {
            Place::Directory => {}
            Place::Missing => return Err(no_store(&shown)),
            Place::NotADirectory => {
                return Err(Error::invalid(format!("{shown} is not a directory")));
            }
        }
        check_finished(dir)?;
        let core = Core::open_read_only(dir.to_path_buf(), &disk_of(dir, &options), options);
        let core = core.map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_store(&shown),
            _ => error,
        })?;
        Ok(Store::of(Handle::new(core)))
    }

    /// Brings a store that was opened for reading alone to what its writer has done since; true
    /// if there was something new. Entries that one batch wrote show together. The cost is that
    /// of what is new. A store that is open for writing sees everything as it is: false.
    ///
    /// # Errors
    /// `Conflict` if the writer failed, or recovered from a crash, and took back what this handle
    /// has shown, or is too fast for it; `NotFound` if the store is gone; `Corrupted`, `Io`,
    /// `Closed`. What was shown before still is.
    pub fn refresh(&self) -> Result<bool> {
        self.core().refresh()
    }

    /// Whether it was opened with [`Store::open_read_only`].
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.core().log.only_reads
    }

    /// Makes `dir` an openable copy of everything written before the call, while reads, writes and
    /// merge go on. The active segment is sealed; sealed segments never change, so the copy gets
    /// hard links to them: no bytes are copied, whatever the store holds, and the copy takes space
    /// only for what merge gives back later. On another file system they are copied.
    ///
    /// `dir` is empty or missing, or holds an earlier checkpoint of this store, which is brought
    /// up to date and whole at every moment. A first one that breaks off is no store and is
    /// refused by open; calling again goes on with it. See the crate's page on checkpoints for
    /// what a copy shares with its origin.
    ///
    /// # Errors
    /// `InvalidArgument` if `dir` holds anything else; `Locked` if it is open; `StorageFull`,
    /// `Poisoned`, `Closed`, `Io`.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let (live, backup, back) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    /// let store = Store::open(&live, Options::default())?;
    /// let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
    /// peers.put("alice", "here")?;
    /// store.checkpoint_to(&backup)?;
    ///
    /// peers.put("bob", "there")?;
    /// let report = store.checkpoint_to(&backup)?; // only what is new
    /// assert_eq!((report.segments_kept, report.segments_linked), (1, 1));
    ///
    /// // Later: the backup stays as it is, the restored store goes its own way.
    /// Store::restore(&backup, &back)?;
    /// let restored = Store::open(&back, Options::default())?;
    /// let peers = restored.existing_keyspace("peers")?;
    /// assert_eq!(peers.get("bob")?.as_deref(), Some(&b"there"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn checkpoint_to(&self, dir: impl AsRef<Path>) -> Result<CheckpointReport> {
        self.core().checkpoint(dir.as_ref(), &mut |_| {})
    }

    /// As [`Store::checkpoint_to`], telling `progress` how far it is; copies take their time.
    ///
    /// # Errors
    /// As [`Store::checkpoint_to`].
    pub fn checkpoint_with(
        &self,
        dir: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CheckpointReport> {
        self.core().checkpoint(dir.as_ref(), progress)
    }

    /// Copies a checkpoint to `dir`, which is empty or missing, by links where it can. The
    /// checkpoint is only read; it may be of a store that is open, or be brought up to date at
    /// the same time. The first open makes `dir` a store of its own.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no whole checkpoint or `dir` holds anything else;
    /// `Corrupted` if a file of the checkpoint is missing; `Locked`, `StorageFull`, `Io`. What
    /// breaks off is refused by open, and goes on when called again.
    pub fn restore(
        checkpoint: impl AsRef<Path>,
        dir: impl AsRef<Path>,
    ) -> Result<CheckpointReport> {
        Store::restore_with(checkpoint, dir, &mut |_| {})
    }

    /// As [`Store::restore`], telling `progress` how far it is.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub fn restore_with(
        checkpoint: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CheckpointReport> {
        let (source, dir) = (checkpoint.as_ref(), dir.as_ref());
        let (from_shown, to_shown) = (source.display().to_string(), dir.display().to_string());
        let from = OsDisk::new(source);
        checkpoint::check_source(&from, &from_shown)?;
        if OsDisk::are_same(source, dir) {
            let what = format!("{to_shown} cannot be restored to itself; choose another directory");
            return Err(Error::invalid(what));
        }
        let to = checkpoint::directory(&from, dir)?;
        checkpoint::restore(&from, &from_shown, &*to, &to_shown, progress)
    }

    /// Writes everything that can still be read of the store in `damaged` into a new store in
    /// `dir`, which is empty or missing. The damaged store is only read, by position and past
    /// unreadable sectors; it may even be open elsewhere. The new one has a store id and seqs of
    /// its own; keyspaces, values and expiry are the same. A key whose current value is
    /// damaged is absent: no older version takes its place, unless the file that told of the newer
    /// one is missing or cut short, which the report says.
    ///
    /// `options` are those of the new store. What breaks off is refused by open and by repair; it
    /// is removed by hand, and the repair done again.
    ///
    /// # Errors
    /// `InvalidArgument` if `dir` is not empty; `NotFound` if `damaged` holds no store;
    /// `UnsupportedFormat`; `StorageFull`, `Io` if the new store cannot be written. What could
    /// not be saved is no error but the report's.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let (old, new) = (dir.path().join("a"), dir.path().join("b"));
    /// let store = Store::open(&old, Options::default())?;
    /// store.keyspace("peers", KeyspaceOptions::ordered())?.put("alice", "here")?;
    /// store.close()?;
    /// let report = Store::repair(&old, &new, Options::default())?;
    /// for lost in &report.lost {
    ///     eprintln!("lost: {lost}");
    /// }
    /// assert!(report.is_complete() && report.records == 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn repair(
        damaged: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<RepairReport> {
        Store::repair_with(damaged, dir, options, &mut |_| {})
    }

    /// As [`Store::repair`], telling `progress` how far it is.
    ///
    /// # Errors
    /// As [`Store::repair`].
    pub fn repair_with(
        damaged: impl AsRef<Path>,
        dir: impl AsRef<Path>,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<RepairReport> {
        repair::repair(damaged.as_ref(), dir.as_ref(), options, progress)
    }
}
