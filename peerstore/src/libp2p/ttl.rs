//! How long an address lives, where it comes from, and how much it is worth: plain values.

use std::fmt;
use std::time::Duration;

/// The life of an address, in milliseconds, with two values that mean "never expires".
///
/// ```
/// use peercask_peerstore::libp2p::Ttl;
/// use std::time::Duration;
///
/// assert!(Ttl::CONNECTED.is_pinned() && Ttl::PERMANENT.is_pinned());
/// assert_eq!(Ttl::from(Duration::from_micros(100)), Ttl::from(Duration::from_millis(1)));
/// assert!(Ttl::ADDRESS < Ttl::CONNECTED && Ttl::CONNECTED < Ttl::PERMANENT);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ttl(u64);

impl Ttl {
    /// No life: adding does nothing, setting removes.
    pub const NONE: Ttl = Ttl(0);
    /// 2 minutes: go's `TempAddrTTL`.
    pub const TEMPORARY: Ttl = Ttl(120_000);
    /// 15 minutes: go's `RecentlyConnectedAddrTTL`.
    pub const RECENTLY_CONNECTED: Ttl = Ttl(900_000);
    /// 30 minutes: go's `OwnObservedAddrTTL`.
    pub const OWN_OBSERVED: Ttl = Ttl(1_800_000);
    /// 1 hour: go's `AddressTTL`.
    pub const ADDRESS: Ttl = Ttl(3_600_000);
    /// While the peer is connected: go's `ConnectedAddrTTL`. Never expires while the store is open.
    pub const CONNECTED: Ttl = Ttl(u64::MAX - 1);
    /// For ever: go's `PermanentAddrTTL`.
    pub const PERMANENT: Ttl = Ttl(u64::MAX);

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Ttl {
        Ttl(millis)
    }

    /// So many nanoseconds, as go counts: negative is none, the two greatest values are pinned.
    #[must_use]
    pub fn from_go_nanos(nanos: i64) -> Ttl {
        match nanos {
            i64::MAX => Ttl::PERMANENT,
            at if at == i64::MAX - 1 => Ttl::CONNECTED,
            at => Ttl(u64::try_from(at).unwrap_or(0).div_ceil(1_000_000)),
        }
    }

    /// So many seconds, as py-libp2p counts: 0 means for ever.
    #[must_use]
    pub fn from_py_seconds(seconds: u64) -> Ttl {
        match seconds {
            0 => Ttl::PERMANENT,
            some => Ttl(some.saturating_mul(1_000)),
        }
    }

    /// The milliseconds; the pinned values are the two greatest numbers.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whether it never expires, is never counted against a cap and never evicted.
    #[must_use]
    pub fn is_pinned(self) -> bool {
        self >= Ttl::CONNECTED
    }

    /// When a life that begins now is over.
    pub(crate) fn expiry(self, now_ms: u64) -> u64 {
        match self.is_pinned() {
            true => u64::MAX,
            // A finite life must not look endless.
            false => now_ms.saturating_add(self.0).min(u64::MAX - 1),
        }
    }
}

impl From<Duration> for Ttl {
    /// Rounded up to whole milliseconds: never early.
    fn from(life: Duration) -> Ttl {
        let millis = life.as_nanos().div_ceil(1_000_000);
        let finite = u64::try_from(millis).unwrap_or(u64::MAX);
        Ttl(finite.min(Ttl::CONNECTED.0 - 1))
    }
}

impl fmt::Debug for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ttl::PERMANENT => f.write_str("permanent"),
            Ttl::CONNECTED => f.write_str("connected"),
            Ttl(millis) => write!(f, "{millis} ms"),
        }
    }
}

/// Where an address was heard of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Source {
    /// Somebody said nothing about it.
    #[default]
    Unknown,
    /// The program or its configuration: dial failures do not remove it.
    Manual,
    /// The identify protocol.
    Identify,
    /// A distributed hash table.
    Dht,
    /// Multicast in the local network.
    Mdns,
    /// An exchange of peers: rendezvous, gossip.
    PeerExchange,
    /// Another store.
    Import,
    /// A connection that was made with it.
    Connection,
}

const SOURCES: [Source; 8] = [
    Source::Unknown,
    Source::Manual,
    Source::Identify,
    Source::Dht,
    Source::Mdns,
    Source::PeerExchange,
    Source::Import,
    Source::Connection,
];

impl Source {
    pub(crate) fn number(self) -> u8 {
        let at = SOURCES.iter().position(|source| *source == self);
        at.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
    }

    pub(crate) fn of_number(number: u8) -> Option<Source> {
        SOURCES.get(usize::from(number)).copied()
    }
}

/// How much an address is worth: what ranks first when a cap is reached. Hearing of an address again
/// never lowers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Confidence {
    /// Hearsay.
    Low,
    /// The peer itself said so, or nothing is known.
    #[default]
    Medium,
    /// A connection was made with it, or a valid signature covers it.
    High,
    /// As long as the store lives.
    Pinned,
}

impl Confidence {
    /// A life that suits it: 10 minutes, 1 hour, 24 hours, for ever.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Confidence, Ttl};
    /// assert_eq!(Confidence::Medium.ttl(), Ttl::ADDRESS);
    /// assert_eq!(Confidence::Pinned.ttl(), Ttl::PERMANENT);
    /// ```
    #[must_use]
    pub fn ttl(self) -> Ttl {
        match self {
            Confidence::Low => Ttl(600_000),
            Confidence::Medium => Ttl::ADDRESS,
            Confidence::High => Ttl(86_400_000),
            Confidence::Pinned => Ttl::PERMANENT,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Confidence::Low => 0,
            Confidence::Medium => 1,
            Confidence::High => 2,
            Confidence::Pinned => 3,
        }
    }

    pub(crate) fn of_number(number: u8) -> Option<Confidence> {
        match number {
            0 => Some(Confidence::Low),
            1 => Some(Confidence::Medium),
            2 => Some(Confidence::High),
            3 => Some(Confidence::Pinned),
            _ => None,
        }
    }
}
