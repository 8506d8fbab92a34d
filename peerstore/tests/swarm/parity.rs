//! P1, P3, P4, P12: what `MemoryStore` does, and what it should.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use libp2p_peer_store::memory_store::{self, MemoryStore};
use libp2p_swarm::DialError;
use peercask_peerstore::swarm::Event;

use crate::support::{
    Bell, Place, addr, close, connected, dial_failed, dialler, events, heard, known, refused,
};

#[test]
fn what_was_heard_of_last_comes_first() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    for number in [1, 2, 3] {
        heard(&mut store, &peer, &addr(number));
        place.tick();
    }
    assert_eq!(known(&store, &peer), [addr(3), addr(2), addr(1)]);
    heard(&mut store, &peer, &addr(1));
    assert_eq!(known(&store, &peer), [addr(1), addr(3), addr(2)]);
    close(store);
}

#[test]
fn connecting_as_dialler_proves_an_address_and_as_listener_says_nothing() {
    let place = Place::new();
    let mut store = place.open();
    let (peer, caller) = (PeerId::random(), PeerId::random());
    heard(&mut store, &peer, &addr(1));
    place.tick();
    heard(&mut store, &peer, &addr(2));
    connected(&mut store, &peer, &dialler(&addr(1)), &[]);
    assert_eq!(known(&store, &peer), [addr(1), addr(2)]);
    let listener = libp2p_core::ConnectedPoint::Listener {
        local_addr: addr(9),
        send_back_addr: addr(50_000),
    };
    connected(&mut store, &caller, &listener, &[]);
    assert!(store.addresses_of_peer(&caller).is_none());
    close(store);
}

/// The events of the other store, as ours has them.
fn told_by(theirs: &mut MemoryStore) -> Vec<Event> {
    let mut context = Context::from_waker(Waker::noop());
    let mut told = Vec::new();
    while let Poll::Ready(event) = theirs.poll(&mut context) {
        told.push(match event {
            memory_store::Event::PeerAddressAdded {
                peer_id,
                address,
                is_permanent,
            } => Event::PeerAddressAdded {
                peer_id,
                address,
                is_permanent,
            },
            memory_store::Event::PeerAddressRemoved { peer_id, address } => {
                Event::PeerAddressRemoved { peer_id, address }
            }
        });
    }
    told
}

/// Random events, the same for both; without restarts and with failures that count at once, both
/// know the same.
#[test]
fn random_events_leave_what_memory_store_has() {
    for seed in crate::common::seeds(3) {
        let place = Place::new();
        let mut ours = place.open_with::<()>(place.config().dial_failures_max(1));
        let mut theirs: MemoryStore = MemoryStore::new(memory_store::Config::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        let peers: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        // Somebody is reached, so that failures count.
        let friend = PeerId::random();
        connected(&mut ours, &friend, &dialler(&addr(1)), &[]);
        events(&mut ours);
        for step in 0..600 {
            place.tick();
            let peer = peers[rng.usize(..peers.len())];
            let address = addr(rng.u16(1..8));
            match rng.u8(..10) {
                0..5 => {
                    heard(&mut ours, &peer, &address);
                    heard(&mut theirs, &peer, &address);
                }
                5..7 => {
                    let point = dialler(&address);
                    connected(&mut ours, &peer, &point, &[]);
                    connected(&mut theirs, &peer, &point, &[]);
                }
                7 => {
                    // Without the suffix, which `MemoryStore` would not find.
                    let error = libp2p_core::transport::TransportError::Other(
                        std::io::Error::other("refused"),
                    );
                    let error = DialError::Transport(vec![(address, error)]);
                    dial_failed(&mut ours, &peer, &error);
                    dial_failed(&mut theirs, &peer, &error);
                }
                8 => {
                    let new = ours.add_address(&peer, &address).expect("added");
                    assert_eq!(new, theirs.add_address(&peer, &address), "step {step}");
                }
                _ => {
                    let gone = ours.remove_address(&peer, &address).expect("removed");
                    assert_eq!(gone, theirs.remove_address(&peer, &address), "step {step}");
                }
            }
            for peer in &peers {
                let (mut mine, mut other) = (known(&ours, peer), known(&theirs, peer));
                mine.sort();
                other.sort();
                assert_eq!(mine, other, "seed {seed}, step {step}");
            }
            assert_eq!(
                events(&mut ours),
                told_by(&mut theirs),
                "seed {seed}, step {step}"
            );
        }
        close(ours);
    }
}

#[test]
fn a_peers_own_name_at_the_end_makes_no_second_address_and_anothers_is_refused() {
    let place = Place::new();
    let mut store = place.open_with::<()>(place.config().dial_failures_max(1));
    let (peer, other) = (PeerId::random(), PeerId::random());
    let with = |id| addr(1).with_p2p(id).expect("no name yet");
    heard(&mut store, &peer, &addr(1));
    heard(&mut store, &peer, &with(peer));
    heard(&mut store, &peer, &with(other));
    assert_eq!(known(&store, &peer), [addr(1)]);
    connected(&mut store, &other, &dialler(&addr(7)), &[]);
    dial_failed(&mut store, &peer, &refused(&peer, &addr(1)));
    assert_eq!(known(&store, &peer), []);
    close(store);
}

#[test]
fn the_address_of_a_wrong_peer_becomes_the_one_that_answered() {
    let place = Place::new();
    let mut store = place.open();
    let (peer, obtained) = (PeerId::random(), PeerId::random());
    heard(&mut store, &peer, &addr(1));
    let address = addr(1).with_p2p(peer).expect("no name yet");
    dial_failed(
        &mut store,
        &peer,
        &DialError::WrongPeerId { obtained, address },
    );
    assert_eq!(
        (known(&store, &peer), known(&store, &obtained)),
        (vec![], vec![addr(1)])
    );
    // One that was not stored says nothing.
    let address = addr(2).with_p2p(peer).expect("no name yet");
    dial_failed(
        &mut store,
        &peer,
        &DialError::WrongPeerId { obtained, address },
    );
    assert_eq!(known(&store, &obtained), [addr(1)]);
    close(store);
}

#[test]
fn a_peer_that_turns_out_to_be_this_node_is_forgotten() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    heard(&mut store, &peer, &addr(1));
    heard(&mut store, &peer, &addr(2));
    dial_failed(
        &mut store,
        &peer,
        &DialError::LocalPeerId { address: addr(1) },
    );
    assert!(store.addresses_of_peer(&peer).is_none());
    close(store);
}

#[test]
fn addresses_are_lent_for_peers_that_are_not_in_memory_within_a_bound() {
    let place = Place::new();
    let peers: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
    let mut store = place.open();
    for (peer, number) in peers.iter().zip(1..) {
        heard(&mut store, peer, &addr(number));
    }
    close(store);
    let mut store = place.open_with::<()>(place.config().scratch_bytes_max(20_000));
    let lent: Vec<_> = peers
        .iter()
        .map(|peer| store.addresses_of_peer(peer))
        .collect();
    let count = lent.iter().filter(|lent| lent.is_some()).count();
    assert!((50..150).contains(&count), "{count} were lent");
    for (lent, number) in lent.into_iter().zip(1..) {
        if let Some(mut lent) = lent {
            assert_eq!(lent.next(), Some(&addr(number)));
        }
    }
    assert_eq!(store.health().not_lent, 200 - count as u64);
    // The next event of the swarm lets them go.
    heard(&mut store, &peers[0], &addr(1));
    assert_eq!(known(&store, &peers[199]), [addr(200)]);
    close(store);
}

#[test]
fn a_poll_without_an_event_is_woken_by_the_next_and_the_queue_is_bounded() {
    let place = Place::new();
    let books = peercask_peerstore::libp2p::Options::default()
        .clock(place.clock.clone())
        .background(false)
        .events_max(10);
    let mut store = place.open_with::<()>(place.config().books(books));
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    assert_eq!(store.poll(&mut context), Poll::Pending);
    let peer = PeerId::random();
    heard(&mut store, &peer, &addr(1));
    assert_eq!(bell.rung(), 1);
    let added = Event::PeerAddressAdded {
        peer_id: peer,
        address: addr(1),
        is_permanent: false,
    };
    assert_eq!(store.poll(&mut context), Poll::Ready(added));
    assert_eq!(store.poll(&mut context), Poll::Pending);
    for _ in 0..50 {
        heard(&mut store, &PeerId::random(), &addr(1));
    }
    let told = events(&mut store);
    assert!(told.len() <= 11);
    assert!(matches!(told.last(), Some(Event::Missed(missed)) if *missed > 20));
    close(store);
}
