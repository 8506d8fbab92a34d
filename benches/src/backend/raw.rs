//! The device itself: loops of append and fdatasync on a file that just grows, on one whose blocks
//! are preallocated, and on one that was filled with zeros. What preparing cost is told apart.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::measure::Measured;

/// Zeros are written in pieces of a page: one large write would be charged whole for each small
/// one behind it.
const PAGE: usize = 4 << 10;

/// How the blocks of a file are made before they are appended to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blocks {
    /// Not at all.
    Plain,
    /// Reserved, unwritten.
    Preallocated,
    /// Written once, with zeros.
    ZeroFilled,
}

/// A file that records are appended to.
pub struct RawFile {
    file: File,
    at: u64,
    /// What making its blocks took.
    pub prepared: Duration,
}

impl Blocks {
    /// All of them.
    pub const ALL: [Blocks; 3] = [Blocks::Plain, Blocks::Preallocated, Blocks::ZeroFilled];

    /// The name of the backend in lines.
    #[must_use]
    pub fn backend(self) -> &'static str {
        match self {
            Blocks::Plain => "floor-raw-plain",
            Blocks::Preallocated => "floor-raw-preallocated",
            Blocks::ZeroFilled => "floor-raw-zero-filled",
        }
    }

    /// A file in `dir` with room for `len` bytes.
    ///
    /// # Errors
    /// The file system's.
    pub fn prepare(self, dir: &Path, len: u64) -> Outcome<RawFile> {
        let mut file = File::create(dir.join(self.backend()))?;
        let watch = Instant::now();
        match self {
            Blocks::Plain => {}
            Blocks::Preallocated => {
                let flags = rustix::fs::FallocateFlags::empty();
                rustix::fs::fallocate(&file, flags, 0, len)?;
            }
            Blocks::ZeroFilled => {
                for _ in 0..len.div_ceil(crate::wide(PAGE)) {
                    file.write_all(&[0; PAGE])?;
                }
            }
        }
        file.sync_all()?;
        Ok(RawFile {
            file,
            at: 0,
            prepared: watch.elapsed(),
        })
    }
}

impl RawFile {
    /// Appends `record` so many times, each with a sync.
    ///
    /// # Errors
    /// The file system's.
    pub fn append(&mut self, record: &[u8], times: u64, into: &mut Measured) -> Outcome<Duration> {
        let start = Instant::now();
        let mut last = start;
        for _ in 0..times {
            self.file.write_all_at(record, self.at)?;
            self.at += crate::wide(record.len());
            self.file.sync_data()?;
            let now = Instant::now();
            into.record(now - last);
            last = now;
        }
        into.calls += times;
        Ok(start.elapsed())
    }
}
