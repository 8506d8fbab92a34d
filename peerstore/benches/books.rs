//! The books in figures, in one run, so that ratios hold whatever the machine:
//! `cargo bench -p peercask-peerstore --bench books -- [PEERS] [PART..]`, with `--features sqlite` on SQLite too.
//! Parts: `rates`, `cache`, `scale`, `device`, `log`, `churn`; all of them if none is named. Prints tables: wall
//! time, processor time of the calling thread, memory as the kernel and as a counting allocator see it.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cap::Cap;
use libp2p_core::Multiaddr;
use peercask::ManualClock;
use peercask_peerstore::libp2p::{Acknowledge, GcMode, Options, Peer, Peerstore, Ttl};
use rustix::time::{ClockId, clock_gettime};

/// Counts what is allocated; a few nanoseconds a call, for all that is compared alike.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const ADDRESSES: usize = 5;
/// What a process of its own is to do, and where.
const CHILD: &str = "PEERCASK_BENCH_BOOKS_CHILD";
const PARTS: [&str; 6] = ["rates", "cache", "scale", "device", "log", "churn"];

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
            "open" => opened(Path::new(dir), count),
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
        ("rates", rates_of_all as fn(&Path, u32)),
        ("cache", cache),
        ("scale", scale),
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

fn read(peers: &Peerstore, number: u32) {
    drop(black_box(peers.addrs(peer(number)).expect("readable")));
}

fn quiet() -> Options {
    Options::default().gc(GcMode::Manual)
}

// ---- time and memory

/// How quick calls were.
#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    cpu_ns: f64,
}

impl Rate {
    fn text(&self) -> String {
        format!("{:.0} ({:.0})", self.per_second, self.cpu_ns)
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.expect("forward"), nanos.expect("below a second"))
}

/// Of calls with numbers from 0; what their inputs cost to make is in it.
fn rate(count: u32, mut call: impl FnMut(u32)) -> Rate {
    let (start, cpu_before) = (Instant::now(), cpu());
    (0..count).for_each(&mut call);
    Rate {
        per_second: f64::from(count) / start.elapsed().as_secs_f64(),
        cpu_ns: (cpu() - cpu_before).as_secs_f64() * 1e9 / f64::from(count),
    }
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
    let at = times.len() * 99 / 100;
    times.get(at).copied().unwrap_or_default()
}

/// Memory of this process in MiB: resident, resident without file pages, and allocated.
fn memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
            / 1_024.0
    };
    let held = ALLOCATOR.allocated() as f64 / f64::from(1 << 20);
    let (rss, anonymous) = (kib("VmRSS:"), kib("RssAnon:"));
    println!(
        "memory {when}: {rss:.0} MiB resident, {anonymous:.0} of it not file pages; {held:.1} MiB allocated"
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs a part in a process of its own.
fn child(what: &str, dir: &Path, count: u32) {
    let exe = std::env::current_exe().expect("found itself");
    let mut child = std::process::Command::new(exe);
    child.arg(count.to_string());
    child.env(CHILD, format!("{what} {}", dir.display()));
    let ended = child.status().expect("ran");
    assert!(ended.success(), "{what}: {ended}");
}

// ---- rates

/// Per second, and in brackets nanoseconds of processor time a call.
fn rates_of_all(dir: &Path, count: u32) {
    println!("calls a second (nanoseconds of processor time a call)\n");
    println!(
        "| | add, new | add again, same | set, other ttl | read one of all | read one of 1,000 |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    row("a map behind a lock", &map(count));
    let memory = Peerstore::in_memory(quiet()).expect("opened");
    row("books in memory", &rates(&memory, count));
    drop(memory);
    let default = Peerstore::open(dir.join("rates"), quiet()).expect("opened");
    row("books on Peercask", &rates(&default, count));
    default.close().expect("closed");
    #[cfg(feature = "sqlite")]
    {
        use peercask_peerstore::libp2p::SqliteDatastore;
        let data = SqliteDatastore::open(dir.join("books.db")).expect("opened");
        let peers = Peerstore::with(data, quiet()).expect("opened");
        let count = count.min(50_000);
        row(
            &format!("books on SQLite, {count} peers"),
            &rates(&peers, count),
        );
    }
}

fn row(name: &str, rates: &[Rate]) {
    let cells: Vec<String> = rates.iter().map(Rate::text).collect();
    println!("| {name} | {} |", cells.join(" | "));
}

fn rates(peers: &Peerstore, count: u32) -> [Rate; 5] {
    let set = |number: u32| {
        let ttl = Ttl::from_millis(7_200_000 + u64::from(number % 7));
        peers
            .set_addrs(peer(number), &addresses(number), ttl)
            .expect("set");
    };
    [
        rate(count, |number| add(peers, number)),
        rate(count, |number| add(peers, number)),
        rate(count, set),
        rate(count, |number| read(peers, scattered(number, count))),
        rate(count, |number| read(peers, number % 1_000)),
    ]
}

/// What a program would write in a minute: a map behind a lock, expiries beside the addresses.
fn map(count: u32) -> [Rate; 5] {
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
        rate(count, add),
        rate(count, |number| read(scattered(number, count))),
        rate(count, |number| read(number % 1_000)),
    ]
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
    [
        rate(calls, |number| read(peers, scattered(number, count))),
        rate(calls, |number| read(peers, number % 1_000)),
        rate(calls, |number| read(peers, mixed(number))),
        rate(calls, |number| match number % 10 {
            5 => add(peers, mixed(number + 1)),
            _ => read(peers, mixed(number)),
        }),
    ]
    .map(|rate| rate.cpu_ns)
}

// ---- scale

/// A store of all peers: opening, memory, listing, and the removal of everything.
fn scale(dir: &Path, count: u32) {
    let path = dir.join("scale");
    let peers = Peerstore::open(&path, quiet()).expect("opened");
    let added = rate(count, |number| add(&peers, number));
    println!("added: {:.0}/s", added.per_second);
    peers.close().expect("closed");
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

fn opened(dir: &Path, count: u32) {
    let (start, before) = (Instant::now(), cpu());
    let peers = Peerstore::open(dir, quiet()).expect("opened");
    println!(
        "open: {:.0} ms, {:.0} ms of processor time of its thread",
        start.elapsed().as_secs_f64() * 1e3,
        (cpu() - before).as_secs_f64() * 1e3
    );
    assert_eq!(peers.count(), u64::from(count));
    memory("when open");
    peers.close().expect("closed");
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
    let warm = rate(reads, |number| read(&peers, scattered(number, count)));
    println!("read one of all: {:.0}/s", warm.per_second);
    memory("after as many reads");
    let set = |number: u32| {
        peers
            .set_addrs(peer(number), &addresses(number), Ttl::from_millis(60_000))
            .expect("set");
    };
    println!("set: {:.0}/s", rate(count, set).per_second);
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
    let read_one = |number: u32| read(&peers, count + scattered(number, stay));
    let idle = percentile(20_000, read_one);
    clock.advance(Duration::from_secs(60));
    removal(&peers, read_one, idle);
    assert_eq!(peers.count(), u64::from(stay));
    memory("when all are gone");
    peers.close().expect("closed");
}

fn system_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("not that late")
}

/// Removes all that expired while another thread reads.
fn removal(peers: &Peerstore, read_one: impl Fn(u32) + Sync, idle: Duration) {
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut times, mut most) = (Vec::new(), 0);
            while running.load(Ordering::Relaxed) {
                times.push(percentile(1_000, &read_one));
                most = most.max(ALLOCATOR.allocated());
            }
            times.sort();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            (times.len(), median, most)
        });
        let held = ALLOCATOR.allocated();
        let (start, before) = (Instant::now(), cpu());
        let report = peers.gc().expect("removed");
        let (took, worked) = (start.elapsed(), cpu() - before);
        running.store(false, Ordering::Relaxed);
        println!(
            "removing {} peers that expired: {took:.2?}, {worked:.2?} of processor time, in {} slices",
            report.peers, report.slices
        );
        let (looks, busy, most) = reader.join().expect("joined");
        let more = mib(most.saturating_sub(held) as u64);
        println!(
            "allocated meanwhile: at most {more:.2} MiB more, the reader's included, in {looks} looks"
        );
        println!("99 of 100 reads within {idle:?} idle, and {busy:?} while they are removed");
    });
}

// ---- device

/// Changes that wait for the device, by one thread and by eight.
fn device(dir: &Path, _: u32) {
    let options = quiet().acknowledge(Acknowledge::Device);
    let peers = Peerstore::open(dir.join("synced"), options).expect("opened");
    let alone = rate(500, |number| add(&peers, number));
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

/// Each peer changed twenty times, then a hundred restarts: what is on disk, by itself.
fn churn(dir: &Path, count: u32) {
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
