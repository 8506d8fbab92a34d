//! The protocol book, metadata, latency and tags, and a peer as a whole.

use std::collections::BTreeSet;
use std::time::Duration;

use peercask_peerstore::libp2p::{
    ErrorKind, MetadataValue, Options, Order, Peer, PeerPatch, Query, Ttl,
};

use crate::support::{
    Backend, Place, addr, addrs, assert_addrs, drain, each_backend, key, peer, seconds, signed,
};

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("/protocol/{number}"))
        .collect()
}

each_backend! {
    fn protocols_are_a_set_and_a_failed_call_changes_nothing(backend) {
        let mut place = Place::with(backend, Options::default().protocols_max(4));
        let peers = place.peers();
        peers.add_protocols(peer(1), &names(3)).expect("added");
        peers.add_protocols(peer(1), &names(3)).expect("doubles do not count");
        peers.add_protocols(peer(1), &["/b", "/b"]).expect("four in all");
        let refused = peers.add_protocols(peer(1), &["/c"]).expect_err("five");
        assert_eq!(refused.kind(), ErrorKind::TooMany);
        let refused = peers.set_protocols(peer(1), &names(5)).expect_err("five");
        assert_eq!(refused.kind(), ErrorKind::TooMany);
        if place.lasts() {
            place.reopen();
        }
        let mut expected: BTreeSet<String> = names(3).into_iter().collect();
        expected.insert("/b".to_owned());
        assert_eq!(place.peers().protocols(peer(1)).expect("readable"), expected);
    }

    fn the_bytes_of_protocol_names_are_bounded(backend) {
        let place = Place::with(backend, Options::default().protocol_bytes_max(100));
        let long = "x".repeat(101);
        let refused = place.peers().add_protocols(peer(1), &[long]).expect_err("too long");
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        assert_eq!(place.peers().count(), 0);
    }

    fn who_speaks_a_protocol_is_known_without_reading(backend) {
        let mut place = Place::new(backend);
        for number in 0..50 {
            let spoken: &[&str] = match number % 2 {
                0 => &["/even", "/all"],
                _ => &["/all"],
            };
            place.peers().set_protocols(peer(number), spoken).expect("set");
        }
        for round in 0..2 {
            let peers = place.peers();
            let misses = peers.stats().cache_misses;
            let found = |name: &str| peers.peers_with_protocol(name).expect("open").len();
            assert_eq!((found("/all"), found("/even"), found("/none")), (50 - round, 25 - round, 0));
            assert_eq!(peers.stats().cache_misses, misses);
            if round == 0 {
                peers.remove_protocols(peer(0), &["/even"]).expect("removed");
                peers.forget_peer(peer(1)).expect("forgotten");
                if place.lasts() {
                    place.reopen();
                }
            }
        }
    }

    fn metadata_come_back_with_their_types(backend) {
        let mut place = Place::new(backend);
        let values: [(&str, MetadataValue); 9] = [
            ("null", MetadataValue::Null),
            ("bool", true.into()),
            ("int", 5_i64.into()),
            ("negative", (-5_i64).into()),
            ("unsigned", u64::MAX.into()),
            ("float", 1.5.into()),
            ("nan", f64::NAN.into()),
            ("text", "5".into()),
            ("bytes", vec![0_u8, 255].into()),
        ];
        for (name, value) in values.clone() {
            place.peers().put_metadata(peer(1), name, value).expect("put");
        }
        if place.lasts() {
            place.reopen();
        }
        for (name, value) in values {
            assert_eq!(place.peers().metadata(peer(1), name).expect("there"), value, "{name}");
        }
    }

    fn metadata_keys_are_any_text(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let long = "k".repeat(1_024);
        let keys = ["", "a/b", "a/c", "nul\0nul", "Case", "case", &long];
        for (number, key) in keys.iter().enumerate() {
            peers.put_metadata(peer(1), key, number as u64).expect("put");
        }
        for (number, key) in keys.iter().enumerate() {
            let found = peers.metadata(peer(1), key).expect("there");
            assert_eq!(found, MetadataValue::U64(number as u64));
        }
        let with = |prefix: &str| peers.metadata_with_prefix(peer(1), prefix).expect("readable");
        assert_eq!((with("").len(), with("a/").len(), with("z").len()), (7, 2, 0));
        assert!(peers.delete_metadata(peer(1), "a/b").expect("deleted"));
        assert!(!peers.delete_metadata(peer(1), "a/b").expect("gone already"));
        for (who, key) in [(peer(1), "a/b"), (peer(2), "a/b")] {
            let missing = peers.metadata(who, key).expect_err("missing");
            assert_eq!(missing.kind(), ErrorKind::NotFound);
        }
        assert!(!peers.has_peer(peer(2)), "asking makes no peer");
    }

    fn metadata_are_bounded_and_may_expire(backend) {
        let options = Options::default().metadata_max(2).metadata_bytes_max(100);
        let place = Place::with(backend, options);
        let peers = place.peers();
        let long = peers.put_metadata(peer(1), "k", "x".repeat(101)).expect_err("too long");
        assert_eq!(long.kind(), ErrorKind::TooLarge);
        let long = peers.put_metadata(peer(1), &"k".repeat(5_000), 1_u64).expect_err("too long");
        assert_eq!(long.kind(), ErrorKind::TooLarge);
        assert_eq!(peers.count(), 0, "nothing was written");
        peers.put_metadata(peer(1), "a", 1_u64).expect("put");
        peers.put_metadata_with(peer(1), "b", 1_u64, Ttl::from(seconds(10))).expect("put");
        let third = peers.put_metadata(peer(1), "c", 1_u64).expect_err("two are there");
        assert_eq!(third.kind(), ErrorKind::TooMany);
        peers.put_metadata(peer(1), "a", 2_u64).expect("in place of another");
        place.sleep(seconds(10));
        assert!(peers.metadata(peer(1), "b").is_err());
        peers.put_metadata(peer(1), "c", 1_u64).expect("there is room again");
    }

    fn latencies_are_smoothed(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let ms = Duration::from_millis;
        assert_eq!(peers.latency(peer(1)).expect("readable"), None);
        peers.record_latency(peer(1), ms(100)).expect("taken");
        assert_eq!(peers.latency(peer(1)).expect("readable"), Some(ms(100)), "the first as it is");
        peers.record_latency(peer(1), ms(200)).expect("taken");
        assert_eq!(peers.latency(peer(1)).expect("readable"), Some(ms(110)));
        for strange in [-1.0, 1.5, f64::NAN] {
            peers.clear_latency(peer(1)).expect("cleared");
            peers.record_latency(peer(1), ms(100)).expect("taken");
            peers.record_latency_with(peer(1), ms(200), strange).expect("taken");
            assert_eq!(peers.latency(peer(1)).expect("readable"), Some(ms(110)), "{strange}");
        }
        peers.record_latency_with(peer(1), ms(50), 1.0).expect("taken");
        assert_eq!(peers.latency(peer(1)).expect("readable"), Some(ms(50)));
    }

    fn a_thousand_samples_in_a_second_are_a_write_or_two_and_outlive_a_restart(backend) {
        let mut place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT).expect("added");
        let before = peers.stats().writes;
        for sample in 0..3_000 {
            peers.record_latency(peer(1), Duration::from_micros(20_000 + sample % 7)).expect("taken");
            place.sleep(Duration::from_millis(1));
        }
        let written = peers.stats().writes - before;
        assert!((1..=3).contains(&written), "{written} writes in three seconds");
        if place.lasts() {
            place.reopen();
        }
        let found = place.peers().latency(peer(1)).expect("readable").expect("known");
        assert!(found.abs_diff(Duration::from_millis(20)) < Duration::from_micros(20));
        place.peers().clear_latency(peer(1)).expect("cleared");
        if place.lasts() {
            place.reopen();
        }
        assert_eq!(place.peers().latency(peer(1)).expect("readable"), None);
    }

    fn removing_a_peer_takes_its_latency_too(backend) {
        let mut place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT).expect("added");
        place.peers().record_latency(peer(1), seconds(1)).expect("taken");
        place.peers().remove_peer(peer(1)).expect("removed");
        if place.lasts() {
            place.reopen();
        }
        assert_eq!(place.peers().latency(peer(1)).expect("readable"), None);
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
    }

    fn tags_have_values_and_lives(backend) {
        let mut place = Place::new(backend);
        let refused = place.peers().set_tag(peer(1), "t", 101, Ttl::PERMANENT).expect_err("over 100");
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert_eq!(place.peers().count(), 0);
        place.peers().set_tag(peer(1), "short", 100, Ttl::from(seconds(10))).expect("set");
        place.peers().set_tag(peer(1), "long", 0, Ttl::PERMANENT).expect("set");
        place.sleep(seconds(9));
        if place.lasts() {
            place.reopen();
        }
        let peers = place.peers();
        assert_eq!(peers.tags(peer(1)).expect("readable").len(), 2);
        place.sleep(seconds(1));
        let left = peers.tags(peer(1)).expect("readable");
        assert_eq!(left.keys().collect::<Vec<_>>(), ["long"], "at once");
        peers.set_tag(peer(2), "long", 3, Ttl::PERMANENT).expect("set");
        assert_eq!(peers.query(Query::new().tag("long")).expect("readable").len(), 2);
        assert_eq!(peers.query(Query::new().tag("short")).expect("readable").len(), 0);
        peers.merge_peer(peer(1), &PeerPatch::new().tag("long", None)).expect("merged");
        assert!(peers.tags(peer(1)).expect("readable").is_empty());
        assert!(!peers.has_peer(peer(1)), "nothing is left of it");
    }

    fn a_peer_is_read_as_a_whole(backend) {
        let mut place = Place::new(backend);
        let record = signed(&key(1), 3, &addrs(0..2));
        let before_ms = place.peers().now_ms();
        place.peers().consume_record(&record, Ttl::ADDRESS).expect("holds");
        place.peers().update(peer(1), |peer| {
            peer.set_protocols(&["/a"])?;
            peer.put_metadata("k", 1_i64)?;
            peer.set_tag("t", 7, Ttl::PERMANENT)?;
            peer.record_latency(seconds(1), 0.1);
            peer.add_public_key(&key(1).public().encode_protobuf())
        }).expect("one change");
        if place.lasts() {
            place.reopen();
        }
        let found = place.peers().get(peer(1)).expect("readable").expect("known");
        assert_eq!((found.peer, found.addresses.len()), (peer(1), 2));
        assert_eq!(found.protocols, ["/a".to_owned()].into());
        assert_eq!(found.metadata["k"], MetadataValue::I64(1));
        assert_eq!(found.tags["t"].value, 7);
        assert_eq!(found.public_key, Some(key(1).public().encode_protobuf()));
        assert_eq!((found.record.as_deref(), found.record_seq), (Some(&record[..]), Some(3)));
        assert_eq!((found.latency_ns, found.created_ms), (Some(1_000_000_000), before_ms));
    }

    fn save_patch_and_merge_are_as_js_has_them(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let first = PeerPatch::new()
            .addrs(&addrs(0..2), Ttl::ADDRESS)
            .protocols(&["/a", "/b"])
            .metadata("k", Some(1_i64.into()))
            .tag("t", Some((1, Ttl::PERMANENT)));
        peers.save(peer(1), &first).expect("saved");
        peers.merge_peer(peer(1), &PeerPatch::new().addrs(&addrs(1..3), Ttl::ADDRESS).protocols(&["/c"])
            .metadata("l", Some(2_i64.into())).metadata("k", None)).expect("merged");
        let found = peers.get(peer(1)).expect("readable").expect("known");
        assert_addrs(peers, peer(1), &addrs(0..3));
        assert_eq!((found.protocols.len(), found.tags.len()), (3, 1));
        assert_eq!(found.metadata.keys().collect::<Vec<_>>(), ["l"]);
        peers.patch(peer(1), &PeerPatch::new().addrs(&addrs(2..4), Ttl::ADDRESS)).expect("patched");
        let found = peers.get(peer(1)).expect("readable").expect("known");
        assert_addrs(peers, peer(1), &addrs(2..4));
        assert_eq!((found.protocols.len(), found.tags.len(), found.metadata.len()), (3, 1, 1));
        peers.save(peer(1), &PeerPatch::new().protocols(&["/z"])).expect("saved");
        let found = peers.get(peer(1)).expect("readable").expect("known");
        assert_eq!((found.addresses.len(), found.tags.len(), found.metadata.len()), (0, 0, 0));
        assert_eq!(found.protocols, ["/z".to_owned()].into());
        // What does not hold changes nothing of what else was passed.
        let mut wrong = PeerPatch::new().protocols(&["/y"]);
        wrong.public_key = Some(key(2).public().encode_protobuf());
        assert!(peers.merge_peer(peer(1), &wrong).is_err());
        assert_eq!(peers.get(peer(1)).expect("readable").expect("known"), found);
    }

    fn listing_goes_by_what_is_asked_for(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::from(seconds(1))).expect("added");
        peers.add_public_key(peer(2), &key(2).public()).expect("added");
        peers.put_metadata(peer(3), "k", 1_i64).expect("put");
        peers.set_protocols(peer(4), &["/a"]).expect("set");
        let mut found: Vec<Peer> = peers.peers().collect();
        found.sort();
        let mut expected = [peer(1), peer(2)];
        expected.sort();
        assert_eq!(found, expected, "as go lists them");
        assert_eq!((peers.all_peers().count(), peers.count()), (4, 4));
        place.sleep(seconds(1));
        assert_eq!(peers.peers().collect::<Vec<_>>(), [peer(2)]);
        assert!((1..5).all(|number| peers.has_peer(peer(number))));
    }

    fn a_list_is_taken_up_where_it_stood(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..100 {
            peers.add_addrs(peer(number), &addrs(0..1), Ttl::ADDRESS).expect("added");
        }
        for stop in [0, 1, 37, 99, 100] {
            let mut list = peers.all_peers();
            let mut found: Vec<Peer> = list.by_ref().take(stop).collect();
            found.extend(peers.all_peers().from(list.position()));
            found.sort();
            found.dedup();
            assert_eq!(found.len(), 100, "stopped at {stop}");
        }
    }

    fn queries_filter_order_and_page(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..20_u8 {
            peers.add_addrs(peer(number), &addrs(0..1), Ttl::ADDRESS).expect("added");
            let latency = Duration::from_millis(u64::from(100 - number));
            peers.record_latency(peer(number), latency).expect("taken");
            place.sleep(seconds(1));
        }
        let ids = |query: Query<'_>| -> Vec<Peer> {
            peers.query(query).expect("readable").into_iter().map(|data| data.peer).collect()
        };
        let newest = ids(Query::new().order(Order::Updated).limit(3));
        assert_eq!(newest, [19, 18, 17].map(peer));
        let page = ids(Query::new().order(Order::Updated).offset(3).limit(2));
        assert_eq!(page, [16, 15].map(peer));
        assert_eq!(ids(Query::new().order(Order::Latency).limit(1)), [peer(19)]);
        let sorted = ids(Query::new().order(Order::Id));
        assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]));
        let quick = |data: &peercask_peerstore::libp2p::PeerData| data.latency_ns < Some(90_000_000);
        assert_eq!(ids(Query::new().filter(quick)).len(), 9);
        assert_eq!(ids(Query::new().filter(quick).limit(4)).len(), 4);
        let all: BTreeSet<Peer> = (0..4)
            .flat_map(|page| ids(Query::new().offset(page * 5).limit(5)))
            .collect();
        assert_eq!(all.len(), 20, "pages without an order are disjoint while nothing changes");
    }

    fn the_best_peers_are_those_that_were_reached_last(backend) {
        let mut place = Place::new(backend);
        let peers = place.peers();
        for number in 0..10_u8 {
            // Eight of one network, two of others.
            let one = match number {
                8 => "/ip4/172.16.0.1/tcp/1".parse().expect("an address"),
                9 => "/ip6/2001:db8::1/tcp/1".parse().expect("an address"),
                _ => addr(usize::from(number)),
            };
            peers.add_addrs(peer(number), std::slice::from_ref(&one), Ttl::PERMANENT).expect("added");
            if number < 8 {
                let dial = peercask_peerstore::libp2p::Dial::Succeeded;
                peers.record_dial(peer(number), &one, dial).expect("noted");
            }
            place.sleep(seconds(1));
        }
        if place.lasts() {
            place.reopen();
        }
        let peers = place.peers();
        let best: Vec<Peer> = peers.best_peers(3).expect("open").into_iter().map(|c| c.peer).collect();
        assert_eq!(best, [7, 6, 5].map(peer));
        let spread = peers.bootstrap_candidates(3).expect("open");
        let spread: BTreeSet<Peer> = spread.into_iter().map(|candidate| candidate.peer).collect();
        assert_eq!(spread, [7, 8, 9].map(peer).into(), "one of each network first");
    }

    fn a_batch_over_peers_is_whole_or_nothing(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let before = peers.stats().writes;
        peers.update_many(&[peer(1), peer(2)], |both| {
            for one in both.iter_mut() {
                one.add_addrs(&addrs(0..1), Ttl::ADDRESS);
                one.set_protocols(&["/a"])?;
            }
            Ok(())
        }).expect("changed");
        assert_eq!((peers.count(), peers.stats().writes - before), (2, 1));
        let refused = peers.update_many(&[peer(1), peer(3)], |both| {
            both[0].set_protocols(&["/b"])?;
            both[1].set_tag("t", 101, Ttl::PERMANENT)
        });
        assert_eq!(refused.expect_err("a bad tag").kind(), ErrorKind::InvalidArgument);
        assert_eq!(peers.protocols(peer(1)).expect("readable"), ["/a".to_owned()].into());
        assert!(!peers.has_peer(peer(3)));
        let twice = peers.update_many(&[peer(1), peer(1)], |_| Ok(()));
        assert_eq!(twice.expect_err("twice").kind(), ErrorKind::InvalidArgument);
    }

    fn forgetting_takes_everything(backend) {
        let mut place = Place::new(backend);
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 9, &addrs(0..2)), Ttl::PERMANENT).expect("holds");
        peers.set_tag(peer(1), "keep-alive", 1, Ttl::PERMANENT).expect("set");
        peers.add_public_key(peer(1), &key(1).public()).expect("added");
        assert!(peers.forget_peer(peer(1)).expect("forgotten"));
        assert!(!peers.forget_peer(peer(1)).expect("not known"));
        if place.lasts() {
            place.reopen();
        }
        assert!(place.peers().get(peer(1)).expect("readable").is_none());
        assert_eq!(place.peers().count(), 0);
    }
}

#[test]
fn events_come_only_if_something_but_time_changed() {
    let place = Place::new(Backend::Memory);
    let peers = place.peers();
    peers
        .add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS)
        .expect("added");
    let mut events = peers.events();
    place.sleep(seconds(600));
    peers
        .add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS)
        .expect("refreshed");
    peers
        .set_addrs(peer(1), &addrs(0..1), Ttl::from(seconds(9_999)))
        .expect("longer");
    peers
        .update_addrs(peer(1), Ttl::from(seconds(9_999)), Ttl::ADDRESS)
        .expect("updated");
    peers.record_latency(peer(1), seconds(1)).expect("taken");
    peers.add_protocols::<&str>(peer(1), &[]).expect("nothing");
    assert!(drain(&mut events).is_empty());
}
