//! From a segment's bytes to its hint: what recovery does where a hint file is missing and the
//! worker does when a segment was sealed. Pure; the caller reads and writes the files.

use crate::options::IndexKind;
use crate::segment::format::{SECRET_LEN, wide};
use crate::segment::header::{SegmentHeader, Summary};
use crate::segment::hint_builder::HintBuilder;
use crate::segment::hint_file::{Hint, HintBinding, HintRow};
use crate::segment::key_hash::{key_hash, secret_id};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// A hint and what the scan for it met.
pub(crate) struct Hinted {
    pub(crate) bytes: Vec<u8>,
    /// Of the records found; `data_len` is where the data ends, damage included.
    pub(crate) summary: Summary,
    /// Offset and length of bytes in which no record could be found.
    pub(crate) gaps: Vec<(u64, u64)>,
}

/// Scans the records up to `data_end` and builds their hint.
pub(crate) fn build(
    bytes: &[u8],
    data_end: u64,
    header: &SegmentHeader,
    keyspaces: &[KeyspaceEntry],
    secret: &[u8; SECRET_LEN],
) -> Hinted {
    let mut summary = Summary::empty();
    let mut builder = HintBuilder::new();
    let mut gaps = Vec::new();
    let options = ScanOptions {
        check_values: false,
    };
    for item in Scan::new(bytes, data_end, header, options) {
        match item {
            ScanItem::Record {
                offset,
                header: found,
                record,
                ..
            } => {
                let fields = &found.fields;
                let key = found.key(record);
                let row = HintRow {
                    hash: key_hash(secret, fields.keyspace, key),
                    kind: fields.kind,
                    seq: fields.seq,
                    offset: u32::try_from(offset).expect("records start below 4 GiB"),
                    len: found.record_len(),
                    expiry: fields.expiry,
                    covers: fields.covers,
                };
                // A keyspace that is not known, being dropped, needs no keys.
                let ordered = keyspaces
                    .iter()
                    .any(|k| k.id == fields.keyspace && k.kind == IndexKind::Ordered);
                builder.push(fields.keyspace, row, ordered.then_some(key));
                summary.add(&found);
            }
            ScanItem::Gap { offset, len } => gaps.push((offset, len)),
            ScanItem::ZeroTail { offset } => {
                gaps.push((offset, data_end.saturating_sub(offset)));
            }
        }
    }
    summary.data_len = data_end.max(wide(crate::segment::format::RECORDS_START));
    let binding = binding(header, &summary, secret);
    Hinted {
        bytes: builder.finish(&binding),
        summary,
        gaps,
    }
}

/// Whether the hint holds the keys of all records of ordered keyspaces. One that was made when such a
/// keyspace was gone does not, and says nothing to a manifest that still has it.
pub(crate) fn has_all_keys<B: AsRef<[u8]>>(hint: &Hint<B>, keyspaces: &[KeyspaceEntry]) -> bool {
    let ordered = |id| {
        let is_it = |entry: &KeyspaceEntry| entry.id == id && entry.kind == IndexKind::Ordered;
        keyspaces.iter().any(is_it)
    };
    let mut sections = hint.sections().iter();
    sections.all(|section| section.has_keys() || !ordered(section.keyspace()))
}

/// What a hint file of this segment must say of itself.
pub(crate) fn binding(
    header: &SegmentHeader,
    summary: &Summary,
    secret: &[u8; SECRET_LEN],
) -> HintBinding {
    HintBinding {
        segment: header.id,
        salt: header.salt,
        data_len: summary.data_len,
        records: summary.records,
        digest: summary.digest,
        base_seq: header.base_seq,
        secret_id: secret_id(secret),
    }
}
