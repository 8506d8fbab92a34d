//! The keys of a peer as they are stored: the public key as it is, the private one plain or sealed. Version 1:
//! version of the keys; public key, empty for none; kind of the private key (0 none, 1 plain, 2 sealed) and its
//! bytes. What is sealed is nonce and ciphertext of XChaCha20-Poly1305, bound to the peer that it belongs to.

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::codec::{Reader, Writer};
use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
/// What is sealed, beside the peer, so that no other use of the same secret can be mixed up with this.
const CONTEXT: &[u8] = b"peercask libp2p private key 1";
/// What is sealed to tell later whether a secret is the one of this store.
const PROOF: &[u8] = b"the secret of this store";

/// The secret that private keys are sealed with: 32 bytes that the caller keeps. Wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// The secret. The caller's copy is the caller's to wipe.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.0.as_slice().into())
    }

    fn seal(&self, about: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let aad = [CONTEXT, about].concat();
        let payload = Payload {
            msg: plain,
            aad: &aad,
        };
        let sealed = self
            .cipher()
            .encrypt(&nonce, payload)
            .map_err(|_| Error::new(ErrorKind::InvalidKey, "a private key could not be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, about: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let wrong = || {
            let what = "a private key does not open: it was sealed with another secret, or its bytes were changed";
            Error::new(ErrorKind::WrongSecret, what)
        };
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let aad = [CONTEXT, about].concat();
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let opened = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| wrong())
    }

    /// What a store keeps to know its secret again.
    pub(crate) fn prove(&self) -> Result<Vec<u8>> {
        self.seal(b"", PROOF)
    }

    /// Whether the proof was made with this secret.
    pub(crate) fn proves(&self, proof: &[u8]) -> bool {
        self.open(b"", proof).is_ok_and(|found| *found == PROOF)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A private key in the store.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Private {
    Plain(Zeroizing<Vec<u8>>),
    Sealed(Vec<u8>),
}

impl Private {
    pub(crate) fn seal(secret: &Secret, peer: &Peer, plain: &[u8]) -> Result<Private> {
        Ok(Private::Sealed(secret.seal(peer.as_bytes(), plain)?))
    }

    pub(crate) fn open(&self, secret: Option<&Secret>, peer: &Peer) -> Result<Zeroizing<Vec<u8>>> {
        match (self, secret) {
            (Private::Plain(plain), _) => Ok(plain.clone()),
            (Private::Sealed(sealed), Some(secret)) => secret.open(peer.as_bytes(), sealed),
            (Private::Sealed(_), None) => {
                let what = format!("the private key of {peer} is sealed, and no secret was given");
                Err(Error::new(ErrorKind::WrongSecret, what))
            }
        }
    }
}

/// The keys of a peer.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct StoredKeys {
    pub(crate) version: u64,
    /// As libp2p encodes it.
    pub(crate) public: Option<Vec<u8>>,
    pub(crate) private: Option<Private>,
}

impl std::fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKeys")
            .field("public", &self.public.is_some())
            .field("private", &self.private.is_some())
            .finish_non_exhaustive()
    }
}

impl StoredKeys {
    pub(crate) fn is_empty(&self) -> bool {
        self.public.is_none() && self.private.is_none()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(VERSION);
        writer.number(self.version);
        writer.string(self.public.as_deref().unwrap_or_default());
        match &self.private {
            None => writer.byte(0),
            Some(Private::Plain(bytes)) => {
                writer.byte(1);
                writer.string(bytes);
            }
            Some(Private::Sealed(bytes)) => {
                writer.byte(2);
                writer.string(bytes);
            }
        }
        writer.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<StoredKeys> {
        let mut reader = Reader::new("the keys of a peer", bytes, VERSION)?;
        let version = reader.number()?;
        let public = Some(reader.string()?.to_vec()).filter(|bytes| !bytes.is_empty());
        let private = match reader.byte()? {
            0 => None,
            1 => Some(Private::Plain(Zeroizing::new(reader.string()?.to_vec()))),
            2 => Some(Private::Sealed(reader.string()?.to_vec())),
            _ => return Err(reader.fault("hold a private key of a kind that nobody wrote")),
        };
        reader.end()?;
        Ok(StoredKeys {
            version,
            public,
            private,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are_and_no_cut_is_taken_for_them() {
        let keys = StoredKeys {
            version: 2,
            public: Some(vec![8, 1]),
            private: Some(Private::Plain(Zeroizing::new(vec![9]))),
        };
        let bytes = keys.encode();
        assert_eq!(bytes, [1, 2, 2, 8, 1, 1, 1, 9]);
        assert_eq!(StoredKeys::decode(&bytes).expect("ours"), keys);
        for cut in 0..bytes.len() {
            assert!(StoredKeys::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn what_is_sealed_opens_with_its_secret_for_its_peer_and_no_other() {
        let (secret, other) = (Secret::new([7; 32]), Secret::new([8; 32]));
        let peer = Peer::from_bytes(b"alice").expect("short");
        let sealed = Private::seal(&secret, &peer, b"key").expect("sealed");
        assert_eq!(*sealed.open(Some(&secret), &peer).expect("opens"), b"key");
        for (secret, peer) in [
            (Some(&other), peer),
            (None, peer),
            (Some(&secret), Peer::EMPTY),
        ] {
            let refused = sealed.open(secret, &peer).expect_err("refused");
            assert_eq!(refused.kind(), ErrorKind::WrongSecret);
        }
        assert!(secret.proves(&secret.prove().expect("sealed")));
        assert!(!other.proves(&secret.prove().expect("sealed")));
    }
}
