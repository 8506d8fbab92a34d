//! A simulated disk: a page cache over a medium that may lose what was not synced, in any legal
//! way. The same engine runs on it as on the real one. Legal after a power cut: each 512-byte
//! sector of a file at any version it had since the file's last sync, any size it had since, and
//! any subset of the operations on a directory since that directory's last sync.
//!
//! Deterministic: everything random comes from one seed.

mod inode;

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::map::Map;
use super::{Disk, DiskFile, How, Lock};
pub(crate) use inode::{Dice, Loss};
use inode::{Inode, SECTOR_LEN};

/// What stands between the directory and the file in a full name.
const SEPARATOR: char = '\n';

#[derive(Clone)]
enum NameChange {
    Add(String, usize),
    Remove(String),
    /// Within one directory.
    Rename(String, String),
}

impl NameChange {
    /// The directory that this changes.
    fn dir(&self) -> &str {
        let (NameChange::Add(name, _) | NameChange::Remove(name) | NameChange::Rename(name, _)) =
            self;
        split(name).0
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Add(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// Directory and file of a full name.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(SEPARATOR).unwrap_or(("", name))
}

/// Everything on the disk, cached and durable; names are full ones.
#[derive(Clone)]
pub(crate) struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<NameChange>,
    /// Bytes of named files that fit; no limit if `None`.
    capacity: Option<usize>,
    /// The operation that brought the disk here, and how many there were.
    pub(crate) last: &'static str,
    pub(crate) operations: u64,
}

impl State {
    fn new() -> State {
        State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            capacity: None,
            last: "start",
            operations: 0,
        }
    }

    /// One of the disks that a power cut at this moment may leave.
    pub(crate) fn after_cut(&self, dice: &mut Dice, loss: Loss) -> SimDisk {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            let kept = match loss {
                Loss::Everything => false,
                Loss::Nothing => true,
                Loss::Some => dice.below(2) == 0,
            };
            if kept {
                change.apply(&mut names);
            }
        }
        let inodes = self
            .inodes
            .iter()
            .map(|inode| inode.after_cut(dice, loss))
            .collect();
        let state = State {
            inodes,
            names: names.clone(),
            durable_names: names,
            changes: Vec::new(),
            capacity: None,
            last: "start",
            operations: 0,
        };
        SimDisk::with_state(state, dice.next())
    }

    /// Fails if `more` bytes do not fit beside the named files.
    fn check_space(&self, more: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        let len = |inode: usize| self.inodes.get(inode).map_or(0, |file| file.now.len());
        let used: usize = named.into_iter().map(len).sum();
        if used + more > capacity {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Ok(())
        }
    }

    fn did(&mut self, what: &'static str) {
        self.last = what;
        self.operations += 1;
    }
}

/// Called after every operation that changes the disk.
pub(crate) type Hook = Box<dyn FnMut(&State) + Send>;

/// A fault that the next matching operation meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    /// `"write"`, `"sync"`, `"create"`, `"link"`, `"rename"`, `"remove"`, `"sync-dir"`,
    /// `"reserve"`.
    pub(crate) operation: &'static str,
    /// How many such operations succeed first.
    pub(crate) after: u64,
    /// Every later one fails too.
    pub(crate) for_good: bool,
    /// The operation is done, and fails nevertheless.
    pub(crate) done: bool,
    pub(crate) error: io::ErrorKind,
}

struct Shared {
    state: Mutex<State>,
    dice: Mutex<Dice>,
    hook: Mutex<Option<Hook>>,
    fault: Mutex<Option<Fault>>,
    locked: Mutex<BTreeSet<String>>,
}

/// A simulated directory; clones are the same one. Others of the same medium are had by
/// [`Disk::directory`]; they are always there.
#[derive(Clone)]
pub(crate) struct SimDisk {
    shared: Arc<Shared>,
    dir: String,
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> SimDisk {
        SimDisk::with_state(State::new(), seed)
    }

    fn with_state(state: State, seed: u64) -> SimDisk {
        let shared = Shared {
            state: Mutex::new(state),
            dice: Mutex::new(Dice::new(seed)),
            hook: Mutex::new(None),
            fault: Mutex::new(None),
            locked: Mutex::new(BTreeSet::new()),
        };
        SimDisk {
            shared: Arc::new(shared),
            dir: String::new(),
        }
    }

    fn full(&self, name: &str) -> String {
        if self.dir.is_empty() {
            name.to_owned()
        } else {
            format!("{}{SEPARATOR}{name}", self.dir)
        }
    }

    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        *hold(&self.shared.hook) = hook;
    }

    /// Bytes that fit on the disk from now on.
    pub(crate) fn set_capacity(&self, capacity: Option<usize>) {
        hold(&self.shared.state).capacity = capacity;
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *hold(&self.shared.fault) = fault;
    }

    /// The disk as it is now.
    pub(crate) fn state(&self) -> State {
        hold(&self.shared.state).clone()
    }

    /// Meets the fault that is set, or changes the disk and tells the hook.
    fn change<T>(
        &self,
        what: &'static str,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let fault = self.meet_fault(what);
        if let Some((error, false)) = fault {
            return Err(io::Error::from(error));
        }
        let (answer, after) = {
            let mut state = hold(&self.shared.state);
            let answer = change(&mut state)?;
            state.did(what);
            let hooked = hold(&self.shared.hook).is_some();
            (answer, hooked.then(|| state.clone()))
        };
        if let Some(after) = after
            && let Some(hook) = &mut *hold(&self.shared.hook)
        {
            hook(&after);
        }
        match fault {
            Some((error, _)) => Err(io::Error::from(error)),
            None => Ok(answer),
        }
    }

    /// The error to answer with, and whether the operation is done all the same.
    fn meet_fault(&self, what: &'static str) -> Option<(io::ErrorKind, bool)> {
        let mut fault = hold(&self.shared.fault);
        let set = fault.as_mut().filter(|fault| fault.operation == what)?;
        if let Some(left) = set.after.checked_sub(1) {
            set.after = left;
            return None;
        }
        let met = (set.error, set.done);
        if !set.for_good {
            *fault = None;
        }
        Some(met)
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = hold(&self.shared.state);
        let mine = state.names.keys().map(|name| split(name));
        let mine = mine.filter(|(dir, _)| *dir == self.dir);
        Ok(mine.map(|(_, name)| name.to_owned()).collect())
    }

    fn open(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        let name = &self.full(name);
        let found = hold(&self.shared.state).names.get(name).copied();
        let inode = match (how, found) {
            (How::Read | How::Write, found) => found.ok_or_else(not_found)?,
            (How::CreateNew, Some(_)) => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            (How::CreateNew | How::Replace, None) => self.change("create", |state| {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                let change = NameChange::Add(name.to_owned(), inode);
                change.apply(&mut state.names);
                state.changes.push(change);
                Ok(inode)
            })?,
            (How::Replace, Some(inode)) => self.change("write", |state| {
                let file = state.inodes.get_mut(inode).ok_or_else(not_found)?;
                let len = file.now.len();
                file.now.clear();
                file.note(0, len);
                Ok(inode)
            })?,
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.full(from), self.full(to));
        self.change("rename", |state| {
            if !state.names.contains_key(&from) {
                return Err(not_found());
            }
            let change = NameChange::Rename(from, to);
            change.apply(&mut state.names);
            state.changes.push(change);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = self.full(name);
        if !hold(&self.shared.state).names.contains_key(&name) {
            return Err(not_found());
        }
        self.change("remove", |state| {
            let change = NameChange::Remove(name);
            change.apply(&mut state.names);
            state.changes.push(change);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.change("sync-dir", |state| {
            let changes = std::mem::take(&mut state.changes);
            let (mine, others): (Vec<_>, Vec<_>) = changes
                .into_iter()
                .partition(|change| change.dir() == self.dir);
            for change in mine {
                change.apply(&mut state.durable_names);
            }
            state.changes = others;
            Ok(())
        })
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(SimDisk {
            shared: self.shared.clone(),
            dir: dir.to_string_lossy().into_owned(),
        }))
    }

    fn link_to(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        let to: &dyn Any = to;
        let to = to.downcast_ref::<SimDisk>();
        let to = to.filter(|to| Arc::ptr_eq(&to.shared, &self.shared));
        let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let (name, as_name) = (self.full(name), to.full(as_name));
        self.change("link", |state| {
            let inode = state.names.get(&name).copied().ok_or_else(not_found)?;
            if state.names.contains_key(&as_name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            let change = NameChange::Add(as_name, inode);
            change.apply(&mut state.names);
            state.changes.push(change);
            Ok(())
        })
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let name = self.full(name);
        if !hold(&self.shared.locked).insert(name.clone()) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            name,
        }))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut dice = hold(&self.shared.dice);
        for chunk in bytes.chunks_mut(8) {
            let random = dice.next().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(random) {
                *to = from;
            }
        }
        Ok(())
    }
}

struct SimLock {
    disk: SimDisk,
    name: String,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        hold(&self.disk.shared.locked).remove(&self.name);
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl SimFile {
    fn with<T>(&self, look: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        let state = hold(&self.disk.shared.state);
        state.inodes.get(self.inode).map(look).ok_or_else(not_found)
    }

    fn resize(&self, what: &'static str, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let grows = len.saturating_sub(self.with(|file| file.now.len())?);
        self.disk.change(what, |state| {
            if grows > 0 {
                state.check_space(grows)?;
            }
            let file = state.inodes.get_mut(self.inode).ok_or_else(not_found)?;
            let before = file.now.len();
            file.now.resize(len, 0);
            file.note(before.min(len), before.max(len).min(before + SECTOR_LEN));
            Ok(())
        })
    }
}

impl DiskFile for SimFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        // Short at times, as the kernel may be.
        let short = hold(&self.disk.shared.dice).below(8) == 0 && bytes.len() > 1;
        let len = if short { bytes.len() / 2 } else { bytes.len() };
        let bytes = bytes.get(..len).unwrap_or_default();
        let end = at + len;
        let grows = end.saturating_sub(self.with(|file| file.now.len())?);
        self.disk.change("write", |state| {
            if grows > 0 {
                state.check_space(grows)?;
            }
            let file = state.inodes.get_mut(self.inode).ok_or_else(not_found)?;
            if file.now.len() < end {
                file.now.resize(end, 0);
            }
            if let Some(place) = file.now.get_mut(at..end) {
                place.copy_from_slice(bytes);
            }
            file.note(at, end);
            Ok(len)
        })
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        self.with(|file| {
            let from = file.now.get(at..).unwrap_or_default();
            let n = from.len().min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(from) {
                *to = *from;
            }
            n
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|file| file.now.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.resize("write", len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        if self.len()? >= len {
            return Ok(());
        }
        self.resize("reserve", len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.disk.change("sync", |state| {
            state
                .inodes
                .get_mut(self.inode)
                .ok_or_else(not_found)?
                .sync();
            Ok(())
        });
        if synced.is_err() {
            // As Linux does it: the pages are clean afterwards, and what was not written is lost
            // at the next power cut although every reader still sees it.
            let mut state = hold(&self.disk.shared.state);
            if let Some(file) = state.inodes.get_mut(self.inode) {
                file.versions.clear();
                file.sizes.clear();
            }
        }
        synced
    }

    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        // Readers go through `read_some_at`, so that they see what a mapping would show.
        Ok(None)
    }

    fn links(&self) -> io::Result<u64> {
        let state = hold(&self.disk.shared.state);
        Ok(state
            .names
            .values()
            .filter(|inode| **inode == self.inode)
            .count() as u64)
    }

    fn drop_cache(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_all_at;

    #[test]
    fn a_cut_keeps_what_was_synced_and_may_take_the_rest() {
        let disk = SimDisk::new(1);
        let file = disk.open("f", How::CreateNew).expect("created");
        write_all_at(&*file, b"kept", 0).expect("written");
        file.sync_data().expect("synced");
        disk.sync_dir().expect("synced");
        write_all_at(&*file, b"lost", 4).expect("written");
        let mut dice = Dice::new(2);
        let read = |disk: &SimDisk| {
            let file = disk.open("f", How::Read).expect("there");
            let mut bytes = vec![0; 8];
            let n = file.read_some_at(&mut bytes, 0).expect("read");
            bytes.truncate(n);
            bytes
        };
        assert_eq!(
            read(&disk.state().after_cut(&mut dice, Loss::Everything)),
            b"kept"
        );
        assert_eq!(
            read(&disk.state().after_cut(&mut dice, Loss::Nothing)),
            b"keptlost"
        );
    }

    #[test]
    fn a_link_counts_and_is_durable_once_its_own_directory_is_synced() {
        let disk = SimDisk::new(1);
        let other = disk.directory(Path::new("other")).expect("there");
        let file = disk.open("f", How::CreateNew).expect("created");
        write_all_at(&*file, b"kept", 0).expect("written");
        file.sync_data().expect("synced");
        disk.sync_dir().expect("synced");
        disk.link_to("f", &*other, "g").expect("linked");
        assert_eq!(file.links().expect("counted"), 2);
        let after_cut = |disk: &SimDisk| {
            let after = disk.state().after_cut(&mut Dice::new(3), Loss::Everything);
            let other = after.directory(Path::new("other")).expect("there");
            (
                after.list().expect("listed"),
                other.list().expect("listed").concat(),
            )
        };
        disk.sync_dir().expect("synced");
        assert_eq!(after_cut(&disk), (vec!["f".to_owned()], String::new()));
        other.sync_dir().expect("synced");
        disk.remove("f").expect("removed");
        disk.sync_dir().expect("synced");
        assert_eq!(after_cut(&disk), (Vec::new(), "g".to_owned()));
        assert_eq!(file.links().expect("counted"), 1);
    }

    #[test]
    fn a_name_is_lost_without_a_sync_of_the_directory() {
        let disk = SimDisk::new(1);
        let file = disk.open("f", How::CreateNew).expect("created");
        file.sync_data().expect("synced");
        let after = disk.state().after_cut(&mut Dice::new(3), Loss::Everything);
        assert_eq!(after.list().expect("listed"), Vec::<String>::new());
    }
}
