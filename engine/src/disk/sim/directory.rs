//! A directory of the simulated disk, as the engine calls it.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::fault::Operation;
use super::file::SimFile;
use super::inode::Inode;
use super::state::{self, Call, NameChange, not_found, split};
use super::{SimDisk, hold};
use crate::disk::{Disk, DiskFile, How, Lock};

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.look(Operation::List)?;
        let state = hold(&self.shared.state);
        let mine = state.names.keys().map(|name| split(name));
        let mine = mine.filter(|(dir, _)| *dir == self.dir);
        Ok(mine.map(|(_, name)| name.to_owned()).collect())
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        let name = &self.full(name);
        let call = self.call(Operation::Create, name, 0, 0);
        let found = hold(&self.shared.state).names.get(name).copied();
        if found.is_some() || matches!(how, How::Read | How::Write) {
            self.look(Operation::Open)?;
        }
        let inode = match (how, found) {
            (How::Read | How::Write, found) => found.ok_or_else(not_found)?,
            (How::CreateNew, Some(_)) => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            (How::CreateNew | How::Replace, None) => self.change(call, |state| {
                let inode = state.add_inode(Inode::default());
                state.change_names(NameChange::Add(name.to_owned(), inode));
                Ok(inode)
            })?,
            (How::Replace, Some(inode)) => {
                let call = Call {
                    operation: Operation::Resize,
                    ..call
                };
                self.change(call, |state| {
                    let sector_len = state.sector_len;
                    state.inode_mut(inode)?.resize(0, sector_len);
                    Ok(inode)
                })?
            }
        };
        Ok(Arc::new(SimFile::new(self.clone(), name, inode, how)))
    }

    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.full(from), self.full(to));
        let mut call = self.call(Operation::Rename, &from, 0, 0);
        if !call.file.is_empty() {
            call.file = format!("{} to {}", call.file, state::shown(&to));
        }
        self.change(call, |state| {
            let inode = state.names.get(&from).copied().ok_or_else(not_found)?;
            // Two names of one file stay both, as POSIX wants it.
            if state.names.get(&to) != Some(&inode) {
                state.change_names(NameChange::Rename(from, to, inode));
            }
            Ok(())
        })
    }

    fn remove_raw(&self, name: &str) -> io::Result<()> {
        let name = self.full(name);
        let call = self.call(Operation::Remove, &name, 0, 0);
        if !hold(&self.shared.state).names.contains_key(&name) {
            return Err(not_found());
        }
        self.change(call, |state| {
            state.change_names(NameChange::Remove(name));
            Ok(())
        })
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        let call = self.call(Operation::SyncDirectory, &self.dir, 0, 0);
        let deaf = self.is_deaf(&call);
        self.change(call, |state| {
            if !deaf {
                state.sync_names(&self.dir);
            }
            Ok(())
        })
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(self.in_directory(&dir.to_string_lossy())))
    }

    fn link_raw(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        let to: &dyn Any = to;
        let to = to.downcast_ref::<SimDisk>();
        let to = to.filter(|to| Arc::ptr_eq(&to.shared, &self.shared));
        let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        let (name, as_name) = (self.full(name), to.full(as_name));
        let mut call = self.call(Operation::Link, &name, 0, 0);
        if !call.file.is_empty() {
            call.file = format!("{} as {}", call.file, state::shown(&as_name));
        }
        self.change(call, |state| {
            let inode = state.names.get(&name).copied().ok_or_else(not_found)?;
            if state.names.contains_key(&as_name) {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            state.change_names(NameChange::Add(as_name, inode));
            Ok(())
        })
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        self.look(Operation::Lock)?;
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
