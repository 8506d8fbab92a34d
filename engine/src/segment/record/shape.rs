//! The variable shape of a record's header: widths, lengths, and the way fields of any width go
//! to and from bytes.
//!
//! A leaf under `record`: knows flags and widths, not what the fields mean. The bytes are
//! described in docs/format.md, "Record".

use crate::segment::format::{
    BATCH_LEN, CHECKSUM_LEN, COVERS_LEN, EXPIRY_LEN, KEY_LEN_SHIFT, KEY_LEN_WIDTHS, KEYSPACE_SHIFT,
    KEYSPACE_WIDTHS, MARK_DISTANCE_LEN, MARK_TIME_LEN, RECORD_END, RECORD_FIXED_LEN,
    RECORD_FLAG_BATCH, RECORD_FLAG_COVERS, RECORD_FLAG_EXPIRY, RECORD_FLAG_MARK,
    RECORD_HEADER_LEN_MAX, RECORD_KIND_MASK, SEQ_DELTA_SHIFT, SEQ_DELTA_WIDTHS, VALUE_LEN_SHIFT,
    VALUE_LEN_WIDTHS, narrow, wide,
};

/// The low 32 bits; the others are dropped on purpose.
#[inline]
pub(super) fn low_u32(value: u64) -> u32 {
    (value & 0xFFFF_FFFF) as u32
}

/// The code of the smallest of `widths` that holds `value`.
#[inline]
pub(super) fn width_code<const N: usize>(value: u64, widths: [usize; N]) -> u8 {
    let mut code = 0;
    for width in widths {
        code += u8::from(width < size_of::<u64>() && value >> (8 * width) != 0);
    }
    code
}

/// The width that the code at `shift` stands for; 0 for a code without one.
#[inline]
pub(super) fn width<const N: usize>(widths: u8, shift: u32, table: [usize; N]) -> usize {
    let code = usize::from(widths >> shift) & (N.next_power_of_two() - 1);
    table.get(code).copied().unwrap_or(0)
}

#[inline]
fn header_len(flags: u8, widths: u8, value_len: usize) -> usize {
    let if_set = |flag: u8, len: usize| if flags & flag != 0 { len } else { 0 };
    RECORD_FIXED_LEN
        + width(widths, KEY_LEN_SHIFT, KEY_LEN_WIDTHS)
        + width(widths, VALUE_LEN_SHIFT, VALUE_LEN_WIDTHS)
        + width(widths, KEYSPACE_SHIFT, KEYSPACE_WIDTHS)
        + width(widths, SEQ_DELTA_SHIFT, SEQ_DELTA_WIDTHS)
        + if value_len > 0 { CHECKSUM_LEN } else { 0 }
        + if_set(RECORD_FLAG_EXPIRY, EXPIRY_LEN)
        + if_set(RECORD_FLAG_COVERS, COVERS_LEN)
        + if_set(RECORD_FLAG_BATCH, BATCH_LEN)
        + if_set(RECORD_FLAG_MARK, MARK_DISTANCE_LEN + MARK_TIME_LEN)
}

/// A header and room for a whole integer behind it: fields of any width are moved eight bytes at a
/// time.
pub(super) const WINDOW_LEN: usize = RECORD_HEADER_LEN_MAX + size_of::<u64>();

/// The start of `prefix`, with zeros behind it if it is shorter than a window.
#[inline]
pub(super) fn window<'a>(
    prefix: &'a [u8],
    padded: &'a mut [u8; WINDOW_LEN],
) -> &'a [u8; WINDOW_LEN] {
    match prefix.first_chunk() {
        Some(window) => window,
        None => {
            for (to, from) in padded.iter_mut().zip(prefix) {
                *to = *from;
            }
            padded
        }
    }
}

/// A header being written.
pub(super) struct Head {
    pub(super) bytes: [u8; WINDOW_LEN],
    pub(super) len: usize,
}

impl Head {
    /// Writes the low `width` bytes; the zeros above them are overwritten by what comes next.
    #[inline]
    pub(super) fn put(&mut self, value: u64, width: usize) {
        if let Some(field) = self
            .bytes
            .get_mut(self.len..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *field = value.to_le_bytes();
        }
        self.len += width;
    }
}

/// A header being read; a field outside the window, which no header reaches, would be 0.
pub(super) struct Fields<'a> {
    pub(super) window: &'a [u8; WINDOW_LEN],
    pub(super) at: usize,
}

impl Fields<'_> {
    #[inline]
    pub(super) fn take(&mut self, width: usize) -> u64 {
        let field = self.window.get(self.at..).and_then(<[u8]>::first_chunk);
        self.at += width;
        // A shift by all 64 bits, for a field of no width, leaves nothing.
        let mask = u64::MAX
            .checked_shr(64 - 8 * low_u32(wide(width)))
            .unwrap_or(0);
        field.map_or(0, |bytes| u64::from_le_bytes(*bytes)) & mask
    }

    #[inline]
    pub(super) fn take_u32(&mut self) -> u32 {
        low_u32(self.take(size_of::<u32>()))
    }

    #[inline]
    pub(super) fn take_u8(&mut self) -> u8 {
        let [byte, ..] = self.take(size_of::<u8>()).to_le_bytes();
        byte
    }
}

/// The lengths that a header claims.
pub(super) struct Lengths {
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    pub(super) header_len: usize,
}

impl Lengths {
    /// `None` if the bytes of flags and widths are no record's, so that the lengths cannot be told.
    #[inline]
    pub(super) fn read(window: &[u8; WINDOW_LEN]) -> Option<Lengths> {
        let mut fields = Fields {
            window,
            at: CHECKSUM_LEN,
        };
        let flags = fields.take_u8();
        let widths = fields.take_u8();
        if flags & RECORD_KIND_MASK == RECORD_END
            || width(widths, KEYSPACE_SHIFT, KEYSPACE_WIDTHS) == 0
        {
            return None;
        }
        let key_len = narrow(low_u32(fields.take(width(
            widths,
            KEY_LEN_SHIFT,
            KEY_LEN_WIDTHS,
        ))));
        let value_len = narrow(low_u32(fields.take(width(
            widths,
            VALUE_LEN_SHIFT,
            VALUE_LEN_WIDTHS,
        ))));
        Some(Lengths {
            key_len,
            value_len,
            header_len: header_len(flags, widths, value_len),
        })
    }
}
