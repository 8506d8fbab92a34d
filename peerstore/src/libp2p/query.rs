//! Finding peers: by any condition, in an order, a page at a time; and those that a node should dial first when
//! it starts. Nothing here holds more than what was asked for.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;

use super::core::Core;
use super::error::Result;
use super::peer::Peer;
use super::peer_data::{PeerData, ordered};
use super::peers::Position;
use super::peerstore::Peerstore;
use super::reach::Reach;

/// The order of what a query finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
#[non_exhaustive]
pub enum Order {
    /// As they come.
    #[default]
    Any,
    /// By the bytes of the id.
    Id,
    /// The last updated one first.
    Updated,
    /// The last connected one first.
    Connected,
    /// The quickest one first, unknown latencies last.
    Latency,
}

type Filter<'a> = Box<dyn Fn(&PeerData) -> bool + 'a>;

/// Which peers, in which order, how many. Without an order it needs no memory; with one, that of
/// offset and limit.
#[derive(Default)]
pub struct Query<'a> {
    filters: Vec<Filter<'a>>,
    order: Order,
    offset: usize,
    limit: Option<usize>,
    from: Option<Position>,
}

impl<'a> Query<'a> {
    /// All peers.
    #[must_use]
    pub fn new() -> Query<'a> {
        Query::default()
    }

    /// Only peers for which this is true, too.
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&PeerData) -> bool + 'a) -> Query<'a> {
        self.filters.push(Box::new(filter));
        self
    }

    /// Only peers with this tag, too.
    #[must_use]
    pub fn tag(self, name: &'a str) -> Query<'a> {
        self.filter(move |peer| peer.tags.contains_key(name))
    }

    /// In this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Query<'a> {
        self.order = order;
        self
    }

    /// Without so many at the beginning.
    #[must_use]
    pub fn offset(mut self, offset: usize) -> Query<'a> {
        self.offset = offset;
        self
    }

    /// No more than so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Query<'a> {
        self.limit = Some(limit);
        self
    }

    /// Going on where a list stood; for queries without an order.
    #[must_use]
    pub fn from(mut self, position: Position) -> Query<'a> {
        self.from = Some(position);
        self
    }
}

/// A peer that a node may dial first.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// The peer.
    pub peer: Peer,
    /// Its addresses, best first.
    pub addrs: Vec<Multiaddr>,
    /// When it was last connected or dialled with success, in milliseconds since the Unix epoch; 0
    /// for never.
    pub last_success_ms: u64,
}

/// The key of an order: the least comes first. Ends with the id, so that no two are equal.
fn key_of(order: Order, peer: &PeerData) -> (u64, Peer) {
    let newest_first = |at_ms: u64| u64::MAX - at_ms;
    let key = match order {
        Order::Any | Order::Id => 0,
        Order::Updated => newest_first(peer.updated_ms),
        Order::Connected => newest_first(peer.last_connected_ms),
        Order::Latency => peer.latency_ns.unwrap_or(u64::MAX),
    };
    (key, peer.peer)
}

fn last_success_ms(reach: &Reach) -> u64 {
    let dials = reach
        .addresses
        .iter()
        .map(|address| address.last_success_ms);
    dials.chain([reach.last_connected_ms]).max().unwrap_or(0)
}

impl Peerstore {
    /// Gives each peer that a query finds to a function, which answers whether to go on; how many
    /// there were. A peer that cannot be read is left out and counted.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Order, Peerstore, Query, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// # for _ in 0..3 { peers.set_tag(PeerId::random(), "relay", 1, Ttl::PERMANENT)?; }
    /// let page = Query::new().tag("relay").order(Order::Updated).offset(1).limit(10);
    /// let found = peers.query(page)?;
    /// assert_eq!(found.len(), 2);
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn for_each(
        &self,
        query: &Query<'_>,
        mut tell: impl FnMut(PeerData) -> bool,
    ) -> Result<u64> {
        let mut count = 0;
        let mut skipped = 0;
        let limit = query.limit.map_or(u64::MAX, |limit| limit as u64);
        if query.order != Order::Any {
            for data in self.first_in_order(query)? {
                count += 1;
                if !tell(data) {
                    break;
                }
            }
            return Ok(count);
        }
        let mut peers = self.all_peers();
        if let Some(position) = query.from {
            peers = peers.from(position);
        }
        for peer in peers {
            let Some(data) = self.chosen(&peer, query)? else {
                continue;
            };
            if skipped < query.offset {
                skipped += 1;
                continue;
            }
            if count >= limit {
                break;
            }
            count += 1;
            if !tell(data) {
                break;
            }
        }
        Ok(count)
    }

    /// All peers that a query finds.
    ///
    /// # Errors
    /// As [`Peerstore::for_each`].
    pub fn query(&self, query: Query<'_>) -> Result<Vec<PeerData>> {
        let mut found = Vec::new();
        self.for_each(&query, |peer| {
            found.push(peer);
            true
        })?;
        Ok(found)
    }

    fn chosen(&self, peer: &Peer, query: &Query<'_>) -> Result<Option<PeerData>> {
        let data = match self.get(peer) {
            Ok(data) => data,
            Err(error) if error.kind() == super::ErrorKind::Corrupted => None,
            Err(error) => return Err(error),
        };
        Ok(data.filter(|data| query.filters.iter().all(|filter| filter(data))))
    }

    /// The page of an ordered query: of all keys no more are kept than its end needs.
    fn first_in_order(&self, query: &Query<'_>) -> Result<Vec<PeerData>> {
        let end = query
            .offset
            .saturating_add(query.limit.unwrap_or(usize::MAX));
        let mut first = BTreeSet::new();
        for peer in self.all_peers() {
            if let Some(data) = self.chosen(&peer, query)? {
                first.insert(key_of(query.order, &data));
                if first.len() > end {
                    first.pop_last();
                }
            }
        }
        let mut page = Vec::new();
        for (_, peer) in first.into_iter().skip(query.offset) {
            // Gone or changed meanwhile is left out.
            page.extend(self.chosen(&peer, query)?);
        }
        Ok(page)
    }

    /// The peers to dial first: those that were connected or dialled with success last, of equal ones
    /// the quickest. The own peer is none of them.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    pub fn best_peers(&self, count: usize) -> Result<Vec<Candidate>> {
        let mut best = BTreeSet::new();
        self.for_each_reach(|peer, reach| {
            best.insert(Rank::of(peer, reach));
            if best.len() > count {
                best.pop_last();
            }
        })?;
        self.candidates(best)
    }

    /// The peers to dial first, spread over networks: of all that are known, no second of a network (the
    /// first two bytes of the IPv4 address that is dialled first, four of an IPv6 address) before the first of
    /// every other; in each such round those that were reached last come first. So nobody fills the list with
    /// peers of one place, however many there are. The own peer is none of them.
    ///
    /// One pass over all peers, with the memory of twice as many as are asked for.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Dial, Options, Peerstore, Ttl};
    /// use libp2p_identity::PeerId;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// for addr in ["/ip4/192.0.2.7/tcp/1", "/ip4/192.0.2.8/tcp/1", "/ip4/198.51.100.9/tcp/1"] {
    ///     let (peer, addr) = (PeerId::random(), addr.parse().expect("an address"));
    ///     peers.add_addrs(peer, std::slice::from_ref(&addr), Ttl::ADDRESS)?;
    ///     peers.record_dial(peer, &addr, Dial::Succeeded)?;
    /// }
    /// let first = peers.bootstrap_candidates(2)?;
    /// let of_the_other_network = |addr: &libp2p_core::Multiaddr| addr.to_string().contains("198");
    /// assert!(first.iter().any(|peer| peer.addrs.iter().any(of_the_other_network)));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn bootstrap_candidates(&self, count: usize) -> Result<Vec<Candidate>> {
        let now_ms = self.core().now_ms();
        let mut spread = Spread::default();
        self.for_each_reach(|peer, reach| {
            let best = reach
                .live(now_ms)
                .min_by_key(|address| address.dial_order());
            let network = best.map(|address| network_of(&address.addr));
            spread.add(network.unwrap_or_default(), Rank::of(peer, reach), count);
        })?;
        self.candidates(spread.first(count))
    }

    /// Shows all peers but the own one that have an address that lives and can be read.
    fn for_each_reach(&self, mut show: impl FnMut(&Peer, &Reach)) -> Result<()> {
        for peer in self.peers_with_addrs() {
            if self.core().is_own(&peer) {
                continue;
            }
            if let Some(reach) = self.readable(&peer)? {
                show(&peer, &reach);
            }
        }
        Ok(())
    }

    fn candidates(&self, best: impl IntoIterator<Item = Rank>) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for rank in best {
            found.extend(self.candidate(&rank.peer)?);
        }
        Ok(found)
    }

    fn readable(&self, peer: &Peer) -> Result<Option<std::sync::Arc<Reach>>> {
        match self.core().peek(peer) {
            Err(error) if error.kind() == super::ErrorKind::Corrupted => Ok(None),
            other => other,
        }
    }

    fn candidate(&self, peer: &Peer) -> Result<Option<Candidate>> {
        let core: &Core = self.core();
        let Some(reach) = self.readable(peer)? else {
            return Ok(None);
        };
        let addresses = ordered(&reach, core.now_ms(), super::AddressOrder::BestFirst);
        Ok((!addresses.is_empty()).then(|| Candidate {
            peer: *peer,
            addrs: addresses.into_iter().map(|address| address.addr).collect(),
            last_success_ms: last_success_ms(&reach),
        }))
    }
}

/// What decides who is dialled first, the first one least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    last_success_ms: Reverse<u64>,
    latency_ns: u64,
    peer: Peer,
}

impl Rank {
    fn of(peer: &Peer, reach: &Reach) -> Rank {
        Rank {
            last_success_ms: Reverse(last_success_ms(reach)),
            latency_ns: reach.latency_ns.unwrap_or(u64::MAX),
            peer: *peer,
        }
    }
}

/// The first peers round by round: of each network the first, of each the second. Who is not among the first now is
/// not when more have come either, so that no more are kept.
#[derive(Default)]
struct Spread {
    networks: HashMap<Vec<u8>, BTreeSet<Rank>>,
    len: usize,
}

impl Spread {
    fn add(&mut self, network: Vec<u8>, rank: Rank, count: usize) {
        self.len += usize::from(self.networks.entry(network).or_default().insert(rank));
        if self.len > count.saturating_mul(2).max(64) {
            self.keep(count);
        }
    }

    /// All rounds, one after the other.
    fn ranked(&self) -> Vec<(usize, Rank, &Vec<u8>)> {
        let all = self.networks.iter().flat_map(|(network, ranks)| {
            let rounds = ranks.iter().enumerate();
            rounds.map(move |(round, rank)| (round, *rank, network))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(round, rank, _)| (*round, *rank));
        all
    }

    fn keep(&mut self, count: usize) {
        let mut kept: HashMap<Vec<u8>, BTreeSet<Rank>> = HashMap::new();
        for (_, rank, network) in self.ranked().into_iter().take(count) {
            kept.entry(network.clone()).or_default().insert(rank);
        }
        self.networks = kept;
        self.len = count;
    }

    fn first(&self, count: usize) -> Vec<Rank> {
        let first = self.ranked().into_iter().take(count);
        first.map(|(_, rank, _)| rank).collect()
    }
}

/// The network of an address; addresses without a number are a network of their own kind.
fn network_of(addr: &Multiaddr) -> Vec<u8> {
    match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.octets().into_iter().take(2).collect(),
        Some(Protocol::Ip6(ip)) => ip.octets().into_iter().take(4).collect(),
        Some(other) => other.tag().as_bytes().to_vec(),
        None => Vec::new(),
    }
}
