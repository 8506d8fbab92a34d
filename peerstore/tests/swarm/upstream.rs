//! P1: the four tests of `libp2p-peer-store`'s own `MemoryStore` by name, with this store in its place, the last two
//! with real swarms; and what such a swarm must tell for a peer to stay known.
//! Where the outcome differs from upstream's, the documentation of the room says why: an address has no `/p2p` at its
//! end, and those that the program added itself are not counted.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p_core::transport::MemoryTransport;
use libp2p_core::upgrade::Version;
use libp2p_core::{Multiaddr, Transport as _};
use libp2p_identify as identify;
use libp2p_identity::{Keypair, PeerId};
use libp2p_swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p_swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use peercask_peerstore::libp2p::{Dial, Peer, Ttl};
use peercask_peerstore::swarm::{Behaviour, Event, PersistentStore, Rejoin};

use crate::support::{Place, addr, close, heard, known};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn recent_use_bubble_up() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    let mut order = Vec::new();
    for (number, expected) in [
        (1, vec![1]),
        (2, vec![2, 1]),
        (3, vec![3, 2, 1]),
        (1, vec![1, 3, 2]),
        (3, vec![3, 1, 2]),
    ] {
        store.add_address(&peer, &addr(number)).expect("added");
        place.tick();
        order = expected.into_iter().map(addr).collect();
        assert_eq!(known(&store, &peer), order);
    }
    close(store);
    let store = place.open();
    assert_eq!(known(&store, &peer), order);
    close(store);
}

#[test]
fn bounded_store() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    for number in 1..10 {
        heard(&mut store, &peer, &addr(number));
        place.tick();
    }
    let found = known(&store, &peer);
    assert!(!found.contains(&addr(1)));
    assert_eq!(found.last(), Some(&addr(2)));
    // What the program adds itself is counted for nothing, and displaces nothing.
    for number in 100..110 {
        store.add_address(&peer, &addr(number)).expect("added");
    }
    assert_eq!(known(&store, &peer).len(), 18);
    close(store);
}

// ---- real swarms, in this thread

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn swarm<B: NetworkBehaviour>(behaviour: impl FnOnce(&Keypair) -> B) -> Swarm<B> {
    let key = Keypair::generate_ed25519();
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(libp2p_noise::Config::new(&key).expect("a key"))
        .multiplex(libp2p_yamux::Config::default())
        .boxed();
    let config = libp2p_swarm::Config::without_executor()
        .with_idle_connection_timeout(Duration::from_secs(600));
    let behaviour = behaviour(&key);
    Swarm::new(transport, behaviour, key.public().to_peer_id(), config)
}

/// Runs all swarms until one of them tells what is looked for; all that they tell on the way is shown.
fn run<B: NetworkBehaviour, R>(
    swarms: &mut [Swarm<B>],
    mut shown: impl FnMut(usize, &mut Swarm<B>, SwarmEvent<B::ToSwarm>) -> Option<R>,
) -> R {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut idle = true;
        for (at, swarm) in swarms.iter_mut().enumerate() {
            while let Poll::Ready(Some(event)) = swarm.poll_next_unpin(&mut context) {
                idle = false;
                if let Some(found) = shown(at, swarm, event) {
                    return found;
                }
            }
        }
        if idle {
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
    panic!("it did not come within {PATIENCE:?}");
}

/// Lets one of several swarms listen on an address more.
fn listen<B: NetworkBehaviour>(swarms: &mut [Swarm<B>], who: usize) -> Multiaddr {
    let any = "/memory/0".parse().expect("an address");
    swarms[who].listen_on(any).expect("it listens");
    run(swarms, |at, swarm, event| match event {
        SwarmEvent::NewListenAddr { address, .. } if at == who => {
            swarm.add_external_address(address.clone());
            Some(address)
        }
        _ => None,
    })
}

fn dial<B: NetworkBehaviour>(swarm: &mut Swarm<B>, peer: PeerId, address: &Multiaddr) {
    let dial = DialOpts::peer_id(peer)
        .condition(PeerCondition::Always)
        .addresses(vec![address.clone()])
        .build();
    swarm.dial(dial).expect("it begins");
}

#[test]
fn update_address_on_connect() {
    let places = [Place::new(), Place::new()];
    let mut swarms = places.each_ref().map(|place| {
        let store = place.open_with::<()>(place.config().addresses_max(2));
        swarm(|_| Behaviour::new(store))
    });
    let [first_id, second_id] = swarms.each_ref().map(|swarm| *swarm.local_peer_id());
    let mut listened = Vec::new();
    for _ in 0..2 {
        let address = listen(&mut swarms, 0);
        places[1].tick();
        dial(&mut swarms[1], first_id, &address);
        let told = run(&mut swarms, |at, _, event| match event {
            SwarmEvent::Behaviour(told) if at == 1 => Some(told),
            _ => None,
        });
        let added = Event::PeerAddressAdded {
            peer_id: first_id,
            address: address.clone(),
            is_permanent: false,
        };
        assert_eq!(told, added);
        // The last one that led to it first.
        listened.insert(0, address);
        assert_eq!(known(swarms[1].behaviour().store(), &first_id), listened);
        // An address that a listener sees is not kept.
        let other = swarms[0].behaviour().address_of_peer(&second_id);
        assert!(other.is_none());
    }
}

#[derive(NetworkBehaviour)]
#[behaviour(prelude = "libp2p_swarm::derive_prelude")]
struct Node {
    peers: Behaviour,
    identify: identify::Behaviour,
}

fn node(store: PersistentStore) -> Swarm<Node> {
    swarm(|key| {
        let config = identify::Config::new("/test/1".to_owned(), key.public());
        Node {
            peers: Behaviour::new(store),
            identify: identify::Behaviour::new(config.with_interval(Duration::from_millis(50))),
        }
    })
}

#[test]
fn identify_external_addr_report() {
    let places = [Place::new(), Place::new()];
    let mut swarms = places.each_ref().map(|place| node(place.open()));
    let [first_id, second_id] = swarms.each_ref().map(|swarm| *swarm.local_peer_id());
    let address = listen(&mut swarms, 0);
    dial(&mut swarms[1], first_id, &address);
    run(&mut swarms, |at, _, event| match event {
        SwarmEvent::Behaviour(NodeEvent::Identify(identify::Event::Received { .. })) if at == 1 => {
            Some(())
        }
        _ => None,
    });
    assert_eq!(
        known(swarms[1].behaviour().peers.store(), &first_id),
        std::slice::from_ref(&address)
    );
    let new = listen(&mut swarms, 0);
    swarms[0].behaviour_mut().identify.push([second_id]);
    let told = run(&mut swarms, |at, _, event| match event {
        SwarmEvent::Behaviour(NodeEvent::Peers(told)) if at == 1 => Some(told),
        _ => None,
    });
    let added = Event::PeerAddressAdded {
        peer_id: first_id,
        address: new.clone(),
        is_permanent: false,
    };
    assert_eq!(told, added);
    let found = known(swarms[1].behaviour().peers.store(), &first_id);
    assert_eq!(
        (found.len(), found.contains(&new), found.contains(&address)),
        (2, true, true)
    );
}

/// Identify repeats what it said, and tells the swarm of an address once: who connected to this node stays known by
/// what the program hands on.
#[test]
fn who_connected_to_a_real_swarm_is_known_for_as_long_as_it_identifies() {
    let places = [Place::new(), Place::new()];
    let mut swarms = places.each_ref().map(|place| node(place.open()));
    let [first_id, second_id] = swarms.each_ref().map(|swarm| *swarm.local_peer_id());
    let address = listen(&mut swarms, 0);
    let of_second = listen(&mut swarms, 1);
    dial(&mut swarms[1], first_id, &address);
    let mut rounds = 0;
    run(&mut swarms, |at, swarm, event| {
        let SwarmEvent::Behaviour(NodeEvent::Identify(identify::Event::Received {
            peer_id,
            info,
            ..
        })) = event
        else {
            return None;
        };
        if at == 1 {
            return None;
        }
        let store = swarm.behaviour_mut().peers.store_mut();
        store.received(&peer_id, &info).expect("it holds");
        assert_eq!(known(store, &second_id), std::slice::from_ref(&of_second));
        // Hours go by until it tells again, for the store.
        places[0].pass(Duration::from_secs(3 * 3_600));
        rounds += 1;
        (rounds == 10).then_some(())
    });
    let store = swarms[0].behaviour().peers.store();
    assert_eq!(known(store, &second_id), [of_second]);
    assert_eq!(
        store.books().protocols(second_id).expect("readable").len(),
        2
    );
    let agent = store.books().metadata(second_id, "AgentVersion");
    assert!(agent.is_ok(), "{agent:?}");
}

/// Forty peers of which the last one lives: it is found, and nobody else is dialled then.
#[test]
fn a_node_that_is_alone_dials_on_until_somebody_answers() {
    let places = [Place::new(), Place::new()];
    let mut swarms = places.each_ref().map(|place| node(place.open()));
    let first_id = *swarms[0].local_peer_id();
    let address = listen(&mut swarms, 0);
    let store = swarms[1].behaviour_mut().peers.store_mut();
    heard(store, &first_id, &address);
    for number in 0..39_u64 {
        places[1].tick();
        let gone = format!("/memory/{}", 1_u64 << 60 | number)
            .parse()
            .expect("an address");
        let stale = PeerId::random();
        heard(store, &stale, &gone);
        // All of them were reached once, and it was only heard of.
        let books = store.books();
        books
            .record_dial(stale, &gone, Dial::Succeeded)
            .expect("told");
    }
    // A name that is no peer id, as other programs' stores have them, keeps nobody from starting.
    let books = store.books();
    books
        .add_addrs(Peer::EMPTY, &[addr(1)], Ttl::ADDRESS)
        .expect("added");
    let mut rejoin = Rejoin::default();
    for _ in 0..2 {
        rejoin.tick(&mut swarms[1], |node| Some(node.peers.store()));
        assert_eq!(rejoin.dials(), 16, "no more at a time");
    }
    run(&mut swarms, |at, swarm, event| {
        if at == 1 {
            rejoin.tick(swarm, |node| Some(node.peers.store()));
        }
        let is_there = matches!(event, SwarmEvent::ConnectionEstablished { .. });
        (at == 1 && is_there).then_some(())
    });
    assert_eq!(rejoin.dials(), 40);
    for _ in 0..3 {
        rejoin.tick(&mut swarms[1], |node| Some(node.peers.store()));
    }
    assert_eq!(rejoin.dials(), 40);
}

/// Nobody answers: each is dialled once, and not again at once.
#[test]
fn a_node_whom_nobody_answers_rests_before_it_begins_anew() {
    let place = Place::new();
    let mut swarms = [node(place.open())];
    let store = swarms[0].behaviour_mut().peers.store_mut();
    for number in 0..20_u64 {
        let gone = format!("/memory/{}", 1_u64 << 61 | number)
            .parse()
            .expect("an address");
        heard(store, &PeerId::random(), &gone);
    }
    let mut rejoin = Rejoin::default();
    rejoin.tick(&mut swarms[0], |node| Some(node.peers.store()));
    let mut failed = 0;
    run(&mut swarms, |_, swarm, event| {
        failed += usize::from(matches!(event, SwarmEvent::OutgoingConnectionError { .. }));
        rejoin.tick(swarm, |node| Some(node.peers.store()));
        (failed == 20).then_some(())
    });
    for _ in 0..100 {
        rejoin.tick(&mut swarms[0], |node| Some(node.peers.store()));
    }
    assert_eq!(rejoin.dials(), 20);
    std::thread::sleep(Duration::from_millis(1_100));
    // What was asked for anew is dialled at the next tick.
    for _ in 0..2 {
        rejoin.tick(&mut swarms[0], |node| Some(node.peers.store()));
    }
    assert_eq!(rejoin.dials(), 36);
}
