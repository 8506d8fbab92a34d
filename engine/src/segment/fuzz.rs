//! The bodies of fuzz targets: each takes any bytes and panics if the format's code does what it
//! must not.
//!
//! The tests of each file call them with seeded bytes. Where a checksum would keep random bytes out, it is put right first, so that
//! what lies behind it is tried too.

use crate::segment::cursor::Cursor;
use crate::segment::format::{
    CHECKSUM_LEN, HINT_HEADER_LEN, HINT_MAGIC, IMAGE_HEADER_LEN, IMAGE_MAGIC, LABEL_MAGIC,
    MANIFEST_MAGIC, NEVER, PREAMBLE_LEN, RECORDS_START, STORE_ID_LEN, crc, narrow, preamble,
    put_u32, put_u64, wide,
};
use crate::segment::header::{Footer, SegmentHeader, SegmentKind, Summary};
use crate::segment::hint_file::{Hint, HintBinding};
use crate::segment::image_file::{self, Image};
use crate::segment::label;
use crate::segment::location::{KeyspaceId, SegmentId};
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, FileName};
use crate::segment::record::{self, Place, RecordFields, RecordHeader, RecordKind};
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// Any bytes as a record, at any place: refused, or equal to what is written again from it.
pub fn fuzz_record(bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes);
    let place = Place {
        salt: cursor.u64().unwrap_or(0),
        base_seq: cursor.u64().unwrap_or(0),
    };
    let offset = u64::from(cursor.u32().unwrap_or(0));
    let bytes = cursor.take(cursor.len()).unwrap_or_default();
    let _ = record::header_and_key_len(bytes);
    check_record(bytes, place, offset);
    let Ok(parsed) = record::parse(bytes, wide(bytes.len()), place) else {
        return;
    };
    // The same with a header checksum that holds.
    let mut forged = bytes.to_vec();
    let covered = parsed.header.header_len + parsed.header.key_len;
    let checksum = record::header_checksum(
        forged.get(CHECKSUM_LEN..covered).unwrap_or_default(),
        place,
        offset,
    );
    overwrite(&mut forged, 0, &checksum.to_le_bytes());
    check_record(&forged, place, offset);
}

fn check_record(bytes: &[u8], place: Place, offset: u64) {
    let Ok(header) = record::decode(bytes, place, offset) else {
        return;
    };
    assert!(
        header.record_len() <= wide(bytes.len()),
        "a decoded record lies within the bytes"
    );
    assert!(
        header.key(bytes).len() == header.key_len,
        "and so does its key"
    );
    let value = bytes
        .get(header.value_range())
        .expect("and so does its value");
    let _ = record::value_holds(bytes, &header, place, offset);
    let mut again = Vec::new();
    let written = record::encode(
        &mut again,
        place,
        offset,
        &header.fields,
        header.key(bytes),
        value,
    );
    assert!(
        written.fields == header.fields,
        "writing it again says the same"
    );
    assert!(
        again.len() <= narrow_len(header.record_len()),
        "in no more bytes"
    );
    assert!(
        record::decode(&again, place, offset) == Ok(written),
        "and can be read"
    );
}

/// Any bytes as a hint file: refused, or answering like a plain search through its rows.
pub fn fuzz_hint(bytes: &[u8]) {
    if let Ok((binding, hint)) = Hint::parse_unbound(bytes) {
        check_hint(&binding, &hint);
    }
    let mut forged = bytes.to_vec();
    forged.resize(forged.len().max(HINT_HEADER_LEN + CHECKSUM_LEN), 0);
    overwrite(&mut forged, 0, &preamble(HINT_MAGIC));
    let header_sum = crc(forged
        .get(PREAMBLE_LEN..HINT_HEADER_LEN - CHECKSUM_LEN)
        .unwrap_or_default());
    overwrite(
        &mut forged,
        HINT_HEADER_LEN - CHECKSUM_LEN,
        &header_sum.to_le_bytes(),
    );
    let end = forged.len() - CHECKSUM_LEN;
    let file_sum = crc(forged.get(..end).unwrap_or_default());
    overwrite(&mut forged, end, &file_sum.to_le_bytes());
    if let Ok((binding, hint)) = Hint::parse_unbound(forged) {
        check_hint(&binding, &hint);
    }
}

fn check_hint<B: AsRef<[u8]>>(binding: &HintBinding, hint: &Hint<B>) {
    let mut rows = 0;
    for (number, section) in hint.sections().iter().enumerate() {
        assert!(
            hint.section_for(section.keyspace()) == Some(number),
            "a section is found by its keyspace"
        );
        let mut last = (0, 0);
        for i in 0..section.row_count() {
            let row = hint.row(number, i);
            assert!((row.hash, row.seq) >= last, "rows are sorted");
            assert!(
                u64::from(row.offset) + row.len <= binding.data_len,
                "rows lie within the segment"
            );
            assert!(
                hint.key(number, i).is_some() == section.has_keys(),
                "keys are there or not"
            );
            last = (row.hash, row.seq);
            for wanted in [row.hash, row.hash.wrapping_add(1), row.hash.wrapping_sub(1)] {
                let naive = hint
                    .rows(number)
                    .take_while(|row| row.hash < wanted)
                    .count();
                assert!(
                    hint.lower_bound(number, wanted) == naive,
                    "the search agrees with counting"
                );
            }
            assert!(
                hint.contains_hash(section.keyspace(), row.hash),
                "what is there is found"
            );
        }
        rows += wide(section.row_count());
    }
    assert!(rows == binding.records, "a row for each record");
}

/// Any bytes as a manifest, as the body of one, and as a footer: refused, or equal to what is
/// written again from it.
pub fn fuzz_manifest(bytes: &[u8]) {
    let _ = Manifest::decode(bytes);
    let mut forged = preamble(MANIFEST_MAGIC).to_vec();
    put_u32(&mut forged, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    put_u32(&mut forged, crc(bytes));
    forged.extend_from_slice(bytes);
    if let Ok(manifest) = Manifest::decode(&forged) {
        assert!(manifest.encode() == forged, "a manifest has one encoding");
    }
    if let Ok(footer) = Footer::decode(bytes) {
        assert!(footer.encode() == bytes, "a footer has one encoding");
    }
}

/// Any bytes as the label of a checkpoint, and as one whose checksums hold: refused, or equal to what is
/// written again from it.
pub fn fuzz_label(bytes: &[u8]) {
    let mut forged = preamble(LABEL_MAGIC).to_vec();
    let id = bytes.get(..STORE_ID_LEN).unwrap_or(bytes);
    forged.extend_from_slice(id);
    put_u32(&mut forged, crc(id));
    forged.extend_from_slice(bytes.get(STORE_ID_LEN..).unwrap_or_default());
    for bytes in [bytes, &forged] {
        if let Ok(store_id) = label::decode(bytes) {
            assert!(
                label::encode(&store_id) == bytes,
                "a label has one encoding"
            );
        }
    }
    let whole = bytes.len() == STORE_ID_LEN;
    assert!(
        label::decode(&forged).is_ok() == whole,
        "a label is an id under its checksum, and nothing else"
    );
}

/// Any bytes as a file name: foreign, or exactly the name that is formatted for what it was taken
/// for.
pub fn fuzz_names(bytes: &[u8]) {
    let name = String::from_utf8_lossy(bytes);
    let formatted = match names::parse(&name) {
        FileName::Lock => names::LOCK.to_owned(),
        FileName::Reserve => names::RESERVE.to_owned(),
        FileName::Manifest(copy) => names::manifest(copy).to_owned(),
        FileName::Image(copy) => names::image(copy).to_owned(),
        FileName::Segment(id) => names::segment(id),
        FileName::Hint(id) => names::hint(id),
        FileName::Checkpoint => names::CHECKPOINT.to_owned(),
        FileName::Unfinished => names::UNFINISHED.to_owned(),
        FileName::Temporary | FileName::Foreign => return,
    };
    assert!(
        formatted == name,
        "a name is ours only if it is what we format"
    );
    assert!(
        names::parse(&names::temporary(&name)) != names::parse(&name),
        "a temporary name is another"
    );
}

/// Any bytes as a segment, and as a script that writes one and damages it.
pub fn fuzz_segment(bytes: &[u8]) {
    let _ = SegmentHeader::decode_file_start(bytes);
    for kind in [SegmentKind::User, SegmentKind::Merged] {
        let header = segment_header(kind);
        let mut file = header.encode_file_start().to_vec();
        file.extend_from_slice(bytes);
        check_tiling(&file, wide(file.len()), &header);
        check_tiling(bytes, wide(bytes.len()), &header);
        check_damaged(bytes, &header);
    }
}

fn segment_header(kind: SegmentKind) -> SegmentHeader {
    SegmentHeader {
        store_id: [1; 16],
        id: SegmentId(1),
        salt: 0x0123_4567_89AB_CDEF,
        base_seq: 10,
        prior_seq: 9,
        created_ms: 0,
        kind,
        life_class: 0,
    }
}

/// The items of a scan lie back to back from the first record to the end of the data.
fn check_tiling(file: &[u8], data_end: u64, header: &SegmentHeader) {
    let mut at = wide(RECORDS_START).min(data_end);
    for item in Scan::new(file, data_end, header, ScanOptions { check_values: true }) {
        let (offset, len) = match item {
            ScanItem::Record { offset, record, .. } => (offset, wide(record.len())),
            ScanItem::Gap { offset, len } => (offset, len),
            ScanItem::ZeroTail { offset } => (offset, data_end - offset),
        };
        assert!(offset == at && len > 0, "items lie back to back");
        at += len;
    }
    assert!(at == data_end, "up to the end");
}

/// Writes a segment by a script, damages one stretch of it, and holds what a scan finds against
/// what was written.
fn check_damaged(script: &[u8], header: &SegmentHeader) {
    let mut script = Cursor::new(script);
    let (Some(damage_at), Some(damage_len), Some(damage)) =
        (script.u16(), script.u8(), script.u8())
    else {
        return;
    };
    let (file, written) = write_segment(&mut script, header);
    let records_len = file.len() - RECORDS_START;
    if records_len == 0 {
        return;
    }
    let from = RECORDS_START + usize::from(damage_at) % records_len;
    let to = (from + 1 + usize::from(damage_len) % 40).min(file.len());
    let mut damaged = file.clone();
    for byte in damaged.get_mut(from..to).unwrap_or_default() {
        *byte = damage;
    }
    check_tiling(&damaged, wide(damaged.len()), header);
    let mut untouched = 0;
    for item in Scan::new(
        &damaged,
        wide(damaged.len()),
        header,
        ScanOptions { check_values: true },
    ) {
        if let ScanItem::Record {
            offset,
            header: found,
            record,
            value_ok,
        } = item
        {
            let original = written.iter().find(|(at, _)| *at == offset);
            assert!(
                original.is_some_and(|(_, was)| *was == found),
                "a scan finds only what was written"
            );
            let was = file
                .get(narrow_len(offset)..)
                .and_then(|rest| rest.get(..record.len()));
            assert!(
                !value_ok || was == Some(record),
                "a value that holds is the value that was written"
            );
            untouched += usize::from(value_ok);
        }
    }
    let end = |offset: u64, header: &RecordHeader| offset + header.record_len();
    let hit = written
        .iter()
        .filter(|(offset, header)| *offset < wide(to) && end(*offset, header) > wide(from))
        .count();
    assert!(
        untouched + hit >= written.len(),
        "damage costs only the records that it hit"
    );
}

fn write_segment(
    script: &mut Cursor<'_>,
    header: &SegmentHeader,
) -> (Vec<u8>, Vec<(u64, RecordHeader)>) {
    let mut file = header.encode_file_start().to_vec();
    let mut written = Vec::new();
    let mut summary = Summary::empty();
    let mut seq = header.base_seq;
    while let (Some(shape), Some(len)) = (script.u8(), script.u8()) {
        let kind = if shape & 3 == 0 {
            RecordKind::Tombstone
        } else {
            RecordKind::Put
        };
        let fields = RecordFields {
            kind,
            keyspace: KeyspaceId(u32::from(shape) + 1),
            seq,
            expiry: if shape & 4 != 0 && kind == RecordKind::Put {
                77
            } else {
                NEVER
            },
            covers: u64::from(shape & 8),
            batch_follow: u32::from(shape & 16),
            mark: None,
        };
        let (key_len, value_len) = (
            usize::from(len & 15),
            if shape & 3 == 0 { 0 } else { usize::from(len) },
        );
        let offset = summary.data_len;
        let key = vec![shape; key_len];
        let value = vec![len; value_len];
        let encoded = record::encode(&mut file, header.place(), offset, &fields, &key, &value);
        summary.add(&encoded);
        written.push((offset, encoded));
        seq += 1;
    }
    (file, written)
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes
        .get_mut(at..)
        .and_then(|rest| rest.get_mut(..with.len()))
    {
        place.copy_from_slice(with);
    }
}

fn narrow_len(len: u64) -> usize {
    u32::try_from(len).map_or(usize::MAX, narrow)
}

/// Calls `body` with `rounds` strings of up to `len_max` bytes, the same ones every time.
#[cfg(test)]
pub(crate) fn seeded(rounds: u32, len_max: usize, body: fn(&[u8])) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let below = |number: u64, limit: usize| usize::try_from(number % wide(limit)).unwrap_or(0);
    for round in 0..rounds {
        let len = below(next(), len_max + 1);
        // Small numbers and repeated bytes get further into a decoder than even noise does.
        let tame = round % 2 == 0;
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                let [byte, small, choice, ..] = next().to_le_bytes();
                match choice {
                    0..160 if tame => small & 3,
                    _ => byte,
                }
            })
            .collect();
        body(&bytes);
    }
}

/// Any bytes as a keydir image: refused, or with parts that lie within the file.
pub fn fuzz_image(bytes: &[u8]) {
    check_image(bytes);
    // The same with checksums that hold: a header that points at what follows it as the trailer.
    let mut cursor = Cursor::new(bytes);
    let blocks = cursor.take(cursor.len() / 4).unwrap_or_default();
    let trailer = cursor.take(cursor.len()).unwrap_or_default();
    let mut forged = preamble(IMAGE_MAGIC).to_vec();
    forged.extend_from_slice(&[7; 44]);
    put_u32(&mut forged, u32::try_from(trailer.len()).unwrap_or(0));
    put_u64(&mut forged, wide(IMAGE_HEADER_LEN + blocks.len()));
    put_u32(&mut forged, crc(trailer));
    let sum = crc(forged.get(PREAMBLE_LEN..).unwrap_or_default());
    put_u32(&mut forged, sum);
    forged.extend_from_slice(blocks);
    forged.extend_from_slice(trailer);
    check_image(&forged);
}

fn check_image(bytes: &[u8]) {
    let Ok(image) = Image::decode(bytes) else {
        return;
    };
    for space in &image.spaces {
        for block in image_file::blocks(bytes, space).unwrap_or_default() {
            let _ = block.body();
        }
    }
}
