//! One address of a peer, with what is known about it; and the form in which addresses are compared and
//! stored: without the peer's own name at the end.

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;

use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;
use super::ttl::{Confidence, Source, Ttl};

/// The longest address that is kept, in bytes.
pub const ADDRESS_LEN_MAX: usize = 2_048;

/// An address of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Address {
    /// The address, without the peer's own `/p2p` at its end.
    pub addr: Multiaddr,
    /// The life that it was given.
    pub ttl: Ttl,
    /// When it is over, in milliseconds since the Unix epoch; `u64::MAX` for pinned ones.
    pub expiry_ms: u64,
    /// A signed record of the peer holds it.
    pub certified: bool,
    /// It was also added without a signature, and outlives the record.
    pub uncertified: bool,
    /// Where it was first heard of.
    pub source: Source,
    /// What it is worth.
    pub confidence: Confidence,
    /// When it was added.
    pub first_seen_ms: u64,
    /// When it was last heard of. Up to the refresh slack, this may be older after a crash.
    pub last_seen_ms: u64,
    /// When it was last dialled with success; 0 for never.
    pub last_success_ms: u64,
    /// When a dial last failed; 0 for never.
    pub last_failure_ms: u64,
    /// Half failures since the last success: a timeout counts one, any other failure two.
    pub half_failures: u8,
}

impl Address {
    pub(crate) fn new(addr: Multiaddr, ttl: Ttl, now_ms: u64) -> Address {
        Address {
            addr,
            ttl,
            expiry_ms: ttl.expiry(now_ms),
            certified: false,
            uncertified: false,
            source: Source::Unknown,
            confidence: Confidence::default(),
            first_seen_ms: now_ms,
            last_seen_ms: now_ms,
            last_success_ms: 0,
            last_failure_ms: 0,
            half_failures: 0,
        }
    }

    /// Whether it has not expired.
    #[must_use]
    pub fn is_live(&self, now_ms: u64) -> bool {
        now_ms < self.expiry_ms
    }

    /// Whether it never expires and is never evicted.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.ttl.is_pinned()
    }

    /// What decides who stays at a cap, the better one greater.
    pub(crate) fn rank(&self) -> (Confidence, u64, &[u8]) {
        (self.confidence, self.expiry_ms, self.addr.as_ref())
    }

    /// Best first: connected, dialled with success of late, failing last, then by the latest expiry, of those that
    /// never expire the one that was told of last.
    pub(crate) fn dial_order(&self) -> impl Ord + use<> {
        let failing = self.last_failure_ms > self.last_success_ms;
        (
            self.ttl != Ttl::CONNECTED,
            failing,
            u64::MAX - self.last_success_ms,
            u64::MAX - self.expiry_ms,
            u64::MAX - self.last_seen_ms,
            self.addr.to_vec(),
        )
    }
}

/// The order in which addresses are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum AddressOrder {
    /// Best first: connected ones, then by the last successful dial, then by the latest expiry;
    /// those whose last dial failed come last.
    #[default]
    BestFirst,
    /// As go's: the soonest expiry first.
    SoonestExpiryFirst,
}

/// The address as it is stored: the peer's own name at its end is cut off. `None` if nothing is left,
/// if it ends with the name of another peer, or if it is too long to be kept.
///
/// ```
/// use peercask_peerstore::libp2p::{normal_form, Peer};
/// use libp2p_core::Multiaddr;
/// use libp2p_identity::PeerId;
///
/// let (me, other) = (PeerId::random(), PeerId::random());
/// let addr: Multiaddr = "/ip4/192.0.2.7/tcp/4001".parse()?;
/// let with = |id| addr.clone().with_p2p(id).expect("it has no name yet");
/// assert_eq!(normal_form(&Peer::from(me), &with(me)), Some(addr.clone()));
/// assert_eq!(normal_form(&Peer::from(me), &with(other)), None);
/// assert_eq!(normal_form(&Peer::from(me), &Multiaddr::empty()), None);
/// # Ok::<(), libp2p_core::multiaddr::Error>(())
/// ```
#[must_use]
pub fn normal_form(peer: &Peer, addr: &Multiaddr) -> Option<Multiaddr> {
    let mut addr = addr.clone();
    while let Some(Protocol::P2p(id)) = addr.iter().last() {
        if id.to_bytes() != peer.as_bytes() {
            return None;
        }
        addr.pop();
    }
    (!addr.is_empty() && addr.len() <= ADDRESS_LEN_MAX).then_some(addr)
}

/// Reads an address from its bytes.
///
/// # Errors
/// `InvalidAddress` for bytes that are none, or too many.
pub fn parse_address(bytes: &[u8]) -> Result<Multiaddr> {
    if bytes.len() > ADDRESS_LEN_MAX {
        let what = format!(
            "an address has {} bytes; {ADDRESS_LEN_MAX} are the limit",
            bytes.len()
        );
        return Err(Error::new(ErrorKind::InvalidAddress, what));
    }
    Multiaddr::try_from(bytes.to_vec()).map_err(|error| {
        let what = format!("{} bytes are no address: {error}", bytes.len());
        Error::new(ErrorKind::InvalidAddress, what)
    })
}
