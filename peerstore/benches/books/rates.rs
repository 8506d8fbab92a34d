//! Calls a second: the books on each datastore, beside a map behind a lock.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use peercask_peerstore::libp2p::{Peer, Peerstore, Ttl};

use crate::measure::{Rate, rate};
use crate::{addresses, peer, quiet, scattered};

const NAMES: [&str; 5] = [
    "add, new",
    "add again, same",
    "set, other ttl",
    "read one of all",
    "read one of 1,000",
];
/// As many peers as SQLite is asked to hold.
#[cfg(feature = "sqlite")]
const FEW: u32 = 100_000;

type Rates = [Rate; NAMES.len()];

/// Per second, and in brackets nanoseconds of processor time a call; then the ratios.
pub(crate) fn of_all(dir: &Path, count: u32) {
    println!("calls a second (nanoseconds of processor time a call)\n");
    println!("| | {} |", NAMES.join(" | "));
    println!("|---|---:|---:|---:|---:|---:|");
    let plain = row("a map behind a lock", map(count));
    let memory = Peerstore::in_memory(quiet()).expect("opened");
    row("books in memory", rates(&memory, count));
    drop(memory);
    let peers = Peerstore::open(dir.join("rates"), quiet()).expect("opened");
    let ours = row("books on Peercask", rates(&peers, count));
    peers.close().expect("closed");
    #[cfg(feature = "sqlite")]
    let (few, sqlite) = {
        use peercask_peerstore::libp2p::SqliteDatastore;
        let few = count.min(FEW);
        let peers = Peerstore::open(dir.join("few"), quiet()).expect("opened");
        let ours = row(
            &format!("books on Peercask, {few} peers"),
            rates(&peers, few),
        );
        peers.close().expect("closed");
        let data = SqliteDatastore::open(dir.join("books.db")).expect("opened");
        let peers = Peerstore::with(data, quiet()).expect("opened");
        let name = format!("books on SQLite, {few} peers");
        (ours, row(&name, rates(&peers, few)))
    };
    println!("\ntimes as many calls a second\n");
    println!("| | {} |", NAMES.join(" | "));
    println!("|---|---:|---:|---:|---:|---:|");
    ratio("Peercask to the map", &ours, &plain);
    #[cfg(feature = "sqlite")]
    ratio("Peercask to SQLite", &few, &sqlite);
}

fn row(name: &str, rates: Rates) -> Rates {
    let cells: Vec<String> = rates.iter().map(Rate::text).collect();
    println!("| {name} | {} |", cells.join(" | "));
    rates
}

fn ratio(name: &str, ours: &Rates, other: &Rates) {
    let pairs = ours.iter().zip(other);
    let cells: Vec<String> = pairs
        .map(|(ours, other)| format!("{:.2}", ours.per_second / other.per_second))
        .collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn rates(peers: &Peerstore, count: u32) -> Rates {
    let told = |number: u32| (peer(number), addresses(number));
    let add = |_, (who, addrs): (Peer, Vec<Multiaddr>)| {
        peers.add_addrs(who, &addrs, Ttl::ADDRESS).expect("added");
    };
    let set = |number: u32, (who, addrs): (Peer, Vec<Multiaddr>)| {
        let ttl = Ttl::from_millis(7_200_000 + u64::from(number % 7));
        peers.set_addrs(who, &addrs, ttl).expect("set");
    };
    let read = |_, who: Peer| drop(black_box(peers.addrs(who).expect("readable")));
    [
        rate(count, told, add),
        rate(count, told, add),
        rate(count, told, set),
        rate(count, |number| peer(scattered(number, count)), read),
        rate(count, |number| peer(number % 1_000), read),
    ]
}

/// What a program would write in a minute: a map behind a lock, expiries beside the addresses.
fn map(count: u32) -> Rates {
    let map: Mutex<HashMap<Peer, Vec<(Multiaddr, Instant)>>> = Mutex::default();
    let told = |number: u32| (peer(number), addresses(number));
    let add = |_, (who, addrs): (Peer, Vec<Multiaddr>)| {
        let until = Instant::now() + Duration::from_secs(3_600);
        let mut map = map.lock().expect("nobody panics");
        let known = map.entry(who).or_default();
        for addr in &addrs {
            match known.iter_mut().find(|(found, _)| found == addr) {
                Some((_, expiry)) => *expiry = until,
                None => known.push((addr.clone(), until)),
            }
        }
    };
    let read = |_, who: Peer| {
        let (now, map) = (Instant::now(), map.lock().expect("nobody panics"));
        let found = map.get(&who).into_iter().flatten();
        let live = found
            .filter(|(_, expiry)| *expiry > now)
            .map(|(addr, _)| addr.clone());
        black_box(live.collect::<Vec<_>>());
    };
    [
        rate(count, told, add),
        rate(count, told, add),
        rate(count, told, add),
        rate(count, |number| peer(scattered(number, count)), read),
        rate(count, |number| peer(number % 1_000), read),
    ]
}
