//! Reading on where the device cannot: bytes that cannot be read come back as zeros, which no checksum takes
//! for data. For whoever can do with the rest and tells of the loss; and as a whole disk for repair, which is
//! never written to.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::map::Map;
use super::{Disk, DiskFile, How, Lock};

/// What is asked for alone when more at once cannot be read.
const PIECE_LEN: u64 = 512;
/// A file with more such pieces than these is not a damaged one but on a device that fails: 2 MiB.
const PIECES_MAX: u32 = 4_096;

/// What a device could not give.
pub(crate) struct Unreadable {
    /// Where the first such byte stands in the file.
    pub(crate) start: u64,
    /// Behind the last such byte.
    pub(crate) end: u64,
    /// The first error.
    pub(crate) error: io::Error,
}

/// `len` bytes of a file, fewer if it is shorter; zeros where the device cannot read them.
///
/// # Errors
/// If its length cannot be told, or so much is lost that the device itself must be failing.
pub(crate) fn read_patiently(
    file: &dyn DiskFile,
    from: u64,
    len: usize,
) -> io::Result<(Vec<u8>, Option<Unreadable>)> {
    let (mut bytes, mut at, mut pieces) = (vec![0; len], 0, 0);
    let mut unreadable: Option<Unreadable> = None;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        if pieces > PIECES_MAX
            && let Some(failing) = unreadable
        {
            return Err(failing.error);
        }
        let start = from + at as u64;
        let lost = |end, error| {
            pieces += 1;
            let first = unreadable.get_or_insert(Unreadable { start, end, error });
            first.end = end;
        };
        match read_some(file, rest, start, lost) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(at);
    Ok((bytes, unreadable))
}

/// One read. As little as is lost at once is given up, so that what is around it is read; `lost` is told where
/// that ends, and why.
fn read_some(
    file: &dyn DiskFile,
    buffer: &mut [u8],
    at: u64,
    lost: impl FnOnce(u64, io::Error),
) -> io::Result<usize> {
    match file.read_some_at(buffer, at) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => {}
        read => return read,
    }
    let left = file.len()?.saturating_sub(at);
    let piece = (PIECE_LEN - at % PIECE_LEN).min(left);
    let len = usize::try_from(piece).unwrap_or(0).min(buffer.len());
    let piece = buffer.get_mut(..len).unwrap_or_default();
    match file.read_some_at(piece, at) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
            tracing::warn!(at, len, %error, "unreadable bytes are taken for zeros");
            piece.fill(0);
            lost(at + len as u64, error);
            Ok(len)
        }
        read => read,
    }
}

/// Another disk, read with patience.
pub(crate) struct TolerantDisk {
    inner: Arc<dyn Disk>,
}

impl TolerantDisk {
    pub(crate) fn new(inner: Arc<dyn Disk>) -> TolerantDisk {
        TolerantDisk { inner }
    }
}

fn only_read<T>() -> io::Result<T> {
    Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
}

impl Disk for TolerantDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open_raw(&self, name: &str, how: How) -> io::Result<Arc<dyn DiskFile>> {
        if how != How::Read {
            return only_read();
        }
        let inner = self.inner.open(name, how)?;
        Ok(Arc::new(TolerantFile { inner }))
    }

    fn rename_raw(&self, _from: &str, _to: &str) -> io::Result<()> {
        only_read()
    }

    fn remove_raw(&self, _name: &str) -> io::Result<()> {
        only_read()
    }

    fn sync_dir_raw(&self) -> io::Result<()> {
        only_read()
    }

    fn directory(&self, dir: &Path) -> io::Result<Arc<dyn Disk>> {
        self.inner.directory(dir)
    }

    fn link_raw(&self, _name: &str, _to: &dyn Disk, _as_name: &str) -> io::Result<()> {
        only_read()
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Lock>> {
        only_read()
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.random(bytes)
    }
}

struct TolerantFile {
    inner: Arc<dyn DiskFile>,
}

impl DiskFile for TolerantFile {
    fn write_some_at(&self, _bytes: &[u8], _at: u64) -> io::Result<usize> {
        only_read()
    }

    fn read_some_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_some(&*self.inner, buffer, at, |_, _| {})
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len_raw(&self, _len: u64) -> io::Result<()> {
        only_read()
    }

    fn reserve_raw(&self, _len: u64) -> io::Result<()> {
        only_read()
    }

    fn sync_data_raw(&self) -> io::Result<()> {
        only_read()
    }

    // A page that cannot be read would end the process.
    fn map(&self, _len: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }

    fn links(&self) -> io::Result<u64> {
        self.inner.links()
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
}
