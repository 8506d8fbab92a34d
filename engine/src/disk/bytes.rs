//! A whole file as bytes: mapped where the disk can, read otherwise. For files that nobody
//! writes while this lives.

use std::io;

use super::map::Map;
use super::tolerant::{Unreadable, read_patiently};
use super::{DiskFile, read_full_at};

/// The first bytes of a file.
pub(crate) enum FileBytes {
    Mapped(Map, usize),
    Read(Vec<u8>),
}

impl FileBytes {
    /// The first `len` bytes of `file`, fewer if it is shorter.
    pub(crate) fn of(file: &dyn DiskFile, len: u64) -> io::Result<FileBytes> {
        let len = usize::try_from(len.min(file.len()?))
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if len == 0 {
            return Ok(FileBytes::Read(Vec::new()));
        }
        if let Some(map) = file.map(len as u64)? {
            return Ok(FileBytes::Mapped(map, len));
        }
        let mut bytes = vec![0; len];
        let n = read_full_at(file, &mut bytes, 0)?;
        bytes.truncate(n);
        Ok(FileBytes::Read(bytes))
    }

    /// The same; bytes that the device cannot read are zeros, and are told. (In a map, reading one ends the
    /// process.)
    pub(crate) fn patiently(
        file: &dyn DiskFile,
        len: u64,
    ) -> io::Result<(FileBytes, Option<Unreadable>)> {
        let len = usize::try_from(len.min(file.len()?))
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        if len > 0
            && let Some(map) = file.map(len as u64)?
        {
            return Ok((FileBytes::Mapped(map, len), None));
        }
        let (bytes, unreadable) = read_patiently(file, 0, len)?;
        Ok((FileBytes::Read(bytes), unreadable))
    }

    /// They cost no memory of ours.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!(self, FileBytes::Mapped(..))
    }
}

impl AsRef<[u8]> for FileBytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map, len) => map.written(0, *len).unwrap_or_default(),
            FileBytes::Read(bytes) => bytes,
        }
    }
}
