//! How the books are opened: every choice with its default, and the presets of other implementations.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use libp2p_core::Multiaddr;
use peercask::{Clock, SystemClock};

use super::address::AddressOrder;
use super::datastore::Acknowledge;
use super::error::{Error, Result};
use super::peer::Peer;
use super::stored_keys::Secret;
use super::ttl::Ttl;

/// When what has expired is removed. It is invisible at once in every mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GcMode {
    /// Never.
    Off,
    /// When [`Peerstore::gc`](super::Peerstore::gc) is called.
    Manual,
    /// All peers are looked at, at this interval: go's default, every two hours.
    FullSweep(Duration),
    /// An index of what expires within `window` is filled at every such window, and what is due in
    /// it is removed at `interval`: go's lookahead.
    Lookahead {
        /// How often what is due is removed.
        interval: Duration,
        /// How far the index looks ahead, and how often it is filled.
        window: Duration,
    },
    /// By an index of all expiries, at this interval; the work is that of what is due. The default,
    /// every second.
    Incremental(Duration),
}

/// What happens to private keys that are given to the store.
#[derive(Clone, Debug, Default)]
pub enum PrivateKeys {
    /// They are refused. The default.
    #[default]
    Refuse,
    /// They are stored as they are: who reads the files has them.
    Plain,
    /// They are sealed with a secret of the caller.
    Sealed(Secret),
}

/// What happens to a signed record of the seq that is there, if it is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EqualSeq {
    /// The same envelope refreshes the addresses, another one is rejected. The default.
    #[default]
    RefreshIfIdentical,
    /// It is accepted and replaces: as go's.
    Accept,
    /// It is rejected, also if it is the same: as js's.
    Reject,
}

/// Who stays when a peer has more addresses than it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AddressCap {
    /// The best by confidence, then expiry, of those that are there and those that come. The default.
    #[default]
    BestStay,
    /// Those that come, then the best of those that are there: as go's.
    NewcomersStay,
}

/// Chooses which addresses are kept: `false` keeps one out.
pub type AddressFilter = Arc<dyn Fn(&Peer, &Multiaddr) -> bool + Send + Sync>;

macro_rules! options {
    ($($(#[$about:meta])* $name:ident: $kind:ty = $default:expr;)+) => {
        /// How the books are opened.
        ///
        /// ```
        /// use peercask_peerstore::libp2p::{GcMode, Options};
        /// use std::time::Duration;
        ///
        /// let options = Options::default()
        ///     .peers_max(100_000)
        ///     .gc(GcMode::Incremental(Duration::from_secs(5)));
        /// println!("{options:?}"); // once, in the log of a node
        /// ```
        #[derive(Clone)]
        pub struct Options {
            $(pub(crate) $name: $kind,)+
        }

        impl Default for Options {
            fn default() -> Options {
                Options { $($name: $default,)+ }
            }
        }

        impl Options {
            $(
                $(#[$about])*
                #[must_use]
                pub fn $name(mut self, $name: $kind) -> Options {
                    self.$name = $name;
                    self
                }
            )+
        }
    };
}

options! {
    /// What an acknowledged change survives. Default: [`Acknowledge::Kernel`], the death of the
    /// process; [`Options::sync_interval`] bounds what a power cut takes.
    acknowledge: Acknowledge = Acknowledge::Kernel;
    /// The longest time that an acknowledged change stays off the device. Default: 1 s. `None`:
    /// until [`Peerstore::sync`](super::Peerstore::sync) or close.
    sync_interval: Option<Duration> = Some(Duration::from_secs(1));
    /// Memory for decoded addresses, in bytes. Default: 0, every read decodes; a cache that does not
    /// hold all peers that are read, at about a KiB each, costs more than it saves. Beside it 4 MiB
    /// are kept for refreshes that are not written yet.
    cache_bytes: usize = 0;
    /// How far a stored expiry may lag behind the real one, so that hearing of the same addresses
    /// again writes nothing: at least this, or a tenth of the address's ttl if that is longer.
    /// Default: 30 s. After a crash an address may expire early by as much. Zero writes each time.
    refresh_slack: Duration = Duration::from_secs(30);
    /// When what has expired is removed. Default: [`GcMode::Incremental`], every second.
    gc: GcMode = GcMode::Incremental(Duration::from_secs(1));
    /// How long after opening the first removal comes. Default: 60 s.
    gc_initial_delay: Duration = Duration::from_secs(60);
    /// The most peers. Default: 0, no limit. At the limit the least recently updated one goes that
    /// is not protected: connected, with a permanent address, a tag that begins with `keep-alive`,
    /// a private key, or the own id.
    peers_max: u64 = 0;
    /// The most addresses of a peer that may expire; pinned ones do not count. Default: 64; 0 is no
    /// limit.
    addresses_max: usize = 64;
    /// Who stays at [`Options::addresses_max`]. Default: [`AddressCap::BestStay`].
    at_addresses_max: AddressCap = AddressCap::BestStay;
    /// The order of addresses. Default: [`AddressOrder::BestFirst`].
    address_order: AddressOrder = AddressOrder::BestFirst;
    /// Which addresses are kept. Default: all.
    address_filter: Option<AddressFilter> = None;
    /// How many dials in a row may fail before an address goes that is neither pinned nor manual.
    /// Default: 3; 0 keeps all. A timeout counts half.
    dial_failures_max: u8 = 3;
    /// The most protocols of a peer. Default: 1,024, go's store's; go's book alone has 128.
    protocols_max: usize = 1_024;
    /// The most bytes of protocol names of a peer. Default: 64 KiB.
    protocol_bytes_max: usize = 64 << 10;
    /// The most metadata entries of a peer. Default: 1,024.
    metadata_max: usize = 1_024;
    /// The longest metadata value in bytes. Default: 64 KiB.
    metadata_bytes_max: usize = 64 << 10;
    /// The most tags of a peer. Default: 256.
    tags_max: usize = 256;
    /// The most signed records. Default: 100,000, as go's store in memory.
    signed_records_max: u64 = 100_000;
    /// The longest signed record in bytes. Default: 64 KiB.
    signed_record_bytes_max: usize = 64 << 10;
    /// What a record of the seq that is there does. Default: [`EqualSeq::RefreshIfIdentical`].
    equal_seq: EqualSeq = EqualSeq::RefreshIfIdentical;
    /// Whether the highest seq of a signed record is remembered without its addresses, until the
    /// peer is forgotten. Default: true. With false, as in go's, an older record is accepted once
    /// the addresses are cleared or expired.
    remember_seq: bool = true;
    /// Whether signed records in rust-libp2p's legacy domain are accepted too. Default: false.
    legacy_records: bool = false;
    /// How long a peer stays without an address that lives, if nothing protects it and it has no metadata under
    /// [`KEEPS_ITS_PEER`](super::KEEPS_ITS_PEER). Default: 6 h, as js's; zero keeps it.
    peer_age_max: Duration = Duration::from_secs(6 * 3_600);
    /// How long after a disconnect go's peer store manager waits before it forgets keys, protocols,
    /// metadata and latency. Default: `None`, they stay until [`Options::peer_age_max`]; go's is
    /// one minute. It outlives a crash.
    disconnect_grace: Option<Duration> = None;
    /// What connected addresses become when the store is opened. Default: 15 minutes from then.
    /// [`Ttl::CONNECTED`] keeps them, [`Ttl::NONE`] drops them.
    connected_at_open: Ttl = Ttl::RECENTLY_CONNECTED;
    /// What happens to private keys. Default: [`PrivateKeys::Refuse`].
    private_keys: PrivateKeys = PrivateKeys::Refuse;
    /// The own peer. It never expires and cannot be evicted or forgotten. Default: none.
    own_id: Option<Peer> = None;
    /// How many events wait for one slow stream before it is told that it lagged. Default: 1,024.
    events_max: usize = 1_024;
    /// Whether a background thread removes what has expired and writes what was put off. Default:
    /// true. With false the caller calls [`Peerstore::maintain`](super::Peerstore::maintain).
    background: bool = true;
    /// Whether opening reads all records, and refuses a store with some that cannot be read. Default:
    /// false: they are kept aside, counted, and the rest is served.
    strict: bool = false;
    /// From how many peers on a close saves what opening has to know of each, some forty bytes, so
    /// that the next open reads these instead of all records. Default: 16,384; below, reading all
    /// takes some milliseconds. `u64::MAX` neither saves nor uses what was saved. It is void from the first
    /// change; after a crash, a step back of the clock, or with other options, all records are read. Records
    /// that rotted while the store was closed are then met when they are read.
    image_peers_min: u64 = 16_384;
    /// Where the time comes from. Default: the system's clocks.
    clock: Arc<dyn Clock> = Arc::new(SystemClock);
    /// How the default datastore is opened: segment size, merge rates. Clock, background threads
    /// and sync interval are set from these options.
    engine: peercask::Options = peercask::Options::default();
}

impl Options {
    /// As go-libp2p's datastore-backed peer store: its order of addresses, its rules for equal seqs,
    /// forgetting, caps and the grace after a disconnect, and a full sweep every two hours.
    #[must_use]
    pub fn go_compatible() -> Options {
        Options::default()
            .gc(GcMode::FullSweep(Duration::from_secs(7_200)))
            .at_addresses_max(AddressCap::NewcomersStay)
            .address_order(AddressOrder::SoonestExpiryFirst)
            .equal_seq(EqualSeq::Accept)
            .remember_seq(false)
            .peer_age_max(Duration::ZERO)
            .disconnect_grace(Some(Duration::from_secs(60)))
    }

    /// As js-libp2p's: equal seqs are rejected, peers live six hours.
    #[must_use]
    pub fn js_compatible() -> Options {
        Options::default().equal_seq(EqualSeq::Reject)
    }

    /// How far a stored expiry of an address with this ttl may lag.
    pub(crate) fn slack_ms(&self, ttl: Ttl) -> u64 {
        if self.refresh_slack.is_zero() || ttl.is_pinned() {
            return 0;
        }
        let least = u64::try_from(self.refresh_slack.as_millis()).unwrap_or(u64::MAX);
        least.max(ttl.millis() / 10)
    }

    pub(crate) fn peer_age_max_ms(&self) -> Option<u64> {
        let millis = u64::try_from(self.peer_age_max.as_millis()).unwrap_or(u64::MAX);
        (millis > 0).then_some(millis)
    }

    /// Refuses what cannot work. The three of the modes are go's.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::invalid(format!("Options: {what}")));
        match self.gc {
            GcMode::FullSweep(interval) | GcMode::Incremental(interval) if interval.is_zero() => {
                return refuse("the interval of gc must be above 0; GcMode::Manual has none");
            }
            GcMode::Lookahead { interval, window } => {
                if interval.is_zero() || window.is_zero() {
                    return refuse("interval and window of gc must be above 0");
                }
                if window < interval {
                    return refuse("the window of gc must not be shorter than its interval");
                }
            }
            _ => {}
        }
        if self.sync_interval == Some(Duration::ZERO) {
            return refuse("sync_interval must be above 0; use Acknowledge::Device instead");
        }
        if self.events_max == 0 {
            return refuse("events_max must be at least 1");
        }
        if self.connected_at_open == Ttl::PERMANENT {
            return refuse("connected_at_open must not be permanent");
        }
        Ok(())
    }

    /// The engine's options: one clock, and as many threads as the books have.
    pub(crate) fn of_engine(&self) -> peercask::Options {
        let engine = self.engine.clone();
        let engine = engine
            .clock(self.clock.clone())
            .sync_interval(self.sync_interval);
        match self.background {
            true => engine,
            false => engine.background(false),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("acknowledge", &self.acknowledge)
            .field("sync_interval", &self.sync_interval)
            .field("cache_bytes", &self.cache_bytes)
            .field("refresh_slack", &self.refresh_slack)
            .field("gc", &self.gc)
            .field("gc_initial_delay", &self.gc_initial_delay)
            .field("peers_max", &self.peers_max)
            .field("addresses_max", &self.addresses_max)
            .field("at_addresses_max", &self.at_addresses_max)
            .field("address_order", &self.address_order)
            .field("address_filter", &self.address_filter.is_some())
            .field("dial_failures_max", &self.dial_failures_max)
            .field("protocols_max", &self.protocols_max)
            .field("metadata_max", &self.metadata_max)
            .field("signed_records_max", &self.signed_records_max)
            .field("equal_seq", &self.equal_seq)
            .field("remember_seq", &self.remember_seq)
            .field("legacy_records", &self.legacy_records)
            .field("peer_age_max", &self.peer_age_max)
            .field("disconnect_grace", &self.disconnect_grace)
            .field("connected_at_open", &self.connected_at_open)
            .field("private_keys", &self.private_keys)
            .field("own_id", &self.own_id)
            .field("events_max", &self.events_max)
            .field("background", &self.background)
            .field("strict", &self.strict)
            .field("image_peers_min", &self.image_peers_min)
            .finish_non_exhaustive()
    }
}
