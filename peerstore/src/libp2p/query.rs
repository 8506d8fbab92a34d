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
    /// the quickest.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    pub fn best_peers(&self, count: usize) -> Result<Vec<Candidate>> {
        let mut best = BTreeSet::new();
        for peer in self.peers_with_addrs() {
            let Some(reach) = self.readable(&peer)? else {
                continue;
            };
            let latency_ns = reach.latency_ns.unwrap_or(u64::MAX);
            best.insert((Reverse(last_success_ms(&reach)), latency_ns, peer));
            if best.len() > count {
                best.pop_last();
            }
        }
        let mut found = Vec::new();
        for (_, _, peer) in best {
            found.extend(self.candidate(&peer)?);
        }
        Ok(found)
    }

    /// The peers to dial first, spread over networks: of the best ones, no second of a network (the
    /// first two bytes of an IPv4 address, four of an IPv6 address) before the first of every other.
    /// So nobody fills the list with peers of one place.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    pub fn bootstrap_candidates(&self, count: usize) -> Result<Vec<Candidate>> {
        let best = self.best_peers(count.saturating_mul(8))?;
        let mut of_network: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut ranked: Vec<(usize, usize, Candidate)> = Vec::with_capacity(best.len());
        for (place, candidate) in best.into_iter().enumerate() {
            let network = candidate.addrs.first().map(network_of).unwrap_or_default();
            let round = of_network.entry(network).or_default();
            ranked.push((*round, place, candidate));
            *round += 1;
        }
        ranked.sort_by_key(|(round, place, _)| (*round, *place));
        Ok(ranked
            .into_iter()
            .take(count)
            .map(|(_, _, candidate)| candidate)
            .collect())
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

/// The network of an address; addresses without a number are a network of their own kind.
fn network_of(addr: &Multiaddr) -> Vec<u8> {
    match addr.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.octets().into_iter().take(2).collect(),
        Some(Protocol::Ip6(ip)) => ip.octets().into_iter().take(4).collect(),
        Some(other) => other.tag().as_bytes().to_vec(),
        None => Vec::new(),
    }
}
