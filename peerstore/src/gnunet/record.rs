//! What is stored: records, the identities of peers, and the filters that choose records.
//! It knows limits of shape (NUL, lengths) and nothing of a store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{Error, ErrorKind, Result};

/// The expiry of a record that never expires.
pub const FOREVER: u64 = u64::MAX;

/// The most bytes of subsystem and key (each with its NUL) and value together in one record of
/// the compatible mode: what fits into one message of upstream's services of the 0.19 line.
pub const WIRE_BYTES_MAX: usize = 65_479;

/// The longest subsystem and the longest key of the native mode, in bytes.
pub const NAME_LEN_MAX: usize = 65_535;

/// The identity of a peer: 32 bytes of a public key.
///
/// Printed as GNUnet prints it, 52 characters of its base32; read from that or from 64
/// hexadecimal digits.
///
/// ```
/// use peercask_peerstore::gnunet::PeerIdentity;
///
/// let peer = PeerIdentity([7; 32]);
/// assert_eq!(peer.to_string().len(), 52);
/// assert_eq!(peer.to_string().parse::<PeerIdentity>()?, peer);
/// assert_eq!("07".repeat(32).parse::<PeerIdentity>()?, peer);
/// # Ok::<(), peercask_peerstore::gnunet::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerIdentity(pub [u8; 32]);

/// GNUnet's base32: no I, L, O and U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const BASE32_LEN: usize = 52;

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let (mut bits, mut held) = (0_u32, 0_u32);
        let mut put = |value: u32| {
            let at = usize::try_from(value & 31).expect("five bits fit");
            f.write_char(char::from(ALPHABET[at]))
        };
        for byte in self.0 {
            bits = (bits << 8 | u32::from(byte)) & 0xFFFF;
            held += 8;
            while held >= 5 {
                put(bits >> (held - 5))?;
                held -= 5;
            }
        }
        // 256 bits are 51 characters and one bit more.
        put(bits << (5 - held))
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerIdentity({self})")
    }
}

impl FromStr for PeerIdentity {
    type Err = Error;

    fn from_str(text: &str) -> Result<PeerIdentity> {
        let found = match text.len() {
            64 => from_hex(text),
            BASE32_LEN => from_base32(text),
            _ => None,
        };
        found.map(PeerIdentity).ok_or_else(|| {
            let what = format!(
                "`{text}` is no peer identity: give 52 characters of GNUnet's base32 or 64 \
                 hexadecimal digits"
            );
            Error::new(ErrorKind::InvalidArgument, what)
        })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

fn from_base32(text: &str) -> Option<[u8; 32]> {
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut bytes = Vec::with_capacity(32);
    for letter in text.bytes() {
        // The letters that the alphabet leaves out are read as those that they look like.
        let letter = match letter.to_ascii_uppercase() {
            b'O' => b'0',
            b'I' | b'L' => b'1',
            b'U' => b'V',
            other => other,
        };
        let value = ALPHABET.iter().position(|known| *known == letter)?;
        bits = (bits << 5 | u32::try_from(value).ok()?) & 0xFFFF;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).ok()?);
        }
    }
    // The four bits that fill up the last character are zero, or two texts would be one peer.
    (bits & ((1 << held) - 1) == 0).then_some(())?;
    bytes.try_into().ok()
}

/// One record: what a subsystem keeps about a peer under a key, until it expires.
///
/// Subsystem and key are bytes; upstream calls them strings and allows any byte but NUL.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Who keeps it.
    pub subsystem: Arc<[u8]>,
    /// The peer that it is about.
    pub peer: PeerIdentity,
    /// What it is, within the subsystem.
    pub key: Arc<[u8]>,
    /// The value; empty is a value too.
    pub value: Bytes,
    /// When it expires, in microseconds since 1970 (UTC); [`FOREVER`] for never.
    pub expiry_us: u64,
}

impl Record {
    /// A record that never expires.
    #[must_use]
    pub fn new(
        subsystem: impl AsRef<[u8]>,
        peer: PeerIdentity,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
    ) -> Record {
        Record {
            subsystem: subsystem.as_ref().into(),
            peer,
            key: key.as_ref().into(),
            value: value.into(),
            expiry_us: FOREVER,
        }
    }

    /// The same record with another expiry, in microseconds since 1970.
    #[must_use]
    pub fn expires_at_us(mut self, expiry_us: u64) -> Record {
        self.expiry_us = expiry_us;
        self
    }

    /// The filter that chooses this record's triple.
    #[must_use]
    pub fn triple(&self) -> Filter {
        Filter::triple(&self.subsystem, self.peer, &self.key)
    }

    /// The bytes that count against [`WIRE_BYTES_MAX`].
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.subsystem.len() + 1 + self.key.len() + 1 + self.value.len()
    }

    /// The bytes that count in [`SubsystemStats`](super::SubsystemStats) and against quotas:
    /// subsystem, peer, key and value.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        let bytes = self.subsystem.len() + 32 + self.key.len() + self.value.len();
        bytes.try_into().unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} / {} / {} -> {} bytes",
            self.subsystem.escape_ascii(),
            self.peer,
            self.key.escape_ascii(),
            self.value.len()
        )?;
        match self.expiry_us {
            FOREVER => Ok(()),
            at => write!(f, ", expires at {at} us"),
        }
    }
}

/// A stored record with its place in the order of all writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence number: above 0, rising in the order of commit, never given twice, also not
    /// after a crash. Not dense.
    pub seq: u64,
    /// The record.
    pub record: Record,
}

/// Which records: a subsystem, and perhaps only one peer or one key of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    /// The subsystem.
    pub subsystem: Arc<[u8]>,
    /// Only this peer; `None` for any.
    pub peer: Option<PeerIdentity>,
    /// Only this key; `None` for any.
    pub key: Option<Arc<[u8]>>,
}

impl Filter {
    /// All records of a subsystem.
    #[must_use]
    pub fn subsystem(subsystem: impl AsRef<[u8]>) -> Filter {
        Filter {
            subsystem: subsystem.as_ref().into(),
            peer: None,
            key: None,
        }
    }

    /// The records of one subsystem, peer and key.
    #[must_use]
    pub fn triple(
        subsystem: impl AsRef<[u8]>,
        peer: PeerIdentity,
        key: impl AsRef<[u8]>,
    ) -> Filter {
        Filter::subsystem(subsystem).peer(peer).key(key)
    }

    /// Only those of `peer`.
    #[must_use]
    pub fn peer(mut self, peer: PeerIdentity) -> Filter {
        self.peer = Some(peer);
        self
    }

    /// Only those under `key`.
    #[must_use]
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Filter {
        self.key = Some(key.as_ref().into());
        self
    }

    /// Whether it chooses a record of these three.
    #[must_use]
    pub fn matches(&self, subsystem: &[u8], peer: &PeerIdentity, key: &[u8]) -> bool {
        *self.subsystem == *subsystem
            && self.peer.is_none_or(|wanted| wanted == *peer)
            && self.key.as_ref().is_none_or(|wanted| **wanted == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_round_trip_through_both_forms() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = [0; 32];
            rng.fill(&mut bytes);
            let peer = PeerIdentity(bytes);
            let text = peer.to_string();
            assert_eq!(text.len(), BASE32_LEN);
            assert_eq!(text.parse::<PeerIdentity>().ok(), Some(peer), "{text}");
            let lower = text.to_ascii_lowercase();
            assert_eq!(lower.parse::<PeerIdentity>().ok(), Some(peer), "{lower}");
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex.parse::<PeerIdentity>().ok(), Some(peer), "{hex}");
        }
        assert_eq!(PeerIdentity([0; 32]).to_string(), "0".repeat(52));
        // 255 ones, and the last bit at the head of the last character.
        let ones = format!("{}G", "Z".repeat(51));
        assert_eq!(PeerIdentity([255; 32]).to_string(), ones);
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let long_bits = format!("{}Z", "Z".repeat(51));
        for bad in ["", "abc", &"g".repeat(64), &"$".repeat(52), &long_bits] {
            assert!(bad.parse::<PeerIdentity>().is_err(), "{bad}");
        }
    }
}
