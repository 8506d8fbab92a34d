//! The doorway to the operating system: two small traits, so that the same engine code runs on
//! the real disk and on a simulated one. A disk is one directory; it knows names, never paths,
//! and nothing of what the files mean.

mod ancestors;
pub(crate) mod bytes;
pub(crate) mod capped;
pub(crate) mod dry;
pub(crate) mod map;
pub(crate) mod os;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod sim;
pub(crate) mod site;
pub(crate) mod tolerant;

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;

use map::Map;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; an existing one is an error.
    CreateNew,
    /// A file for reading and writing, made empty if it exists.
    Replace,
}

/// One directory of files. `Any`, so that a disk can tell whether another is of its own kind.
///
/// What changes a directory is called without the ending `_raw`, on `dyn Disk`: that notes the
/// caller's line for the simulated disk.
pub(crate) trait Disk: Any + Send + Sync {
    /// The names of all entries, sorted.
    fn list(&self) -> io::Result<Vec<String>>;
    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>>;
    /// Replaces `to` if it exists.
    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove_raw(&self, name: &str) -> io::Result<()>;
    /// Makes creations, links, renames and removals so far durable.
    fn sync_dir_raw(&self) -> io::Result<()>;
    /// Another directory of the same system, made with its missing ancestors, durably.
    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>>;
    /// Gives the file `name` a second name, `as_name` in the directory `to`, where there must be
    /// none. What the file holds is one from then on. `Unsupported` if `to` is of another
    /// kind; see [`cannot_link`] for when a copy is the answer.
    fn link_raw(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()>;
    /// Takes the exclusive kernel lock on `name`, making the file if needed. `WouldBlock` if held.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;
    /// Fills `bytes` with unpredictable ones.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// A held lock; released when dropped, and by the kernel when the process dies.
pub(crate) trait Lock: Send + Sync {}

/// One open file. As with [`Disk`], what changes it is called without `_raw`.
pub(crate) trait DiskFile: Send + Sync {
    /// Writes some of `bytes` at `at`; may be short. Use [`write_all_at`].
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Reads some bytes at `at`; may be short; 0 is the end. Use [`read_full_at`].
    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    fn len(&self) -> io::Result<u64>;
    fn set_len_raw(&self, len: u64) -> io::Result<()>;
    /// Reserves blocks up to `len`, extending the file with zeros, so that writes there do not
    /// run out of space. `Unsupported` where the file system cannot.
    fn reserve_raw(&self, len: u64) -> io::Result<()>;
    /// Writes zeros to a reserved stretch that was never written, and so reads as zeros already:
    /// a later sync of what is put there then changes nothing but the data. Answers how many
    /// bytes that took. What no reader and no crash can tell apart is not worth a call on a disk
    /// that gains nothing by it.
    fn fill_reserved(&self, _from: u64, _to: u64) -> io::Result<u64> {
        Ok(0)
    }
    /// Returns when all bytes written before, and the length, are on the device.
    fn sync_data_raw(&self) -> io::Result<()>;
    /// A read-only view of the first `len` bytes, which may lie beyond the end for now. `None`
    /// where this disk cannot show later writes through it.
    fn map(&self, len: u64) -> io::Result<Option<Map>>;
    /// How many names the file has.
    fn links(&self) -> io::Result<u64>;
    /// Asks that the next read comes from the device, not from a cache. Best effort.
    fn drop_cache(&self);
}

/// Whether a second name is refused for a reason that does not concern a copy: another file
/// system, one without links, a file with all the links it can have, or a rule against links.
pub(crate) fn cannot_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::CrossesDevices
            | io::ErrorKind::Unsupported
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied
    )
}

impl dyn Disk + '_ {
    #[track_caller]
    #[inline]
    pub(crate) fn open(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        site::mark();
        self.open_raw(name, how)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        site::mark();
        self.rename_raw(from, to)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        site::mark();
        self.remove_raw(name)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        site::mark();
        self.sync_dir_raw()
    }

    #[track_caller]
    #[inline]
    pub(crate) fn link_to(&self, name: &str, to: &dyn Disk, as_name: &str) -> io::Result<()> {
        site::mark();
        self.link_raw(name, to, as_name)
    }
}

impl dyn DiskFile + '_ {
    #[track_caller]
    #[inline]
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        site::mark();
        self.set_len_raw(len)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn reserve(&self, len: u64) -> io::Result<()> {
        site::mark();
        self.reserve_raw(len)
    }

    #[track_caller]
    #[inline]
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        site::mark();
        self.sync_data_raw()
    }
}

/// Writes all of `bytes`, going on after short writes and interruptions.
#[track_caller]
pub(crate) fn write_all_at(file: &dyn DiskFile, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        site::mark();
        match file.write_some_at(bytes, at) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(n) => {
                bytes = bytes.get(n..).unwrap_or_default();
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until `buffer` is full or the file ends; returns how many bytes were read.
pub(crate) fn read_full_at(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    mut at: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_some_at(rest, at) {
            Ok(0) => break,
            Ok(n) => {
                filled += n;
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The whole file as bytes; `max` bounds what is allocated.
pub(crate) fn read_whole(disk: &dyn Disk, name: &str, max: u64) -> io::Result<Vec<u8>> {
    read_all(&*disk.open(name, How::Read)?, max)
}

/// All of an open file, which may hold no more than `max` bytes.
pub(crate) fn read_all(file: &dyn DiskFile, max: u64) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    if len > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{len} bytes is more than the {max} such a file may hold"),
        ));
    }
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut bytes = vec![0; len];
    let n = read_full_at(file, &mut bytes, 0)?;
    bytes.truncate(n);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Gives `most` bytes at a time; the call with the number `interrupted` is.
    struct Short {
        bytes: Mutex<Vec<u8>>,
        most: usize,
        interrupted: Option<usize>,
        calls: AtomicUsize,
    }

    impl Short {
        fn new(bytes: Vec<u8>, most: usize, interrupted: Option<usize>) -> Short {
            Short {
                bytes: Mutex::new(bytes),
                most,
                interrupted,
                calls: AtomicUsize::new(0),
            }
        }

        /// How much of `len` bytes this call does.
        fn call(&self, len: usize) -> io::Result<usize> {
            let number = self.calls.fetch_add(1, Relaxed);
            match self.interrupted == Some(number) {
                true => Err(io::Error::from(io::ErrorKind::Interrupted)),
                false => Ok(len.min(self.most)),
            }
        }
    }

    impl DiskFile for Short {
        fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
            let n = self.call(bytes.len())?;
            let at = usize::try_from(at).expect("small");
            self.bytes.lock().expect("held")[at..at + n].copy_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
            let held = self.bytes.lock().expect("held");
            let rest = &held[usize::try_from(at).expect("small").min(held.len())..];
            let n = self.call(buffer.len().min(rest.len()))?;
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().expect("held").len() as u64)
        }
        fn set_len_raw(&self, _len: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn reserve_raw(&self, _len: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn sync_data_raw(&self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn map(&self, _len: u64) -> io::Result<Option<Map>> {
            Ok(None)
        }
        fn links(&self) -> io::Result<u64> {
            Ok(1)
        }
        fn drop_cache(&self) {}
    }

    const LEN: usize = 37;
    const AT: usize = 5;

    /// Every length at a time, and an interruption at no call, the first, one between, the last.
    fn each(mut what: impl FnMut(usize, Option<usize>)) {
        for most in 1..=LEN {
            let calls = LEN.div_ceil(most);
            for interrupted in [None, Some(0), Some(calls / 2), Some(calls - 1)] {
                what(most, interrupted);
            }
        }
    }

    #[test]
    fn all_is_written_however_short_and_interrupted_the_calls_are() {
        let wanted: Vec<u8> = (1..).take(LEN).collect();
        each(|most, interrupted| {
            let file = Short::new(vec![0; AT + LEN + 3], most, interrupted);
            write_all_at(&file, &wanted, AT as u64).expect("written");
            let calls = LEN.div_ceil(most) + usize::from(interrupted.is_some());
            assert_eq!(file.calls.load(Relaxed), calls, "{most} {interrupted:?}");
            let expected = [&[0; AT][..], &wanted, &[0; 3]].concat();
            assert_eq!(*file.bytes.lock().expect("held"), expected, "{most}");
        });
        let none = Short::new(vec![0; LEN], 0, None);
        let error = write_all_at(&none, &wanted, 0).expect_err("no byte is taken");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn all_is_read_however_short_and_interrupted_the_calls_are() {
        let held: Vec<u8> = (1..).take(AT + LEN).collect();
        each(|most, interrupted| {
            let file = Short::new(held.clone(), most, interrupted);
            let mut buffer = [0; LEN];
            let n = read_full_at(&file, &mut buffer, AT as u64).expect("read");
            assert_eq!(
                (n, &buffer[..]),
                (LEN, &held[AT..]),
                "{most} {interrupted:?}"
            );
            // Behind the end nothing is read, and what was there stays.
            let file = Short::new(held.clone(), most, interrupted);
            let mut longer = [0xEE; LEN + 4];
            let n = read_full_at(&file, &mut longer, AT as u64).expect("read");
            assert_eq!((n, &longer[..LEN]), (LEN, &held[AT..]), "{most}");
            assert_eq!(longer[LEN..], [0xEE; 4], "{most}");
        });
    }
}
