//! Bounds-checked reading of fields one after the other.
//!
//! Every answer is an option: bytes from disk may end anywhere, and no length among them is
//! believed before it was compared with what is left. Knows no format.

use crate::segment::format::narrow;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: bytes }
    }

    /// How many bytes are left.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// An integer of `width` bytes, 0 to 8.
    #[inline]
    pub(crate) fn uint(&mut self, width: usize) -> Option<u64> {
        // The usual widths as whole loads: copying by a length known only now costs a call.
        match width {
            2 => self.u16().map(u64::from),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => {
                let mut padded = [0; 8];
                let field = padded.get_mut(..width)?;
                field.copy_from_slice(self.take(width)?);
                Some(u64::from_le_bytes(padded))
            }
        }
    }

    /// Passes over `N` bytes that must be zero.
    #[inline]
    pub(crate) fn zeros<const N: usize>(&mut self) -> Option<()> {
        (self.array::<N>()? == [0; N]).then_some(())
    }

    /// A 32-bit count of entries that take at least `entry_len_min` bytes each: `None` if that many
    /// cannot follow, so that the count may be used to allocate.
    #[inline]
    pub(crate) fn count(&mut self, entry_len_min: usize) -> Option<usize> {
        let count = narrow(self.u32()?);
        let bytes = count.checked_mul(entry_len_min)?;
        (bytes <= self.rest.len()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order_and_the_end_is_respected() {
        let bytes: Vec<u8> = (1..=32).collect();
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16(), Some(0x0302));
        assert_eq!(cursor.uint(0), Some(0));
        assert_eq!(cursor.uint(3), Some(0x0006_0504));
        assert_eq!(cursor.uint(5), Some(0x0B_0A09_0807));
        for (width, expected) in [(2, 0x0201), (4, 0x0403_0201), (8, 0x0807_0605_0403_0201)] {
            assert_eq!(Cursor::new(&bytes).uint(width), Some(expected));
        }
        assert_eq!(cursor.uint(9), None);
        assert_eq!(cursor.zeros::<1>(), None);
        assert_eq!(cursor.len(), 20);
        assert_eq!(cursor.take(21), None);
        assert_eq!(
            cursor.u128(),
            Some(0x1C1B_1A19_1817_1615_1413_1211_100F_0E0D)
        );
        assert_eq!(cursor.u64(), None);
        assert_eq!(cursor.u32(), Some(0x201F_1E1D));
        assert!(cursor.is_empty());
    }

    #[test]
    fn a_count_that_cannot_be_true_is_refused() {
        let bytes = [2, 0, 0, 0, 9, 9, 9, 9, 9, 9];
        assert_eq!(Cursor::new(&bytes).count(3), Some(2));
        assert_eq!(Cursor::new(&bytes).count(4), None);
        assert_eq!(Cursor::new(&[0xFF; 8]).count(usize::MAX), None);
        assert_eq!(Cursor::new(&bytes[..3]).count(0), None);
    }
}
