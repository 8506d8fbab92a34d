//! The name of a peer: the bytes of its peer id, kept in place, so that naming a peer allocates nothing.
//! Any bytes up to the limit are a name, the empty ones too: stores of other languages hold such.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;
use libp2p_identity::PeerId;

use super::error::{Error, Result};
use super::lines::of_hex;

/// The longest name of a peer, in bytes. Peer ids of libp2p have at most 42.
pub const PEER_LEN_MAX: usize = 72;

/// A peer, by the bytes of its peer id. Made [`From`] a [`PeerId`], or of any bytes.
///
/// ```
/// use peercask_peerstore::libp2p::Peer;
/// use libp2p_identity::PeerId;
///
/// let id = PeerId::random();
/// let peer = Peer::from(id);
/// assert_eq!(peer.to_peer_id(), Some(id));
/// assert_eq!(peer.to_string().parse::<Peer>()?, peer);
/// assert_eq!("0x4142".parse::<Peer>()?.as_bytes(), b"AB");
/// assert_eq!(Peer::EMPTY.to_peer_id(), None);
/// # Ok::<(), peercask_peerstore::libp2p::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Peer {
    len: u8,
    bytes: [u8; PEER_LEN_MAX],
}

impl Peer {
    /// The peer without a name: legal in every book, as in go's.
    pub const EMPTY: Peer = Peer {
        len: 0,
        bytes: [0; PEER_LEN_MAX],
    };

    /// A peer by the bytes of its id, whatever they are.
    ///
    /// # Errors
    /// `InvalidArgument` for more than [`PEER_LEN_MAX`] bytes.
    pub fn from_bytes(name: &[u8]) -> Result<Peer> {
        let mut peer = Peer::EMPTY;
        let place = peer.bytes.get_mut(..name.len()).ok_or_else(|| {
            let what = format!(
                "the id of a peer has {} bytes; {PEER_LEN_MAX} are the limit",
                name.len()
            );
            Error::invalid(what)
        })?;
        place.copy_from_slice(name);
        peer.len = u8::try_from(name.len()).expect("bounded above");
        Ok(peer)
    }

    /// The bytes of its id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The peer id, if the bytes are one.
    #[must_use]
    pub fn to_peer_id(&self) -> Option<PeerId> {
        PeerId::from_bytes(self.as_bytes()).ok()
    }
}

impl From<PeerId> for Peer {
    fn from(id: PeerId) -> Peer {
        Peer::from(&id)
    }
}

impl From<&PeerId> for Peer {
    fn from(id: &PeerId) -> Peer {
        // A multihash of at most 64 bytes, with a code and a length of a byte or two.
        Peer::from_bytes(&id.to_bytes()).unwrap_or(Peer::EMPTY)
    }
}

impl From<&Peer> for Peer {
    fn from(peer: &Peer) -> Peer {
        *peer
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Peer) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Peer {}

impl PartialOrd for Peer {
    fn partial_cmp(&self, other: &Peer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Peer {
    fn cmp(&self, other: &Peer) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = self.to_peer_id() {
            return write!(f, "{id}");
        }
        f.write_str("0x")?;
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Peer {
    type Err = Error;

    /// From a peer id in base58 or as a CID in base32, or from `0x` and hexadecimal digits: any name,
    /// as [`Display`](fmt::Display) writes those that are no peer ids.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    fn from_str(text: &str) -> Result<Peer> {
        if let Some(digits) = text.strip_prefix("0x") {
            let name = of_hex(digits)
                .ok_or_else(|| Error::invalid(format!("`{text}` is not hexadecimal")))?;
            return Peer::from_bytes(&name);
        }
        if let Ok(id) = text.parse::<PeerId>() {
            return Ok(Peer::from(id));
        }
        // A CID of version 1 for a libp2p key.
        let cid = text
            .strip_prefix('b')
            .and_then(|digits| BASE32_NOPAD_NOCASE.decode(digits.as_bytes()).ok());
        let id = cid.and_then(|cid| PeerId::from_bytes(cid.strip_prefix(&[0x01, 0x72])?).ok());
        id.map(Peer::from).ok_or_else(|| {
            let what =
                format!("`{text}` is no peer id; other names are written 0x and in hexadecimal");
            Error::invalid(what)
        })
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({self})")
    }
}
