//! What a peer is like: protocols, tags, metadata and its signed record, kept apart from its addresses, which
//! change far more often. The stored form, version 1, is defined here and nowhere else:
//!
//! version of the profile; protocols; tags (name, value, expiry or 0); metadata (key, kind, value, expiry or
//! 0); the envelope of the signed record, empty for none. Expiries are milliseconds since the Unix epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use super::codec::{Reader, Writer};
use super::error::{Error, Result};

const VERSION: u8 = 1;

/// A value of the metadata book. It comes back with exactly the type that it went in with. What is of none of these
/// types is no value:
///
/// ```compile_fail,E0277
/// peercask_peerstore::libp2p::MetadataValue::from(std::time::Duration::ZERO);
/// ```
#[derive(Clone)]
pub enum MetadataValue {
    /// Nothing, which is something else than no entry.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A floating-point number, to the bit.
    F64(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl PartialEq for MetadataValue {
    /// Of the same type, and numbers of the same bits: a number that is none equals itself.
    fn eq(&self, other: &MetadataValue) -> bool {
        use MetadataValue as V;
        match (self, other) {
            (V::Null, V::Null) => true,
            (V::Bool(a), V::Bool(b)) => a == b,
            (V::I64(a), V::I64(b)) => a == b,
            (V::U64(a), V::U64(b)) => a == b,
            (V::F64(a), V::F64(b)) => a.to_bits() == b.to_bits(),
            (V::Text(a), V::Text(b)) => a == b,
            (V::Bytes(a), V::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for MetadataValue {}

impl fmt::Debug for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataValue::Null => f.write_str("null"),
            MetadataValue::Bool(value) => write!(f, "{value}"),
            MetadataValue::I64(value) => write!(f, "{value}"),
            MetadataValue::U64(value) => write!(f, "{value}"),
            MetadataValue::F64(value) => write!(f, "{value:?}"),
            MetadataValue::Text(value) => write!(f, "{value:?}"),
            MetadataValue::Bytes(value) => write!(f, "{} bytes", value.len()),
        }
    }
}

impl MetadataValue {
    /// Bytes that it counts against the limit.
    pub(crate) fn len(&self) -> usize {
        match self {
            MetadataValue::Text(text) => text.len(),
            MetadataValue::Bytes(bytes) => bytes.len(),
            _ => 8,
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            MetadataValue::Null => writer.byte(0),
            MetadataValue::Bool(value) => {
                writer.byte(1);
                writer.byte(u8::from(*value));
            }
            MetadataValue::I64(value) => {
                writer.byte(2);
                writer.near(value.cast_unsigned(), 0);
            }
            MetadataValue::U64(value) => {
                writer.byte(3);
                writer.number(*value);
            }
            MetadataValue::F64(value) => {
                writer.byte(4);
                writer.string(&value.to_bits().to_le_bytes());
            }
            MetadataValue::Text(value) => {
                writer.byte(5);
                writer.string(value.as_bytes());
            }
            MetadataValue::Bytes(value) => {
                writer.byte(6);
                writer.string(value);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<MetadataValue> {
        Ok(match reader.byte()? {
            0 => MetadataValue::Null,
            1 => match reader.byte()? {
                0 => MetadataValue::Bool(false),
                1 => MetadataValue::Bool(true),
                _ => return Err(reader.fault("holds neither true nor false")),
            },
            2 => MetadataValue::I64(reader.near(0)?.cast_signed()),
            3 => MetadataValue::U64(reader.number()?),
            4 => {
                let bits = reader.string()?.try_into();
                let bits =
                    bits.map_err(|_| reader.fault("holds a number that is not of 8 bytes"))?;
                MetadataValue::F64(f64::from_bits(u64::from_le_bytes(bits)))
            }
            5 => MetadataValue::Text(text(reader)?),
            6 => MetadataValue::Bytes(reader.string()?.to_vec()),
            _ => return Err(reader.fault("holds a value of a kind that nobody wrote")),
        })
    }
}

macro_rules! from {
    ($($kind:ident: $($of:ty),+;)+) => {
        $($(impl From<$of> for MetadataValue {
            fn from(value: $of) -> MetadataValue {
                MetadataValue::$kind(value.into())
            }
        })+)+
    };
}
from! {
    Bool: bool;
    I64: i64, i32;
    U64: u64, u32;
    F64: f64;
    Text: &str, String;
    Bytes: &[u8], Vec<u8>;
}

/// An entry of the metadata book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Metadata {
    pub(crate) value: MetadataValue,
    /// 0 for never.
    pub(crate) expiry_ms: u64,
}

/// A tag of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub struct Tag {
    /// From 0 to 100.
    pub value: u8,
    /// When it goes by itself, in milliseconds since the Unix epoch; `None` for never.
    pub expiry_ms: Option<u64>,
}

/// What a peer is like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) version: u64,
    pub(crate) protocols: BTreeSet<String>,
    pub(crate) tags: BTreeMap<String, Tag>,
    pub(crate) metadata: BTreeMap<String, Metadata>,
    /// The signed record, byte for byte.
    pub(crate) envelope: Option<Bytes>,
}

impl Profile {
    /// Whether there is nothing to be kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.protocols.is_empty()
            && self.tags.is_empty()
            && self.metadata.is_empty()
            && self.envelope.is_none()
    }

    /// Drops what is over.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        self.tags.retain(|_, tag| tag_is_live(tag, now_ms));
        self.metadata
            .retain(|_, entry| entry.expiry_ms == 0 || now_ms < entry.expiry_ms);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(VERSION);
        writer.number(self.version);
        writer.number(self.protocols.len() as u64);
        for protocol in &self.protocols {
            writer.string(protocol.as_bytes());
        }
        writer.number(self.tags.len() as u64);
        for (name, tag) in &self.tags {
            writer.string(name.as_bytes());
            writer.byte(tag.value);
            writer.number(tag.expiry_ms.unwrap_or(0));
        }
        writer.number(self.metadata.len() as u64);
        for (key, entry) in &self.metadata {
            writer.string(key.as_bytes());
            entry.value.write(&mut writer);
            writer.number(entry.expiry_ms);
        }
        writer.string(self.envelope.as_deref().unwrap_or_default());
        writer.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Profile> {
        let mut reader = Reader::new("the profile of a peer", bytes, VERSION)?;
        let mut profile = Profile {
            version: reader.number()?,
            ..Profile::default()
        };
        for _ in 0..reader.count(1)? {
            profile.protocols.insert(text(&mut reader)?);
        }
        for _ in 0..reader.count(3)? {
            let name = text(&mut reader)?;
            let value = reader.byte()?;
            let expiry_ms = Some(reader.number()?).filter(|at| *at != 0);
            profile.tags.insert(name, Tag { value, expiry_ms });
        }
        for _ in 0..reader.count(3)? {
            let key = text(&mut reader)?;
            let value = MetadataValue::read(&mut reader)?;
            let expiry_ms = reader.number()?;
            profile.metadata.insert(key, Metadata { value, expiry_ms });
        }
        let envelope = reader.string()?;
        if !envelope.is_empty() {
            profile.envelope = Some(Bytes::copy_from_slice(envelope));
        }
        reader.end()?;
        Ok(profile)
    }
}

pub(crate) fn tag_is_live(tag: &Tag, now_ms: u64) -> bool {
    tag.expiry_ms.is_none_or(|expiry| now_ms < expiry)
}

fn text(reader: &mut Reader<'_>) -> Result<String> {
    let bytes = reader.string()?;
    let text = std::str::from_utf8(bytes).map_err(|_| reader.fault("holds a name that is no text"));
    Ok(text?.to_owned())
}

/// Refuses a text that is longer than its limit.
pub(crate) fn check_len(what: &str, len: usize, max: usize) -> Result<()> {
    if len <= max {
        return Ok(());
    }
    let what = format!("{what} has {len} bytes; {max} are the limit");
    Err(Error::new(super::error::ErrorKind::TooLarge, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Profile {
        let entry = |value: MetadataValue| Metadata {
            value,
            expiry_ms: 0,
        };
        let tag = Tag {
            value: 50,
            expiry_ms: Some(1_767_225_600_000),
        };
        Profile {
            version: 7,
            protocols: ["/ipfs/id/1.0.0", "/ping/1"].map(String::from).into(),
            tags: [("keep-alive".to_owned(), tag)].into(),
            metadata: [
                ("".to_owned(), entry(MetadataValue::Null)),
                ("b".to_owned(), entry(true.into())),
                ("f".to_owned(), entry(1.5.into())),
                ("i".to_owned(), entry((-5_i64).into())),
                ("n\0/".to_owned(), entry(5_u64.into())),
                ("t".to_owned(), entry("kubo/0.1".into())),
                ("x".to_owned(), entry(vec![0_u8, 255].into())),
            ]
            .into(),
            envelope: Some(Bytes::from_static(b"signed")),
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let small = Profile {
            version: 1,
            protocols: ["/a".to_owned()].into(),
            metadata: [(
                "n".to_owned(),
                Metadata {
                    value: 7_i64.into(),
                    expiry_ms: 0,
                },
            )]
            .into(),
            ..Profile::default()
        };
        assert_eq!(
            small.encode(),
            [1, 1, 1, 2, b'/', b'a', 0, 1, 1, b'n', 2, 14, 0, 0]
        );
        for profile in [small, full(), Profile::default()] {
            assert_eq!(Profile::decode(&profile.encode()).expect("ours"), profile);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error_or_another_profile_and_never_a_panic() {
        let bytes = full().encode();
        for cut in 0..bytes.len() {
            assert!(Profile::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(found) = Profile::decode(&flipped) {
                assert_ne!(found, full(), "bit {at}");
            }
        }
    }
}
