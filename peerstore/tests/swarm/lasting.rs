//! P6, P9, P13: what lasts for longer than a life, while its connection or the program's data does.

use std::time::Duration;

use libp2p_core::{ConnectedPoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use peercask_peerstore::libp2p::{Dial, Identified};
use peercask_peerstore::swarm::PersistentStore;

use crate::support::{
    Place, addr, close, closed, connected, copied, dial_failed, dialler, events, heard, known,
    refused,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn listener() -> ConnectedPoint {
    ConnectedPoint::Listener {
        local_addr: addr(9),
        send_back_addr: addr(50_000),
    }
}

/// Days in which the swarm runs and nothing is told of the peer.
fn days(place: &Place, store: &mut PersistentStore, count: u32) {
    for _ in 0..count {
        place.pass(DAY);
        events(store);
        store.books().maintain().expect("removed");
    }
}

/// A connection of nine days, and proven addresses live for seven.
#[test]
fn a_connection_longer_than_a_proven_life_is_remembered_until_a_life_after_its_end() {
    let place = Place::new();
    let mut store = place.open();
    let (peer, stranger) = (PeerId::random(), PeerId::random());
    heard(&mut store, &peer, &addr(1));
    let point = dialler(&addr(1));
    connected(&mut store, &peer, &point, &[]);
    days(&place, &mut store, 9);
    assert_eq!(known(&store, &peer), [addr(1)]);
    // Somebody who was reached on the way is not as fresh as who is connected now.
    connected(&mut store, &stranger, &dialler(&addr(2)), &[]);
    closed(&mut store, &stranger, &dialler(&addr(2)));
    days(&place, &mut store, 2);
    let first = &store.bootstrap_candidates(1).expect("readable")[0];
    assert_eq!(first.peer.to_peer_id(), Some(peer));
    // The files as a kill leaves them on the eleventh day.
    let copy = copied(&place.path());
    let killed: PersistentStore =
        PersistentStore::open(copy.path(), place.config()).expect("it opens");
    assert_eq!(known(&killed, &peer), [addr(1)]);
    close(killed);
    closed(&mut store, &peer, &point);
    days(&place, &mut store, 6);
    assert_eq!(known(&store, &peer), [addr(1)], "six days after the end");
    days(&place, &mut store, 2);
    assert_eq!(known(&store, &peer), [], "eight days after the end");
    close(store);
}

/// Nobody polled for longer than a life: the end of the connection still tells where the peer was reached.
#[test]
fn an_address_that_expired_while_it_was_in_use_comes_back_at_the_end_and_one_that_was_removed_does_not()
 {
    let place = Place::new();
    let mut store = place.open_with::<()>(place.config().dial_failures_max(1));
    let peers: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
    let point = dialler(&addr(1));
    for peer in &peers {
        connected(&mut store, peer, &point, &[]);
    }
    events(&mut store);
    store.remove_address(&peers[1], &addr(1)).expect("removed");
    dial_failed(&mut store, &peers[2], &refused(&peers[2], &addr(1)));
    store.books().forget_peer(peers[3]).expect("forgotten");
    events(&mut store);
    assert!(peers[1..].iter().all(|peer| known(&store, peer).is_empty()));
    place.pass(10 * DAY);
    store.books().gc().expect("removed");
    assert_eq!(known(&store, &peers[0]), []);
    for peer in &peers {
        closed(&mut store, peer, &point);
    }
    assert_eq!(known(&store, &peers[0]), [addr(1)]);
    assert!(peers[1..].iter().all(|peer| known(&store, peer).is_empty()));
    close(store);
}

/// Whom we have two connections to, by two addresses: both are known to lead there.
#[test]
fn each_of_several_connections_to_a_peer_keeps_its_address() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    crate::support::connected_as(&mut store, 1, &peer, &dialler(&addr(1)));
    crate::support::connected_as(&mut store, 2, &peer, &dialler(&addr(2)));
    crate::support::connected_as(&mut store, 3, &peer, &listener());
    days(&place, &mut store, 9);
    let mut found = known(&store, &peer);
    found.sort();
    assert_eq!(found, [addr(1), addr(2)]);
    crate::support::closed_as(&mut store, 2, &peer, &dialler(&addr(2)), 2);
    days(&place, &mut store, 8);
    assert_eq!(known(&store, &peer), [addr(1)], "the other is over");
    crate::support::closed_as(&mut store, 1, &peer, &dialler(&addr(1)), 1);
    crate::support::closed_as(&mut store, 3, &peer, &listener(), 0);
    days(&place, &mut store, 8);
    assert_eq!(known(&store, &peer), []);
    close(store);
}

/// Who connected to us tells where it listens every five minutes, and libp2p's identify tells the swarm only once.
#[test]
fn identify_again_keeps_the_addresses_of_who_connected_to_us() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    connected(&mut store, &peer, &listener(), &[]);
    heard(&mut store, &peer, &addr(1));
    let addrs: Vec<Multiaddr> = vec![addr(1), addr(2)];
    let before = store.books().stats().writes;
    for _ in 0..25 * 12 {
        let told = Identified {
            addrs: &addrs,
            agent_version: Some("test/1"),
            ..Identified::default()
        };
        store.identified(&peer, &told).expect("told");
        place.pass(DAY / (24 * 12));
        events(&mut store);
        store.books().maintain().expect("removed");
    }
    let mut found = known(&store, &peer);
    found.sort();
    assert_eq!(found, addrs);
    let writes = store.books().stats().writes - before;
    assert!(writes < 20, "{writes} writes in 25 hours");
    // However many it tells of, no more are looked at than go looks at.
    let many: Vec<Multiaddr> = (1..=2_000).map(addr).collect();
    let told = Identified {
        addrs: &many,
        ..Identified::default()
    };
    store.identified(&peer, &told).expect("told");
    assert_eq!(known(&store, &peer).len(), 8);
    close(store);
}

#[test]
fn data_of_the_program_keeps_its_peer_for_ever_and_protects_it_from_nobody() {
    let place = Place::new();
    let config = place.config().peers_max(3);
    let mut store = place.open_with::<String>(config.clone());
    let (with, without) = (PeerId::random(), PeerId::random());
    heard(&mut store, &with, &addr(1));
    store
        .insert_custom_data(&with, &"known well".to_owned())
        .expect("stored");
    store
        .books()
        .put_metadata(without, "AgentVersion", "test/1")
        .expect("stored");
    for _ in 0..30 {
        place.pass(DAY);
        store.books().gc().expect("removed");
    }
    assert!(!store.books().has_peer(without), "it is too old");
    let data = |store: &mut PersistentStore<String>| store.custom_data(&with).expect("readable");
    assert_eq!(data(&mut store).as_deref(), Some("known well"));
    close(store);
    let mut store = place.open_with::<String>(config);
    place.pass(30 * DAY);
    store.books().gc().expect("removed");
    assert_eq!(data(&mut store).as_deref(), Some("known well"));
    // At the limit it goes like any other.
    for number in 0..3 {
        heard(&mut store, &PeerId::random(), &addr(number));
        place.tick();
    }
    assert_eq!(data(&mut store), None);
    // Without the data it is a peer like any other, too.
    let peer = PeerId::random();
    store
        .insert_custom_data(&peer, &"gone soon".to_owned())
        .expect("stored");
    heard(&mut store, &peer, &addr(1));
    store.take_custom_data(&peer).expect("taken");
    place.pass(30 * DAY);
    store.books().gc().expect("removed");
    assert!(store.addresses_of_peer(&peer).is_none());
    close(store);
}

/// Somebody tells others our address for its own: what answers there is this node.
#[test]
fn an_address_where_this_node_answers_makes_it_no_peer_of_its_own() {
    let place = Place::new();
    let own = PeerId::random();
    let mut store = place.open_with::<()>(place.config().own_id(own));
    let peer = PeerId::random();
    heard(&mut store, &peer, &addr(1));
    heard(&mut store, &peer, &addr(2));
    let address = addr(1).with_p2p(peer).expect("no name yet");
    let wrong = libp2p_swarm::DialError::WrongPeerId {
        obtained: own,
        address,
    };
    dial_failed(&mut store, &peer, &wrong);
    assert_eq!(known(&store, &peer), [addr(2)]);
    assert_eq!(known(&store, &own), []);
    heard(&mut store, &peer, &addr(3));
    let dial = Dial::WrongPeer(own.into());
    store
        .books()
        .record_dial(peer, &addr(3), dial)
        .expect("told");
    assert_eq!(known(&store, &own), []);
    // Nor is what the program itself keeps of it somebody to dial.
    store.add_address(&own, &addr(4)).expect("added");
    let candidates = store.bootstrap_candidates(9).expect("readable");
    let found: Vec<_> = candidates.iter().map(|one| one.peer.to_peer_id()).collect();
    assert_eq!(found, [Some(peer)]);
    close(store);
}
