//! The saved directory: a store that was opened from it is the store that reading all records makes; it is void from
//! the first change, whatever crashes; and where it is in doubt, the records are read.

use std::cell::Cell;
use std::collections::BTreeSet;

use libp2p_identity::Keypair;
use peercask::crash::{Cut, Explorer, SimDisk};
use peercask_peerstore::libp2p::{
    Acknowledge, ErrorKind, Options, Peer, Peerstore, PrivateKeys, Stats, Ttl,
};

use crate::common::seeds;
use crate::durability::{quiet, tell, told};
use crate::support::{Backend, Place, addr, addrs, each_backend, key, peer, seconds, signed};

/// A directory is saved however few peers there are.
fn saving(options: Options) -> Options {
    options.image_peers_min(0)
}

fn named(number: u32) -> Peer {
    Peer::from_bytes(&number.to_le_bytes()).expect("short")
}

/// A change of one peer that shows in what is saved.
fn say(peers: &Peerstore, who: Peer, number: u64) -> peercask_peerstore::libp2p::Result<()> {
    peers.update(who, |peer| {
        peer.add_addrs(&addrs(0..1), Ttl::PERMANENT);
        peer.set_protocols(&[format!("/{number}")])
    })
}

/// Everything that is known without looking at a record, and what an index of it answers.
type Picture = (
    BTreeSet<Peer>,
    Vec<BTreeSet<Peer>>,
    Vec<BTreeSet<Peer>>,
    Stats,
);

fn picture(peers: &Peerstore) -> Picture {
    let lists = [
        peers.peers().collect(),
        peers.peers_with_addrs().collect(),
        peers.peers_with_keys().collect(),
    ];
    let speakers = (0..6).map(|number| {
        let found = peers.peers_with_protocol(&format!("/{number}"));
        found.expect("readable").into_iter().collect()
    });
    let speakers = speakers.collect();
    let stats = peers.stats();
    let mut known = Stats::default();
    known.peers = stats.peers;
    known.addresses = stats.addresses;
    known.pinned = stats.pinned;
    known.certified = stats.certified;
    known.signed_records = stats.signed_records;
    known.gc_indexed = stats.gc_indexed;
    known.addresses_expired = stats.addresses_expired;
    known.peers_expired = stats.peers_expired;
    known.peers_evicted = stats.peers_evicted;
    (peers.all_peers().collect(), lists.into(), speakers, known)
}

/// Peers of every kind, by chance.
fn fill(peers: &Peerstore, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..250 {
        let who = named(number);
        let life = Ttl::from(seconds(random.u64(1..200)));
        let some = random.usize(0..6);
        match random.u8(0..10) {
            0 => peers.connected(who, Some(&addr(some))),
            1 => peers.add_addrs(who, &addrs(0..some), Ttl::PERMANENT),
            2 => peers.set_tag(who, "keep-alive", 1, life),
            3 => peers.record_latency(who, seconds(1)),
            4 => peers.set_ttl_on_disconnect(who, Some(life)),
            _ => peers.add_addrs(who, &addrs(0..some), life),
        }
        .expect("changed");
        if random.u8(0..3) == 0 {
            let spoken = [0; 3].map(|_| format!("/{}", random.u8(0..6)));
            peers.add_protocols(who, &spoken).expect("added");
        }
        if random.u8(0..8) == 0 {
            peers.forget_peer(who).expect("forgotten");
        }
    }
    for number in 1..20 {
        let pair = key(number);
        let record = signed(&pair, 1, &addrs(0..2));
        let life = Ttl::from(seconds(random.u64(1..200)));
        peers.consume_record(&record, life).expect("holds");
        if number % 3 == 0 {
            peers.add_private_key(peer(number), &pair).expect("added");
        }
    }
    let long = Peer::from_bytes(&[7; 72]).expect("short enough");
    for who in [Peer::EMPTY, long] {
        peers
            .add_addrs(who, &addrs(0..2), Ttl::ADDRESS)
            .expect("added");
    }
    let secret = libp2p_identity::secp256k1::SecretKey::try_from_bytes([5; 32]);
    let pair = libp2p_identity::secp256k1::Keypair::from(secret.expect("a key"));
    let pair = Keypair::from(pair);
    let id = pair.public().to_peer_id();
    peers.add_public_key(id, &pair.public()).expect("added");
}

each_backend! {
    /// Two stores of the same history, of which one is opened from what was saved and the other from its records,
    /// go the same way: what is listed, who is due and when, who goes for whom.
    fn a_store_that_was_opened_from_its_image_is_the_one_that_reading_all_records_makes(backend) {
        for seed in seeds(4) {
            let limited = if seed % 2 == 0 { 0 } else { 280 };
            let options = || {
                saving(Options::default().peers_max(limited))
                    .private_keys(PrivateKeys::Plain)
                    .peer_age_max(seconds(150))
            };
            let mut places = [Place::with(backend, options()), Place::with(backend, options())];
            if !places[0].lasts() {
                return;
            }
            for place in &mut places {
                fill(place.peers(), seed);
                place.close();
                place.sleep(seconds(20));
            }
            let [saved, read] = &mut places;
            saved.reopen();
            read.reopen_with(read.options().strict(true));
            assert!(saved.peers().stats().opened_from_image, "seed {seed}");
            assert!(!read.peers().stats().opened_from_image);
            assert_eq!(picture(saved.peers()), picture(read.peers()), "seed {seed}");
            for round in 0..12 {
                for place in [&*saved, &*read] {
                    place.sleep(seconds(20));
                    place.peers().gc().expect("removed");
                    for number in 0..10 {
                        let who = named(10_000 + round * 10 + number);
                        place.peers().add_addrs(who, &addrs(0..1), Ttl::ADDRESS).expect("added");
                    }
                }
                assert_eq!(picture(saved.peers()), picture(read.peers()), "seed {seed}, {round}");
            }
            for who in saved.peers().all_peers() {
                let of = |place: &Place| place.peers().get(who).expect("readable");
                assert_eq!(of(saved), of(read), "seed {seed}");
            }
        }
    }

    /// Nothing was changed: what was saved stands, and is not written again. Something was: it is void.
    fn what_was_saved_stands_until_the_first_change(backend) {
        let mut place = Place::with(backend, saving(Options::default()));
        if !place.lasts() {
            return;
        }
        place.peers().add_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("added");
        place.reopen();
        for _ in 0..3 {
            let peers = place.peers();
            assert!(peers.stats().opened_from_image);
            assert_eq!(peers.addrs(peer(1)).expect("readable").len(), 2);
            assert_eq!(peers.gc().expect("nothing is due").slices, 0);
            place.reopen();
        }
        let before = place.peers().stats().datastore.writes;
        place.peers().add_addrs(peer(2), &addrs(0..1), Ttl::ADDRESS).expect("added");
        place.peers().add_addrs(peer(3), &addrs(0..1), Ttl::ADDRESS).expect("added");
        let after = place.peers().stats().datastore.writes;
        // Two peers; header and part went, once.
        assert!(backend == Backend::Memory || after == 0 || after - before == 4, "{after}");
        place.reopen();
        assert!(place.peers().stats().opened_from_image);
        assert_eq!(place.peers().count(), 3);
    }

    /// Options on which it depends, a clock that stepped back, few peers, a caller who wants all looked at.
    fn what_does_not_fit_is_not_used(backend) {
        let mut place = Place::with(backend, saving(Options::default()).peer_age_max(seconds(100)));
        if !place.lasts() {
            return;
        }
        place.peers().add_addrs(peer(1), &addrs(0..2), Ttl::ADDRESS).expect("added");
        place.peers().set_protocols(peer(2), &["/1"]).expect("set");
        place.close();
        let base = place.options();
        for (other, fits) in [
            (base.clone(), true),
            (base.clone().strict(true), false),
            (base.clone().peer_age_max(seconds(101)), false),
            (base.clone().peers_max(10), false),
            (base.clone().own_id(Some(peer(9))), false),
            (base.clone().events_max(7), true),
            (base.clone().image_peers_min(1_000), true),
            (base.clone().image_peers_min(u64::MAX), false),
        ] {
            let peers = place.opened(other.clone()).expect("opened");
            assert_eq!(peers.stats().opened_from_image, fits, "{other:?}");
            assert_eq!(peers.count(), 2);
            peers.close().expect("closed");
        }
        let earlier = peercask::ManualClock::new(crate::support::NOW_MS - 1);
        let peers = place.opened(base.clone().clock(std::sync::Arc::new(earlier))).expect("opened");
        assert!(!peers.stats().opened_from_image, "the clock stepped back");
        peers.close().expect("closed");
        place.reopen_with(base.clone().image_peers_min(3));
        place.peers().set_protocols(peer(2), &["/2"]).expect("set");
        place.reopen();
        assert!(!place.peers().stats().opened_from_image, "two peers are few");
        place.peers().set_protocols(peer(3), &["/2"]).expect("set");
        place.reopen();
        assert!(place.peers().stats().opened_from_image, "three are not");
    }

    /// Nobody is connected after a restart, whichever way it was opened.
    fn t20_holds_for_what_was_saved(backend) {
        let mut place = Place::with(backend, saving(Options::default()));
        if !place.lasts() {
            return;
        }
        for who in 1..=3 {
            place.peers().connected(peer(who), Some(&addr(0))).expect("connected");
        }
        place.peers().add_addrs(peer(3), &addrs(1..2), Ttl::PERMANENT).expect("added");
        place.reopen();
        assert!(place.peers().stats().opened_from_image);
        place.sleep(seconds(15 * 60 - 1));
        assert_eq!(place.peers().peers_with_addrs().count(), 3);
        place.sleep(seconds(1));
        let left: Vec<Peer> = place.peers().peers_with_addrs().collect();
        assert_eq!(left, [peer(3)]);
        assert_eq!(place.peers().stats().pinned, 1);
    }
}

/// After every legal crash of three openings that change something, of which each closes and saves: a store that is
/// opened from what was saved is the one that its records make, and has all that was acknowledged.
#[test]
fn after_any_legal_crash_what_was_saved_holds_or_is_not_used() {
    let (used, read) = (Cell::new(0), Cell::new(0));
    let engine = || {
        peercask::Options::default()
            .background(false)
            .sync_interval(None)
    };
    for seed in seeds(1) {
        let report = Explorer::new().seed(seed).states(400).explore(
            |run| {
                let store = run.open(engine())?;
                for number in 1..=3_u64 {
                    let options = saving(quiet()).acknowledge(Acknowledge::Kernel);
                    let peers = Peerstore::on(&store, options)?;
                    tell(&peers, peer(1), number)?;
                    say(&peers, named(u32::try_from(number)?), number)?;
                    peers.close()?;
                    run.note(number);
                }
                Ok(())
            },
            |crashed| {
                let store = crashed.open(engine())?;
                // Once as it comes, and once with all records read.
                let peers = Peerstore::on(&store, saving(quiet()))?;
                let counter = if peers.stats().opened_from_image {
                    &used
                } else {
                    &read
                };
                counter.set(counter.get() + 1);
                let found = picture(&peers);
                let number = told(peers.get(peer(1))?.as_ref())?;
                peers.close()?;
                let peers = Peerstore::on(&store, quiet().strict(true))?;
                if picture(&peers) != found {
                    return Err(format!("{found:?}, but {:?}", picture(&peers)).into());
                }
                let least = crashed.notes().last().copied().unwrap_or(0);
                if !(least..=3).contains(&number) {
                    return Err(format!("{number} is there, {least} was told").into());
                }
                Ok(())
            },
        );
        report.assert_survived(300);
    }
    // Both ways were gone.
    assert!(used.get() > 20 && read.get() > 20, "{used:?} {read:?}");
}

/// Killed after the first change, and at no time before: what was saved is not believed.
#[test]
fn after_a_kill_the_records_are_read() {
    let disk = SimDisk::new(4);
    let engine = || peercask::Options::default().background(false);
    let open = |disk: &SimDisk| {
        let store = peercask::Store::open_on(disk, engine()).expect("opened");
        (
            Peerstore::on(&store, saving(quiet())).expect("opened"),
            store,
        )
    };
    let (peers, store) = open(&disk);
    tell(&peers, peer(1), 1).expect("told");
    peers.close().expect("closed");
    store.close().expect("closed");
    let (peers, _store) = open(&disk);
    assert!(peers.stats().opened_from_image);
    let (killed, _) = open(&disk.crash(&Cut::Kill));
    assert!(killed.stats().opened_from_image, "nothing was changed");
    tell(&peers, peer(2), 2).expect("told");
    let (killed, _) = open(&disk.crash(&Cut::Kill));
    assert!(!killed.stats().opened_from_image);
    assert_eq!(killed.count(), 2);
    assert_eq!(told(killed.get(peer(2)).expect("readable").as_ref()), Ok(2));
}

/// What stands in the meta keyspace is taken away, cut, or another's: all records are read, and nothing is lost.
#[test]
fn an_image_in_doubt_is_not_used() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = || peercask::Options::default().background(false);
    let store = peercask::Store::open(dir.path(), engine()).expect("opened");
    let open = || Peerstore::on(&store, saving(quiet())).expect("opened");
    let part = |number: u32| [b"image-part".as_slice(), &number.to_le_bytes()].concat();
    let meta = || store.existing_keyspace("libp2p-meta").expect("there");
    let bytes = |key: &[u8]| meta().get(key).expect("readable").expect("there").to_vec();
    let times = Cell::new(0_u64);
    let save = || {
        let peers = open();
        for number in 0..40 {
            say(&peers, named(number), u64::from(number)).expect("told");
        }
        times.set(times.get() + 1);
        peers
            .put_metadata(named(0), "times", times.get())
            .expect("put");
        peers.close().expect("closed");
    };
    save();
    let old_part = bytes(&part(0));
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 1].to_vec();
    let spoil: [(&str, &dyn Fn()); 7] = [
        ("a part is missing", &|| {
            assert!(meta().delete(part(3)).expect("deleted"))
        }),
        ("a part is of another image", &|| {
            meta().put(part(0), &old_part).expect("put")
        }),
        ("a part is cut", &|| {
            meta().put(part(1), cut(bytes(&part(1)))).expect("put")
        }),
        ("the header is cut", &|| {
            meta().put("image", cut(bytes(b"image"))).expect("put")
        }),
        ("a newer version wrote it", &|| {
            meta().put("image", [9, 9]).expect("put")
        }),
        ("a part is of a newer version", &|| {
            meta().put(part(2), [9, 9]).expect("put")
        }),
        ("a record went beneath it", &|| {
            let addresses = store.existing_keyspace("libp2p-addresses").expect("there");
            addresses.delete(named(7).as_bytes()).expect("deleted");
        }),
    ];
    for (what, spoil) in spoil {
        save();
        let peers = open();
        assert!(peers.stats().opened_from_image);
        peers.close().expect("closed");
        spoil();
        let peers = open();
        assert!(!peers.stats().opened_from_image, "{what}");
        let left = if what.contains("record went") { 39 } else { 40 };
        assert_eq!(
            (peers.count(), peers.all_peers().count() as u64),
            (left, left),
            "{what}"
        );
        assert_eq!(
            peers.peers_with_protocol("/5").expect("readable"),
            [named(5)]
        );
        peers.close().expect("closed");
        // Nothing was changed, so nothing was saved anew; the first change clears it away.
        assert!(!open().stats().opened_from_image, "{what}");
    }
}

/// What opening reads after a close is the header and a part for each shard; what it reads after a kill is everything.
/// What is listed and counted then is not read at all.
#[test]
fn opening_after_a_close_reads_no_record_and_listing_reads_nothing() {
    let data = crate::slices::Watched::default();
    let open = |options: Options| Peerstore::with(data.clone(), options).expect("opened");
    let peers = open(saving(quiet()));
    for number in 0..3_000 {
        say(&peers, named(number), 1).expect("told");
    }
    data.forget();
    let killed = open(saving(quiet()));
    assert_eq!(
        (killed.count(), data.queries()),
        (3_000, 2),
        "after a kill two passes"
    );
    drop(killed);
    peers.put_metadata(named(1), "a", 1_u64).expect("put");
    peers.close().expect("closed");
    data.forget();
    let peers = open(saving(quiet()));
    assert!(peers.stats().opened_from_image);
    // The version of the books, the header, and a part of each of 64 shards.
    assert_eq!((data.reads(), data.queries()), (66, 0));
    data.forget();
    assert_eq!(peers.all_peers().count(), 3_000);
    assert_eq!(peers.peers_with_addrs().count(), 3_000);
    assert_eq!(peers.peers_with_protocol("/1").expect("known").len(), 3_000);
    assert!(peers.has_peer(named(7)) && peers.count() == 3_000);
    assert_eq!((data.reads(), data.queries()), (0, 0));
}

/// A record that rotted while the store was closed is met when it is read: an error that is counted, and the next
/// opening looks at all of them.
#[test]
fn damage_that_opening_did_not_see_is_told_by_the_read_and_by_the_next_opening() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = || peercask::Options::default().background(false);
    let store = peercask::Store::open(dir.path(), engine()).expect("opened");
    let open = || Peerstore::on(&store, saving(quiet())).expect("opened");
    let peers = open();
    for number in 0..10 {
        tell(&peers, peer(number), 2).expect("told");
    }
    peers.close().expect("closed");
    let addresses = store.existing_keyspace("libp2p-addresses").expect("there");
    addresses.put(peer(3).as_bytes(), [1, 255, 7]).expect("put");
    let peers = open();
    assert!(peers.stats().opened_from_image && peers.damaged().is_empty());
    assert_eq!(
        peers.addrs(peer(3)).expect_err("cut").kind(),
        ErrorKind::Corrupted
    );
    assert!(peers.stats().unreadable > 0);
    assert_eq!(told(peers.get(peer(4)).expect("readable").as_ref()), Ok(2));
    tell(&peers, peer(4), 4).expect("told");
    peers.close().expect("closed");
    let peers = open();
    assert!(!peers.stats().opened_from_image);
    assert_eq!((peers.damaged().len(), peers.count()), (1, 9));
}

/// A store that is opened, changed and closed over and over does not keep what each of its closes saved.
#[test]
fn restarts_that_change_something_do_not_make_the_store_grow() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = peercask::Options::default().segment_bytes(256 << 10);
    let open = || {
        let options = saving(Options::default()).engine(engine.clone());
        Peerstore::open(dir.path().join("store"), options).expect("opened")
    };
    let peers = open();
    for number in 0..4_000 {
        peers
            .add_addrs(named(number), &addrs(0..2), Ttl::ADDRESS)
            .expect("added");
    }
    peers.close().expect("closed");
    let mut most = 0.0_f64;
    for round in 0..40 {
        let peers = open();
        assert_eq!(peers.count(), 4_000 + round);
        let who = named(100_000 + u32::try_from(round).expect("small"));
        peers
            .add_addrs(who, &addrs(0..1), Ttl::ADDRESS)
            .expect("added");
        let stats = peers.stats().datastore;
        most = most.max(stats.disk_bytes as f64 / stats.live_bytes as f64);
        peers.close().expect("closed");
    }
    assert!(most < 2.0, "{most} times what lives");
}
