//! Walks: what they find, in which order, on which snapshot, and how they are ended.

use std::time::Duration;

use peercask::Merge;
use peercask_peerstore::gnunet::{
    Acknowledge, Connection, ErrorKind, Filter, Options, Order, Query, Stored,
};

use crate::support::{
    Multiple, NOW_US, Notes, Place, Replace, Via, all, both, found, peer, put, record, turn_idle,
    turn_until, values,
};

/// Values are numbered in the order of insertion.
fn fill(connection: &Connection) {
    for (at, (subsystem, who, key)) in [
        ("s", 2, "b"),
        ("s", 1, "b"),
        ("s", 2, "a"),
        ("s", 1, "b"),
        ("t", 1, "b"),
        ("s", 2, "b"),
        ("s", 3, ""),
    ]
    .into_iter()
    .enumerate()
    {
        put(
            connection,
            &record(subsystem, who, key, &at.to_string()),
            Multiple,
        );
    }
}

const BY_INSERTION: [&str; 6] = ["0", "1", "2", "3", "5", "6"];
const BY_PEER: [&str; 6] = ["1", "3", "2", "0", "5", "6"];

fn text(stored: &Stored) -> String {
    String::from_utf8_lossy(&stored.record.value).into_owned()
}

both! {
    fn the_four_ways_to_ask_find_exactly_what_matches_and_then_one_end(via) {
        let place = Place::native(via);
        let connection = place.connect();
        fill(&connection);
        let two = peer(2);
        for (filter, expected) in [
            (all("s"), &BY_INSERTION[..]),
            (all("s").peer(two), &["0", "2", "5"]),
            (all("s").key("b"), &["0", "1", "3", "5"]),
            (all("s").peer(two).key("b"), &["0", "5"]),
            (all("s").peer(peer(9)), &[]),
            (all("unknown"), &[]),
            (all("unknown").peer(two).key("b"), &[]),
        ] {
            assert_eq!(values(&connection, filter.clone()), expected, "{filter:?}");
            let notes = Notes::default();
            let told = notes.clone();
            connection
                .iterate_then(filter, u64::MAX, move |_, found| match found {
                    Ok(Some(stored)) => told.add(text(&stored)),
                    Ok(None) => told.add("end"),
                    Err(error) => told.add(error.to_string()),
                })
                .expect("queued");
            turn_until(&connection, || notes.len() > expected.len());
            turn_idle(&connection);
            assert_eq!(notes.take(), [expected, &["end"]].concat());
        }
    }

    fn both_orders_are_stable_across_reopen_and_merge(via) {
        let mut place = Place::native(via);
        fill(&place.connect());
        let check = |place: &Place| {
            let connection = place.connect();
            let ordered = |order| values(&connection, Query::new(all("s")).order(order));
            assert_eq!(ordered(Order::Insertion), BY_INSERTION);
            assert_eq!(ordered(Order::Peer), BY_PEER);
            let key = Query::new(all("s").key("b")).order(Order::Peer);
            assert_eq!(values(&connection, key), ["1", "3", "0", "5"]);
        };
        check(&place);
        let before = found(&place.connect(), all("s"));
        place.reopen();
        check(&place);
        place.peerstore().engine().merge(Merge::Full).expect("merged");
        check(&place);
        place.reopen();
        check(&place);
        assert_eq!(found(&place.connect(), all("s")), before, "sequence numbers too");
    }

    fn the_compatible_mode_goes_by_peer_and_the_native_one_by_insertion(via) {
        for (options, expected) in [
            (Options::native(), BY_INSERTION),
            (Options::compatible(), BY_PEER),
        ] {
            let place = Place::new(via, options);
            let connection = place.connect();
            fill(&connection);
            assert_eq!(values(&connection, all("s")), expected);
        }
    }

    fn a_walk_is_taken_up_behind_any_sequence_number(via) {
        let place = Place::new(via, Options::compatible());
        let connection = place.connect();
        fill(&connection);
        let filters = [all("s"), all("s").peer(peer(2)), all("s").key("b"), all("s").peer(peer(2)).key("b")];
        for filter in filters {
            let whole = found(&connection, Query::new(filter.clone()).order(Order::Insertion));
            for (at, stored) in whole.iter().enumerate() {
                let rest = found(&connection, Query::new(filter.clone()).after(stored.seq));
                assert_eq!(rest, whole[at + 1..]);
            }
        }
    }

    /// A replaced record's number is not given again: whoever is past it sees the new one.
    fn a_sequence_number_is_never_reused_also_not_by_replace_or_after_reopen(via) {
        let mut place = Place::native(via);
        let mut last = 0;
        for round in 0..4 {
            let connection = place.connect();
            for _ in 0..3 {
                let seq = put(&connection, &record("s", 1, "k", "v"), Replace);
                assert!(seq > last, "{seq} after {last} in round {round}");
                last = seq;
            }
            connection.remove(&all("s")).expect("removed");
            drop(connection);
            place.reopen();
        }
    }

    /// Stores, replaces, deletes and a sweep while a walk is under way change nothing of it.
    fn a_walk_sees_its_snapshot(via) {
        for order in [Order::Insertion, Order::Peer] {
            let place = Place::native(via);
            let connection = place.connect();
            for at in 0..300_u16 {
                let who = u8::try_from(at % 50).expect("small");
                let dated = record("s", who, "k", &at.to_string()).expires_at_us(NOW_US + 1_000_000);
                put(&connection, &dated, Multiple);
            }
            let query = Query::new(all("s")).order(order);
            let before = found(&connection, query.clone());
            let mut walk = connection.iterate(query.clone()).expect("a walk");
            let mut seen = vec![walk.next().expect("one").expect("readable")];
            let other = place.connect();
            put(&other, &record("s", 0, "new", "new"), Multiple);
            put(&other, &record("s", 7, "k", "replaced"), Replace);
            put(&other, &record("s", 8, "k", "replaced"), Replace);
            put(&other, &record("s", 8, "k", "replaced again"), Replace);
            other.remove(&all("s").peer(peer(9))).expect("removed");
            place.clock.advance(Duration::from_secs(3));
            other.expire(None).expect("swept");
            seen.extend(walk.by_ref().map(|found| found.expect("readable")));
            assert_eq!(seen, before, "{order:?}");
            drop(walk);
            assert_eq!(values(&other, all("s")), ["new", "replaced", "replaced again"]);
            // Nothing is kept once the last walk is gone.
            turn_idle(&connection);
            let stats = || other.stats().expect("stats");
            turn_until(&connection, || stats().iterations == 0);
            assert_eq!(stats().kept_for_iterations, 0);
        }
    }

    fn callbacks_may_store_replace_and_walk_again(via) {
        let place = Place::native(via);
        let connection = place.connect();
        fill(&connection);
        let notes = Notes::default();
        let outer = notes.clone();
        connection
            .iterate_then(all("s"), u64::MAX, move |connection, found| {
                let Some(stored) = found.expect("readable") else {
                    outer.add("end");
                    return;
                };
                outer.add(text(&stored));
                put(connection, &record("s", 9, "k", "inner"), Multiple);
                put(connection, &stored.record, Replace);
                let nested = connection.iterate(all("s")).expect("nested").count();
                assert!(nested >= 2, "a walk of the same kind inside");
                let inner = outer.clone();
                connection
                    .iterate_then(all("t"), u64::MAX, move |_, found| {
                        if found.expect("readable").is_none() {
                            inner.add("inner end");
                        }
                    })
                    .expect("queued");
            })
            .expect("queued");
        turn_until(&connection, || notes.len() >= 13);
        let mut told = notes.take();
        told.retain(|note| note != "inner end");
        assert_eq!(told, [&BY_INSERTION[..], &["end"]].concat());
    }

    fn cancelling_silences_a_walk_and_nothing_else(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..600 {
            put(&connection, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let notes = Notes::default();
        let walk = |credit| {
            let told = notes.clone();
            connection
                .iterate_then(all("s"), credit, move |_, _| told.add("called"))
                .expect("queued")
        };
        // Before anything was sent.
        let id = walk(u64::MAX);
        assert!(connection.cancel(id));
        turn_idle(&connection);
        assert_eq!(notes.len(), 0);
        // After some records.
        let id = walk(5);
        turn_until(&connection, || notes.len() == 5);
        assert!(connection.cancel(id));
        assert!(!connection.cancel(id), "only once");
        turn_idle(&connection);
        assert_eq!(notes.take().len(), 5);
        // Inside its own callback, with more on the way.
        let told = notes.clone();
        let own = std::sync::Arc::new(std::sync::Mutex::new(None));
        let known = own.clone();
        let id = connection
            .iterate_then(all("s"), u64::MAX, move |connection, _| {
                told.add("called");
                let id = known.lock().expect("whole").expect("known by now");
                assert!(connection.cancel(id));
            })
            .expect("queued");
        *own.lock().expect("whole") = Some(id);
        turn_until(&connection, || notes.len() > 0);
        turn_idle(&connection);
        assert_eq!(notes.take().len(), 1);
        // After the end.
        let id = walk(u64::MAX);
        turn_until(&connection, || notes.len() == 601);
        assert!(!connection.cancel(id));
        // Dropped half way, blocking; the next request is answered.
        let half: Vec<_> = connection.iterate(all("s")).expect("a walk").take(200).collect();
        assert_eq!(half.len(), 200);
        assert_eq!(connection.iterate(all("s")).expect("a walk").count(), 600);
    }

    fn two_walks_on_one_connection_both_complete(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..400 {
            put(&connection, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let mut first = connection.iterate(all("s")).expect("a walk");
        let mut second = connection.iterate(all("s")).expect("a walk");
        let mut counts = (0, 0);
        loop {
            let (a, b) = (first.next(), second.next());
            counts.0 += u32::from(a.is_some());
            counts.1 += u32::from(b.is_some());
            if a.is_none() && b.is_none() {
                break;
            }
        }
        assert_eq!(counts, (400, 400));
    }

    fn a_walk_after_stores_on_one_connection_sees_them_all(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..50 {
            let stored = record("s", 1, "k", &at.to_string());
            connection
                .store_then(stored, Multiple, Acknowledge::Kernel, |_, done| {
                    done.expect("stored");
                })
                .expect("queued");
        }
        assert_eq!(found(&connection, all("s")).len(), 50);
    }

    fn paging_delivers_no_more_than_was_asked_for(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..10 {
            put(&connection, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let notes = Notes::default();
        let told = notes.clone();
        let id = connection
            .iterate_then(all("s"), 1, move |_, found| match found.expect("readable") {
                Some(stored) => told.add(text(&stored)),
                None => told.add("end"),
            })
            .expect("queued");
        let early = connection.more(id, 1).expect_err("the first has not come");
        assert_eq!(early.kind(), ErrorKind::InvalidArgument);
        turn_until(&connection, || notes.len() == 1);
        turn_idle(&connection);
        assert_eq!(notes.take(), ["0"]);
        connection.more(id, 4).expect("asked");
        assert!(connection.more(id, 1).is_err(), "too often is an error");
        turn_until(&connection, || notes.len() == 4);
        turn_idle(&connection);
        assert_eq!(notes.take(), ["1", "2", "3", "4"]);
        connection.more(id, 100).expect("asked");
        turn_until(&connection, || notes.len() == 6);
        assert_eq!(notes.take().last().map(String::as_str), Some("end"));
        assert!(connection.more(id, 1).is_err(), "it is over");
        assert_eq!(connection.iterate(all("s")).expect("lives").count(), 10);
    }

    /// No credit is no record, and no end.
    fn without_credit_nothing_is_delivered(via) {
        let place = Place::native(via);
        let connection = place.connect();
        put(&connection, &record("s", 1, "k", "0"), Multiple);
        let notes = Notes::default();
        let told = notes.clone();
        let id = connection
            .iterate_then(all("s"), 0, move |_, found| match found.expect("readable") {
                Some(stored) => told.add(text(&stored)),
                None => told.add("end"),
            })
            .expect("queued");
        turn_idle(&connection);
        assert_eq!(notes.take(), Vec::<String>::new());
        // Its snapshot is of when it began.
        put(&connection, &record("s", 1, "k", "1"), Multiple);
        connection.more(id, 9).expect("asked");
        turn_until(&connection, || notes.len() == 2);
        assert_eq!(notes.take(), ["0", "end"]);
    }

    /// Upstream's request numbers end after 65,536.
    fn a_connection_takes_more_than_65536_requests(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let one = record("s", 1, "k", "v");
        for at in 0..66_000_u32 {
            let told = notes.clone();
            connection
                .store_then(one.clone(), Replace, Acknowledge::Accepted, move |_, done| {
                    done.expect("stored");
                    told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                })
                .expect("queued");
            if at % 1_000 == 0 {
                connection.turn(Duration::ZERO).expect("a turn");
            }
        }
        let told = || notes.load(std::sync::atomic::Ordering::Relaxed);
        turn_until(&connection, || told() == 66_000);
        assert_eq!(values(&connection, all("s")), ["v"]);
    }
}

#[test]
fn a_direct_walk_may_store_while_it_holds_a_record() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore();
    for at in 0..20 {
        peers
            .store(&record("s", 1, "k", &at.to_string()), Multiple)
            .expect("stored");
    }
    let mut count = 0;
    for found in peers.iterate(Filter::subsystem("s")).expect("a walk") {
        let found = found.expect("readable");
        peers.store(&found.record, Multiple).expect("no deadlock");
        peers
            .store(&record("s", 2, "k", "x"), Replace)
            .expect("no deadlock");
        assert!(
            peers
                .iterate(Filter::subsystem("s"))
                .expect("nested")
                .count()
                > 20
        );
        count += 1;
    }
    assert_eq!(count, 20);
}

/// Sixty records go in one step, again and again; who walks meanwhile finds those of one round, each as it was.
#[test]
fn walks_beside_large_deletes_find_every_record_as_it_was() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore();
    let done = std::sync::atomic::AtomicBool::new(false);
    let walk = || {
        let walk = peers.iterate(Filter::subsystem("s")).expect("a walk");
        let found: Vec<String> = walk.map(|found| text(&found.expect("readable"))).collect();
        assert!(found.len() <= 60);
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        found.len()
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Bounded, for a failure of the others must end it too.
                for _ in 0..20_000 {
                    walk();
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        for round in 0..60 {
            for _ in 0..60 {
                let stored = record("s", 1, "k", &round.to_string());
                peers
                    .store_with(&stored, Multiple, Acknowledge::Accepted)
                    .expect("stored");
            }
            assert_eq!(walk(), 60);
            assert_eq!(peers.remove(&Filter::subsystem("s")).expect("removed"), 60);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let stats = peers.stats().expect("stats");
    assert_eq!((stats.records, stats.kept_for_iterations), (0, 0));
    assert_eq!(peers.engine().stats().snapshots, 0);
}
