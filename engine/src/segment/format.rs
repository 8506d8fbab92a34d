//! Every number of the format on disk: magics, lengths, flags, widths and limits, and how integers
//! and checksums are written.
//!
//! It knows no file, no struct and no I/O. The law is docs/format.md; a test below reads that page
//! and holds the two together, so a constant is changed in both places or in none.

use std::fmt;

use crate::mutant::{self, Mutant};

pub(crate) const FORMAT_VERSION: u32 = 1;

pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"PCASKSEG";
pub(crate) const HINT_MAGIC: [u8; 8] = *b"PCASKHNT";
pub(crate) const MANIFEST_MAGIC: [u8; 8] = *b"PCASKMAN";
pub(crate) const LABEL_MAGIC: [u8; 8] = *b"PCASKCPT";
pub(crate) const IMAGE_MAGIC: [u8; 8] = *b"PCASKKDI";
pub(crate) const FOOTER_MAGIC: [u8; 8] = *b"PCASKFTR";
pub(crate) const END_MAGIC: [u8; 8] = *b"PCASKEND";

/// Magic, version and their checksum: the same 16 bytes in all versions for ever.
pub(crate) const PREAMBLE_LEN: usize = 16;
pub(crate) const CHECKSUM_LEN: usize = 4;

/// An expiry or `covers_until` that no clock reaches.
pub(crate) const NEVER: u64 = u64::MAX;

// Segment header.
pub(crate) const SEGMENT_HEADER_LEN: usize = 80;
/// Two copies of the header come first; the first record begins here.
pub(crate) const RECORDS_START: usize = 160;
pub(crate) const SEGMENT_KIND_USER: u8 = 1;
pub(crate) const SEGMENT_KIND_MERGED: u8 = 2;

// Record: the byte of kind and flags.
pub(crate) const RECORD_KIND_MASK: u8 = 7;
pub(crate) const RECORD_END: u8 = 0;
pub(crate) const RECORD_PUT: u8 = 1;
pub(crate) const RECORD_TOMBSTONE: u8 = 2;
pub(crate) const RECORD_FLAG_EXPIRY: u8 = 8;
pub(crate) const RECORD_FLAG_COVERS: u8 = 16;
pub(crate) const RECORD_FLAG_BATCH: u8 = 32;
pub(crate) const RECORD_FLAG_MARK: u8 = 64;
pub(crate) const RECORD_FLAG_RESERVED: u8 = 128;

// Record: the byte of widths. A shift says where a code begins; the code is an index into the
// widths, all in bytes.
pub(crate) const VALUE_LEN_SHIFT: u32 = 0;
pub(crate) const VALUE_LEN_WIDTHS: [usize; 4] = [0, 1, 2, 4];
pub(crate) const KEY_LEN_SHIFT: u32 = 2;
pub(crate) const KEY_LEN_WIDTHS: [usize; 2] = [1, 2];
pub(crate) const KEYSPACE_SHIFT: u32 = 3;
pub(crate) const KEYSPACE_WIDTHS: [usize; 3] = [1, 2, 4];
pub(crate) const SEQ_DELTA_SHIFT: u32 = 5;
pub(crate) const SEQ_DELTA_WIDTHS: [usize; 4] = [3, 4, 6, 8];
pub(crate) const WIDTHS_RESERVED: u8 = 128;

// Record: lengths.
/// Header checksum, kind and flags, widths.
pub(crate) const RECORD_FIXED_LEN: usize = 6;
pub(crate) const EXPIRY_LEN: usize = 8;
pub(crate) const COVERS_LEN: usize = 8;
pub(crate) const BATCH_LEN: usize = 4;
pub(crate) const MARK_DISTANCE_LEN: usize = 4;
pub(crate) const MARK_TIME_LEN: usize = 6;
pub(crate) const RECORD_HEADER_LEN_MIN: usize = 11;
pub(crate) const RECORD_HEADER_LEN_MAX: usize = 58;

// Footer.
pub(crate) const FOOTER_LEN_MIN: usize = 200;
/// Length, checksum and magic at the very end of a sealed segment.
pub(crate) const FOOTER_TAIL_LEN: usize = 16;

// Hint file.
pub(crate) const HINT_HEADER_LEN: usize = 72;
pub(crate) const HINT_SECTION_HEADER_LEN: usize = 24;
pub(crate) const HINT_COLUMN_EXPIRY: u8 = 1;
pub(crate) const HINT_COLUMN_COVERS: u8 = 2;
pub(crate) const HINT_COLUMN_KEY: u8 = 4;
pub(crate) const HINT_SEQ_WIDTHS: [usize; 2] = [4, 8];
pub(crate) const HINT_LENGTH_WIDTHS: [usize; 4] = [2, 3, 4, 5];
pub(crate) const HINT_HASH_LEN: usize = 16;
pub(crate) const HINT_OFFSET_LEN: usize = 4;
pub(crate) const HINT_KEY_REF_LEN: usize = 6;
pub(crate) const HINT_ROW_LEN_MIN: usize = 27;
pub(crate) const HINT_ROW_LEN_MAX: usize = 56;

// Manifest.
pub(crate) const MANIFEST_HEADER_LEN: usize = 24;
pub(crate) const STORE_ID_LEN: usize = 16;
pub(crate) const SECRET_LEN: usize = 16;
pub(crate) const SEGMENT_ENTRY_LEN: usize = 160;
pub(crate) const SEGMENT_ENTRY_SEALED: u8 = 1;
pub(crate) const KEYSPACE_ENTRY_LEN_MIN: usize = 26;
pub(crate) const INDEX_HASH: u8 = 1;
pub(crate) const INDEX_ORDERED: u8 = 2;
pub(crate) const REPLACED_ENTRY_LEN: usize = 8;

// Checkpoint label.
pub(crate) const LABEL_LEN: usize = 36;

// Keydir image.
pub(crate) const IMAGE_HEADER_LEN: usize = 80;
pub(crate) const IMAGE_SEGMENT_LEN_MIN: usize = 44;
pub(crate) const IMAGE_SPACE_LEN: usize = 32;
pub(crate) const IMAGE_BLOCK_HEADER_LEN: usize = 8;

// Limits.
pub(crate) const KEY_LEN_MAX: usize = 65_535;
pub(crate) const VALUE_LEN_MAX: usize = 4_294_967_295;
pub(crate) const KEYSPACES_MAX: usize = 1_024;
pub(crate) const KEYSPACE_NAME_LEN_MAX: usize = 255;
/// The last offset at which a record may start, so that offsets fit 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 4_294_967_295;
/// The greatest time that the six bytes of a mark hold.
pub(crate) const MARK_TIME_MAX: u64 = 281_474_976_710_655;

const _: () = {
    // `usize` holds every 32-bit length and fits 64 bits: `wide` and `narrow` below rest on it.
    assert!(usize::BITS >= 32 && usize::BITS <= 64);
    assert!(PREAMBLE_LEN == SEGMENT_MAGIC.len() + 4 + CHECKSUM_LEN);
    assert!(SEGMENT_HEADER_LEN == PREAMBLE_LEN + STORE_ID_LEN + 5 * 8 + 2 + 2 + CHECKSUM_LEN);
    assert!(RECORDS_START == 2 * SEGMENT_HEADER_LEN);
    assert!(RECORD_FIXED_LEN == CHECKSUM_LEN + 2);
    assert!(RECORD_HEADER_LEN_MIN == RECORD_FIXED_LEN + 1 + 1 + 3);
    assert!(
        RECORD_HEADER_LEN_MAX
            == RECORD_FIXED_LEN
                + (2 + 4 + 4 + 8 + CHECKSUM_LEN)
                + (EXPIRY_LEN + COVERS_LEN + BATCH_LEN + MARK_DISTANCE_LEN + MARK_TIME_LEN)
    );
    assert!(
        FOOTER_LEN_MIN
            == 8 + SEGMENT_HEADER_LEN + 8 * 8 + 4 + 4 + 8 + 4 + 4 + 4 + 4 + FOOTER_TAIL_LEN
    );
    assert!(HINT_HEADER_LEN == PREAMBLE_LEN + 4 * 8 + 4 + 4 + 8 + 4 + CHECKSUM_LEN);
    assert!(HINT_ROW_LEN_MIN == HINT_HASH_LEN + 1 + 4 + HINT_OFFSET_LEN + 2);
    assert!(
        HINT_ROW_LEN_MAX == HINT_HASH_LEN + 1 + 8 + HINT_OFFSET_LEN + 5 + 8 + 8 + HINT_KEY_REF_LEN
    );
    assert!(MANIFEST_HEADER_LEN == PREAMBLE_LEN + 4 + CHECKSUM_LEN);
    assert!(LABEL_LEN == PREAMBLE_LEN + STORE_ID_LEN + CHECKSUM_LEN);
    assert!(SEGMENT_ENTRY_LEN == SEGMENT_HEADER_LEN + 4 + 4 + 9 * 8);
    assert!(KEYSPACE_ENTRY_LEN_MIN == 4 + 1 + 3 + 8 + 8 + 2);
    assert!(
        IMAGE_HEADER_LEN == PREAMBLE_LEN + 8 + STORE_ID_LEN + 2 * 8 + 2 * 4 + 8 + 2 * CHECKSUM_LEN
    );
    assert!(IMAGE_SEGMENT_LEN_MIN == 3 * 8 + 2 + 2 + 8 + 4 + 4);
    assert!(IMAGE_SPACE_LEN == 4 + 1 + 3 + 3 * 8);
    assert!(KEY_LEN_MAX == u16::MAX as usize && VALUE_LEN_MAX == u32::MAX as usize);
    assert!(SEGMENT_BYTES_MAX == u32::MAX as u64);
    assert!(MARK_TIME_MAX == (1 << (8 * MARK_TIME_LEN)) - 1);
    assert!(KEYSPACE_NAME_LEN_MAX <= u16::MAX as usize);
};

/// A length in memory as a length or offset on disk; never loses a bit (asserted above).
#[inline]
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}

/// A 32-bit length from disk as a length in memory; never loses a bit (asserted above).
#[inline]
pub(crate) const fn narrow(len: u32) -> usize {
    len as usize
}

#[inline]
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

/// CRC-32 of `bytes`.
#[inline]
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc_seeded(0, bytes)
}

/// CRC-32 of `bytes` as if they went on after something whose CRC-32 was `seed`.
#[inline]
pub(crate) fn crc_seeded(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// The first 16 bytes of a file with this magic, in the version that this code writes.
pub(crate) fn preamble(magic: [u8; 8]) -> [u8; PREAMBLE_LEN] {
    let [m0, m1, m2, m3, m4, m5, m6, m7] = magic;
    let [v0, v1, v2, v3] = FORMAT_VERSION.to_le_bytes();
    let covered = [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3];
    let [c0, c1, c2, c3] = crc(&covered).to_le_bytes();
    [
        m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, c0, c1, c2, c3,
    ]
}

/// Whether `bytes` begin with the preamble of a file with this magic, in a version that this code
/// reads.
///
/// `Version` is answered only when the checksum holds: a flipped bit is never taken for a newer
/// format.
pub(crate) fn check_preamble(bytes: &[u8], magic: [u8; 8]) -> Result<(), PreambleFault> {
    let preamble = bytes
        .first_chunk::<PREAMBLE_LEN>()
        .ok_or(PreambleFault::Short)?;
    let (covered, stored) = preamble.split_at(PREAMBLE_LEN - CHECKSUM_LEN);
    if !covered.starts_with(&magic) {
        return Err(PreambleFault::Magic);
    }
    let holds = read_u32(stored, 0) == Some(crc(covered));
    if !holds && !mutant::is_on(Mutant::PreambleNotChecked) {
        return Err(PreambleFault::Checksum);
    }
    match read_u32(covered, magic.len()) {
        Some(FORMAT_VERSION) => Ok(()),
        Some(version) => Err(PreambleFault::Version(version)),
        None => Err(PreambleFault::Short),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PreambleFault {
    Short,
    Magic,
    Checksum,
    /// A version that this code does not read; the rest of the file may mean anything.
    Version(u32),
}

impl fmt::Display for PreambleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreambleFault::Short => f.write_str("the file is shorter than its preamble"),
            PreambleFault::Magic => f.write_str("the magic is another one"),
            PreambleFault::Checksum => f.write_str("the checksum of the preamble does not hold"),
            PreambleFault::Version(version) => {
                write!(f, "format version {version} is not one this release reads")
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const PAGE: &str = include_str!("../../../docs/format.md");
    const SOURCE: &str = include_str!("format.rs");

    /// Bytes from hex digits; white space is skipped, and so is the rest of a line after a
    /// semicolon.
    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text
            .lines()
            .filter_map(|line| line.split(';').next())
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .map(|c| c.to_digit(16).expect("golden bytes are hex digits"))
            .collect();
        assert!(
            digits.len().is_multiple_of(2),
            "golden bytes come in pairs of digits"
        );
        digits
            .chunks_exact(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two hex digits are a byte"))
            .collect()
    }

    pub(crate) fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How a constant is shown in the page's table.
    trait Shown {
        fn shown(&self) -> String;
    }
    macro_rules! shown_as_numbers {
        ($($number:ty),*) => { $(impl Shown for $number {
            fn shown(&self) -> String { self.to_string() }
        })* };
    }
    shown_as_numbers!(u8, u32, u64, usize);
    impl Shown for [u8; 8] {
        fn shown(&self) -> String {
            String::from_utf8_lossy(self).into_owned()
        }
    }
    impl<const N: usize> Shown for [usize; N] {
        fn shown(&self) -> String {
            self.map(|width| width.to_string()).join(", ")
        }
    }

    macro_rules! constants {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name).to_owned(), $name.shown())),*]) };
    }

    fn constants_of_the_code() -> BTreeMap<String, String> {
        constants! {
            FORMAT_VERSION SEGMENT_MAGIC HINT_MAGIC MANIFEST_MAGIC IMAGE_MAGIC LABEL_MAGIC FOOTER_MAGIC END_MAGIC
            PREAMBLE_LEN CHECKSUM_LEN NEVER
            SEGMENT_HEADER_LEN RECORDS_START SEGMENT_KIND_USER SEGMENT_KIND_MERGED
            RECORD_KIND_MASK RECORD_END RECORD_PUT RECORD_TOMBSTONE
            RECORD_FLAG_EXPIRY RECORD_FLAG_COVERS RECORD_FLAG_BATCH RECORD_FLAG_MARK RECORD_FLAG_RESERVED
            VALUE_LEN_SHIFT VALUE_LEN_WIDTHS KEY_LEN_SHIFT KEY_LEN_WIDTHS
            KEYSPACE_SHIFT KEYSPACE_WIDTHS SEQ_DELTA_SHIFT SEQ_DELTA_WIDTHS WIDTHS_RESERVED
            RECORD_FIXED_LEN EXPIRY_LEN COVERS_LEN BATCH_LEN MARK_DISTANCE_LEN MARK_TIME_LEN
            RECORD_HEADER_LEN_MIN RECORD_HEADER_LEN_MAX
            FOOTER_LEN_MIN FOOTER_TAIL_LEN
            HINT_HEADER_LEN HINT_SECTION_HEADER_LEN
            HINT_COLUMN_EXPIRY HINT_COLUMN_COVERS HINT_COLUMN_KEY
            HINT_SEQ_WIDTHS HINT_LENGTH_WIDTHS HINT_HASH_LEN HINT_OFFSET_LEN HINT_KEY_REF_LEN
            HINT_ROW_LEN_MIN HINT_ROW_LEN_MAX
            MANIFEST_HEADER_LEN STORE_ID_LEN SECRET_LEN SEGMENT_ENTRY_LEN SEGMENT_ENTRY_SEALED
            KEYSPACE_ENTRY_LEN_MIN INDEX_HASH INDEX_ORDERED REPLACED_ENTRY_LEN LABEL_LEN
            IMAGE_HEADER_LEN IMAGE_SEGMENT_LEN_MIN IMAGE_SPACE_LEN IMAGE_BLOCK_HEADER_LEN
            KEY_LEN_MAX VALUE_LEN_MAX KEYSPACES_MAX KEYSPACE_NAME_LEN_MAX SEGMENT_BYTES_MAX MARK_TIME_MAX
        }
    }

    /// The rows of the page's table `| constant | value |`.
    fn constants_of_the_page() -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let table = PAGE
            .lines()
            .skip_while(|line| *line != "| constant | value |")
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        for row in table {
            let cells: Vec<&str> = row
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            let [_, name, value, ..] = cells[..] else {
                panic!("a row of two cells: {row}");
            };
            assert!(
                found.insert(name.to_owned(), value.to_owned()).is_none(),
                "{name} stands there twice"
            );
        }
        found
    }

    #[test]
    fn the_format_page_and_the_code_name_the_same_constants_with_the_same_values() {
        assert_eq!(constants_of_the_page(), constants_of_the_code());
    }

    #[test]
    fn every_public_constant_of_this_file_is_compared_with_the_page() {
        let compared = constants_of_the_code();
        for line in SOURCE.lines() {
            let Some(rest) = line.strip_prefix("pub(crate) const ") else {
                continue;
            };
            let Some((name, _)) = rest
                .split_once(": ")
                .filter(|(name, _)| !name.starts_with("fn "))
            else {
                continue;
            };
            assert!(
                compared.contains_key(name),
                "{name} is missing in the table of docs/format.md"
            );
        }
    }

    #[test]
    fn checksums_are_the_crc_that_the_page_describes() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc_seeded(crc(b"1234"), b"56789"), 0xCBF4_3926);
        assert_eq!(crc_seeded(0xDEAD_BEEF, b"123456789"), 0xE34F_7C78);
        assert!(PAGE.contains("0xCBF43926") && PAGE.contains("0xE34F7C78"));
    }

    #[test]
    fn integers_are_little_endian_and_reads_stay_inside() {
        let mut out = Vec::new();
        put_u16(&mut out, 0x0201);
        put_u32(&mut out, 0x0605_0403);
        put_u64(&mut out, 0x0E0D_0C0B_0A09_0807);
        assert_eq!(out, (1..=14).collect::<Vec<u8>>());
        assert_eq!(read_u32(&out, 2), Some(0x0605_0403));
        assert_eq!(read_u32(&out, 10), Some(0x0E0D_0C0B));
        for at in [11, 14, 15, usize::MAX] {
            assert_eq!(read_u32(&out, at), None);
        }
    }

    #[test]
    fn a_preamble_is_refused_when_short_foreign_damaged_or_newer() {
        let good = preamble(SEGMENT_MAGIC);
        assert_eq!(hex(&good), "504341534b53454701000000d2a79359");
        assert_eq!(check_preamble(&good, SEGMENT_MAGIC), Ok(()));
        assert_eq!(check_preamble(&good, HINT_MAGIC), Err(PreambleFault::Magic));
        for len in 0..PREAMBLE_LEN {
            assert_eq!(
                check_preamble(&good[..len], SEGMENT_MAGIC),
                Err(PreambleFault::Short)
            );
        }
        for bit in 0..PREAMBLE_LEN * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let fault = check_preamble(&bad, SEGMENT_MAGIC).expect_err("one bit is wrong");
            assert!(
                matches!(fault, PreambleFault::Magic | PreambleFault::Checksum),
                "bit {bit}: {fault}"
            );
        }
        let mut newer = good;
        newer[8] = 2;
        let sum = crc(&newer[..12]);
        newer[12..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(
            check_preamble(&newer, SEGMENT_MAGIC),
            Err(PreambleFault::Version(2))
        );
    }
}
