//! The way back into the network: while nobody is connected, the peers that were reached last are dialled, a few at a
//! time, until one answers. From there Kademlia or whatever the node has finds the others.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::dial_opts::DialOpts;
use libp2p_swarm::{NetworkBehaviour, Swarm};

use super::custom::CustomData;
use super::store::PersistentStore;

/// Dials at a time.
const DIALS_MAX: usize = 16;
/// How many candidates the store is asked for at a time: as many as were tried, between these.
const ASKED: (usize, usize) = (64, 4_096);
/// How long it rests when all were tried in vain: at first, and at the most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Dials the peers of a store while its node is connected to nobody: those that were reached last first, spread over
/// networks, until one answers. However many addresses are stale, in the end every peer was tried; then it begins
/// anew, after a second and then each time after twice as long, a minute at the most.
///
/// ```no_run
/// use libp2p_swarm::Swarm;
/// use peercask_peerstore::swarm::{Behaviour, Rejoin};
///
/// fn every_second(rejoin: &mut Rejoin, swarm: &mut Swarm<Behaviour>) {
///     rejoin.tick(swarm, |peers| Some(peers.store()));
/// }
/// ```
#[derive(Debug, Default)]
pub struct Rejoin {
    /// Who was dialled since the node was last connected.
    tried: HashSet<PeerId>,
    /// Who is next.
    waiting: VecDeque<(PeerId, Vec<Multiaddr>)>,
    dials: u64,
    /// Until when it rests, and for how long the next time.
    rests: Option<(Instant, Duration)>,
}

impl Rejoin {
    /// Dials the next peers, if nobody is connected and no dial is under way. To be called every second or so, and
    /// after each event of the swarm if that is easier: then it does not wait to go on after a failure. `store` finds
    /// the store in the node's behaviour; `None` if there is none, and nothing is done.
    ///
    /// A store that cannot be read is as one that knows nobody; what there is to say about it is in
    /// [`PersistentStore::health`].
    pub fn tick<B, T>(
        &mut self,
        swarm: &mut Swarm<B>,
        store: impl FnOnce(&B) -> Option<&PersistentStore<T>>,
    ) where
        B: NetworkBehaviour,
        T: CustomData,
    {
        if swarm.connected_peers().next().is_some() {
            self.tried.clear();
            self.waiting.clear();
            self.rests = None;
            return;
        }
        let info = swarm.network_info();
        let is_dialling = info.connection_counters().num_pending_outgoing() > 0;
        if is_dialling || self.rests.is_some_and(|(until, _)| Instant::now() < until) {
            return;
        }
        if self.waiting.is_empty() {
            let Some(store) = store(swarm.behaviour()) else {
                return;
            };
            self.ask(store);
        }
        for _ in 0..DIALS_MAX {
            let Some((peer, addresses)) = self.waiting.pop_front() else {
                break;
            };
            self.dials += 1;
            let dial = DialOpts::peer_id(peer).addresses(addresses).build();
            // One that cannot even begin was tried too.
            let _denied = swarm.dial(dial);
        }
    }

    /// How many dials it took so far.
    #[must_use]
    pub fn dials(&self) -> u64 {
        self.dials
    }

    /// Who was not tried yet; if all were, from the beginning at the next time. The more were tried in vain, the
    /// more are asked for: each question is a pass over all peers.
    fn ask<T: CustomData>(&mut self, store: &PersistentStore<T>) {
        let enough = self.tried.len() + self.tried.len().clamp(ASKED.0, ASKED.1);
        let found = store.bootstrap_candidates(enough).unwrap_or_default();
        for candidate in found {
            // Names that are no peer ids come from other programs' stores.
            if let Some(peer) = candidate.peer.to_peer_id()
                && self.tried.insert(peer)
            {
                self.waiting.push_back((peer, candidate.addrs));
            }
        }
        if self.waiting.is_empty() {
            self.tried.clear();
            let rest = self.rests.map_or(REST.0, |(_, next)| next);
            self.rests = Some((Instant::now() + rest, (rest * 2).min(REST.1)));
        }
    }
}
