//! Monitors: wildcards, what is there first and then what is new, removals, coming back, and being
//! slow.

use std::collections::BTreeSet;
use std::time::Duration;

use peercask_peerstore::gnunet::{
    Cause, Event, Filter, From, Monitor, MonitorSpec, Options, Watch,
};

use crate::support::{
    Multiple, NOW_US, PATIENCE, Place, Replace, Via, all, both, event, peer, put, record, told,
};

fn spec(filter: Filter, from: From) -> MonitorSpec {
    MonitorSpec::new(filter).from(from).removals(true)
}

/// The events up to and with the next `Synced`.
fn until_synced(watch: &mut Watch<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        events.push(event(watch));
        if matches!(events.last(), Some(Event::Synced { .. })) {
            return events;
        }
    }
}

fn values_of(events: &[Event]) -> Vec<String> {
    let stored = events
        .iter()
        .filter(|event| matches!(event, Event::Stored { .. }));
    stored.map(told).collect()
}

both! {
    fn wildcards_choose_by_peer_by_key_or_everything(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let filters = [
            (all("s"), &["1a", "2a", "2b"][..]),
            (all("s").peer(peer(2)), &["2a", "2b"]),
            (all("s").key("a"), &["1a", "2a"]),
        ];
        let mut watches = filters.map(|(filter, expected)| {
            let mut watch = connection.watch(filter).expect("a watch");
            assert_eq!(until_synced(&mut watch).len(), 1);
            (watch, expected)
        });
        for (subsystem, who, key) in [("s", 1, "a"), ("t", 2, "a"), ("s", 2, "a"), ("s", 2, "b")] {
            put(&connection, &record(subsystem, who, key, &format!("{who}{key}")), Replace);
        }
        for (watch, expected) in &mut watches {
            let heard: Vec<_> = expected.iter().map(|_| told(&event(watch))).collect();
            assert_eq!(heard, *expected);
        }
    }

    fn what_is_there_comes_first_then_one_sync_then_what_is_new(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..300 {
            put(&connection, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let mut watch = connection.watch(spec(all("s"), From::Existing)).expect("a watch");
        let first = told(&event(&mut watch));
        put(&connection, &record("s", 1, "k", "live"), Multiple);
        let existing = until_synced(&mut watch);
        assert_eq!(first, "0");
        assert_eq!(values_of(&existing).len(), 299);
        assert_eq!(told(&event(&mut watch)), "live");
        assert_eq!(watch.next_timeout(Duration::from_millis(20)).expect("works"), None);
        // Without the initial pass the sync comes at once.
        let mut now = connection.watch(all("s")).expect("a watch");
        assert!(matches!(event(&mut now), Event::Synced { .. }));
    }

    /// Another connection stores all the time while monitors start: each sees each record once.
    fn a_store_at_the_seam_is_told_exactly_once(via) {
        let place = Place::native(via);
        let total = 3_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let writer = place.connect();
                for at in 0..total {
                    put(&writer, &record("s", 1, "k", &at.to_string()), Multiple);
                }
            });
            for _ in 0..6 {
                let connection = place.connect();
                let mut watch = connection.watch(spec(all("s"), From::Existing)).expect("a watch");
                let (mut seen, mut syncs, mut next) = (0, 0, 0);
                while seen < total {
                    match event(&mut watch) {
                        Event::Synced { .. } => syncs += 1,
                        stored => {
                            assert_eq!(told(&stored), next.to_string());
                            next += 1;
                            seen += 1;
                        }
                    }
                }
                if syncs == 0 {
                    assert!(matches!(event(&mut watch), Event::Synced { .. }));
                    syncs = 1;
                }
                assert_eq!(syncs, 1);
            }
        });
    }

    fn removals_are_told_with_their_cause_to_those_who_ask(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let mut asking = connection.watch(spec(all("s"), From::Now)).expect("a watch");
        let mut other = connection.watch(all("s")).expect("a watch");
        until_synced(&mut asking);
        until_synced(&mut other);
        let first = put(&connection, &record("s", 1, "k", "1"), Multiple);
        put(&connection, &record("s", 1, "k", "2"), Replace);
        let third = put(&connection, &record("s", 2, "k", "3").expires_at_us(NOW_US + 9), Multiple);
        connection.remove(&all("s").peer(peer(1))).expect("removed");
        place.clock.advance(Duration::from_secs(1));
        connection.expire(None).expect("swept");
        put(&connection, &record("s", 1, "k", "last"), Multiple);
        let heard: Vec<Event> = (0..6).map(|_| event(&mut asking)).collect();
        assert_eq!(heard[0].seq(), first);
        assert!(matches!(&heard[1], Event::Stored { replaces: true, .. }));
        let Event::Removed { of, cause: Cause::Deleted, .. } = &heard[3] else {
            panic!("a delete is due: {heard:?}");
        };
        assert_eq!(*of, heard[1].seq());
        assert!(matches!(&heard[4], Event::Removed { of, cause: Cause::Expired, .. } if *of == third));
        assert!(heard.windows(2).all(|pair| pair[0].seq() < pair[1].seq()), "{heard:?}");
        let quiet: Vec<String> = (0..4).map(|_| told(&event(&mut other))).collect();
        assert_eq!(quiet, ["1", "2", "3", "last"]);
    }

    fn a_monitor_that_comes_back_misses_nothing(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let kept = put(&connection, &record("s", 1, "k", "seen"), Multiple);
        put(&connection, &record("s", 2, "k", "missed"), Multiple);
        put(&connection, &record("t", 2, "k", "not ours"), Multiple);
        connection.remove(&all("s").peer(peer(1))).expect("removed");
        let mut back = connection.watch(spec(all("s"), From::After(kept))).expect("a watch");
        let heard = until_synced(&mut back);
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert_eq!(told(&heard[0]), "missed");
        assert!(matches!(heard[1], Event::Removed { of, .. } if of == kept));
        // Up to date: nothing but the sync.
        let now = heard[2].seq();
        let mut back = connection.watch(spec(all("s"), From::After(now))).expect("a watch");
        assert_eq!(until_synced(&mut back), [Event::Synced { seq: now }]);
        put(&connection, &record("s", 3, "k", "live"), Multiple);
        assert_eq!(told(&event(&mut back)), "live");
    }

    /// Beyond the history, after a reopen, or with a number of another store: it is told so, and
    /// gets the records.
    fn a_monitor_that_was_away_too_long_is_told_and_gets_the_records(via) {
        let mut place = Place::new(via, Options::native().history_bytes(0));
        let connection = place.connect();
        let first = put(&connection, &record("s", 1, "k", "1"), Multiple);
        put(&connection, &record("s", 1, "k", "2"), Multiple);
        for reopened in [false, true] {
            let connection = place.connect();
            let mut back = connection.watch(spec(all("s"), From::After(first))).expect("a watch");
            let heard = until_synced(&mut back);
            assert_eq!(heard[0], Event::Missed { after: first }, "reopened: {reopened}");
            assert_eq!(values_of(&heard), ["2"]);
            drop(back);
            drop(connection);
            if !reopened {
                place.reopen();
            }
        }
        let connection = place.connect();
        let mut foreign =
            connection.watch(spec(all("s"), From::After(u64::MAX - 5))).expect("a watch");
        let heard = until_synced(&mut foreign);
        assert_eq!(heard[0], Event::Missed { after: 0 });
        assert_eq!(values_of(&heard), ["1", "2"]);
    }

    fn the_initial_pass_goes_no_further_than_its_credit(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for at in 0..10 {
            put(&connection, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let notes = crate::support::Notes::default();
        let heard = notes.clone();
        let id = connection
            .watch_then(spec(all("s"), From::Existing), 1, move |_, event| {
                match event.expect("works") {
                    Event::Synced { .. } => heard.add("sync"),
                    event => heard.add(told(&event)),
                }
            })
            .expect("a watch");
        crate::support::turn_until(&connection, || notes.len() == 1);
        put(&connection, &record("s", 1, "k", "live"), Multiple);
        crate::support::turn_idle(&connection);
        assert_eq!(notes.take(), ["0"]);
        connection.more(id, 3).expect("asked");
        crate::support::turn_until(&connection, || notes.len() == 3);
        crate::support::turn_idle(&connection);
        assert_eq!(notes.take(), ["1", "2", "3"]);
        connection.more(id, u64::MAX).expect("asked");
        crate::support::turn_until(&connection, || notes.len() == 8);
        assert_eq!(notes.take(), ["4", "5", "6", "7", "8", "9", "sync", "live"]);
    }

    /// Nobody reads the watch; every store is taken, and the reader catches up to the last one.
    fn a_slow_monitor_never_makes_a_store_wait(via) {
        let options = Options::native().queue_len(16).history_bytes(4_000);
        let place = Place::new(via, options);
        let slow = place.connect();
        let mut watch = slow.watch(spec(all("s"), From::Now)).expect("a watch");
        until_synced(&mut watch);
        let writer = place.connect();
        for at in 0..2_000 {
            put(&writer, &record("s", 1, "k", &at.to_string()), Multiple);
        }
        let (mut seen, mut missed) = (BTreeSet::new(), 0);
        while seen.len() < 2_000 {
            match event(&mut watch) {
                Event::Missed { .. } => missed += 1,
                Event::Synced { .. } => {}
                stored => assert!(seen.insert(stored.seq()), "a double: {stored:?}"),
            }
        }
        assert!(missed >= 1, "it was told that it fell behind");
    }
}

#[test]
fn a_direct_monitor_waits_resumes_and_ends_with_the_peerstore() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore().clone();
    let mut monitor: Monitor = peers
        .monitor(spec(all("s"), From::Existing))
        .expect("a monitor");
    assert!(matches!(monitor.try_next(), Ok(Some(Event::Synced { .. }))));
    assert_eq!(monitor.try_next().expect("works"), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peers
                .store(&record("s", 1, "k", "v"), Multiple)
                .expect("stored")
        });
        let event = monitor
            .next_timeout(PATIENCE)
            .expect("works")
            .expect("comes");
        assert_eq!(told(&event), "v");
        assert_eq!(monitor.last_seq(), event.seq());
    });
    for _ in 0..100 {
        assert_eq!(monitor.try_next().expect("works"), None);
    }
    assert_eq!(peers.stats().expect("stats").monitors, 1);
    peers.close().expect("closed");
    assert!(monitor.try_next().is_err());
}
