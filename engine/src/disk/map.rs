//! Read-only memory maps of segment and hint files: the only unsafe room of the engine.
//! It hands out byte ranges that the caller vouches were written before and are not
//! written again; it knows nothing of records.

use std::io;

use memmap2::{MmapOptions, MmapRaw};

/// A read-only view of a file's bytes.
pub(crate) enum Map {
    /// Mapped from the page cache. The file may grow underneath, up to the map's length.
    Mapped(MmapRaw),
    /// A copy, where a disk has no maps.
    #[cfg_attr(
        target_pointer_width = "64",
        expect(dead_code, reason = "32-bit and simulated disks")
    )]
    Copied(Box<[u8]>),
}

impl Map {
    /// Maps the first `len` bytes of `file`, which may still be shorter.
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
            Map::Copied(bytes) => bytes.get(start..start.checked_add(len)?),
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
