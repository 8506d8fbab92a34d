//! The key book: public keys that belong to their peers, and private ones as the policy allows.

use libp2p_identity::{Keypair, PublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::options::PrivateKeys;
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::stored_keys::Private;

/// A key up to this length stands in the peer id itself.
const INLINED_LEN_MAX: usize = 42;
/// The longest key that is stored, encoded.
pub const KEY_BYTES_MAX: usize = 16 << 10;

/// The id of the peer with this public key, as libp2p encodes it.
fn id_of(public: &[u8]) -> Vec<u8> {
    match u8::try_from(public.len()) {
        Ok(len) if public.len() <= INLINED_LEN_MAX => [&[0, len][..], public].concat(),
        _ => [&[0x12, 0x20][..], &Sha256::digest(public)].concat(),
    }
}

/// The key that stands in the peer id, if one does.
fn inlined(peer: &Peer) -> Option<&[u8]> {
    match peer.as_bytes().split_first_chunk::<2>() {
        Some(([0, len], key)) if usize::from(*len) == key.len() && !key.is_empty() => Some(key),
        _ => None,
    }
}

fn mismatch(what: &str, peer: &Peer) -> Error {
    Error::new(
        ErrorKind::InvalidKey,
        format!("the {what} key is not that of {peer}"),
    )
}

impl PeerEditor<'_> {
    /// Stores a public key, as libp2p encodes it.
    ///
    /// # Errors
    /// `InvalidKey` if it is not this peer's.
    pub fn add_public_key(&mut self, encoded: &[u8]) -> Result<()> {
        super::profile::check_len("a public key", encoded.len(), KEY_BYTES_MAX)?;
        if encoded.is_empty() || id_of(encoded) != self.peer.as_bytes() {
            return Err(mismatch("public", &self.peer));
        }
        self.keys()?.public = Some(encoded.to_vec());
        Ok(())
    }

    /// Stores a private key, as libp2p encodes it.
    ///
    /// # Errors
    /// `Refused` by the policy, `WrongSecret`, `InvalidKey` if it is none, of a kind that this
    /// build does not know, or not this peer's.
    pub fn add_private_key(&mut self, encoded: &[u8]) -> Result<()> {
        let policy = &self.core.options.private_keys;
        if matches!(policy, PrivateKeys::Refuse) {
            let what = "private keys are refused: choose Options::private_keys";
            return Err(Error::new(ErrorKind::Refused, what));
        }
        super::profile::check_len("a private key", encoded.len(), KEY_BYTES_MAX)?;
        let pair = Keypair::from_protobuf_encoding(encoded).map_err(|error| {
            Error::new(
                ErrorKind::InvalidKey,
                format!("this is no private key: {error}"),
            )
        })?;
        let public = pair.public().encode_protobuf();
        if id_of(&public) != self.peer.as_bytes() {
            return Err(mismatch("private", &self.peer));
        }
        let private = match policy {
            PrivateKeys::Sealed(_) if !self.core.secret_fits => return Err(wrong_secret()),
            PrivateKeys::Sealed(secret) => Private::seal(secret, &self.peer, encoded)?,
            _ => Private::Plain(Zeroizing::new(encoded.to_vec())),
        };
        let same = {
            let secret = match policy {
                PrivateKeys::Sealed(secret) => Some(secret.clone()),
                _ => None,
            };
            let peer = self.peer;
            let stored = self.keys()?.private.as_ref();
            // The same key sealed again would be other bytes.
            stored.is_some_and(|stored| {
                std::mem::discriminant(stored) == std::mem::discriminant(&private)
                    && stored
                        .open(secret.as_ref(), &peer)
                        .is_ok_and(|found| *found == encoded)
            })
        };
        if !same {
            self.keys()?.private = Some(private);
        }
        Ok(())
    }

    /// Removes both keys.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn clear_keys(&mut self) -> Result<()> {
        let keys = self.keys()?;
        keys.public = None;
        keys.private = None;
        Ok(())
    }
}

fn wrong_secret() -> Error {
    let what = "the secret of the options is not the one that this store was begun with";
    Error::new(ErrorKind::WrongSecret, what)
}

impl Peerstore {
    /// Stores a peer's public key.
    ///
    /// # Errors
    /// `InvalidKey` if it is not the peer's; else as [`Peerstore::update`].
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{ErrorKind, Options, Peerstore};
    /// use libp2p_identity::{Keypair, PeerId};
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let key = Keypair::generate_ed25519();
    /// peers.add_public_key(key.public().to_peer_id(), &key.public())?;
    /// let other = peers.add_public_key(PeerId::random(), &key.public());
    /// assert_eq!(other.expect_err("not its key").kind(), ErrorKind::InvalidKey);
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn add_public_key(&self, peer: impl Into<Peer>, key: &PublicKey) -> Result<()> {
        self.add_public_key_bytes(peer, &key.encode_protobuf())
    }

    /// Stores a peer's public key, as libp2p encodes it: of any kind, and byte for byte.
    ///
    /// # Errors
    /// As [`Peerstore::add_public_key`].
    pub fn add_public_key_bytes(&self, peer: impl Into<Peer>, encoded: &[u8]) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.add_public_key(encoded))
    }

    /// A peer's public key: the stored one, or the one that stands in its id, which is neither
    /// stored nor written by this. `None` if it is not known.
    ///
    /// # Errors
    /// `InvalidKey` if this build does not know its kind (see [`Peerstore::public_key_bytes`]);
    /// `Corrupted` if the stored keys cannot be read; `Io`, `Closed`.
    pub fn public_key(&self, peer: impl Into<Peer>) -> Result<Option<PublicKey>> {
        let Some(encoded) = self.public_key_bytes(peer)? else {
            return Ok(None);
        };
        let key = PublicKey::try_decode_protobuf(&encoded).map_err(|error| {
            Error::new(
                ErrorKind::InvalidKey,
                format!("a public key does not decode: {error}"),
            )
        })?;
        Ok(Some(key))
    }

    /// A peer's public key, as libp2p encodes it.
    ///
    /// # Errors
    /// `Corrupted` if the stored keys cannot be read; `Io`, `Closed`.
    pub fn public_key_bytes(&self, peer: impl Into<Peer>) -> Result<Option<Vec<u8>>> {
        let peer = peer.into();
        self.core().check_open()?;
        if let Some(key) = inlined(&peer) {
            return Ok(Some(key.to_vec()));
        }
        match self.core().known(&peer) {
            Some(known) if known.has_public_key => {
                Ok(self.core().keys(&peer)?.and_then(|keys| keys.public))
            }
            _ => Ok(None),
        }
    }

    /// Stores a peer's private key, as the policy of the options says.
    ///
    /// # Errors
    /// `Refused`, `WrongSecret`; `InvalidKey` if it is not the peer's; else as
    /// [`Peerstore::update`].
    pub fn add_private_key(&self, peer: impl Into<Peer>, key: &Keypair) -> Result<()> {
        let encoded = key
            .to_protobuf_encoding()
            .map(Zeroizing::new)
            .map_err(|error| {
                Error::new(
                    ErrorKind::InvalidKey,
                    format!("a private key does not encode: {error}"),
                )
            })?;
        self.add_private_key_bytes(peer, &encoded)
    }

    /// Stores a peer's private key, as libp2p encodes it.
    ///
    /// # Errors
    /// As [`Peerstore::add_private_key`].
    pub fn add_private_key_bytes(&self, peer: impl Into<Peer>, encoded: &[u8]) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.add_private_key(encoded))
    }

    /// A peer's private key, if there is one.
    ///
    /// # Errors
    /// `WrongSecret` if it was sealed with another secret than that of the options; `Corrupted` if
    /// the stored keys cannot be read; `InvalidKey`; `Io`, `Closed`.
    pub fn private_key(&self, peer: impl Into<Peer>) -> Result<Option<Keypair>> {
        let Some(encoded) = self.private_key_bytes(peer)? else {
            return Ok(None);
        };
        let key = Keypair::from_protobuf_encoding(&encoded).map_err(|error| {
            Error::new(
                ErrorKind::InvalidKey,
                format!("a private key does not decode: {error}"),
            )
        })?;
        Ok(Some(key))
    }

    /// A peer's private key, as it was stored, in memory that is wiped.
    ///
    /// # Errors
    /// As [`Peerstore::private_key`].
    pub fn private_key_bytes(&self, peer: impl Into<Peer>) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let peer = peer.into();
        self.core().check_open()?;
        match self.core().known(&peer) {
            Some(known) if known.has_private_key => {}
            _ => return Ok(None),
        }
        let Some(private) = self.core().keys(&peer)?.and_then(|keys| keys.private) else {
            return Ok(None);
        };
        let secret = match &self.core().options.private_keys {
            PrivateKeys::Sealed(_) if !self.core().secret_fits => return Err(wrong_secret()),
            PrivateKeys::Sealed(secret) => Some(secret),
            _ => None,
        };
        private.open(secret, &peer).map(Some)
    }

    /// Removes both keys of a peer. Their bytes are dead in the files until
    /// [`Peerstore::merge`] or the background takes them.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn clear_keys(&self, peer: impl Into<Peer>) -> Result<()> {
        self.core().update(&peer.into(), |peer| peer.clear_keys())
    }

    /// All peers with a stored key of either kind, each once.
    #[must_use]
    pub fn peers_with_keys(&self) -> super::peers::Peers {
        self.peers_where(|known, _| known.has_public_key || known.has_private_key)
    }
}
