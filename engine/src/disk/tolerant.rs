//! A disk that goes on where its device cannot: bytes that cannot be read come back as zeros,
//! which no checksum takes for data. For repair; it is never written to.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::map::Map;
use super::{Disk, DiskFile, How, Lock};

/// What is asked for alone when more at once cannot be read.
const PIECE_LEN: u64 = 512;

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
        match self.inner.read_some_at(buffer, at) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {}
            read => return read,
        }
        // As little as is lost at once, so that what is around it is read.
        let left = self.inner.len()?.saturating_sub(at);
        let piece = (PIECE_LEN - at % PIECE_LEN).min(left);
        let len = usize::try_from(piece).unwrap_or(0).min(buffer.len());
        let piece = buffer.get_mut(..len).unwrap_or_default();
        match self.inner.read_some_at(piece, at) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                tracing::warn!(at, len, error = %e, "unreadable bytes are taken for zeros");
                piece.fill(0);
                Ok(len)
            }
            read => read,
        }
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
