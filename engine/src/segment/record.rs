//! One record: encode, decode, verify. Pure functions on slices, on the path of every read and
//! write.
//!
//! Knows no segment file, only the place that checksums and sequence numbers are bound to. The
//! bytes are described in docs/format.md, "Record".

use std::fmt;
use std::ops::Range;

use crate::mutant::{self, Mutant};
use crate::segment::format::{
    BATCH_LEN, CHECKSUM_LEN, COVERS_LEN, EXPIRY_LEN, KEY_LEN_MAX, KEY_LEN_SHIFT, KEY_LEN_WIDTHS,
    KEYSPACE_SHIFT, KEYSPACE_WIDTHS, MARK_DISTANCE_LEN, MARK_TIME_LEN, MARK_TIME_MAX, NEVER,
    RECORD_END, RECORD_FLAG_BATCH, RECORD_FLAG_COVERS, RECORD_FLAG_EXPIRY, RECORD_FLAG_MARK,
    RECORD_FLAG_RESERVED, RECORD_HEADER_LEN_MIN, RECORD_KIND_MASK, RECORD_PUT, RECORD_TOMBSTONE,
    SEQ_DELTA_SHIFT, SEQ_DELTA_WIDTHS, VALUE_LEN_MAX, VALUE_LEN_SHIFT, VALUE_LEN_WIDTHS,
    WIDTHS_RESERVED, crc_seeded, wide,
};
use crate::segment::location::KeyspaceId;
use crate::segment::record::shape::{
    Fields, Head, Lengths, WINDOW_LEN, low_u32, width, width_code, window,
};

mod shape;

/// What the encoding of a record depends on besides its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) base_seq: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordKind {
    Put,
    Tombstone,
}

/// Said by a record about the moment at which it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// Every record up to this seq was on the device.
    pub(crate) synced_seq: u64,
    /// Store time was at least this.
    pub(crate) time_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordFields {
    pub(crate) kind: RecordKind,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) seq: u64,
    /// `NEVER` if the record does not expire, and in every tombstone.
    pub(crate) expiry: u64,
    /// 0 if no version that this record replaces outlives it.
    pub(crate) covers: u64,
    /// How many members of the same batch follow; 0 ends a batch.
    pub(crate) batch_follow: u32,
    pub(crate) mark: Option<Mark>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub(crate) fields: RecordFields,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    /// From the start of the record to its key.
    pub(crate) header_len: usize,
    pub(crate) header_crc: u32,
    /// 0 if there is no value.
    pub(crate) value_crc: u32,
}

impl RecordHeader {
    /// Header, key and value together.
    #[inline]
    pub(crate) fn record_len(&self) -> u64 {
        wide(self.header_len) + wide(self.key_len) + wide(self.value_len)
    }

    /// The key within `record`, which starts where the header does; empty if `record` ends before.
    #[inline]
    pub(crate) fn key<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        record
            .get(self.header_len..self.header_len + self.key_len)
            .unwrap_or_default()
    }

    /// Where the value lies, counted from the start of the record.
    #[inline]
    pub(crate) fn value_range(&self) -> Range<usize> {
        let start = self.header_len + self.key_len;
        start..start.saturating_add(self.value_len)
    }
}

/// Why there is no record here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordFault {
    /// Zeros, or fewer bytes than any record has: the end of the log.
    End,
    /// The record claims more bytes than there are.
    Truncated,
    /// The header checksum does not hold, or what it covers contradicts itself.
    Damaged,
    /// The checksum holds over a kind or flag that this version does not define.
    Reserved,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordFault::End => "there is no further record",
            RecordFault::Truncated => "the record claims more bytes than there are",
            RecordFault::Damaged => "the header or the key of the record is damaged",
            RecordFault::Reserved => "the record is of a kind that this release does not know",
        })
    }
}

/// Appends a record to `out` and tells what its header says.
///
/// The answer equals what `decode` finds; in particular a mark that the format cannot express is
/// left out, and a tombstone's expiry is `NEVER`. The limits of keys and values are the caller's to
/// check; they are asserted here.
#[inline]
pub(crate) fn encode(
    out: &mut Vec<u8>,
    place: Place,
    offset: u64,
    fields: &RecordFields,
    key: &[u8],
    value: &[u8],
) -> RecordHeader {
    let shape = Shape::of(place, fields, key.len(), value.len());
    let value_crc = if value.is_empty() {
        0
    } else {
        crc_seeded(value_seed(place, offset), value)
    };
    let mut head = Head {
        bytes: [0; WINDOW_LEN],
        len: CHECKSUM_LEN,
    };
    shape.write(&mut head, value_crc);

    let start = out.len();
    out.reserve(head.len + key.len() + value.len());
    out.extend_from_slice(head.bytes.get(..head.len).unwrap_or_default());
    out.extend_from_slice(key);
    // Header and key are summed where they now lie, in one pass, and the sum is put in front of
    // them.
    let covered = out.get(start + CHECKSUM_LEN..).unwrap_or_default();
    let header_crc = header_checksum(covered, place, offset);
    if let Some(checksum) = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
        *checksum = header_crc.to_le_bytes();
    }
    out.extend_from_slice(value);
    RecordHeader {
        fields: shape.fields,
        key_len: key.len(),
        value_len: value.len(),
        header_len: head.len,
        header_crc,
        value_crc,
    }
}

/// Reads the record at the front of `bytes`: header and key are verified, the value is known to
/// fit.
#[inline]
pub(crate) fn decode(bytes: &[u8], place: Place, offset: u64) -> Result<RecordHeader, RecordFault> {
    decode_header_only(bytes, wide(bytes.len()), place, offset)
}

/// As `decode`, for a `prefix` that need hold header and key only, while `available` bytes really
/// follow.
///
/// `Truncated` also if the prefix is too short for header and key; `header_and_key_len` tells how
/// many are needed.
#[inline]
pub(crate) fn decode_header_only(
    prefix: &[u8],
    available: u64,
    place: Place,
    offset: u64,
) -> Result<RecordHeader, RecordFault> {
    let parsed = parse(prefix, available, place)?;
    if !header_holds(prefix, &parsed.header, place, offset) {
        return Err(RecordFault::Damaged);
    }
    parsed.accept(available)
}

/// How long header and key claim to be together; not verified. `None` if `prefix` is too short to
/// tell or is no record.
#[inline]
pub(crate) fn header_and_key_len(prefix: &[u8]) -> Option<usize> {
    let mut padded = [0; WINDOW_LEN];
    let window = window(prefix, &mut padded);
    let lengths = Lengths::read(window)?;
    (prefix.len() >= RECORD_HEADER_LEN_MIN).then_some(lengths.header_len + lengths.key_len)
}

/// Whether the value of `record` matches its checksum; false too if it is not wholly there.
#[inline]
pub(crate) fn value_holds(record: &[u8], header: &RecordHeader, place: Place, offset: u64) -> bool {
    match record.get(header.value_range()) {
        Some([]) => true,
        Some(value) => crc_seeded(value_seed(place, offset), value) == header.value_crc,
        None => false,
    }
}

/// Whether all bytes are zero: preallocated space, or a tail that never reached the device.
pub(crate) fn is_all_zero(bytes: &[u8]) -> bool {
    // Whole chunks without a branch per byte, so that the compiler can use wide registers.
    let (chunks, rest) = bytes.as_chunks::<256>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |seen, byte| seen | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// A header whose checksum has not been looked at yet, and what to think of it if that holds.
pub(super) struct Parsed {
    pub(super) header: RecordHeader,
    fault: Option<RecordFault>,
}

impl Parsed {
    /// Called when the checksum holds: is it a record of this version, and is all of it there?
    #[inline]
    pub(super) fn accept(self, available: u64) -> Result<RecordHeader, RecordFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.header.record_len() > available {
            return Err(RecordFault::Truncated);
        }
        Ok(self.header)
    }

    /// Whether `accept` would let it pass; for the search behind damage, which asks before it
    /// spends a checksum.
    #[inline]
    pub(super) fn acceptable(&self, available: u64) -> bool {
        self.fault.is_none() && self.header.record_len() <= available
    }
}

/// Whether flags and widths are ones that a record of this version can have; false for nearly all
/// of any other bytes.
#[inline]
pub(super) fn may_start(bytes: &[u8]) -> bool {
    let Some([_, _, _, _, flags, widths]) = bytes.first_chunk() else {
        return false;
    };
    matches!(
        flags & (RECORD_KIND_MASK | RECORD_FLAG_RESERVED),
        RECORD_PUT | RECORD_TOMBSTONE
    ) && widths & WIDTHS_RESERVED == 0
        && width(*widths, KEYSPACE_SHIFT, KEYSPACE_WIDTHS) != 0
}

/// Takes a header apart; believes nothing but that header and key lie within `prefix`.
#[inline]
pub(super) fn parse(prefix: &[u8], available: u64, place: Place) -> Result<Parsed, RecordFault> {
    if available < wide(RECORD_HEADER_LEN_MIN) {
        return Err(RecordFault::End);
    }
    if prefix.len() < RECORD_HEADER_LEN_MIN {
        return Err(RecordFault::Truncated);
    }
    let mut padded = [0; WINDOW_LEN];
    let window = window(prefix, &mut padded);
    let mut fields = Fields { window, at: 0 };
    let header_crc = fields.take_u32();
    let flags = fields.take_u8();
    let widths = fields.take_u8();
    let Some(lengths) = Lengths::read(window) else {
        let end = header_crc == 0 && flags == RECORD_END;
        return Err(if end {
            RecordFault::End
        } else {
            RecordFault::Damaged
        });
    };
    if lengths.header_len + lengths.key_len > prefix.len() {
        return Err(RecordFault::Truncated);
    }
    fields.at += width(widths, KEY_LEN_SHIFT, KEY_LEN_WIDTHS)
        + width(widths, VALUE_LEN_SHIFT, VALUE_LEN_WIDTHS);
    let keyspace = fields.take(width(widths, KEYSPACE_SHIFT, KEYSPACE_WIDTHS));
    let seq_delta = fields.take(width(widths, SEQ_DELTA_SHIFT, SEQ_DELTA_WIDTHS));
    let value_crc = if lengths.value_len > 0 {
        fields.take_u32()
    } else {
        0
    };
    let seq = place.base_seq.checked_add(seq_delta);
    let (record_fields, optional_sound) = take_optional(&mut fields, flags, keyspace, seq);

    let known = matches!(flags & RECORD_KIND_MASK, RECORD_PUT | RECORD_TOMBSTONE)
        && (flags & RECORD_FLAG_RESERVED) == 0
        && (widths & WIDTHS_RESERVED) == 0;
    let tombstone = record_fields.kind == RecordKind::Tombstone;
    let sound =
        keyspace != 0 && seq.is_some() && optional_sound && !(tombstone && lengths.value_len > 0);
    Ok(Parsed {
        header: RecordHeader {
            fields: record_fields,
            key_len: lengths.key_len,
            value_len: lengths.value_len,
            header_len: lengths.header_len,
            header_crc,
            value_crc,
        },
        fault: match (known, sound) {
            (false, _) => Some(RecordFault::Reserved),
            (true, false) => Some(RecordFault::Damaged),
            (true, true) => None,
        },
    })
}

/// Reads the fields that flags announce; false beside them if they contradict the seq.
#[inline]
fn take_optional(
    fields: &mut Fields<'_>,
    flags: u8,
    keyspace: u64,
    seq: Option<u64>,
) -> (RecordFields, bool) {
    let has = |flag: u8| flags & flag != 0;
    let expiry = if has(RECORD_FLAG_EXPIRY) {
        fields.take(EXPIRY_LEN)
    } else {
        NEVER
    };
    let covers = if has(RECORD_FLAG_COVERS) {
        fields.take(COVERS_LEN)
    } else {
        0
    };
    let batch_follow = if has(RECORD_FLAG_BATCH) {
        fields.take_u32()
    } else {
        0
    };
    let seq = seq.unwrap_or(0);
    let mark = has(RECORD_FLAG_MARK).then(|| {
        let distance = fields.take(MARK_DISTANCE_LEN);
        (seq.checked_sub(distance), fields.take(MARK_TIME_LEN))
    });
    let sound = !matches!(mark, Some((None, _)));
    let mark = mark.and_then(|(synced_seq, time_ms)| {
        Some(Mark {
            synced_seq: synced_seq?,
            time_ms,
        })
    });
    let keyspace = KeyspaceId(low_u32(keyspace));
    let fields = match flags & RECORD_KIND_MASK {
        RECORD_TOMBSTONE => {
            let kind = RecordKind::Tombstone;
            RecordFields {
                kind,
                keyspace,
                seq,
                expiry: NEVER,
                covers,
                batch_follow,
                mark,
            }
        }
        _ => {
            let kind = RecordKind::Put;
            RecordFields {
                kind,
                keyspace,
                seq,
                expiry,
                covers,
                batch_follow,
                mark,
            }
        }
    };
    (fields, sound)
}

/// Whether the first checksum holds over header and key as they lie in `prefix`.
#[inline]
pub(super) fn header_holds(
    prefix: &[u8],
    header: &RecordHeader,
    place: Place,
    offset: u64,
) -> bool {
    prefix
        .get(CHECKSUM_LEN..header.header_len + header.key_len)
        .is_some_and(|covered| {
            header_checksum(covered, place, offset) == header.header_crc
                || mutant::is_on(Mutant::RecordHeaderNotChecked)
        })
}

/// The first checksum, over all of header and key behind it.
#[inline]
pub(crate) fn header_checksum(covered: &[u8], place: Place, offset: u64) -> u32 {
    crc_seeded(header_seed(place, offset), covered)
}

#[inline]
fn header_seed(place: Place, offset: u64) -> u32 {
    low_u32(place.salt) ^ low_u32(offset)
}

#[inline]
fn value_seed(place: Place, offset: u64) -> u32 {
    low_u32(place.salt >> 32) ^ low_u32(offset)
}

/// What `encode` writes: the fields as far as they can be expressed, and the bytes that describe
/// their shape.
struct Shape {
    flags: u8,
    widths: u8,
    fields: RecordFields,
    seq_delta: u64,
    mark_distance: u64,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    #[inline]
    fn of(place: Place, fields: &RecordFields, key_len: usize, value_len: usize) -> Shape {
        assert!(
            key_len <= KEY_LEN_MAX && value_len <= VALUE_LEN_MAX,
            "lengths are checked when a write is asked for"
        );
        assert!(fields.keyspace.0 != 0, "keyspace ids start at 1");
        let mut fields = *fields;
        let mut flags = match fields.kind {
            RecordKind::Put => RECORD_PUT,
            RecordKind::Tombstone => {
                assert!(value_len == 0, "a tombstone has no value");
                fields.expiry = NEVER;
                RECORD_TOMBSTONE
            }
        };
        let mut flag_if = |present: bool, flag: u8| flags |= if present { flag } else { 0 };
        flag_if(fields.expiry != NEVER, RECORD_FLAG_EXPIRY);
        flag_if(fields.covers != 0, RECORD_FLAG_COVERS);
        flag_if(fields.batch_follow != 0, RECORD_FLAG_BATCH);
        let mark_distance = expressible(&mut fields);
        flag_if(fields.mark.is_some(), RECORD_FLAG_MARK);
        let seq_delta = fields
            .seq
            .checked_sub(place.base_seq)
            .expect("no record is older than the base of its segment");
        let widths = width_code(wide(value_len), VALUE_LEN_WIDTHS) << VALUE_LEN_SHIFT
            | width_code(wide(key_len), KEY_LEN_WIDTHS) << KEY_LEN_SHIFT
            | width_code(u64::from(fields.keyspace.0), KEYSPACE_WIDTHS) << KEYSPACE_SHIFT
            | width_code(seq_delta, SEQ_DELTA_WIDTHS) << SEQ_DELTA_SHIFT;
        Shape {
            flags,
            widths,
            fields,
            seq_delta,
            mark_distance,
            key_len,
            value_len,
        }
    }

    /// Writes all but the header checksum.
    #[inline]
    fn write(&self, head: &mut Head, value_crc: u32) {
        let Shape {
            flags,
            widths,
            ref fields,
            ..
        } = *self;
        head.put(u64::from(flags), size_of_val(&flags));
        head.put(u64::from(widths), size_of_val(&widths));
        head.put(
            wide(self.key_len),
            width(widths, KEY_LEN_SHIFT, KEY_LEN_WIDTHS),
        );
        head.put(
            wide(self.value_len),
            width(widths, VALUE_LEN_SHIFT, VALUE_LEN_WIDTHS),
        );
        head.put(
            u64::from(fields.keyspace.0),
            width(widths, KEYSPACE_SHIFT, KEYSPACE_WIDTHS),
        );
        head.put(
            self.seq_delta,
            width(widths, SEQ_DELTA_SHIFT, SEQ_DELTA_WIDTHS),
        );
        if self.value_len > 0 {
            head.put(u64::from(value_crc), CHECKSUM_LEN);
        }
        if flags & RECORD_FLAG_EXPIRY != 0 {
            head.put(fields.expiry, EXPIRY_LEN);
        }
        if flags & RECORD_FLAG_COVERS != 0 {
            head.put(fields.covers, COVERS_LEN);
        }
        if flags & RECORD_FLAG_BATCH != 0 {
            head.put(u64::from(fields.batch_follow), BATCH_LEN);
        }
        if let Some(mark) = fields.mark {
            head.put(self.mark_distance, MARK_DISTANCE_LEN);
            head.put(mark.time_ms, MARK_TIME_LEN);
        }
    }
}

/// Makes the mark one that its fields can hold and answers its distance.
///
/// A synced seq too far back is left out, for a shorter distance would claim more than is true; a
/// time too late is lowered, for a mark says "at least".
#[inline]
fn expressible(fields: &mut RecordFields) -> u64 {
    let Some(mark) = fields.mark else { return 0 };
    match fields.seq.checked_sub(mark.synced_seq) {
        Some(distance) if distance <= u64::from(u32::MAX) => {
            fields.mark = Some(Mark {
                synced_seq: mark.synced_seq,
                time_ms: mark.time_ms.min(MARK_TIME_MAX),
            });
            distance
        }
        _ => {
            fields.mark = None;
            0
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::segment::format::RECORD_HEADER_LEN_MAX;
    use crate::segment::format::tests::{hex, unhex};
    use crate::segment::fuzz;
    use proptest::prelude::*;

    pub(crate) const PLACE: Place = Place {
        salt: 0x1122_3344_5566_7788,
        base_seq: 1000,
    };

    /// A put of `seq` in keyspace 1 with nothing else to say.
    pub(crate) fn plain(seq: u64) -> RecordFields {
        RecordFields {
            kind: RecordKind::Put,
            keyspace: KeyspaceId(1),
            seq,
            expiry: NEVER,
            covers: 0,
            batch_follow: 0,
            mark: None,
        }
    }

    fn encoded(offset: u64, fields: &RecordFields, key: &[u8], value: &[u8]) -> Vec<u8> {
        // Something stands in the buffer already: `encode` appends.
        let mut out = vec![0xEE; 3];
        let header = encode(&mut out, PLACE, offset, fields, key, value);
        let record = out.split_off(3);
        assert_eq!(out, [0xEE; 3]);
        assert_eq!(header.record_len(), wide(record.len()));
        assert_eq!(
            decode(&record, PLACE, offset),
            Ok(header),
            "encode tells what decode finds"
        );
        assert_eq!(header.key(&record), key);
        assert_eq!(record.get(header.value_range()), Some(value));
        assert!(value_holds(&record, &header, PLACE, offset));
        assert_eq!(
            header_and_key_len(&record),
            Some(header.header_len + key.len())
        );
        record
    }

    #[test]
    fn a_plain_put_has_these_bytes() {
        let record = encoded(160, &plain(1000), b"alpha", b"one");
        let golden = "c3e6adb5    ; header checksum
                      01          ; put
                      01          ; one byte each for value length, key length and keyspace, three for the seq
                      05          ; key length
                      03          ; value length
                      01          ; keyspace
                      000000      ; seq - base seq
                      48da8cf5    ; value checksum
                      616c706861  ; alpha
                      6f6e65      ; one";
        assert_eq!(hex(&record), hex(&unhex(golden)));
        let page = include_str!("../../../docs/format.md");
        for line in golden.lines() {
            let bytes = line.split(';').next().unwrap_or_default().trim();
            assert!(
                page.contains(&format!("| `{bytes}` |")),
                "the page's example shows {bytes}"
            );
        }
    }

    #[test]
    fn a_put_with_expiry_covers_and_batch_has_these_bytes() {
        let fields = RecordFields {
            keyspace: KeyspaceId(300),
            expiry: 0x018F_0000_0000,
            covers: NEVER,
            batch_follow: 1,
            ..plain(1001)
        };
        let golden = "861a49ae            ; header checksum
                      39                  ; put, EXPIRY, COVERS, BATCH
                      09                  ; keyspace of two bytes
                      04 04               ; key length, value length
                      2c01                ; keyspace
                      010000              ; seq - base seq
                      3065341d            ; value checksum
                      000000008f010000    ; expiry
                      ffffffffffffffff    ; covers until: never
                      01000000            ; one member of the batch follows
                      62657461            ; beta
                      74776f21            ; two!";
        assert_eq!(
            hex(&encoded(184, &fields, b"beta", b"two!")),
            hex(&unhex(golden))
        );
    }

    #[test]
    fn a_tombstone_has_these_bytes_and_no_expiry() {
        let fields = RecordFields {
            kind: RecordKind::Tombstone,
            keyspace: KeyspaceId(300),
            covers: 0x190,
            expiry: 77,
            ..plain(1002)
        };
        let golden = "bc643cf6            ; header checksum
                      12                  ; tombstone, COVERS
                      08                  ; no value length, keyspace of two bytes
                      05                  ; key length
                      2c01                ; keyspace
                      020000              ; seq - base seq
                      9001000000000000    ; covers until
                      616c706861          ; alpha";
        let record = encoded(229, &fields, b"alpha", b"");
        assert_eq!(hex(&record), hex(&unhex(golden)));
        assert_eq!(
            decode(&record, PLACE, 229).map(|header| header.fields.expiry),
            Ok(NEVER)
        );
    }

    #[test]
    fn an_empty_put_with_a_mark_has_these_bytes() {
        let mark = Mark {
            synced_seq: 1000,
            time_ms: 0x018F_1234_5678,
        };
        let fields = RecordFields {
            mark: Some(mark),
            ..plain(1003)
        };
        let golden = "7a765b01        ; header checksum
                      41              ; put, MARK
                      00              ; no value length; one byte each for key length and keyspace
                      00              ; key length
                      01              ; keyspace
                      030000          ; seq - base seq
                      03000000        ; seq - synced seq
                      785634128f01    ; store time";
        assert_eq!(hex(&encoded(254, &fields, b"", b"")), hex(&unhex(golden)));
    }

    #[test]
    fn the_widest_record_has_these_bytes() {
        let key: Vec<u8> = (0..300_u16)
            .map(|i| u8::try_from(i % 251).expect("below 251"))
            .collect();
        let seq = PLACE.base_seq + (1 << 50);
        let mark = Mark {
            synced_seq: seq - 9,
            time_ms: MARK_TIME_MAX,
        };
        let fields = RecordFields {
            keyspace: KeyspaceId(70_000),
            expiry: 5,
            covers: 6,
            batch_follow: 7,
            mark: Some(mark),
            ..plain(seq)
        };
        let golden = "d130771d            ; header checksum
                      79                  ; put with all flags
                      77                  ; all the widest
                      2c01                ; key length
                      70110100            ; value length
                      70110100            ; keyspace
                      0000000000000400    ; seq - base seq
                      81264f92            ; value checksum
                      0500000000000000    ; expiry
                      0600000000000000    ; covers until
                      07000000            ; batch members that follow
                      09000000            ; seq - synced seq
                      ffffffffffff        ; store time";
        let record = encoded(5, &fields, &key, &vec![0; 70_000]);
        assert_eq!(hex(&record[..RECORD_HEADER_LEN_MAX]), hex(&unhex(golden)));
        assert_eq!(record.len(), RECORD_HEADER_LEN_MAX + 300 + 70_000);
    }

    #[test]
    fn framing_of_a_plain_record_is_sixteen_bytes() {
        let record = encoded(160, &plain(PLACE.base_seq + 9), &[7; 32], &[8; 100]);
        assert_eq!(record.len() - 132, 16);
    }

    #[test]
    fn a_mark_that_cannot_be_expressed_is_left_out_or_says_less() {
        let marked = |synced_seq, time_ms| {
            let fields = RecordFields {
                mark: Some(Mark {
                    synced_seq,
                    time_ms,
                }),
                ..plain(1 << 40)
            };
            let record = encoded(160, &fields, b"k", b"v");
            decode(&record, PLACE, 160)
                .expect("just written")
                .fields
                .mark
        };
        let far = u64::from(u32::MAX);
        assert_eq!(
            marked((1 << 40) - far, 1),
            Some(Mark {
                synced_seq: (1 << 40) - far,
                time_ms: 1
            })
        );
        assert_eq!(
            marked((1 << 40) - far - 1, 1),
            None,
            "a shorter distance would claim too much"
        );
        assert_eq!(
            marked((1 << 40) + 1, 1),
            None,
            "nothing after the record is on the device"
        );
        assert_eq!(
            marked(1 << 39, u64::MAX),
            None,
            "a lowered time does not save a distance that is too long"
        );
        assert_eq!(
            marked((1 << 40) - 1, u64::MAX).map(|mark| mark.time_ms),
            Some(MARK_TIME_MAX)
        );
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused_or_shows_in_the_value_checksum() {
        let mark = Mark {
            synced_seq: 1000,
            time_ms: 9,
        };
        let full = RecordFields {
            expiry: 5,
            covers: 6,
            batch_follow: 2,
            mark: Some(mark),
            ..plain(1007)
        };
        let tombstone = RecordFields {
            kind: RecordKind::Tombstone,
            ..plain(1008)
        };
        for (fields, value) in [
            (plain(1000), &b"one"[..]),
            (full, b"value"),
            (plain(1001), b""),
            (tombstone, b""),
        ] {
            let record = encoded(160, &fields, b"alpha", value);
            for len in 0..record.len() {
                let fault = decode(&record[..len], PLACE, 160).expect_err("cut short");
                assert!(
                    matches!(fault, RecordFault::Truncated | RecordFault::End),
                    "cut at {len}: {fault}"
                );
            }
            for bit in 0..record.len() * 8 {
                let mut bad = record.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Ok(header) = decode(&bad, PLACE, 160) {
                    assert_eq!(
                        (header.fields, header.key(&bad)),
                        (fields, &b"alpha"[..]),
                        "bit {bit}"
                    );
                    assert!(!value_holds(&bad, &header, PLACE, 160), "bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_record_holds_only_at_its_offset_and_under_its_salt() {
        let record = encoded(160, &plain(1000), b"alpha", b"one");
        let header = decode(&record, PLACE, 160).expect("at its place");
        assert_eq!(decode(&record, PLACE, 161), Err(RecordFault::Damaged));
        assert!(!value_holds(&record, &header, PLACE, 161));
        for bit in 0..64 {
            let other = Place {
                salt: PLACE.salt ^ 1 << bit,
                ..PLACE
            };
            let refused =
                decode(&record, other, 160).is_err() || !value_holds(&record, &header, other, 160);
            assert!(refused, "bit {bit} of the salt");
        }
    }

    /// A record of the given bytes with a header checksum that holds.
    fn forged(bytes: &[u8], covered: usize) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let checksum = crc_seeded(header_seed(PLACE, 160), &out[CHECKSUM_LEN..covered]);
        out[..CHECKSUM_LEN].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    #[test]
    fn a_sound_checksum_over_nonsense_is_not_enough() {
        let record = encoded(160, &plain(1000), b"alpha", b"one");
        let covered = record.len() - 3;
        let with = |at: usize, value: u8| {
            let mut bytes = record.clone();
            bytes[at] = value;
            decode(&forged(&bytes, covered), PLACE, 160)
        };
        assert!(with(4, RECORD_PUT).is_ok());
        for kind in 3..8 {
            assert_eq!(with(4, kind), Err(RecordFault::Reserved), "kind {kind}");
        }
        assert_eq!(
            with(4, RECORD_PUT | RECORD_FLAG_RESERVED),
            Err(RecordFault::Reserved)
        );
        assert_eq!(
            with(5, record[5] | WIDTHS_RESERVED),
            Err(RecordFault::Reserved)
        );
        assert_eq!(with(4, RECORD_END), Err(RecordFault::Damaged));
        assert_eq!(
            with(4, RECORD_TOMBSTONE),
            Err(RecordFault::Damaged),
            "a tombstone with a value"
        );
        assert_eq!(with(8, 0), Err(RecordFault::Damaged), "keyspace 0");
        assert_eq!(
            with(5, record[5] | 3 << KEYSPACE_SHIFT),
            Err(RecordFault::Damaged),
            "a keyspace width of none"
        );
        let high = Place {
            base_seq: u64::MAX,
            ..PLACE
        };
        let mut bytes = record.clone();
        bytes[9] = 1;
        assert_eq!(
            decode(&forged(&bytes, covered), high, 160),
            Err(RecordFault::Damaged),
            "seq beyond 64 bits"
        );
    }

    #[test]
    fn widths_need_not_be_the_smallest() {
        let bytes = unhex("00000000 01 77 0100 01000000 01000000 0500000000000000 00000000 6b 76");
        let mut bytes = forged(&bytes, bytes.len());
        let value_checksum = crc_seeded(value_seed(PLACE, 160), b"v").to_le_bytes();
        bytes[24..28].copy_from_slice(&value_checksum);
        let bytes = forged(&bytes, bytes.len() - 1);
        let header = decode(&bytes, PLACE, 160).expect("legal, though no writer of ours writes it");
        assert_eq!(
            (header.fields, header.key(&bytes)),
            (plain(1005), &b"k"[..])
        );
        assert!(value_holds(&bytes, &header, PLACE, 160));
    }

    #[test]
    fn a_short_prefix_is_told_from_the_end() {
        let record = encoded(160, &plain(1000), b"alpha", b"one");
        let all = wide(record.len());
        let needed = header_and_key_len(&record[..20]).expect("the lengths stand in front");
        assert_eq!(needed, record.len() - 3);
        for len in 0..needed {
            assert_eq!(
                decode_header_only(&record[..len], all, PLACE, 160),
                Err(RecordFault::Truncated)
            );
        }
        for len in needed..=record.len() {
            let header = decode_header_only(&record[..len], all, PLACE, 160)
                .expect("header and key are there");
            assert_eq!(header.record_len(), all);
        }
        assert_eq!(
            decode_header_only(&record, all - 1, PLACE, 160),
            Err(RecordFault::Truncated)
        );
        assert_eq!(decode(&[0; 64], PLACE, 160), Err(RecordFault::End));
        assert_eq!(decode(&[], PLACE, 160), Err(RecordFault::End));
        assert_eq!(header_and_key_len(&[0; 64]), None);
    }

    #[test]
    fn zeros_are_recognised_at_any_length() {
        for len in [0, 1, 255, 256, 257, 511, 1000] {
            let mut bytes = vec![0; len];
            assert!(is_all_zero(&bytes));
            for at in [0, len / 2, len.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 1;
                    assert!(!is_all_zero(&bytes), "{at} of {len}");
                    bytes[at] = 0;
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        fuzz::seeded(2_000, 300, fuzz::fuzz_record);
    }

    prop_compose! {
        fn any_fields()(
            tombstone in any::<bool>(),
            keyspace in prop_oneof![1..256_u32, 256..65_536_u32, 65_536..=u32::MAX],
            delta in prop_oneof![0..1_u64 << 24, 0..1_u64 << 32, 0..1_u64 << 48, 0..=u64::MAX - PLACE.base_seq],
            expiry in prop_oneof![Just(NEVER), any::<u64>()],
            covers in prop_oneof![Just(0), Just(NEVER), any::<u64>()],
            batch_follow in prop_oneof![Just(0), any::<u32>()],
            mark in proptest::option::of((any::<u32>(), 0..=MARK_TIME_MAX)),
        ) -> RecordFields {
            let seq = PLACE.base_seq + delta;
            RecordFields {
                kind: if tombstone { RecordKind::Tombstone } else { RecordKind::Put },
                keyspace: KeyspaceId(keyspace),
                seq,
                expiry: if tombstone { NEVER } else { expiry },
                covers,
                batch_follow,
                mark: mark.map(|(distance, time_ms)| {
                    Mark { synced_seq: seq.saturating_sub(u64::from(distance)), time_ms }
                }),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_encoded_is_decoded(
            fields in any_fields(),
            key in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 200..600)],
            value in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 200..600)],
            offset in any::<u64>(),
        ) {
            let value = if fields.kind == RecordKind::Tombstone { Vec::new() } else { value };
            let record = encoded(offset, &fields, &key, &value);
            let header = decode(&record, PLACE, offset).expect("just written");
            prop_assert_eq!(header.fields, fields);
        }
    }
}
