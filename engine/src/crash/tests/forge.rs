//! Files whose checksums hold although somebody changed them: what stands behind each checksum is tried, and
//! not the checksum. Segments, hint files, manifests, keydir images and labels are each sealed anew.

use std::ops::Range;

use crate::segment::format::{
    CHECKSUM_LEN, FOOTER_TAIL_LEN, HINT_HEADER_LEN, IMAGE_BLOCK_HEADER_LEN, IMAGE_HEADER_LEN,
    MANIFEST_HEADER_LEN, PREAMBLE_LEN, RECORDS_START, SEGMENT_HEADER_LEN, STORE_ID_LEN, crc,
    narrow, read_u32, wide,
};
use crate::segment::header::{Footer, SegmentHeader};
use crate::segment::names::{self, FileName};
use crate::segment::record;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// Where the records of a segment begin, before anybody changed it.
pub(super) fn records_of(bytes: &[u8]) -> Vec<u64> {
    let Ok((header, _)) = SegmentHeader::decode_file_start(bytes) else {
        return Vec::new();
    };
    let options = ScanOptions { check_values: true };
    let items = Scan::new(bytes, wide(bytes.len()), &header, options);
    let offset = |item| match item {
        ScanItem::Record { offset, .. } => Some(offset),
        _ => None,
    };
    items.filter_map(offset).collect()
}

/// Puts all checksums of a file of that name right; `original` says where its parts lie.
pub(super) fn sealed_anew(name: &str, original: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
    match names::parse(name) {
        FileName::Manifest(_) => put_sum(
            &mut bytes,
            MANIFEST_HEADER_LEN - CHECKSUM_LEN,
            MANIFEST_HEADER_LEN..original.len(),
        ),
        FileName::Hint(_) => {
            let header = PREAMBLE_LEN..HINT_HEADER_LEN - CHECKSUM_LEN;
            put_sum(&mut bytes, HINT_HEADER_LEN - CHECKSUM_LEN, header);
            let end = original.len() - CHECKSUM_LEN;
            put_sum(&mut bytes, end, 0..end);
        }
        FileName::Image(_) => seal_image(original, &mut bytes),
        FileName::Segment(_) => seal_segment(original, &mut bytes),
        FileName::Checkpoint => {
            let end = PREAMBLE_LEN + STORE_ID_LEN;
            put_sum(&mut bytes, end, PREAMBLE_LEN..end);
        }
        _ => {}
    }
    bytes
}

/// The checksum of `covered` at `at`.
fn put_sum(bytes: &mut [u8], at: usize, covered: Range<usize>) {
    let sum = crc(bytes.get(covered).unwrap_or_default());
    put(bytes, at, sum);
}

fn put(bytes: &mut [u8], at: usize, sum: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = sum.to_le_bytes();
    }
}

fn seal_header(bytes: &mut [u8], at: usize) {
    let end = at + SEGMENT_HEADER_LEN - CHECKSUM_LEN;
    put_sum(bytes, end, at + PREAMBLE_LEN..end);
}

/// Headers, the header checksum of each record as its own lengths have it, and the footer.
fn seal_segment(original: &[u8], bytes: &mut [u8]) {
    seal_header(bytes, 0);
    seal_header(bytes, SEGMENT_HEADER_LEN);
    if let Ok((header, _)) = SegmentHeader::decode_file_start(bytes) {
        for offset in records_of(original) {
            seal_record(bytes, &header, offset);
        }
    }
    let footer = Footer::tail_len(original).map_or(0, narrow);
    if footer > 0 && footer <= original.len() - RECORDS_START {
        let start = original.len() - footer;
        let tail = original.len() - FOOTER_TAIL_LEN;
        seal_header(bytes, start + CHECKSUM_LEN + CHECKSUM_LEN);
        put_sum(bytes, tail + CHECKSUM_LEN, start..tail);
    }
}

fn seal_record(bytes: &mut [u8], header: &SegmentHeader, offset: u64) {
    let at = usize::try_from(offset).expect("small");
    let Some(record) = bytes.get(at..) else {
        return;
    };
    let Some(len) = record::header_and_key_len(record) else {
        return;
    };
    let Some(covered) = record.get(CHECKSUM_LEN..len) else {
        return;
    };
    let sum = record::header_checksum(covered, header.place(), offset);
    put(bytes, at, sum);
}

/// Each block, the trailer, the header.
fn seal_image(original: &[u8], bytes: &mut [u8]) {
    let header_sum = IMAGE_HEADER_LEN - CHECKSUM_LEN;
    let trailer_sum = header_sum - CHECKSUM_LEN;
    let trailer_at = original
        .get(trailer_sum - size_of::<u64>()..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |at| u64::from_le_bytes(*at));
    let trailer_at = usize::try_from(trailer_at).expect("small");
    let mut at = IMAGE_HEADER_LEN;
    while at < trailer_at {
        let len = read_u32(original, at).map_or(0, narrow);
        let body = at + IMAGE_BLOCK_HEADER_LEN;
        put_sum(bytes, at + CHECKSUM_LEN, body..body + len);
        at = body + len;
    }
    put_sum(bytes, trailer_sum, trailer_at..original.len());
    put_sum(bytes, header_sum, PREAMBLE_LEN..header_sum);
}

/// Overwrites `width` bytes at `at` with the lowest bytes of `number`.
pub(super) fn overwritten(bytes: &[u8], at: usize, width: usize, number: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let new = number.to_le_bytes();
    for (byte, new) in bytes.iter_mut().skip(at).zip(new.iter().take(width)) {
        *byte = *new;
    }
    bytes
}
