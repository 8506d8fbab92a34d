//! Everything on a simulated disk at one moment: files and names as every process sees them, and
//! as the medium has them. A snapshot of it costs pointers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use super::dice::Mixer;
use super::fault::Operation;
use super::inode::Inode;
use crate::disk::site::Site;

/// What stands between the directory and the file in a full name.
pub(super) const SEPARATOR: char = '\n';
/// The smallest part that a medium writes whole, unless told otherwise.
pub(super) const SECTOR_LEN: usize = 512;

/// Directory and file of a full name.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(SEPARATOR).unwrap_or(("", name))
}

/// A full name for people: the directory, a slash, the file.
pub(super) fn shown(name: &str) -> String {
    name.replace(SEPARATOR, "/")
}

pub(super) type Names = BTreeMap<String, usize>;

/// A change of a directory since it was synced.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add(String, usize),
    Remove(String),
    /// Within one directory: the file gets its new name, and loses the old one.
    Rename(String, String, usize),
}

impl NameChange {
    /// The directory that this changes.
    pub(super) fn dir(&self) -> &str {
        let (NameChange::Add(name, _) | NameChange::Remove(name) | NameChange::Rename(name, _, _)) =
            self;
        split(name).0
    }

    pub(super) fn inode(&self) -> Option<usize> {
        match self {
            NameChange::Add(_, inode) | NameChange::Rename(_, _, inode) => Some(*inode),
            NameChange::Remove(_) => None,
        }
    }

    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Add(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameChange::Add(name, _) => write!(f, "the entry of {}", shown(name)),
            NameChange::Remove(name) => write!(f, "the removal of {}", shown(name)),
            NameChange::Rename(from, to, _) => {
                write!(f, "the renaming of {} to {}", shown(from), shown(to))
            }
        }
    }
}

/// One call that the disk answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// What kind of call.
    pub operation: Operation,
    /// The file or directory concerned.
    pub file: String,
    /// Where in the file; 0 where that has no meaning.
    pub at: u64,
    /// How many bytes, or the new length; 0 where that has no meaning.
    pub len: u64,
    /// The line of the engine that called; none for calls of a user's own files.
    pub site: Option<Site>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.file.is_empty() {
            "."
        } else {
            &self.file
        };
        match self.operation {
            Operation::Write => write!(f, "write {} bytes at {} of {file}", self.len, self.at)?,
            Operation::Resize => write!(f, "set the length of {file} to {}", self.len)?,
            Operation::Reserve => write!(f, "reserve {} bytes for {file}", self.len)?,
            Operation::SyncDirectory => write!(f, "sync the directory {file}")?,
            other => write!(f, "{other} {file}")?,
        }
        match self.site {
            Some(site) => write!(f, " ({site})"),
            None => Ok(()),
        }
    }
}

/// Everything on the disk, cached and durable; names are full ones.
#[derive(Clone)]
pub(crate) struct State {
    pub(super) inodes: Vec<Arc<Inode>>,
    pub(super) names: Arc<Names>,
    pub(super) durable_names: Arc<Names>,
    pub(super) changes: Vec<NameChange>,
    /// Bytes of named files that fit; no limit if `None`.
    pub(super) capacity: Option<usize>,
    pub(super) sector_len: usize,
    /// The call that brought the disk here, and how many changed it.
    pub(crate) last: Option<Call>,
    pub(crate) operations: u64,
    /// Those that changed what is seen: all but syncs.
    pub(crate) changed: u64,
    /// What the disk's clock said then.
    pub(crate) wall_ms: u64,
}

impl State {
    pub(super) fn new() -> State {
        State {
            inodes: Vec::new(),
            names: Arc::default(),
            durable_names: Arc::default(),
            changes: Vec::new(),
            capacity: None,
            sector_len: SECTOR_LEN,
            last: None,
            operations: 0,
            changed: 0,
            wall_ms: 0,
        }
    }

    pub(super) fn inode(&self, inode: usize) -> io::Result<&Inode> {
        let inode = self.inodes.get(inode).ok_or_else(not_found)?;
        Ok(inode)
    }

    pub(super) fn inode_mut(&mut self, inode: usize) -> io::Result<&mut Inode> {
        let inode = self.inodes.get_mut(inode).ok_or_else(not_found)?;
        Ok(Arc::make_mut(inode))
    }

    pub(super) fn add_inode(&mut self, inode: Inode) -> usize {
        self.inodes.push(Arc::new(inode));
        self.inodes.len() - 1
    }

    pub(super) fn change_names(&mut self, change: NameChange) {
        change.apply(Arc::make_mut(&mut self.names));
        self.changes.push(change);
    }

    /// What happened to `dir` reaches the medium.
    pub(super) fn sync_names(&mut self, dir: &str) {
        let changes = std::mem::take(&mut self.changes);
        let (mine, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.dir() == dir);
        if !mine.is_empty() {
            let names = Arc::make_mut(&mut self.durable_names);
            for change in mine {
                change.apply(names);
            }
        }
        self.changes = others;
    }

    /// What the named files take.
    pub(crate) fn named_bytes(&self) -> usize {
        let named: BTreeSet<usize> = self.names.values().copied().collect();
        let len = |inode: usize| self.inodes.get(inode).map_or(0, |file| file.now.len());
        named.into_iter().map(len).sum()
    }

    /// Fails if `more` bytes do not fit beside the named files.
    pub(super) fn check_space(&self, more: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        if self.named_bytes() + more > capacity {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Ok(())
        }
    }

    pub(super) fn did(&mut self, call: Call, wall_ms: u64) {
        let syncs = matches!(call.operation, Operation::Sync | Operation::SyncDirectory);
        self.changed += u64::from(!syncs);
        self.last = Some(call);
        self.operations += 1;
        self.wall_ms = wall_ms;
    }

    /// A number for all names and bytes that every process sees.
    pub(crate) fn digest(&self) -> u64 {
        let mut mixer = Mixer::new(1);
        for (name, inode) in self.names.iter() {
            mixer.add_bytes(name.as_bytes());
            if let Some(inode) = self.inodes.get(*inode) {
                inode.now.digest(&mut mixer);
            }
        }
        mixer.end()
    }

    /// The same, which is given, and for what a power cut could still take of it.
    pub(crate) fn digest_of_pending(&self, digest: u64) -> u64 {
        let mut mixer = Mixer::new(digest);
        for inode in self.names.values() {
            let inode = self.inodes.get(*inode).filter(|inode| !inode.is_clean());
            let Some(inode) = inode else { continue };
            inode.medium.digest(&mut mixer);
            for (sector, versions) in &inode.versions {
                mixer.add(*sector as u64);
                mixer.add(versions.len() as u64);
            }
            for size in &inode.sizes {
                mixer.add(*size as u64);
            }
        }
        for change in &self.changes {
            mixer.add_bytes(change.to_string().as_bytes());
        }
        mixer.end()
    }
}

pub(super) fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}
