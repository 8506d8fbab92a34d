//! Builds a hint file: takes the records of a segment in any order and lays them out sorted by
//! hash.
//!
//! Knows nothing of segments or files; `hint_file` reads what is built here. The bytes are
//! described in docs/format.md, "Hint file".

use std::collections::BTreeMap;

use crate::pieces::Pieces;
use crate::segment::format::{
    CHECKSUM_LEN, HINT_COLUMN_COVERS, HINT_COLUMN_EXPIRY, HINT_COLUMN_KEY, HINT_HEADER_LEN,
    HINT_LENGTH_WIDTHS, HINT_MAGIC, HINT_SEQ_WIDTHS, NEVER, PREAMBLE_LEN, RECORD_PUT,
    RECORD_TOMBSTONE, crc, narrow, preamble, put_u16, put_u32, put_u64, wide,
};
use crate::segment::hint_file::section::HintSection;
use crate::segment::hint_file::{HintBinding, HintRow, upper_half};
use crate::segment::location::KeyspaceId;
use crate::segment::record::RecordKind;

#[derive(Default)]
pub(crate) struct HintBuilder {
    sections: BTreeMap<KeyspaceId, SectionBuilder>,
    rows: u64,
}

impl HintBuilder {
    pub(crate) fn new() -> HintBuilder {
        HintBuilder::default()
    }

    /// Adds one record; `key` is given for all records of an ordered keyspace and for none of a
    /// hash keyspace.
    pub(crate) fn push(&mut self, keyspace: KeyspaceId, row: HintRow, key: Option<&[u8]>) {
        self.rows += 1;
        self.sections.entry(keyspace).or_default().push(row, key);
    }

    /// The bytes of the hint file of the segment that `binding` describes.
    pub(crate) fn finish(self, binding: &HintBinding) -> Vec<u8> {
        assert!(
            self.rows == binding.records,
            "a hint file has one row for each record of its segment"
        );
        let shapes: Vec<HintSection> = self
            .sections
            .iter()
            .map(|(keyspace, section)| section.shape(*keyspace, binding.base_seq))
            .collect();
        let sections_len: usize = shapes.iter().map(HintSection::encoded_len).sum();
        let mut out = Vec::with_capacity(HINT_HEADER_LEN + sections_len + CHECKSUM_LEN);
        put_header(&mut out, binding, shapes.len());
        for (section, shape) in self.sections.into_values().zip(&shapes) {
            put_section_header(&mut out, shape);
            section.put_rows(&mut out, shape, binding.base_seq);
        }
        let checksum = crc(&out);
        put_u32(&mut out, checksum);
        out
    }
}

/// A row while it waits to be sorted; the fields that order rows come first, in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WaitingRow {
    hash_high: u64,
    hash_low: u64,
    seq: u64,
    offset: u32,
    len_low: u32,
    len_high: u8,
    kind: u8,
    key_len: u16,
    /// The row's number in the order of pushing, where the columns that few sections have are kept.
    pushed: u32,
}

// Builders run beside writers and hold a row for each record of a segment.
const _: () = assert!(size_of::<WaitingRow>() == 40);

#[derive(Default)]
struct SectionBuilder {
    rows: Pieces<WaitingRow>,
    /// Empty as long as no row has an expiry; then one for each row so far.
    expiries: Pieces<u64>,
    /// Empty as long as no row covers others; then one for each row so far.
    covers: Pieces<u64>,
    /// Where the key of each row starts in `keys`; empty for a hash keyspace.
    key_starts: Pieces<u32>,
    keys: Pieces<u8>,
    max_seq: u64,
    max_len: u64,
}

impl SectionBuilder {
    fn push(&mut self, row: HintRow, key: Option<&[u8]>) {
        let before = self.rows.len();
        let with_keys = key.is_some();
        assert!(
            before == 0 || with_keys != self.key_starts.is_empty(),
            "all rows of a keyspace have keys, or none"
        );
        if let Some(key) = key {
            self.key_starts.push(
                u32::try_from(self.keys.len()).expect("the keys of a segment stay below 4 GiB"),
            );
            self.keys.extend(key.iter().copied());
        }
        let expiry = if row.kind == RecordKind::Tombstone {
            NEVER
        } else {
            row.expiry
        };
        push_sparse(&mut self.expiries, before, expiry, NEVER);
        push_sparse(&mut self.covers, before, row.covers, 0);
        self.max_seq = self.max_seq.max(row.seq);
        self.max_len = self.max_len.max(row.len);
        let [l0, l1, l2, l3, len_high, ..] = row.len.to_le_bytes();
        self.rows.push(WaitingRow {
            hash_high: upper_half(row.hash),
            hash_low: upper_half(row.hash << 64),
            seq: row.seq,
            offset: row.offset,
            len_low: u32::from_le_bytes([l0, l1, l2, l3]),
            len_high,
            kind: match row.kind {
                RecordKind::Put => RECORD_PUT,
                RecordKind::Tombstone => RECORD_TOMBSTONE,
            },
            key_len: u16::try_from(key.unwrap_or_default().len())
                .expect("lengths of keys are checked at the write"),
            pushed: u32::try_from(before).expect("a segment has fewer than 2^32 records"),
        });
    }

    fn shape(&self, keyspace: KeyspaceId, base_seq: u64) -> HintSection {
        let column = |present: bool, flag: u8| if present { flag } else { 0 };
        let max_delta = self
            .max_seq
            .checked_sub(base_seq)
            .expect("no record is older than the base of its segment");
        HintSection::shaped(
            keyspace,
            column(!self.expiries.is_empty(), HINT_COLUMN_EXPIRY)
                | column(!self.covers.is_empty(), HINT_COLUMN_COVERS)
                | column(!self.key_starts.is_empty(), HINT_COLUMN_KEY),
            smallest(HINT_SEQ_WIDTHS, max_delta),
            smallest(HINT_LENGTH_WIDTHS, self.max_len),
            self.rows.len(),
            self.keys.len(),
        )
    }

    /// Writes the rows sorted, then the keys in the same order, so that a reader of both reads
    /// forward only.
    fn put_rows(self, out: &mut Vec<u8>, shape: &HintSection, base_seq: u64) {
        let mut rows = self.rows.into_vec();
        rows.sort_unstable();
        let (expiries, covers) = (self.expiries.into_vec(), self.covers.into_vec());
        let mut heap_at = 0_u32;
        for row in &rows {
            let pushed = narrow(row.pushed);
            put_u64(out, row.hash_low);
            put_u64(out, row.hash_high);
            out.push(row.kind);
            let delta = row
                .seq
                .checked_sub(base_seq)
                .expect("no record is older than the base of its segment");
            put_uint(out, delta, shape.seq_width());
            put_u32(out, row.offset);
            put_uint(
                out,
                u64::from(row.len_high) << 32 | u64::from(row.len_low),
                shape.length_width(),
            );
            if let Some(expiry) = expiries.get(pushed) {
                put_u64(out, *expiry);
            }
            if let Some(covers) = covers.get(pushed) {
                put_u64(out, *covers);
            }
            if shape.has_keys() {
                put_u32(out, heap_at);
                put_u16(out, row.key_len);
                heap_at = heap_at
                    .checked_add(u32::from(row.key_len))
                    .expect("the keys of a segment stay below 4 GiB");
            }
        }
        let (key_starts, keys) = (self.key_starts.into_vec(), self.keys.into_vec());
        for row in rows.iter().filter(|_| shape.has_keys()) {
            let start = key_starts.get(narrow(row.pushed)).copied().unwrap_or(0);
            let start = narrow(start);
            out.extend_from_slice(
                keys.get(start..start + usize::from(row.key_len))
                    .unwrap_or_default(),
            );
        }
    }
}

/// Adds a value to a column that is not kept as long as all its values are `absent`.
fn push_sparse(column: &mut Pieces<u64>, rows_before: usize, value: u64, absent: u64) {
    if column.is_empty() {
        if value == absent {
            return;
        }
        column.extend(std::iter::repeat_n(absent, rows_before));
    }
    column.push(value);
}

/// The smallest of `widths` that holds `value`.
fn smallest<const N: usize>(widths: [usize; N], value: u64) -> usize {
    widths
        .into_iter()
        .find(|width| *width >= size_of::<u64>() || value >> (8 * width) == 0)
        .expect("a segment's seqs fit 8 bytes and its record lengths 5")
}

fn put_uint(out: &mut Vec<u8>, value: u64, width: usize) {
    out.extend_from_slice(value.to_le_bytes().get(..width).unwrap_or_default());
}

fn put_header(out: &mut Vec<u8>, binding: &HintBinding, section_count: usize) {
    out.extend_from_slice(&preamble(HINT_MAGIC));
    put_u64(out, binding.segment.0);
    put_u64(out, binding.salt);
    put_u64(out, binding.data_len);
    put_u64(out, binding.records);
    put_u32(out, binding.digest);
    put_u32(out, binding.secret_id);
    put_u64(out, binding.base_seq);
    put_u32(
        out,
        u32::try_from(section_count).expect("keyspace ids have 32 bits"),
    );
    let checksum = crc(out.get(PREAMBLE_LEN..).unwrap_or_default());
    put_u32(out, checksum);
}

fn put_section_header(out: &mut Vec<u8>, shape: &HintSection) {
    put_u32(out, shape.keyspace().0);
    out.push(shape.columns());
    put_uint(out, wide(shape.seq_width()), 1);
    put_uint(out, wide(shape.length_width()), 1);
    out.push(0);
    put_u64(out, wide(shape.row_count()));
    put_u64(out, wide(shape.heap_len()));
}
