//! The address book as callers have it: each call is one change of one peer.

use libp2p_core::Multiaddr;

use super::address::{Address, AddressOrder, parse_address};
use super::addresses::{Dial, KEPT_AFTER_DISCONNECT, Origin};
use super::error::Result;
use super::peer::Peer;
use super::peer_data::ordered;
use super::peers::Peers;
use super::peerstore::Peerstore;
use super::ttl::{Source, Ttl};

/// What the identify protocol told about a peer.
#[derive(Clone, Debug, Default)]
pub struct Identified<'a> {
    /// The addresses that it listens on.
    pub addrs: &'a [Multiaddr],
    /// Its signed record, in wire form; its addresses take the place of the others.
    pub record: Option<&'a [u8]>,
    /// The protocols that it speaks.
    pub protocols: &'a [String],
    /// Its agent, for instance `rust-libp2p/0.57`.
    pub agent_version: Option<&'a str>,
    /// Its protocol version, for instance `ipfs/0.1.0`.
    pub protocol_version: Option<&'a str>,
}

impl Peerstore {
    /// Adds addresses of a peer: of those that are there, ttl and expiry become the greater ones,
    /// each for itself. [`Ttl::NONE`] does nothing, and so does an empty list.
    ///
    /// The peer's own `/p2p` at the end of an address is cut off; an address of another peer is
    /// left out, as is an empty one.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Peerstore, Ttl};
    /// use libp2p_identity::PeerId;
    ///
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let (alice, addr) = (PeerId::random(), "/ip4/192.0.2.7/tcp/4001".parse().expect("an address"));
    /// peers.add_addrs(alice, &[addr], Ttl::ADDRESS)?;
    /// peers.update_addrs(alice, Ttl::ADDRESS, Ttl::NONE)?;
    /// assert!(peers.addrs(alice)?.is_empty());
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn add_addrs(&self, peer: impl Into<Peer>, addrs: &[Multiaddr], ttl: Ttl) -> Result<()> {
        self.add_addrs_from(peer, addrs, ttl, Origin::default())
    }

    /// As [`Peerstore::add_addrs`], with where the addresses come from and what they are worth.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn add_addrs_from(
        &self,
        peer: impl Into<Peer>,
        addrs: &[Multiaddr],
        ttl: Ttl,
        origin: impl Into<Origin>,
    ) -> Result<()> {
        let (peer, origin) = (peer.into(), origin.into());
        if addrs.is_empty() || ttl == Ttl::NONE {
            return self.core().check_writable();
        }
        self.core().update(&peer, |peer| {
            peer.add_addrs_from(addrs, ttl, origin);
            Ok(())
        })
    }

    /// As [`Peerstore::add_addrs`], from the bytes of addresses.
    ///
    /// # Errors
    /// `InvalidAddress` if any of them is none; nothing is added then.
    pub fn add_addr_bytes(&self, peer: impl Into<Peer>, addrs: &[&[u8]], ttl: Ttl) -> Result<()> {
        let parsed = addrs.iter().map(|bytes| parse_address(bytes));
        self.add_addrs(peer, &parsed.collect::<Result<Vec<_>>>()?, ttl)
    }

    /// Sets ttl and expiry of addresses, shorter or longer; adds what is missing. [`Ttl::NONE`]
    /// removes exactly these.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn set_addrs(&self, peer: impl Into<Peer>, addrs: &[Multiaddr], ttl: Ttl) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.set_addrs(addrs, ttl);
            Ok(())
        })
    }

    /// Gives every address whose ttl is exactly `old` the ttl `new` from now on; [`Ttl::NONE`]
    /// removes them.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn update_addrs(&self, peer: impl Into<Peer>, old: Ttl, new: Ttl) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.update_addrs(old, new);
            Ok(())
        })
    }

    /// Removes all addresses of a peer and its signed record; the other books stay.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn clear_addrs(&self, peer: impl Into<Peer>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.clear_addrs();
            Ok(())
        })
    }

    /// The live addresses of a peer, in the order of the options; none of one that is not known.
    /// Reading never writes.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn addrs(&self, peer: impl Into<Peer>) -> Result<Vec<Multiaddr>> {
        let found = self.addresses(peer)?;
        Ok(found.into_iter().map(|address| address.addr).collect())
    }

    /// The live addresses of a peer with what is known of each.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn addresses(&self, peer: impl Into<Peer>) -> Result<Vec<Address>> {
        self.addresses_in(peer, self.core().options.address_order)
    }

    /// The live addresses of a peer in an order of choice.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn addresses_in(&self, peer: impl Into<Peer>, order: AddressOrder) -> Result<Vec<Address>> {
        let Some(reach) = self.core().reach(&peer.into())? else {
            return Ok(Vec::new());
        };
        Ok(ordered(&reach, self.core().now_ms(), order))
    }

    /// All peers with an address that lives; from memory, in no order.
    #[must_use]
    pub fn peers_with_addrs(&self) -> Peers {
        self.peers_where(|known, now_ms| now_ms < known.latest_expiry_ms)
    }

    // ---- connections

    /// A connection was made, with this address if it is known: it lives while the connection lasts.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn connected(&self, peer: impl Into<Peer>, addr: Option<&Multiaddr>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.connected(addr);
            Ok(())
        })
    }

    /// The last connection to a peer is gone: of its connected addresses the best twenty live on for
    /// 15 minutes, the one in use first.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn disconnected(&self, peer: impl Into<Peer>, in_use: Option<&Multiaddr>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.disconnected(KEPT_AFTER_DISCONNECT, in_use);
            Ok(())
        })
    }

    /// What connected addresses of a peer live on for after its disconnect, in place of the rule of
    /// [`Peerstore::disconnected`].
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn set_ttl_on_disconnect(&self, peer: impl Into<Peer>, ttl: Option<Ttl>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.set_ttl_on_disconnect(ttl);
            Ok(())
        })
    }

    /// Takes what identify told, into all books as one change: nobody sees the peer between old and
    /// new addresses.
    ///
    /// # Errors
    /// `InvalidRecord` if the signed record does not hold or is another peer's; as the books say;
    /// nothing is changed then.
    pub fn identified(&self, peer: impl Into<Peer>, told: &Identified<'_>) -> Result<()> {
        self.core().update(&peer.into(), |peer| {
            peer.identified(told.addrs, told.record)?;
            if !told.protocols.is_empty() {
                peer.set_protocols(told.protocols)?;
            }
            if let Some(agent) = told.agent_version {
                peer.put_metadata("AgentVersion", agent)?;
            }
            if let Some(version) = told.protocol_version {
                peer.put_metadata("ProtocolVersion", version)?;
            }
            Ok(())
        })
    }

    // ---- dials

    /// Notes how a dial of an address went: success brings it to the front, failure to the back, and
    /// after some failures in a row an address goes that is neither pinned nor manual. If another
    /// peer answered, the address becomes that one's, in the same change; if this node itself did,
    /// nobody's.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn record_dial(&self, peer: impl Into<Peer>, addr: &Multiaddr, dial: Dial) -> Result<()> {
        let peer = peer.into();
        let Dial::WrongPeer(answered) = dial else {
            return self.core().update(&peer, |peer| {
                peer.record_dial(addr, dial);
                Ok(())
            });
        };
        if answered == peer {
            return self.core().check_writable();
        }
        if self.core().is_own(&answered) {
            // An address of this node is nobody else's, and no success of its own.
            return self.core().update(&peer, |peer| {
                peer.record_dial(addr, dial);
                Ok(())
            });
        }
        let Some(plain) = super::address::normal_form(&peer, addr) else {
            return self.core().check_writable();
        };
        self.core().update_many(&[peer, answered], |editors| {
            if let [dialled, answered] = editors {
                dialled.record_dial(addr, dial);
                let found = std::slice::from_ref(&plain);
                answered.add_addrs_from(found, Ttl::ADDRESS, Origin::from(Source::Connection));
                answered.record_dial(&plain, Dial::Succeeded);
            }
            Ok(())
        })
    }
}
