//! The bodies of the fuzz targets: each takes any bytes and panics if the engine does what it must
//! not. The targets in `fuzz/` call them, and so do seeded tests; not for users.

mod operations;
mod recovery;

pub use crate::segment::fuzz::{fuzz_hint, fuzz_manifest, fuzz_names, fuzz_record, fuzz_segment};
pub use operations::fuzz_operations;
pub use recovery::fuzz_recovery;

/// Numbers and choices taken from the fuzzer's bytes; zeros when there are no more.
struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    fn new(bytes: &'a [u8]) -> Script<'a> {
        Script { bytes }
    }

    fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        let two = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(two).checked_rem(end).unwrap_or(0)
    }

    /// Up to `len` bytes as they come.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }
}
