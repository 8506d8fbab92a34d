//! What a node has under way for who commands it: queries, timed connections.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_kad::QueryId;
use libp2p_swarm::ConnectionId;

/// A command whose queries are under way.
pub(crate) struct Job {
    pub(crate) kind: &'static str,
    pub(crate) prefix: String,
    pub(crate) waiting: VecDeque<u64>,
    pub(crate) running: HashMap<QueryId, (u64, Instant)>,
    pub(crate) found: HashSet<u64>,
    pub(crate) done: u64,
    /// Providers that were named.
    pub(crate) who: HashSet<PeerId>,
    /// The shortest and the longest life that a record found has left.
    pub(crate) ttl_least: Duration,
    pub(crate) ttl_most: Duration,
    pub(crate) took: Vec<Duration>,
    /// Queries a second at most; 0 for no limit.
    pub(crate) rate: u64,
    pub(crate) begun: u64,
    pub(crate) start: Instant,
    pub(crate) life: Duration,
}

impl Job {
    pub(crate) fn found_record(&mut self, left: Duration) {
        self.ttl_least = self.ttl_least.min(left);
        self.ttl_most = self.ttl_most.max(left);
    }

    /// The answer when it is over.
    pub(crate) fn told(self) -> String {
        let mut who: Vec<String> = self.who.iter().map(PeerId::to_string).collect();
        who.sort();
        let least = self.ttl_least.min(self.ttl_most);
        format!(
            "done {} {} found {} ttlms {} leastms {} {} ms {} who {}",
            self.kind,
            self.done,
            self.found.len(),
            self.ttl_most.as_millis(),
            least.as_millis(),
            told_times(self.took),
            self.start.elapsed().as_millis(),
            who.join(",")
        )
    }
}

/// One connection after another to the same node, and how long each took.
pub(crate) struct Connects {
    pub(crate) address: Multiaddr,
    pub(crate) left: u64,
    pub(crate) since: Instant,
    pub(crate) took: Vec<Duration>,
    pub(crate) under_way: Option<ConnectionId>,
}

impl Connects {
    pub(crate) fn new(address: Multiaddr, left: u64) -> Connects {
        Connects {
            address,
            left,
            since: Instant::now(),
            took: Vec::new(),
            under_way: None,
        }
    }
}

/// The middle, the 90th and the 99th hundredth and the longest, as an answer has them.
pub(crate) fn told_times(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: f64| {
        let last = took.len().saturating_sub(1);
        #[allow(clippy::cast_possible_truncation, reason = "an index of a short list")]
        let index = (last as f64 * share).round() as usize;
        took.get(index).map_or(0, Duration::as_micros)
    };
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(at);
    format!("p50us {p50} p90us {p90} p99us {p99} maxus {max}")
}
