//! A directory that is read and never changed: what is written to it stays in memory. On it the
//! code that opens a store shows what it would do, without doing it. It knows nothing of what the
//! files mean, and takes no lock.

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::map::Map;
use super::os::OsDisk;
use super::{Disk, DiskFile, How, Lock, read_full_at};

/// A real directory with changes in memory alone.
pub(crate) struct DryDisk {
    real: OsDisk,
    /// Off while another process may shorten files: a map of them would kill this one.
    maps: bool,
    /// What differs from the directory; `None` for a name that was removed.
    changed: Mutex<BTreeMap<String, Option<Arc<DryFile>>>>,
}

impl DryDisk {
    pub(crate) fn new(real: OsDisk, maps: bool) -> DryDisk {
        DryDisk {
            real,
            maps,
            changed: Mutex::new(BTreeMap::new()),
        }
    }

    fn changed(&self) -> MutexGuard<'_, BTreeMap<String, Option<Arc<DryFile>>>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file whose changes stay in memory, over the real one if there is one.
    fn over(&self, name: &str) -> io::Result<Arc<DryFile>> {
        let file = self.real.open_raw(name, How::Read)?;
        let len = file.len()?;
        Ok(Arc::new(DryFile {
            content: Mutex::new(Content::Real { file, len }),
            maps: self.maps,
        }))
    }

    fn empty(&self) -> Arc<DryFile> {
        Arc::new(DryFile {
            content: Mutex::new(Content::Own(Vec::new())),
            maps: self.maps,
        })
    }
}

impl Disk for DryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = self.real.list()?;
        for (name, file) in &*self.changed() {
            names.retain(|listed| listed != name);
            if file.is_some() {
                names.push(name.clone());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        let mut changed = self.changed();
        let file = match (how, changed.get(name)) {
            (How::Read | How::Write, Some(Some(file))) => return Ok(file.clone()),
            (How::CreateNew, Some(Some(_))) => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            (How::Read | How::Write, Some(None)) => {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            (How::Read, None) => return Ok(self.over(name)?),
            (How::Write, None) => self.over(name)?,
            (How::CreateNew, None) if self.real.open_raw(name, How::Read).is_ok() => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            (How::CreateNew | How::Replace, _) => self.empty(),
        };
        changed.insert(name.to_owned(), Some(file.clone()));
        Ok(file)
    }

    fn rename_raw(&self, from: &str, to: &str) -> io::Result<()> {
        let mut changed = self.changed();
        let file = match changed.get(from) {
            Some(Some(file)) => file.clone(),
            Some(None) => return Err(io::Error::from(io::ErrorKind::NotFound)),
            None => self.over(from)?,
        };
        changed.insert(from.to_owned(), None);
        changed.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove_raw(&self, name: &str) -> io::Result<()> {
        let mut changed = self.changed();
        match changed.get(name) {
            Some(Some(_)) => {}
            Some(None) => return Err(io::Error::from(io::ErrorKind::NotFound)),
            None => drop(self.real.open_raw(name, How::Read)?),
        }
        changed.insert(name.to_owned(), None);
        Ok(())
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        Ok(())
    }

    fn directory(&self, _dir: &Path) -> io::Result<Arc<dyn Disk>> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn link_raw(&self, _name: &str, _to: &dyn Disk, _as_name: &str) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(NoLock))
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.real.random(bytes)
    }
}

/// Nothing is locked, since nothing is changed.
struct NoLock;

impl Lock for NoLock {}

/// One file as it would be.
struct DryFile {
    content: Mutex<Content>,
    maps: bool,
}

enum Content {
    /// The first `len` bytes of the real file.
    Real { file: Arc<dyn DiskFile>, len: u64 },
    /// Written since.
    Own(Vec<u8>),
}

impl DryFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the bytes, copying those of the real file first.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut content = self.content();
        if let Content::Real { file, len } = &*content {
            let mut bytes = vec![0; to_len(*len)?];
            let n = read_full_at(&**file, &mut bytes, 0)?;
            bytes.truncate(n);
            *content = Content::Own(bytes);
        }
        match &mut *content {
            Content::Own(bytes) => Ok(change(bytes)),
            Content::Real { .. } => Err(io::Error::from(io::ErrorKind::Other)),
        }
    }
}

fn to_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}

impl DiskFile for DryFile {
    fn write_some_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let at = to_len(at)?;
        self.change(|own| {
            let end = at.saturating_add(bytes.len());
            if own.len() < end {
                own.resize(end, 0);
            }
            if let Some(place) = own.get_mut(at..end) {
                place.copy_from_slice(bytes);
            }
            bytes.len()
        })
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match &*self.content() {
            Content::Real { file, len } => {
                let room = to_len(len.saturating_sub(at))?.min(buffer.len());
                match buffer.get_mut(..room) {
                    Some(place) if !place.is_empty() => file.read_some_at(place, at),
                    _ => Ok(0),
                }
            }
            Content::Own(bytes) => {
                let from = bytes.get(to_len(at)?..).unwrap_or_default();
                for (to, from) in buffer.iter_mut().zip(from) {
                    *to = *from;
                }
                Ok(from.len().min(buffer.len()))
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(match &*self.content() {
            Content::Real { len, .. } => *len,
            Content::Own(bytes) => bytes.len() as u64,
        })
    }

    fn set_len_raw(&self, new_len: u64) -> io::Result<()> {
        if let Content::Real { len, .. } = &mut *self.content()
            && new_len <= *len
        {
            *len = new_len;
            return Ok(());
        }
        let new_len = to_len(new_len)?;
        self.change(|own| own.resize(new_len, 0))
    }

    fn reserve_raw(&self, _len: u64) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sync_data_raw(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, len: u64) -> io::Result<Option<Map>> {
        match &*self.content() {
            Content::Real { file, .. } if self.maps => file.map(len),
            _ => Ok(None),
        }
    }

    /// One, so that nobody copies what is not changed anyway.
    fn links(&self) -> io::Result<u64> {
        Ok(1)
    }

    fn drop_cache(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_whole, write_all_at};

    #[test]
    fn what_is_done_shows_and_the_directory_stays_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let real: &dyn Disk = &OsDisk::new(dir.path());
        for (name, bytes) in [("cut", &b"abcdef"[..]), ("gone", b"x"), ("old", b"1")] {
            let file = real.open(name, How::CreateNew).expect("created");
            write_all_at(&*file, bytes, 0).expect("written");
        }
        let dry: &dyn Disk = &DryDisk::new(OsDisk::new(dir.path()), true);
        let cut = dry.open("cut", How::Write).expect("there");
        cut.set_len(3).expect("cut");
        assert_eq!(read_whole(dry, "cut", 9).expect("read"), b"abc");
        write_all_at(&*cut, b"XY", 5).expect("written");
        assert_eq!(read_whole(dry, "cut", 9).expect("read"), b"abc\0\0XY");
        dry.remove("gone").expect("removed");
        assert!(dry.remove("gone").is_err());
        let new = dry.open("new", How::CreateNew).expect("created");
        write_all_at(&*new, b"2", 0).expect("written");
        dry.rename("new", "old").expect("renamed");
        assert_eq!(read_whole(dry, "old", 9).expect("read"), b"2");
        assert_eq!(dry.list().expect("listed"), ["cut", "old"]);
        assert_eq!(real.list().expect("listed"), ["cut", "gone", "old"]);
        assert_eq!(read_whole(real, "cut", 9).expect("read"), b"abcdef");
        assert_eq!(read_whole(real, "old", 9).expect("read"), b"1");
    }
}
