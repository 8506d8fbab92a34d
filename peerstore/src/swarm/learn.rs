//! What the swarm and identify tell, and what becomes of it in the books. The rules of addresses are the books'; here
//! is only what a swarm means by them.

use std::time::Instant;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::DialError;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};

use super::custom::CustomData;
use super::room::protect;
use super::store::PersistentStore;
use crate::libp2p::{
    self as books, Confidence, Dial, ErrorKind, EventKind, IDENTIFY_ADDRESSES_MAX, Identified,
    Origin, Peer, PeerEditor, RemovalReason, Result, Source, Ttl,
};

/// How many connections the books are told of at a time.
const TOLD_AT_A_TIME: usize = 4;

impl<T: CustomData> PersistentStore<T> {
    /// What identify told of a peer: its protocols and versions, and its signed record, whose
    /// addresses take the place of those of an older record; without a record the addresses that it
    /// listens on, the first 500. To be called each time: who connected to this node keeps its addresses by
    /// telling them again.
    ///
    /// A record for which there is no room, because there are as many as there may be, is counted in
    /// [`Health::refused_records`](super::Health::refused_records), and the rest is taken.
    ///
    /// # Errors
    /// `InvalidRecord` if the signed record does not hold or is another peer's, `TooMany` or `TooLarge` if it tells
    /// of more protocols than a peer may have, and nothing is changed then; `TooManyPeers` if it is new and there is no
    /// room for it; `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn identified(&mut self, peer: &PeerId, told: &Identified<'_>) -> Result<()> {
        self.scratch.clear();
        let heard = self.config.heard();
        // Identities cost nothing: only whom this node chose to dial takes another's place.
        let displaces = self.connections.is_dialled(peer);
        let mut refused = 0;
        let done = self.make(peer, displaces, |editor| {
            refused = 0;
            let taken = match told.record {
                Some(record) => match editor.consume_own_record(record, heard) {
                    Err(error) if error.kind() == ErrorKind::TooMany => {
                        refused = 1;
                        false
                    }
                    other => other.map(|_| true)?,
                },
                None => false,
            };
            if !taken {
                let some = told.addrs.get(..IDENTIFY_ADDRESSES_MAX);
                editor.add_addrs_from(some.unwrap_or(told.addrs), heard, Source::Identify);
            }
            if !told.protocols.is_empty() {
                editor.set_protocols(told.protocols)?;
            }
            for (key, value) in [
                ("AgentVersion", told.agent_version),
                ("ProtocolVersion", told.protocol_version),
            ] {
                if let Some(value) = value {
                    editor.put_metadata(key, value)?;
                }
            }
            Ok(())
        });
        match &done {
            Ok(()) => self.health.refused_records += refused,
            Err(error) if error.kind() == ErrorKind::TooManyPeers => self.health.refused_peers += 1,
            Err(_) => {}
        }
        done
    }

    /// As [`PersistentStore::identified`], with what the swarm's identify received, as it comes.
    ///
    /// # Errors
    /// As [`PersistentStore::identified`].
    pub fn received(&mut self, peer: &PeerId, info: &libp2p_identify::Info) -> Result<()> {
        let protocols: Vec<String> = info.protocols.iter().map(ToString::to_string).collect();
        let record = info.signed_peer_record.as_ref();
        let record = record.map(|envelope| envelope.clone().into_protobuf_encoding());
        let told = Identified {
            addrs: &info.listen_addrs,
            record: record.as_deref(),
            protocols: &protocols,
            agent_version: Some(&info.agent_version),
            protocol_version: Some(&info.protocol_version),
        };
        self.identified(peer, &told)
    }

    /// Whether this node reaches anybody, so that a failed dial says something about the address.
    fn has_contact(&self) -> bool {
        let recently = |at: Instant| at.elapsed() < self.config.contact_window;
        !self.connections.is_empty() || self.last_contact.is_some_and(recently)
    }

    pub(super) fn heard_of(&mut self, peer: &PeerId, address: &Multiaddr) {
        let heard = self.config.heard();
        let origin = Origin {
            source: Source::Unknown,
            confidence: Confidence::Low,
        };
        let done = self.make(peer, false, |editor| {
            editor.add_addrs_from(std::slice::from_ref(address), heard, origin);
            Ok(())
        });
        match done {
            Err(error) if error.kind() == ErrorKind::TooManyPeers => self.health.refused_peers += 1,
            other => self.note(other),
        }
    }

    pub(super) fn established(&mut self, told: &ConnectionEstablished<'_>) {
        self.last_contact = Some(Instant::now());
        let (peer, endpoint) = (told.peer_id, told.endpoint);
        let now_ms = self.books.now_ms();
        if !endpoint.is_dialer() {
            // The port that a listener sees is none to dial.
            self.connections
                .open(peer, told.connection_id, None, now_ms);
            return;
        }
        let address = endpoint.get_remote_address();
        let dialled = books::normal_form(&Peer::from(peer), address);
        self.connections
            .open(peer, told.connection_id, dialled, now_ms);
        let (proven, protects) = (self.config.proven(), self.config.peers_max > 0);
        let done = self.make(&peer, true, |editor| {
            for failed in told.failed_addresses {
                editor.record_dial(failed, Dial::Failed);
            }
            prove(editor, std::slice::from_ref(address), proven, protects)
        });
        self.note(done);
    }

    pub(super) fn closed(&mut self, told: &ConnectionClosed<'_>) {
        self.last_contact = Some(Instant::now());
        let is_last = told.remaining_established == 0;
        let dialled = self
            .connections
            .close(told.peer_id, told.connection_id, is_last);
        // The proven life counts from the end of the connection.
        if let Some(address) = dialled {
            self.prove(&told.peer_id, std::slice::from_ref(&address));
        }
    }

    /// Addresses in use lead to their peer today, too.
    fn prove(&mut self, peer: &PeerId, addresses: &[Multiaddr]) {
        let (proven, protects) = (self.config.proven(), self.config.peers_max > 0);
        let done = self.make(peer, true, |editor| {
            prove(editor, addresses, proven, protects)
        });
        self.note(done);
    }

    /// Tells the books of connections that last: each once in an eighth of a proven life, a few at a time. True if
    /// there are more.
    pub(super) fn keep_proven(&mut self) -> bool {
        let now_ms = self.books.now_ms();
        let until_ms = now_ms.saturating_sub(self.config.proven().millis() / 8);
        for _ in 0..TOLD_AT_A_TIME {
            match self.connections.next(until_ms, now_ms) {
                Some((peer, addresses)) if !addresses.is_empty() => self.prove(&peer, &addresses),
                Some(_) => {}
                None => return false,
            }
        }
        true
    }

    /// What was removed for a reason is not brought back by a connection that ends.
    pub(super) fn note_removal(&mut self, peer: &PeerId, kind: &EventKind) {
        if let EventKind::AddressRemoved { addr, reason } = kind
            && matches!(reason, RemovalReason::Deleted | RemovalReason::DialFailure)
            && self.connections.contains(peer)
            // It may have been dialled again before this was told.
            && !self.has_address(peer, addr).unwrap_or(false)
        {
            self.connections.removed(peer, addr);
        }
    }

    pub(super) fn failed(&mut self, told: &DialFailure<'_>) {
        let Some(peer) = told.peer_id else { return };
        match told.error {
            DialError::WrongPeerId { obtained, address } => {
                // Somebody answered: there is a network.
                self.last_contact = Some(Instant::now());
                let dial = Dial::WrongPeer(Peer::from(*obtained));
                let is_known = self.has_address(&peer, address);
                let done = match is_known {
                    Ok(true) => self.books.record_dial(peer, address, dial),
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                };
                if let Some(address) = books::normal_form(&Peer::from(peer), address) {
                    self.connections.removed(&peer, &address);
                }
                self.note(done);
            }
            DialError::LocalPeerId { .. } => {
                let is_own = self.config.own_id == Some(Peer::from(peer));
                let done = match is_own {
                    true => Ok(()),
                    false => self.books.forget_peer(peer).map(drop),
                };
                self.connections.forgotten(&peer);
                self.note(done);
            }
            DialError::Transport(_) if !self.has_contact() => {
                self.health.failures_without_contact += 1;
            }
            DialError::Transport(errors) => {
                let done = self.books.update(peer, |editor| {
                    for (address, _) in errors {
                        editor.record_dial(address, Dial::Failed);
                    }
                    Ok(())
                });
                self.note(done);
            }
            _ => {}
        }
    }

    fn has_address(&self, peer: &PeerId, address: &Multiaddr) -> Result<bool> {
        let Some(address) = books::normal_form(&Peer::from(*peer), address) else {
            return Ok(false);
        };
        Ok(self.books.addrs(peer)?.contains(&address))
    }

    fn note(&mut self, done: Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, "what the swarm told could not be stored");
            self.health.errors += 1;
            self.health.last_error = Some(error.to_string());
        }
    }
}

/// These addresses lead to the peer now.
fn prove(
    editor: &mut PeerEditor<'_>,
    addresses: &[Multiaddr],
    proven: Ttl,
    protects: bool,
) -> Result<()> {
    editor.add_addrs_from(addresses, proven, Source::Connection);
    for address in addresses {
        editor.record_dial(address, Dial::Succeeded);
    }
    match protects {
        true => protect(editor, proven),
        false => Ok(()),
    }
}
