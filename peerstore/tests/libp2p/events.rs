//! Streams: what is told, in which order, to whom, and what happens to those who do not read.

use std::task::{Context, Poll, Waker};

use peercask_peerstore::libp2p::{
    Changed, Dial, Event, EventKind, Next, Options, Peer, PeerRemovalReason, RemovalReason, Ttl,
};

use crate::support::{Place, addr, addrs, drain, each_backend, key, peer, seconds, signed};

/// A short word for an event.
fn word(event: &Event) -> String {
    let own = if event.own { "own " } else { "" };
    match &event.kind {
        EventKind::PeerAdded => format!("{own}added"),
        EventKind::PeerUpdated { .. } => format!("{own}updated"),
        EventKind::AddressAdded(address) => format!("{own}+{}", address.addr),
        EventKind::AddressRemoved { addr, reason } => format!("{own}-{addr} {reason:?}"),
        EventKind::PeerRemoved(reason) => format!("{own}removed {reason:?}"),
        other => format!("{other:?}"),
    }
}

fn words(events: Vec<Event>) -> Vec<String> {
    events.iter().map(word).collect()
}

each_backend! {
    fn what_is_there_comes_first_then_what_is_new_and_nothing_twice(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("added");
        let mut stream = peers.addr_stream(peer(1)).expect("readable");
        peers.add_addrs(peer(1), &addrs(1..3), Ttl::ADDRESS).expect("added");
        peers.clear_addrs(peer(1)).expect("cleared");
        peers.add_addrs(peer(1), &addrs(0..4), Ttl::ADDRESS).expect("added");
        assert_eq!(drain(&mut stream), addrs(0..4), "cleared and added again is not new, as in go");
    }

    fn every_stream_of_a_peer_gets_everything(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let mut streams: Vec<_> =
            (0..3).map(|_| peers.addr_stream(peer(1)).expect("readable")).collect();
        peers.add_addrs(peer(1), &addrs(0..5), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(2), &addrs(5..9), Ttl::ADDRESS).expect("another's");
        for stream in &mut streams {
            assert_eq!(drain(stream), addrs(0..5));
        }
    }

    fn a_slow_stream_is_told_what_it_missed_and_holds_up_nobody(backend) {
        let place = Place::with(backend, Options::default().events_max(10).addresses_max(0));
        let peers = place.peers();
        let mut slow = peers.addr_stream(peer(1)).expect("readable");
        let mut events = peers.events();
        for number in 0..100 {
            peers.add_addrs(peer(1), &addrs(number..number + 1), Ttl::ADDRESS).expect("added");
        }
        let got: Vec<_> = std::iter::from_fn(|| slow.try_next()).collect();
        assert_eq!(got.len(), 11);
        assert_eq!((&got[0], &got[10]), (&Next::Item(addr(0)), &Next::Lagged(90)));
        // It goes on behind the gap.
        peers.add_addrs(peer(1), &addrs(100..101), Ttl::ADDRESS).expect("added");
        assert_eq!(slow.try_next(), Some(Next::Item(addr(100))));
        assert_eq!(slow.try_next(), None);
        let missed = std::iter::from_fn(|| events.try_next()).find_map(|next| match next {
            Next::Lagged(missed) => Some(missed),
            Next::Item(_) => None,
        });
        assert!(missed.is_some_and(|missed| missed > 90), "{missed:?}");
        assert_eq!(peers.stats().streams_lagged, 2);
    }

    fn a_stream_that_is_dropped_leaves_nothing(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..50 {
            drop(peers.addr_stream(peer(number)).expect("readable"));
            drop(peers.events());
        }
        peers.maintain().expect("kept");
        assert_eq!((peers.stats().streams, peers.count()), (0, 0));
    }

    fn everything_is_told_with_its_reason(backend) {
        let options = Options::default().addresses_max(2).own_id(Some(peer(9)));
        let place = Place::with(backend, options);
        let peers = place.peers();
        let mut events = peers.events();
        let mut next = || words(drain(&mut events));
        let name = |number: usize| addr(number).to_string();

        peers.add_addrs(peer(1), &addrs(0..1), Ttl::from(seconds(10))).expect("added");
        assert_eq!(next(), ["added".to_owned(), format!("+{}", name(0))]);
        peers.add_addrs(peer(1), &addrs(1..3), Ttl::ADDRESS).expect("added");
        let evicted = [format!("-{} Evicted", name(0)), format!("+{}", name(1)), format!("+{}", name(2))];
        assert_eq!(next(), [&evicted[..], &["updated".to_owned()]].concat());
        peers.set_addrs(peer(1), &addrs(1..2), Ttl::NONE).expect("removed");
        assert_eq!(next(), [format!("-{} Deleted", name(1)), "updated".to_owned()]);
        for _ in 0..3 {
            peers.record_dial(peer(1), &addr(2), Dial::Failed).expect("noted");
        }
        let failed = [format!("-{} DialFailure", name(2)), "removed Deleted".to_owned()];
        assert_eq!(next(), failed, "nothing was left of it");

        peers.consume_record(&signed(&key(2), 1, &addrs(0..1)), Ttl::ADDRESS).expect("holds");
        peers.consume_record(&signed(&key(2), 2, &addrs(1..2)), Ttl::ADDRESS).expect("holds");
        let told = next();
        assert!(told.contains(&format!("-{} Superseded", name(0))), "{told:?}");
        peers.forget_peer(peer(2)).expect("forgotten");
        assert_eq!(next(), [format!("-{} Deleted", name(1)), "removed Deleted".to_owned()]);

        peers.add_addrs(peer(9), &addrs(0..1), Ttl::ADDRESS).expect("added");
        assert_eq!(next(), ["own added".to_owned(), format!("own +{}", name(0))]);
        peers.set_protocols(peer(9), &["/a"]).expect("set");
        assert_eq!(next(), ["own updated"]);
    }

    fn an_update_tells_before_and_after(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.set_protocols(peer(1), &["/a"]).expect("set");
        let mut events = peers.events();
        peers.update(peer(1), |peer| {
            peer.set_protocols(&["/b"])?;
            peer.put_metadata("k", 1_i64)
        }).expect("one change");
        let told = drain(&mut events);
        let [Event { kind: EventKind::PeerUpdated { changed, previous, current }, .. }] = &told[..] else {
            panic!("one update: {told:?}");
        };
        let mut expected = Changed::default();
        (expected.protocols, expected.metadata) = (true, true);
        assert_eq!(*changed, expected);
        assert_eq!(previous.protocols, ["/a".to_owned()].into());
        assert_eq!(current.protocols, ["/b".to_owned()].into());
        assert_eq!((previous.metadata.len(), current.metadata.len()), (0, 1));
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("added");
        let told = drain(&mut events);
        let last = told.last().expect("an update");
        let EventKind::PeerUpdated { current, .. } = &last.kind else { panic!("{told:?}") };
        assert_eq!((current.protocols.len(), current.addresses.len()), (1, 1), "the whole peer");
    }

    fn an_expired_address_is_told_once_within_a_tick(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for (number, life) in [(0, 10), (1, 10), (2, 20)] {
            peers.add_addrs(peer(1), &addrs(number..number + 1), Ttl::from(seconds(life))).expect("added");
        }
        let mut events = peers.events();
        let gone = |events: Vec<Event>| {
            events.iter().filter(|event| {
                matches!(event.kind, EventKind::AddressRemoved { reason: RemovalReason::Expired, .. })
            }).count()
        };
        place.sleep(seconds(10));
        peers.maintain().expect("a tick");
        assert_eq!(gone(drain(&mut events)), 2);
        place.sleep(seconds(5));
        peers.maintain().expect("a tick");
        assert!(drain(&mut events).is_empty());
        place.sleep(seconds(5));
        peers.maintain().expect("a tick");
        let told = drain(&mut events);
        let removed = matches!(told.last().map(|e| &e.kind), Some(EventKind::PeerRemoved(PeerRemovalReason::Expired)));
        assert!(removed, "{told:?}");
        assert_eq!(gone(told), 1);
    }

    fn who_follows_addresses_is_told_of_all_but_what_else_a_peer_is(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let (mut all, mut some) = (peers.events(), peers.address_events());
        peers.add_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("added");
        peers.set_protocols(peer(1), &["/a"]).expect("set");
        peers.set_addrs(peer(1), &addrs(0..1), Ttl::NONE).expect("removed");
        peers.forget_peer(peer(1)).expect("forgotten");
        let is_update = |event: &Event| matches!(event.kind, EventKind::PeerUpdated { .. });
        let all = drain(&mut all);
        assert!(all.iter().any(is_update));
        let rest: Vec<String> = all.iter().filter(|event| !is_update(event)).map(word).collect();
        let told: Vec<String> = drain(&mut some).iter().map(word).collect();
        assert_eq!(told, rest);
        assert_eq!(told.len(), 6, "{told:?}");
    }

    fn of_each_peer_the_order_is_that_of_the_changes(backend) {
        let place = Place::with(backend, Options::default().events_max(100_000));
        let peers = place.peers();
        let mut events = peers.events();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    for step in 0..50_u64 {
                        let value = thread * 1_000 + step;
                        peers.put_metadata(peer(1), "k", value).expect("put");
                    }
                });
            }
        });
        let mut last = None;
        let mut count = 0;
        for event in drain(&mut events) {
            if let EventKind::PeerUpdated { previous, current, .. } = &event.kind {
                let (before, after) = (previous.metadata.get("k").cloned(), current.metadata.get("k").cloned());
                if last.is_some() {
                    assert_eq!(before, last, "each goes on where the one before ended");
                }
                last = after;
                count += 1;
            }
        }
        assert_eq!(count, 199);
        assert_eq!(last, Some(peers.metadata(peer(1), "k").expect("there")));
    }
}

#[test]
fn a_stream_is_polled_without_a_runtime_and_ends_with_the_store() {
    let place = Place::new(crate::support::Backend::Memory);
    let peers = place.peers();
    let mut stream = peers.addr_stream(Peer::EMPTY).expect("readable");
    let mut context = Context::from_waker(Waker::noop());
    assert!(stream.poll_next(&mut context).is_pending());
    peers
        .add_addrs(Peer::EMPTY, &addrs(0..1), Ttl::ADDRESS)
        .expect("added");
    assert_eq!(
        stream.poll_next(&mut context),
        Poll::Ready(Some(Next::Item(addr(0))))
    );
    let waiting = std::thread::spawn(move || stream.next());
    peers.close().expect("closed");
    assert_eq!(waiting.join().expect("joined"), None);
}
