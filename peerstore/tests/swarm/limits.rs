//! P5, P8, P9, P10: capacities, floods, candidates, and what repetition costs.

use libp2p_core::{Multiaddr, PeerRecord};
use libp2p_identity::{Keypair, PeerId};
use peercask_peerstore::libp2p::{ErrorKind, Identified, Options, Peer};
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

/// Who runs five hundred nodes in one place and is reached last has one place in each round, as everybody has.
#[test]
fn candidates_were_reached_last_and_are_spread_over_networks() {
    let place = Place::new();
    let mut store = place.open();
    let mut reached = Vec::new();
    for network in 0..10_u8 {
        let count = if network == 9 { 500 } else { 1 };
        for host in 0..count {
            let peer = PeerId::random();
            let address = format!("/ip4/10.{network}.{}.{}/tcp/1", host / 256, host % 256);
            let address: Multiaddr = address.parse().expect("an address");
            connected(&mut store, &peer, &dialler(&address), &[]);
            reached.push((Peer::from(peer), network));
            place.tick();
        }
    }
    heard(&mut store, &PeerId::random(), &addr(1));
    close(store);
    let store = place.open();
    let found = |count| {
        let candidates = store.bootstrap_candidates(count).expect("readable");
        candidates.into_iter().map(|candidate| candidate.peer)
    };
    // Of each network the one that was reached last, the last network first; only heard of comes after.
    let firsts = reached.iter().rev().skip(499).map(|(peer, _)| *peer);
    let latest = reached[508].0;
    let expected: Vec<Peer> = std::iter::once(latest).chain(firsts.skip(1)).collect();
    assert_eq!(found(8).collect::<Vec<_>>(), expected[..8]);
    assert_eq!(found(10).collect::<Vec<_>>(), expected);
    // Then the second ones of those that have them, and nobody twice.
    let all: Vec<Peer> = found(20).collect();
    assert_eq!(all[..10], expected);
    let rest: Vec<Peer> = reached[499..508]
        .iter()
        .rev()
        .map(|(peer, _)| *peer)
        .collect();
    assert_eq!(all[11..], rest);
    assert_eq!(found(10_000).count(), 510);
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

/// What one stranger tells of itself may be too much for its own record; that is no reason to let go of anybody.
#[test]
fn a_stranger_that_tells_too_much_takes_nobodys_protection() {
    let place = Place::new();
    let books = Options::default()
        .clock(place.clock.clone())
        .background(false)
        .signed_records_max(1)
        .protocols_max(4);
    let mut store = place.open_with::<()>(place.config().books(books).peers_max(20));
    let friends: Vec<PeerId> = (0..19).map(|_| PeerId::random()).collect();
    for friend in &friends {
        let point = dialler(&addr(1));
        connected(&mut store, friend, &point, &[]);
        closed(&mut store, friend, &point);
        place.tick();
    }
    let keys = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
    let records = keys.clone().map(|key| {
        let record = PeerRecord::new_interop(&key, vec![addr(5)]).expect("signed");
        record.into_signed_envelope().into_protobuf_encoding()
    });
    let many: Vec<String> = (0..5).map(|number| format!("/protocol/{number}")).collect();
    for round in 0..50 {
        for (key, record) in keys.iter().zip(&records) {
            let stranger = key.public().to_peer_id();
            let told = Identified {
                record: Some(record),
                protocols: &many[..2],
                ..Identified::default()
            };
            store
                .identified(&stranger, &told)
                .expect("taken without its record");
            assert_eq!(
                store.books().protocols(stranger).expect("readable").len(),
                2
            );
            let told = Identified {
                protocols: &many,
                ..Identified::default()
            };
            let refused = store.identified(&stranger, &told).expect_err("too many");
            assert_eq!(refused.kind(), ErrorKind::TooMany, "round {round}");
        }
        heard(&mut store, &PeerId::random(), &addr(2));
        place.tick();
    }
    assert!(
        friends
            .iter()
            .all(|friend| known(&store, friend) == [addr(1)])
    );
    assert_eq!(store.health().refused_records, 50, "of each second one");
    close(store);
}

/// Identities cost nothing: who connects to us and tells of itself comes in like anybody, and takes nobody's
/// place whom this node dialled.
#[test]
fn who_connects_to_us_displaces_nobody_whom_we_dialled() {
    let place = Place::new();
    let mut store = place.open_with::<()>(place.config().peers_max(10));
    let friends: Vec<PeerId> = (0..10).map(|_| PeerId::random()).collect();
    for friend in &friends {
        let point = dialler(&addr(1));
        connected(&mut store, friend, &point, &[]);
        closed(&mut store, friend, &point);
        place.tick();
    }
    let listener = libp2p_core::ConnectedPoint::Listener {
        local_addr: addr(9),
        send_back_addr: addr(50_000),
    };
    for _ in 0..50 {
        let stranger = PeerId::random();
        connected(&mut store, &stranger, &listener, &[]);
        let told = Identified {
            addrs: &[addr(3)],
            agent_version: Some("sybil/1"),
            ..Identified::default()
        };
        let refused = store.identified(&stranger, &told).expect_err("no room");
        assert_eq!(refused.kind(), ErrorKind::TooManyPeers);
        place.tick();
    }
    assert!(
        friends
            .iter()
            .all(|friend| known(&store, friend) == [addr(1)])
    );
    assert_eq!(store.health().refused_peers, 50);
    close(store);
}
