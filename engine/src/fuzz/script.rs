//! The fuzzer's bytes as numbers and choices.

/// Numbers and choices taken from the fuzzer's bytes; zeros when there are no more.
pub(super) struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Script<'a> {
        Script { bytes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// From 0 up to, not including, `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let two = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(two).checked_rem(end).unwrap_or(0)
    }

    /// Up to `len` bytes as they come.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }
}
