//! A record's bytes in the store. This file is their definition: key is the row, eight bytes, big
//! end first; value is one byte of version, expiry (u64), lengths of subsystem and key (u16 each),
//! subsystem, peer (32), key, value; numbers little end first.
//!
//! It knows neither the store nor the index. What it reads may be anything.

use bytes::Bytes;
use peercask::Value;

use super::error::{Error, ErrorKind, Result};
use super::record::{PeerIdentity, Record};

const VERSION: u8 = 1;
const FIXED_LEN: usize = 1 + 8 + 2 + 2;
const PEER_LEN: usize = 32;

/// Values from this length on are lent from the store, smaller ones copied: a copy costs less
/// than counting a reference, and does not hold a segment.
const LEND_LEN_MIN: usize = 4_096;

/// The key of a row in the store.
#[expect(
    clippy::big_endian_bytes,
    reason = "rows sort as bytes in the order of their numbers"
)]
pub(crate) fn row_key(row: u64) -> [u8; 8] {
    row.to_be_bytes()
}

/// The row of a key in the store.
pub(crate) fn row_of(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// A record read without its value.
pub(crate) struct Head<'a> {
    pub(crate) subsystem: &'a [u8],
    pub(crate) peer: PeerIdentity,
    pub(crate) key: &'a [u8],
    pub(crate) expiry_us: u64,
    pub(crate) value_at: usize,
}

pub(crate) fn encode(record: &Record) -> Vec<u8> {
    let len = |name: &[u8]| {
        u16::try_from(name.len())
            .expect("names were checked")
            .to_le_bytes()
    };
    let names = record.subsystem.len() + record.key.len();
    let mut bytes = Vec::with_capacity(FIXED_LEN + PEER_LEN + names + record.value.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&record.expiry_us.to_le_bytes());
    bytes.extend_from_slice(&len(&record.subsystem));
    bytes.extend_from_slice(&len(&record.key));
    bytes.extend_from_slice(&record.subsystem);
    bytes.extend_from_slice(&record.peer.0);
    bytes.extend_from_slice(&record.key);
    bytes.extend_from_slice(&record.value);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Head<'_>> {
    let version = *bytes.first().ok_or_else(cut)?;
    if version != VERSION {
        let what = format!("a record of version {version}; this program reads version {VERSION}");
        return Err(Error::new(ErrorKind::UnsupportedVersion, what));
    }
    let (fixed, rest) = bytes.split_at_checked(FIXED_LEN).ok_or_else(cut)?;
    let number = |from: usize| usize::from(u16::from_le_bytes([fixed[from], fixed[from + 1]]));
    let (subsystem, rest) = rest.split_at_checked(number(9)).ok_or_else(cut)?;
    let (peer, rest) = rest.split_at_checked(PEER_LEN).ok_or_else(cut)?;
    let (key, value) = rest.split_at_checked(number(11)).ok_or_else(cut)?;
    let expiry = fixed[1..9].try_into().expect("eight bytes");
    Ok(Head {
        subsystem,
        peer: PeerIdentity(peer.try_into().expect("32 bytes")),
        key,
        expiry_us: u64::from_le_bytes(expiry),
        value_at: bytes.len() - value.len(),
    })
}

/// The value within a row's bytes.
pub(crate) fn value_of(row: Value, value_at: usize) -> Bytes {
    if row.len() - value_at >= LEND_LEN_MIN {
        return Bytes::from(row).slice(value_at..);
    }
    Bytes::copy_from_slice(&row[value_at..])
}

fn cut() -> Error {
    Error::new(
        ErrorKind::Corrupted,
        "a row of the peerstore ends before its record does",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record::new("fs", PeerIdentity([9; 32]), "respect", vec![1, 2, 3]).expires_at_us(77)
    }

    #[test]
    fn the_bytes_of_a_record_are_these() {
        let golden = [
            &[1][..],
            &[77, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 7, 0],
            b"fs",
            &[9; 32],
            b"respect",
            &[1, 2, 3],
        ]
        .concat();
        assert_eq!(encode(&sample()), golden);
        assert_eq!(row_key(258), [0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(row_of(&row_key(258)), Some(258));
    }

    #[test]
    fn what_is_no_record_is_an_error_at_every_length_and_never_a_panic() {
        let whole = encode(&sample());
        let head = decode(&whole).expect("a whole record");
        assert_eq!((head.subsystem, head.key), (&b"fs"[..], &b"respect"[..]));
        assert_eq!(
            (head.expiry_us, &whole[head.value_at..]),
            (77, &[1, 2, 3][..])
        );
        for len in 0..head.value_at {
            let error = decode(&whole[..len]).err().expect("cut short");
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{len}");
        }
        let newer = [&[9], &whole[1..]].concat();
        let error = decode(&newer).err().expect("another version");
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let noise: Vec<u8> = (0..rng.usize(..300)).map(|_| rng.u8(..)).collect();
            let _ = decode(&noise);
        }
    }
}
