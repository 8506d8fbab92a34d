//! The store: what the swarm tells becomes changes of the books, what the books tell becomes events
//! for the swarm. The rules of addresses are the books'; here is only what a swarm means by them.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use libp2p_swarm::FromSwarm;

use super::config::Config;
use super::connections::Connections;
use super::custom::CustomData;
use super::event::Event;
use super::health::Health;
use super::scratch::Scratch;
use crate::libp2p::{
    self as books, Candidate, Confidence, Error, ErrorKind, EventKind, KEEPS_ITS_PEER,
    MetadataValue, Next, Origin, Peer, Peerstore, Position, Result, Source, Stream, Ttl,
};

/// A peer store of a rust-libp2p swarm that survives restarts: takes the place of
/// `libp2p-peer-store`'s `MemoryStore` in its `Behaviour`.
///
/// No call waits for the device. Errors of the disk cannot be told to the swarm: see
/// [`PersistentStore::health`].
#[derive(Debug)]
pub struct PersistentStore<T = ()> {
    pub(super) books: Peerstore,
    pub(super) config: Config,
    events: Stream<books::Event>,
    /// Addresses that are lent until the next exclusive call.
    pub(super) scratch: Scratch,
    /// Peers with a connection, as the swarm tells.
    pub(super) connections: Connections,
    pub(super) last_contact: Option<Instant>,
    /// Where the next search for somebody to displace begins.
    pub(super) position: Option<Position>,
    pub(super) health: Health,
    not_lent: AtomicU64,
    set_aside: Option<PathBuf>,
    custom: PhantomData<fn() -> T>,
}

impl<T: CustomData> PersistentStore<T> {
    /// Opens the store in `dir`, making it if the directory is missing or empty. One that is damaged
    /// beyond opening is set aside under another name, and an empty one takes its place:
    /// [`Health::set_aside`] says so. So damage keeps no node from starting; what does stands below.
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
            events: books.address_events(),
            books,
            config,
            scratch: Scratch::default(),
            connections: Connections::default(),
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
    /// `TooManyPeers` if there is no room for the peer; `StorageFull`, `Io`, `Poisoned`, `Closed`.
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
        if let Some(address) = books::normal_form(&Peer::from(peer), address) {
            self.connections.removed(peer, &address);
        }
        self.books.update(peer, |editor| {
            let before = editor.addresses().len();
            editor.set_addrs(std::slice::from_ref(address), Ttl::NONE);
            Ok(editor.addresses().len() < before)
        })
    }

    /// The peers to dial first after a start: reached last, spread over networks. [`Rejoin`](super::Rejoin) dials
    /// them until one answers.
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
        let bytes = match self.books.metadata(peer, KEEPS_ITS_PEER) {
            Ok(MetadataValue::Bytes(bytes)) => bytes,
            Ok(_) => Vec::new(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let data = T::decode(&bytes);
        if data.is_none() {
            self.health.custom_dropped += 1;
            self.books.delete_metadata(peer, KEEPS_ITS_PEER)?;
        }
        Ok(data)
    }

    /// Stores data about a peer in place of what was there. A peer with such data is not forgotten, without an
    /// address and however long ago it was heard of; at [`Config::peers_max`] it goes like any other.
    ///
    /// # Errors
    /// `TooLarge`; else as [`PersistentStore::add_address`].
    pub fn insert_custom_data(&mut self, peer: &PeerId, data: &T) -> Result<()> {
        let value = MetadataValue::Bytes(data.encode());
        self.make(peer, true, |editor| {
            editor.put_metadata(KEEPS_ITS_PEER, value.clone())
        })
    }

    /// Takes the data about a peer out.
    ///
    /// # Errors
    /// As [`PersistentStore::custom_data`].
    pub fn take_custom_data(&mut self, peer: &PeerId) -> Result<Option<T>> {
        let data = self.custom_data(peer)?;
        if data.is_some() {
            self.books.delete_metadata(peer, KEEPS_ITS_PEER)?;
        }
        Ok(data)
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
        if self.keep_proven() {
            // A few at a time, so that the swarm's turn is short.
            context.waker().wake_by_ref();
        }
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
            self.note_removal(&peer_id, &event.kind);
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
