//! Expiry: what is hidden when, what a sweep removes, and that it does not come back.

use std::sync::Arc;
use std::time::Duration;

use peercask::{ManualClock, Merge};
use peercask_peerstore::gnunet::{FOREVER, Options, Peerstore};

use crate::support::{
    Multiple, NOW_MS, NOW_US, Place, Replace, Via, all, both, found, put, record, still, values,
};

both! {
    fn a_sweep_removes_what_expires_before_and_keeps_what_expires_then(via) {
        let place = Place::new(via, Options::compatible());
        let connection = place.connect();
        for expiry_us in [0, 9, 10, 11, FOREVER - 1, FOREVER] {
            let dated = record("s", 1, "k", &expiry_us.to_string()).expires_at_us(expiry_us);
            put(&connection, &dated, Multiple);
        }
        assert_eq!(connection.expire(Some(0)).expect("swept"), 0);
        assert_eq!(connection.expire(Some(10)).expect("swept"), 2);
        assert_eq!(connection.expire(Some(10)).expect("swept"), 0);
        assert_eq!(found(&connection, all("s")).len(), 4);
        assert_eq!(connection.expire(Some(FOREVER)).expect("swept"), 3);
        assert_eq!(values(&connection, all("s")), [FOREVER.to_string()]);
    }

    fn an_expired_record_is_hidden_at_once_or_returned_until_swept(via) {
        for (options, shown) in [
            (Options::native(), false),
            (Options::compatible(), true),
            (Options::compatible().hide_expired(true), false),
            (Options::native().hide_expired(false), true),
        ] {
            let place = Place::new(via, options);
            let connection = place.connect();
            put(&connection, &record("s", 1, "k", "v").expires_at_us(NOW_US + 5_000), Multiple);
            put(&connection, &record("s", 2, "k", "old").expires_at_us(NOW_US - 1), Multiple);
            assert_eq!(found(&connection, all("s")).len(), 1 + usize::from(shown));
            place.clock.advance(Duration::from_millis(5));
            // At its very moment a record is still there.
            assert_eq!(found(&connection, all("s").peer(crate::support::peer(1))).len(), 1);
            place.clock.advance(Duration::from_millis(1));
            assert_eq!(found(&connection, all("s")).len(), 2 * usize::from(shown));
            assert_eq!(connection.expire(None).expect("swept"), 2);
            assert_eq!(found(&connection, all("s")), []);
        }
    }
}

#[test]
fn the_sweep_comes_at_open_and_at_its_interval_by_the_clock_of_the_store() {
    let mut place = Place::new(Via::Process, Options::compatible());
    let peers = place.peerstore().clone();
    let dated = |us| record("s", 1, "k", "v").expires_at_us(NOW_US + us);
    peers.store(&dated(1_000_000), Multiple).expect("stored");
    place.clock.advance(Duration::from_secs(299));
    assert_eq!(
        peers.maintain().expect("looked"),
        0,
        "its interval has not passed"
    );
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(peers.maintain().expect("swept"), 1);
    peers.store(&dated(301_000_000), Multiple).expect("stored");
    place.clock.advance(Duration::from_secs(2));
    assert_eq!(peers.iterate(all("s")).expect("a walk").count(), 1);
    drop(peers);
    place.reopen();
    assert_eq!(
        place.peerstore().stats().expect("stats").records,
        0,
        "swept at open"
    );
}

#[test]
fn the_background_thread_sweeps_and_is_joined_at_close() {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = still(Options::compatible(), &clock)
        .sweep_interval(Some(Duration::from_millis(5)))
        .background(true);
    let peers = Peerstore::open(dir.path(), options).expect("opened");
    peers
        .store(&record("s", 1, "k", "v").expires_at_us(NOW_US), Multiple)
        .expect("stored");
    clock.advance(Duration::from_secs(1));
    let started = std::time::Instant::now();
    while peers.stats().expect("stats").records > 0 {
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "it never sweeps"
        );
        std::thread::yield_now();
    }
    peers.close().expect("closed, and the thread with it");
}

#[test]
fn an_empty_sweep_and_a_small_one_look_at_no_more_than_what_expired() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore();
    for at in 0..2_000_u64 {
        let late = record("s", 1, &at.to_string(), "v").expires_at_us(NOW_US + 1_000_000 + at);
        peers.store(&late, Multiple).expect("stored");
    }
    let gets = || peers.engine().stats().gets;
    let (puts, before) = (peers.engine().stats().deletes, gets());
    assert_eq!(peers.expire(NOW_US).expect("swept"), 0);
    assert_eq!(gets(), before, "nothing was read");
    assert_eq!(peers.expire(NOW_US + 1_000_003).expect("swept"), 3);
    assert_eq!(gets() - before, 3, "what goes was read");
    assert_eq!(peers.engine().stats().deletes - puts, 3);
}

#[test]
fn swept_and_replaced_space_comes_back_and_nothing_is_revived() {
    let mut place = Place::native(Via::Process);
    let value = "x".repeat(1_000);
    let peers = place.peerstore().clone();
    for at in 0..500 {
        let dated = record("s", 1, &at.to_string(), &value).expires_at_us(NOW_US + 1);
        peers.store(&dated, Multiple).expect("stored");
        peers
            .store(&record("s", 2, "k", &value), Replace)
            .expect("stored");
    }
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(peers.expire_now().expect("swept"), 500);
    let full = peers.engine().stats().disk_bytes;
    peers.engine().merge(Merge::Full).expect("merged");
    let merged = peers.engine().stats().disk_bytes;
    assert!(merged * 50 < full, "{merged} of {full} bytes are left");
    drop(peers);
    for _ in 0..2 {
        place.reopen();
        let stats = place.peerstore().stats().expect("stats");
        assert_eq!(stats.records, 1);
    }
}
