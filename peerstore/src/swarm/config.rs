//! How a swarm's store is opened, and what the books make of it.

use std::time::Duration;

use crate::libp2p::{Options, Peer, Ttl};

/// How many more signed records there may be than peers.
const MORE_RECORDS: u64 = 1_024;

/// How a swarm's store keeps what it learns.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) peers_max: u64,
    pub(crate) addresses_max: usize,
    pub(crate) dial_failures_max: u8,
    pub(crate) heard_life: Duration,
    pub(crate) proven_life: Duration,
    pub(crate) contact_window: Duration,
    pub(crate) scratch_bytes_max: usize,
    pub(crate) books: Option<Options>,
    pub(crate) own_id: Option<Peer>,
}

impl Default for Config {
    fn default() -> Config {
        let day = Duration::from_secs(24 * 3_600);
        Config {
            peers_max: 100_000,
            addresses_max: 8,
            dial_failures_max: 3,
            heard_life: day,
            proven_life: 7 * day,
            contact_window: Duration::from_secs(600),
            scratch_bytes_max: 1 << 20,
            books: None,
            own_id: None,
        }
    }
}

impl Config {
    /// The most peers. Default: 100,000; 0 is no limit. At the limit the one that was not heard of
    /// for the longest goes, of those that this node did not dial with success within
    /// [`Config::proven_life`]. As many signed records are kept, unless [`Config::books`] says otherwise.
    #[must_use]
    pub fn peers_max(mut self, peers_max: u64) -> Config {
        self.peers_max = peers_max;
        self
    }

    /// The most addresses of a peer that the program did not add itself. Default: 8; 0 is no limit.
    /// Those that led to the peer stay before those that were only heard of.
    #[must_use]
    pub fn addresses_max(mut self, addresses_max: usize) -> Config {
        self.addresses_max = addresses_max;
        self
    }

    /// How many dials of an address may fail in a row before it goes. Default: 3; 1 is as
    /// `MemoryStore`, 0 keeps all. Those that the program added itself stay.
    #[must_use]
    pub fn dial_failures_max(mut self, dial_failures_max: u8) -> Config {
        self.dial_failures_max = dial_failures_max;
        self
    }

    /// How long an address lives that was only heard of. Default: a day.
    #[must_use]
    pub fn heard_life(mut self, heard_life: Duration) -> Config {
        self.heard_life = heard_life;
        self
    }

    /// How long an address lives after it last led to the peer, which it does while a connection by it lasts. Default:
    /// seven days.
    #[must_use]
    pub fn proven_life(mut self, proven_life: Duration) -> Config {
        self.proven_life = proven_life;
        self
    }

    /// How long after the last contact with any peer failed dials still count. Default: ten
    /// minutes. Later it is taken that this node has no network.
    #[must_use]
    pub fn contact_window(mut self, contact_window: Duration) -> Config {
        self.contact_window = contact_window;
        self
    }

    /// The most bytes of addresses that are lent at a time. Default: 1 MiB. They are let go with
    /// the next event of the swarm; what does not fit is answered as not known, and counted.
    #[must_use]
    pub fn scratch_bytes_max(mut self, scratch_bytes_max: usize) -> Config {
        self.scratch_bytes_max = scratch_bytes_max;
        self
    }

    /// The own peer: addresses that turn out to be this node's are forgotten of others, and what is
    /// known of it never goes.
    #[must_use]
    pub fn own_id(mut self, own_id: impl Into<Peer>) -> Config {
        self.own_id = Some(own_id.into());
        self
    }

    /// The options of the books beneath, for what this configuration does not name: durability,
    /// memory for decoded addresses, keys, the clock.
    #[must_use]
    pub fn books(mut self, books: Options) -> Config {
        self.books = Some(books);
        self
    }

    pub(crate) fn heard(&self) -> Ttl {
        Ttl::from(self.heard_life)
    }

    pub(crate) fn proven(&self) -> Ttl {
        Ttl::from(self.proven_life)
    }

    /// The books' options that follow.
    pub(crate) fn options(&self) -> Options {
        let mut options = self
            .books
            .clone()
            .unwrap_or_default()
            .peers_max(self.peers_max)
            .addresses_max(self.addresses_max)
            .dial_failures_max(self.dial_failures_max)
            // For a program that uses the books beside this store.
            .connected_at_open(self.proven())
            .peer_age_max(self.proven_life);
        let records_max = Options::default().signed_records_max;
        if options.signed_records_max == records_max {
            // A newcomer brings its record before another's goes.
            let of_peers = match self.peers_max {
                0 => u64::MAX,
                peers_max => peers_max.saturating_add(MORE_RECORDS),
            };
            options = options.signed_records_max(of_peers.max(records_max));
        }
        if self.own_id.is_some() {
            options = options.own_id(self.own_id);
        }
        options
    }
}
