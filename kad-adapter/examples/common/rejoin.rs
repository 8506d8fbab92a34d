//! The way back into the network: while nobody is connected, the peers that were reached last are
//! dialled, a few at a time, until one answers. From there Kademlia finds the others.

use std::collections::HashSet;

use libp2p_identity::PeerId;
use libp2p_kad::store::RecordStore;
use libp2p_swarm::Swarm;
use libp2p_swarm::dial_opts::DialOpts;

use super::swarm::Node;

/// Dials at a time.
const DIALS_MAX: usize = 16;

/// Who was dialled since the node was last connected.
#[derive(Default)]
pub struct Rejoin {
    tried: HashSet<PeerId>,
    /// How many dials it took, in all.
    pub dials: u64,
}

impl Rejoin {
    /// To be called every second or so, and when a dial has failed: the next ones need not wait then.
    pub fn tick<S: RecordStore + Send + 'static>(&mut self, swarm: &mut Swarm<Node<S>>) {
        if swarm.connected_peers().next().is_some() {
            self.tried.clear();
            return;
        }
        let info = swarm.network_info();
        if info.connection_counters().num_pending_outgoing() > 0 {
            return;
        }
        let Some(peers) = swarm.behaviour().peers.as_ref() else {
            return;
        };
        let enough = self.tried.len() + DIALS_MAX;
        // Unreadable: what there is to say about it is in the store's health.
        let candidates = peers
            .store()
            .bootstrap_candidates(enough)
            .unwrap_or_default();
        let mut dialled = false;
        for candidate in candidates {
            let Some(peer) = candidate.peer.to_peer_id() else {
                continue;
            };
            if self.tried.insert(peer) {
                let dial = DialOpts::peer_id(peer).addresses(candidate.addrs).build();
                dialled = true;
                self.dials += 1;
                // One that cannot even begin was tried too.
                let _failed = swarm.dial(dial);
            }
        }
        if !dialled {
            // All were tried: from the beginning.
            self.tried.clear();
        }
    }
}
