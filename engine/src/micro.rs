//! Two small pieces of the engine for the micro-benchmarks in `benches/`: the encoding of a record,
//! and a keydir without files. Nothing for users; behind the feature `micro`.

use crate::keydir::either::Keydir;
use crate::options::IndexKind;
use crate::segment::format::NEVER;
use crate::segment::location::{KeyspaceId, Location};
use crate::segment::record::{self, Place, RecordFields, RecordKind};

const PLACE: Place = Place {
    salt: 0x5EED,
    base_seq: 1,
};
const OFFSET: u64 = 64;

/// Encodes one record over and over, and reads it.
#[derive(Default)]
pub struct Codec {
    bytes: Vec<u8>,
}

impl Codec {
    /// Encodes a put; answers its length.
    pub fn encode(&mut self, key: &[u8], value: &[u8]) -> usize {
        self.bytes.clear();
        let fields = RecordFields {
            kind: RecordKind::Put,
            keyspace: KeyspaceId(1),
            seq: 7,
            expiry: NEVER,
            covers: 0,
            batch_follow: 0,
            mark: None,
        };
        record::encode(&mut self.bytes, PLACE, OFFSET, &fields, key, value);
        self.bytes.len()
    }

    /// Decodes what was encoded last, both checksums verified; false if they do not hold.
    #[must_use]
    pub fn decode(&self) -> bool {
        record::decode(&self.bytes, PLACE, OFFSET)
            .is_ok_and(|header| record::value_holds(&self.bytes, &header, PLACE, OFFSET))
    }
}

/// A keydir of either kind over numbered keys.
pub struct Index(Keydir);

impl Index {
    /// Without keys.
    #[must_use]
    pub fn new(kind: IndexKind) -> Index {
        Index(Keydir::new(kind))
    }

    /// Adds key `i`, which is not there.
    pub fn insert(&self, i: u32) {
        self.0.change(hash(i), &key(i), None, Some(place(1, i)));
        self.0.tend(&|location| Some(hash(location.offset)));
    }

    /// Whether key `i` may be there.
    #[must_use]
    pub fn find(&self, i: u32) -> bool {
        let found = self.0.candidates(hash(i), &key(i));
        found.contains(place(1, i)) || found.contains(place(2, i))
    }

    /// Moves key `i` from one segment to another; false if it is not where it was said to be.
    #[must_use]
    pub fn replace(&self, i: u32, from: u16, to: u16) -> bool {
        let (old, new) = (place(from, i), place(to, i));
        self.0.change(hash(i), &key(i), Some(old), Some(new))
    }
}

fn place(slot: u16, i: u32) -> Location {
    Location { slot, offset: i }
}

fn hash(i: u32) -> u128 {
    u128::from(i).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

fn key(i: u32) -> [u8; 16] {
    hash(i).to_le_bytes()
}
