//! The real disk: one directory of the operating system, with positional reads and writes,
//! kernel locks and directory syncs. The only file besides disk/map.rs that names `std::fs`.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::OnceLock;

use super::ancestors::{self, Tree};
use super::map::Map;
use super::{Disk, DiskFile, How, Lock};

/// A directory of the operating system.
pub(crate) struct OsDisk {
    dir: PathBuf,
    /// Files may be mapped.
    maps: bool,
    /// Which directory was locked: a path may come to lead to another one.
    locked: OnceLock<Identity>,
}

/// Device and number of a directory; unknown where the system does not say.
type Identity = Option<(u64, u64)>;

/// What stands at a path that should become or be a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Directory,
    Missing,
    NotADirectory,
}

impl OsDisk {
    pub(crate) fn new(dir: &Path) -> OsDisk {
        OsDisk {
            dir: dir.to_path_buf(),
            maps: true,
            locked: OnceLock::new(),
        }
    }

    /// The same directory, in which no file is ever mapped.
    pub(crate) fn without_maps(dir: &Path) -> OsDisk {
        OsDisk {
            maps: false,
            ..OsDisk::new(dir)
        }
    }

    pub(crate) fn look(dir: &Path) -> io::Result<Place> {
        match fs::metadata(dir) {
            Ok(found) if found.is_dir() => Ok(Place::Directory),
            Ok(_) => Ok(Place::NotADirectory),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Place::Missing),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(Place::NotADirectory),
            Err(e) => Err(e),
        }
    }

    /// Whether two paths lead to one directory, as far as both exist.
    pub(crate) fn are_same(one: &Path, other: &Path) -> bool {
        match (fs::canonicalize(one), fs::canonicalize(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        }
    }

    /// Makes the directory and its missing ancestors, and syncs the parent of each one made, so
    /// that a power cut cannot take the store's own name away. Of one that is there the name is synced all the
    /// same: whoever made it may have been killed before that.
    pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
        match dir.exists() && !dir.is_dir() {
            true => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            false => ancestors::make_durably(&RealTree, dir),
        }
    }

    /// Whether somebody holds the lock on `name`. It asks for a shared lock and gives it back at
    /// once, so a store that opens in that very instant may be told that it is locked.
    pub(crate) fn is_locked(&self, name: &str) -> io::Result<bool> {
        let file = match File::open(self.path(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Refuses to change what is not the directory that was locked: one that took its place
    /// belongs to somebody else, and what is written there would be lost to the next open.
    fn still_locked(&self) -> io::Result<()> {
        let Some(locked) = self.locked.get() else {
            return Ok(());
        };
        match identity(&self.dir) {
            Ok(found) if found == *locked => Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the store's directory was moved, removed or replaced while the store was open",
            )),
        }
    }
}

/// The directories of the operating system.
struct RealTree;

impl Tree for RealTree {
    fn is_there(&self, dir: &Path) -> bool {
        dir.exists()
    }

    fn make(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn sync(&self, dir: &Path) -> io::Result<()> {
        sync_directory(dir)
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        if how != How::Read {
            self.still_locked()?;
        }
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            How::Read => {}
            How::Write => {
                options.write(true);
            }
            How::CreateNew => {
                options.write(true).create_new(true);
            }
            How::Replace => {
                options.write(true).create(true).truncate(true);
            }
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        Ok(Arc::new(OsFile {
            file: options.open(self.path(name))?,
            maps: self.maps,
        }))
    }

    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()> {
        self.still_locked()?;
        fs::rename(self.path(from), self.path(to))
    }

    fn remove_raw(&self, name: &str) -> io::Result<()> {
        self.still_locked()?;
        fs::remove_file(self.path(name))
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        self.still_locked()?;
        sync_directory(&self.dir)
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        OsDisk::create_dir(dir)?;
        Ok(Arc::new(OsDisk::new(dir)))
    }

    fn link_raw(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        let to: &dyn Any = to;
        match to.downcast_ref::<OsDisk>() {
            Some(to) => fs::hard_link(self.path(name), to.path(as_name)),
            None => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.path(name))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::from(io::ErrorKind::WouldBlock));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // The content only helps a person to find the holder; a full disk must not prevent it.
        let pid = format!("{}\n", std::process::id());
        if file.set_len(0).is_ok() {
            let _informational = write_at(&file, pid.as_bytes(), 0);
        }
        let _first = self.locked.set(identity(&self.dir)?);
        Ok(Box::new(OsLock { file }))
    }

    #[cfg(target_os = "linux")]
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        use rustix::rand::{GetRandomFlags, getrandom};
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(io::Error::from(e)),
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}

/// The file stays open while the lock is held; closing it releases the lock.
struct OsLock {
    file: File,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that another thread is just starting holds a copy
        // of the descriptor until it runs its own program.
        let _ends_with_the_descriptor_anyway = self.file.unlock();
    }
}

/// Zeros to fill a page with.
#[cfg(target_os = "linux")]
static FILL_PAGE: [u8; 4 << 10] = [0; 4 << 10];

struct OsFile {
    file: File,
    /// It may be mapped; without meaning where this system has no maps for us.
    #[cfg_attr(
        not(all(unix, target_pointer_width = "64")),
        expect(dead_code, reason = "files are never mapped here")
    )]
    maps: bool,
}

impl DiskFile for OsFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        write_at(&self.file, bytes, at)
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_at(&self.file, buffer, at)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len_raw(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn reserve_raw(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return Err(io::Error::from(io::ErrorKind::Unsupported));
                }
                Err(e) => return Err(io::Error::from(e)),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve_raw(&self, _len: u64) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    // In pieces of a page: the page cache would keep a larger write in one piece, and write all of
    // it out again for each small record put there.
    #[cfg(target_os = "linux")]
    fn fill_reserved(&self, from: u64, to: u64) -> io::Result<u64> {
        let mut at = from;
        while at < to {
            let len = (FILL_PAGE.len() as u64 - at % FILL_PAGE.len() as u64).min(to - at);
            let len = usize::try_from(len).unwrap_or(FILL_PAGE.len());
            match write_at(&self.file, FILL_PAGE.get(..len).unwrap_or(&FILL_PAGE), at) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => at += n as u64,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(at.saturating_sub(from))
    }

    // On macOS std's sync_data asks for F_FULLFSYNC, on Windows for FlushFileBuffers.
    fn sync_data_raw(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(all(unix, target_pointer_width = "64"))]
    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        self.maps.then(|| Map::of_file(&self.file, len)).transpose()
    }

    // Windows cannot truncate or remove a mapped file; 32-bit systems lack address space.
    #[cfg(not(all(unix, target_pointer_width = "64")))]
    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }

    // Asked after every sync, and for nothing but this: who asks for the times too makes Linux give
    // the next write a time of its own, which its sync then has to bring to the device beside the
    // data, at the price of half as long again (since 6.13, "multigrain timestamps").
    #[cfg(target_os = "linux")]
    fn links(&self) -> io::Result<u64> {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        match statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::NLINK) {
            Ok(found) => Ok(found.stx_nlink.into()),
            Err(rustix::io::Errno::NOSYS) => links(&self.file),
            Err(e) => Err(io::Error::from(e)),
        }
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    fn links(&self) -> io::Result<u64> {
        links(&self.file)
    }

    // Unknown elsewhere: more than one is the safe answer, the file is then copied, not cut.
    #[cfg(not(unix))]
    fn links(&self) -> io::Result<u64> {
        Ok(2)
    }

    #[cfg(target_os = "linux")]
    fn drop_cache(&self) {
        use rustix::fs::{Advice, fadvise};
        let _best_effort = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    #[cfg(not(target_os = "linux"))]
    fn drop_cache(&self) {}
}

#[cfg(unix)]
fn links(file: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(file.metadata()?.nlink())
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, at)
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

// Windows has no directory sync; its file systems keep names safe by themselves.
#[cfg(not(unix))]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn identity(dir: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(dir)?;
    Ok(Some((found.dev(), found.ino())))
}

#[cfg(not(unix))]
fn identity(dir: &Path) -> io::Result<Identity> {
    fs::metadata(dir).map(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_full_at, write_all_at};

    #[test]
    fn a_second_lock_in_the_same_process_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk: &dyn Disk = &OsDisk::new(dir.path());
        let first = disk.lock("LOCK").expect("free");
        let second = disk.lock("LOCK").err().expect("held");
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(disk.lock("LOCK").is_ok());
    }

    #[test]
    fn a_link_is_the_same_file_under_two_names_and_never_takes_one_that_is_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk: &dyn Disk = &OsDisk::new(dir.path());
        let other = disk.directory(&dir.path().join("a/b")).expect("made");
        let file = disk.open("f", How::CreateNew).expect("created");
        disk.link_to("f", &*other, "g").expect("linked");
        write_all_at(&*file, b"late", 0).expect("written");
        let linked = other.open("g", How::Read).expect("there");
        assert_eq!(linked.len().expect("length"), 4);
        #[cfg(unix)]
        assert_eq!(linked.links().expect("counted"), 2);
        let again = disk.link_to("f", &*other, "g").expect_err("taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let gone = disk.link_to("none", &*other, "h").expect_err("not there");
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn reserved_space_reads_as_zeros_and_keeps_what_was_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk: &dyn Disk = &OsDisk::new(dir.path());
        let file = disk.open("f", How::CreateNew).expect("created");
        write_all_at(&*file, b"head", 0).expect("written");
        match file.reserve(8_192) {
            Ok(()) => assert_eq!(file.len().expect("length"), 8_192),
            Err(e) => assert_eq!(e.kind(), io::ErrorKind::Unsupported),
        }
        let mut bytes = [1; 4];
        assert_eq!(read_full_at(&*file, &mut bytes, 0).expect("read"), 4);
        assert_eq!(&bytes, b"head");
    }
}
