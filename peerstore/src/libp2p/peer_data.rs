//! Everything that is known of a peer, at one moment, as a plain value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use libp2p_core::Multiaddr;

use super::address::{Address, AddressOrder};
use super::peer::Peer;
use super::profile::{MetadataValue, Profile, Tag};
use super::reach::Reach;
use super::stored_keys::StoredKeys;

/// Everything that is known of a peer, as of one moment; what has expired is left out. A copy: changing
/// it changes nothing in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerData {
    /// The peer.
    pub peer: Peer,
    /// Its addresses, in the order that the options ask for.
    pub addresses: Vec<Address>,
    /// The protocols that it speaks.
    pub protocols: BTreeSet<String>,
    /// Its metadata.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Its tags.
    pub tags: BTreeMap<String, Tag>,
    /// Its public key, as libp2p encodes it, if it was stored.
    pub public_key: Option<Vec<u8>>,
    /// Whether a private key is stored.
    pub has_private_key: bool,
    /// Its signed record, byte for byte.
    pub record: Option<Bytes>,
    /// The highest seq of a signed record that was accepted.
    pub record_seq: Option<u64>,
    /// Nanoseconds, smoothed.
    pub latency_ns: Option<u64>,
    /// When it was first heard of, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When something but times changed.
    pub updated_ms: u64,
    /// When it was last connected; 0 for never.
    pub last_connected_ms: u64,
}

impl PeerData {
    pub(crate) fn of(
        peer: &Peer,
        reach: &Reach,
        profile: &Profile,
        keys: &StoredKeys,
        now_ms: u64,
        order: AddressOrder,
    ) -> PeerData {
        let mut profile = profile.clone();
        profile.expire(now_ms);
        let addresses = ordered(reach, now_ms, order);
        let entries = profile.metadata.into_iter();
        PeerData {
            peer: *peer,
            record: profile.envelope.filter(|_| !addresses.is_empty()),
            addresses,
            protocols: profile.protocols,
            metadata: entries.map(|(key, entry)| (key, entry.value)).collect(),
            tags: profile.tags,
            public_key: keys.public.clone(),
            has_private_key: keys.private.is_some(),
            record_seq: reach.seq,
            latency_ns: reach.latency_ns,
            created_ms: reach.created_ms,
            updated_ms: reach.updated_ms,
            last_connected_ms: reach.last_connected_ms,
        }
    }

    /// The addresses alone.
    pub fn addrs(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addresses.iter().map(|address| &address.addr)
    }
}

/// The live addresses in order.
pub(crate) fn ordered(reach: &Reach, now_ms: u64, order: AddressOrder) -> Vec<Address> {
    let mut addresses: Vec<Address> = reach.live(now_ms).cloned().collect();
    match order {
        AddressOrder::BestFirst => addresses.sort_by_cached_key(Address::dial_order),
        AddressOrder::SoonestExpiryFirst => {
            addresses.sort_by(|a, b| {
                (a.expiry_ms, a.addr.as_ref()).cmp(&(b.expiry_ms, b.addr.as_ref()))
            });
        }
    }
    addresses
}
