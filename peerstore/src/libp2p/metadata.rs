//! The metadata book: values of exact types under keys of text, each of which may have a life of its own.

use std::collections::BTreeMap;

use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::profile::{Metadata, MetadataValue, check_len};
use super::ttl::Ttl;

/// The longest key of the metadata book, in bytes.
pub const METADATA_KEY_LEN_MAX: usize = 4_096;
/// What a program stores with a peer under this key keeps the peer from being forgotten for its age
/// ([`Options::peer_age_max`](super::Options::peer_age_max)), without protecting it at the limit of peers. The data
/// of a swarm's program stands here.
pub const KEEPS_ITS_PEER: &str = "swarm.custom";

impl PeerEditor<'_> {
    /// Stores a value under a key.
    ///
    /// # Errors
    /// `TooLarge` for key or value, `TooMany` entries of the peer.
    pub fn put_metadata(&mut self, key: &str, value: impl Into<MetadataValue>) -> Result<()> {
        self.put_metadata_with(key, value, Ttl::PERMANENT)
    }

    /// Stores a value under a key for a time.
    ///
    /// # Errors
    /// As [`PeerEditor::put_metadata`].
    pub fn put_metadata_with(
        &mut self,
        key: &str,
        value: impl Into<MetadataValue>,
        ttl: Ttl,
    ) -> Result<()> {
        let value = value.into();
        let options = &self.core.options;
        check_len("a metadata key", key.len(), METADATA_KEY_LEN_MAX)?;
        check_len("a metadata value", value.len(), options.metadata_bytes_max)?;
        let max = options.metadata_max;
        let expiry_ms = match ttl.is_pinned() {
            true => 0,
            false => ttl.expiry(self.now_ms).max(1),
        };
        let metadata = &mut self.profile()?.metadata;
        if metadata.len() >= max && !metadata.contains_key(key) {
            let what = format!("the peer has {max} metadata entries, as many as it may");
            return Err(Error::new(ErrorKind::TooMany, what));
        }
        metadata.insert(key.to_owned(), Metadata { value, expiry_ms });
        Ok(())
    }

    /// The value under a key as it is within this change: what is written may depend on it.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn metadata(&mut self, key: &str) -> Result<Option<MetadataValue>> {
        let found = self.profile()?.metadata.get(key);
        Ok(found.map(|entry| entry.value.clone()))
    }

    /// Removes one entry.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn delete_metadata(&mut self, key: &str) -> Result<bool> {
        Ok(self.profile()?.metadata.remove(key).is_some())
    }
}

impl Peerstore {
    /// Stores a value under a key of a peer.
    ///
    /// # Errors
    /// `TooLarge` for key or value, `TooMany` entries of the peer; else as [`Peerstore::update`].
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{MetadataValue, Options, Peerstore};
    /// use libp2p_identity::PeerId;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let peer = PeerId::random();
    /// peers.put_metadata(peer, "AgentVersion", "rust-libp2p/0.57")?;
    /// peers.put_metadata(peer, "score", 5_i64)?;
    /// assert_eq!(peers.metadata(peer, "score")?, MetadataValue::I64(5));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn put_metadata(
        &self,
        peer: impl Into<Peer>,
        key: &str,
        value: impl Into<MetadataValue>,
    ) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.put_metadata(key, value))
    }

    /// Stores a value under a key of a peer for a time.
    ///
    /// # Errors
    /// As [`Peerstore::put_metadata`].
    pub fn put_metadata_with(
        &self,
        peer: impl Into<Peer>,
        key: &str,
        value: impl Into<MetadataValue>,
        ttl: Ttl,
    ) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.put_metadata_with(key, value, ttl))
    }

    /// The value under a key of a peer.
    ///
    /// # Errors
    /// `NotFound` if there is no such peer or no such entry; `Corrupted`, `Io`, `Closed`.
    pub fn metadata(&self, peer: impl Into<Peer>, key: &str) -> Result<MetadataValue> {
        let peer = peer.into();
        let entry = self
            .profile(&peer)?
            .and_then(|mut profile| profile.metadata.remove(key));
        entry.map(|entry| entry.value).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("{peer} has no metadata under {key:?}"),
            )
        })
    }

    /// All entries of a peer whose key begins with `prefix`, by key.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn metadata_with_prefix(
        &self,
        peer: impl Into<Peer>,
        prefix: &str,
    ) -> Result<BTreeMap<String, MetadataValue>> {
        let entries = self.profile(&peer.into())?.unwrap_or_default().metadata;
        let found = entries
            .into_iter()
            .filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, entry)| (key, entry.value)).collect())
    }

    /// Removes one entry of a peer; whether it was there.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn delete_metadata(&self, peer: impl Into<Peer>, key: &str) -> Result<bool> {
        self.core()
            .update(&peer.into(), |peer| peer.delete_metadata(key))
    }
}
