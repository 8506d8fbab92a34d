//! How the log grows while nothing new is heard, and what stays of it when much is.

use std::time::Duration;

use peercask::crash::{Background, SimDisk};
use peercask_peerstore::libp2p::{Options, Peer, Peerstore, Ttl};

use crate::durability::quiet;
use crate::support::{Backend, Place, addrs};

/// Twenty peers, heard of twenty thousand times in a quarter of an hour.
#[test]
fn identical_adds_grow_the_log_by_less_than_a_hundredth_of_what_each_would_write() {
    let written = |options: Options, calls: u32| {
        let place = Place::with(Backend::Peercask, options);
        let add = |number: u32| {
            let who = Peer::from_bytes(&(number % 20).to_le_bytes()).expect("short");
            place
                .peers()
                .add_addrs(who, &addrs(0..5), Ttl::ADDRESS)
                .expect("added");
        };
        (0..20).for_each(add);
        let before = place.peers().stats().datastore.written_bytes;
        for number in 0..calls {
            place.sleep(Duration::from_millis(50));
            add(number);
        }
        place.peers().stats().datastore.written_bytes - before
    };
    let ours = written(Options::default(), 20_000);
    let each = written(Options::default().refresh_slack(Duration::ZERO), 2_000) * 10;
    assert!(ours > 0, "beyond the slack it is written");
    assert!(ours * 100 < each, "{ours} bytes, {each} if each is written");
}

/// Each peer is written twenty times over; the engine's worker, whose steps are its own, gives back what died.
#[test]
fn after_each_peer_was_written_twenty_times_the_store_holds_no_more_than_twice_what_lives() {
    let disk = SimDisk::new(6);
    let engine = peercask::Options::default()
        .background(false)
        .segment_bytes(32 << 10);
    let store = peercask::Store::open_on(&disk, engine).expect("opened");
    let peers = Peerstore::on(&store, quiet()).expect("opened");
    let (mut written, mut stats) = (0, peers.stats().datastore);
    for round in 0..20_u64 {
        for number in 0..600_u32 {
            let who = Peer::from_bytes(&number.to_le_bytes()).expect("short");
            let ttl = Ttl::from_millis(7_200_000 + round);
            peers.set_addrs(who, &addrs(0..5), ttl).expect("set");
        }
        for _ in 0..40 {
            store.background_step(Background::Work).expect("a step");
        }
        stats = peers.stats().datastore;
        written = written.max(stats.written_bytes);
    }
    assert!(written > 10 * stats.live_bytes, "{stats:?}");
    assert!(stats.disk_bytes <= 2 * stats.live_bytes, "{stats:?}");
    assert_eq!(peers.count(), 600);
}
