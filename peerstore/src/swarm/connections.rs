//! Who is connected, as the swarm tells, and by which addresses that this node dialled: what is in use is known to
//! lead to its peer. Knows no books.

use std::collections::{BTreeMap, BTreeSet};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

#[derive(Debug, Default)]
pub(crate) struct Connections {
    peers: BTreeMap<PeerId, Connected>,
    /// Those that this node dialled, by when the books were last told of it.
    told: BTreeSet<(u64, PeerId)>,
}

#[derive(Debug, Default)]
struct Connected {
    /// What was dialled, unless it was removed since.
    dialled: Vec<(ConnectionId, Multiaddr)>,
    /// Whether this node dialled it, with whatever became of the address.
    is_dialled: bool,
    told_ms: u64,
}

impl Connections {
    pub(crate) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Whether there is a connection to it that this node dialled.
    pub(crate) fn is_dialled(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|known| known.is_dialled)
    }

    /// A connection stands; the books have been told of what was dialled, if it was.
    pub(crate) fn open(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        dialled: Option<Multiaddr>,
        now_ms: u64,
    ) {
        let known = self.peers.entry(peer).or_default();
        let Some(addr) = dialled else { return };
        known.dialled.retain(|(id, _)| *id != connection);
        known.dialled.push((connection, addr));
        known.is_dialled = true;
        self.told.remove(&(known.told_ms, peer));
        known.told_ms = now_ms;
        self.told.insert((now_ms, peer));
    }

    /// A connection is gone. Answers with the address that this node dialled for it, if it was not removed meanwhile.
    pub(crate) fn close(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        is_last: bool,
    ) -> Option<Multiaddr> {
        let known = self.peers.get_mut(&peer)?;
        let at = known.dialled.iter().position(|(id, _)| *id == connection);
        let addr = at.map(|at| known.dialled.swap_remove(at).1);
        if is_last {
            self.told.remove(&(known.told_ms, peer));
            self.peers.remove(&peer);
        } else if known.dialled.is_empty() {
            self.told.remove(&(known.told_ms, peer));
        }
        addr
    }

    /// An address was removed because somebody wanted it, or its dials failed: its connection says no more of it.
    pub(crate) fn removed(&mut self, peer: &PeerId, addr: &Multiaddr) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.dialled.retain(|(_, dialled)| dialled != addr);
        }
    }

    /// All addresses of a peer were removed.
    pub(crate) fn forgotten(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.dialled.clear();
        }
    }

    /// One of those of which the books were last told at this moment or before, with the addresses in use; taken as
    /// told now.
    pub(crate) fn next(&mut self, until_ms: u64, now_ms: u64) -> Option<(PeerId, Vec<Multiaddr>)> {
        let (told_ms, peer) = self.told.first().copied()?;
        if told_ms > until_ms {
            return None;
        }
        self.told.pop_first();
        let known = self.peers.get_mut(&peer)?;
        known.told_ms = now_ms;
        self.told.insert((now_ms, peer));
        let addrs = known.dialled.iter().map(|(_, addr)| addr.clone());
        Some((peer, addrs.collect()))
    }
}
