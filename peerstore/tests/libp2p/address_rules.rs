//! The rules of the address book, T1 to T25, and what is known of each address.

use std::sync::Arc;
use std::time::Duration;

use libp2p_core::Multiaddr;
use peercask_peerstore::libp2p::{
    Address, AddressCap, AddressOrder, Confidence, Dial, ErrorKind, Identified, Options, Peer,
    Peerstore, Source, Ttl,
};

use crate::support::{
    Place, addr, addrs, assert_addrs, drain, each_backend, key, peer, seconds, signed, signed_about,
};

fn ttl(count: u64) -> Ttl {
    Ttl::from(seconds(count))
}

const MINUTE: u64 = 60;

/// Everything about one address of a peer.
fn about(peers: &Peerstore, who: Peer, which: &Multiaddr) -> Address {
    let found = peers.addresses(who).expect("readable");
    let found = found.into_iter().find(|address| address.addr == *which);
    found.expect("it is there")
}

fn writes(peers: &Peerstore) -> u64 {
    peers.stats().writes
}

each_backend! {
    fn t1_an_entry_lives_until_its_expiry_and_not_a_millisecond_longer(backend) {
        let place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..1), ttl(1)).expect("added");
        place.sleep(Duration::from_millis(999));
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
        place.sleep(Duration::from_millis(1));
        assert_addrs(place.peers(), peer(1), &[]);
    }

    fn t2_what_has_expired_is_absent_for_every_operation_before_gc_and_after(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), ttl(1)).expect("added");
        let mut stream = peers.addr_stream(peer(1)).expect("readable");
        assert_eq!(drain(&mut stream).len(), 1);
        place.sleep(seconds(2));
        for _ in 0..2 {
            assert_addrs(peers, peer(1), &[]);
            assert_eq!(peers.peers_with_addrs().count(), 0);
            assert_eq!(peers.peers().count(), 0);
            peers.update_addrs(peer(1), ttl(1), Ttl::ADDRESS).expect("no error");
            assert_addrs(peers, peer(1), &[]);
            let mut stream = peers.addr_stream(peer(1)).expect("readable");
            assert_eq!(stream.try_next(), None);
            peers.gc().expect("removed");
        }
        // Heard of again it is a new one, with a life of its own.
        peers.add_addrs(peer(1), &addrs(0..1), ttl(1)).expect("added");
        assert_eq!(about(peers, peer(1), &addr(0)).ttl, ttl(1));
    }

    fn t3_nothing_is_added_without_a_life_or_an_address(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let before = writes(peers);
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::NONE).expect("nothing");
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::from_go_nanos(-7)).expect("nothing");
        peers.add_addrs(peer(1), &[], Ttl::ADDRESS).expect("nothing");
        assert_eq!((peers.count(), writes(peers)), (0, before));
    }

    fn t4_t5_adding_again_takes_the_greater_ttl_and_the_greater_expiry(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let mut stream = peers.addr_stream(peer(1)).expect("readable");
        peers.add_addrs(peer(1), &addrs(0..1), ttl(4)).expect("added");
        place.sleep(seconds(3));
        peers.add_addrs(peer(1), &addrs(0..1), ttl(3)).expect("added");
        let found = about(peers, peer(1), &addr(0));
        assert_eq!((found.ttl, found.expiry_ms), (ttl(4), peers.now_ms() + 3_000));
        assert_eq!(drain(&mut stream), addrs(0..1), "one event");
    }

    fn t6_connecting_pins_and_a_finite_ttl_does_not_unpin(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::CONNECTED).expect("added");
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("added");
        let found = about(peers, peer(1), &addr(0));
        assert_eq!((found.ttl, found.expiry_ms), (Ttl::CONNECTED, u64::MAX));
        place.sleep(seconds(1_000_000));
        assert_addrs(peers, peer(1), &addrs(0..1));
    }

    fn t7_setting_overwrites_both_ways_and_adds_what_is_missing(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::CONNECTED).expect("added");
        peers.add_addrs(peer(1), &addrs(1..2), ttl(1)).expect("added");
        peers.set_addrs(peer(1), &addrs(0..3), ttl(10)).expect("set");
        for number in 0..3 {
            let found = about(peers, peer(1), &addr(number));
            assert_eq!((found.ttl, found.expiry_ms), (ttl(10), peers.now_ms() + 10_000));
        }
    }

    fn t8_setting_to_nothing_removes_exactly_what_is_listed(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(1..4), Ttl::ADDRESS).expect("added");
        let listed = [addr(1), addr(3), addr(3), addr(9)];
        peers.set_addrs(peer(1), &listed, Ttl::NONE).expect("set");
        assert_addrs(peers, peer(1), &addrs(2..3));
    }

    fn t9_t10_updating_takes_those_of_exactly_that_ttl(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for (number, life) in [(0, 10), (1, 11), (2, 9)] {
            peers.add_addrs(peer(1), &addrs(number..number + 1), ttl(life)).expect("added");
        }
        peers.update_addrs(peer(1), ttl(10), ttl(100)).expect("updated");
        let found = about(peers, peer(1), &addr(0));
        assert_eq!((found.ttl, found.expiry_ms), (ttl(100), peers.now_ms() + 100_000));
        assert_eq!(about(peers, peer(1), &addr(1)).ttl, ttl(11));
        peers.update_addrs(peer(1), ttl(11), Ttl::NONE).expect("updated");
        assert_addrs(peers, peer(1), &[addr(0), addr(2)]);
    }

    fn t11_clearing_takes_addresses_and_record_and_leaves_the_other_books(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 1, &addrs(0..2)), Ttl::ADDRESS).expect("holds");
        peers.add_protocols(peer(1), &["/a"]).expect("added");
        peers.add_public_key(peer(1), &key(1).public()).expect("added");
        peers.put_metadata(peer(1), "k", "v").expect("put");
        peers.clear_addrs(peer(1)).expect("cleared");
        let left = peers.get(peer(1)).expect("readable").expect("known");
        assert_eq!((left.addresses.len(), left.record), (0, None));
        assert_eq!((left.protocols.len(), left.metadata.len()), (1, 1));
        assert!(left.public_key.is_some());
    }

    fn t12_addresses_have_one_form(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let id = |number: u8| peer(number).to_peer_id().expect("an id");
        let named = |at: usize, who: u8| addr(at).with_p2p(id(who)).expect("it has no name");
        let empty = Multiaddr::empty();
        let only = empty.clone().with_p2p(id(1)).expect("it has no name");
        let relay: Multiaddr = format!("{}/p2p-circuit", named(5, 9)).parse().expect("an address");
        let given = [named(0, 1), addr(0), named(1, 2), empty, only, relay.clone(), addr(2)];
        peers.add_addrs(peer(1), &given, Ttl::ADDRESS).expect("added");
        assert_addrs(peers, peer(1), &[addr(0), addr(2), relay]);
        // Named or not, it is found to be removed.
        peers.set_addrs(peer(1), &[named(0, 1)], Ttl::NONE).expect("removed");
        assert!(!peers.addrs(peer(1)).expect("readable").contains(&addr(0)));
        let bytes = addr(7).to_vec();
        let wrong = peers.add_addr_bytes(peer(1), &[&bytes, &[1, 2, 3]], Ttl::ADDRESS);
        assert_eq!(wrong.expect_err("no address").kind(), ErrorKind::InvalidAddress);
        assert!(!peers.addrs(peer(1)).expect("readable").contains(&addr(7)));
        peers.add_addr_bytes(peer(1), &[&bytes], Ttl::ADDRESS).expect("added");
        assert!(peers.addrs(peer(1)).expect("readable").contains(&addr(7)));
    }

    fn t13_doubles_within_a_call_count_once(backend) {
        let place = Place::with(backend, Options::default().addresses_max(2));
        let peers = place.peers();
        let given = [addr(0), addr(0), addr(1), addr(0)];
        peers.add_addrs(peer(1), &given, Ttl::ADDRESS).expect("added");
        assert_addrs(peers, peer(1), &addrs(0..2));
    }

    fn t14_the_empty_peer_is_legal_in_every_book(backend) {
        let mut place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(Peer::EMPTY, &addrs(0..1), Ttl::ADDRESS).expect("added");
        peers.set_protocols(Peer::EMPTY, &["/a"]).expect("set");
        peers.put_metadata(Peer::EMPTY, "k", 1_u64).expect("put");
        peers.set_tag(Peer::EMPTY, "t", 1, Ttl::PERMANENT).expect("set");
        peers.record_latency(Peer::EMPTY, seconds(1)).expect("taken");
        assert_eq!(peers.public_key(Peer::EMPTY).expect("readable"), None);
        if place.lasts() {
            place.reopen();
        }
        let found = place.peers().get(Peer::EMPTY).expect("readable").expect("known");
        assert_eq!((found.addresses.len(), found.protocols.len()), (1, 1));
        assert_eq!((found.tags.len(), found.latency_ns), (1, Some(1_000_000_000)));
    }

    fn t15_addresses_come_best_first_or_soonest_expiry_first(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for (number, life) in [(0, 100), (1, 300), (2, 200), (3, 50)] {
            peers.add_addrs(peer(1), &addrs(number..number + 1), ttl(life)).expect("added");
        }
        peers.connected(peer(1), Some(&addr(4))).expect("connected");
        peers.record_dial(peer(1), &addr(3), Dial::Succeeded).expect("noted");
        peers.record_dial(peer(1), &addr(1), Dial::Failed).expect("noted");
        let best = [4, 3, 2, 0, 1].map(addr);
        assert_eq!(peers.addrs(peer(1)).expect("readable"), best);
        let soonest = peers.addresses_in(peer(1), AddressOrder::SoonestExpiryFirst);
        let soonest: Vec<Multiaddr> = soonest.expect("readable").into_iter().map(|a| a.addr).collect();
        assert_eq!(soonest, [3, 0, 2, 1, 4].map(addr));
    }

    fn t16_the_cap_holds_on_each_way_in(backend) {
        let place = Place::with(backend, Options::default().addresses_max(4));
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..10), Ttl::ADDRESS).expect("added");
        peers.set_addrs(peer(2), &addrs(0..10), Ttl::ADDRESS).expect("set");
        peers.add_addrs(peer(3), &addrs(0..10), Ttl::CONNECTED).expect("added");
        peers.consume_record(&signed(&key(4), 1, &addrs(0..10)), Ttl::ADDRESS).expect("holds");
        for who in [1, 2, 4] {
            assert_eq!(peers.addrs(peer(who)).expect("readable").len(), 4, "{who}");
        }
        assert_eq!(peers.addrs(peer(3)).expect("readable").len(), 10, "pinned ones do not count");
        peers.update_addrs(peer(3), Ttl::CONNECTED, ttl(900)).expect("updated");
        assert_eq!(peers.addrs(peer(3)).expect("readable").len(), 4);
    }

    fn a_cap_of_nothing_is_no_cap(backend) {
        let place = Place::with(backend, Options::default().addresses_max(0));
        place.peers().add_addrs(peer(1), &addrs(0..200), Ttl::ADDRESS).expect("added");
        assert_eq!(place.peers().addrs(peer(1)).expect("readable").len(), 200);
    }

    fn t17_over_the_cap_the_best_stay(backend) {
        let place = Place::with(backend, Options::default().addresses_max(3));
        let peers = place.peers();
        let add = |number: usize, life: u64| {
            peers.add_addrs(peer(1), &addrs(number..number + 1), ttl(life)).expect("added");
        };
        for (number, minutes) in [(0, 60), (1, 30), (2, 10), (3, 45)] {
            add(number, minutes * MINUTE);
        }
        assert_addrs(peers, peer(1), &[addr(0), addr(1), addr(3)]);
        // What is worth more stays, although it expires sooner.
        peers.add_addrs_from(peer(1), &addrs(4..5), ttl(1), Source::Manual).expect("added");
        assert_addrs(peers, peer(1), &[addr(0), addr(3), addr(4)]);
        peers.add_addrs_from(peer(1), &addrs(5..6), ttl(9_000), Source::Dht).expect("added");
        assert_addrs(peers, peer(1), &[addr(0), addr(3), addr(4)]);
    }

    fn t17_over_the_cap_of_two(backend) {
        let place = Place::with(backend, Options::default().addresses_max(2));
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), ttl(60 * MINUTE)).expect("added");
        peers.add_addrs(peer(1), &addrs(1..2), ttl(10 * MINUTE)).expect("added");
        peers.set_addrs(peer(1), &addrs(2..3), ttl(30 * MINUTE)).expect("set");
        assert_addrs(peers, peer(1), &[addr(0), addr(2)]);
        peers.add_addrs(peer(2), &addrs(0..1), Ttl::CONNECTED).expect("added");
        for (number, life) in [(1, 10), (2, 20), (3, 30)] {
            peers.add_addrs(peer(2), &addrs(number..number + 1), ttl(life * MINUTE)).expect("added");
        }
        assert_addrs(peers, peer(2), &[addr(0), addr(2), addr(3)]);
    }

    fn t18_with_gos_rule_those_that_come_stay(backend) {
        let options = Options::default().addresses_max(2).at_addresses_max(AddressCap::NewcomersStay);
        let place = Place::with(backend, options);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..2), ttl(60 * MINUTE)).expect("added");
        peers.add_addrs(peer(1), &addrs(2..3), ttl(MINUTE)).expect("added");
        let left = peers.addrs(peer(1)).expect("readable");
        assert!(left.len() == 2 && left.contains(&addr(2)), "{left:?}");
        // Of a batch that is too large its first ones stay.
        peers.add_addrs(peer(1), &addrs(5..9), ttl(MINUTE)).expect("added");
        assert_addrs(peers, peer(1), &addrs(5..7));
    }

    fn t19_lives_go_on_while_the_store_is_closed(backend) {
        let mut place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..1), ttl(1)).expect("added");
        place.peers().add_addrs(peer(1), &addrs(1..2), ttl(100)).expect("added");
        if !place.lasts() {
            return;
        }
        let expiry_ms = about(place.peers(), peer(1), &addr(1)).expiry_ms;
        place.close();
        place.sleep(seconds(2));
        place.reopen();
        assert_addrs(place.peers(), peer(1), &addrs(1..2));
        let found = about(place.peers(), peer(1), &addr(1));
        assert_eq!((found.ttl, found.expiry_ms), (ttl(100), expiry_ms));
    }

    fn t20_after_a_restart_nobody_is_connected(backend) {
        let mut place = Place::new(backend);
        if !place.lasts() {
            return;
        }
        for (became, left) in [
            (Ttl::RECENTLY_CONNECTED, Some(Ttl::RECENTLY_CONNECTED)),
            (Ttl::TEMPORARY, Some(Ttl::TEMPORARY)),
            (Ttl::CONNECTED, Some(Ttl::CONNECTED)),
            (Ttl::NONE, None),
        ] {
            let peers = place.peers();
            peers.set_addrs(peer(1), &addrs(0..1), Ttl::CONNECTED).expect("set");
            peers.set_addrs(peer(1), &addrs(1..2), Ttl::PERMANENT).expect("set");
            place.close();
            place.sleep(seconds(3));
            let options = place.options().connected_at_open(became);
            place.reopen_with(options);
            let peers = place.peers();
            assert_eq!(about(peers, peer(1), &addr(1)).ttl, Ttl::PERMANENT);
            let found = peers.addresses(peer(1)).expect("readable");
            let found = found.into_iter().find(|address| address.addr == addr(0));
            assert_eq!(found.as_ref().map(|address| address.ttl), left);
            if became == Ttl::RECENTLY_CONNECTED {
                let from_now = peers.now_ms() + Ttl::RECENTLY_CONNECTED.millis();
                assert_eq!(found.expect("there").expiry_ms, from_now);
            }
        }
    }

    fn t21_a_clock_that_steps_back_lengthens_no_life(backend) {
        let mut place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..1), ttl(100)).expect("added");
        // While it is open, time goes on.
        place.clock.step_wall_ms(-3_600_000);
        place.sleep(seconds(99));
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
        place.sleep(seconds(1));
        assert_addrs(place.peers(), peer(1), &[]);
        if !place.lasts() {
            return;
        }
        place.peers().add_addrs(peer(1), &addrs(1..2), ttl(100)).expect("added");
        place.close();
        place.clock.step_wall_ms(-3_600_000);
        place.reopen();
        let found = about(place.peers(), peer(1), &addr(1));
        assert_eq!(found.expiry_ms, place.peers().now_ms() + 100_000);
        place.reopen();
        place.sleep(seconds(100));
        assert_addrs(place.peers(), peer(1), &[]);
        // And forward it goes at once.
        place.peers().add_addrs(peer(1), &addrs(2..3), ttl(100)).expect("added");
        place.clock.step_wall_ms(400 * 24 * 3_600_000);
        assert_addrs(place.peers(), peer(1), &[]);
    }

    fn t22_a_peer_may_have_a_ttl_of_its_own_after_the_disconnect(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.set_ttl_on_disconnect(peer(1), Some(ttl(7_200))).expect("set");
        peers.connected(peer(1), Some(&addr(0))).expect("connected");
        peers.disconnected(peer(1), Some(&addr(0))).expect("disconnected");
        let found = about(peers, peer(1), &addr(0));
        assert_eq!((found.ttl, found.expiry_ms), (ttl(7_200), peers.now_ms() + 7_200_000));
    }

    fn t23_identify_and_disconnect_are_one_change_each(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.connected(peer(1), Some(&addr(0))).expect("connected");
        peers.add_addrs(peer(1), &addrs(50..51), Ttl::ADDRESS).expect("added");
        let before = writes(peers);
        let protocols = ["/a".to_owned()];
        let told = Identified {
            addrs: &addrs(1..31),
            protocols: &protocols,
            agent_version: Some("kubo/0.1"),
            ..Identified::default()
        };
        peers.identified(peer(1), &told).expect("taken");
        assert_eq!(writes(peers) - before, 1);
        // Those of identify in place of those of connections; what was heard of elsewhere stays.
        let mut expected = addrs(1..31);
        expected.push(addr(50));
        assert_addrs(peers, peer(1), &expected);
        assert_eq!(about(peers, peer(1), &addr(5)).ttl, Ttl::CONNECTED);
        let known = peers.get(peer(1)).expect("readable").expect("known");
        assert_eq!((known.protocols.len(), known.metadata.len()), (1, 1));
        let before = writes(peers);
        peers.disconnected(peer(1), Some(&addr(17))).expect("disconnected");
        assert_eq!(writes(peers) - before, 1);
        let left = peers.addresses(peer(1)).expect("readable");
        let recent = |a: &&Address| a.ttl == Ttl::RECENTLY_CONNECTED;
        assert_eq!(left.iter().filter(recent).count(), 20);
        assert!(left.iter().any(|a| a.addr == addr(17)), "the one in use stays");
        // With a signed record, the record's.
        let record = signed(&key(1), 1, &addrs(60..62));
        let told = Identified { record: Some(&record), ..Identified::default() };
        peers.identified(peer(1), &told).expect("taken");
        assert_addrs(peers, peer(1), &[addr(60), addr(61), addr(50)]);
        // And one that does not hold changes nothing.
        let forged = signed_about(&key(2), peer(1).as_bytes(), 2, &addrs(0..1));
        let told = Identified { record: Some(&forged), ..Identified::default() };
        assert!(peers.identified(peer(1), &told).is_err());
        assert_addrs(peers, peer(1), &[addr(60), addr(61), addr(50)]);
    }

    fn t24_seconds_as_python_counts_them(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::from_py_seconds(0)).expect("added");
        peers.add_addrs(peer(1), &addrs(1..2), Ttl::from_py_seconds(100)).expect("added");
        peers.add_addrs(peer(1), &addrs(2..3), Ttl::from_py_seconds(1)).expect("added");
        assert_eq!(about(peers, peer(1), &addr(0)).ttl, Ttl::PERMANENT);
        assert_eq!(about(peers, peer(1), &addr(1)).ttl, ttl(100), "adding shortens no other");
    }

    fn t25_the_own_peer_lasts(backend) {
        let options = Options::default().own_id(Some(peer(1))).peer_age_max(seconds(10));
        let place = Place::with(backend, options);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), ttl(1)).expect("added");
        peers.set_addrs(peer(1), &addrs(1..2), ttl(1)).expect("set");
        peers.add_addrs(peer(2), &addrs(0..1), ttl(1)).expect("added");
        place.sleep(seconds(100));
        peers.gc().expect("removed");
        assert_addrs(peers, peer(1), &addrs(0..2));
        assert!(!peers.has_peer(peer(2)));
        let refused = peers.forget_peer(peer(1)).expect_err("the own one");
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        // As js has it, hearing of an address again refreshes it.
        peers.add_addrs(peer(2), &addrs(0..1), ttl(10)).expect("added");
        place.sleep(seconds(9));
        peers.add_addrs(peer(2), &addrs(0..1), ttl(10)).expect("added");
        place.sleep(seconds(9));
        assert_addrs(peers, peer(2), &addrs(0..1));
    }

    fn identical_adds_write_nothing_within_the_slack_and_lose_nothing_at_a_close(backend) {
        let mut place = Place::new(backend);
        let day = ttl(24 * 60 * MINUTE);
        place.peers().add_addrs(peer(1), &addrs(0..5), day).expect("added");
        let (before, data) = (writes(place.peers()), place.peers().stats().datastore.written_bytes);
        for _ in 0..1_000 {
            place.sleep(seconds(5));
            place.peers().add_addrs(peer(1), &addrs(0..5), day).expect("added");
        }
        assert_eq!(writes(place.peers()), before, "a tenth of a day is not over");
        assert_eq!(place.peers().stats().datastore.written_bytes, data);
        let expiry_ms = place.peers().now_ms() + day.millis();
        assert_eq!(about(place.peers(), peer(1), &addr(0)).expiry_ms, expiry_ms);
        if place.lasts() {
            place.reopen();
            assert_eq!(about(place.peers(), peer(1), &addr(0)).expiry_ms, expiry_ms);
        }
        let before = writes(place.peers());
        place.sleep(seconds(9_000));
        place.peers().add_addrs(peer(1), &addrs(0..5), day).expect("added");
        assert_eq!(writes(place.peers()) - before, 1, "beyond the slack it is written");
    }

    fn looking_for_strangers_makes_nothing(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let before = peers.stats();
        for number in 0..1_000_u32 {
            let who = Peer::from_bytes(&number.to_le_bytes()).expect("short");
            assert!(peers.addrs(who).expect("readable").is_empty());
            assert!(peers.get(who).expect("readable").is_none());
            assert!(peers.protocols(who).expect("readable").is_empty());
            assert!(peers.tags(who).expect("readable").is_empty());
            assert_eq!(peers.latency(who).expect("readable"), None);
            assert_eq!(peers.record(who).expect("readable"), None);
        }
        let after = peers.stats();
        assert_eq!((after.peers, after.writes), (0, before.writes));
        assert_eq!(after.datastore.writes, before.datastore.writes);
    }

    fn what_is_returned_is_a_copy(backend) {
        let place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("added");
        let mut found = place.peers().addrs(peer(1)).expect("readable");
        found.clear();
        assert_addrs(place.peers(), peer(1), &addrs(0..2));
    }

    fn the_filter_keeps_addresses_out_and_the_call_succeeds(backend) {
        let only_tcp = |_: &Peer, addr: &Multiaddr| addr.to_string().contains("/tcp/");
        let place = Place::with(backend, Options::default().address_filter(Some(Arc::new(only_tcp))));
        let udp: Multiaddr = "/ip4/10.0.0.1/udp/1/quic-v1".parse().expect("an address");
        place.peers().add_addrs(peer(1), &[udp.clone(), addr(0)], Ttl::ADDRESS).expect("added");
        place.peers().set_addrs(peer(1), &[udp], Ttl::ADDRESS).expect("set");
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
    }

    fn what_is_known_of_each_address_outlives_a_restart(backend) {
        let mut place = Place::new(backend);
        let peers = place.peers();
        let first_seen_ms = peers.now_ms();
        peers.add_addrs_from(peer(1), &addrs(0..1), Ttl::ADDRESS, Source::Mdns).expect("added");
        place.sleep(seconds(1));
        peers.record_dial(peer(1), &addr(0), Dial::Succeeded).expect("noted");
        place.sleep(seconds(1));
        peers.record_dial(peer(1), &addr(0), Dial::Failed).expect("noted");
        place.sleep(seconds(1));
        peers.add_addrs_from(peer(1), &addrs(0..1), Ttl::ADDRESS, Source::Dht).expect("added");
        if place.lasts() {
            place.reopen();
        }
        let found = about(place.peers(), peer(1), &addr(0));
        assert_eq!(found.source, Source::Mdns, "where it was first heard of");
        assert_eq!(found.first_seen_ms, first_seen_ms);
        assert_eq!(found.last_success_ms, first_seen_ms + 1_000);
        assert_eq!(found.last_failure_ms, first_seen_ms + 2_000);
        assert_eq!(found.last_seen_ms, first_seen_ms + 3_000);
        assert_eq!((found.half_failures, found.certified), (2, false));
    }

    fn dials_order_addresses_and_remove_those_that_fail(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..4), Ttl::ADDRESS).expect("added");
        peers.add_addrs_from(peer(1), &addrs(4..5), Ttl::ADDRESS, Source::Manual).expect("added");
        peers.add_addrs(peer(1), &addrs(5..6), Ttl::PERMANENT).expect("added");
        for _ in 0..3 {
            for number in [0, 4, 5] {
                peers.record_dial(peer(1), &addr(number), Dial::Failed).expect("noted");
            }
            peers.record_dial(peer(1), &addr(1), Dial::TimedOut).expect("noted");
        }
        let left = peers.addrs(peer(1)).expect("readable");
        assert!(!left.contains(&addr(0)), "three failures");
        assert!(left.contains(&addr(1)), "three timeouts are half of that");
        assert!(left.contains(&addr(4)) && left.contains(&addr(5)), "manual and pinned");
        peers.record_dial(peer(1), &addr(1), Dial::Succeeded).expect("noted");
        assert_eq!(peers.addrs(peer(1)).expect("readable").first(), Some(&addr(1)));
        assert_eq!(about(peers, peer(1), &addr(1)).half_failures, 0);
        // Another peer answers: the address is its.
        peers.record_dial(peer(1), &addr(2), Dial::WrongPeer(peer(2))).expect("noted");
        assert!(!peers.addrs(peer(1)).expect("readable").contains(&addr(2)));
        assert_addrs(peers, peer(2), &addrs(2..3));
        // Of a stranger nothing is made.
        peers.record_dial(peer(9), &addr(0), Dial::Failed).expect("noted");
        assert!(!peers.has_peer(peer(9)));
    }

    fn what_is_worth_much_is_not_made_worth_less_by_hearsay(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for (source, worth) in [
            (Source::Dht, Confidence::Low),
            (Source::Identify, Confidence::Medium),
            (Source::Connection, Confidence::High),
            (Source::Dht, Confidence::High),
        ] {
            peers.add_addrs_from(peer(1), &addrs(0..1), Ttl::ADDRESS, source).expect("added");
            assert_eq!(about(peers, peer(1), &addr(0)).confidence, worth, "{source:?}");
        }
        assert!(Confidence::Low.ttl() < Confidence::Medium.ttl());
        assert!(Confidence::High.ttl() < Confidence::Pinned.ttl());
    }
}

/// A process that ends without a close has what is in the store, which lags by no more than the slack.
#[test]
fn after_a_kill_an_address_expires_early_by_no_more_than_the_slack() {
    let clock = Arc::new(peercask::ManualClock::new(crate::support::NOW_MS));
    let disk = peercask::crash::SimDisk::new(1);
    let options = || Options::default().clock(clock.clone()).background(false);
    let open = || {
        let store = peercask::Store::open_on(&disk, peercask::Options::default().background(false));
        let store = store.expect("opened");
        let peers = Peerstore::on(&store, options()).expect("opened");
        (store, peers)
    };
    let (store, peers) = open();
    peers
        .add_addrs(peer(1), &addrs(0..1), ttl(3_600))
        .expect("added");
    clock.advance(seconds(359));
    peers
        .add_addrs(peer(1), &addrs(0..1), ttl(3_600))
        .expect("refreshed");
    let exact = about(&peers, peer(1), &addr(0)).expiry_ms;
    let killed = disk.crash(&peercask::crash::Cut::Kill);
    let _dead = (store, peers);
    let store = peercask::Store::open_on(&killed, peercask::Options::default().background(false));
    let peers = Peerstore::on(&store.expect("opened"), options()).expect("opened");
    let found = about(&peers, peer(1), &addr(0)).expiry_ms;
    assert_eq!(found, exact - 359_000, "the refresh was not written");
    assert!(exact - found <= 360_000);
}
