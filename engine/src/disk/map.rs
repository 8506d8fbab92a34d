//! Read-only memory maps of segment and hint files: the only unsafe room of the engine.
//! It hands out byte ranges that the caller vouches were written before and are not
//! written again; it knows nothing of records.

use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// A read-only view of a file's bytes.
pub(crate) enum Map {
    /// Mapped from the page cache. The file may grow underneath, up to the map's length.
    Mapped(MmapRaw),
    /// What a simulated disk shows instead of mapping.
    #[cfg(any(test, feature = "sim"))]
    Simulated(std::sync::Arc<SharedBytes>),
}

impl Map {
    /// Maps the first `len` bytes of `file`, which may still be shorter.
    #[cfg_attr(
        not(any(test, all(unix, target_pointer_width = "64"))),
        expect(dead_code, reason = "files are read by position here, see disk/os.rs")
    )]
    pub(crate) fn of_file(file: &std::fs::File, len: u64) -> io::Result<Map> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        Ok(Map::Mapped(raw))
    }

    /// The bytes `start..start + len`.
    ///
    /// The caller vouches for two things, which the log upholds: the range was written to the
    /// file before (reading a map beyond the end of its file kills the process), and nobody
    /// writes it again while the store lives (segments are append-only, sealed files are never
    /// truncated below their data). Another program that truncates or rewrites the file breaks
    /// this; `docs/durability.md` says so to users.
    pub(crate) fn written(&self, start: usize, len: usize) -> Option<&[u8]> {
        match self {
            #[cfg(any(test, feature = "sim"))]
            Map::Simulated(bytes) => bytes.written(start, len),
            Map::Mapped(raw) => {
                if start.checked_add(len)? > raw.len() {
                    return None;
                }
                #[expect(unsafe_code, reason = "the one place that reads through a map")]
                // SAFETY: 1. `start + len` lies within the mapping, checked above, and the
                // mapping lives as long as `self`, to which the slice's lifetime is tied.
                // 2. The bytes are initialised: file pages read as what was written or zero.
                // 3. Nothing in this process writes through a mapping (it is read-only), and by
                // the caller's promise the range is not written through the file either, so
                // the bytes do not change while the slice lives.
                Some(unsafe { std::slice::from_raw_parts(raw.as_ptr().add(start), len) })
            }
        }
    }
}

/// Bytes that a simulated disk writes and a [`Map`] of it reads, as the page cache is shared by
/// writes and maps of the kernel.
#[cfg(any(test, feature = "sim"))]
pub(crate) struct SharedBytes {
    /// From a boxed slice, given back when dropped.
    start: *mut u8,
    len: usize,
    /// The length of the file: a read behind the page it ends in would kill a real process.
    end: crate::sync::atomic::AtomicUsize,
}

#[cfg(any(test, feature = "sim"))]
#[expect(unsafe_code, reason = "the simulated twin of a memory map")]
// SAFETY: the bytes are reached through `copy_in`, whose caller holds the disk's lock, and through
// `written`, under the same promise as for a real map: a range that is read is not written again.
unsafe impl Send for SharedBytes {}

#[cfg(any(test, feature = "sim"))]
#[expect(unsafe_code, reason = "the simulated twin of a memory map")]
// SAFETY: as for `Send`.
unsafe impl Sync for SharedBytes {}

#[cfg(any(test, feature = "sim"))]
impl SharedBytes {
    /// What kernels map at once.
    const PAGE_LEN: usize = 4_096;

    /// That many zeros.
    pub(crate) fn new(len: usize) -> SharedBytes {
        let bytes = Box::into_raw(vec![0; len].into_boxed_slice());
        SharedBytes {
            start: bytes.cast(),
            len,
            end: crate::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// The file is that long now.
    pub(crate) fn set_end(&self, end: usize) {
        self.end.store(end, crate::sync::atomic::Ordering::Release);
    }

    /// Writes as much of `bytes` at `at` as lies within.
    pub(crate) fn copy_in(&self, at: usize, bytes: &[u8]) {
        let Some(room) = self.len.checked_sub(at) else {
            return;
        };
        let len = bytes.len().min(room);
        #[expect(unsafe_code, reason = "the simulated twin of a memory map")]
        // SAFETY: `at + len` lies within the allocation, checked above; nobody writes at the same
        // time (the disk's lock), and by the promise of `Map::written` nobody holds a slice of
        // the range that changes; `bytes` is the caller's own copy, so the ranges are apart.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), len);
        }
    }

    /// As [`Map::written`].
    ///
    /// # Panics
    /// Where the kernel would kill the process: behind the page in which the file ends.
    fn written(&self, start: usize, len: usize) -> Option<&[u8]> {
        let stop = start.checked_add(len).filter(|stop| *stop <= self.len)?;
        let end = self.end.load(crate::sync::atomic::Ordering::Acquire);
        assert!(
            stop <= end.next_multiple_of(Self::PAGE_LEN),
            "SIGBUS: bytes {start}..{stop} were read through the map of a file of {end} bytes"
        );
        #[expect(unsafe_code, reason = "the simulated twin of a memory map")]
        // SAFETY: the range lies within the allocation, which lives as long as `self`; it was
        // initialised with zeros; by the caller's promise it is not written again.
        Some(unsafe { std::slice::from_raw_parts(self.start.add(start), len) })
    }
}

#[cfg(any(test, feature = "sim"))]
impl Drop for SharedBytes {
    fn drop(&mut self) {
        let bytes = std::ptr::slice_from_raw_parts_mut(self.start, self.len);
        #[expect(unsafe_code, reason = "the simulated twin of a memory map")]
        // SAFETY: exactly what `new` took out of a box, and nobody else gives it back.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_map_longer_than_its_file_shows_later_appends_and_ends_at_its_length() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"first").expect("written");
        let map = Map::of_file(&file, 4_096 * 4).expect("mapped");
        assert_eq!(map.written(0, 5), Some(&b"first"[..]));
        file.write_all(b" second").expect("written");
        assert_eq!(map.written(5, 7), Some(&b" second"[..]));
        assert_eq!(map.written(4_096 * 4, 1), None);
        assert_eq!(map.written(usize::MAX, 2), None);
    }
}
