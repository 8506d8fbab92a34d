//! The engine on a simulated disk, and its background work as steps that somebody else orders.

use std::path::PathBuf;
use std::sync::Arc;

use crate::core::Core;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::options::{Options, Reads};
use crate::segment::names;
use crate::store::{self, Store};

/// A piece of background work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Background {
    /// What waits in memory goes to the kernel.
    Flush,
    /// The sync interval is over: what is not on the device goes there.
    Interval,
    /// Sealed segments are settled, hint files and manifest written, expired segments dropped,
    /// what should be merged is merged.
    Work,
}

impl Store {
    /// Opens the store in a directory of a simulated disk, making it if there is none. Everything
    /// that a store can do works on it, by the same code as on the real disk.
    ///
    /// So that one seed decides everything, no threads run and the store's clock is the disk's:
    /// [`Options::background`], [`Options::recovery_threads`], [`Options::merge_rate`] and
    /// [`Options::clock`] have no effect. [`Store::background_step`] does what the threads would do.
    ///
    /// ```
    /// use peercask::crash::SimDisk;
    /// use peercask::{KeyspaceOptions, Options, Store};
    ///
    /// # fn main() -> peercask::Result<()> {
    /// let disk = SimDisk::new(7);
    /// let store = Store::open_on(&disk, Options::default())?;
    /// let names = store.keyspace("names", KeyspaceOptions::ordered())?;
    /// names.put("key", "value")?;
    ///
    /// let after = disk.crash_losing_all();
    /// let store = Store::open_on(&after, Options::default())?;
    /// let names = store.existing_keyspace("names")?;
    /// assert_eq!(names.get("key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: &SimDisk, options: Options) -> Result<Store> {
        let hook = disk.take_opening_hook();
        let hooked = hook.is_some();
        if hooked {
            disk.set_hook(hook);
        }
        let opened = open(disk, options);
        if hooked {
            disk.set_hook(None);
        }
        opened
    }

    /// Does a piece of background work now: for stores that were opened without threads.
    ///
    /// # Errors
    /// What would be in `Stats::last_background_error` otherwise.
    pub fn background_step(&self, what: Background) -> Result<()> {
        match what {
            Background::Flush => self.core().flusher_work(false),
            Background::Interval => self.core().flusher_work(true),
            Background::Work => self.core().worker_work(),
        }
    }

    /// Seals the active segment; the next write begins another. On a real disk this happens when
    /// a segment is full.
    ///
    /// # Errors
    /// `Io`, `Poisoned`, `Closed`.
    pub fn rotate(&self) -> Result<()> {
        let log = &self.core().log;
        log.writer()?.seal(log)
    }
}

fn open(disk: &SimDisk, options: Options) -> Result<Store> {
    let options = options
        .background(false)
        .recovery_threads(1)
        .merge_rate(None)
        .clock(disk.clock());
    options.check()?;
    let dir = PathBuf::from(format!("simulated/{}", disk.dir()));
    let shown = dir.display().to_string();
    let listed = disk.list();
    let listed = listed.map_err(|e| Error::io("list the directory", &shown, e))?;
    store::check_listing(&listed, &shown, &options)?;
    let lock = disk.lock(names::LOCK);
    let lock = lock.map_err(|e| store::lock_error(&dir, e))?;
    let disk: Arc<dyn Disk> = Arc::new(match options.reads {
        Reads::Mapped => disk.clone(),
        Reads::Positional => disk.without_maps(),
    });
    let core = Core::open(dir, &disk, lock, options)?;
    Ok(Store::of(Handle::new(core)))
}
