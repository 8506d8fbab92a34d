//! The books beside themselves on other datastores and beside a plain map, in one run, so that ratios hold
//! whatever the machine. `cargo bench -p peercask-peerstore --bench books -- [PEERS]`; with
//! `--features sqlite` SQLite too. Prints a table; measures wall time, and memory as the kernel counts it.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use peercask_peerstore::libp2p::{Acknowledge, Options, Peer, Peerstore, Ttl};

const ADDRESSES: usize = 5;
/// Where the child finds the store.
const CHILD: &str = "PEERCASK_BENCH_BOOKS_DIR";

fn main() {
    let asked = std::env::args()
        .skip(1)
        .find_map(|word| word.parse::<u32>().ok());
    let count = asked.unwrap_or(100_000);
    if let Some(dir) = std::env::var_os(CHILD) {
        // A process of its own, whose memory is that of one store.
        return whole_life(Path::new(&dir), count);
    }
    println!("{count} peers, {ADDRESSES} addresses each\n");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let rows = [
        ("map", map(count)),
        ("books in memory", books(count, Peerstore::in_memory)),
        (
            "books on Peercask, 16 MiB cache",
            books(count, |options| {
                Peerstore::open(dir.path().join("cached"), options)
            }),
        ),
        (
            "books on Peercask, no cache",
            books(count, |options| {
                Peerstore::open(dir.path().join("cacheless"), options.cache_bytes(0))
            }),
        ),
    ];
    println!("| | add, new /s | add again, same /s | read one of all /s | read one of 1,000 /s |");
    println!("|---|---:|---:|---:|---:|");
    for (name, rates) in &rows {
        print_row(name, rates);
    }
    #[cfg(feature = "sqlite")]
    print_row("books on SQLite", &sqlite(dir.path(), count.min(20_000)));
    let child = std::env::current_exe().map(|exe| {
        let mut child = std::process::Command::new(exe);
        child.arg(count.to_string()).env(CHILD, dir.path()).status()
    });
    child.expect("found itself").expect("ran");
    synced(dir.path());
    identical(dir.path());
}

fn print_row(name: &str, rates: &[f64; 4]) {
    let cells: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn peer(number: u32) -> Peer {
    // As long as an Ed25519 id, and as unlike its neighbours.
    let mut bytes = vec![0, 36, 8, 1, 18, 32];
    let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..4_u64).for_each(|part| bytes.extend((mixed ^ part).to_le_bytes()));
    Peer::from_bytes(&bytes).expect("short")
}

fn addresses(number: u32) -> Vec<Multiaddr> {
    let [a, b, c, _] = number.to_le_bytes();
    let all = [
        format!("/ip4/10.{a}.{b}.{c}/tcp/4001"),
        format!("/ip4/10.{a}.{b}.{c}/udp/4001/quic-v1"),
        format!("/ip4/172.16.{a}.{b}/tcp/4001"),
        format!("/ip6/2001:db8:{a:x}:{b:x}::{c:x}/tcp/4001"),
        format!("/ip6/2001:db8:{a:x}:{b:x}::{c:x}/udp/4001/quic-v1"),
    ];
    all.iter()
        .take(ADDRESSES)
        .map(|text| text.parse().expect("an address"))
        .collect()
}

/// Calls a second, of calls with numbers from 0.
fn rate(count: u32, mut call: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..count).for_each(&mut call);
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// A number anywhere below a count, the same in each run.
fn scattered(number: u32, count: u32) -> u32 {
    u32::try_from(u64::from(number) * 2_654_435_761 % u64::from(count)).expect("below the count")
}

/// What a program would write in a minute: a map behind a lock, expiries beside the addresses.
fn map(count: u32) -> [f64; 4] {
    let map: Mutex<HashMap<Peer, Vec<(Multiaddr, Instant)>>> = Mutex::default();
    let add = |number: u32| {
        let until = Instant::now() + Duration::from_secs(3_600);
        let mut map = map.lock().expect("nobody panics");
        let known = map.entry(peer(number)).or_default();
        for addr in addresses(number) {
            match known.iter_mut().find(|(found, _)| *found == addr) {
                Some((_, expiry)) => *expiry = until,
                None => known.push((addr, until)),
            }
        }
    };
    let read = |number: u32| {
        let (now, map) = (Instant::now(), map.lock().expect("nobody panics"));
        let found = map.get(&peer(number)).into_iter().flatten();
        let live = found
            .filter(|(_, expiry)| *expiry > now)
            .map(|(addr, _)| addr.clone());
        black_box(live.collect::<Vec<_>>());
    };
    [
        rate(count, add),
        rate(count, add),
        rate(count, |number| read(scattered(number, count))),
        rate(count, |number| read(number % 1_000)),
    ]
}

fn books(
    count: u32,
    open: impl Fn(Options) -> peercask_peerstore::libp2p::Result<Peerstore>,
) -> [f64; 4] {
    let peers = open(Options::default()).expect("opened");
    let rates = rates(&peers, count);
    peers.close().expect("closed");
    rates
}

fn rates(peers: &Peerstore, count: u32) -> [f64; 4] {
    let add = |number: u32| {
        peers
            .add_addrs(peer(number), &addresses(number), Ttl::ADDRESS)
            .expect("added")
    };
    let read = |number: u32| drop(black_box(peers.addrs(peer(number)).expect("readable")));
    [
        rate(count, add),
        rate(count, add),
        rate(count, |number| read(scattered(number, count))),
        rate(count, |number| read(number % 1_000)),
    ]
}

#[cfg(feature = "sqlite")]
fn sqlite(dir: &Path, count: u32) -> [f64; 4] {
    use peercask_peerstore::libp2p::SqliteDatastore;
    let data = SqliteDatastore::open(dir.join("books.db")).expect("opened");
    let peers = Peerstore::with(data, Options::default().cache_bytes(0)).expect("opened");
    rates(&peers, count)
}

/// Memory of this process that is not file pages, in bytes.
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// Open, memory, listing, and the removal of everything, in a store of `count` peers.
fn whole_life(dir: &Path, count: u32) {
    let path = dir.join("cached");
    let before = anonymous_bytes();
    let start = Instant::now();
    let peers = Peerstore::open(
        &path,
        Options::default().gc(peercask_peerstore::libp2p::GcMode::Manual),
    )
    .expect("opened");
    println!("\nopen after a clean close: {:?}", start.elapsed());
    println!(
        "memory of its own when open: {} MiB",
        mib(anonymous_bytes().saturating_sub(before))
    );
    let start = Instant::now();
    println!(
        "listing {} peers: {:?}",
        peers.all_peers().count(),
        start.elapsed()
    );
    let start = Instant::now();
    println!(
        "listing {} with addresses: {:?}",
        peers.peers_with_addrs().count(),
        start.elapsed()
    );
    let read = |number: u32| drop(black_box(peers.addrs(peer(number)).expect("readable")));
    let idle = percentile(20_000, |number| read(scattered(number, count)));
    for number in 0..count {
        peers
            .set_addrs(peer(number), &addresses(number), Ttl::from_millis(1))
            .expect("set");
    }
    println!(
        "memory of its own after as many changes: {} MiB",
        mib(anonymous_bytes().saturating_sub(before))
    );
    let stats = peers.stats();
    println!(
        "on disk {} MiB, live {} MiB",
        mib(stats.datastore.disk_bytes),
        mib(stats.datastore.live_bytes)
    );
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut worst = Vec::new();
            while running.load(Ordering::Relaxed) {
                worst.push(percentile(2_000, |number| read(scattered(number, count))));
            }
            worst.sort();
            worst.get(worst.len() / 2).copied().unwrap_or_default()
        });
        let start = Instant::now();
        let report = peers.gc().expect("removed");
        println!(
            "removing {} peers that expired: {:?}",
            report.peers,
            start.elapsed()
        );
        running.store(false, Ordering::Relaxed);
        let busy = reader.join().expect("joined");
        println!("99 of 100 reads within {idle:?}, and {busy:?} while they are removed");
    });
    println!(
        "memory of its own then: {} MiB",
        mib(anonymous_bytes().saturating_sub(before))
    );
    peers.close().expect("closed");
}

/// The time within which 99 of 100 calls end.
fn percentile(count: u32, mut call: impl FnMut(u32)) -> Duration {
    let mut times: Vec<Duration> = (0..count)
        .map(|number| {
            let start = Instant::now();
            call(number);
            start.elapsed()
        })
        .collect();
    times.sort();
    times
        .get(times.len() * 99 / 100)
        .copied()
        .unwrap_or_default()
}

/// Changes that wait for the device, by one thread and by eight.
fn synced(dir: &Path) {
    let options = Options::default().acknowledge(Acknowledge::Device);
    let peers = Peerstore::open(dir.join("synced"), options).expect("opened");
    let add = |number: u32| {
        peers
            .add_addrs(peer(number), &addresses(number), Ttl::ADDRESS)
            .expect("added")
    };
    println!("\nadd, on the device, one thread: {:.0}/s", rate(500, add));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || (0..500).for_each(|number| add(10_000 * (thread + 1) + number)));
        }
    });
    println!(
        "add, on the device, eight threads: {:.0}/s",
        4_000.0 / start.elapsed().as_secs_f64()
    );
}

/// What hearing of the same addresses again writes, against writing each time.
fn identical(dir: &Path) {
    let mut written = Vec::new();
    for slack in [Duration::from_secs(30), Duration::ZERO] {
        let path = dir.join(format!("slack-{}", slack.as_secs()));
        let peers = Peerstore::open(path, Options::default().refresh_slack(slack)).expect("opened");
        for round in 0..100_u32 {
            for number in 0..100 {
                peers
                    .add_addrs(peer(number), &addresses(number), Ttl::ADDRESS)
                    .expect("added");
            }
            if round == 0 {
                written.push(peers.stats().datastore.written_bytes);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let first = written.pop().unwrap_or(0);
        written.push(peers.stats().datastore.written_bytes - first);
    }
    println!(
        "\n100 peers heard of 100 times: {} bytes, {} if each is written",
        written[0], written[1]
    );
}
