//! An open file of the simulated disk.

use std::io;
use std::sync::Arc;

use super::fault::Operation;
use super::inode::Inode;
use super::{SimDisk, hold};
use crate::disk::map::{Map, SharedBytes};
use crate::disk::{DiskFile, How};

pub(super) struct SimFile {
    disk: SimDisk,
    /// The full name under which it was opened.
    name: String,
    inode: usize,
    writable: bool,
}

/// One call in this many is short, or interrupted first.
const QUIRK_ONCE_IN: usize = 8;

impl SimFile {
    pub(super) fn new(disk: SimDisk, name: &str, inode: usize, how: How) -> SimFile {
        SimFile {
            disk,
            name: name.to_owned(),
            inode,
            writable: how != How::Read,
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Inode) -> T) -> io::Result<T> {
        hold(&self.disk.shared.state).inode(self.inode).map(look)
    }

    /// As the kernel answers a change through a descriptor opened for reading.
    fn check_writable(&self, operation: Operation) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        #[cfg(unix)]
        return Err(io::Error::from(match operation {
            Operation::Resize => rustix::io::Errno::INVAL,
            _ => rustix::io::Errno::BADF,
        }));
        #[cfg(not(unix))]
        {
            let _other = operation;
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }

    /// What a kernel may do at times: a call of `len` bytes is interrupted, or does only a part.
    fn quirk(&self, len: usize) -> io::Result<usize> {
        let mut dice = hold(&self.disk.shared.dice);
        match dice.below(QUIRK_ONCE_IN * 4) {
            0 => Err(io::Error::from(io::ErrorKind::Interrupted)),
            1..=3 if len > 1 => Ok(1 + dice.below(len - 1)),
            _ => Ok(len),
        }
    }

    fn resize(&self, operation: Operation, len: u64) -> io::Result<()> {
        let call_len = usize::try_from(len).map_err(io::Error::other)?;
        let call = self.disk.call(operation, &self.name, 0, call_len);
        self.check_writable(operation)?;
        let before = self.with(|file| file.now.len())?;
        let result = self.disk.change(call, |state| {
            if call_len > before {
                state.check_space(call_len - before)?;
            }
            let sector_len = state.sector_len;
            let file = state.inode_mut(self.inode)?;
            file.resize(call_len, sector_len);
            if operation == Operation::Reserve {
                file.reserved = file.reserved.max(call_len);
            }
            Ok(())
        });
        let (from, to) = (before.min(call_len), before.max(call_len));
        self.disk.show(self.inode, from, to);
        result
    }
}

impl DiskFile for SimFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let call = self
            .disk
            .call(Operation::Write, &self.name, at, bytes.len());
        self.check_writable(Operation::Write)?;
        let len = self.quirk(bytes.len())?;
        let bytes = bytes.get(..len).unwrap_or_default();
        let end = at + len;
        let call = super::Call {
            len: len as u64,
            ..call
        };
        let grows = end.saturating_sub(self.with(|file| file.now.len())?);
        let result = self.disk.change(call, |state| {
            if grows > 0 {
                state.check_space(grows)?;
            }
            let sector_len = state.sector_len;
            state.inode_mut(self.inode)?.write(at, bytes, sector_len);
            Ok(len)
        });
        self.disk.show(self.inode, at, end);
        result
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.disk.look(Operation::Read)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let len = self.quirk(buffer.len())?;
        let buffer = buffer.get_mut(..len).unwrap_or_default();
        let state = hold(&self.disk.shared.state);
        let file = state.inode(self.inode)?;
        if file.is_bad(at, at + len, state.sector_len) {
            return Err(super::Failure::Io.error());
        }
        Ok(file.now.read(at, buffer))
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look(Operation::Read)?;
        self.with(|file| file.now.len() as u64)
    }

    fn set_len_raw(&self, len: u64) -> io::Result<()> {
        self.resize(Operation::Resize, len)
    }

    fn reserve_raw(&self, len: u64) -> io::Result<()> {
        self.check_writable(Operation::Reserve)?;
        if self.with(|file| file.now.len() as u64)? >= len {
            return Ok(());
        }
        self.resize(Operation::Reserve, len)
    }

    fn sync_data_raw(&self) -> io::Result<()> {
        let call = self.disk.call(Operation::Sync, &self.name, 0, 0);
        let deaf = self.disk.is_deaf(&call);
        let synced = self.disk.change(call, |state| {
            if !deaf {
                let sector_len = state.sector_len;
                state.inode_mut(self.inode)?.sync(sector_len);
            }
            Ok(())
        });
        if synced.is_err() {
            let mut state = hold(&self.disk.shared.state);
            let mut dice = hold(&self.disk.shared.dice);
            let sector_len = state.sector_len;
            state
                .inode_mut(self.inode)?
                .fail_sync(&mut dice, sector_len);
        }
        synced
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        if !self.disk.maps {
            return Ok(None);
        }
        self.disk.look(Operation::Read)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let view = Arc::new(SharedBytes::new(len));
        let mut views = hold(&self.disk.shared.views);
        let file = hold(&self.disk.shared.state).inode(self.inode)?.now.clone();
        view.set_end(file.len());
        view.copy_in(0, &file.range(0, len));
        let of_file = views.entry(self.inode).or_default();
        of_file.retain(|old| old.strong_count() > 0);
        of_file.push(Arc::downgrade(&view));
        Ok(Some(Map::Simulated(view)))
    }

    fn links(&self) -> io::Result<u64> {
        let state = hold(&self.disk.shared.state);
        let mine = state.names.values().filter(|inode| **inode == self.inode);
        Ok(mine.count() as u64)
    }

    fn drop_cache(&self) {
        let len = {
            let mut state = hold(&self.disk.shared.state);
            let Ok(file) = state.inode_mut(self.inode) else {
                return;
            };
            file.drop_cache();
            file.now.len()
        };
        self.disk.show(self.inode, 0, len);
    }
}
