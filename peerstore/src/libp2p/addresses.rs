//! The address book: the rules by which addresses come, live and go (T1 to T23 of the checklist), on the peer
//! that is being edited. What has expired was left out before any of this runs.

use libp2p_core::Multiaddr;

use super::address::{Address, normal_form};
use super::editor::PeerEditor;
use super::error::Result;
use super::event::RemovalReason;
use super::options::AddressCap;
use super::peer::Peer;
use super::ttl::{Confidence, Source, Ttl};

/// The most addresses of one identify message that are taken, as in go's.
pub const IDENTIFY_ADDRESSES_MAX: usize = 500;
/// How many addresses stay after a disconnect, as in go's.
pub const KEPT_AFTER_DISCONNECT: usize = 20;

/// Where addresses come from, and what they are worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Origin {
    /// Where they were heard of.
    pub source: Source,
    /// What they are worth.
    pub confidence: Confidence,
}

impl From<Source> for Origin {
    /// Hearsay is worth little, what a peer says of itself or a connection proves is worth more.
    fn from(source: Source) -> Origin {
        let confidence = match source {
            Source::Dht | Source::PeerExchange => Confidence::Low,
            Source::Connection | Source::Manual => Confidence::High,
            _ => Confidence::Medium,
        };
        Origin { source, confidence }
    }
}

/// How a dial went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Dial {
    /// It led to the peer.
    Succeeded,
    /// It failed.
    Failed,
    /// Nobody answered in time; counts half.
    TimedOut,
    /// Another peer answered: the address is that one's.
    WrongPeer(Peer),
}

impl PeerEditor<'_> {
    /// The address as it is stored, unless it must not be.
    fn taken(&self, addr: &Multiaddr) -> Option<Multiaddr> {
        let addr = normal_form(&self.peer, addr)?;
        let filter = self.core.options.address_filter.as_ref();
        filter
            .is_none_or(|filter| filter(&self.peer, &addr))
            .then_some(addr)
    }

    fn position(&self, addr: &Multiaddr) -> Option<usize> {
        self.reach
            .addresses
            .iter()
            .position(|known| known.addr == *addr)
    }

    /// Adds addresses: of those that are there, ttl and expiry become the greater ones, each for
    /// itself. [`Ttl::NONE`] does nothing.
    pub fn add_addrs(&mut self, addrs: &[Multiaddr], ttl: Ttl) {
        self.add_addrs_from(addrs, ttl, Origin::default());
    }

    /// As [`PeerEditor::add_addrs`], with where they come from. Worth is never lowered.
    pub fn add_addrs_from(&mut self, addrs: &[Multiaddr], ttl: Ttl, origin: impl Into<Origin>) {
        self.add(addrs, ttl, origin.into(), false);
    }

    pub(crate) fn add(&mut self, addrs: &[Multiaddr], ttl: Ttl, origin: Origin, certified: bool) {
        if ttl == Ttl::NONE {
            return;
        }
        // Those of the own peer do not expire.
        let ttl = match self.core.is_own(&self.peer) && !ttl.is_pinned() {
            true => Ttl::PERMANENT,
            false => ttl,
        };
        let mut incoming = Vec::new();
        for addr in addrs
            .iter()
            .filter_map(|addr| self.taken(addr))
            .collect::<Vec<_>>()
        {
            let at = self.position(&addr).unwrap_or_else(|| {
                let mut new = Address::new(addr.clone(), ttl, self.now_ms);
                new.confidence = origin.confidence;
                self.reach.addresses.push(new);
                incoming.push(addr);
                self.reach.addresses.len() - 1
            });
            let now_ms = self.now_ms;
            let Some(address) = self.reach.addresses.get_mut(at) else {
                continue;
            };
            address.ttl = address.ttl.max(ttl);
            address.expiry_ms = address.expiry_ms.max(ttl.expiry(now_ms));
            address.hear(now_ms, origin, certified);
        }
        self.keep_to_cap(&incoming);
    }

    /// Sets ttl and expiry of addresses to these, shorter or longer; adds what is missing.
    /// [`Ttl::NONE`] removes exactly these.
    pub fn set_addrs(&mut self, addrs: &[Multiaddr], ttl: Ttl) {
        if ttl == Ttl::NONE {
            let listed: Vec<Multiaddr> = addrs
                .iter()
                .filter_map(|addr| normal_form(&self.peer, addr))
                .collect();
            self.remove_where(RemovalReason::Deleted, |address| {
                listed.contains(&address.addr)
            });
            return;
        }
        self.add(addrs, ttl, Origin::default(), false);
        let (now_ms, own) = (self.now_ms, self.core.is_own(&self.peer));
        for addr in addrs
            .iter()
            .filter_map(|addr| normal_form(&self.peer, addr))
        {
            if let Some(at) = self.position(&addr)
                && let Some(address) = self.reach.addresses.get_mut(at)
                && !own
            {
                address.ttl = ttl;
                address.expiry_ms = ttl.expiry(now_ms);
            }
        }
        self.keep_to_cap(&[]);
    }

    /// Gives every address whose ttl is exactly `old` the ttl `new` from now on; [`Ttl::NONE`]
    /// removes them.
    pub fn update_addrs(&mut self, old: Ttl, new: Ttl) {
        if new == Ttl::NONE {
            self.remove_where(RemovalReason::Deleted, |address| address.ttl == old);
            return;
        }
        let expiry_ms = new.expiry(self.now_ms);
        for address in &mut self.reach.addresses {
            if address.ttl == old {
                address.ttl = new;
                address.expiry_ms = expiry_ms;
            }
        }
        self.keep_to_cap(&[]);
    }

    /// Removes all addresses and the signed record.
    pub fn clear_addrs(&mut self) {
        self.remove_where(RemovalReason::Deleted, |_| true);
    }

    /// Of those that may expire, the cap's worth stays.
    fn keep_to_cap(&mut self, incoming: &[Multiaddr]) {
        let max = self.core.options.addresses_max;
        let unpinned = self
            .reach
            .addresses
            .iter()
            .filter(|address| !address.is_pinned());
        if max == 0 || unpinned.clone().count() <= max {
            return;
        }
        let newcomers_stay = self.core.options.at_addresses_max == AddressCap::NewcomersStay;
        // Of newcomers alone the first ones stay, as in go's.
        let place = |addr: &Multiaddr| match newcomers_stay {
            true => incoming.iter().position(|new| new == addr),
            false => None,
        };
        let mut ranked: Vec<(Option<usize>, &Address)> = unpinned
            .map(|address| (place(&address.addr), address))
            .collect();
        ranked.sort_by(|(a_place, a), (b_place, b)| match (a_place, b_place) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => b.rank().cmp(&a.rank()),
        });
        let goes: Vec<Multiaddr> = ranked
            .into_iter()
            .skip(max)
            .map(|(_, address)| address.addr.clone())
            .collect();
        self.remove_where(RemovalReason::Evicted, |address| {
            goes.contains(&address.addr)
        });
    }

    // ---- connections

    /// A connection was made: the address that was used lives while it lasts, and is worth more.
    pub fn connected(&mut self, addr: Option<&Multiaddr>) {
        self.reach.last_connected_ms = self.now_ms;
        self.reach.grace_until_ms = 0;
        let Some(addr) = addr else {
            return;
        };
        self.add(
            std::slice::from_ref(addr),
            Ttl::CONNECTED,
            Source::Connection.into(),
            false,
        );
        self.succeed(addr);
    }

    /// What connected addresses live on for after the disconnect, in place of 15 minutes.
    pub fn set_ttl_on_disconnect(&mut self, ttl: Option<Ttl>) {
        self.reach.ttl_after_disconnect = ttl;
    }

    /// The last connection is gone: connected addresses live on for 15 minutes, at most `keep_max`
    /// of them, the one in use first; or all, as [`PeerEditor::set_ttl_on_disconnect`] says.
    pub fn disconnected(&mut self, keep_max: usize, in_use: Option<&Multiaddr>) {
        if self.reach.is_connected() {
            self.reach.last_connected_ms = self.now_ms;
        }
        if let Some(ttl) = self.reach.ttl_after_disconnect {
            self.update_addrs(Ttl::CONNECTED, ttl);
        } else {
            let in_use = in_use.and_then(|addr| normal_form(&self.peer, addr));
            let is_connected = |address: &&Address| address.ttl == Ttl::CONNECTED;
            let mut kept: Vec<&Address> =
                self.reach.addresses.iter().filter(is_connected).collect();
            kept.sort_by_cached_key(|address| {
                (Some(&address.addr) != in_use.as_ref(), address.dial_order())
            });
            let kept: Vec<Multiaddr> = kept
                .into_iter()
                .take(keep_max)
                .map(|address| address.addr.clone())
                .collect();
            self.remove_where(RemovalReason::Deleted, |address| {
                address.ttl == Ttl::CONNECTED && !kept.contains(&address.addr)
            });
            self.update_addrs(Ttl::CONNECTED, Ttl::RECENTLY_CONNECTED);
        }
        if let Some(grace) = self.core.options.disconnect_grace
            && self.is_known()
        {
            let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
            self.reach.grace_until_ms = self.now_ms.saturating_add(grace_ms).min(u64::MAX - 1);
        }
    }

    /// What identify told: its addresses take the place of those that came from connections before.
    /// As one change, so that nobody sees the peer without addresses. A signed record that is older
    /// than the known one says nothing new: the addresses stay.
    ///
    /// # Errors
    /// `InvalidRecord` if the signed record does not hold or is another peer's; as
    /// [`PeerEditor::consume_record`].
    pub fn identified(&mut self, addrs: &[Multiaddr], record: Option<&[u8]>) -> Result<()> {
        let ttl = match self.reach.is_connected() || self.reach.last_connected_ms == self.now_ms {
            true => Ttl::CONNECTED,
            false => Ttl::RECENTLY_CONNECTED,
        };
        let before = record.map(|_| self.reach.addresses.clone());
        self.update_addrs(Ttl::RECENTLY_CONNECTED, Ttl::TEMPORARY);
        self.update_addrs(Ttl::CONNECTED, Ttl::TEMPORARY);
        match record {
            Some(record) => {
                if !self.consume_own_record(record, ttl)?.is_accepted() {
                    self.reach.addresses = before.unwrap_or_default();
                    return Ok(());
                }
            }
            None => {
                let some = addrs.get(..IDENTIFY_ADDRESSES_MAX).unwrap_or(addrs);
                self.add(some, ttl, Source::Identify.into(), false);
            }
        }
        self.update_addrs(Ttl::TEMPORARY, Ttl::NONE);
        Ok(())
    }

    // ---- dials

    /// Notes how a dial went. A success brings the address to the front; after some failures in a
    /// row an address goes that is neither pinned nor manual.
    pub fn record_dial(&mut self, addr: &Multiaddr, dial: Dial) {
        let halves = match dial {
            Dial::Succeeded => {
                self.succeed(addr);
                return;
            }
            Dial::TimedOut => 1,
            Dial::Failed => 2,
            Dial::WrongPeer(_) => {
                self.set_addrs(std::slice::from_ref(addr), Ttl::NONE);
                return;
            }
        };
        let now_ms = self.now_ms;
        let Some(at) = normal_form(&self.peer, addr).and_then(|addr| self.position(&addr)) else {
            return;
        };
        let max = self.core.options.dial_failures_max;
        let Some(address) = self.reach.addresses.get_mut(at) else {
            return;
        };
        address.last_failure_ms = now_ms;
        address.half_failures = address.half_failures.saturating_add(halves);
        let too_often = max > 0 && address.half_failures >= max.saturating_mul(2);
        if too_often && !address.is_pinned() && address.source != Source::Manual {
            let addr = address.addr.clone();
            self.remove_where(RemovalReason::DialFailure, |address| address.addr == addr);
        }
    }

    fn succeed(&mut self, addr: &Multiaddr) {
        let now_ms = self.now_ms;
        let found = normal_form(&self.peer, addr).and_then(|addr| self.position(&addr));
        if let Some(address) = found.and_then(|at| self.reach.addresses.get_mut(at)) {
            address.last_success_ms = now_ms;
            address.half_failures = 0;
            address.confidence = address.confidence.max(Confidence::High);
        }
    }
}

impl Address {
    /// It was heard of again.
    fn hear(&mut self, now_ms: u64, origin: Origin, certified: bool) {
        self.last_seen_ms = now_ms;
        self.confidence = self.confidence.max(origin.confidence);
        if self.source == Source::Unknown {
            self.source = origin.source;
        }
        self.certified |= certified;
        self.uncertified |= !certified;
    }
}
