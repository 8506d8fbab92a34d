//! The cases of go-libp2p's shared peer store suites, under their names, over all backends.

use std::time::Duration;

use libp2p_core::Multiaddr;
use peercask_peerstore::libp2p::{
    Consumed, ErrorKind, MetadataValue, Options, Peer, PrivateKeys, Ttl,
};

use crate::support::{
    Place, addr, addrs, assert_addrs, drain, each_backend, key, peer, seconds, signed,
    signed_about, sorted,
};

fn ttl(time: Duration) -> Ttl {
    Ttl::from(time)
}

each_backend! {
    fn add_address_single(backend) {
        let place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("added");
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
    }

    fn add_address_idempotent_single(backend) {
        let place = Place::new(backend);
        for _ in 0..2 {
            place.peers().add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("added");
        }
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
    }

    fn add_address_multiple(backend) {
        let place = Place::new(backend);
        place.peers().add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        assert_addrs(place.peers(), peer(1), &addrs(0..3));
    }

    fn add_address_idempotent_multiple(backend) {
        let place = Place::new(backend);
        for _ in 0..2 {
            place.peers().add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        }
        assert_addrs(place.peers(), peer(1), &addrs(0..3));
    }

    fn add_address_with_a_later_expiration_extends_the_ttl(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..3), ttl(seconds(1))).expect("added");
        peers.add_addrs(peer(1), &addrs(2..3), Ttl::ADDRESS).expect("added");
        place.sleep(Duration::from_millis(1_200));
        assert_addrs(peers, peer(1), &addrs(2..3));
        // Its ttl really is an hour now.
        peers.update_addrs(peer(1), Ttl::ADDRESS, Ttl::NONE).expect("updated");
        assert_addrs(peers, peer(1), &[]);
    }

    fn add_address_with_an_earlier_expiration_never_reduces_the_expiration(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(1), &addrs(2..3), ttl(seconds(1))).expect("added");
        place.sleep(Duration::from_millis(2_100));
        assert_addrs(peers, peer(1), &addrs(0..3));
    }

    fn add_address_with_an_earlier_expiration_never_reduces_the_ttl(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..1), ttl(seconds(4))).expect("added");
        place.sleep(seconds(2));
        peers.add_addrs(peer(1), &addrs(0..1), ttl(seconds(3))).expect("added");
        place.sleep(seconds(1));
        assert_addrs(peers, peer(1), &addrs(0..1));
        peers.update_addrs(peer(1), ttl(seconds(4)), Ttl::NONE).expect("updated");
        assert_addrs(peers, peer(1), &[]);
    }

    fn add_address_to_the_empty_peer_id(backend) {
        let mut place = Place::new(backend);
        place.peers().add_addrs(Peer::EMPTY, &addrs(0..1), Ttl::PERMANENT).expect("added");
        assert_addrs(place.peers(), Peer::EMPTY, &addrs(0..1));
        if place.lasts() {
            place.reopen();
            assert_addrs(place.peers(), Peer::EMPTY, &addrs(0..1));
        }
    }

    fn add_address_with_the_p2p_of_the_same_peer(backend) {
        let place = Place::new(backend);
        let id = peer(1).to_peer_id().expect("an id");
        let named = addr(0).with_p2p(id).expect("it has no name");
        place.peers().add_addrs(peer(1), &[named], Ttl::ADDRESS).expect("added");
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
    }

    fn add_address_with_the_p2p_of_another_peer(backend) {
        let place = Place::new(backend);
        let id = peer(2).to_peer_id().expect("an id");
        let named = addr(0).with_p2p(id).expect("it has no name");
        place.peers().add_addrs(peer(1), &[named], Ttl::ADDRESS).expect("added");
        assert_addrs(place.peers(), peer(1), &[]);
        assert_eq!(place.peers().count(), 0);
    }

    fn clear(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(2), &addrs(3..5), Ttl::ADDRESS).expect("added");
        peers.clear_addrs(peer(1)).expect("cleared");
        assert_addrs(peers, peer(1), &[]);
        assert_addrs(peers, peer(2), &addrs(3..5));
        peers.clear_addrs(peer(2)).expect("cleared");
        assert_addrs(peers, peer(2), &[]);
        peers.add_addrs(peer(1), &addrs(0..5), Ttl::ADDRESS).expect("added");
        peers.clear_addrs(peer(2)).expect("cleared");
        assert_addrs(peers, peer(1), &addrs(0..5));
    }

    fn set_negative_ttl_clears(backend) {
        let place = Place::with(backend, Options::default().addresses_max(0));
        let peers = place.peers();
        let minus_one = Ttl::from_go_nanos(-1);
        let all = addrs(0..100);
        peers.set_addrs(peer(1), &all, Ttl::ADDRESS).expect("set");
        assert_addrs(peers, peer(1), &all);
        // Remove two of them, in the middle and at the end.
        peers.set_addrs(peer(1), &addrs(42..43), minus_one).expect("set");
        peers.set_addrs(peer(1), &addrs(99..100), minus_one).expect("set");
        let left: Vec<Multiaddr> = (0..99).filter(|at| *at != 42).map(addr).collect();
        assert_addrs(peers, peer(1), &left);
        // Many at once, some of which are not there; the survivor is the right one.
        peers.set_addrs(peer(1), &addrs(0..98), minus_one).expect("set");
        assert_addrs(peers, peer(1), &addrs(98..99));
        // More than there are, and one ten times.
        peers.set_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("set");
        peers.set_addrs(peer(1), &vec![addr(0); 10], minus_one).expect("set");
        assert_addrs(peers, peer(1), &[addr(1), addr(98)]);
        peers.set_addrs(peer(1), &all, minus_one).expect("set");
        assert_addrs(peers, peer(1), &[]);
    }

    fn update_ttls_of_an_unknown_peer(backend) {
        let place = Place::new(backend);
        place.peers().update_addrs(peer(1), Ttl::ADDRESS, ttl(seconds(60))).expect("no error");
        assert_eq!(place.peers().count(), 0);
    }

    fn update_ttls_to_zero_clears(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.set_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS).expect("set");
        peers.set_addrs(peer(1), &addrs(1..2), ttl(seconds(60))).expect("set");
        peers.update_addrs(peer(1), Ttl::ADDRESS, Ttl::NONE).expect("updated");
        assert_addrs(peers, peer(1), &addrs(1..2));
    }

    fn update_ttls(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let minute = ttl(seconds(60));
        for who in [peer(1), peer(2)] {
            peers.set_addrs(who, &addrs(0..1), Ttl::ADDRESS).expect("set");
            peers.set_addrs(who, &addrs(1..2), minute).expect("set");
        }
        // Only that peer, only that ttl, and not at once.
        peers.update_addrs(peer(1), Ttl::ADDRESS, ttl(seconds(1))).expect("updated");
        assert_addrs(peers, peer(1), &addrs(0..2));
        place.sleep(Duration::from_millis(1_200));
        assert_addrs(peers, peer(1), &addrs(1..2));
        assert_addrs(peers, peer(2), &addrs(0..2));
        peers.update_addrs(peer(2), Ttl::ADDRESS, ttl(seconds(1))).expect("updated");
        assert_addrs(peers, peer(2), &addrs(0..2));
        place.sleep(Duration::from_millis(1_200));
        assert_addrs(peers, peer(2), &addrs(1..2));
    }

    fn nil_addrs_dont_break(backend) {
        let place = Place::new(backend);
        let empty = [Multiaddr::empty()];
        place.peers().set_addrs(peer(1), &empty, Ttl::ADDRESS).expect("left out");
        place.peers().add_addrs(peer(1), &empty, Ttl::ADDRESS).expect("left out");
        assert_eq!(place.peers().count(), 0);
    }

    fn addresses_expire(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(2), &addrs(3..5), ttl(seconds(7_200))).expect("added");
        let soon = ttl(Duration::from_micros(100));
        peers.set_addrs(peer(1), &addrs(0..1), soon).expect("set");
        place.sleep(Duration::from_millis(100));
        assert_addrs(peers, peer(1), &addrs(1..3));
        assert_addrs(peers, peer(2), &addrs(3..5));
        peers.set_addrs(peer(1), &addrs(2..3), soon).expect("set");
        peers.set_addrs(peer(2), &addrs(3..5), soon).expect("set");
        place.sleep(Duration::from_millis(100));
        assert_addrs(peers, peer(1), &addrs(1..2));
        assert_addrs(peers, peer(2), &[]);
    }

    fn clear_with_iter(backend) {
        let mut place = Place::new(backend);
        for number in 0..100 {
            place.peers().add_addrs(peer(number), &addrs(0..2), Ttl::PERMANENT).expect("added");
        }
        if place.lasts() {
            // Then none is in the cache.
            place.reopen();
        }
        let peers = place.peers();
        for who in peers.peers_with_addrs() {
            peers.clear_addrs(who).expect("cleared");
        }
        assert_eq!((peers.peers_with_addrs().count(), peers.count()), (0, 0));
    }

    fn peers_with_addresses(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        assert_eq!(peers.peers_with_addrs().count(), 0);
        peers.add_addrs(peer(1), &addrs(0..3), Ttl::ADDRESS).expect("added");
        peers.add_addrs(peer(2), &addrs(3..5), ttl(seconds(60))).expect("added");
        assert_eq!(peers.peers_with_addrs().count(), 2);
    }

    fn certified_addresses(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let hour = Ttl::ADDRESS;
        let (unsigned, certified) = (addrs(0..2), addrs(2..5));
        peers.add_addrs(peer(1), &unsigned, hour).expect("added");
        let record = signed(&key(1), 2, &certified);
        assert_eq!(peers.consume_record(&record, hour).expect("holds"), Consumed::Accepted);
        // Both, and the record as it came.
        assert_addrs(peers, peer(1), &addrs(0..5));
        assert_eq!(peers.record(peer(1)).expect("readable").as_deref(), Some(&record[..]));
        // An older one is not taken, and is no error.
        let older = signed(&key(1), 1, &addrs(7..8));
        assert_eq!(peers.consume_record(&older, hour).expect("holds"), Consumed::Older);
        assert_addrs(peers, peer(1), &addrs(0..5));
        // Unsigned ones are still taken.
        peers.add_addrs(peer(1), &addrs(5..6), hour).expect("added");
        assert_addrs(peers, peer(1), &addrs(0..6));
        // A newer one drops what it leaves out, and keeps what was never signed.
        let newer = signed(&key(1), 3, &addrs(4..5));
        assert!(peers.consume_record(&newer, hour).expect("holds").is_accepted());
        assert_addrs(peers, peer(1), &[addr(0), addr(1), addr(4), addr(5)]);
        // With the last address the record goes.
        let all = sorted(peers, peer(1));
        peers.set_addrs(peer(1), &all, Ttl::NONE).expect("removed");
        assert_eq!(peers.record(peer(1)).expect("readable"), None);
        // Also if it expires by itself.
        let last = signed(&key(1), 4, &certified);
        assert!(peers.consume_record(&last, ttl(seconds(1))).expect("holds").is_accepted());
        assert!(peers.record(peer(1)).expect("readable").is_some());
        place.sleep(seconds(2));
        assert_addrs(peers, peer(1), &[]);
        assert_eq!(peers.record(peer(1)).expect("readable"), None);
        // Another's signature is an error.
        let about = peer(1).as_bytes().to_vec();
        let forged = signed_about(&key(2), &about, 9, &certified);
        let refused = peers.consume_record(&forged, hour).expect_err("forged");
        assert_eq!(refused.kind(), ErrorKind::InvalidRecord);
        assert_addrs(peers, peer(1), &[]);
        assert_addrs(peers, peer(2), &[]);
    }

    fn key_book_add_get_priv_key(backend) {
        let place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        let peers = place.peers();
        assert!(peers.private_key(peer(1)).expect("readable").is_none());
        peers.add_private_key(peer(1), &key(1)).expect("added");
        let found = peers.private_key_bytes(peer(1)).expect("readable").expect("there");
        assert_eq!(*found, key(1).to_protobuf_encoding().expect("encoded"));
        assert_eq!(peers.peers_with_keys().collect::<Vec<_>>(), [peer(1)]);
    }

    fn key_book_add_get_pub_key(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.add_public_key(peer(1), &key(1).public()).expect("added");
        assert_eq!(peers.public_key(peer(1)).expect("readable"), Some(key(1).public()));
        assert_eq!(peers.peers_with_keys().collect::<Vec<_>>(), [peer(1)]);
    }

    fn key_book_peers_with_keys(backend) {
        let place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        let peers = place.peers();
        for number in 0..10 {
            peers.add_public_key(peer(number), &key(number).public()).expect("added");
            peers.add_private_key(peer(number + 10), &key(number + 10)).expect("added");
        }
        let mut found: Vec<Peer> = peers.peers_with_keys().collect();
        let mut expected: Vec<Peer> = (0..20).map(peer).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    /// Skipped upstream; here what stands in the id is answered and nothing is stored.
    fn key_book_pub_key_added_on_retrieve(backend) {
        let place = Place::new(backend);
        let found = place.peers().public_key(peer(1)).expect("readable");
        assert_eq!(found, Some(key(1).public()));
        assert_eq!(place.peers().count(), 0);
    }

    fn key_book_delete(backend) {
        let place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        let peers = place.peers();
        // A key that does not stand in the id, so that nothing can be derived.
        let pair = crate::keys::ecdsa();
        let who = pair.public().to_peer_id();
        peers.add_public_key(who, &pair.public()).expect("added");
        peers.add_private_key(who, &pair).expect("added");
        peers.remove_peer(who).expect("removed");
        assert!(peers.public_key(who).expect("readable").is_none());
        assert!(peers.private_key(who).expect("readable").is_none());
        assert_eq!(peers.peers_with_keys().count(), 0);
    }

    fn addr_stream(backend) {
        let place = Place::with(backend, Options::default().addresses_max(0));
        let peers = place.peers();
        peers.add_addrs(peer(1), &addrs(0..10), Ttl::ADDRESS).expect("added");
        let mut first = peers.addr_stream(peer(1)).expect("readable");
        peers.add_addrs(peer(1), &addrs(10..20), Ttl::ADDRESS).expect("added");
        assert_eq!(drain(&mut first), addrs(0..20));
        // A second one gets all, and one that is dropped or slow holds up nobody.
        drop(first);
        peers.add_addrs(peer(1), &addrs(20..80), Ttl::ADDRESS).expect("added");
        let mut second = peers.addr_stream(peer(1)).expect("readable");
        assert_eq!(drain(&mut second).len(), 80);
    }

    fn get_stream_before_peer_added(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let mut stream = peers.addr_stream(peer(1)).expect("readable");
        for number in 0..10 {
            peers.add_addrs(peer(1), &addrs(number..number + 1), Ttl::ADDRESS).expect("added");
        }
        assert_eq!(drain(&mut stream), addrs(0..10));
        assert_eq!(stream.try_next(), None);
    }

    fn add_stream_duplicates(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let mut stream = peers.addr_stream(peer(1)).expect("readable");
        for number in 0..10 {
            for _ in 0..3 {
                peers.add_addrs(peer(1), &addrs(number..number + 1), Ttl::ADDRESS).expect("added");
            }
        }
        assert_eq!(drain(&mut stream), addrs(0..10));
        peers.close().expect("closed");
        assert_eq!(stream.next(), None);
    }

    fn peerstore_proto_store(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let ids = ["a", "b", "c", "d"];
        peers.add_protocols(peer(1), &ids).expect("added");
        assert_eq!(peers.protocols(peer(1)).expect("readable"), ids.map(String::from).into());
        // In the order of the question.
        let asked = ["q", "w", "a", "y", "b"];
        let found = peers.supports_protocols(peer(1), &asked).expect("readable");
        assert_eq!(found, ["a", "b"]);
        let first = peers.first_supported_protocol(peer(1), &["q", "w", "a", "y", "b"]);
        assert_eq!(first.expect("readable").as_deref(), Some("a"));
        let none = peers.first_supported_protocol(peer(1), &["q", "w"]).expect("readable");
        assert_eq!(none, None);
        peers.set_protocols(peer(1), &["other", "yet another", "one more"]).expect("set");
        assert!(peers.supports_protocols(peer(1), &["q", "w", "a"]).expect("readable").is_empty());
        let found = peers.supports_protocols(peer(1), &["other", "yet another", "not one"]);
        assert_eq!(found.expect("readable"), ["other", "yet another"]);
        peers.remove_protocols(peer(1), &["other", "yet another"]).expect("removed");
        assert_eq!(peers.protocols(peer(1)).expect("readable"), ["one more".to_owned()].into());
        peers.remove_peer(peer(1)).expect("removed");
        assert!(peers.protocols(peer(1)).expect("readable").is_empty());
    }

    fn basic_peerstore(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        for number in 0..10 {
            let one = addrs(usize::from(number)..usize::from(number) + 1);
            peers.add_addrs(peer(number), &one, Ttl::PERMANENT).expect("added");
        }
        assert_eq!(peers.peers().count(), 10);
        assert_eq!(peers.addrs(peer(3)).expect("readable"), addrs(3..4));
    }

    fn metadata(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let named = |name: &str| Peer::from_bytes(name.as_bytes()).expect("short");
        for name in ["foo", "foobar"] {
            peers.put_metadata(named(name), "AgentVersion", "string").expect("put");
            peers.put_metadata(named(name), "bar", 1_i64).expect("put");
        }
        let found = peers.metadata(named("foo"), "AgentVersion").expect("there");
        assert_eq!(found, MetadataValue::Text("string".to_owned()));
        assert_eq!(peers.metadata(named("foo"), "bar").expect("there"), MetadataValue::I64(1));
        peers.remove_peer(named("foo")).expect("removed");
        let gone = peers.metadata(named("foo"), "bar").expect_err("gone");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        assert!(peers.metadata(named("foobar"), "bar").is_ok(), "its name only begins so");
    }

    /// In go it is an interface that may be missing.
    fn certified_addr_book(backend) {
        let place = Place::new(backend);
        let record = signed(&key(1), 1, &addrs(0..1));
        let accepted = place.peers().consume_record(&record, Ttl::ADDRESS).expect("holds");
        assert!(accepted.is_accepted());
    }

    fn proto_store_limits(backend) {
        let place = Place::with(backend, Options::default().protocols_max(10));
        let peers = place.peers();
        let names: Vec<String> = (0..11).map(|number| format!("/p/{number}")).collect();
        let refused = peers.set_protocols(peer(1), &names).expect_err("eleven");
        assert_eq!(refused.kind(), ErrorKind::TooMany);
        assert!(refused.to_string().contains("too many protocols"));
        peers.set_protocols(peer(1), &names[..5]).expect("five");
        peers.add_protocols(peer(1), &names[5..10]).expect("ten");
        let refused = peers.add_protocols(peer(1), &names[10..]).expect_err("eleven");
        assert_eq!(refused.kind(), ErrorKind::TooMany);
        assert_eq!(peers.protocols(peer(1)).expect("readable").len(), 10);
    }
}
