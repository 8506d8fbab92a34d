//! The keydir image as bytes: what a saved keydir says of the log it was made from, and the frames
//! of its blocks. What is in a block is the keydir's business.
//!
//! Pure functions on bytes: no file, no keydir. Written down in docs/format.md, "Keydir image".

use std::fmt;

use crate::mutant::{self, Mutant};
use crate::options::IndexKind;
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    CHECKSUM_LEN, IMAGE_BLOCK_HEADER_LEN, IMAGE_HEADER_LEN, IMAGE_MAGIC, IMAGE_SEGMENT_LEN_MIN,
    IMAGE_SPACE_LEN, INDEX_HASH, INDEX_ORDERED, PREAMBLE_LEN, PreambleFault, STORE_ID_LEN,
    check_preamble, crc, narrow, preamble, put_u16, put_u32, put_u64, read_u32, wide,
};
use crate::segment::live::Live;
use crate::segment::location::{KeyspaceId, SegmentId};

/// All of an image but its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Grows by one with each image written; of two the higher one is tried first.
    pub(crate) generation: u64,
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) secret_id: u32,
    /// Of the manifest that counted when it was made.
    pub(crate) manifest_generation: u64,
    /// Every record that the image may point at has a seq up to this one, and was on the device.
    pub(crate) last_seq: u64,
    pub(crate) segments: Vec<ImageSegment>,
    pub(crate) spaces: Vec<ImageSpace>,
}

/// What the image knows of a segment.
#[derive(Clone, Debug)]
pub(crate) struct ImageSegment {
    pub(crate) id: SegmentId,
    pub(crate) salt: u64,
    /// Up to here all records are part of the image; behind it some may be.
    pub(crate) covered: u64,
    /// As the locations in the blocks name it.
    pub(crate) slot: u16,
    pub(crate) live: Live,
}

/// Where the blocks of a keyspace lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ImageSpace {
    pub(crate) id: KeyspaceId,
    pub(crate) kind: IndexKind,
    pub(crate) entries: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// Why an image is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ImageFault {
    Preamble(PreambleFault),
    Damaged(&'static str),
}

impl From<PreambleFault> for ImageFault {
    fn from(fault: PreambleFault) -> ImageFault {
        ImageFault::Preamble(fault)
    }
}

impl fmt::Display for ImageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageFault::Preamble(fault) => fault.fmt(f),
            ImageFault::Damaged(what) => f.write_str(what),
        }
    }
}

const SHORT: ImageFault = ImageFault::Damaged("it is cut short");
const WRONG: ImageFault = ImageFault::Damaged("its parts do not fit together");

impl Image {
    /// Header and trailer; the trailer goes to `trailer_at`, where the blocks end.
    pub(crate) fn encode(&self, trailer_at: u64) -> (Vec<u8>, Vec<u8>) {
        let mut trailer = Vec::new();
        put_u32(&mut trailer, count(self.segments.len()));
        for segment in &self.segments {
            put_u64(&mut trailer, segment.id.0);
            put_u64(&mut trailer, segment.salt);
            put_u64(&mut trailer, segment.covered);
            put_u16(&mut trailer, segment.slot);
            put_u16(&mut trailer, 0);
            segment.live.encode(&mut trailer);
        }
        put_u32(&mut trailer, count(self.spaces.len()));
        for space in &self.spaces {
            put_u32(&mut trailer, space.id.0);
            let kind = match space.kind {
                IndexKind::Hash => INDEX_HASH,
                IndexKind::Ordered => INDEX_ORDERED,
            };
            trailer.extend_from_slice(&[kind, 0, 0, 0]);
            put_u64(&mut trailer, space.entries);
            put_u64(&mut trailer, space.offset);
            put_u64(&mut trailer, space.len);
        }
        let mut header = Vec::with_capacity(IMAGE_HEADER_LEN);
        header.extend_from_slice(&preamble(IMAGE_MAGIC));
        put_u64(&mut header, self.generation);
        header.extend_from_slice(&self.store_id);
        put_u64(&mut header, self.manifest_generation);
        put_u64(&mut header, self.last_seq);
        put_u32(&mut header, self.secret_id);
        put_u32(&mut header, count(trailer.len()));
        put_u64(&mut header, trailer_at);
        put_u32(&mut header, crc(&trailer));
        let sum = crc(header.get(PREAMBLE_LEN..).unwrap_or_default());
        put_u32(&mut header, sum);
        (header, trailer)
    }

    /// Reads header and trailer of a whole file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Image, ImageFault> {
        check_preamble(bytes, IMAGE_MAGIC)?;
        let header = bytes.get(PREAMBLE_LEN..IMAGE_HEADER_LEN).ok_or(SHORT)?;
        let (fields, sum) = header.split_at(header.len() - CHECKSUM_LEN);
        let checked = !mutant::is_on(Mutant::ImageNotChecked);
        if checked && read_u32(sum, 0) != Some(crc(fields)) {
            return Err(ImageFault::Damaged(
                "the checksum of its header does not hold",
            ));
        }
        let mut cursor = Cursor::new(fields);
        let generation = cursor.u64().ok_or(SHORT)?;
        let store_id = cursor.array().ok_or(SHORT)?;
        let manifest_generation = cursor.u64().ok_or(SHORT)?;
        let last_seq = cursor.u64().ok_or(SHORT)?;
        let secret_id = cursor.u32().ok_or(SHORT)?;
        let trailer_len = cursor.u32().ok_or(SHORT)?;
        let trailer_at = cursor.u64().ok_or(SHORT)?;
        let trailer_sum = cursor.u32().ok_or(SHORT)?;
        let at = usize::try_from(trailer_at).map_err(|_| SHORT)?;
        let trailer = bytes.get(at..).ok_or(SHORT)?;
        if trailer.len() != narrow(trailer_len) || at < IMAGE_HEADER_LEN {
            return Err(SHORT);
        }
        if checked && crc(trailer) != trailer_sum {
            return Err(ImageFault::Damaged(
                "the checksum of its trailer does not hold",
            ));
        }
        let mut cursor = Cursor::new(trailer);
        let segments = segments(&mut cursor).ok_or(WRONG)?;
        let spaces = spaces(&mut cursor, trailer_at).ok_or(WRONG)?;
        if !cursor.is_empty() {
            return Err(WRONG);
        }
        Ok(Image {
            generation,
            store_id,
            secret_id,
            manifest_generation,
            last_seq,
            segments,
            spaces,
        })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("65,536 segments and 1,024 keyspaces take less than 4 GiB")
}

/// By rising id, each slot once.
fn segments(cursor: &mut Cursor<'_>) -> Option<Vec<ImageSegment>> {
    let count = cursor.count(IMAGE_SEGMENT_LEN_MIN)?;
    let mut segments: Vec<ImageSegment> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = SegmentId(cursor.u64()?);
        let salt = cursor.u64()?;
        let covered = cursor.u64()?;
        let slot = cursor.u16()?;
        cursor.zeros::<2>()?;
        let live = Live::decode(cursor)?;
        if segments.last().is_some_and(|last| last.id >= id) {
            return None;
        }
        segments.push(ImageSegment {
            id,
            salt,
            covered,
            slot,
            live,
        });
    }
    Some(segments)
}

/// By rising id; the blocks of each behind those of the one before, from the header to the trailer.
fn spaces(cursor: &mut Cursor<'_>, trailer_at: u64) -> Option<Vec<ImageSpace>> {
    let count = cursor.count(IMAGE_SPACE_LEN)?;
    let mut spaces: Vec<ImageSpace> = Vec::with_capacity(count);
    let mut end = wide(IMAGE_HEADER_LEN);
    for _ in 0..count {
        let id = KeyspaceId(cursor.u32()?);
        let kind = match cursor.u8()? {
            INDEX_HASH => IndexKind::Hash,
            INDEX_ORDERED => IndexKind::Ordered,
            _ => return None,
        };
        cursor.zeros::<3>()?;
        let (entries, offset, len) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        if offset != end || spaces.last().is_some_and(|last| last.id >= id) {
            return None;
        }
        end = offset.checked_add(len)?;
        spaces.push(ImageSpace {
            id,
            kind,
            entries,
            offset,
            len,
        });
    }
    (end == trailer_at).then_some(spaces)
}

/// Puts a block into its frame.
pub(crate) fn frame(body: &[u8], out: &mut Vec<u8>) {
    put_u32(out, count(body.len()));
    put_u32(out, crc(body));
    out.extend_from_slice(body);
}

/// A block as it lies in the file; its checksum is not verified yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    sum: u32,
    body: &'a [u8],
}

impl<'a> Block<'a> {
    /// What is in it, if its checksum holds.
    pub(crate) fn body(&self) -> Option<&'a [u8]> {
        let checked = !mutant::is_on(Mutant::ImageNotChecked);
        (!checked || crc(self.body) == self.sum).then_some(self.body)
    }
}

/// The blocks of a keyspace; `None` if they do not fill its part of the file.
pub(crate) fn blocks<'a>(bytes: &'a [u8], space: &ImageSpace) -> Option<Vec<Block<'a>>> {
    let start = usize::try_from(space.offset).ok()?;
    let end = start.checked_add(usize::try_from(space.len).ok()?)?;
    let mut cursor = Cursor::new(bytes.get(start..end)?);
    let mut blocks = Vec::new();
    while !cursor.is_empty() {
        let len = narrow(cursor.u32()?);
        let sum = cursor.u32()?;
        let body = cursor.take(len)?;
        blocks.push(Block { sum, body });
    }
    Some(blocks)
}

const _: () = assert!(IMAGE_BLOCK_HEADER_LEN == 4 + CHECKSUM_LEN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::NEVER;
    use crate::segment::format::tests::hex;
    use crate::segment::fuzz;

    const PAGE: &str = include_str!("../../../docs/format.md");

    /// The example of docs/format.md.
    fn example() -> (Image, Vec<u8>) {
        let mut live = Live::default();
        live.add(KeyspaceId(1), 19, NEVER, 0);
        live.tombstone_bytes = 24;
        let mut blocks = Vec::new();
        frame(b"a block", &mut blocks);
        let image = Image {
            generation: 3,
            store_id: std::array::from_fn(|i| u8::try_from(i).expect("below 16")),
            secret_id: 0xCECE_E288,
            manifest_generation: 7,
            last_seq: 42,
            segments: vec![ImageSegment {
                id: SegmentId(1),
                salt: 0x0123_4567_89AB_CDEF,
                covered: 203,
                slot: 5,
                live,
            }],
            spaces: vec![ImageSpace {
                id: KeyspaceId(1),
                kind: IndexKind::Hash,
                entries: 1,
                offset: wide(IMAGE_HEADER_LEN),
                len: wide(blocks.len()),
            }],
        };
        let (mut bytes, trailer) = image.encode(wide(IMAGE_HEADER_LEN + blocks.len()));
        bytes.extend_from_slice(&blocks);
        bytes.extend_from_slice(&trailer);
        (image, bytes)
    }

    #[test]
    fn an_image_has_the_bytes_of_the_format_page() {
        let (_, bytes) = example();
        let shown: String = PAGE
            .lines()
            .skip_while(|line| *line != "### Example of a keydir image")
            .skip_while(|line| !line.starts_with("```"))
            .skip(1)
            .take_while(|line| !line.starts_with("```"))
            .flat_map(|line| line.get(..47).unwrap_or(line).split_whitespace())
            .collect();
        assert_eq!(shown, hex(&bytes));
    }

    #[test]
    fn an_image_reads_back_and_no_cut_or_flipped_byte_is_believed() {
        let (image, bytes) = example();
        let back = Image::decode(&bytes).expect("it is whole");
        assert_eq!(format!("{back:?}"), format!("{image:?}"));
        let space = back.spaces[0];
        let found = blocks(&bytes, &space).expect("they fill their part");
        assert_eq!(found[0].body(), Some(&b"a block"[..]));
        for len in 0..bytes.len() {
            assert!(Image::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let Ok(image) = Image::decode(&bad) else {
                continue;
            };
            let believed = image.spaces.iter().all(|space| {
                let found = blocks(&bad, space);
                found.is_some_and(|found| found.iter().all(|block| block.body().is_some()))
            });
            assert!(!believed, "a flipped byte at {at}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        fuzz::seeded(3_000, 400, fuzz::fuzz_image);
    }
}
