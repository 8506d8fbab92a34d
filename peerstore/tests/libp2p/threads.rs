//! Threads, and chance: nothing is lost, nothing is mixed, nobody waits who only reads, and a plain model agrees.

use std::time::Duration;

use libp2p_core::Multiaddr;
use peercask_peerstore::libp2p::{Identified, MemoryDatastore, Options, Peerstore, Ttl};

use crate::common::seeds;
use crate::durability::{quiet, tell, told};
use crate::support::{
    Backend, Hooked, Place, addr, addrs, assert_addrs, key, peer, seconds, signed,
};

#[test]
fn no_write_of_many_threads_is_lost_whatever_the_cache() {
    for (cache_bytes, backend) in [
        (0, Backend::Peercask),
        (1, Backend::Peercask),
        (1_024, Backend::Peercask),
    ] {
        let options = Options::default().cache_bytes(cache_bytes).addresses_max(0);
        let mut place = Place::with(backend, options);
        let peers = place.peers();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for number in 0..250 {
                        let one = addrs(thread * 250 + number..thread * 250 + number + 1);
                        peers
                            .add_addrs(peer(1), &one, Ttl::PERMANENT)
                            .expect("added");
                    }
                });
            }
        });
        assert_eq!(
            peers.addrs(peer(1)).expect("readable").len(),
            1_000,
            "{cache_bytes}"
        );
        if place.lasts() {
            place.reopen();
            assert_eq!(place.peers().addrs(peer(1)).expect("readable").len(), 1_000);
        }
    }
}

#[test]
fn a_peer_that_is_read_as_a_whole_is_never_mixed() {
    for backend in [Backend::Peercask, Backend::Cached, Backend::Memory] {
        let place = Place::new(backend);
        let peers = place.peers();
        tell(peers, peer(1), 1).expect("told");
        std::thread::scope(|scope| {
            let writer =
                scope.spawn(move || (2..600).for_each(|n| tell(peers, peer(1), n).expect("told")));
            let mut last = 0;
            while !writer.is_finished() {
                let number = told(peers.get(peer(1)).expect("readable").as_ref()).expect("whole");
                assert!(number >= last, "{number} after {last}");
                last = number;
            }
        });
    }
}

/// T23: connecting, identify and disconnecting replace each other's addresses, and no reader meets the moment between.
#[test]
fn no_reader_meets_a_peer_without_addresses_between_identify_and_disconnect() {
    for backend in [Backend::Peercask, Backend::Cached] {
        let place = Place::new(backend);
        let peers = place.peers();
        peers.connected(peer(1), Some(&addr(0))).expect("connected");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..200 {
                    let from = 1 + round % 7 * 10;
                    let addrs = addrs(from..from + 5);
                    let told = Identified {
                        addrs: &addrs,
                        ..Identified::default()
                    };
                    peers.identified(peer(1), &told).expect("taken");
                    peers
                        .disconnected(peer(1), addrs.first())
                        .expect("disconnected");
                    peers.connected(peer(1), addrs.first()).expect("again");
                }
                over.store(true, std::sync::atomic::Ordering::SeqCst);
            });
            let mut looks = 0_u32;
            while !over.load(std::sync::atomic::Ordering::SeqCst) || looks == 0 {
                assert!(!peers.addrs(peer(1)).expect("readable").is_empty());
                assert_eq!(peers.peers_with_addrs().count(), 1);
                looks += 1;
            }
        });
    }
}

#[test]
fn readers_do_not_wait_for_a_write_that_waits_for_the_device() {
    // A datastore whose commits wait until they are let go.
    let gate = std::sync::Arc::new((std::sync::Mutex::new(true), std::sync::Condvar::new()));
    let waits = gate.clone();
    let data = Hooked::new(MemoryDatastore::new(), move |_| {
        let open = waits.0.lock().expect("held by nobody");
        drop(waits.1.wait_while(open, |open| !*open).expect("rung"));
        Ok(())
    });
    let peers = Peerstore::with(data, quiet()).expect("opened");
    peers
        .add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT)
        .expect("added");
    *gate.0.lock().expect("held by nobody") = false;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| peers.add_addrs(peer(1), &addrs(1..2), Ttl::PERMANENT));
        // Until the write is under way.
        std::thread::sleep(Duration::from_millis(20));
        assert_addrs(&peers, peer(1), &addrs(0..1));
        assert!(peers.get(peer(1)).expect("readable").is_some());
        assert_eq!((peers.count(), peers.all_peers().count()), (1, 1));
        assert!(!writer.is_finished());
        *gate.0.lock().expect("held by nobody") = true;
        gate.1.notify_all();
        writer.join().expect("joined").expect("added");
    });
    assert_addrs(&peers, peer(1), &addrs(0..2));
}

/// The books against a plain model, over all kinds of changes, with restarts in between.
#[test]
fn random_changes_match_a_plain_model() {
    seeds(4).for_each(random_changes);
}

/// What a model knows of a peer: address number to ttl and expiry in milliseconds.
type Known = std::collections::BTreeMap<usize, (u64, u64)>;

/// The store holds what the model does.
fn compare(peers: &Peerstore, model: &mut std::collections::BTreeMap<u8, Known>, when: &str) {
    let now_ms = peers.now_ms();
    for (who, known) in model.iter_mut() {
        known.retain(|_, (_, expiry_ms)| now_ms < *expiry_ms);
        let found = peers.addresses(peer(*who)).expect("readable").into_iter();
        let found: std::collections::BTreeMap<Multiaddr, (u64, u64)> = found
            .map(|a| (a.addr, (a.ttl.millis(), a.expiry_ms)))
            .collect();
        let expected: std::collections::BTreeMap<Multiaddr, (u64, u64)> = known
            .iter()
            .map(|(number, life)| (addr(*number), *life))
            .collect();
        assert_eq!(found, expected, "{when}, peer {who}");
    }
    let live = model.values().filter(|known| !known.is_empty()).count();
    assert_eq!(peers.peers_with_addrs().count(), live, "{when}");
}

fn random_changes(seed: u64) {
    {
        let mut rng = fastrand::Rng::with_seed(seed);
        let backend = [Backend::Peercask, Backend::Cached][rng.usize(..2)];
        let mut place = Place::with(backend, Options::default().addresses_max(0));
        let mut model = std::collections::BTreeMap::<u8, Known>::new();
        for step in 0..400 {
            let (who, now_ms) = (rng.u8(..4), place.peers().now_ms());
            let numbers: Vec<usize> = (0..rng.usize(..4)).map(|_| rng.usize(..6)).collect();
            let given: Vec<Multiaddr> = numbers.iter().map(|number| addr(*number)).collect();
            let life_ms = [5_000, 20_000, 60_000][rng.usize(..3)];
            let known = model.entry(who).or_default();
            known.retain(|_, (_, expiry_ms)| now_ms < *expiry_ms);
            let peers = place.peers();
            match rng.u8(..10) {
                0..=3 => {
                    peers
                        .add_addrs(peer(who), &given, Ttl::from_millis(life_ms))
                        .expect("added");
                    for number in numbers {
                        let entry = known.entry(number).or_default();
                        *entry = (entry.0.max(life_ms), entry.1.max(now_ms + life_ms));
                    }
                }
                4 => {
                    peers
                        .set_addrs(peer(who), &given, Ttl::from_millis(life_ms))
                        .expect("set");
                    numbers.into_iter().for_each(|number| {
                        known.insert(number, (life_ms, now_ms + life_ms));
                    });
                }
                5 => {
                    peers
                        .set_addrs(peer(who), &given, Ttl::NONE)
                        .expect("removed");
                    known.retain(|number, _| !numbers.contains(number));
                }
                6 => {
                    let new_ms = [0, 30_000][rng.usize(..2)];
                    let (old, new) = (Ttl::from_millis(life_ms), Ttl::from_millis(new_ms));
                    peers.update_addrs(peer(who), old, new).expect("updated");
                    known.retain(|_, (ttl, expiry_ms)| {
                        if *ttl == life_ms {
                            (*ttl, *expiry_ms) = (new_ms, now_ms + new_ms);
                        }
                        *ttl > 0
                    });
                }
                7 => drop(peers.gc().expect("removed")),
                8 => place.sleep(Duration::from_millis(rng.u64(..15_000))),
                _ if step % 3 == 0 => place.reopen(),
                _ => drop(peers.maintain().expect("kept")),
            }
            compare(
                place.peers(),
                &mut model,
                &format!("seed {seed}, step {step}"),
            );
        }
    }
}

#[test]
fn a_store_is_shared_between_threads_and_the_wait_of_seconds_is_a_number() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Peerstore>();
    assert_eq!(Ttl::from(seconds(2)).millis(), 2_000);
    assert_eq!(
        signed(&key(1), 1, &[]).first(),
        Some(&10),
        "an envelope begins with its key"
    );
}
