//! A peer as a whole: everything of it as of one moment, and js's three ways to change it.

use std::collections::BTreeMap;

use libp2p_core::Multiaddr;

use super::addresses::Origin;
use super::editor::PeerEditor;
use super::error::Result;
use super::event::RemovalReason;
use super::peer::Peer;
use super::peer_data::PeerData;
use super::peerstore::Peerstore;
use super::profile::MetadataValue;
use super::ttl::Ttl;

/// What [`Peerstore::save`], [`Peerstore::patch`] and [`Peerstore::merge_peer`] are given. A field
/// that is `None` was not passed.
#[derive(Clone, Debug, Default)]
pub struct PeerPatch {
    /// Addresses.
    pub addrs: Option<Vec<Multiaddr>>,
    /// The life of these addresses; an hour if it is not passed.
    pub ttl: Option<Ttl>,
    /// Protocols.
    pub protocols: Option<Vec<String>>,
    /// Metadata; in a merge, `None` under a key removes it.
    pub metadata: Option<BTreeMap<String, Option<MetadataValue>>>,
    /// Tags with their values and lives; in a merge, `None` under a name removes it.
    pub tags: Option<BTreeMap<String, Option<(u8, Ttl)>>>,
    /// The public key, as libp2p encodes it.
    pub public_key: Option<Vec<u8>>,
}

impl PeerPatch {
    /// Without fields.
    #[must_use]
    pub fn new() -> PeerPatch {
        PeerPatch::default()
    }

    /// With these addresses.
    #[must_use]
    pub fn addrs(mut self, addrs: &[Multiaddr], ttl: Ttl) -> PeerPatch {
        (self.addrs, self.ttl) = (Some(addrs.to_vec()), Some(ttl));
        self
    }

    /// With these protocols.
    #[must_use]
    pub fn protocols(mut self, protocols: &[&str]) -> PeerPatch {
        self.protocols = Some(protocols.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// With a value under a metadata key, or without one.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: Option<MetadataValue>) -> PeerPatch {
        self.metadata
            .get_or_insert_default()
            .insert(key.to_owned(), value);
        self
    }

    /// With a tag, or without one.
    #[must_use]
    pub fn tag(mut self, name: &str, tag: Option<(u8, Ttl)>) -> PeerPatch {
        self.tags
            .get_or_insert_default()
            .insert(name.to_owned(), tag);
        self
    }
}

impl PeerEditor<'_> {
    fn patch(&mut self, patch: &PeerPatch, replaces: bool) -> Result<()> {
        if let Some(addrs) = &patch.addrs {
            if replaces {
                let stay: Vec<Multiaddr> = addrs
                    .iter()
                    .filter_map(|addr| super::address::normal_form(&self.peer, addr))
                    .collect();
                self.remove_where(RemovalReason::Deleted, |address| {
                    !stay.contains(&address.addr)
                });
            }
            let ttl = patch.ttl.unwrap_or(Ttl::ADDRESS);
            self.add(addrs, ttl, Origin::default(), false);
        }
        if let Some(protocols) = &patch.protocols {
            match replaces {
                true => self.set_protocols(protocols)?,
                false => self.add_protocols(protocols)?,
            }
        }
        if let Some(metadata) = &patch.metadata {
            if replaces {
                self.profile()?.metadata.clear();
            }
            for (key, value) in metadata {
                match value {
                    Some(value) => self.put_metadata(key, value.clone())?,
                    None => drop(self.delete_metadata(key)?),
                }
            }
        }
        if let Some(tags) = &patch.tags {
            if replaces {
                self.profile()?.tags.clear();
            }
            for (name, tag) in tags {
                match tag {
                    Some((value, ttl)) => self.set_tag(name, *value, *ttl)?,
                    None => drop(self.remove_tag(name)?),
                }
            }
        }
        match &patch.public_key {
            Some(key) => self.add_public_key(key),
            None => Ok(()),
        }
    }
}

impl Peerstore {
    /// Everything that is known of a peer, as of one moment; `None` if nothing is.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn get(&self, peer: impl Into<Peer>) -> Result<Option<PeerData>> {
        let peer = peer.into();
        let Some(whole) = self.core().whole(&peer)? else {
            return Ok(None);
        };
        let order = self.core().options.address_order;
        let now_ms = self.core().now_ms();
        let (reach, profile, keys) = (&whole.reach, &whole.profile, &whole.keys);
        Ok(Some(PeerData::of(
            &peer, reach, profile, keys, now_ms, order,
        )))
    }

    /// Makes a peer exactly what the patch says; fields that are not passed become empty. The own
    /// keys and the memory of signed records stay. js's `save`.
    ///
    /// # Errors
    /// As [`Peerstore::update`] and the books.
    pub fn save(&self, peer: impl Into<Peer>, patch: &PeerPatch) -> Result<()> {
        let mut whole = patch.clone();
        whole.addrs.get_or_insert_default();
        whole.protocols.get_or_insert_default();
        whole.metadata.get_or_insert_default();
        whole.tags.get_or_insert_default();
        self.core()
            .update(&peer.into(), |peer| peer.patch(&whole, true))
    }

    /// Replaces the fields that are passed, and no other. js's `patch`.
    ///
    /// # Errors
    /// As [`Peerstore::update`] and the books.
    pub fn patch(&self, peer: impl Into<Peer>, patch: &PeerPatch) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.patch(patch, true))
    }

    /// Adds what is passed to what is there: addresses and protocols are united, metadata and tags
    /// by key, where `None` removes. js's `merge`.
    ///
    /// # Errors
    /// As [`Peerstore::update`] and the books.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, PeerPatch, Peerstore, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// # let alice = PeerId::random();
    /// let tagged = PeerPatch::new().tag("relay", Some((50, Ttl::PERMANENT))).protocols(&["/a"]);
    /// peers.merge_peer(alice, &tagged)?;
    /// peers.merge_peer(alice, &PeerPatch::new().tag("relay", None).protocols(&["/b"]))?;
    /// let alice = peers.get(alice)?.expect("known");
    /// assert_eq!((alice.protocols.len(), alice.tags.len()), (2, 0));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn merge_peer(&self, peer: impl Into<Peer>, patch: &PeerPatch) -> Result<()> {
        self.core()
            .update(&peer.into(), |peer| peer.patch(patch, false))
    }
}
