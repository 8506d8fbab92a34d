//! What streams tell: plain values.

use std::sync::Arc;

use libp2p_core::Multiaddr;

use super::address::Address;
use super::peer::Peer;
use super::peer_data::PeerData;

/// Why an address is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum RemovalReason {
    /// Its life was over.
    Expired,
    /// Somebody removed it.
    Deleted,
    /// The peer has more addresses than it may.
    Evicted,
    /// A newer signed record of the peer does not hold it.
    Superseded,
    /// Dials failed too often.
    DialFailure,
}

/// Why a peer is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum PeerRemovalReason {
    /// Nothing was left of it, or nothing that lives and it was too old.
    Expired,
    /// Somebody removed it, or the last thing that was known of it.
    Deleted,
    /// There were more peers than there may be.
    Evicted,
}

/// Which parts of a peer changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[non_exhaustive]
pub struct Changed {
    /// Addresses came, went, or are worth something else.
    pub addresses: bool,
    /// Protocols.
    pub protocols: bool,
    /// Metadata.
    pub metadata: bool,
    /// Tags.
    pub tags: bool,
    /// The public or the private key.
    pub keys: bool,
    /// The signed record.
    pub record: bool,
}

impl Changed {
    /// Whether anything changed but times.
    #[must_use]
    pub fn any(&self) -> bool {
        self.addresses || self.protocols || self.metadata || self.tags || self.keys || self.record
    }
}

/// What happened to a peer. Told after the change is as safe as the options ask for, in the order of
/// the changes of each peer.
#[derive(Clone, Debug)]
pub struct Event {
    /// The peer.
    pub peer: Peer,
    /// Whether it is the own one.
    pub own: bool,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A peer that was not known.
    PeerAdded,
    /// A peer changed, not counting times.
    PeerUpdated {
        /// Which parts.
        changed: Changed,
        /// The peer before.
        previous: Arc<PeerData>,
        /// The peer now.
        current: Arc<PeerData>,
    },
    /// An address that the peer did not have.
    AddressAdded(Address),
    /// An address is gone.
    AddressRemoved {
        /// Which.
        addr: Multiaddr,
        /// Why.
        reason: RemovalReason,
    },
    /// A peer is not known any more.
    PeerRemoved(PeerRemovalReason),
}

/// What a stream gives next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next<T> {
    /// The next one.
    Item(T),
    /// So many were lost here, because the stream was not read for too long: read what is current.
    Lagged(u64),
}

impl<T> Next<T> {
    /// The item, unless there was a gap.
    pub fn item(self) -> Option<T> {
        match self {
            Next::Item(item) => Some(item),
            Next::Lagged(_) => None,
        }
    }
}
