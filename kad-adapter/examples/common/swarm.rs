//! A swarm of tcp, noise, yamux, identify, kad and, if it is given one, a peer store; and the identity that is kept in a file.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use libp2p_core::{Transport as _, upgrade};
use libp2p_identity::{Keypair, PeerId};
use libp2p_kad as kad;
use libp2p_kad::store::RecordStore;
use libp2p_swarm::behaviour::toggle::Toggle;
use libp2p_swarm::{NetworkBehaviour, StreamProtocol, Swarm};
use peercask_peerstore::swarm::{Behaviour as PeerBehaviour, PersistentStore as PeerStore};

pub type Failure = Box<dyn Error + Send + Sync>;

/// The demo's own network: nobody else's nodes answer to it.
pub const PROTOCOL: StreamProtocol = StreamProtocol::new("/peercask-demo/kad/1.0.0");

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
pub struct Node<S: RecordStore + Send + 'static> {
    pub kad: kad::Behaviour<S>,
    pub identify: libp2p_identify::Behaviour,
    /// Learns the addresses of peers from the swarm, and gives them to it for dials.
    pub peers: Toggle<PeerBehaviour>,
}

impl<S: RecordStore + Send + 'static> Node<S> {
    /// The peer store, if it has one.
    pub fn peer_store(&self) -> Option<&PeerStore> {
        self.peers.as_ref().map(PeerBehaviour::store)
    }
}

/// The key pair kept in `path`, made on the first start.
pub fn identity(path: &Path) -> Result<Keypair, Failure> {
    if let Ok(bytes) = std::fs::read(path) {
        return Ok(Keypair::from_protobuf_encoding(&bytes)?);
    }
    let keypair = Keypair::generate_ed25519();
    std::fs::write(path, keypair.to_protobuf_encoding()?)?;
    Ok(keypair)
}

/// The key pair of a numbered node, the same each time.
pub fn numbered_identity(number: u64) -> Result<Keypair, Failure> {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Ok(Keypair::ed25519_from_bytes(seed)?)
}

pub fn build<S: RecordStore + Send + 'static>(
    keypair: &Keypair,
    store: S,
    config: kad::Config,
    peers: Option<PeerStore>,
) -> Result<Swarm<Node<S>>, Failure> {
    let local = keypair.public().to_peer_id();
    let transport = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default())
        .upgrade(upgrade::Version::V1)
        .authenticate(libp2p_noise::Config::new(keypair)?)
        .multiplex(libp2p_yamux::Config::default())
        .boxed();
    let mut kad = kad::Behaviour::with_config(local, store, config);
    kad.set_mode(Some(kad::Mode::Server));
    let agreed = "/peercask-demo/1.0.0".to_owned();
    let identify = libp2p_identify::Config::new(agreed, keypair.public());
    let behaviour = Node {
        kad,
        identify: libp2p_identify::Behaviour::new(identify),
        peers: Toggle::from(peers.map(PeerBehaviour::new)),
    };
    let config = libp2p_swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(Duration::from_secs(60));
    Ok(Swarm::new(transport, behaviour, local, config))
}

/// What identify told goes to the routing table and to the peer store. A peer
/// store that cannot take it says so in its health.
pub fn identified<S: RecordStore + Send + 'static>(
    swarm: &mut Swarm<Node<S>>,
    peer: &PeerId,
    info: &libp2p_identify::Info,
) {
    let node = swarm.behaviour_mut();
    for address in &info.listen_addrs {
        node.kad.add_address(peer, address.clone());
    }
    let Some(peers) = node.peers.as_mut() else {
        return;
    };
    // A record that does not hold is the sender's fault, a full disk ours: the node goes on.
    let _told = peers.store_mut().received(peer, info);
}
