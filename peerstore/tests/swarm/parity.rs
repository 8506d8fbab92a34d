//! P1, P3, P4, P12: what `MemoryStore` does, and what it should.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use libp2p_peer_store::memory_store::{self, MemoryStore};
use libp2p_swarm::DialError;
use peercask_peerstore::swarm::{Event, PersistentStore};

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
fn told_by<T>(theirs: &mut MemoryStore<T>) -> Vec<Event> {
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

/// Random events, the same for both; without restarts and capacities and with failures that count at once, both know
/// the same and tell the same.
#[test]
fn random_events_leave_what_memory_store_has() {
    for seed in crate::common::seeds(3) {
        let place = Place::new();
        let mut ours = place.open_with::<String>(place.config().dial_failures_max(1));
        let mut theirs: MemoryStore<String> = MemoryStore::new(memory_store::Config::default());
        let mut rng = fastrand::Rng::with_seed(seed);
        let peers: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        // Somebody is reached, so that failures count.
        let friend = PeerId::random();
        connected(&mut ours, &friend, &dialler(&addr(1)), &[]);
        events(&mut ours);
        for step in 0..600 {
            place.tick();
            let at = rng.usize(..peers.len());
            let (peer, other) = (peers[at], peers[(at + 1) % peers.len()]);
            one_event(&mut rng, &mut ours, &mut theirs, &peer, &other);
            for peer in &peers {
                let (mut mine, mut other) = (known(&ours, peer), known(&theirs, peer));
                mine.sort();
                other.sort();
                assert_eq!(mine, other, "seed {seed}, step {step}");
                let data = ours.custom_data(peer).expect("readable");
                assert_eq!(data.as_ref(), theirs.get_custom_data(peer));
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

/// The same event for both.
fn one_event(
    rng: &mut fastrand::Rng,
    ours: &mut PersistentStore<String>,
    theirs: &mut MemoryStore<String>,
    peer: &PeerId,
    other: &PeerId,
) {
    let address = addr(rng.u16(1..8));
    match rng.u8(..13) {
        0..5 => {
            heard(ours, peer, &address);
            heard(theirs, peer, &address);
        }
        5..7 => {
            // Another one may have failed before.
            let failed = [addr(rng.u16(1..8))];
            let failed = if failed[0] == address {
                &[]
            } else {
                &failed[..]
            };
            connected(ours, peer, &dialler(&address), failed);
            connected(theirs, peer, &dialler(&address), failed);
        }
        7 => {
            // Without the suffix, which `MemoryStore` would not find.
            let error = std::io::Error::other("refused");
            let error = libp2p_core::transport::TransportError::Other(error);
            let error = DialError::Transport(vec![(address, error)]);
            dial_failed(ours, peer, &error);
            dial_failed(theirs, peer, &error);
        }
        8 => {
            let address = addr(rng.u16(1..5));
            let new = ours.add_address(peer, &address).expect("added");
            assert_eq!(new, theirs.add_address(peer, &address));
        }
        9 => {
            let gone = ours.remove_address(peer, &address).expect("removed");
            assert_eq!(gone, theirs.remove_address(peer, &address));
        }
        10 => {
            // One that the program did not add itself: theirs stays then.
            let (obtained, address) = (*other, addr(rng.u16(5..8)));
            let error = DialError::WrongPeerId { obtained, address };
            dial_failed(ours, peer, &error);
            dial_failed(theirs, peer, &error);
        }
        11 => {
            let data = rng.u32(..).to_string();
            ours.insert_custom_data(peer, &data).expect("stored");
            theirs.insert_custom_data(peer, data);
        }
        _ => {
            let taken = ours.take_custom_data(peer).expect("readable");
            assert_eq!(taken, theirs.take_custom_data(peer));
        }
    }
}

/// More peers and addresses than there may be, of which all were only heard of: both let go of the same addresses and
/// have the rest in the same order. Of peers the one goes that was changed the longest ago, which is told here to the
/// other: `MemoryStore` has one too many at times, and hearing of a peer makes it no younger there. Who follows the
/// events knows it all.
#[test]
fn random_events_beyond_capacities_leave_what_memory_store_has_in_its_order() {
    for seed in crate::common::seeds(3) {
        let place = Place::new();
        let config = place.config().peers_max(4).addresses_max(3);
        let mut ours = place.open_with::<String>(config);
        let three = std::num::NonZeroUsize::MIN.saturating_add(2);
        let config = memory_store::Config::default().set_record_capacity(three);
        let mut theirs: MemoryStore<String> = MemoryStore::new(config);
        let mut rng = fastrand::Rng::with_seed(seed);
        let peers: Vec<PeerId> = (0..7).map(|_| PeerId::random()).collect();
        let (mut followed, mut changed) = (BTreeSet::new(), Vec::new());
        for step in 0..600 {
            place.tick();
            let peer = peers[rng.usize(..peers.len())];
            if any_change(&mut rng, step, &mut ours, &mut theirs, &peer) {
                changed.retain(|other| *other != peer);
                changed.push(peer);
            }
            changed.retain(|peer| theirs.addresses_of_peer(peer).is_some());
            if changed.len() > 4 {
                let gone = changed.remove(0);
                for addr in known(&theirs, &gone) {
                    theirs.remove_address(&gone, &addr);
                }
                theirs.take_custom_data(&gone);
            }
            follow(&mut followed, events(&mut ours));
            let mut count = 0;
            for peer in &peers {
                let mine = known(&ours, peer);
                assert_eq!(mine, known(&theirs, peer), "seed {seed}, step {step}");
                let data = ours.custom_data(peer).expect("readable");
                assert_eq!(data.as_ref(), theirs.get_custom_data(peer));
                let is_followed = |addr: &Multiaddr| followed.contains(&(*peer, addr.to_vec()));
                assert!(mine.iter().all(is_followed), "seed {seed}, step {step}");
                count += mine.len();
            }
            assert_eq!(followed.len(), count, "seed {seed}, step {step}");
            assert_eq!(ours.books().count(), changed.len() as u64);
        }
        close(ours);
    }
}

/// The same for both, of a peer that is only heard of; whether it changed anything.
fn any_change(
    rng: &mut fastrand::Rng,
    step: u32,
    ours: &mut PersistentStore<String>,
    theirs: &mut MemoryStore<String>,
    peer: &PeerId,
) -> bool {
    let address = addr(rng.u16(1..7));
    match rng.u8(..10) {
        0..7 => {
            heard(ours, peer, &address);
            heard(theirs, peer, &address);
            true
        }
        7 => {
            let gone = ours.remove_address(peer, &address).expect("removed");
            assert_eq!(gone, theirs.remove_address(peer, &address));
            gone
        }
        8 => {
            let data = step.to_string();
            ours.insert_custom_data(peer, &data).expect("stored");
            theirs.insert_custom_data(peer, data);
            true
        }
        _ => {
            let taken = ours.take_custom_data(peer).expect("readable");
            assert_eq!(taken, theirs.take_custom_data(peer));
            taken.is_some()
        }
    }
}

/// What one who only listens knows: nothing is told twice, and nothing goes that was not there.
fn follow(followed: &mut BTreeSet<(PeerId, Vec<u8>)>, events: Vec<Event>) {
    for event in events {
        match event {
            Event::PeerAddressAdded {
                peer_id, address, ..
            } => assert!(followed.insert((peer_id, address.to_vec()))),
            Event::PeerAddressRemoved { peer_id, address } => {
                assert!(followed.remove(&(peer_id, address.to_vec())));
            }
            other => panic!("{other:?}"),
        }
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
