//! The store: opens, lists and makes keyspaces, and offers what concerns all of them. It wires
//! the rooms and does little itself.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::clock::ClockWarning;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::os::{OsDisk, Place};
use crate::error::{Error, ErrorKind, Result};
use crate::figures;
use crate::handle::Handle;
use crate::keydir::space::Space;
use crate::keyspace::{Keyspace, info_of};
use crate::merge::Merge;
use crate::options::{
    Durability, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, KeyspaceOptions, Options, Reads,
};
use crate::report::{Damage, MergeReport, Progress, RecoveryReport, VerifyReport};
use crate::segment::catalog::Catalog;
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::KeyspaceId;
use crate::segment::names::{self, FileName};
use crate::snapshot::Snapshot;
use crate::stats::{KeyspaceInfo, Stats};
use crate::ticket::Commit;
use crate::verify;
use crate::view::View;

/// An open store. Cheap to clone, usable from any thread; the last handle dropped closes it,
/// [`Store::close`] closes it for all and tells how that went.
#[derive(Clone)]
pub struct Store {
    pub(crate) handle: Arc<Handle>,
}

impl Store {
    /// Opens the store in `dir`, making it if the directory is missing or empty.
    ///
    /// One process writes at a time, held by a lock of the kernel that ends with the process.
    /// Whatever a crash left is put right first; [`Store::recovery`] tells what was found.
    ///
    /// # Errors
    /// `Locked` if another handle or process has it open; `InvalidArgument` if `dir` is a file,
    /// holds something that is no store, or an option is out of range; `NotFound` if there is no
    /// store and [`Options::create`] is false; `Corrupted` if a sealed segment is gone or cut
    /// short (see [`Options::missing_segments`]); `UnsupportedFormat`; `Io`.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Store> {
        options.check()?;
        let dir = dir.as_ref();
        check_finished(dir)?;
        Store::open_unchecked(dir, options)
    }

    /// As `open`, for the repair that is filling the directory.
    pub(crate) fn open_unchecked(dir: &Path, options: Options) -> Result<Store> {
        prepare(dir, &options)?;
        let disk = disk_of(dir, &options);
        let lock = disk.lock(names::LOCK).map_err(|e| lock_error(dir, e))?;
        let core = Core::open(dir.to_path_buf(), &disk, lock, options)?;
        Ok(Store::of(Handle::new(core)))
    }

    pub(crate) fn of(handle: Arc<Handle>) -> Store {
        Store { handle }
    }

    /// What the handles share, for who orders the background steps by hand.
    pub(crate) fn core(&self) -> &Core {
        &self.handle
    }

    /// Brings everything to the device, seals the active segment and lets the lock go, for every
    /// handle: their calls answer `Closed` from then on. Values that were lent stay valid.
    ///
    /// A segment of which something cannot be read any more is no obstacle: everything else is closed as ever,
    /// and the loss is told by [`Stats::damaged_segments`], [`Store::verify`] and the next open's
    /// [`Store::recovery`].
    ///
    /// # Errors
    /// What kept it from the device; the store is closed nevertheless, and the next open decides
    /// by what the files hold.
    pub fn close(self) -> Result<()> {
        self.handle.close()
    }

    /// The directory that the store was opened with.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.handle.dir
    }

    // ---- keyspaces

    /// The keyspace `name`, made durably if there is none.
    ///
    /// # Errors
    /// `InvalidArgument` if it exists with other options, the name is empty or too long, or there
    /// are [`KEYSPACES_MAX`] already; `StorageFull`, `Poisoned`, `Closed`, `Io`.
    pub fn keyspace(&self, name: &str, options: KeyspaceOptions) -> Result<Keyspace> {
        self.handle.log.check_open()?;
        check_name(name)?;
        let ttl_ms = ttl_ms(options.default_ttl)?;
        let _one_at_a_time = self.handle.catalog_turn()?;
        if let Some(space) = self.handle.spaces.by_name(name) {
            return same_options(&space.entry, options, ttl_ms).map(|()| self.wrap(space));
        }
        let now_ms = self.handle.clock.now_ms();
        let space = self.handle.log.update_catalog(now_ms, |catalog| {
            self.make_space(catalog, name, options, ttl_ms, now_ms)
        })?;
        self.handle.spaces.insert(space.clone());
        Ok(self.wrap(space))
    }

    /// The keyspace `name`, whatever its options.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Closed`.
    pub fn existing_keyspace(&self, name: &str) -> Result<Keyspace> {
        self.handle.log.check_open()?;
        let space = self.handle.spaces.by_name(name).ok_or_else(|| {
            let what = format!("there is no keyspace '{name}'; Store::keyspaces lists them");
            Error::new(ErrorKind::NotFound, what)
        })?;
        Ok(self.wrap(space))
    }

    /// All keyspaces, by name.
    #[must_use]
    pub fn keyspaces(&self) -> Vec<KeyspaceInfo> {
        self.handle
            .spaces
            .all()
            .iter()
            .map(|space| info_of(&self.handle, space))
            .collect()
    }

    /// Removes a keyspace with everything in it, durably; false if there is none. Its space comes
    /// back by merging. A keyspace made later under the same name starts empty.
    ///
    /// # Errors
    /// `StorageFull`, `Poisoned`, `Closed`, `Io`; the keyspace is still there then.
    pub fn drop_keyspace(&self, name: &str) -> Result<bool> {
        self.handle.log.check_open()?;
        let _one_at_a_time = self.handle.catalog_turn()?;
        let Some(space) = self.handle.spaces.by_name(name) else {
            return Ok(false);
        };
        let now_ms = self.handle.clock.now_ms();
        self.handle.log.update_catalog(now_ms, |catalog| {
            catalog.keyspaces.retain(|entry| entry.id != space.id());
            Ok(())
        })?;
        space.mark_dropped();
        self.handle.spaces.remove(name);
        // Writes that passed the mark before it was set end with the log lock.
        drop(self.handle.log.writer_for_close());
        self.handle.past.forget_space(space.id());
        for segment in self.handle.log.table.by_id() {
            segment.drop_keyspace(space.id());
        }
        self.handle.log.feed.ring_all();
        Ok(true)
    }

    // ---- all of them

    /// An empty batch, for changes of several keys that apply whole or not at all.
    pub fn batch(&self) -> Batch {
        Batch::new(self.handle.clone())
    }

    /// A consistent view of all keyspaces as they are now, for as long as it is kept: see
    /// [`Snapshot`]. It sees what is visible, which may be less durable than `Device`.
    ///
    /// # Errors
    /// `Closed`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::new(View::take(self.handle.core(), || {})?))
    }

    /// Returns when everything written before, by any thread, is on the device.
    ///
    /// # Errors
    /// `Io` or `Poisoned` if a sync failed, `StorageFull` if buffered bytes could not leave
    /// memory, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.handle.log.check_open()?;
        self.handle.log.sync_all()
    }

    /// A ticket for everything written before, by any thread: its wait, blocking or awaited, ends
    /// when that is on the device. [`Store::sync`] without a thread that blocks.
    ///
    /// # Errors
    /// `Closed`. What fails later is told by the ticket.
    pub fn sync_ticket(&self) -> Result<Commit> {
        self.handle.log.check_open()?;
        let seq = self.handle.log.writer_for_close().last_seq();
        Ok(Commit::new(&self.handle, seq, Durability::Device))
    }

    /// Gives space back: see [`Merge`]. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// `StorageFull` if the survivors find no room; the inputs are kept then. `Io`, `Poisoned`,
    /// `Closed`. A segment with a record that cannot be read is left alone and counted.
    pub fn merge(&self, how: Merge) -> Result<MergeReport> {
        self.handle.merge(how, &mut |_| {})
    }

    /// As [`Store::merge`], telling `progress` how far a full merge is.
    ///
    /// # Errors
    /// As [`Store::merge`].
    pub fn merge_with(
        &self,
        how: Merge,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<MergeReport> {
        self.handle.merge(how, progress)
    }

    /// Saves the keydirs now, so that the next open is quick even after a kill; the background and
    /// [`close`](Store::close) do so by themselves. Waits for a merge under way, and brings the log
    /// to the device. Answers how many bytes were written. A crash meanwhile leaves the image of
    /// before.
    ///
    /// # Errors
    /// `StorageFull`, `Io`, `Poisoned`, `Closed`; the store goes on as it was.
    pub fn save_image(&self) -> Result<u64> {
        self.handle.save_image()
    }

    /// Compares every checksum of every file, and every hint with its segment, one segment at a
    /// time. Of a store that was opened for reading alone, what opening found belongs to it: files
    /// that are missing, cut or exchanged. (Opening for writing puts right what it can, and tells
    /// in [`Store::recovery`].)
    ///
    /// # Errors
    /// `Io` if a file cannot be read at all, `Closed`. Damage is not an error but the report's.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport> {
        self.handle.log.check_open()?;
        let (log, spaces) = (&self.handle.log, &self.handle.spaces);
        let mut report = verify::verify(log, spaces, &log.segments_that_count(), progress)?;
        if self.is_read_only() {
            for found in &self.recovery().damage {
                let told =
                    |damage: &Damage| (&damage.file, damage.offset) == (&found.file, found.offset);
                if !report.damage.iter().any(told) {
                    report.damage.push(found.clone());
                }
            }
        }
        Ok(report)
    }

    /// What opening found, cut and repaired.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.handle.recovery
    }

    /// The store's time in milliseconds since the Unix epoch: the wall clock's, never running
    /// backwards, not believing a leap.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.handle.clock.now_ms()
    }

    /// Set while the wall clock says a time that the store does not believe: over an hour ahead
    /// of the boot clock, or 400 days after the last open. Nothing expires early by it.
    #[must_use]
    pub fn clock_warning(&self) -> Option<ClockWarning> {
        self.handle.clock.warning()
    }

    /// Says that the wall clock is right; records may expire by it from now on.
    ///
    /// # Errors
    /// As [`Store::sync`]: the new time is written to the manifest.
    pub fn confirm_clock(&self) -> Result<()> {
        let _one_at_a_time = self.handle.catalog_turn()?;
        self.handle.clock.confirm();
        self.handle
            .log
            .update_catalog(self.handle.clock.now_ms(), |_| Ok(()))
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        figures::stats_of(&self.handle)
    }

    // ---- within

    fn wrap(&self, space: Arc<Space>) -> Keyspace {
        Keyspace::new(self.handle.clone(), space)
    }

    fn make_space(
        &self,
        catalog: &mut Catalog,
        name: &str,
        options: KeyspaceOptions,
        default_ttl_ms: u64,
        created_ms: u64,
    ) -> Result<Arc<Space>> {
        if catalog.keyspaces.len() >= KEYSPACES_MAX {
            let what = format!("the store has {KEYSPACES_MAX} keyspaces, the most it can hold");
            return Err(Error::invalid(what));
        }
        let id = catalog.next_keyspace;
        catalog.next_keyspace = id.checked_add(1).ok_or_else(|| {
            Error::invalid("4294967295 keyspaces were made in this store; there is no further id")
        })?;
        let entry = KeyspaceEntry {
            id: KeyspaceId(id),
            kind: options.kind,
            default_ttl_ms,
            created_ms,
            name: name.to_owned(),
        };
        catalog.keyspaces.push(entry.clone());
        Ok(Arc::new(Space::new(entry, self.handle.log.secret)))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.handle.dir)
            .finish_non_exhaustive()
    }
}

/// Sees to it that `dir` is a directory in which a store is or may be made.
fn prepare(dir: &Path, options: &Options) -> Result<()> {
    let shown = dir.display().to_string();
    let place = OsDisk::look(dir).map_err(|e| Error::io("look at", &shown, e))?;
    match place {
        Place::NotADirectory => {
            return Err(Error::invalid(format!(
                "{shown} is not a directory; a store needs a directory of its own"
            )));
        }
        Place::Missing if !options.create => return Err(no_store(&shown)),
        Place::Missing => make_dir(dir)?,
        Place::Directory => {}
    }
    let listed = OsDisk::new(dir).list();
    let listed = listed.map_err(|e| Error::io("list the directory", &shown, e))?;
    check_listing(&listed, &shown, options)?;
    // Who made the directory may have been killed before its name was synced.
    if place == Place::Directory && !listed.iter().any(|name| is_of_store(name)) {
        make_dir(dir)?;
    }
    Ok(())
}

fn make_dir(dir: &Path) -> Result<()> {
    let made = OsDisk::create_dir(dir);
    made.map_err(|e| Error::io("create the directory", &dir.display().to_string(), e))
}

fn is_of_store(name: &str) -> bool {
    matches!(
        names::parse(name),
        FileName::Checkpoint | FileName::Manifest(_) | FileName::Segment(_)
    )
}

/// Whether a store is, or may be made, in a directory with these names.
pub(crate) fn check_listing(listed: &[String], shown: &str, options: &Options) -> Result<()> {
    if listed.iter().any(|name| is_of_store(name)) {
        return Ok(());
    }
    let foreign = |name: &&String| matches!(names::parse(name), FileName::Foreign);
    match listed.iter().find(foreign) {
        Some(example) => Err(Error::invalid(format!(
            "{shown} is not a Peercask store: it holds '{example}' and no manifest; choose an \
             empty directory or one in which a store was made"
        ))),
        None if !options.create => Err(no_store(shown)),
        None => Ok(()),
    }
}

/// Refuses the directory of a repair that was broken off: a part would be taken for the whole.
pub(crate) fn check_finished(dir: &Path) -> Result<()> {
    match OsDisk::new(dir).list() {
        Ok(names) if names.iter().any(|name| name == names::UNFINISHED) => {
            Err(unfinished_repair(&dir.display().to_string()))
        }
        // What else is wrong with it is told by who needs it.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The refusal of a directory in which a repair broke off.
pub(crate) fn unfinished_repair(shown: &str) -> Error {
    Error::invalid(format!(
        "{shown} holds a repair that was broken off, only a part of the damaged store: remove it \
         and repair again; the damaged store is as it was"
    ))
}

pub(crate) fn disk_of(dir: &Path, options: &Options) -> Arc<dyn Disk> {
    Arc::new(match options.reads {
        Reads::Mapped => OsDisk::new(dir),
        Reads::Positional => OsDisk::without_maps(dir),
    })
}

pub(crate) fn no_store(shown: &str) -> Error {
    let what =
        format!("there is no store in {shown}, and Options::create does not allow to make one");
    Error::new(ErrorKind::NotFound, what)
}

pub(crate) fn lock_error(dir: &Path, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::WouldBlock {
        let what = format!(
            "the store in {} is open for writing elsewhere; one process writes at a time: close \
             the other one first (its process id is in the file {})",
            dir.display(),
            names::LOCK
        );
        return Error::new(ErrorKind::Locked, what);
    }
    let doing = format!(
        "take the lock of the store in {}; make the directory and its files writable for this user",
        dir.display()
    );
    Error::io(&doing, names::LOCK, error)
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(
            "a keyspace needs a name of at least one byte",
        ));
    }
    if name.len() > KEYSPACE_NAME_LEN_MAX {
        return Err(Error::invalid(format!(
            "a keyspace name of {} bytes is over the limit of {KEYSPACE_NAME_LEN_MAX} bytes",
            name.len()
        )));
    }
    Ok(())
}

fn ttl_ms(ttl: Option<Duration>) -> Result<u64> {
    let Some(ttl) = ttl else { return Ok(0) };
    let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return Err(Error::invalid(
            "a default_ttl must be at least one millisecond",
        ));
    }
    Ok(ms)
}

/// Reopening with other options would make one of the two callers wrong about what it gets.
fn same_options(entry: &KeyspaceEntry, options: KeyspaceOptions, ttl_ms: u64) -> Result<()> {
    if entry.kind != options.kind {
        return Err(Error::invalid(format!(
            "keyspace '{}' is of the {} kind, not {}; its kind is fixed when it is made",
            entry.name, entry.kind, options.kind
        )));
    }
    if entry.default_ttl_ms != ttl_ms {
        return Err(Error::invalid(format!(
            "keyspace '{}' has a default_ttl of {} ms, not {ttl_ms} ms (0 is none); it is fixed \
             when the keyspace is made, and Write::ttl differs from it for one write",
            entry.name, entry.default_ttl_ms
        )));
    }
    Ok(())
}
