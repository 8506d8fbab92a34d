//! The keyed hash under which keydir and hint files know a key, and the short name of the secret
//! that keys it.
//!
//! Strangers choose keys, so the hash is keyed with a secret of the store. Knows no table and no
//! file. Written down in docs/format.md, "Key hash".

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::segment::format::{SECRET_LEN, crc};
use crate::segment::location::KeyspaceId;

/// The 128-bit hash of a key of a keyspace; equal hashes are taken for equal keys.
#[inline]
pub(crate) fn key_hash(secret: &[u8; SECRET_LEN], keyspace: KeyspaceId, key: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(secret);
    // `write`, not `write_u32`: the bytes of the id are to be the same on every machine.
    hasher.write(&keyspace.0.to_le_bytes());
    hasher.write(key);
    hasher.finish128().into()
}

/// Tells hint files that were hashed with another secret apart; gives nothing away that a hint file
/// does not.
pub(crate) fn secret_id(secret: &[u8; SECRET_LEN]) -> u32 {
    crc(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::tests::hex;

    const PAGE: &str = include_str!("../../../docs/format.md");

    #[test]
    fn the_hash_has_the_bytes_of_the_format_page() {
        let secret: [u8; 16] = std::array::from_fn(|i| u8::try_from(i).expect("below 16"));
        let hash = hex(&key_hash(&secret, KeyspaceId(1), b"alpha").to_le_bytes());
        assert_eq!(hash, "fcb064e573b8faca36c362739f14ce25");
        assert!(PAGE.contains(&hash), "the example of the page");
        let id = secret_id(&secret);
        assert_eq!(id, 0xCECE_E288);
        assert!(PAGE.contains("0xCECEE288"));
    }

    #[test]
    fn keyspace_and_secret_change_the_hash() {
        let hash = key_hash(&[7; 16], KeyspaceId(1), b"alpha");
        assert_ne!(hash, key_hash(&[7; 16], KeyspaceId(2), b"alpha"));
        assert_ne!(hash, key_hash(&[8; 16], KeyspaceId(1), b"alpha"));
        assert_ne!(hash, key_hash(&[7; 16], KeyspaceId(1), b"alphb"));
    }
}
