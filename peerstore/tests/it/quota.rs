//! The answer to records that never expire: deletes in every combination, forgetting a peer,
//! counts, and quotas.

use std::time::Duration;

use peercask_peerstore::gnunet::{
    Acknowledge, Cause, ErrorKind, Event, From, MonitorSpec, Options, Quota, QuotaRule,
    SubsystemStats,
};

use crate::support::{
    Multiple, NOW_US, Place, Replace, Via, all, both, event, peer, put, record, values,
};

both! {
    fn deletes_take_any_combination_and_forgetting_goes_everywhere(via) {
        let mut place = Place::native(via);
        let connection = place.connect();
        let fill = || {
            for (subsystem, who, key) in
                [("s", 1, "a"), ("s", 1, "b"), ("s", 2, "a"), ("s", 2, "b"), ("t", 1, "a")]
            {
                put(&connection, &record(subsystem, who, key, &format!("{who}{key}")), Replace);
            }
        };
        fill();
        assert_eq!(connection.remove(&all("s").peer(peer(1)).key("a")).expect("removed"), 1);
        assert_eq!(values(&connection, all("s")), ["1b", "2a", "2b"]);
        assert_eq!(connection.remove(&all("s").key("b")).expect("removed"), 2);
        assert_eq!(values(&connection, all("s")), ["2a"]);
        fill();
        assert_eq!(connection.remove(&all("s").peer(peer(2))).expect("removed"), 2);
        assert_eq!(values(&connection, all("s")), ["1a", "1b"]);
        fill();
        assert_eq!(connection.forget_peer(peer(1)).expect("removed"), 3);
        assert_eq!(connection.forget_peer(peer(1)).expect("nothing"), 0);
        assert_eq!(values(&connection, all("s")), ["2a", "2b"]);
        assert_eq!(values(&connection, all("t")), Vec::<String>::new());
        assert_eq!(connection.remove(&all("s")).expect("removed"), 2);
        assert_eq!(connection.remove(&all("s")).expect("nothing"), 0);
        drop(connection);
        place.reopen();
        assert_eq!(place.connect().stats().expect("stats").records, 0);
    }

    fn counts_and_bytes_follow_every_change(via) {
        let mut place = Place::native(via);
        let connection = place.connect();
        put(&connection, &record("s", 1, "key", "12345"), Multiple);
        put(&connection, &record("s", 1, "key", "1"), Multiple);
        put(&connection, &record("other", 1, "", ""), Multiple);
        let of = |connection: &peercask_peerstore::gnunet::Connection, name: &str| {
            let stats = connection.stats().expect("stats");
            stats.subsystems.get(name.as_bytes()).copied()
        };
        let two = SubsystemStats { records: 2, bytes: 2 * (1 + 32 + 3) + 6 };
        let one = SubsystemStats { records: 1, bytes: 5 + 32 };
        assert_eq!((of(&connection, "s"), of(&connection, "other")), (Some(two), Some(one)));
        put(&connection, &record("s", 1, "key", "12"), Replace);
        let replaced = SubsystemStats { records: 1, bytes: 1 + 32 + 3 + 2 };
        assert_eq!(of(&connection, "s"), Some(replaced));
        drop(connection);
        place.reopen();
        let connection = place.connect();
        assert_eq!((of(&connection, "s"), of(&connection, "other")), (Some(replaced), Some(one)));
        connection.remove(&all("other")).expect("removed");
        assert_eq!(of(&connection, "other"), None);
    }

    fn a_quota_refuses_or_evicts_the_oldest(via) {
        let quota = |bytes_max, rule| Quota { records_max: 3, bytes_max, rule };
        let options = Options::native()
            .quota("strict", quota(3 * 41, QuotaRule::Refuse))
            .default_quota(Some(quota(3 * 37, QuotaRule::EvictOldest)));
        let place = Place::new(via, options);
        let connection = place.connect();
        let spec = MonitorSpec::new(all("r")).from(From::Now).removals(true);
        let mut watch = connection.watch(spec).expect("a watch");
        assert!(matches!(event(&mut watch), Event::Synced { .. }));
        for at in 0..4 {
            put(&connection, &record("r", 1, "k", &format!("{at}")), Multiple);
        }
        assert_eq!(values(&connection, all("r")), ["1", "2", "3"]);
        let told: Vec<Event> = (0..5).map(|_| event(&mut watch)).collect();
        let evicted = told.iter().filter(|event| {
            matches!(event, Event::Removed { cause: Cause::Evicted, of, .. } if *of == told[0].seq())
        });
        assert_eq!(evicted.count(), 1, "{told:?}");
        // Bytes count too: this one takes the place of two.
        put(&connection, &record("r", 1, "k", &"x".repeat(30)), Multiple);
        assert_eq!(values(&connection, all("r")), ["3".to_owned(), "x".repeat(30)]);
        // What would not fit alone is refused whatever the rule.
        let alone = record("r", 1, "k", &"x".repeat(200));
        let refused = connection.store(&alone, Multiple, Acknowledge::Kernel);
        assert_eq!(refused.expect_err("too much").kind(), ErrorKind::QuotaExceeded);

        for at in 0..3 {
            put(&connection, &record("strict", 1, "k", &at.to_string()), Multiple);
        }
        let fourth = record("strict", 2, "k", "3");
        let refused = connection.store(&fourth, Multiple, Acknowledge::Kernel);
        let error = refused.expect_err("over the quota");
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("strict"), "{error}");
        // A replace that makes its own room is taken.
        put(&connection, &record("strict", 1, "k", "new"), Replace);
        assert_eq!(values(&connection, all("strict")), ["new"]);
    }
}

/// Nobody sees them any more, and a sweep is minutes away.
#[test]
fn what_has_expired_goes_first_when_a_quota_is_full() {
    let quota = |rule| Quota {
        records_max: 3,
        bytes_max: u64::MAX,
        rule,
    };
    let options = Options::native()
        .quota("refuses", quota(QuotaRule::Refuse))
        .quota("evicts", quota(QuotaRule::EvictOldest));
    let place = Place::new(Via::Process, options);
    let connection = place.connect();
    let soon = |name: &str, value: &str| record(name, 1, "k", value).expires_at_us(NOW_US + 5_000);
    for name in ["refuses", "evicts"] {
        put(&connection, &record(name, 1, "k", "old"), Multiple);
        put(&connection, &soon(name, "a"), Multiple);
        put(&connection, &soon(name, "b"), Multiple);
    }
    // Of another subsystem, and nothing of ours depends on it.
    put(&connection, &soon("other", "c"), Multiple);
    let mut watch = connection
        .watch(MonitorSpec::new(all("refuses")).removals(true))
        .expect("a watch");
    assert!(matches!(event(&mut watch), Event::Synced { .. }));
    place.clock.advance(Duration::from_secs(1));
    for name in ["refuses", "evicts"] {
        put(&connection, &record(name, 1, "k", "new"), Multiple);
        assert_eq!(values(&connection, all(name)), ["old", "new"]);
        put(&connection, &record(name, 1, "k", "newer"), Multiple);
        assert_eq!(values(&connection, all(name)), ["old", "new", "newer"]);
    }
    let told: Vec<Event> = (0..4).map(|_| event(&mut watch)).collect();
    let expired = |event: &&Event| {
        let cause = Cause::Expired;
        matches!(event, Event::Removed { cause: told, .. } if *told == cause)
    };
    assert_eq!(told.iter().filter(expired).count(), 2, "{told:?}");
    let full = connection.store(
        &record("refuses", 1, "k", "x"),
        Multiple,
        Acknowledge::Kernel,
    );
    assert_eq!(
        full.expect_err("all of it lives").kind(),
        ErrorKind::QuotaExceeded
    );
    assert_eq!(
        connection.stats().expect("stats").records,
        7,
        "the other's stays"
    );
}

/// Two thousand rows go in one step, and the step has no use for what they hold.
#[test]
fn a_large_delete_reads_nothing_of_what_goes() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore();
    for at in 0..2_000_u32 {
        peers
            .store(&record("s", 1, &at.to_string(), "v"), Multiple)
            .expect("stored");
    }
    let large = record("t", 1, "k", &"x".repeat(1 << 20));
    peers.store(&large, Replace).expect("stored");
    let walk = peers.iterate(all("s")).expect("a walk");
    let gets = || peers.engine().stats().gets;
    let before = gets();
    assert_eq!(peers.remove(&all("s")).expect("removed"), 2_000);
    peers.store(&large, Replace).expect("stored");
    assert_eq!(gets(), before, "nothing was read");
    assert_eq!(walk.filter(Result::is_ok).count(), 2_000);
    assert_eq!(peers.iterate(all("s")).expect("a walk").count(), 0);
    assert_eq!(peers.engine().stats().snapshots, 0, "nothing is held");
}

#[test]
fn a_quota_holds_over_a_reopen() {
    let rule = QuotaRule::EvictOldest;
    let quota = Quota {
        records_max: 5,
        bytes_max: u64::MAX,
        rule,
    };
    let mut place = Place::new(Via::Process, Options::native().default_quota(Some(quota)));
    for round in 0..3 {
        for at in 0..4 {
            let value = format!("{round}{at}");
            place
                .peerstore()
                .store(&record("s", 1, "k", &value), Multiple)
                .expect("stored");
        }
        place.reopen();
    }
    assert_eq!(
        values(&place.connect(), all("s")),
        ["13", "20", "21", "22", "23"]
    );
}
