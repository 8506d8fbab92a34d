//! The manifest: what belongs to a store, and how far it had come when this was written.
//!
//! Pure encoding and decoding of one copy; which copy wins and what a reader does without either is
//! written in docs/format.md, "Manifest" and "Rebuilding a manifest". Knows no file.

use std::fmt;

use crate::mutant::{self, Mutant};
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    MANIFEST_HEADER_LEN, MANIFEST_MAGIC, PREAMBLE_LEN, PreambleFault, REPLACED_ENTRY_LEN,
    SECRET_LEN, SEGMENT_ENTRY_LEN, SEGMENT_ENTRY_SEALED, SEGMENT_HEADER_LEN, STORE_ID_LEN,
    check_preamble, crc, narrow, preamble, put_u32, put_u64, read_u32,
};
use crate::segment::header::{HeaderFault, SegmentHeader, Summary};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::{KeyspaceId, SegmentId};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    /// Grows by one with each manifest written; of two copies the higher one wins.
    pub(crate) generation: u64,
    pub(crate) store_id: [u8; STORE_ID_LEN],
    /// Keys the hash of the keydir and of hint files.
    pub(crate) secret: [u8; SECRET_LEN],
    /// Above the id of every segment ever created up to now.
    pub(crate) next_segment: u64,
    pub(crate) next_keyspace: u32,
    /// The highest seq given out.
    pub(crate) seq_high: u64,
    /// Every record up to this seq was on the device.
    pub(crate) synced_seq: u64,
    /// Store time, which never runs backwards.
    pub(crate) time_ms: u64,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    pub(crate) segments: Vec<SegmentEntry>,
    /// Inputs declared dead whose removal may not have reached the device.
    pub(crate) replaced: Vec<SegmentId>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SegmentEntry {
    pub(crate) header: SegmentHeader,
    pub(crate) sealed: bool,
    /// With the footer; 0 if not sealed.
    pub(crate) file_len: u64,
    /// `Summary::empty()` if not sealed.
    pub(crate) summary: Summary,
}

impl SegmentEntry {
    /// The entry of a segment that is still written to.
    pub(crate) fn unsealed(header: SegmentHeader) -> SegmentEntry {
        SegmentEntry {
            header,
            sealed: false,
            file_len: 0,
            summary: Summary::empty(),
        }
    }
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.encode_body(&mut body);
        let mut out = Vec::with_capacity(MANIFEST_HEADER_LEN + body.len());
        out.extend_from_slice(&preamble(MANIFEST_MAGIC));
        put_u32(
            &mut out,
            u32::try_from(body.len()).expect("a manifest stays below 4 GiB"),
        );
        put_u32(&mut out, crc(&body));
        out.extend_from_slice(&body);
        out
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        put_u64(out, self.generation);
        out.extend_from_slice(&self.store_id);
        out.extend_from_slice(&self.secret);
        put_u64(out, self.next_segment);
        put_u32(out, self.next_keyspace);
        put_u32(out, 0);
        put_u64(out, self.seq_high);
        put_u64(out, self.synced_seq);
        put_u64(out, self.time_ms);
        KeyspaceEntry::encode_list(&self.keyspaces, out);
        put_u32(
            out,
            u32::try_from(self.segments.len()).expect("a store has fewer than 2^32 segments"),
        );
        for entry in &self.segments {
            entry.encode(out);
        }
        put_u32(
            out,
            u32::try_from(self.replaced.len()).expect("a store has fewer than 2^32 segments"),
        );
        for id in &self.replaced {
            put_u64(out, id.0);
        }
    }

    /// Reads one copy; `bytes` are the whole file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Manifest, ManifestFault> {
        check_preamble(bytes, MANIFEST_MAGIC)?;
        const SHORT: ManifestFault = ManifestFault::Damaged("it is cut short");
        let body_len = narrow(read_u32(bytes, PREAMBLE_LEN).ok_or(SHORT)?);
        let checksum = read_u32(bytes, PREAMBLE_LEN + size_of::<u32>()).ok_or(SHORT)?;
        let body = bytes.get(MANIFEST_HEADER_LEN..).ok_or(SHORT)?;
        if body.len() != body_len {
            return Err(ManifestFault::Damaged(
                "its length is another one than it says",
            ));
        }
        if crc(body) != checksum && !mutant::is_on(Mutant::ManifestNotChecked) {
            return Err(ManifestFault::Damaged("its checksum does not hold"));
        }
        let mut cursor = Cursor::new(body);
        let mut manifest = decode_fixed(&mut cursor).ok_or(SHORT)?;
        manifest.keyspaces =
            KeyspaceEntry::decode_list(&mut cursor).map_err(ManifestFault::Damaged)?;
        manifest.segments = decode_segments(&mut cursor)?;
        manifest.replaced = decode_replaced(&mut cursor).ok_or(SHORT)?;
        if !cursor.is_empty() {
            return Err(ManifestFault::Damaged("bytes are left over"));
        }
        manifest.check_ids().map_err(ManifestFault::Damaged)?;
        Ok(manifest)
    }

    /// No id twice, and none at or above the next one to give out: a segment would be created over
    /// another.
    fn check_ids(&self) -> Result<(), &'static str> {
        let listed = self.segments.iter().map(|entry| entry.header.id);
        let mut ids: Vec<SegmentId> = listed.chain(self.replaced.iter().copied()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("a segment is listed twice");
        }
        if ids.last().is_some_and(|last| last.0 >= self.next_segment) {
            return Err("the next segment id is taken");
        }
        if self
            .keyspaces
            .iter()
            .any(|entry| entry.id >= KeyspaceId(self.next_keyspace))
        {
            return Err("the next keyspace id is taken");
        }
        if self
            .segments
            .iter()
            .any(|entry| entry.header.store_id != self.store_id)
        {
            return Err("a listed segment belongs to another store");
        }
        Ok(())
    }
}

impl SegmentEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.header.encode());
        out.push(if self.sealed { SEGMENT_ENTRY_SEALED } else { 0 });
        if self.sealed {
            out.extend_from_slice(&[0; 3]);
            let summary = &self.summary;
            put_u32(out, summary.digest);
            for number in [
                summary.data_len,
                self.file_len,
                summary.records,
                summary.tombstones,
                summary.min_seq,
                summary.max_seq,
                summary.min_expiry,
                summary.max_expiry,
                summary.max_covers,
            ] {
                put_u64(out, number);
            }
        }
        // Of an unsealed segment nothing is known yet: zeros to the end of the entry.
        out.resize(start + SEGMENT_ENTRY_LEN, 0);
    }

    fn decode(entry: &[u8]) -> Result<SegmentEntry, ManifestFault> {
        const SHORT: ManifestFault = ManifestFault::Damaged("a segment entry is cut short");
        let mut cursor = Cursor::new(entry);
        let header = SegmentHeader::decode(cursor.take(SEGMENT_HEADER_LEN).ok_or(SHORT)?)?;
        match cursor.u8().ok_or(SHORT)? {
            0 if cursor
                .take(cursor.len())
                .is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) =>
            {
                Ok(SegmentEntry::unsealed(header))
            }
            SEGMENT_ENTRY_SEALED => {
                cursor.zeros::<3>().ok_or(ManifestFault::Damaged(
                    "reserved bytes of a segment entry are set",
                ))?;
                let (summary, file_len) = decode_sealed(&mut cursor).ok_or(SHORT)?;
                summary.check().map_err(ManifestFault::Damaged)?;
                if file_len < summary.data_len {
                    return Err(ManifestFault::Damaged(
                        "a segment's file is shorter than its records",
                    ));
                }
                Ok(SegmentEntry {
                    header,
                    sealed: true,
                    file_len,
                    summary,
                })
            }
            _ => Err(ManifestFault::Damaged(
                "the flags of a segment entry are unknown",
            )),
        }
    }
}

fn decode_sealed(cursor: &mut Cursor<'_>) -> Option<(Summary, u64)> {
    let digest = cursor.u32()?;
    let data_len = cursor.u64()?;
    let file_len = cursor.u64()?;
    let summary = Summary {
        data_len,
        records: cursor.u64()?,
        tombstones: cursor.u64()?,
        min_seq: cursor.u64()?,
        max_seq: cursor.u64()?,
        min_expiry: cursor.u64()?,
        max_expiry: cursor.u64()?,
        max_covers: cursor.u64()?,
        digest,
    };
    Some((summary, file_len))
}

/// The fields before the lists.
fn decode_fixed(cursor: &mut Cursor<'_>) -> Option<Manifest> {
    let generation = cursor.u64()?;
    let store_id = cursor.array()?;
    let secret = cursor.array()?;
    let next_segment = cursor.u64()?;
    let next_keyspace = cursor.u32()?;
    cursor.zeros::<4>()?;
    Some(Manifest {
        generation,
        store_id,
        secret,
        next_segment,
        next_keyspace,
        seq_high: cursor.u64()?,
        synced_seq: cursor.u64()?,
        time_ms: cursor.u64()?,
        keyspaces: Vec::new(),
        segments: Vec::new(),
        replaced: Vec::new(),
    })
}

fn decode_segments(cursor: &mut Cursor<'_>) -> Result<Vec<SegmentEntry>, ManifestFault> {
    const LONG: ManifestFault = ManifestFault::Damaged("the number of segments exceeds the bytes");
    let count = cursor.count(SEGMENT_ENTRY_LEN).ok_or(LONG)?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        segments.push(SegmentEntry::decode(
            cursor.take(SEGMENT_ENTRY_LEN).ok_or(LONG)?,
        )?);
    }
    Ok(segments)
}

fn decode_replaced(cursor: &mut Cursor<'_>) -> Option<Vec<SegmentId>> {
    let count = cursor.count(REPLACED_ENTRY_LEN)?;
    (0..count).map(|_| cursor.u64().map(SegmentId)).collect()
}

// Bounds the memory that a manifest can make its reader allocate by the length of the file.
const _: () = assert!(size_of::<SegmentEntry>() <= SEGMENT_ENTRY_LEN);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ManifestFault {
    /// Written by a newer release.
    Version(u32),
    Damaged(&'static str),
}

impl From<PreambleFault> for ManifestFault {
    fn from(fault: PreambleFault) -> ManifestFault {
        match fault {
            PreambleFault::Short => ManifestFault::Damaged("it is shorter than a preamble"),
            PreambleFault::Magic => ManifestFault::Damaged("its magic is another one"),
            PreambleFault::Checksum => {
                ManifestFault::Damaged("the checksum of its preamble does not hold")
            }
            PreambleFault::Version(version) => ManifestFault::Version(version),
        }
    }
}

impl From<HeaderFault> for ManifestFault {
    fn from(fault: HeaderFault) -> ManifestFault {
        match fault {
            HeaderFault::Version(version) => ManifestFault::Version(version),
            _ => ManifestFault::Damaged("the header in a segment entry is not valid"),
        }
    }
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestFault::Version(version) => {
                write!(
                    f,
                    "the manifest has format version {version}, which this release does not read"
                )
            }
            ManifestFault::Damaged(what) => write!(f, "the manifest is not valid: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::tests::{hex, unhex};
    use crate::segment::fuzz;
    use crate::segment::header::tests::{
        STORE, example_header, example_keyspaces, example_segment,
    };

    fn example() -> Manifest {
        let sealed = SegmentEntry {
            header: example_header(),
            sealed: true,
            file_len: 535,
            summary: example_segment().1,
        };
        let active = SegmentHeader {
            id: SegmentId(0x2B),
            salt: 0x99,
            base_seq: 1004,
            prior_seq: 1003,
            created_ms: 0x018F_0000_0003,
            ..example_header()
        };
        Manifest {
            generation: 7,
            store_id: STORE,
            secret: std::array::from_fn(|i| u8::try_from(i).expect("below 16")),
            next_segment: 0x2C,
            next_keyspace: 301,
            seq_high: 1010,
            synced_seq: 1003,
            time_ms: 0x018F_0000_0009,
            keyspaces: example_keyspaces(),
            segments: vec![sealed, SegmentEntry::unsealed(active)],
            replaced: vec![SegmentId(3), SegmentId(4)],
        }
    }

    #[test]
    fn a_manifest_has_these_bytes() {
        let golden = "504341534b4d414e 01000000 2660f3f8    ; preamble
                      e8010000 f1afd744                     ; length and checksum of the body
                      0700000000000000                      ; generation
                      a0a1a2a3a4a5a6a7a8a9aaabacadaeaf      ; store id
                      000102030405060708090a0b0c0d0e0f      ; hash secret
                      2c00000000000000                      ; next segment id
                      2d010000 00000000                     ; next keyspace id, zero
                      f203000000000000 eb03000000000000     ; highest seq, synced seq
                      090000008f010000                      ; store time
                      02000000                              ; keyspaces
                      01000000 01 000000 0000000000000000 1100000000000000 0500 7065657273
                      2c010000 02 000000 60ea000000000000 1200000000000000 0300 6c6f67
                      02000000                              ; segments
                      504341534b534547 01000000 d2a79359 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 2a00000000000000
                      8877665544332211 e803000000000000 e703000000000000 010000008f010000 01 00 0000 50434684
                      01 000000 af417382                    ; sealed, digest
                      1301000000000000 1702000000000000     ; data length, file length
                      0400000000000000 0100000000000000     ; records, tombstones
                      e803000000000000 eb03000000000000     ; min seq, max seq
                      000000008f010000 ffffffffffffffff ffffffffffffffff   ; min and max expiry, max covers until
                      504341534b534547 01000000 d2a79359 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 2b00000000000000
                      9900000000000000 ec03000000000000 eb03000000000000 030000008f010000 01 00 0000 f0ae3db5
                      00 000000 00000000                    ; not sealed, and nothing known
                      0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000
                      0000000000000000 0000000000000000 0000000000000000 0000000000000000
                      02000000                              ; replaced
                      0300000000000000 0400000000000000";
        let bytes = example().encode();
        assert_eq!(hex(&bytes), hex(&unhex(golden)));
        assert_eq!(Manifest::decode(&bytes), Ok(example()));
    }

    #[test]
    fn a_manifest_is_refused_when_cut_lengthened_or_when_a_bit_is_flipped() {
        let good = example().encode();
        for len in 0..good.len() {
            assert!(
                matches!(
                    Manifest::decode(&good[..len]),
                    Err(ManifestFault::Damaged(_))
                ),
                "cut at {len}"
            );
        }
        assert!(Manifest::decode(&[good.clone(), vec![0]].concat()).is_err());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(Manifest::decode(&bad), Err(ManifestFault::Damaged(_))),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = example();
            change(&mut manifest);
            matches!(
                Manifest::decode(&manifest.encode()),
                Err(ManifestFault::Damaged(_))
            )
        };
        assert!(!refused(|_| {}));
        assert!(!refused(|manifest| {
            manifest.segments.clear();
            manifest.keyspaces.clear();
            manifest.replaced.clear();
        }));
        assert!(
            refused(|manifest| manifest.replaced.push(SegmentId(0x2A))),
            "listed and replaced"
        );
        assert!(
            refused(|manifest| manifest.segments[1].header.id = SegmentId(0x2A)),
            "listed twice"
        );
        assert!(
            refused(|manifest| manifest.next_segment = 0x2B),
            "an id would be given out again"
        );
        assert!(
            refused(|manifest| manifest.next_keyspace = 300),
            "an id would be given out again"
        );
        assert!(
            refused(|manifest| manifest.segments[0].file_len = 1),
            "a file shorter than its records"
        );
        assert!(
            refused(|manifest| manifest.store_id = [0; 16]),
            "segments of another store"
        );
        assert!(
            refused(|manifest| manifest.segments[0].summary.tombstones = 9),
            "more tombstones than records"
        );
    }

    #[test]
    fn every_byte_of_the_body_can_be_anything_without_a_panic() {
        let good = example().encode();
        for at in MANIFEST_HEADER_LEN..good.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut body = good[MANIFEST_HEADER_LEN..].to_vec();
                body[at - MANIFEST_HEADER_LEN] = value;
                fuzz::fuzz_manifest(&body);
            }
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut bytes = example().encode();
        bytes[8] = 3;
        let checksum = crc(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&checksum);
        assert_eq!(Manifest::decode(&bytes), Err(ManifestFault::Version(3)));
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        fuzz::seeded(1_000, 700, fuzz::fuzz_manifest);
    }
}
