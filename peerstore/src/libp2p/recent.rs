//! Peers that may be evicted, by when they were last updated; kept only if there is a limit of peers.

use std::collections::{BTreeSet, HashMap};

use super::peer::Peer;

#[derive(Default)]
pub(crate) struct Recent {
    by_time: BTreeSet<(u64, Peer)>,
    updated_ms: HashMap<Peer, u64>,
}

impl Recent {
    pub(crate) fn set(&mut self, peer: &Peer, updated_ms: u64) {
        self.remove(peer);
        self.updated_ms.insert(*peer, updated_ms);
        self.by_time.insert((updated_ms, *peer));
    }

    pub(crate) fn remove(&mut self, peer: &Peer) {
        if let Some(updated_ms) = self.updated_ms.remove(peer) {
            self.by_time.remove(&(updated_ms, *peer));
        }
    }

    /// When a peer was last updated, if it may be evicted.
    pub(crate) fn updated_ms(&self, peer: &Peer) -> Option<u64> {
        self.updated_ms.get(peer).copied()
    }

    /// The one that goes first; of one moment, the one with the lowest id.
    pub(crate) fn take_first(&mut self) -> Option<Peer> {
        let (_, peer) = self.by_time.pop_first()?;
        self.updated_ms.remove(&peer);
        Some(peer)
    }
}
