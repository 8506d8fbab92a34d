//! A whole file as bytes: mapped where the disk can, read otherwise. For files that nobody
//! writes while this lives.

use std::io;

use super::map::Map;
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
