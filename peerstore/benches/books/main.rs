//! The books in figures, in one run, so that ratios hold whatever the machine:
//! `cargo bench -p peercask-peerstore --bench books -- [PEERS] [PART..]`, with `--features sqlite` on SQLite too.
//! Parts: `rates`, `cache`, `scale`, `limited`, `device`, `log`, `churn`; all of them if none is named. Prints tables: wall
//! time, processor time of the calling thread, memory as the kernel and as a counting allocator see it. What it
//! costs to make the inputs of a call is not in its figures.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::alloc::System;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cap::Cap;
use libp2p_core::Multiaddr;
use peercask::ManualClock;
use peercask_peerstore::libp2p::{Acknowledge, GcMode, Options, Peer, Peerstore, Ttl};

use measure::{CHILD, Latencies, child, cpu, memory, mib, rate};

mod measure;
mod rates;

/// Counts what is allocated; a few nanoseconds a call, for all that is compared alike.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const ADDRESSES: usize = 5;
const PARTS: [&str; 7] = [
    "rates", "cache", "scale", "limited", "device", "log", "churn",
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |word: &String| word.replace(['_', ','], "").parse::<u32>().ok();
    let count = words.iter().find_map(number).unwrap_or(100_000);
    if let Some(work) = std::env::var_os(CHILD) {
        // Its memory is that of one store, and its end may be sudden.
        let work = work.to_string_lossy().into_owned();
        let (what, dir) = work.split_once(' ').expect("what and where");
        return match what {
            "fill" => fill_and_stop(Path::new(dir), count),
            "open" => opened(Path::new(dir), count, quiet()),
            "limited" => opened(Path::new(dir), count, with_limit(count)),
            "remove" => removed(Path::new(dir), count),
            _ => whole_life(Path::new(dir), count),
        };
    }
    let unknown = words.iter().find(|word| {
        number(word).is_none() && !word.starts_with("--") && !PARTS.contains(&word.as_str())
    });
    assert!(unknown.is_none(), "{unknown:?} is no part: {PARTS:?}");
    let any = words.iter().any(|word| PARTS.contains(&word.as_str()));
    let wanted = |part: &str| !any || words.iter().any(|word| word == part);
    println!("{count} peers, {ADDRESSES} addresses each");
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (part, measure) in [
        ("rates", rates::of_all as fn(&Path, u32)),
        ("cache", cache),
        ("scale", scale),
        ("limited", limited),
        ("device", device),
        ("log", identical),
        ("churn", churn),
    ] {
        if wanted(part) {
            println!("\n## {part}\n");
            measure(dir.path(), count);
        }
    }
}

// ---- what is stored

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

/// A number anywhere below a count, the same in each run.
fn scattered(number: u32, count: u32) -> u32 {
    u32::try_from(u64::from(number) * 2_654_435_761 % u64::from(count)).expect("below the count")
}

fn add(peers: &Peerstore, number: u32) {
    peers
        .add_addrs(peer(number), &addresses(number), Ttl::ADDRESS)
        .expect("added");
}

fn quiet() -> Options {
    Options::default().gc(GcMode::Manual)
}

// ---- cache

/// The same store with caches of several sizes: nanoseconds of processor time a call, of each the least of five
/// rounds in which all sizes take turns. That says more than the clock on a machine that does other things too.
fn cache(dir: &Path, count: u32) {
    const SIZES: [usize; 4] = [0, 1 << 20, 16 << 20, 256 << 20];
    const NAMES: [&str; 4] = [
        "read one of all",
        "one of 1,000",
        "9 of 10 of 1,000, else all",
        "the same, each tenth adds again",
    ];
    let path = dir.join("cache");
    let fill = Peerstore::open(&path, quiet()).expect("opened");
    (0..count).for_each(|number| add(&fill, number));
    fill.close().expect("closed");
    let mut least = [[f64::INFINITY; NAMES.len()]; SIZES.len()];
    let mut held = [(0.0, 0.0); SIZES.len()];
    for _ in 0..5 {
        for (at, bytes) in SIZES.into_iter().enumerate() {
            let peers = Peerstore::open(&path, quiet().cache_bytes(bytes)).expect("opened");
            for (best, took) in least[at].iter_mut().zip(reads(&peers, count)) {
                *best = best.min(took);
            }
            let stats = peers.stats();
            let all = (stats.cache_hits + stats.cache_misses).max(1);
            let hits = stats.cache_hits as f64 * 100.0 / all as f64;
            held[at] = (hits, mib(stats.cache_bytes));
            peers.close().expect("closed");
        }
    }
    println!("nanoseconds of processor time a call; hits of all reads; memory held\n");
    println!("| cache | {} | hits | held |", NAMES.join(" | "));
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for ((bytes, least), (hits, held)) in SIZES.into_iter().zip(least).zip(held) {
        let cells: Vec<String> = least.iter().map(|ns| format!("{ns:.0}")).collect();
        let (kib, cells) = (bytes >> 10, cells.join(" | "));
        println!("| {kib} KiB | {cells} | {hits:.0} % | {held:.1} MiB |");
    }
}

/// Four kinds of use, as nanoseconds a call.
fn reads(peers: &Peerstore, count: u32) -> [f64; 4] {
    let calls = 50_000;
    let mixed = |number: u32| match number % 10 {
        0 => scattered(number, count),
        _ => scattered(number, 1_000),
    };
    let read = |_, who: Peer| drop(black_box(peers.addrs(who).expect("readable")));
    let told = |number: u32| {
        let new = (number % 10 == 5).then(|| addresses(mixed(number + 1)));
        (peer(mixed(number + u32::from(new.is_some()))), new)
    };
    let read_or_add = |_, (who, new): (Peer, Option<Vec<Multiaddr>>)| match new {
        Some(addrs) => peers.add_addrs(who, &addrs, Ttl::ADDRESS).expect("added"),
        None => drop(black_box(peers.addrs(who).expect("readable"))),
    };
    [
        rate(calls, |number| peer(scattered(number, count)), read),
        rate(calls, |number| peer(number % 1_000), read),
        rate(calls, |number| peer(mixed(number)), read),
        rate(calls, told, read_or_add),
    ]
    .map(|rate| rate.cpu_ns)
}

// ---- scale

/// A store of all peers: opening, memory, listing, and the removal of everything.
fn scale(dir: &Path, count: u32) {
    let path = dir.join("scale");
    let peers = Peerstore::open(&path, quiet()).expect("opened");
    let added = rate(count, |_| (), |number, ()| add(&peers, number));
    println!("added: {:.0}/s, inputs made meanwhile", added.per_second);
    let start = Instant::now();
    peers.close().expect("closed");
    println!("closed: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    child("open", &path, count);
    let unclean = dir.join("unclean");
    child("fill", &unclean, count);
    println!("after a stop without a close:");
    child("open", &unclean, count);
    child("live", &path, count);
}

fn fill_and_stop(dir: &Path, count: u32) {
    let peers = Peerstore::open(dir, quiet()).expect("opened");
    (0..count).for_each(|number| add(&peers, number));
    // Nothing is closed and nothing written behind.
    std::process::exit(0);
}

fn opened(dir: &Path, count: u32, options: Options) {
    let (start, before) = (Instant::now(), cpu());
    let peers = Peerstore::open(dir, options).expect("opened");
    let from = match peers.stats().opened_from_image {
        true => "its saved directory",
        false => "all its records",
    };
    println!(
        "open from {from}: {:.0} ms, {:.0} ms of processor time of its thread",
        start.elapsed().as_secs_f64() * 1e3,
        (cpu() - before).as_secs_f64() * 1e3
    );
    assert_eq!(peers.count(), u64::from(count));
    memory("when open");
    peers.close().expect("closed");
}

fn with_limit(count: u32) -> Options {
    quiet().peers_max(count.into())
}

/// A store as a swarm has it: with a limit of peers, and a stream of what happens to addresses that somebody reads.
/// Its rates, what it costs when it is full, and its memory.
fn limited(dir: &Path, count: u32) {
    let path = dir.join("limited");
    let peers = Peerstore::open(&path, with_limit(count)).expect("opened");
    let mut events = peers.address_events();
    let told = |number: u32| (peer(number), addresses(number));
    let mut hear = |_, (who, addrs): (Peer, Vec<Multiaddr>)| {
        peers.add_addrs(who, &addrs, Ttl::ADDRESS).expect("added");
        while events.try_next().is_some() {}
    };
    for (what, from) in [
        ("add", 0),
        ("add again", 0),
        ("newcomers, one goes for each", count),
    ] {
        let rate = rate(count, |number| told(from + number), &mut hear);
        println!("{what}: {}", rate.text());
    }
    assert_eq!(peers.count(), u64::from(count));
    memory("after as many changes");
    peers.close().expect("closed");
    child("limited", &path, count);
}

fn whole_life(dir: &Path, count: u32) {
    let clock = Arc::new(ManualClock::new(system_ms()));
    let options = quiet().clock(clock.clone());
    let peers = Peerstore::open(dir, options).expect("opened");
    for (what, list) in [
        ("peers", Peerstore::all_peers as fn(&Peerstore) -> _),
        ("peers with addresses", Peerstore::peers_with_addrs),
    ] {
        let (start, before) = (Instant::now(), ALLOCATOR.max_allocated());
        let listed = list(&peers).count();
        let more = ALLOCATOR.max_allocated() - before;
        println!(
            "listing {listed} {what}: {:.0?}, {more} bytes more at the highest",
            start.elapsed()
        );
    }
    let reads = count.min(200_000);
    let who = |number: u32| peer(scattered(number, count));
    let look = |_, who: Peer| drop(black_box(peers.addrs(who).expect("readable")));
    let warm = rate(reads, who, look);
    println!("read one of all: {:.0}/s", warm.per_second);
    memory("after as many reads");
    let told = |number: u32| (peer(number), addresses(number));
    let set = |_, (who, addrs): (Peer, Vec<Multiaddr>)| {
        let ttl = Ttl::from_millis(60_000);
        peers.set_addrs(who, &addrs, ttl).expect("set");
    };
    println!("set: {:.0}/s", rate(count, told, set).per_second);
    // Peers that stay, for those who read while the others go.
    let stay = count / 10 + 1;
    (count..count + stay).for_each(|number| add(&peers, number));
    memory("after as many changes");
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let stats = peers.stats().datastore;
    println!(
        "on disk {:.0} MiB, live {:.0} MiB; {descriptors} open descriptors",
        mib(stats.disk_bytes),
        mib(stats.live_bytes)
    );
    clock.advance(Duration::from_secs(60));
    removal(&peers, count, stay);
    memory("when all are gone");
    peers.close().expect("closed");
}

fn system_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("not that late")
}

/// A store of which most has expired: what its removal costs, and what others feel of it.
fn removed(dir: &Path, count: u32) {
    let clock = Arc::new(ManualClock::new(system_ms()));
    let peers = Peerstore::open(dir, quiet().clock(clock.clone())).expect("opened");
    for number in 0..count {
        let ttl = Ttl::from_millis(60_000);
        peers
            .add_addrs(peer(number), &addresses(number), ttl)
            .expect("added");
    }
    let stay = count / 10 + 1;
    (count..count + stay).for_each(|number| add(&peers, number));
    clock.advance(Duration::from_secs(60));
    removal(&peers, count, stay);
    peers.close().expect("closed");
}

/// Removes all that expired while another thread reads what stays.
fn removal(peers: &Peerstore, count: u32, stay: u32) {
    let most = AtomicUsize::new(0);
    let read = |go_on: &dyn Fn() -> bool| {
        let mut latencies = Latencies::new();
        while go_on() {
            for number in 0..1_000 {
                let who = peer(count + scattered(number, stay));
                latencies.time(|| drop(black_box(peers.addrs(who).expect("readable"))));
            }
            most.fetch_max(ALLOCATOR.allocated(), Ordering::Relaxed);
        }
        latencies
    };
    let for_seconds = |seconds: u64| {
        let start = Instant::now();
        read(&|| start.elapsed() < Duration::from_secs(seconds))
    };
    // The first look brings the pages in.
    for_seconds(1);
    let idle = for_seconds(3);
    let held = ALLOCATOR.allocated();
    most.store(held, Ordering::Relaxed);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&|| running.load(Ordering::Relaxed)));
        let (start, before) = (Instant::now(), cpu());
        let report = peers.gc().expect("removed");
        let (took, worked) = (start.elapsed(), cpu() - before);
        running.store(false, Ordering::Relaxed);
        let each = worked.as_secs_f64() * 1e6 / report.peers.max(1) as f64;
        println!(
            "removing {} peers that expired: {took:.2?}, {worked:.2?} of processor time, {each:.1} us each, in {} slices",
            report.peers, report.slices
        );
        let busy = reader.join().expect("joined");
        let more = most.load(Ordering::Relaxed).saturating_sub(held);
        println!(
            "allocated meanwhile: at most {:.2} MiB more, the engine's own merging included",
            mib(more as u64)
        );
        for (name, permille) in [("half", 500), ("99 of 100", 990), ("999 of 1,000", 999)] {
            let (idle, busy) = (idle.within(permille), busy.within(permille));
            println!(
                "{name} reads: within {idle:?} idle, {busy:?} while they are removed, {:.2} times",
                busy.as_secs_f64() / idle.as_secs_f64()
            );
        }
        println!("({} reads idle, {} meanwhile)", idle.count(), busy.count());
    });
    assert_eq!(peers.count(), u64::from(stay));
}

// ---- device

/// Changes that wait for the device, by one thread and by eight.
fn device(dir: &Path, _: u32) {
    let options = quiet().acknowledge(Acknowledge::Device);
    let peers = Peerstore::open(dir.join("synced"), options).expect("opened");
    let alone = rate(500, |_| (), |number, ()| add(&peers, number));
    println!("add, one thread: {:.0}/s", alone.per_second);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let peers = &peers;
            scope.spawn(move || {
                (0..500).for_each(|number| add(peers, 10_000 * (thread + 1) + number))
            });
        }
    });
    let rate = 4_000.0 / start.elapsed().as_secs_f64();
    println!("add, eight threads: {rate:.0}/s");
    peers.close().expect("closed");
}

// ---- log

/// What a million times hearing of the same addresses writes, against writing each time. The clock is moved by
/// hand, 10 ms a call, so that each peer is heard of once a second.
fn identical(dir: &Path, count: u32) {
    let calls = count.saturating_mul(10).min(1_000_000);
    let known = 100;
    let mut written = Vec::new();
    for slack in [Duration::from_secs(30), Duration::ZERO] {
        let clock = Arc::new(ManualClock::new(system_ms()));
        let options = quiet().clock(clock.clone()).refresh_slack(slack);
        let path = dir.join(format!("slack-{}", slack.as_secs()));
        let peers = Peerstore::open(path, options.background(false)).expect("opened");
        (0..known).for_each(|number| add(&peers, number));
        let before = peers.stats().datastore.written_bytes;
        for number in 0..calls {
            clock.advance(Duration::from_millis(10));
            add(&peers, number % known);
        }
        written.push(peers.stats().datastore.written_bytes - before);
        peers.close().expect("closed");
    }
    let [ours, naive] = written[..] else { return };
    println!(
        "{known} peers heard of {calls} times: {ours} bytes, {naive} if each is written: {:.3} %",
        ours as f64 * 100.0 / naive as f64
    );
}

// ---- churn

/// What a removal of all costs, and what readers feel of it. Then each peer changed twenty times and a hundred
/// restarts: what is on disk, by itself.
fn churn(dir: &Path, count: u32) {
    child("remove", &dir.join("remove"), count);
    let count = count.min(100_000);
    let path = dir.join("churn");
    let open = || Peerstore::open(&path, quiet()).expect("opened");
    let peers = open();
    for round in 0..20_u64 {
        for number in 0..count {
            let ttl = Ttl::from_millis(7_200_000 + round);
            peers
                .set_addrs(peer(number), &addresses(number), ttl)
                .expect("set");
        }
    }
    let told = |peers: &Peerstore, when: &str| {
        let stats = peers.stats().datastore;
        let ratio = stats.disk_bytes as f64 / stats.live_bytes as f64;
        println!(
            "{when}: {:.1} MiB on disk, {:.1} MiB live, {ratio:.2} times",
            mib(stats.disk_bytes),
            mib(stats.live_bytes)
        );
    };
    told(&peers, &format!("{count} peers changed 20 times"));
    // The worker merges by itself; until nothing moves for some seconds.
    let mut last = u64::MAX;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_secs(3));
        let now = peers.stats().datastore.disk_bytes;
        if now == last {
            break;
        }
        last = now;
    }
    told(&peers, "when the worker is idle");
    peers.close().expect("closed");
    for _ in 0..100 {
        open().close().expect("closed");
    }
    told(&open(), "after a hundred restarts");
}
