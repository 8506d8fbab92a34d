//! What the tests share: a store in a directory of its own on a clock that stands still, and the
//! events of a swarm.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use libp2p_core::transport::PortUse;
use libp2p_core::{ConnectedPoint, Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use libp2p_swarm::behaviour::{
    ConnectionClosed, ConnectionEstablished, DialFailure, NewExternalAddrOfPeer,
};
use libp2p_swarm::{ConnectionId, DialError, FromSwarm};
use peercask::ManualClock;
use peercask_peerstore::libp2p::Options;
use peercask_peerstore::swarm::{Config, CustomData, Event, PersistentStore};
use tempfile::TempDir;

/// 2026, in milliseconds.
const NOW_MS: u64 = 1_767_225_600_000;

/// A directory with a clock.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place {
            dir: tempfile::tempdir().expect("a temporary directory"),
            clock: Arc::new(ManualClock::new(NOW_MS)),
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("peers")
    }

    pub(crate) fn config(&self) -> Config {
        let books = Options::default()
            .clock(self.clock.clone())
            .background(false)
            .gc_initial_delay(Duration::ZERO);
        Config::default().books(books)
    }

    pub(crate) fn open(&self) -> PersistentStore {
        self.open_with(self.config())
    }

    pub(crate) fn open_with<T: CustomData>(&self, config: Config) -> PersistentStore<T> {
        PersistentStore::open(self.path(), config).expect("it opens")
    }

    /// A millisecond passes, so that what comes next is later.
    pub(crate) fn tick(&self) {
        self.pass(Duration::from_millis(1));
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }
}

pub(crate) fn close(store: PersistentStore<impl CustomData>) {
    store.books().close().expect("it closes");
}

pub(crate) fn addr(number: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{number}")
        .parse()
        .expect("an address")
}

pub(crate) fn dialler(address: &Multiaddr) -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address.clone(),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    }
}

/// The swarm heard of an address: identify, Kademlia or the program.
pub(crate) fn heard(store: &mut impl Store, peer: &PeerId, address: &Multiaddr) {
    store.on_swarm_event(&FromSwarm::NewExternalAddrOfPeer(NewExternalAddrOfPeer {
        peer_id: *peer,
        addr: address,
    }));
}

pub(crate) fn connected(
    store: &mut impl Store,
    peer: &PeerId,
    point: &ConnectedPoint,
    failed: &[Multiaddr],
) {
    store.on_swarm_event(&FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: *peer,
        connection_id: ConnectionId::new_unchecked(1),
        endpoint: point,
        failed_addresses: failed,
        other_established: 0,
    }));
}

/// One of several connections to a peer, by its number.
pub(crate) fn connected_as(
    store: &mut impl Store,
    connection: usize,
    peer: &PeerId,
    point: &ConnectedPoint,
) {
    store.on_swarm_event(&FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: *peer,
        connection_id: ConnectionId::new_unchecked(connection),
        endpoint: point,
        failed_addresses: &[],
        other_established: connection - 1,
    }));
}

pub(crate) fn closed(store: &mut impl Store, peer: &PeerId, point: &ConnectedPoint) {
    closed_as(store, 1, peer, point, 0);
}

pub(crate) fn closed_as(
    store: &mut impl Store,
    connection: usize,
    peer: &PeerId,
    point: &ConnectedPoint,
    remaining: usize,
) {
    store.on_swarm_event(&FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: *peer,
        connection_id: ConnectionId::new_unchecked(connection),
        endpoint: point,
        cause: None,
        remaining_established: remaining,
    }));
}

/// The files of an open store, as a kill leaves them.
pub(crate) fn copied(dir: &std::path::Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for entry in std::fs::read_dir(dir).expect("there") {
        let from = entry.expect("listed").path();
        let name = from.file_name().expect("a file").to_owned();
        std::fs::copy(&from, copy.path().join(name)).expect("copied");
    }
    copy
}

pub(crate) fn dial_failed(store: &mut impl Store, peer: &PeerId, error: &DialError) {
    store.on_swarm_event(&FromSwarm::DialFailure(DialFailure {
        peer_id: Some(*peer),
        error,
        connection_id: ConnectionId::new_unchecked(2),
    }));
}

/// As the swarm tells it: with the peer's name at the end.
pub(crate) fn refused(peer: &PeerId, address: &Multiaddr) -> DialError {
    let address = address.clone().with_p2p(*peer).expect("it has no name");
    let error = libp2p_core::transport::TransportError::Other(std::io::Error::other("refused"));
    DialError::Transport(vec![(address, error)])
}

pub(crate) fn known(store: &impl Store, peer: &PeerId) -> Vec<Multiaddr> {
    let lent = store.addresses_of_peer(peer);
    lent.map(|lent| lent.cloned().collect()).unwrap_or_default()
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    pub(crate) fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// All events that wait.
pub(crate) fn events<T: CustomData + 'static>(store: &mut PersistentStore<T>) -> Vec<Event> {
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(event) = store.poll(&mut context) {
        events.push(event);
    }
    events
}
