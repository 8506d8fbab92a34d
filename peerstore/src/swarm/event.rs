//! What the store tells the program through the swarm.

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

/// What happened in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer has an address that it had not.
    PeerAddressAdded {
        /// The peer.
        peer_id: PeerId,
        /// The address, without the peer's own `/p2p`.
        address: Multiaddr,
        /// Whether the program added it itself, so that no failed dial removes it.
        is_permanent: bool,
    },
    /// An address is gone: its dials failed, it expired, newer ones took its place, its peer had to
    /// make room, or the program removed it.
    PeerAddressRemoved {
        /// The peer.
        peer_id: PeerId,
        /// The address.
        address: Multiaddr,
    },
    /// So many events were lost here, because nobody polled for too long.
    Missed(u64),
}
