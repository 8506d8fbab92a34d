//! A disk that holds at most so many bytes: the sizes of its named files are added up, and what
//! would take them over the cap is refused as if the disk were full. A file counts with its length,
//! reserved space included, from its name's first moment to its last. Knows no format: it is told
//! which names count, and which are those of files in the making.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::map::Map;
use super::{Disk, DiskFile, How, Lock};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// A disk with a cap.
pub(crate) struct Capped {
    disk: Arc<dyn Disk>,
    ledger: Arc<Ledger>,
}

/// What the named files take.
pub(crate) struct Ledger {
    cap: u64,
    names: Names,
    /// Guards the sums; a leaf, and never held across a call to the disk.
    state: Mutex<Sizes>,
}

/// Which names count.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    pub(crate) counts: fn(&str) -> bool,
    /// Files in the making: they count, but not against those who write meanwhile.
    pub(crate) in_the_making: fn(&str) -> bool,
}

#[derive(Default)]
struct Sizes {
    total: u64,
    /// The part of it that is in the making.
    making: u64,
    /// Named files by a number of their own, which a handle keeps through renames.
    files: BTreeMap<u64, File>,
    by_name: BTreeMap<String, u64>,
    next: u64,
}

#[derive(Clone, Copy, Default)]
struct File {
    len: u64,
    making: bool,
}

impl Sizes {
    fn add(&mut self, name: &str, len: u64, making: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        self.by_name.insert(name.to_owned(), id);
        self.files.insert(id, File::default());
        self.change(id, |file| *file = File { len, making });
        id
    }

    /// Changes a file, and the sums with it. One that lost its name counts no more.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut File)) {
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        let part = |file: &File| (file.len, if file.making { file.len } else { 0 });
        let before = part(file);
        change(file);
        let after = part(file);
        self.total = self.total - before.0 + after.0;
        self.making = self.making - before.1 + after.1;
    }

    fn forget(&mut self, id: u64) {
        self.change(id, |file| file.len = 0);
        self.files.remove(&id);
    }
}

impl Ledger {
    pub(crate) fn cap(&self) -> u64 {
        self.cap
    }

    /// What all named files take.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// The same without those in the making.
    pub(crate) fn settled(&self) -> u64 {
        let sizes = self.lock();
        sizes.total - sizes.making
    }

    /// Counts the growth before it happens, or refuses it.
    fn grow(&self, id: u64, len: u64) -> io::Result<()> {
        let mut sizes = self.lock();
        let now = sizes.files.get(&id).map_or(u64::MAX, |file| file.len);
        let more = len.saturating_sub(now);
        if more == 0 {
            return Ok(());
        }
        if sizes.total.saturating_add(more) > self.cap {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the files of the store would exceed its cap of {} bytes",
                    self.cap
                ),
            ));
        }
        sizes.change(id, |file| file.len = len);
        Ok(())
    }

    /// What the file has in the end, after a shrinking or a failure.
    fn note_len(&self, id: u64, len: u64) {
        self.lock().change(id, |file| file.len = len);
    }

    fn lock(&self) -> MutexGuard<'_, Sizes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Capped {
    /// Over `disk`, with the files that are there now.
    pub(crate) fn new(disk: Arc<dyn Disk>, cap: u64, names: Names) -> io::Result<Capped> {
        let mut sizes = Sizes::default();
        for name in disk.list()? {
            if (names.counts)(&name) {
                let len = disk.open(&name, How::Read)?.len()?;
                sizes.add(&name, len, (names.in_the_making)(&name));
            }
        }
        let ledger = Arc::new(Ledger {
            cap,
            names,
            state: Mutex::new(sizes),
        });
        Ok(Capped { disk, ledger })
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

impl Disk for Capped {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open_raw(name, how)?;
        if how == How::Read {
            return Ok(file);
        }
        let ledger = self.ledger.clone();
        let mut sizes = ledger.lock();
        let known = sizes.by_name.get(name).copied();
        let making = (ledger.names.in_the_making)(name);
        let id = known.unwrap_or_else(|| sizes.add(name, 0, making));
        if how == How::Replace {
            sizes.change(id, |file| file.len = 0);
        }
        drop(sizes);
        Ok(Arc::new(CappedFile { file, ledger, id }))
    }

    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename_raw(from, to)?;
        let mut sizes = self.ledger.lock();
        if let Some(id) = sizes.by_name.remove(from) {
            if let Some(replaced) = sizes.by_name.insert(to.to_owned(), id) {
                sizes.forget(replaced);
            }
            let making = (self.ledger.names.in_the_making)(to);
            sizes.change(id, |file| file.making = making);
        }
        Ok(())
    }

    fn remove_raw(&self, name: &str) -> io::Result<()> {
        self.disk.remove_raw(name)?;
        let mut sizes = self.ledger.lock();
        if let Some(id) = sizes.by_name.remove(name) {
            sizes.forget(id);
        }
        Ok(())
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        self.disk.sync_dir_raw()
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        self.disk.directory(dir)
    }

    fn link_raw(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        self.disk.link_raw(name, to, as_name)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(name)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.random(bytes)
    }
}

/// A file of a capped disk that may grow.
struct CappedFile {
    file: Arc<dyn DiskFile>,
    ledger: Arc<Ledger>,
    id: u64,
}

impl CappedFile {
    /// Grows to `len` by `grow`; what comes of it is counted.
    fn growing<T>(&self, len: u64, grow: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.ledger.grow(self.id, len)?;
        let grown = grow();
        if grown.is_err()
            && let Ok(len) = self.file.len()
        {
            self.ledger.note_len(self.id, len);
        }
        grown
    }
}

impl DiskFile for CappedFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let end = at.saturating_add(bytes.len() as u64);
        self.growing(end, || self.file.write_some_at(bytes, at))
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_some_at(buffer, at)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len_raw(&self, len: u64) -> io::Result<()> {
        self.growing(len, || self.file.set_len_raw(len))?;
        self.ledger.note_len(self.id, len);
        Ok(())
    }

    fn reserve_raw(&self, len: u64) -> io::Result<()> {
        self.growing(len, || self.file.reserve_raw(len))
    }

    // What is reserved is counted.
    fn fill_reserved(&self, from: u64, to: u64) -> io::Result<u64> {
        self.file.fill_reserved(from, to)
    }

    fn sync_data_raw(&self) -> io::Result<()> {
        self.file.sync_data_raw()
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        self.file.map(len)
    }

    fn links(&self) -> io::Result<u64> {
        self.file.links()
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}
