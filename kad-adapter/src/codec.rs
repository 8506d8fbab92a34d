//! A record as it is stored: the value under its slot's number in one of the engine's keyspaces.
//! The layout stands in the crate's README; this file is its only mirror. Nothing read is trusted:
//! each length is bounded by what is left before anything is taken.

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

/// The version of the layout below.
const VERSION: u8 = 1;
const HAS_DEADLINE: u8 = 1;
const HAS_PEER: u8 = 2;
const KNOWN_FLAGS: u8 = HAS_DEADLINE | HAS_PEER;

/// How long a record lives: until a moment, granted at a moment of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) deadline_unix_ns: u64,
    pub(crate) granted_ns: u64,
    /// Which opening of the store granted it: deadlines of earlier ones are capped.
    pub(crate) session: u32,
}

/// A stored record, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    /// `None` lives for ever.
    pub(crate) life: Option<Life>,
    /// Place among the providers of a key; 0 for values.
    pub(crate) ordinal: u32,
    pub(crate) key: &'a [u8],
    /// The publisher of a value, the provider of a key.
    pub(crate) peer: Option<&'a [u8]>,
    /// The value, or the addresses as `encode_addresses` wrote them.
    pub(crate) body: &'a [u8],
}

impl Stored<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let peer_len = self.peer.map_or(0, <[u8]>::len);
        let mut out = Vec::with_capacity(48 + self.key.len() + peer_len + self.body.len());
        let deadline = if self.life.is_some() { HAS_DEADLINE } else { 0 };
        let peer = if self.peer.is_some() { HAS_PEER } else { 0 };
        out.extend([VERSION, deadline | peer]);
        if let Some(life) = self.life {
            out.extend(life.deadline_unix_ns.to_le_bytes());
            put_number(&mut out, life.granted_ns);
            put_number(&mut out, u64::from(life.session));
        }
        put_number(&mut out, u64::from(self.ordinal));
        put_bytes(&mut out, self.key);
        if let Some(peer) = self.peer {
            put_bytes(&mut out, peer);
        }
        out.extend(self.body);
        out
    }

    /// `None` if the bytes are not what `encode` writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Stored<'_>> {
        let (&[version, flags], mut rest) = bytes.split_first_chunk::<2>()?;
        if version != VERSION || flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let life = if flags & HAS_DEADLINE == 0 {
            None
        } else {
            let (deadline, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(Life {
                deadline_unix_ns: u64::from_le_bytes(*deadline),
                granted_ns: take_number(&mut rest)?,
                session: u32::try_from(take_number(&mut rest)?).ok()?,
            })
        };
        let ordinal = u32::try_from(take_number(&mut rest)?).ok()?;
        let key = take_bytes(&mut rest)?;
        let peer = if flags & HAS_PEER == 0 {
            None
        } else {
            Some(take_bytes(&mut rest)?)
        };
        Some(Stored {
            life,
            ordinal,
            key,
            peer,
            body: rest,
        })
    }

    /// The peer, if its bytes are a peer id. `Err` if they are not.
    pub(crate) fn peer_id(&self) -> Result<Option<PeerId>, ()> {
        let parsed = self.peer.map(PeerId::from_bytes).transpose();
        parsed.map_err(|_| ())
    }
}

/// Each address with its length before it.
pub(crate) fn encode_addresses(addresses: &[Multiaddr]) -> Vec<u8> {
    let mut out = Vec::new();
    for address in addresses {
        put_bytes(&mut out, address.as_ref());
    }
    out
}

pub(crate) fn decode_addresses(mut bytes: &[u8]) -> Option<Vec<Multiaddr>> {
    let mut addresses = Vec::new();
    while !bytes.is_empty() {
        let address = take_bytes(&mut bytes)?.to_vec();
        addresses.push(Multiaddr::try_from(address).ok()?);
    }
    Some(addresses)
}

/// Seven bits a byte, the lowest first, the high bit saying that more follow.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7F).expect("seven bits fit a byte");
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7F);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        Stored {
            life: Some(Life {
                deadline_unix_ns: 1_700_000_000_000_000_007,
                granted_ns: 172_800_000_000_000,
                session: 300,
            }),
            ordinal: 129,
            key: b"a key",
            peer: Some(b"some peer"),
            body: b"the body",
        }
        .encode()
    }

    #[test]
    fn the_bytes_of_a_record_are_these() {
        let golden = "0103\
                      07002a36fe9c9717\
                      8080f89492a527\
                      ac02\
                      8101\
                      0561206b6579\
                      09736f6d652070656572\
                      74686520626f6479";
        let hex: String = sample().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        let decoded = Stored::decode(&sample()).map(|stored| stored.encode());
        assert_eq!(decoded, Some(sample()));
    }

    #[test]
    fn cut_and_flipped_bytes_are_refused_or_read_as_something_else_but_never_panic() {
        let bytes = sample();
        let body_at = bytes.len() - 8;
        for len in 0..body_at {
            assert_eq!(Stored::decode(&bytes[..len]), None, "cut at {len}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _whatever = Stored::decode(&flipped).map(|stored| stored.peer_id());
            }
        }
    }

    #[test]
    fn an_unknown_version_or_flag_is_refused() {
        let mut newer = sample();
        newer[0] = 2;
        assert_eq!(Stored::decode(&newer), None);
        let mut flagged = sample();
        flagged[1] |= 0x40;
        assert_eq!(Stored::decode(&flagged), None);
    }

    #[test]
    fn addresses_come_back() {
        let addresses: Vec<Multiaddr> = ["/ip4/10.0.0.1/tcp/4001", "/dns4/example.org/udp/1"]
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect();
        let bytes = encode_addresses(&addresses);
        assert_eq!(decode_addresses(&bytes), Some(addresses));
        assert_eq!(decode_addresses(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_addresses(&[]), Some(Vec::new()));
    }
}
