//! Files of a program's own, beside its store: one small trait with the simulated disk and the
//! real one behind it, so that a program that keeps both is tried as a whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::os::OsDisk;
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, DiskFile, How, read_whole, write_all_at};

/// One directory of files, by name. Everything that a careful program needs to keep a file safe,
/// and nothing more; errors are those of the system call.
///
/// A write is in the page cache until [`Directory::sync_file`]; a name that was made, changed
/// or removed is there after a power cut only if [`Directory::sync`] returned in between.
pub trait Directory: Send + Sync {
    /// All names, sorted.
    ///
    /// # Errors
    /// What the system answers.
    fn list(&self) -> io::Result<Vec<String>>;
    /// All bytes of a file.
    ///
    /// # Errors
    /// `NotFound`, or what the system answers.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes the file, or makes it empty, and writes `bytes`. Not synced.
    ///
    /// # Errors
    /// What the system answers; any part of it may have been done.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes `bytes` at `at` of a file that exists, which grows if needed. Not synced.
    ///
    /// # Errors
    /// `NotFound`, or what the system answers; any part of it may have been done.
    fn write_at(&self, name: &str, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Writes `bytes` at the end of a file, which is made if there is none. Not synced.
    ///
    /// # Errors
    /// What the system answers; any part of it may have been done.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file, or fills it up with zeros. Not synced.
    ///
    /// # Errors
    /// `NotFound`, or what the system answers.
    fn set_len(&self, name: &str, len: u64) -> io::Result<()>;
    /// The bytes of the file are on the medium when this returns; its name need not be.
    ///
    /// # Errors
    /// What the system answers; what was not synced before is doubtful for ever then.
    fn sync_file(&self, name: &str) -> io::Result<()>;
    /// Gives the file another name, in place of a file that has it.
    ///
    /// # Errors
    /// `NotFound`, or what the system answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes the file away.
    ///
    /// # Errors
    /// `NotFound`, or what the system answers.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// All names made, changed and removed so far are on the medium when this returns.
    ///
    /// # Errors
    /// What the system answers.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimDirectory {
    disk: SimDisk,
}

/// A directory of the operating system.
pub struct OsDirectory {
    disk: OsDisk,
}

impl OsDirectory {
    /// The directory, made durably with its missing ancestors.
    ///
    /// # Errors
    /// What the system answers.
    pub fn open(dir: impl AsRef<Path>) -> io::Result<OsDirectory> {
        OsDisk::create_dir(dir.as_ref())?;
        let disk = OsDisk::new(dir.as_ref());
        Ok(OsDirectory { disk })
    }
}

impl SimDisk {
    /// A directory for files of a program's own, beside the stores on this disk. It is always
    /// there; the empty name is the disk's own directory.
    #[must_use]
    pub fn directory(&self, name: &str) -> SimDirectory {
        SimDirectory {
            disk: self.in_directory(name),
        }
    }
}

/// What both kinds do, over the doorway that the engine uses.
fn write(disk: &dyn Disk, name: &str, how: How, bytes: &[u8], at: u64) -> io::Result<()> {
    let file = disk.open_raw(name, how)?;
    write_all_at(&*file, bytes, at)
}

fn append(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file: Arc<dyn DiskFile> = match disk.open_raw(name, How::Write) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => disk.open_raw(name, How::CreateNew)?,
        other => other?,
    };
    write_all_at(&*file, bytes, file.len()?)
}

macro_rules! directory {
    ($kind:ty) => {
        impl Directory for $kind {
            fn list(&self) -> io::Result<Vec<String>> {
                self.disk.list()
            }

            fn read(&self, name: &str) -> io::Result<Vec<u8>> {
                read_whole(&self.disk, name, u64::MAX)
            }

            fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
                write(&self.disk, name, How::Replace, bytes, 0)
            }

            fn write_at(&self, name: &str, bytes: &[u8], at: u64) -> io::Result<()> {
                write(&self.disk, name, How::Write, bytes, at)
            }

            fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
                append(&self.disk, name, bytes)
            }

            fn set_len(&self, name: &str, len: u64) -> io::Result<()> {
                self.disk.open_raw(name, How::Write)?.set_len_raw(len)
            }

            fn sync_file(&self, name: &str) -> io::Result<()> {
                self.disk.open_raw(name, How::Write)?.sync_data_raw()
            }

            fn rename(&self, from: &str, to: &str) -> io::Result<()> {
                self.disk.rename_raw(from, to)
            }

            fn remove(&self, name: &str) -> io::Result<()> {
                self.disk.remove_raw(name)
            }

            fn sync(&self) -> io::Result<()> {
                self.disk.sync_dir_raw()
            }
        }
    };
}

directory!(SimDirectory);
directory!(OsDirectory);
