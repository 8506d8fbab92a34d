//! Signed peer records, S1 to S11: what holds, what comes in whose place, and what is remembered.

use libp2p_core::PeerRecord;
use libp2p_identity::Keypair;
use peercask_peerstore::libp2p::{Consumed, EqualSeq, ErrorKind, Identified, Options, Ttl};

use crate::support::{
    Place, addr, addrs, assert_addrs, each_backend, field, key, peer, seconds, signed, signed_about,
};

const HOUR: Ttl = Ttl::ADDRESS;

/// In rust-libp2p's own domain of old.
fn legacy(key: &Keypair) -> Vec<u8> {
    let record = PeerRecord::new(key, addrs(0..1)).expect("signed");
    record.to_signed_envelope().into_protobuf_encoding()
}

/// A record that holds, but in another domain, of another type, or about nobody.
fn strange() -> Vec<Vec<u8>> {
    let mut payload = Vec::new();
    field(&mut payload, 1, peer(1).as_bytes());
    let sign = |domain: &str, kind: &[u8], payload: &[u8]| {
        let envelope = libp2p_core::SignedEnvelope::new(
            &key(1),
            domain.to_owned(),
            kind.to_vec(),
            payload.to_vec(),
        );
        envelope.expect("signed").into_protobuf_encoding()
    };
    vec![
        sign("libp2p-peer-records", &[3, 1], &payload),
        sign("libp2p-peer-record", &[3, 2], &payload),
        sign("libp2p-peer-record", &[3, 1], &payload[..5]),
        sign("libp2p-peer-record", &[3, 1], &[0xff; 40]),
        signed_about(&key(1), &[], 1, &addrs(0..1)),
        signed_about(&key(1), peer(2).as_bytes(), 1, &addrs(0..1)),
        legacy(&key(1)),
        Vec::new(),
        b"no envelope at all".to_vec(),
    ]
}

each_backend! {
    fn s1_only_what_its_own_peer_signed_for_this_use_is_taken(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let before = peers.stats().writes;
        for envelope in strange() {
            let refused = peers.consume_record(&envelope, HOUR).expect_err("does not hold");
            assert_eq!(refused.kind(), ErrorKind::InvalidRecord);
        }
        assert_eq!((peers.count(), peers.stats().writes), (0, before));
        let record = signed(&key(1), 1, &addrs(0..1));
        let other = peers.consume_record_of(peer(2), &record, HOUR).expect("it holds");
        assert_eq!((other, peers.count()), (Consumed::UnexpectedPeer, 0));
        let fine = peers.consume_record_of(peer(1), &record, HOUR).expect("it holds");
        assert_eq!(fine, Consumed::Accepted);
    }

    fn s2_an_older_record_changes_nothing(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let newer = signed(&key(1), 2, &addrs(0..2));
        peers.consume_record(&newer, HOUR).expect("holds");
        let before = peers.get(peer(1)).expect("readable");
        let older = peers.consume_record(&signed(&key(1), 1, &addrs(5..6)), HOUR).expect("holds");
        assert_eq!(older, Consumed::Older);
        assert_eq!(peers.get(peer(1)).expect("readable"), before);
    }

    fn s3_the_same_record_refreshes_and_another_of_its_seq_does_as_the_options_say(backend) {
        for (rule, same, other) in [
            (EqualSeq::RefreshIfIdentical, Consumed::Refreshed, Consumed::SameSeq),
            (EqualSeq::Accept, Consumed::Refreshed, Consumed::Accepted),
            (EqualSeq::Reject, Consumed::SameSeq, Consumed::SameSeq),
        ] {
            let place = Place::with(backend, Options::default().equal_seq(rule));
            let peers = place.peers();
            let first = signed(&key(1), 1, &addrs(0..1));
            peers.consume_record(&first, HOUR).expect("holds");
            place.sleep(seconds(1_800));
            assert_eq!(peers.consume_record(&first, HOUR).expect("holds"), same, "{rule:?}");
            let expiry_ms = peers.addresses(peer(1)).expect("readable")[0].expiry_ms;
            let life_ms = expiry_ms - peers.now_ms();
            assert_eq!(life_ms == 3_600_000, same == Consumed::Refreshed, "{rule:?}");
            let second = signed(&key(1), 1, &addrs(1..2));
            assert_eq!(peers.consume_record(&second, HOUR).expect("holds"), other, "{rule:?}");
            let taken = other == Consumed::Accepted;
            assert_addrs(peers, peer(1), &[addr(usize::from(taken))]);
        }
    }

    fn s4_a_newer_record_drops_what_only_the_older_one_held(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let named = |at: usize| addr(at).with_p2p(peer(1).to_peer_id().expect("an id")).expect("none");
        // With and without the peer's name an address is the same.
        peers.consume_record(&signed(&key(1), 1, &[named(0), addr(1), addr(2), addr(3)]), HOUR).expect("holds");
        peers.add_addrs(peer(1), &addrs(1..2), HOUR).expect("added");
        peers.add_addrs(peer(1), &addrs(2..3), Ttl::CONNECTED).expect("added");
        peers.add_addrs(peer(1), &addrs(9..10), HOUR).expect("added");
        peers.consume_record(&signed(&key(1), 2, &[named(3), addr(4)]), HOUR).expect("holds");
        assert_addrs(peers, peer(1), &[1, 2, 3, 4, 9].map(addr));
        for address in peers.addresses(peer(1)).expect("readable") {
            let signed_now = [addr(3), addr(4)].contains(&address.addr);
            assert_eq!(address.certified, signed_now, "{address:?}");
        }
    }

    fn s5_a_record_can_be_had_while_an_address_lives(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let record = signed(&key(1), 1, &addrs(0..1));
        peers.consume_record(&record, Ttl::from(seconds(10))).expect("holds");
        place.sleep(seconds(9));
        assert_eq!(peers.record(peer(1)).expect("readable").as_deref(), Some(&record[..]));
        place.sleep(seconds(1));
        assert_eq!(peers.record(peer(1)).expect("readable"), None);
        peers.gc().expect("removed");
        assert_eq!(peers.stats().signed_records, 0);
    }

    fn s6_what_was_newer_is_remembered_without_its_addresses(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 5, &addrs(0..1)), Ttl::from(seconds(1))).expect("holds");
        let older = signed(&key(1), 4, &addrs(1..2));
        peers.clear_addrs(peer(1)).expect("cleared");
        assert_eq!(peers.consume_record(&older, HOUR).expect("holds"), Consumed::Older);
        place.sleep(seconds(10));
        peers.gc().expect("removed");
        assert_eq!(peers.consume_record(&older, HOUR).expect("holds"), Consumed::Older);
        // The one that it remembers may come back.
        let again = signed(&key(1), 5, &addrs(0..1));
        assert!(peers.consume_record(&again, HOUR).expect("holds").is_accepted());
        peers.forget_peer(peer(1)).expect("forgotten");
        assert_eq!(peers.consume_record(&older, HOUR).expect("holds"), Consumed::Accepted);
    }

    fn s6_as_go_has_it_clearing_forgets(backend) {
        let place = Place::with(backend, Options::go_compatible());
        let peers = place.peers();
        peers.consume_record(&signed(&key(1), 5, &addrs(0..1)), HOUR).expect("holds");
        peers.clear_addrs(peer(1)).expect("cleared");
        let older = signed(&key(1), 4, &addrs(1..2));
        assert_eq!(peers.consume_record(&older, HOUR).expect("holds"), Consumed::Accepted);
    }

    fn s7_record_seq_and_marks_outlive_a_restart(backend) {
        let mut place = Place::new(backend);
        let record = signed(&key(1), 7, &addrs(0..2));
        place.peers().consume_record(&record, HOUR).expect("holds");
        if !place.lasts() {
            return;
        }
        place.reopen();
        let peers = place.peers();
        assert_eq!(peers.record(peer(1)).expect("readable").as_deref(), Some(&record[..]));
        assert!(peers.addresses(peer(1)).expect("readable").iter().all(|address| address.certified));
        let older = signed(&key(1), 6, &addrs(3..4));
        assert_eq!(peers.consume_record(&older, HOUR).expect("holds"), Consumed::Older);
        assert_eq!(peers.get(peer(1)).expect("readable").expect("known").record_seq, Some(7));
    }

    fn what_identify_brings_must_be_the_peers_own_and_an_older_record_takes_nothing_away(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.connected(peer(1), None).expect("connected");
        let told = |record: &[u8], agent: &str| {
            let told = Identified { record: Some(record), agent_version: Some(agent), ..Identified::default() };
            peers.identified(peer(1), &told)
        };
        told(&signed(&key(1), 5, &addrs(0..2)), "first").expect("holds");
        let before = peers.get(peer(1)).expect("readable");
        for forged in [signed(&key(2), 9, &addrs(5..6)), signed_about(&key(2), peer(1).as_bytes(), 9, &addrs(5..6))] {
            let refused = told(&forged, "forger").expect_err("not its own");
            assert_eq!(refused.kind(), ErrorKind::InvalidRecord);
            assert_eq!(peers.get(peer(1)).expect("readable"), before);
            assert!(!peers.has_peer(peer(2)));
        }
        told(&signed(&key(1), 4, &addrs(7..8)), "second").expect("holds");
        assert_addrs(peers, peer(1), &addrs(0..2));
        assert_eq!(peers.metadata(peer(1), "AgentVersion").expect("there"), "second".into());
        told(&signed(&key(1), 6, &addrs(1..3)), "third").expect("holds");
        assert_addrs(peers, peer(1), &addrs(1..3));
    }

    fn py_ceritified_addr_book(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let ten = Ttl::from_py_seconds(10);
        assert!(peers.consume_record(&signed(&key(1), 21, &addrs(0..2)), ten).expect("holds").is_accepted());
        assert!(peers.record(peer(1)).expect("readable").is_some());
        assert_addrs(peers, peer(1), &addrs(0..2));
        assert!(!peers.consume_record(&signed(&key(1), 20, &addrs(5..6)), ten).expect("holds").is_accepted());
        assert!(peers.consume_record(&signed(&key(1), 23, &addrs(9..10)), ten).expect("holds").is_accepted());
        assert_eq!(peers.get(peer(1)).expect("readable").expect("known").record_seq, Some(23));
        assert_addrs(peers, peer(1), &addrs(9..10));
    }

    fn py_a_record_is_bound_to_its_signer_also_after_a_restart(backend) {
        let mut place = Place::new(backend);
        let victims = signed_about(&key(2), peer(1).as_bytes(), 99, &addrs(5..6));
        // Of a stranger, of a known peer, and after a restart: forged is forged.
        let refuse = |place: &Place| {
            let refused = place.peers().consume_record(&victims, HOUR).expect_err("forged");
            assert_eq!(refused.kind(), ErrorKind::InvalidRecord);
            assert!(!place.peers().has_peer(peer(2)));
        };
        refuse(&place);
        assert_eq!(place.peers().count(), 0);
        place.peers().consume_record(&signed(&key(1), 1, &addrs(0..1)), HOUR).expect("its own");
        refuse(&place);
        if place.lasts() {
            place.reopen();
        }
        refuse(&place);
        assert_addrs(place.peers(), peer(1), &addrs(0..1));
        assert!(place.peers().consume_record(&signed(&key(1), 2, &addrs(1..2)), HOUR).expect("its own").is_accepted());
    }

    fn s8_of_many_threads_the_newest_record_stays_with_exactly_its_addresses(backend) {
        let place = Place::new(backend);
        let peers = place.peers();
        let rounds: usize = crate::common::repeats(10);
        for round in 0..rounds {
            let records: Vec<Vec<u8>> = (1..=8_usize)
                .map(|seq| signed(&key(1), (round * 8 + seq) as u64, &addrs(seq..seq + 2)))
                .collect();
            std::thread::scope(|scope| {
                for record in &records {
                    scope.spawn(move || peers.consume_record(record, HOUR).expect("holds"));
                }
            });
            assert_addrs(peers, peer(1), &addrs(8..10));
            let last = peers.record(peer(1)).expect("readable");
            assert_eq!(last.as_deref(), records.last().map(Vec::as_slice), "round {round}");
        }
    }

    fn s9_records_are_bounded_in_number_and_size(backend) {
        let options = Options::default().signed_records_max(2).signed_record_bytes_max(2_000);
        let place = Place::with(backend, options);
        let peers = place.peers();
        for number in 1..3 {
            peers.consume_record(&signed(&key(number), 1, &addrs(0..1)), HOUR).expect("holds");
        }
        let third = signed(&key(3), 1, &addrs(0..1));
        let refused = peers.consume_record(&third, HOUR).expect_err("two are there");
        assert_eq!(refused.kind(), ErrorKind::TooMany);
        assert!(!peers.has_peer(peer(3)));
        peers.consume_record(&signed(&key(2), 2, &addrs(0..1)), HOUR).expect("in place of its own");
        peers.forget_peer(peer(1)).expect("forgotten");
        peers.consume_record(&third, HOUR).expect("now there is room");
        let long = signed(&key(3), 2, &addrs(0..200));
        let refused = peers.consume_record(&long, HOUR).expect_err("too long");
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
    }

    /// Of one message no more addresses are taken than of an unsigned one, however many a record holds.
    fn of_a_record_that_identify_brings_as_many_addresses_are_taken_as_of_a_list(backend) {
        let place = Place::with(backend, Options::default().addresses_max(0));
        let peers = place.peers();
        peers.connected(peer(1), Some(&addr(0))).expect("connected");
        for seq in 1..4 {
            let from = usize::try_from(seq).expect("small") * 100;
            let record = signed(&key(1), seq, &addrs(from..from + 2_000));
            let told = Identified { record: Some(&record), ..Identified::default() };
            peers.identified(peer(1), &told).expect("told");
            let found = peers.addresses(peer(1)).expect("readable");
            let certified = found.iter().filter(|address| address.certified).count();
            assert_eq!((found.len(), certified), (500, 500), "seq {seq}");
            assert_eq!(peers.record(peer(1)).expect("readable").as_deref(), Some(&record[..]));
        }
        // Where the caller chose another limit, a record by itself is taken up to it.
        let record = signed(&key(2), 1, &addrs(0..2_000));
        peers.consume_record(&record, Ttl::CONNECTED).expect("holds");
        assert_eq!(peers.addrs(peer(2)).expect("readable").len(), 2_000, "0 is no limit");
        let place = Place::with(backend, Options::default().addresses_max(50));
        place.peers().consume_record(&record, Ttl::CONNECTED).expect("holds");
        assert_eq!(place.peers().addrs(peer(2)).expect("readable").len(), 500);
    }

    fn s10_the_own_record_is_kept(backend) {
        let mut place = Place::new(backend);
        assert_eq!(place.peers().local_record().expect("readable"), None);
        let record = signed(&key(1), 1, &addrs(0..1));
        place.peers().set_local_record(&record).expect("set");
        assert!(place.peers().set_local_record(b"nonsense").is_err());
        if place.lasts() {
            place.reopen();
        }
        let found = place.peers().local_record().expect("readable");
        assert_eq!(found.as_deref(), Some(&record[..]));
        assert_eq!(place.peers().count(), 0, "it is no peer");
    }

    fn s11_the_legacy_domain_is_taken_only_if_asked_for(backend) {
        let place = Place::new(backend);
        assert!(place.peers().consume_record(&legacy(&key(1)), HOUR).is_err());
        let place = Place::with(backend, Options::default().legacy_records(true));
        let taken = place.peers().consume_record(&legacy(&key(1)), HOUR).expect("holds");
        assert_eq!(taken, Consumed::Accepted);
        let standard = signed(&key(1), u64::MAX, &addrs(0..1));
        assert!(place.peers().consume_record(&standard, HOUR).expect("holds").is_accepted());
    }
}

/// Eight threads, a thousand runs: each with its own seq, in any order; what stays is always the newest and its own.
#[test]
fn s8_of_eight_threads_a_thousand_times_the_newest_record_stays() {
    const THREADS: usize = 8;
    let runs: usize = 1_000;
    let place = Place::new(crate::support::Backend::Peercask);
    let peers = place.peers();
    let records: Vec<Vec<u8>> = (0..runs * THREADS)
        .map(|at| signed(&key(1), at as u64 + 1, &addrs(at % 50..at % 50 + 2)))
        .collect();
    let (records, turn) = (&records, &std::sync::Barrier::new(THREADS));
    let (taken, wrong) = (
        &std::sync::atomic::AtomicUsize::new(0),
        &std::sync::Mutex::new(None),
    );
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for run in 0..runs {
                    // Another thread has the newest in each run.
                    let at = run * THREADS + (thread + run) % THREADS;
                    turn.wait();
                    let consumed = peers.consume_record(&records[at], HOUR);
                    let accepted = consumed.is_ok_and(Consumed::is_accepted);
                    taken.fetch_add(usize::from(accepted), std::sync::atomic::Ordering::Relaxed);
                    turn.wait();
                    let last = run * THREADS + THREADS - 1;
                    let expected = addrs(last % 50..last % 50 + 2);
                    let found = (
                        crate::support::sorted(peers, peer(1)),
                        peers.record(peer(1)).ok().flatten(),
                    );
                    if found.0 != expected || found.1.as_deref() != Some(&records[last][..]) {
                        // A panic here would leave the others at the barrier for ever.
                        *wrong.lock().expect("nobody panics") = Some((run, found));
                    }
                }
            });
        }
    });
    assert_eq!(*wrong.lock().expect("nobody panicked"), None);
    let taken = taken.load(std::sync::atomic::Ordering::Relaxed);
    assert!((runs..=runs * THREADS).contains(&taken), "{taken}");
}

#[test]
fn no_bit_of_an_envelope_may_be_other_and_no_bytes_make_it_panic() {
    let place = Place::new(crate::support::Backend::Memory);
    let peers = place.peers();
    let record = signed(&key(1), 9, &addrs(0..2));
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = peers.consume_record(&flipped, HOUR).expect_err("flipped");
        assert_eq!(refused.kind(), ErrorKind::InvalidRecord, "bit {bit}");
    }
    for cut in 0..record.len() {
        assert!(
            peers.consume_record(&record[..cut], HOUR).is_err(),
            "cut at {cut}"
        );
    }
    for seed in crate::common::seeds(300) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = record.clone();
        for _ in 0..rng.usize(1..20) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..3) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes.insert(at, rng.u8(..)),
                _ => drop(bytes.remove(at)),
            }
        }
        if bytes != record {
            assert!(peers.consume_record(&bytes, HOUR).is_err(), "seed {seed}");
        }
    }
    assert_eq!(peers.count(), 0);
}
