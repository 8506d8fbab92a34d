//! Removing what has expired, C1 to C14: modes, slices, retention, caps and what is protected.

use std::time::Duration;

use peercask_peerstore::libp2p::{ErrorKind, GcMode, Options, Peer, Peerstore, PrivateKeys, Ttl};

use crate::support::{Backend, Place, addr, addrs, each_backend, key, peer, seconds, signed};

fn ttl(count: u64) -> Ttl {
    Ttl::from(seconds(count))
}

fn add(peers: &Peerstore, who: u8, numbers: std::ops::Range<usize>, life: u64) {
    peers
        .add_addrs(peer(who), &addrs(numbers), ttl(life))
        .expect("added");
}

/// Many peers, without the cost of keys.
fn named(number: u32) -> Peer {
    Peer::from_bytes(&number.to_le_bytes()).expect("short")
}

each_backend! {
    fn c1_each_mode_removes_when_it_says(backend) {
        let second = seconds(1);
        for (mode, by_itself) in [
            (GcMode::Off, false),
            (GcMode::Manual, false),
            (GcMode::FullSweep(second), true),
            (GcMode::Lookahead { interval: second, window: seconds(10) }, true),
            (GcMode::Incremental(second), true),
        ] {
            let place = Place::with(backend, Options::default().gc(mode));
            let peers = place.peers();
            add(peers, 1, 0..2, 1);
            add(peers, 2, 0..2, 1_000);
            place.sleep(seconds(2));
            peers.maintain().expect("a tick");
            assert_eq!(!peers.has_peer(peer(1)), by_itself, "{mode:?}");
            let report = peers.gc().expect("called for");
            let left = if by_itself { (0, 0) } else { (2, 1) };
            assert_eq!((report.addresses, report.peers), left, "{mode:?}");
            assert_eq!((peers.count(), peers.stats().gc_runs > 0), (1, true));
        }
    }

    fn c3_what_is_overdue_at_open_is_found_by_the_first_tick(backend) {
        let mut place = Place::new(backend);
        if !place.lasts() {
            return;
        }
        // A node that restarts every minute still gives space back.
        for round in 0..5_u32 {
            for number in 0..20 {
                let who = named(round * 20 + number);
                place.peers().add_addrs(who, &addrs(0..1), ttl(30)).expect("added");
            }
            place.close();
            place.sleep(seconds(60));
            place.reopen();
            assert_eq!(place.peers().peers_with_addrs().count(), 0);
            place.peers().maintain().expect("a tick");
            assert_eq!(place.peers().count(), 0, "round {round}");
        }
    }

    fn c4_a_slice_is_a_batch_and_small(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..3_000 {
            peers.add_addrs(named(number), &addrs(0..1), ttl(1)).expect("added");
        }
        place.sleep(seconds(1));
        let before = peers.stats().writes;
        let report = peers.gc().expect("removed");
        assert_eq!((report.addresses, report.peers), (3_000, 3_000));
        let batches = peers.stats().writes - before;
        assert_eq!(batches, report.slices);
        // At most 256 records each, fewer where two milliseconds are over before.
        assert!(report.slices >= 3_000_u64.div_ceil(256), "{}", report.slices);
    }

    fn c7_of_a_peer_that_expired_nothing_stays_but_what_others_said(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 1, &addrs(0..3)), ttl(1)).expect("holds");
        peers.add_protocols(peer(1), &["/a"]).expect("added");
        add(peers, 2, 0..1, 1);
        place.sleep(seconds(1));
        peers.gc().expect("removed");
        assert!(!peers.has_peer(peer(2)));
        let left = peers.get(peer(1)).expect("readable").expect("its protocols stay");
        assert_eq!((left.addresses.len(), left.protocols.len(), left.record), (0, 1, None));
        assert_eq!(peers.stats().addresses, 0);
    }

    fn c8_a_peer_without_addresses_goes_when_it_is_too_old(backend) {
        let options = Options::default().peer_age_max(seconds(100)).private_keys(PrivateKeys::Plain);
        let place = Place::with(backend, options);
        let peers = place.peers();
        for who in 1..=5 {
            peers.set_protocols(peer(who), &["/a"]).expect("set");
        }
        peers.add_private_key(peer(2), &key(2)).expect("added");
        peers.set_tag(peer(3), "keep-alive-x", 1, Ttl::PERMANENT).expect("set");
        peers.set_tag(peer(4), "keep-alive", 1, ttl(200)).expect("set");
        peers.add_addrs(peer(5), &addrs(0..1), Ttl::PERMANENT).expect("added");
        place.sleep(seconds(99));
        peers.gc().expect("removed");
        assert_eq!(peers.count(), 5);
        place.sleep(seconds(1));
        peers.gc().expect("removed");
        assert!(!peers.has_peer(peer(1)));
        assert_eq!(peers.count(), 4);
        place.sleep(seconds(100));
        peers.gc().expect("removed");
        assert!(!peers.has_peer(peer(4)), "its tag is over");
        place.sleep(seconds(1_000_000));
        peers.gc().expect("removed");
        assert_eq!(peers.count(), 3);
    }

    fn c9_removing_is_gos_and_forgetting_is_everything(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 4, &addrs(0..1)), Ttl::ADDRESS).expect("holds");
        peers.set_protocols(peer(1), &["/a"]).expect("set");
        peers.set_tag(peer(1), "t", 1, Ttl::PERMANENT).expect("set");
        peers.remove_peer(peer(1)).expect("removed");
        let left = peers.get(peer(1)).expect("readable").expect("its addresses stay");
        assert_eq!((left.addresses.len(), left.protocols.len(), left.tags.len()), (1, 0, 0));
        assert!(left.record.is_some());
        peers.forget_peer(peer(1)).expect("forgotten");
        assert!(peers.get(peer(1)).expect("readable").is_none());
    }

    fn c10_over_the_limit_the_least_recently_updated_goes_unless_it_is_protected(backend) {
        let options = Options::default().peers_max(5).private_keys(PrivateKeys::Plain);
        let place = Place::with(backend, options.own_id(Some(peer(1))));
        let peers = place.peers();
        add(peers, 1, 0..1, 1_000);
        peers.add_addrs(peer(2), &addrs(0..1), Ttl::PERMANENT).expect("added");
        peers.connected(peer(3), Some(&addr(0))).expect("connected");
        for who in [4, 5, 6, 4, 7] {
            place.sleep(seconds(1));
            add(peers, who, 0..1, 1_000);
            assert!(peers.count() <= 5);
        }
        // 6 took the place of 4, 4 that of 5, and 7 that of 6.
        let known: Vec<u8> = (1..8).filter(|who| peers.has_peer(peer(*who))).collect();
        assert_eq!(known, [1, 2, 3, 4, 7]);
        assert_eq!(peers.stats().peers_evicted, 3);
        peers.set_tag(peer(4), "keep-alive", 1, Ttl::PERMANENT).expect("set");
        peers.add_private_key(peer(7), &key(7)).expect("added");
        let refused = peers.add_addrs(peer(8), &addrs(0..1), Ttl::ADDRESS).expect_err("all protected");
        assert_eq!(refused.kind(), ErrorKind::TooManyPeers);
        assert!(!peers.has_peer(peer(8)));
        // What does not come in pushes out nobody.
        peers.remove_tag(peer(4), "keep-alive").expect("removed");
        peers.update_addrs(peer(8), Ttl::ADDRESS, Ttl::NONE).expect("nothing");
        assert!(peers.has_peer(peer(4)));
    }

    fn c10_a_protection_that_is_over_protects_nobody(backend) {
        let mut place = Place::with(backend, Options::default().peers_max(3).image_peers_min(0));
        for who in [1, 2, 3] {
            add(place.peers(), who, 0..1, 3_600);
            let life = if who == 3 { 30 } else { 10 };
            place.peers().set_tag(peer(who), "keep-alive", 1, ttl(life)).expect("set");
            place.sleep(seconds(1));
        }
        let refused = place.peers().add_addrs(peer(4), &addrs(0..1), ttl(3_600)).expect_err("all protected");
        assert_eq!(refused.kind(), ErrorKind::TooManyPeers);
        place.sleep(seconds(11));
        add(place.peers(), 4, 0..1, 3_600);
        let known = |place: &Place| (1..8).filter(|who| place.peers().has_peer(peer(*who))).collect::<Vec<u8>>();
        assert_eq!(known(&place), [2, 3, 4], "the one that was updated first went");
        // The protection that runs out while the store is closed, or after it was opened again.
        place.peers().set_tag(peer(4), "keep-alive", 1, ttl(5)).expect("set");
        place.peers().set_tag(peer(2), "keep-alive", 1, ttl(9)).expect("set");
        place.sleep(seconds(1));
        if place.lasts() {
            place.reopen();
        }
        place.sleep(seconds(5));
        add(place.peers(), 5, 0..1, 3_600);
        assert_eq!(known(&place), [2, 3, 5]);
        place.peers().set_tag(peer(5), "keep-alive", 1, ttl(60)).expect("set");
        place.sleep(seconds(6));
        add(place.peers(), 6, 0..1, 3_600);
        assert_eq!(known(&place), [3, 5, 6]);
    }

    /// Who was to go and stayed, because the change failed, may go for the next one.
    fn c10_a_newcomer_that_fails_pushes_out_nobody_and_the_next_one_finds_room(backend) {
        let place = Place::with(backend, Options::default().peers_max(2));
        let peers = place.peers();
        add(peers, 1, 0..1, 3_600);
        place.sleep(seconds(1));
        add(peers, 2, 0..1, 3_600);
        place.sleep(seconds(1));
        // Three newcomers, one of whom is there already, and room for two: one of the two that may go is in the
        // same change, so that it is looked at and left.
        let newcomers = [peer(1), peer(3), peer(4), peer(5)];
        let refused = peers.update_many(&newcomers, |editors| {
            editors.iter_mut().for_each(|editor| editor.add_addrs(&addrs(1..2), ttl(3_600)));
            Ok(())
        });
        assert_eq!(refused.expect_err("no room").kind(), ErrorKind::TooManyPeers);
        assert!(peers.has_peer(peer(1)) && peers.has_peer(peer(2)));
        for who in [6, 7] {
            add(peers, who, 0..1, 3_600);
            place.sleep(seconds(1));
        }
        assert!(peers.has_peer(peer(6)) && peers.has_peer(peer(7)), "both had to go");
    }

    fn c10_a_flood_of_strangers_pushes_out_nobody_who_is_protected(backend) {
        let mut place = Place::with(backend, Options::default().peers_max(50));
        for who in 0..10 {
            place.peers().connected(peer(who), Some(&addr(0))).expect("connected");
        }
        if place.lasts() {
            let options = place.options().connected_at_open(Ttl::CONNECTED);
            place.reopen_with(options);
        }
        let peers = place.peers();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..200 {
                        let stranger = named(thread * 1_000 + number);
                        peers.add_addrs(stranger, &addrs(0..1), Ttl::ADDRESS).expect("added");
                        assert!(peers.count() <= 50);
                    }
                });
            }
        });
        assert!((0..10).all(|who| peers.has_peer(peer(who))));
        assert_eq!((peers.count(), peers.all_peers().count()), (50, 50));
    }

    fn c11_what_is_extended_while_it_is_removed_stays(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..500 {
            peers.add_addrs(named(number), &addrs(0..1), ttl(10)).expect("added");
        }
        place.sleep(seconds(10));
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| peers.gc().expect("removed"));
            for number in (0..500).step_by(5) {
                peers.add_addrs(named(number), &addrs(0..1), ttl(10)).expect("added");
            }
            let report = collector.join().expect("joined");
            assert!(report.peers <= 500);
        });
        peers.gc().expect("removed");
        for number in 0..500 {
            assert_eq!(peers.addrs(named(number)).expect("readable").len(), usize::from(number % 5 == 0));
        }
        assert_eq!((peers.count(), peers.stats().addresses), (100, 100));
    }

    fn c12_the_grace_after_a_disconnect_outlives_a_crash(backend) {
        let options = Options::default().disconnect_grace(Some(seconds(60)));
        let mut place = Place::with(backend, options);
        for who in 1..=3 {
            place.peers().connected(peer(who), Some(&addr(0))).expect("connected");
            place.peers().set_protocols(peer(who), &["/a"]).expect("set");
        }
        place.peers().disconnected(peer(1), None).expect("disconnected");
        place.peers().disconnected(peer(2), None).expect("disconnected");
        place.sleep(seconds(30));
        place.peers().connected(peer(2), Some(&addr(0))).expect("back again");
        if place.lasts() {
            place.reopen();
        }
        let speaks = |place: &Place, who: u8| !place.peers().protocols(peer(who)).expect("readable").is_empty();
        place.peers().gc().expect("removed");
        assert!(speaks(&place, 1), "its grace runs");
        place.sleep(seconds(30));
        place.peers().gc().expect("removed");
        assert!(!speaks(&place, 1));
        assert_eq!(place.peers().addrs(peer(1)).expect("readable").len(), 1, "addresses stay, as in go");
        assert!(speaks(&place, 2) && speaks(&place, 3));
    }

    fn c13_the_index_holds_what_go_counts_when_it_purges(backend) {
        let mode = GcMode::Lookahead { interval: seconds(1), window: seconds(20) };
        let place = Place::with(backend, Options::default().gc(mode));
        let peers = place.peers();
        for (numbers, life) in [(0..10, 1), (10..20, 4), (20..30, 10)] {
            add(peers, 1, numbers, life);
        }
        for (numbers, life) in [(30..40, 1), (40..50, 4), (50..60, 10)] {
            add(peers, 2, numbers, life);
        }
        add(peers, 3, 60..70, 1);
        add(peers, 4, 70..80, 15);
        peers.maintain().expect("filled");
        let indexed = || peers.stats().gc_indexed;
        assert_eq!(indexed(), 4);
        for (wait, left) in [(2, 3), (5, 3), (5, 1)] {
            place.sleep(seconds(wait));
            peers.maintain().expect("purged");
            assert_eq!(indexed(), left, "{wait}");
        }
        assert_eq!((peers.count(), peers.has_peer(peer(4))), (1, true));
    }

    fn c13_the_index_fills_as_lives_are_shortened_into_its_window(backend) {
        let mode = GcMode::Lookahead { interval: seconds(1), window: seconds(10) };
        let mut place = Place::with(backend, Options::default().gc(mode));
        add(place.peers(), 1, 0..10, 3_600);
        add(place.peers(), 2, 10..20, 3_600);
        place.peers().maintain().expect("filled");
        assert_eq!(place.peers().stats().gc_indexed, 0);
        place.peers().update_addrs(peer(1), ttl(3_600), ttl(5)).expect("updated");
        place.sleep(seconds(1));
        place.peers().maintain().expect("a tick");
        assert_eq!(place.peers().stats().gc_indexed, 1);
        // And with nothing in the cache.
        if place.lasts() {
            place.reopen();
            place.peers().maintain().expect("filled");
            assert_eq!(place.peers().stats().gc_indexed, 1);
        }
        place.peers().update_addrs(peer(2), ttl(3_600), ttl(6)).expect("updated");
        assert_eq!(place.peers().stats().gc_indexed, 2);
    }

    fn max_addrs_per_peer_evicts_the_nearest_expiry_and_not_the_connected(backend) {
        let place = Place::with(backend, Options::go_compatible().addresses_max(2));
        let peers = place.peers();
        add(peers, 1, 0..1, 3_600);
        add(peers, 1, 1..2, 600);
        peers.add_addrs(peer(1), &addrs(2..4), Ttl::CONNECTED).expect("added");
        add(peers, 1, 4..5, 1_800);
        let mut left = peers.addrs(peer(1)).expect("readable");
        left.sort_by_key(|addr| addr.to_vec());
        assert_eq!(left, [0, 2, 3, 4].map(addr));
    }
}

#[test]
fn c2_options_that_cannot_work_are_refused() {
    let bad = [
        Options::default().gc(GcMode::FullSweep(Duration::ZERO)),
        Options::default().gc(GcMode::Incremental(Duration::ZERO)),
        Options::default().gc(GcMode::Lookahead {
            interval: Duration::ZERO,
            window: seconds(1),
        }),
        Options::default().gc(GcMode::Lookahead {
            interval: seconds(1),
            window: Duration::ZERO,
        }),
        Options::default().gc(GcMode::Lookahead {
            interval: seconds(2),
            window: seconds(1),
        }),
        Options::default().sync_interval(Some(Duration::ZERO)),
        Options::default().events_max(0),
        Options::default().connected_at_open(Ttl::PERMANENT),
    ];
    let dir = tempfile::tempdir().expect("a temporary directory");
    for options in bad {
        let shown = format!("{options:?}");
        let refused = Peerstore::open(dir.path().join("store"), options);
        assert_eq!(
            refused.expect_err("bad").kind(),
            ErrorKind::InvalidArgument,
            "{shown}"
        );
    }
    assert!(!dir.path().join("store").exists());
}

#[test]
fn c3_nothing_is_removed_before_the_initial_delay() {
    let place = Place::new(Backend::Memory);
    let options = place.options().gc_initial_delay(seconds(60));
    let peers = Peerstore::in_memory(options).expect("opened");
    add(&peers, 1, 0..1, 1);
    for (wait, known) in [(30, true), (29, true), (1, false)] {
        place.sleep(seconds(wait));
        peers.maintain().expect("a tick");
        assert_eq!(peers.has_peer(peer(1)), known, "{wait}");
    }
}

/// Reads go on while a great many peers are removed, and see each of them whole or not at all.
#[test]
fn c5_readers_go_on_while_peers_are_removed() {
    let place = Place::new(Backend::Peercask);
    let peers = place.peers();
    let many = 20_000;
    for number in 0..many {
        let life = if number % 2 == 0 { 1 } else { 10_000 };
        peers
            .add_addrs(named(number), &addrs(0..2), ttl(life))
            .expect("added");
    }
    place.sleep(seconds(1));
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| peers.gc().expect("removed"));
        let mut reads = 0_u64;
        while !collector.is_finished() || reads < u64::from(many) {
            for number in (1..many).step_by(97) {
                let live = number % 2 == 1;
                let found = peers.addrs(named(number)).expect("readable").len();
                assert_eq!(found, if live { 2 } else { 0 });
                reads += 1;
            }
        }
        assert_eq!(collector.join().expect("joined").peers, u64::from(many / 2));
    });
    assert_eq!(peers.count(), u64::from(many / 2));
}

#[test]
fn the_background_thread_removes_writes_and_is_joined() {
    let clock = std::sync::Arc::new(peercask::ManualClock::new(crate::support::NOW_MS));
    let options = Options::default()
        .clock(clock.clone())
        .gc_initial_delay(Duration::ZERO);
    let peers = Peerstore::in_memory(options).expect("opened");
    let mut events = peers.events();
    add(&peers, 1, 0..1, 1);
    clock.advance(seconds(5));
    let gone = std::iter::from_fn(|| events.next_timeout(seconds(20)))
        .find(|next| format!("{next:?}").contains("PeerRemoved"));
    assert!(gone.is_some(), "the thread removed it");
    peers.close().expect("joined");
}
