//! Reads a hint file: what a sealed segment holds, values left out, sorted by hash within each
//! keyspace.
//!
//! A hint file is a cache: bound to one state of one segment, verified whole when opened, and
//! ignored if anything about it is wrong. Knows no file and no segment. The bytes are described in
//! docs/format.md, "Hint file".

use std::fmt;
use std::ops::Range;

use crate::mutant::{self, Mutant};
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    CHECKSUM_LEN, HINT_HASH_LEN, HINT_HEADER_LEN, HINT_MAGIC, HINT_ROW_LEN_MIN,
    HINT_SECTION_HEADER_LEN, NEVER, PREAMBLE_LEN, PreambleFault, RECORD_HEADER_LEN_MIN, RECORD_PUT,
    RECORD_TOMBSTONE, RECORDS_START, check_preamble, crc, narrow, read_u32, wide,
};
use crate::segment::hint_file::section::HintSection;
use crate::segment::location::{KeyspaceId, SegmentId};
use crate::segment::record::RecordKind;

pub(crate) mod section;

/// A verified hint file over its bytes, mapped or in memory.
#[derive(Debug)]
pub(crate) struct Hint<B: AsRef<[u8]>> {
    bytes: B,
    base_seq: u64,
    sections: Vec<HintSection>,
}

/// What a hint file says about one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HintRow {
    pub(crate) hash: u128,
    pub(crate) kind: RecordKind,
    pub(crate) seq: u64,
    pub(crate) offset: u32,
    /// Of the whole record: header, key and value.
    pub(crate) len: u64,
    pub(crate) expiry: u64,
    pub(crate) covers: u64,
}

/// The state of the segment that a hint file was made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HintBinding {
    pub(crate) segment: SegmentId,
    pub(crate) salt: u64,
    pub(crate) data_len: u64,
    pub(crate) records: u64,
    pub(crate) digest: u32,
    pub(crate) base_seq: u64,
    pub(crate) secret_id: u32,
}

impl<B: AsRef<[u8]>> Hint<B> {
    /// What it was parsed from.
    pub(crate) fn bytes(&self) -> &B {
        &self.bytes
    }

    /// Verifies all of a hint file and that it was made from the state of the segment that `expect`
    /// describes.
    pub(crate) fn open(bytes: B, expect: &HintBinding) -> Result<Hint<B>, HintFault> {
        let binding = decode_header(bytes.as_ref())?.0;
        let differs = binding.differs_from(expect);
        if let Some(what) = differs.filter(|_| !mutant::is_on(Mutant::HintTrusted)) {
            return Err(HintFault::Other(what));
        }
        Ok(Hint::parse(bytes, true)?.1)
    }

    /// Verifies all of a hint file without knowing its segment, and tells which one it says it was
    /// made from.
    pub(crate) fn parse_unbound(bytes: B) -> Result<(HintBinding, Hint<B>), HintFault> {
        Hint::parse(bytes, false)
    }

    /// With `distinct` no row may be there twice: it would stand in the place of another. A hint just
    /// made of a segment says what was found there, whatever that is.
    fn parse(bytes: B, distinct: bool) -> Result<(HintBinding, Hint<B>), HintFault> {
        let (binding, sections) = decode_file(bytes.as_ref())?;
        let hint = Hint {
            bytes,
            base_seq: binding.base_seq,
            sections,
        };
        for section in &hint.sections {
            hint.check_rows(section, &binding, distinct)
                .map_err(HintFault::Damaged)?;
        }
        Ok((binding, hint))
    }

    /// One for each keyspace that has records in the segment, by rising id.
    pub(crate) fn sections(&self) -> &[HintSection] {
        &self.sections
    }

    pub(crate) fn section_for(&self, keyspace: KeyspaceId) -> Option<usize> {
        self.sections
            .binary_search_by_key(&keyspace, |section| section.keyspace())
            .ok()
    }

    /// The row number `i` of a section; both indices must exist.
    #[inline]
    pub(crate) fn row(&self, section: usize, i: usize) -> HintRow {
        let section = self.section(section);
        self.decode_row(section, self.row_bytes(section, i)).0
    }

    /// All rows of a section in their order, by rising hash and then by rising seq.
    #[inline]
    pub(crate) fn rows(&self, section: usize) -> impl ExactSizeIterator<Item = HintRow> + '_ {
        self.rows_with_keys(section).map(|(row, _)| row)
    }

    /// As `rows`, each with its key if the section has keys.
    #[inline]
    pub(crate) fn rows_with_keys(
        &self,
        section: usize,
    ) -> impl ExactSizeIterator<Item = (HintRow, Option<&[u8]>)> + '_ {
        let section = self.section(section);
        let bytes = self.bytes.as_ref();
        let rows = bytes
            .get(section.rows_at..section.heap_at)
            .unwrap_or_default();
        let heap = heap(bytes, section);
        rows.chunks_exact(section.row_len()).map(move |row| {
            let (row, key) = self.decode_row(section, row);
            (row, key.and_then(|key| key.within(heap)))
        })
    }

    /// The key of a row; `None` in a section without keys.
    #[inline]
    pub(crate) fn key(&self, section: usize, i: usize) -> Option<&[u8]> {
        let section = self.section(section);
        self.decode_row(section, self.row_bytes(section, i))
            .1?
            .within(heap(self.bytes.as_ref(), section))
    }

    #[inline]
    pub(crate) fn hash_at(&self, section: usize, i: usize) -> u128 {
        let row = self.row_bytes(self.section(section), i);
        u128::from_le_bytes(*row.first_chunk().expect("a row starts with its hash"))
    }

    /// The number of the first row whose hash is not below `hash`; the count of rows if there is
    /// none.
    ///
    /// The hashes are keyed and hence even: a hash tells about where its row is, and what is found
    /// there tells how much further to go. Each guess leaves about the root of the error before it,
    /// so two of them touch the right page and the rest happens in a few cache lines. Should the
    /// hashes be uneven, which a stranger's file can bring about, doubling strides and bisection
    /// still end after a few dozen rows.
    pub(crate) fn lower_bound(&self, section: usize, hash: u128) -> usize {
        const GUESSES: u32 = 3;
        const NEAR: usize = 4;
        let target = upper_half(hash);
        let count = self.section(section).row_count();
        // All rows before `low` are below `hash`, none from `high` on is.
        let (mut low, mut high) = (0, count);
        let mut at = share(target, count);
        for _ in 0..GUESSES {
            let found = self.hash_at(section, at);
            let distance = share(upper_half(found).abs_diff(target), count);
            if found < hash {
                low = at + 1;
                at = low + distance;
            } else {
                high = at;
                at = high.saturating_sub(1 + distance);
            }
            if low == high || distance <= NEAR {
                break;
            }
            at = at.clamp(low, high - 1);
        }
        self.close_in(section, hash, low..high, at)
    }

    /// The answer of `lower_bound`, known to lie in `range` or at its end and thought to lie near
    /// `at`.
    fn close_in(&self, section: usize, hash: u128, range: Range<usize>, at: usize) -> usize {
        let Range {
            start: mut low,
            end: mut high,
        } = range;
        let mut stride = 1;
        let mut at = at.clamp(low, high.saturating_sub(1).max(low));
        while low < high {
            if self.hash_at(section, at) < hash {
                low = at + 1;
            } else {
                high = at;
            }
            let middle = low.midpoint(high);
            // From the end that was just moved, away from it, until a stride would overtake
            // bisection.
            at = if low == at + 1 {
                at.saturating_add(stride).min(middle)
            } else {
                at.saturating_sub(stride).max(middle)
            };
            stride = stride.saturating_mul(2);
        }
        low
    }

    /// Whether the segment holds any record of this key, tombstones included.
    pub(crate) fn contains_hash(&self, keyspace: KeyspaceId, hash: u128) -> bool {
        self.section_for(keyspace).is_some_and(|section| {
            let at = self.lower_bound(section, hash);
            at < self.section(section).row_count() && self.hash_at(section, at) == hash
        })
    }

    fn section(&self, section: usize) -> &HintSection {
        self.sections
            .get(section)
            .expect("the caller's index is one of `sections`")
    }

    #[inline]
    fn row_bytes(&self, section: &HintSection, i: usize) -> &[u8] {
        assert!(
            i < section.row_count(),
            "the caller's index is below the section's count of rows"
        );
        let at = section.rows_at + i * section.row_len();
        self.bytes
            .as_ref()
            .get(at..at + section.row_len())
            .expect("sections were bounded when the file was opened")
    }

    /// Takes a row apart. What it says was checked when the file was opened; should the bytes under
    /// a mapping have changed since, the answer is wrong, and is caught by the checksum of the
    /// record that it leads to.
    #[inline]
    fn decode_row(&self, section: &HintSection, row: &[u8]) -> (HintRow, Option<KeyRef>) {
        try_decode_row(section, self.base_seq, row).expect("a row is as long as its columns")
    }

    /// Looks once at every row, so that later nobody has to.
    fn check_rows(
        &self,
        section: &HintSection,
        binding: &HintBinding,
        distinct: bool,
    ) -> Result<(), &'static str> {
        let bytes = self.bytes.as_ref();
        let rows = bytes
            .get(section.rows_at..section.heap_at)
            .unwrap_or_default();
        let heap = heap(bytes, section);
        let mut last = None;
        for bytes in rows.chunks_exact(section.row_len()) {
            if !matches!(
                bytes.get(HINT_HASH_LEN),
                Some(&(RECORD_PUT | RECORD_TOMBSTONE))
            ) {
                return Err("a row is of an unknown kind");
            }
            let (row, key) = self.decode_row(section, bytes);
            if row.seq < self.base_seq {
                return Err("the seq of a row exceeds 64 bits");
            }
            let order = Some((row.hash, row.seq));
            if order < last {
                return Err("the rows are not sorted");
            }
            if distinct && order == last {
                return Err("a row is there twice");
            }
            last = order;
            let fits = u64::from(row.offset) >= wide(RECORDS_START)
                && row.len >= wide(RECORD_HEADER_LEN_MIN)
                && u64::from(row.offset) + row.len <= binding.data_len;
            if !fits {
                return Err("a row lies outside the segment");
            }
            if key.is_some_and(|key| key.within(heap).is_none()) {
                return Err("a row's key lies outside the keys of its section");
            }
        }
        Ok(())
    }
}

impl HintBinding {
    fn differs_from(&self, expect: &HintBinding) -> Option<&'static str> {
        [
            (self.segment == expect.segment, "another segment"),
            (
                self.salt == expect.salt,
                "another file of the same segment number",
            ),
            (self.base_seq == expect.base_seq, "another base seq"),
            (
                self.data_len == expect.data_len,
                "another length of the segment",
            ),
            (self.records == expect.records, "another number of records"),
            (self.digest == expect.digest, "other records"),
            (self.secret_id == expect.secret_id, "another hash secret"),
        ]
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
    }
}

/// Where in the keys of its section the key of a row lies.
#[derive(Clone, Copy)]
struct KeyRef {
    at: u32,
    len: u16,
}

impl KeyRef {
    #[inline]
    fn within(self, heap: &[u8]) -> Option<&[u8]> {
        heap.get(narrow(self.at)..)?.get(..usize::from(self.len))
    }
}

#[inline]
fn heap<'a>(bytes: &'a [u8], section: &HintSection) -> &'a [u8] {
    bytes
        .get(section.heap_at..section.heap_at + section.heap_len())
        .unwrap_or_default()
}

#[inline]
fn try_decode_row(
    section: &HintSection,
    base_seq: u64,
    row: &[u8],
) -> Option<(HintRow, Option<KeyRef>)> {
    let mut cursor = Cursor::new(row);
    let hash = cursor.u128()?;
    let kind = match cursor.u8()? {
        RECORD_TOMBSTONE => RecordKind::Tombstone,
        _ => RecordKind::Put,
    };
    let seq_delta = cursor.uint(section.seq_width())?;
    let offset = cursor.u32()?;
    let len = cursor.uint(section.length_width())?;
    let expiry = if section.has_expiries() {
        cursor.u64()?
    } else {
        NEVER
    };
    let covers = if section.has_covers() {
        cursor.u64()?
    } else {
        0
    };
    let key = match section.has_keys() {
        true => Some(KeyRef {
            at: cursor.u32()?,
            len: cursor.u16()?,
        }),
        false => None,
    };
    let expiry = if kind == RecordKind::Tombstone {
        NEVER
    } else {
        expiry
    };
    // A sum that wrapped shows as a seq below the base; `check_rows` refuses it.
    let seq = base_seq.wrapping_add(seq_delta);
    Some((
        HintRow {
            hash,
            kind,
            seq,
            offset,
            len,
            expiry,
            covers,
        },
        key,
    ))
}

/// The fixed part and the number of sections.
fn decode_header(bytes: &[u8]) -> Result<(HintBinding, Cursor<'_>), HintFault> {
    check_preamble(bytes, HINT_MAGIC)?;
    if bytes.len() < HINT_HEADER_LEN + CHECKSUM_LEN {
        return Err(HintFault::Short);
    }
    let fields = bytes
        .get(PREAMBLE_LEN..HINT_HEADER_LEN - CHECKSUM_LEN)
        .ok_or(HintFault::Short)?;
    let holds = read_u32(bytes, HINT_HEADER_LEN - CHECKSUM_LEN) == Some(crc(fields));
    if !holds && !mutant::is_on(Mutant::HintNotChecked) {
        return Err(HintFault::Checksum);
    }
    let mut cursor = Cursor::new(fields);
    let binding = decode_binding(&mut cursor).ok_or(HintFault::Short)?;
    Ok((binding, cursor))
}

fn decode_binding(cursor: &mut Cursor<'_>) -> Option<HintBinding> {
    Some(HintBinding {
        segment: SegmentId(cursor.u64()?),
        salt: cursor.u64()?,
        data_len: cursor.u64()?,
        records: cursor.u64()?,
        digest: cursor.u32()?,
        secret_id: cursor.u32()?,
        base_seq: cursor.u64()?,
    })
}

fn decode_file(bytes: &[u8]) -> Result<(HintBinding, Vec<HintSection>), HintFault> {
    let (binding, mut rest_of_header) = decode_header(bytes)?;
    let (covered, checksum) = bytes
        .split_last_chunk::<CHECKSUM_LEN>()
        .ok_or(HintFault::Short)?;
    let holds = u32::from_le_bytes(*checksum) == crc(covered);
    if !holds && !mutant::is_on(Mutant::HintNotChecked) {
        return Err(HintFault::Checksum);
    }
    let count = narrow(rest_of_header.u32().ok_or(HintFault::Short)?);
    let mut cursor = Cursor::new(covered.get(HINT_HEADER_LEN..).unwrap_or_default());
    if count > cursor.len() / (HINT_SECTION_HEADER_LEN + HINT_ROW_LEN_MIN) {
        return Err(HintFault::Damaged("there are more sections than bytes"));
    }
    let mut sections: Vec<HintSection> = Vec::with_capacity(count);
    let mut rows = 0;
    for _ in 0..count {
        let section =
            HintSection::decode(&mut cursor, covered.len()).map_err(HintFault::Damaged)?;
        if sections
            .last()
            .is_some_and(|last| last.keyspace() >= section.keyspace())
        {
            return Err(HintFault::Damaged("the sections are not sorted"));
        }
        rows += wide(section.row_count());
        sections.push(section);
    }
    if !cursor.is_empty() {
        return Err(HintFault::Damaged("bytes are left over"));
    }
    if rows != binding.records {
        return Err(HintFault::Damaged(
            "there are more or fewer rows than records",
        ));
    }
    Ok((binding, sections))
}

/// The upper 64 of 128 bits; the cast drops nothing that the shift left.
#[inline]
pub(super) fn upper_half(hash: u128) -> u64 {
    (hash >> 64) as u64
}

/// How many of `count` evenly spread hashes lie within `span` of 2^64; below `count`.
#[inline]
fn share(span: u64, count: usize) -> usize {
    let share = upper_half(u128::from(span) * u128::from(wide(count)));
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HintFault {
    Short,
    Magic,
    Checksum,
    /// Written by a newer release.
    Version(u32),
    /// A sound hint file, but made from something else; says from what.
    Other(&'static str),
    /// The checksums hold, but no writer writes this.
    Damaged(&'static str),
}

impl From<PreambleFault> for HintFault {
    fn from(fault: PreambleFault) -> HintFault {
        match fault {
            PreambleFault::Short => HintFault::Short,
            PreambleFault::Magic => HintFault::Magic,
            PreambleFault::Checksum => HintFault::Checksum,
            PreambleFault::Version(version) => HintFault::Version(version),
        }
    }
}

impl fmt::Display for HintFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HintFault::Short => f.write_str("the hint file is cut short"),
            HintFault::Magic => f.write_str("this is not a hint file: its magic is another one"),
            HintFault::Checksum => f.write_str("the checksum of the hint file does not hold"),
            HintFault::Version(version) => {
                write!(
                    f,
                    "the hint file has format version {version}, which this release does not read"
                )
            }
            HintFault::Other(what) => write!(f, "the hint file was made from {what}"),
            HintFault::Damaged(what) => write!(f, "the hint file is not valid: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::tests::{hex, unhex};
    use crate::segment::fuzz;
    use crate::segment::header::tests::{example_header, example_segment};
    use crate::segment::hint_builder::HintBuilder;
    use crate::segment::key_hash::{key_hash, secret_id};
    use crate::segment::record::RecordHeader;
    use crate::segment::scan::{Scan, ScanItem, ScanOptions};
    use proptest::prelude::*;

    fn secret() -> [u8; 16] {
        std::array::from_fn(|i| u8::try_from(i).expect("below 16"))
    }

    fn row_of(offset: u64, header: &RecordHeader, key: &[u8]) -> HintRow {
        HintRow {
            hash: key_hash(&secret(), header.fields.keyspace, key),
            kind: header.fields.kind,
            seq: header.fields.seq,
            offset: u32::try_from(offset).expect("small"),
            len: header.record_len(),
            expiry: header.fields.expiry,
            covers: header.fields.covers,
        }
    }

    /// The hint file of the example segment; keyspace 300 is ordered.
    fn example() -> (Vec<u8>, HintBinding) {
        let (file, summary) = example_segment();
        let header = example_header();
        let mut builder = HintBuilder::new();
        for item in Scan::new(
            &file,
            summary.data_len,
            &header,
            ScanOptions { check_values: true },
        ) {
            let ScanItem::Record {
                offset,
                header,
                record,
                ..
            } = item
            else {
                panic!("all records hold")
            };
            let key = header.key(record);
            let keyspace = header.fields.keyspace;
            builder.push(
                keyspace,
                row_of(offset, &header, key),
                (keyspace.0 == 300).then_some(key),
            );
        }
        let binding = HintBinding {
            segment: header.id,
            salt: header.salt,
            data_len: summary.data_len,
            records: summary.records,
            digest: summary.digest,
            base_seq: header.base_seq,
            secret_id: secret_id(&secret()),
        };
        (builder.finish(&binding), binding)
    }

    #[test]
    fn a_hint_file_has_these_bytes() {
        let golden = "504341534b484e54 01000000 7772cd71    ; preamble
                      2a00000000000000 8877665544332211     ; segment id, salt
                      1301000000000000 0400000000000000     ; data length, records
                      af417382 88e2cece                     ; digest, secret id
                      e803000000000000                      ; base seq
                      02000000                              ; sections
                      1e937239                              ; checksum from the segment id on
                      01000000 00 04 02 00                  ; keyspace, no optional columns, widths
                      0200000000000000 0000000000000000     ; rows, length of keys
                      fcb064e573b8faca36c362739f14ce25 01 00000000 a0000000 1800    ; alpha
                      6cd2ad710eae4fc1a1eef2aaa41c08f3 01 03000000 fe000000 1500    ; the empty key
                      2c010000 07 04 02 00                  ; keyspace, all optional columns, widths
                      0200000000000000 0900000000000000     ; rows, length of keys
                      136fb5d9b107489925e6f569d0e9bc96 01 01000000 b8000000 2d00    ; beta
                      000000008f010000 ffffffffffffffff     ; its expiry, covers until
                      00000000 0400                         ; its key
                      20ed858635d84d84aaf9fdc5cd05a19c 02 02000000 e5000000 1900    ; alpha, a tombstone
                      ffffffffffffffff 9001000000000000     ; no expiry, covers until
                      04000000 0500                         ; its key
                      62657461 616c706861                   ; keys
                      19be8c88                              ; checksum of all before it";
        let (bytes, binding) = example();
        assert_eq!(hex(&bytes), hex(&unhex(golden)));
        assert!(Hint::open(&bytes, &binding).is_ok());
    }

    #[test]
    fn rows_keys_and_sections_are_read_back() {
        let (bytes, binding) = example();
        let hint = Hint::open(bytes, &binding).expect("just written");
        assert_eq!(hint.sections().len(), 2);
        assert_eq!(hint.section_for(KeyspaceId(1)), Some(0));
        assert_eq!(hint.section_for(KeyspaceId(300)), Some(1));
        assert_eq!(hint.section_for(KeyspaceId(2)), None);
        assert!(!hint.sections()[0].has_keys() && hint.sections()[1].has_keys());
        assert_eq!(
            (hint.sections()[0].row_len(), hint.sections()[1].row_len()),
            (27, 49)
        );
        assert_eq!(
            (hint.key(0, 0), hint.key(1, 0), hint.key(1, 1)),
            (None, Some(&b"beta"[..]), Some(&b"alpha"[..]))
        );
        let tombstone = hint.row(1, 1);
        assert_eq!(
            (tombstone.kind, tombstone.seq, tombstone.offset),
            (RecordKind::Tombstone, 1002, 229)
        );
        assert_eq!(
            (tombstone.len, tombstone.expiry, tombstone.covers),
            (25, NEVER, 0x190)
        );
        assert_eq!(hint.rows(1).last(), Some(tombstone));
        let keys: Vec<_> = hint.rows_with_keys(1).map(|(_, key)| key).collect();
        assert_eq!(keys, [Some(&b"beta"[..]), Some(&b"alpha"[..])]);
        assert!(hint.contains_hash(KeyspaceId(300), tombstone.hash));
        assert!(!hint.contains_hash(KeyspaceId(1), tombstone.hash));
        assert!(!hint.contains_hash(KeyspaceId(9), tombstone.hash));
    }

    #[test]
    fn a_hint_file_of_another_state_of_the_segment_is_refused() {
        let (bytes, binding) = example();
        let others = [
            HintBinding {
                segment: SegmentId(1),
                ..binding
            },
            HintBinding { salt: 1, ..binding },
            HintBinding {
                data_len: binding.data_len + 1,
                ..binding
            },
            HintBinding {
                records: 5,
                ..binding
            },
            HintBinding {
                digest: 1,
                ..binding
            },
            HintBinding {
                base_seq: 1,
                ..binding
            },
            HintBinding {
                secret_id: 1,
                ..binding
            },
        ];
        for other in others {
            let fault = Hint::open(&bytes, &other).err();
            assert!(matches!(fault, Some(HintFault::Other(_))), "{fault:?}");
        }
        let (found, _) = Hint::parse_unbound(&bytes).expect("sound in itself");
        assert_eq!(found, binding);
    }

    #[test]
    fn a_hint_file_is_refused_when_cut_lengthened_or_when_a_bit_is_flipped() {
        let (good, binding) = example();
        for len in 0..good.len() {
            assert!(Hint::open(&good[..len], &binding).is_err(), "cut at {len}");
        }
        assert!(Hint::open([&good[..], &[0]].concat(), &binding).is_err());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let fault = Hint::open(&bad, &binding).expect_err("one bit is wrong");
            assert!(
                !matches!(fault, HintFault::Version(_)),
                "bit {bit}: {fault}"
            );
        }
    }

    #[test]
    fn every_byte_can_be_anything_under_sound_checksums_without_a_panic() {
        let (good, _) = example();
        for at in PREAMBLE_LEN..good.len() - CHECKSUM_LEN {
            for value in [0, 1, 2, 5, 0x7F, 0xFF] {
                let mut bytes = good.clone();
                bytes[at] = value;
                fuzz::fuzz_hint(&bytes);
            }
        }
        fuzz::seeded(2_000, 300, fuzz::fuzz_hint);
    }

    #[test]
    fn the_empty_hint_file_is_a_header_and_a_checksum() {
        let binding = HintBinding {
            records: 0,
            ..example().1
        };
        let bytes = HintBuilder::new().finish(&binding);
        assert_eq!(bytes.len(), HINT_HEADER_LEN + CHECKSUM_LEN);
        let hint = Hint::open(bytes, &binding).expect("just written");
        assert!(hint.sections().is_empty() && !hint.contains_hash(KeyspaceId(1), 0));
    }

    fn built(hashes: &[u128], wide_rows: bool) -> Hint<Vec<u8>> {
        let mut builder = HintBuilder::new();
        let far = u64::from(wide_rows) << 40;
        for (seq, hash) in (1_000..).zip(hashes) {
            let row = HintRow {
                hash: *hash,
                kind: RecordKind::Put,
                seq: seq + far,
                offset: 160,
                len: 100 + far / 4,
                expiry: NEVER,
                covers: 0,
            };
            builder.push(KeyspaceId(1), row, None);
        }
        let binding = HintBinding {
            data_len: 1 << 41,
            records: wide(hashes.len()),
            ..example().1
        };
        Hint::open(builder.finish(&binding), &binding).expect("just written")
    }

    #[test]
    fn the_search_agrees_with_bisection_on_even_hashes_and_on_hostile_ones() {
        let even: Vec<u128> = (0..20_000_u32)
            .map(|i| key_hash(&secret(), KeyspaceId(1), &i.to_le_bytes()))
            .collect();
        let crowded: Vec<u128> = (0..5_000_u128).map(|i| i * i * i * i).collect();
        let high: Vec<u128> = (0..5_000_u128).map(|i| u128::MAX - i / 3).collect();
        let same = vec![7_u128 << 64; 3_000];
        let steps: Vec<u128> = (0..3_000_u128).map(|i| 1 << (i % 128)).collect();
        for mut hashes in [even, crowded, high, same, steps] {
            let hint = built(&hashes, false);
            hashes.sort_unstable();
            assert!(hint.rows(0).map(|row| row.hash).eq(hashes.iter().copied()));
            let wanted = hashes
                .iter()
                .step_by(7)
                .flat_map(|hash| [*hash, hash.wrapping_add(1), hash.wrapping_sub(1)]);
            for wanted in wanted.chain([0, 1, u128::MAX, u128::MAX / 2]) {
                let expected = hashes.partition_point(|hash| *hash < wanted);
                assert_eq!(hint.lower_bound(0, wanted), expected);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn lookups_agree_with_a_sorted_list(
            mut hashes in prop::collection::vec(prop_oneof![0..50_u128, any::<u128>()], 1..200),
            wanted in prop::collection::vec(prop_oneof![0..60_u128, any::<u128>()], 1..50),
            wide_rows in any::<bool>(),
        ) {
            let hint = built(&hashes, wide_rows);
            prop_assert_eq!(hint.sections()[0].row_len(), if wide_rows { 34 } else { 27 });
            hashes.sort_unstable();
            for (i, hash) in hashes.iter().enumerate() {
                prop_assert_eq!(hint.hash_at(0, i), *hash);
            }
            for wanted in wanted.iter().chain(&hashes) {
                prop_assert_eq!(hint.lower_bound(0, *wanted), hashes.partition_point(|hash| hash < wanted));
                prop_assert_eq!(hint.contains_hash(KeyspaceId(1), *wanted), hashes.contains(wanted));
            }
        }
    }
}
