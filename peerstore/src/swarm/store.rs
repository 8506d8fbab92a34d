//! The store: what the swarm tells becomes changes of the books, what the books tell becomes events
//! for the swarm. The rules of addresses are the books'; here is only what a swarm means by them.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p_swarm::{DialError, FromSwarm};

use super::config::Config;
use super::custom::CustomData;
use super::scratch::Scratch;
use crate::libp2p::{
    self as books, Candidate, Confidence, Dial, Error, ErrorKind, EventKind, Identified,
    KEEP_ALIVE, MetadataValue, Next, Origin, Peer, PeerEditor, Peerstore, Position, Result, Source,
    Stream, Ttl,
};

/// Where custom data stands in the metadata book.
const CUSTOM: &str = "swarm.custom";
/// What keeps a peer that was connected from being displaced. Goes by itself with the proven life.
const WAS_CONNECTED: &str = "keep-alive.was-connected";
/// How many peers are looked at for one that may go, when all were connected once.
const SAMPLE: usize = 32;

/// A peer store of a rust-libp2p swarm that survives restarts: takes the place of
/// `libp2p-peer-store`'s `MemoryStore` in its `Behaviour`.
///
/// No call waits for the device. Errors of the disk cannot be told to the swarm: see
/// [`PersistentStore::health`].
#[derive(Debug)]
pub struct PersistentStore<T = ()> {
    books: Peerstore,
    config: Config,
    events: Stream<books::Event>,
    /// Addresses that are lent until the next exclusive call.
    scratch: Scratch,
    /// Peers with a connection, as the swarm tells.
    connected: BTreeSet<PeerId>,
    last_contact: Option<Instant>,
    /// Where the next search for somebody to displace begins.
    position: Option<Position>,
    health: Health,
    not_lent: AtomicU64,
    set_aside: Option<PathBuf>,
    custom: PhantomData<fn() -> T>,
}

/// What happened in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer has an address that it had not.
    PeerAddressAdded {
        /// The peer.
        peer_id: PeerId,
        /// The address, without the peer's own `/p2p`.
        address: Multiaddr,
        /// Whether the program added it itself, so that no failed dial removes it.
        is_permanent: bool,
    },
    /// An address is gone: its dials failed, it expired, newer ones took its place, its peer had to
    /// make room, or the program removed it.
    PeerAddressRemoved {
        /// The peer.
        peer_id: PeerId,
        /// The address.
        address: Multiaddr,
    },
    /// So many events were lost here, because nobody polled for too long.
    Missed(u64),
}

/// How the store is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Health {
    /// The last change that failed, as text; what the swarm told then is lost.
    pub last_error: Option<String>,
    /// How many changes failed.
    pub errors: u64,
    /// Peers that were heard of and not taken, because there were as many as there may be.
    pub refused_peers: u64,
    /// Look-ups answered as not known, because [`Config::scratch_bytes_max`] was lent.
    pub not_lent: u64,
    /// Custom data that said nothing to this version of the program, and was dropped.
    pub custom_dropped: u64,
    /// Failed dials that did not count, because this node reached nobody.
    pub failures_without_contact: u64,
    /// Records that could not be read at opening, as text; the rest is served.
    pub damaged: Vec<String>,
    /// Where a store lies now that could not be opened at all; this one began empty.
    pub set_aside: Option<PathBuf>,
}

impl<T: CustomData> PersistentStore<T> {
    /// Opens the store in `dir`, making it if the directory is missing or empty. One that is damaged
    /// beyond opening is set aside under another name, and an empty one takes its place:
    /// [`Health::set_aside`] says so. A node starts in any case.
    ///
    /// # Errors
    /// `Locked` if another process or handle has it; `UnsupportedVersion` for a newer program's;
    /// `InvalidArgument` for an option out of range or a directory that holds something else; `Io`.
    pub fn open(dir: impl AsRef<Path>, config: Config) -> Result<PersistentStore<T>> {
        let dir = dir.as_ref();
        let opened = Peerstore::open(dir, config.options());
        let (books, set_aside) = match opened {
            Ok(books) => (books, None),
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                let aside = set_aside(dir, &error)?;
                (Peerstore::open(dir, config.options())?, Some(aside))
            }
            Err(error) => return Err(error),
        };
        let mut store = PersistentStore::on(books, config);
        store.set_aside = set_aside;
        Ok(store)
    }

    /// On books that are open, which may be used beside it; capacities and lives of addresses that
    /// the books have stay as they were opened with.
    #[must_use]
    pub fn on(books: Peerstore, config: Config) -> PersistentStore<T> {
        PersistentStore {
            events: books.events(),
            books,
            config,
            scratch: Scratch::default(),
            connected: BTreeSet::new(),
            last_contact: None,
            position: None,
            health: Health::default(),
            not_lent: AtomicU64::new(0),
            set_aside: None,
            custom: PhantomData,
        }
    }

    /// The books beneath: everything else that is known of peers, and what closes the store.
    #[must_use]
    pub fn books(&self) -> &Peerstore {
        &self.books
    }

    /// How the store is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            not_lent: self.not_lent.load(Ordering::Relaxed),
            damaged: self.books.damaged().to_vec(),
            set_aside: self.set_aside.clone(),
            ..self.health.clone()
        }
    }

    // ---- what the program says

    /// Adds an address that no failed dial removes, and that does not expire; whether it is new.
    /// Nothing is added that ends with another peer's name.
    ///
    /// # Errors
    /// `TooMany` if there is no room for the peer; `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn add_address(&mut self, peer: &PeerId, address: &Multiaddr) -> Result<bool> {
        self.scratch.clear();
        self.make(peer, true, |editor| {
            let before = editor.addresses().len();
            let origin = Origin {
                source: Source::Manual,
                confidence: Confidence::Pinned,
            };
            editor.add_addrs_from(std::slice::from_ref(address), Ttl::PERMANENT, origin);
            Ok(editor.addresses().len() > before)
        })
    }

    /// Removes an address, also one that the program added; whether it was there.
    ///
    /// # Errors
    /// `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn remove_address(&mut self, peer: &PeerId, address: &Multiaddr) -> Result<bool> {
        self.scratch.clear();
        self.books.update(peer, |editor| {
            let before = editor.addresses().len();
            editor.set_addrs(std::slice::from_ref(address), Ttl::NONE);
            Ok(editor.addresses().len() < before)
        })
    }

    /// What identify told of a peer: its protocols and versions, and its signed record, whose
    /// addresses take the place of those of an older record. The addresses of an unsigned message
    /// come through the swarm's own event.
    ///
    /// # Errors
    /// `InvalidRecord` if the signed record does not hold or is another peer's, and nothing is changed
    /// then; else as [`PersistentStore::add_address`].
    pub fn identified(&mut self, peer: &PeerId, told: &Identified<'_>) -> Result<()> {
        self.scratch.clear();
        let heard = self.config.heard();
        self.make(peer, true, |editor| {
            if let Some(record) = told.record {
                editor.consume_own_record(record, heard)?;
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
        })
    }

    /// The peers to dial first after a start: reached last, spread over networks.
    ///
    /// # Errors
    /// `Io`, `Closed`.
    pub fn bootstrap_candidates(&self, count: usize) -> Result<Vec<Candidate>> {
        self.books.bootstrap_candidates(count)
    }

    // ---- custom data

    /// The program's data about a peer. What this version cannot read is dropped, and counted.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn custom_data(&mut self, peer: &PeerId) -> Result<Option<T>> {
        let bytes = match self.books.metadata(peer, CUSTOM) {
            Ok(MetadataValue::Bytes(bytes)) => bytes,
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let data = T::decode(&bytes);
        if data.is_none() {
            self.health.custom_dropped += 1;
            self.books.delete_metadata(peer, CUSTOM)?;
        }
        Ok(data)
    }

    /// Stores data about a peer in place of what was there; a peer with such data is kept without
    /// an address too.
    ///
    /// # Errors
    /// `TooLarge`; else as [`PersistentStore::add_address`].
    pub fn insert_custom_data(&mut self, peer: &PeerId, data: &T) -> Result<()> {
        let value = MetadataValue::Bytes(data.encode());
        self.make(peer, true, |editor| {
            editor.put_metadata(CUSTOM, value.clone())
        })
    }

    /// Takes the data about a peer out.
    ///
    /// # Errors
    /// As [`PersistentStore::custom_data`].
    pub fn take_custom_data(&mut self, peer: &PeerId) -> Result<Option<T>> {
        let data = self.custom_data(peer)?;
        if data.is_some() {
            self.books.delete_metadata(peer, CUSTOM)?;
        }
        Ok(data)
    }

    // ---- what the swarm says

    /// Whether this node reaches anybody, so that a failed dial says something about the address.
    fn has_contact(&self) -> bool {
        let recently = |at: Instant| at.elapsed() < self.config.contact_window;
        !self.connected.is_empty() || self.last_contact.is_some_and(recently)
    }

    fn heard_of(&mut self, peer: &PeerId, address: &Multiaddr) {
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
            Err(error) if error.kind() == ErrorKind::TooMany => self.health.refused_peers += 1,
            other => self.note(other),
        }
    }

    fn established(&mut self, told: &ConnectionEstablished<'_>) {
        self.connected.insert(told.peer_id);
        self.last_contact = Some(Instant::now());
        let endpoint = told.endpoint;
        let proven = self.config.proven();
        let protects = self.config.peers_max > 0;
        let done = match endpoint.is_dialer() {
            true => self.make(&told.peer_id, true, |editor| {
                for failed in told.failed_addresses {
                    editor.record_dial(failed, Dial::Failed);
                }
                let address = endpoint.get_remote_address();
                let found = std::slice::from_ref(address);
                editor.add_addrs_from(found, proven, Source::Connection);
                editor.record_dial(address, Dial::Succeeded);
                if protects {
                    protect(editor, proven)?;
                }
                Ok(())
            }),
            // The port that a listener sees is none to dial.
            false => Ok(()),
        };
        self.note(done);
    }

    fn closed(&mut self, told: &ConnectionClosed<'_>) {
        self.last_contact = Some(Instant::now());
        if told.remaining_established > 0 {
            return;
        }
        self.connected.remove(&told.peer_id);
        if !told.endpoint.is_dialer() {
            return;
        }
        // The proven life counts from the end of the connection.
        let proven = self.config.proven();
        let protects = self.config.peers_max > 0;
        let done = self.books.update(told.peer_id, |editor| {
            let address = told.endpoint.get_remote_address();
            let known = books::normal_form(&editor.peer(), address);
            if !editor
                .addresses()
                .iter()
                .any(|one| Some(&one.addr) == known.as_ref())
            {
                return Ok(());
            }
            let found = std::slice::from_ref(address);
            editor.add_addrs_from(found, proven, Source::Connection);
            match protects {
                true => protect(editor, proven),
                false => Ok(()),
            }
        });
        self.note(done);
    }

    fn failed(&mut self, told: &DialFailure<'_>) {
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
                self.note(done);
            }
            DialError::LocalPeerId { .. } => {
                let is_own = self.config.own_id == Some(Peer::from(peer));
                let done = match is_own {
                    true => Ok(()),
                    false => self.books.forget_peer(peer).map(drop),
                };
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

    /// A change that may bring a new peer. When there is no room for it, and `displaces`, one of
    /// those that were connected loses its protection: the longest ago of a few.
    fn make<R>(
        &mut self,
        peer: &PeerId,
        displaces: bool,
        mut change: impl FnMut(&mut PeerEditor<'_>) -> Result<R>,
    ) -> Result<R> {
        match self.books.update(peer, &mut change) {
            Err(error) if displaces && error.kind() == ErrorKind::TooMany => {
                self.unprotect_one()?;
                self.books.update(peer, change)
            }
            other => other,
        }
    }

    fn unprotect_one(&mut self) -> Result<()> {
        let mut peers = self.books.all_peers();
        if let Some(position) = self.position {
            peers = peers.from(position);
        }
        let mut sample: Vec<Peer> = peers.by_ref().take(SAMPLE).collect();
        self.position = Some(peers.position());
        if sample.len() < SAMPLE {
            peers = self.books.all_peers();
            sample.extend(peers.by_ref().take(SAMPLE));
            self.position = Some(peers.position());
        }
        let mut oldest = None;
        for peer in sample {
            let is_connected = peer
                .to_peer_id()
                .is_some_and(|peer| self.connected.contains(&peer));
            if is_connected {
                continue;
            }
            let tags = self.books.tags(peer)?;
            let Some(tag) = tags.get(WAS_CONNECTED) else {
                continue;
            };
            let others = tags
                .keys()
                .any(|name| name != WAS_CONNECTED && name.starts_with(KEEP_ALIVE));
            if !others {
                let found = (tag.expiry_ms, peer);
                oldest =
                    Some(oldest.map_or(found, |oldest: (Option<u64>, Peer)| oldest.min(found)));
            }
        }
        match oldest {
            Some((_, peer)) => self.books.remove_tag(peer, WAS_CONNECTED).map(drop),
            None => Ok(()),
        }
    }

    fn note(&mut self, done: Result<()>) {
        if let Err(error) = done {
            tracing::warn!(%error, "what the swarm told could not be stored");
            self.health.errors += 1;
            self.health.last_error = Some(error.to_string());
        }
    }
}

/// Keeps a peer from being displaced by those that were only heard of; written once in an eighth of
/// the life.
fn protect(editor: &mut PeerEditor<'_>, life: Ttl) -> Result<()> {
    let until_ms = editor.now_ms.saturating_add(life.millis());
    let tag = editor.profile()?.tags.get(WAS_CONNECTED);
    let enough_ms = until_ms.saturating_sub(life.millis() / 8);
    match tag.is_some_and(|tag| tag.expiry_ms.is_none_or(|at_ms| at_ms > enough_ms)) {
        true => Ok(()),
        false => editor.set_tag(WAS_CONNECTED, 0, life),
    }
}

/// Moves a directory that cannot be opened to a name that is free.
fn set_aside(dir: &Path, why: &Error) -> Result<PathBuf> {
    for number in 1..1_000 {
        let mut name = dir.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if aside.exists() {
            continue;
        }
        return match std::fs::rename(dir, &aside) {
            Ok(()) => {
                tracing::error!(%why, aside = %aside.display(), "a peer store was set aside");
                Ok(aside)
            }
            Err(error) => Err(Error::new(
                ErrorKind::Corrupted,
                format!("{why}; and it cannot be set aside: {error}"),
            )),
        };
    }
    Err(why.clone())
}

impl<T: CustomData + 'static> Store for PersistentStore<T> {
    type Event = Event;

    fn on_swarm_event(&mut self, event: &FromSwarm) {
        self.scratch.clear();
        match event {
            FromSwarm::NewExternalAddrOfPeer(told) => self.heard_of(&told.peer_id, told.addr),
            FromSwarm::ConnectionEstablished(told) => self.established(told),
            FromSwarm::ConnectionClosed(told) => self.closed(told),
            FromSwarm::DialFailure(told) => self.failed(told),
            _ => {}
        }
    }

    fn addresses_of_peer(&self, peer: &PeerId) -> Option<impl Iterator<Item = &Multiaddr>> {
        let peer = Peer::from(*peer);
        if !self.books.has_peer(peer) {
            return None;
        }
        // A swarm has no ear for a disk error; it dials what it knows otherwise.
        let addrs = self.books.addrs(peer).ok()?;
        let lent = self
            .scratch
            .lend(peer, addrs, self.config.scratch_bytes_max);
        if lent.is_none() {
            self.not_lent.fetch_add(1, Ordering::Relaxed);
        }
        lent.map(<[Multiaddr]>::iter)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        self.scratch.clear();
        loop {
            let next = match self.events.poll_next(context) {
                Poll::Ready(Some(next)) => next,
                // Closed: nothing will ever come.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            };
            let event = match next {
                Next::Lagged(missed) => return Poll::Ready(Event::Missed(missed)),
                Next::Item(event) => event,
            };
            // Names that are no peer ids come from other programs' stores.
            let Some(peer_id) = event.peer.to_peer_id() else {
                continue;
            };
            match event.kind {
                EventKind::AddressAdded(address) => {
                    return Poll::Ready(Event::PeerAddressAdded {
                        peer_id,
                        is_permanent: address.ttl == Ttl::PERMANENT,
                        address: address.addr,
                    });
                }
                EventKind::AddressRemoved { addr, .. } => {
                    return Poll::Ready(Event::PeerAddressRemoved {
                        peer_id,
                        address: addr,
                    });
                }
                _ => {}
            }
        }
    }
}
