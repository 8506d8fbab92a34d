//! P6, P7: what dials teach, and when they teach nothing.

use std::time::Duration;

use libp2p_identity::PeerId;

use crate::support::{
    Place, addr, close, closed, connected, dial_failed, dialler, events, heard, known, refused,
};

#[test]
fn each_address_keeps_when_it_was_seen_reached_and_failed_and_the_last_success_comes_first() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    for number in [1, 2, 3] {
        heard(&mut store, &peer, &addr(number));
        place.tick();
    }
    let seen_ms = store.books().now_ms();
    connected(&mut store, &peer, &dialler(&addr(1)), &[addr(3)]);
    place.tick();
    connected(&mut store, &peer, &dialler(&addr(2)), &[]);
    let order = [addr(2), addr(1), addr(3)];
    assert_eq!(known(&store, &peer), order);
    close(store);
    let store = place.open();
    assert_eq!(known(&store, &peer), order, "also after a restart");
    let found = store.books().addresses(peer).expect("readable");
    let [second, first, third] = &found[..] else {
        panic!("three addresses")
    };
    assert_eq!(
        (first.last_success_ms, second.last_success_ms),
        (seen_ms, seen_ms + 1)
    );
    assert_eq!((third.last_failure_ms, third.half_failures), (seen_ms, 2));
    assert_eq!(first.first_seen_ms, seen_ms - 3);
    close(store);
}

#[test]
fn an_address_that_was_only_heard_of_goes_sooner_than_one_that_led_to_its_peer() {
    let place = Place::new();
    let mut store = place.open();
    let peer = PeerId::random();
    heard(&mut store, &peer, &addr(1));
    connected(&mut store, &peer, &dialler(&addr(2)), &[]);
    closed(&mut store, &peer, &dialler(&addr(2)));
    events(&mut store);
    place.pass(Duration::from_secs(25 * 3_600));
    assert_eq!(known(&store, &peer), [addr(2)]);
    place.pass(Duration::from_secs(5 * 24 * 3_600));
    assert_eq!(known(&store, &peer), [addr(2)]);
    place.pass(Duration::from_secs(2 * 24 * 3_600));
    store.books().gc().expect("swept");
    assert_eq!(known(&store, &peer), []);
    assert_eq!(events(&mut store).len(), 2, "both are told as gone");
    close(store);
}

#[test]
fn a_start_without_a_network_forgets_nothing_and_with_one_failures_count_again() {
    let place = Place::new();
    let mut store = place.open();
    let peers: Vec<PeerId> = (0..20).map(|_| PeerId::random()).collect();
    for peer in &peers {
        heard(&mut store, peer, &addr(1));
    }
    close(store);
    let mut store = place.open();
    for peer in &peers {
        for _ in 0..9 {
            dial_failed(&mut store, peer, &refused(peer, &addr(1)));
        }
    }
    assert!(peers.iter().all(|peer| known(&store, peer) == [addr(1)]));
    assert_eq!(store.health().failures_without_contact, 180);
    connected(&mut store, &peers[0], &dialler(&addr(1)), &[]);
    for failures in 1..=3 {
        let expected = if failures < 3 { vec![addr(1)] } else { vec![] };
        dial_failed(&mut store, &peers[1], &refused(&peers[1], &addr(1)));
        assert_eq!(known(&store, &peers[1]), expected, "after {failures}");
    }
    close(store);
}

#[test]
fn contact_is_over_some_time_after_the_last_connection() {
    let place = Place::new();
    let config = place.config().contact_window(Duration::ZERO);
    let mut store = place.open_with::<()>(config.dial_failures_max(1));
    let (friend, peer) = (PeerId::random(), PeerId::random());
    heard(&mut store, &peer, &addr(1));
    let point = dialler(&addr(7));
    connected(&mut store, &friend, &point, &[]);
    closed(&mut store, &friend, &point);
    dial_failed(&mut store, &peer, &refused(&peer, &addr(1)));
    assert_eq!(known(&store, &peer), [addr(1)]);
    connected(&mut store, &friend, &point, &[]);
    dial_failed(&mut store, &peer, &refused(&peer, &addr(1)));
    assert_eq!(known(&store, &peer), []);
    close(store);
}
