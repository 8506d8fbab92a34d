//! What a segment says about itself: the header at its start, the summary of its records, the
//! footer at its end.
//!
//! Pure encoding and decoding; knows no file and no scan. The bytes are described in
//! docs/format.md, "Segment header" and "Footer". The footer repeats the header, so that neither
//! is the only copy.

use std::fmt;

use crate::mutant::{self, Mutant};
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    CHECKSUM_LEN, END_MAGIC, FOOTER_LEN_MIN, FOOTER_MAGIC, FOOTER_TAIL_LEN, NEVER, PREAMBLE_LEN,
    PreambleFault, RECORDS_START, SEGMENT_HEADER_LEN, SEGMENT_KIND_MERGED, SEGMENT_KIND_USER,
    SEGMENT_MAGIC, STORE_ID_LEN, check_preamble, crc, crc_seeded, narrow, preamble, put_u32,
    put_u64, read_u32, wide,
};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::SegmentId;
use crate::segment::record::{Place, RecordHeader, RecordKind};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) id: SegmentId,
    /// Random; enters every checksum of the segment's records, so that those of another file do not
    /// hold here.
    pub(crate) salt: u64,
    /// Sequence numbers are stored as distances from it.
    pub(crate) base_seq: u64,
    /// Of a user segment: the last seq of the log before it. What older user segments hold above it
    /// is void.
    pub(crate) prior_seq: u64,
    pub(crate) created_ms: u64,
    pub(crate) kind: SegmentKind,
    /// 0 in user segments and for records that never expire; else the class of remaining life of a
    /// merge output.
    pub(crate) life_class: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SegmentKind {
    /// Part of the one stream of user writes, in which seqs have no gaps.
    User,
    /// Written by a merge; holds any seqs in any order.
    Merged,
}

impl SegmentHeader {
    pub(crate) fn place(&self) -> Place {
        Place {
            salt: self.salt,
            base_seq: self.base_seq,
        }
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_LEN);
        out.extend_from_slice(&preamble(SEGMENT_MAGIC));
        out.extend_from_slice(&self.store_id);
        put_u64(&mut out, self.id.0);
        put_u64(&mut out, self.salt);
        put_u64(&mut out, self.base_seq);
        put_u64(&mut out, self.prior_seq);
        put_u64(&mut out, self.created_ms);
        out.push(match self.kind {
            SegmentKind::User => SEGMENT_KIND_USER,
            SegmentKind::Merged => SEGMENT_KIND_MERGED,
        });
        out.push(self.life_class);
        out.extend_from_slice(&[0; 2]);
        let checksum = crc(own_part(&out));
        put_u32(&mut out, checksum);
        out.try_into()
            .expect("the fields above are as long as the header")
    }

    /// The bytes before the first record: the header twice.
    pub(crate) fn encode_file_start(&self) -> [u8; RECORDS_START] {
        let copy = self.encode();
        [copy, copy]
            .concat()
            .try_into()
            .expect("records start behind two headers")
    }

    /// Reads one copy from the front of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        check_preamble(bytes, SEGMENT_MAGIC)?;
        let copy = bytes
            .first_chunk::<SEGMENT_HEADER_LEN>()
            .ok_or(HeaderFault::Short)?;
        let (covered, checksum) = copy.split_at(SEGMENT_HEADER_LEN - CHECKSUM_LEN);
        let fields = own_part(covered);
        let holds = read_u32(checksum, 0) == Some(crc(fields));
        if !holds && !mutant::is_on(Mutant::SegmentHeaderNotChecked) {
            return Err(HeaderFault::Checksum);
        }
        SegmentHeader::decode_fields(&mut Cursor::new(fields))
    }

    fn decode_fields(fields: &mut Cursor<'_>) -> Result<SegmentHeader, HeaderFault> {
        let header = SegmentHeader {
            store_id: fields.array().ok_or(HeaderFault::Short)?,
            id: SegmentId(fields.u64().ok_or(HeaderFault::Short)?),
            salt: fields.u64().ok_or(HeaderFault::Short)?,
            base_seq: fields.u64().ok_or(HeaderFault::Short)?,
            prior_seq: fields.u64().ok_or(HeaderFault::Short)?,
            created_ms: fields.u64().ok_or(HeaderFault::Short)?,
            kind: match fields.u8().ok_or(HeaderFault::Short)? {
                SEGMENT_KIND_USER => SegmentKind::User,
                SEGMENT_KIND_MERGED => SegmentKind::Merged,
                _ => return Err(HeaderFault::Damaged("the kind of segment is unknown")),
            },
            life_class: fields.u8().ok_or(HeaderFault::Short)?,
        };
        fields
            .zeros::<2>()
            .ok_or(HeaderFault::Damaged("reserved bytes are set"))?;
        Ok(header)
    }

    /// Reads the start of a file: the first of the two copies that is whole, and a note if the
    /// other one is not.
    ///
    /// A copy of a newer version rules, even beside a readable one: it was not made by a flipped
    /// bit.
    pub(crate) fn decode_file_start(
        bytes: &[u8],
    ) -> Result<(SegmentHeader, Option<&'static str>), HeaderFault> {
        let first = SegmentHeader::decode(bytes);
        let second = match bytes.get(SEGMENT_HEADER_LEN..) {
            Some(rest) => SegmentHeader::decode(rest),
            None => Err(HeaderFault::Short),
        };
        match (first, second) {
            (Err(newer @ HeaderFault::Version(_)), _)
            | (_, Err(newer @ HeaderFault::Version(_))) => Err(newer),
            (Ok(first), Ok(second)) if first == second => Ok((first, None)),
            (Ok(first), Ok(_)) => Ok((
                first,
                Some("the two copies of the segment header differ; the first is used"),
            )),
            (Ok(first), Err(_)) => Ok((
                first,
                Some("the second copy of the segment header is damaged"),
            )),
            (Err(_), Ok(second)) => Ok((
                second,
                Some("the first copy of the segment header is damaged"),
            )),
            (Err(fault), Err(_)) => Err(fault),
        }
    }
}

/// What the header's second checksum covers: all between the preamble and that checksum.
fn own_part(header: &[u8]) -> &[u8] {
    header.get(PREAMBLE_LEN..).unwrap_or_default()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeaderFault {
    Short,
    Magic,
    Checksum,
    /// Written by a newer release.
    Version(u32),
    /// The checksum holds, but no writer writes this.
    Damaged(&'static str),
}

impl From<PreambleFault> for HeaderFault {
    fn from(fault: PreambleFault) -> HeaderFault {
        match fault {
            PreambleFault::Short => HeaderFault::Short,
            PreambleFault::Magic => HeaderFault::Magic,
            PreambleFault::Checksum => HeaderFault::Checksum,
            PreambleFault::Version(version) => HeaderFault::Version(version),
        }
    }
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Short => f.write_str("the segment header is cut short"),
            HeaderFault::Magic => f.write_str("this is not a segment: its magic is another one"),
            HeaderFault::Checksum => {
                f.write_str("the checksum of the segment header does not hold")
            }
            HeaderFault::Version(version) => {
                write!(
                    f,
                    "the segment has format version {version}, which this release does not read"
                )
            }
            HeaderFault::Damaged(what) => write!(f, "the segment header is not valid: {what}"),
        }
    }
}

/// The end of a sealed segment. A segment sealed by recovery has none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Footer {
    pub(crate) header: SegmentHeader,
    pub(crate) summary: Summary,
    /// `None` in user segments, and only there.
    pub(crate) group: Option<MergeGroup>,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
}

/// What the records of a segment add up to; kept while they are written and again while they are
/// scanned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Summary {
    /// The offset at which the records end.
    pub(crate) data_len: u64,
    pub(crate) records: u64,
    pub(crate) tombstones: u64,
    /// 0 if there are no records; so is `max_seq`.
    pub(crate) min_seq: u64,
    pub(crate) max_seq: u64,
    /// Over puts; `NEVER` counts as the greatest. Without puts `NEVER`.
    pub(crate) min_expiry: u64,
    /// Over puts; without puts 0.
    pub(crate) max_expiry: u64,
    /// 0 if no record covers an older one.
    pub(crate) max_covers: u64,
    /// CRC-32 over the two checksum fields of each record in the order of the file.
    pub(crate) digest: u32,
}

impl Summary {
    pub(crate) fn empty() -> Summary {
        Summary {
            data_len: wide(RECORDS_START),
            records: 0,
            tombstones: 0,
            min_seq: 0,
            max_seq: 0,
            min_expiry: NEVER,
            max_expiry: 0,
            max_covers: 0,
            digest: 0,
        }
    }

    /// Counts the record that follows the ones counted so far.
    #[inline]
    pub(crate) fn add(&mut self, header: &RecordHeader) {
        let seq = header.fields.seq;
        self.min_seq = if self.records == 0 {
            seq
        } else {
            self.min_seq.min(seq)
        };
        self.max_seq = self.max_seq.max(seq);
        self.records += 1;
        match header.fields.kind {
            RecordKind::Put => {
                self.min_expiry = self.min_expiry.min(header.fields.expiry);
                self.max_expiry = self.max_expiry.max(header.fields.expiry);
            }
            RecordKind::Tombstone => self.tombstones += 1,
        }
        self.max_covers = self.max_covers.max(header.fields.covers);
        let checksums = u64::from(header.header_crc) | u64::from(header.value_crc) << 32;
        self.digest = crc_seeded(self.digest, &checksums.to_le_bytes());
        self.data_len += header.record_len();
    }

    /// What must hold of any summary; the caller compares it with the file's length.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.data_len < wide(RECORDS_START) {
            return Err("the records end before they begin");
        }
        if self.tombstones > self.records {
            return Err("there are more tombstones than records");
        }
        Ok(())
    }
}

/// The outputs of one merge that count only together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MergeGroup {
    /// The id of the first output.
    pub(crate) id: u64,
    pub(crate) size: u32,
    pub(crate) index: u32,
    /// All inputs of the merge; the same list in every output.
    pub(crate) inputs: Vec<SegmentId>,
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(
            self.group.is_some() == (self.header.kind == SegmentKind::Merged),
            "merge outputs, and no others, belong to a merge group"
        );
        let mut out = Vec::with_capacity(2 * FOOTER_LEN_MIN);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&self.header.encode());
        let summary = &self.summary;
        for number in [
            summary.data_len,
            summary.records,
            summary.tombstones,
            summary.min_seq,
            summary.max_seq,
            summary.min_expiry,
            summary.max_expiry,
            summary.max_covers,
        ] {
            put_u64(&mut out, number);
        }
        put_u32(&mut out, summary.digest);
        put_u32(&mut out, 0);
        let (id, size, index, inputs) = match &self.group {
            Some(group) => (group.id, group.size, group.index, group.inputs.as_slice()),
            None => (0, 0, 0, [].as_slice()),
        };
        put_u64(&mut out, id);
        put_u32(&mut out, size);
        put_u32(&mut out, index);
        put_u32(
            &mut out,
            u32::try_from(inputs.len()).expect("a merge has fewer than 2^32 inputs"),
        );
        for input in inputs {
            put_u64(&mut out, input.0);
        }
        KeyspaceEntry::encode_list(&self.keyspaces, &mut out);
        let checksum = crc(&out);
        let footer_len =
            u32::try_from(out.len() + FOOTER_TAIL_LEN).expect("a footer stays below 4 GiB");
        put_u32(&mut out, footer_len);
        put_u32(&mut out, checksum);
        out.extend_from_slice(&END_MAGIC);
        out
    }

    /// The length of the whole footer, told by the last bytes of a file; `None` if they are no
    /// footer's.
    ///
    /// The length is not yet verified; the caller compares it with the file's and hands so many
    /// bytes to `decode`.
    pub(crate) fn tail_len(last: &[u8]) -> Option<u32> {
        let tail = last.last_chunk::<FOOTER_TAIL_LEN>()?;
        let footer_len = read_u32(tail, 0)?;
        (tail.ends_with(&END_MAGIC) && narrow(footer_len) >= FOOTER_LEN_MIN).then_some(footer_len)
    }

    /// Reads a footer; `bytes` are all of it and nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Footer, FooterFault> {
        if bytes.len() < FOOTER_LEN_MIN {
            return Err(FooterFault::Short);
        }
        let footer_len = Footer::tail_len(bytes).ok_or(FooterFault::Magic)?;
        if narrow(footer_len) != bytes.len() {
            return Err(FooterFault::Damaged("its length is another one"));
        }
        let (body, tail) = bytes
            .split_last_chunk::<FOOTER_TAIL_LEN>()
            .ok_or(FooterFault::Short)?;
        let holds = read_u32(tail, size_of::<u32>()) == Some(crc(body));
        if !holds && !mutant::is_on(Mutant::FooterNotChecked) {
            return Err(FooterFault::Checksum);
        }
        let mut cursor = Cursor::new(body);
        if cursor.array() != Some(FOOTER_MAGIC) {
            return Err(FooterFault::Magic);
        }
        let header =
            SegmentHeader::decode(cursor.take(SEGMENT_HEADER_LEN).ok_or(FooterFault::Short)?)?;
        let summary =
            decode_summary(&mut cursor).ok_or(FooterFault::Damaged("its counts are cut short"))?;
        summary.check().map_err(FooterFault::Damaged)?;
        let group = decode_group(&mut cursor)?;
        if group.is_some() != (header.kind == SegmentKind::Merged) {
            return Err(FooterFault::Damaged(
                "merge group and kind of segment contradict each other",
            ));
        }
        let keyspaces = KeyspaceEntry::decode_list(&mut cursor).map_err(FooterFault::Damaged)?;
        if !cursor.is_empty() {
            return Err(FooterFault::Damaged("bytes are left over"));
        }
        Ok(Footer {
            header,
            summary,
            group,
            keyspaces,
        })
    }
}

fn decode_summary(cursor: &mut Cursor<'_>) -> Option<Summary> {
    let summary = Summary {
        data_len: cursor.u64()?,
        records: cursor.u64()?,
        tombstones: cursor.u64()?,
        min_seq: cursor.u64()?,
        max_seq: cursor.u64()?,
        min_expiry: cursor.u64()?,
        max_expiry: cursor.u64()?,
        max_covers: cursor.u64()?,
        digest: cursor.u32()?,
    };
    cursor.zeros::<4>()?;
    Some(summary)
}

fn decode_group(cursor: &mut Cursor<'_>) -> Result<Option<MergeGroup>, FooterFault> {
    const SHORT: FooterFault = FooterFault::Damaged("its merge group is cut short");
    let id = cursor.u64().ok_or(SHORT)?;
    let size = cursor.u32().ok_or(SHORT)?;
    let index = cursor.u32().ok_or(SHORT)?;
    let count = cursor.count(size_of::<SegmentId>()).ok_or(SHORT)?;
    if id == 0 {
        let empty = size == 0 && index == 0 && count == 0;
        return if empty {
            Ok(None)
        } else {
            Err(FooterFault::Damaged("a merge group has no id"))
        };
    }
    if index >= size {
        return Err(FooterFault::Damaged(
            "its place in the merge group is outside the group",
        ));
    }
    let mut inputs = Vec::with_capacity(count);
    for _ in 0..count {
        inputs.push(SegmentId(cursor.u64().ok_or(SHORT)?));
    }
    Ok(Some(MergeGroup {
        id,
        size,
        index,
        inputs,
    }))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FooterFault {
    Short,
    Magic,
    Checksum,
    /// Written by a newer release.
    Version(u32),
    /// The checksum holds, but no writer writes this.
    Damaged(&'static str),
}

impl From<HeaderFault> for FooterFault {
    fn from(fault: HeaderFault) -> FooterFault {
        match fault {
            HeaderFault::Version(version) => FooterFault::Version(version),
            _ => FooterFault::Damaged("its copy of the segment header is not valid"),
        }
    }
}

impl fmt::Display for FooterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FooterFault::Short => f.write_str("the footer is cut short"),
            FooterFault::Magic => f.write_str("there is no footer: its magic is missing"),
            FooterFault::Checksum => f.write_str("the checksum of the footer does not hold"),
            FooterFault::Version(version) => {
                write!(
                    f,
                    "the footer has format version {version}, which this release does not read"
                )
            }
            FooterFault::Damaged(what) => write!(f, "the footer is not valid: {what}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::options::IndexKind;
    use crate::segment::format::tests::{hex, unhex};
    use crate::segment::location::KeyspaceId;
    use crate::segment::record::{self, Mark, RecordFields, tests::plain};

    pub(crate) const STORE: [u8; 16] = [
        0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE,
        0xAF,
    ];

    /// The header of the example segment, which holds `example_records`.
    pub(crate) fn example_header() -> SegmentHeader {
        SegmentHeader {
            store_id: STORE,
            id: SegmentId(0x2A),
            salt: record::tests::PLACE.salt,
            base_seq: record::tests::PLACE.base_seq,
            prior_seq: 999,
            created_ms: 0x018F_0000_0001,
            kind: SegmentKind::User,
            life_class: 0,
        }
    }

    #[test]
    fn a_header_has_these_bytes_twice() {
        let golden = "504341534b534547 01000000 d2a79359    ; preamble
                      a0a1a2a3a4a5a6a7a8a9aaabacadaeaf      ; store id
                      2a00000000000000                      ; segment id
                      8877665544332211                      ; salt
                      e803000000000000                      ; base seq
                      e703000000000000                      ; prior seq
                      010000008f010000                      ; created at
                      01 00 0000                            ; user segment, life class, zeros
                      50434684                              ; checksum";
        let header = example_header();
        assert_eq!(hex(&header.encode()), hex(&unhex(golden)));
        assert_eq!(
            header.encode_file_start().to_vec(),
            [unhex(golden), unhex(golden)].concat()
        );
        assert_eq!(
            SegmentHeader::decode_file_start(&header.encode_file_start()),
            Ok((header, None))
        );
    }

    #[test]
    fn a_header_is_refused_when_cut_or_when_a_bit_is_flipped() {
        let good = example_header().encode();
        for len in 0..good.len() {
            assert_eq!(SegmentHeader::decode(&good[..len]), Err(HeaderFault::Short));
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            let fault = SegmentHeader::decode(&bad).expect_err("one bit is wrong");
            assert!(
                !matches!(fault, HeaderFault::Version(_)),
                "bit {bit}: {fault}"
            );
        }
    }

    #[test]
    fn one_damaged_copy_of_the_header_costs_nothing_but_a_note() {
        let good = example_header().encode_file_start();
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            let (header, note) =
                SegmentHeader::decode_file_start(&bad).expect("the other copy is whole");
            assert_eq!(header, example_header());
            let which = if at < SEGMENT_HEADER_LEN {
                "first"
            } else {
                "second"
            };
            assert!(
                note.is_some_and(|note| note.contains(which)),
                "byte {at}: {note:?}"
            );
        }
        let mut both = good;
        both[0] ^= 1;
        both[SEGMENT_HEADER_LEN + 20] ^= 1;
        assert_eq!(
            SegmentHeader::decode_file_start(&both),
            Err(HeaderFault::Magic)
        );
        let other = SegmentHeader {
            salt: 1,
            ..example_header()
        };
        let differ = [example_header().encode(), other.encode()].concat();
        let (header, note) = SegmentHeader::decode_file_start(&differ).expect("both are whole");
        assert_eq!((header, note.is_some()), (example_header(), true));
    }

    #[test]
    fn a_newer_version_rules_even_beside_a_copy_that_can_be_read() {
        for copy in [0, SEGMENT_HEADER_LEN] {
            let mut file = example_header().encode_file_start();
            let preamble = &mut file[copy..copy + PREAMBLE_LEN];
            preamble[8] = 9;
            let checksum = crc(&preamble[..PREAMBLE_LEN - CHECKSUM_LEN]).to_le_bytes();
            preamble[PREAMBLE_LEN - CHECKSUM_LEN..].copy_from_slice(&checksum);
            assert_eq!(
                SegmentHeader::decode_file_start(&file),
                Err(HeaderFault::Version(9))
            );
        }
    }

    /// The records whose bytes the tests of `record` spell out.
    pub(crate) fn example_records() -> [(RecordFields, &'static [u8], &'static [u8]); 4] {
        let put = RecordFields {
            keyspace: KeyspaceId(300),
            expiry: 0x018F_0000_0000,
            covers: NEVER,
            batch_follow: 1,
            ..plain(1001)
        };
        let tombstone = RecordFields {
            kind: RecordKind::Tombstone,
            expiry: NEVER,
            covers: 0x190,
            batch_follow: 0,
            ..put
        };
        let mark = Mark {
            synced_seq: 1000,
            time_ms: 0x018F_1234_5678,
        };
        [
            (plain(1000), b"alpha", b"one"),
            (put, b"beta", b"two!"),
            (
                RecordFields {
                    seq: 1002,
                    ..tombstone
                },
                b"alpha",
                b"",
            ),
            (
                RecordFields {
                    mark: Some(mark),
                    ..plain(1003)
                },
                b"",
                b"",
            ),
        ]
    }

    /// The example segment up to the end of its records, and what they add up to.
    pub(crate) fn example_segment() -> (Vec<u8>, Summary) {
        let header = example_header();
        let mut file = header.encode_file_start().to_vec();
        let mut summary = Summary::empty();
        for (fields, key, value) in example_records() {
            let at = summary.data_len;
            summary.add(&record::encode(
                &mut file,
                header.place(),
                at,
                &fields,
                key,
                value,
            ));
        }
        (file, summary)
    }

    pub(crate) fn example_keyspaces() -> Vec<KeyspaceEntry> {
        let entry = |id, kind, default_ttl_ms, created_ms, name: &str| KeyspaceEntry {
            id: KeyspaceId(id),
            kind,
            default_ttl_ms,
            created_ms,
            name: name.to_owned(),
        };
        vec![
            entry(1, IndexKind::Hash, 0, 0x11, "peers"),
            entry(300, IndexKind::Ordered, 60_000, 0x12, "log"),
        ]
    }

    fn example_footer() -> Footer {
        Footer {
            header: example_header(),
            summary: example_segment().1,
            group: None,
            keyspaces: example_keyspaces(),
        }
    }

    fn merged_footer() -> Footer {
        let header = SegmentHeader {
            id: SegmentId(0x2C),
            prior_seq: 0,
            created_ms: 0x018F_0000_0002,
            kind: SegmentKind::Merged,
            life_class: 3,
            ..example_header()
        };
        let group = MergeGroup {
            id: 0x2B,
            size: 2,
            index: 1,
            inputs: vec![SegmentId(7), SegmentId(9)],
        };
        Footer {
            header,
            summary: example_segment().1,
            group: Some(group),
            keyspaces: Vec::new(),
        }
    }

    #[test]
    fn a_summary_counts_records_and_goes_on_where_it_stopped() {
        let (file, summary) = example_segment();
        let expected = Summary {
            data_len: 275,
            records: 4,
            tombstones: 1,
            min_seq: 1000,
            max_seq: 1003,
            min_expiry: 0x018F_0000_0000,
            max_expiry: NEVER,
            max_covers: NEVER,
            digest: 0x8273_41AF,
        };
        assert_eq!(summary, expected);
        assert_eq!(file.len(), 275);
        let none = Summary::empty();
        assert_eq!(
            (none.min_seq, none.max_seq, none.min_expiry, none.max_expiry),
            (0, 0, NEVER, 0)
        );
        assert!(none.check().is_ok());
    }

    #[test]
    fn the_footer_of_a_user_segment_has_these_bytes() {
        let golden = "504341534b465452                      ; magic
                      504341534b534547 01000000 d2a79359    ; the header: preamble
                      a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 2a00000000000000 8877665544332211
                      e803000000000000 e703000000000000 010000008f010000 01 00 0000 50434684
                      1301000000000000 0400000000000000 0100000000000000    ; data length, records, tombstones
                      e803000000000000 eb03000000000000                     ; min seq, max seq
                      000000008f010000 ffffffffffffffff ffffffffffffffff    ; min expiry, max expiry, max covers until
                      af417382 00000000                                     ; digest, reserved
                      0000000000000000 00000000 00000000 00000000           ; no merge group
                      02000000                                              ; keyspaces
                      01000000 01 000000 0000000000000000 1100000000000000 0500 7065657273
                      2c010000 02 000000 60ea000000000000 1200000000000000 0300 6c6f67
                      04010000                                              ; length of the footer
                      cd78e2a0                                              ; checksum of all before the length
                      504341534b454e44                                      ; magic of the end";
        let footer = example_footer();
        let bytes = footer.encode();
        assert_eq!(hex(&bytes), hex(&unhex(golden)));
        assert_eq!(Footer::tail_len(&bytes), Some(260));
        assert_eq!(Footer::decode(&bytes), Ok(footer));
    }

    #[test]
    fn the_footer_of_a_merge_output_names_its_group() {
        let bytes = merged_footer().encode();
        let golden = "2b00000000000000    ; merge group: the id of the first output
                      02000000 01000000   ; size, index
                      02000000            ; inputs
                      0700000000000000 0900000000000000
                      00000000            ; no keyspaces
                      d8000000 2e3a4401 504341534b454e44";
        let golden = unhex(golden);
        assert_eq!(hex(&bytes[bytes.len() - golden.len()..]), hex(&golden));
        assert_eq!(Footer::decode(&bytes), Ok(merged_footer()));
    }

    #[test]
    fn a_footer_is_refused_when_cut_or_when_a_bit_is_flipped() {
        for bytes in [example_footer().encode(), merged_footer().encode()] {
            for len in 0..bytes.len() {
                assert!(
                    Footer::decode(&bytes[..len]).is_err(),
                    "the front, cut at {len}"
                );
                assert!(
                    Footer::decode(&bytes[bytes.len() - len..]).is_err(),
                    "the last {len} bytes"
                );
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Footer::decode(&bad).is_err(), "bit {bit}");
            }
        }
        assert_eq!(Footer::tail_len(&[0; 15]), None);
        assert_eq!(Footer::tail_len(&[0; 16]), None);
    }

    #[test]
    fn a_footer_that_contradicts_itself_is_refused() {
        let refused = |change: fn(&mut Footer)| {
            let mut footer = merged_footer();
            change(&mut footer);
            matches!(
                Footer::decode(&footer.encode()),
                Err(FooterFault::Damaged(_))
            )
        };
        assert!(!refused(|_| {}));
        assert!(
            refused(|footer| footer.summary.data_len = 159),
            "records that end before they begin"
        );
        assert!(
            refused(|footer| footer.summary.tombstones = 5),
            "more tombstones than records"
        );
        assert!(
            refused(|footer| footer.group.iter_mut().for_each(|group| group.index = 2)),
            "third of two"
        );
        assert!(
            refused(|footer| footer.group.iter_mut().for_each(|group| group.id = 0)),
            "no group id"
        );
    }
}
