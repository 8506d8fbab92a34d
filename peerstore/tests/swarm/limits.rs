//! P5, P8, P9, P10: capacities, floods, candidates, and what repetition costs.

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use peercask_peerstore::libp2p::Peer;
use peercask_peerstore::swarm::Event;

use crate::support::{Place, addr, close, closed, connected, dialler, events, heard, known};

#[test]
fn capacities_are_exact_and_each_address_that_goes_is_told() {
    let place = Place::new();
    let mut store = place.open_with::<()>(place.config().peers_max(5).addresses_max(3));
    let peer = PeerId::random();
    for number in 1..=5 {
        heard(&mut store, &peer, &addr(number));
        place.tick();
    }
    assert_eq!(known(&store, &peer), [addr(5), addr(4), addr(3)]);
    let gone = |events: Vec<Event>| -> Vec<(PeerId, Multiaddr)> {
        let removed = events.into_iter().filter_map(|event| match event {
            Event::PeerAddressRemoved { peer_id, address } => Some((peer_id, address)),
            _ => None,
        });
        removed.collect()
    };
    assert_eq!(gone(events(&mut store)), [(peer, addr(1)), (peer, addr(2))]);
    let others: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
    for other in &others {
        heard(&mut store, other, &addr(1));
        place.tick();
    }
    assert_eq!(store.books().count(), 5);
    assert_eq!(gone(events(&mut store)).len(), 3, "the oldest peer's three");
    assert!(!store.books().has_peer(peer));
    close(store);
}

#[test]
fn a_flood_of_strangers_displaces_nobody_who_was_connected() {
    let place = Place::new();
    let mut store = place.open_with::<()>(place.config().peers_max(20));
    let friends: Vec<PeerId> = (0..19).map(|_| PeerId::random()).collect();
    for friend in &friends {
        let point = dialler(&addr(1));
        connected(&mut store, friend, &point, &[]);
        closed(&mut store, friend, &point);
        place.tick();
    }
    for _ in 0..200 {
        heard(&mut store, &PeerId::random(), &addr(2));
        place.tick();
    }
    assert!(
        friends
            .iter()
            .all(|friend| known(&store, friend) == [addr(1)])
    );
    assert_eq!(store.books().count(), 20);
    // Somebody new who is reached takes the place of a stranger, then of an old friend.
    for _ in 0..4 {
        let friend = PeerId::random();
        connected(&mut store, &friend, &dialler(&addr(3)), &[]);
        closed(&mut store, &friend, &dialler(&addr(3)));
        place.tick();
        assert_eq!(known(&store, &friend), [addr(3)]);
    }
    assert_eq!(store.books().count(), 20);
    assert_eq!(
        known(&store, &friends[0]),
        [],
        "who was reached longest ago went"
    );
    assert_eq!(store.health().errors, 0);
    // All were connected: a stranger is refused, and counted.
    heard(&mut store, &PeerId::random(), &addr(2));
    assert_eq!(
        (store.books().count(), store.health().refused_peers),
        (20, 1)
    );
    close(store);
}

#[test]
fn candidates_were_reached_last_and_are_spread_over_networks() {
    let place = Place::new();
    let mut store = place.open();
    let mut of_network = Vec::new();
    for network in 0..10_u8 {
        // One network has most of the peers, and the latest.
        let count = if network == 9 { 50 } else { 1 };
        for host in 0..count {
            let peer = PeerId::random();
            let address: Multiaddr = format!("/ip4/10.{network}.0.{host}/tcp/1")
                .parse()
                .expect("an address");
            connected(&mut store, &peer, &dialler(&address), &[]);
            of_network.push((peer, network));
            place.tick();
        }
    }
    heard(&mut store, &PeerId::random(), &addr(1));
    close(store);
    let store = place.open();
    let candidates = store.bootstrap_candidates(8).expect("readable");
    let networks: std::collections::BTreeSet<u8> = candidates
        .iter()
        .map(|candidate| {
            let of = |(peer, _): &&(PeerId, u8)| Peer::from(*peer) == candidate.peer;
            of_network.iter().find(of).expect("one that was reached").1
        })
        .collect();
    assert_eq!(candidates.len(), 8);
    assert!(networks.len() >= 2, "{networks:?}");
    assert_eq!(candidates[0].peer, Peer::from(of_network[58].0));
    close(store);
}

/// Identify repeats what it said, for every peer, all day.
#[test]
fn hearing_the_same_again_writes_nothing() {
    let place = Place::new();
    let mut store = place.open();
    let peers: Vec<PeerId> = (0..50).map(|_| PeerId::random()).collect();
    for peer in &peers {
        heard(&mut store, peer, &addr(1));
        connected(&mut store, peer, &dialler(&addr(2)), &[]);
    }
    let before = store.books().stats();
    for _ in 0..20 {
        place.pass(std::time::Duration::from_secs(60));
        for peer in &peers {
            heard(&mut store, peer, &addr(1));
            heard(&mut store, peer, &addr(2));
        }
    }
    let after = store.books().stats();
    assert_eq!(after.writes, before.writes, "20 minutes wrote nothing");
    assert!(after.writes_spared >= before.writes_spared + 2_000);
    close(store);
}
