//! What can be told only where nothing else happens: how much memory a removal wants, which descriptors and threads a
//! store keeps, what stays in memory of a private key. Each of these tests runs in a process of its own.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cap::Cap;
use peercask::ManualClock;
use peercask_peerstore::libp2p::{
    Datastore, MemoryDatastore, Options, Peer, PeercaskDatastore, Peerstore, PrivateKeys, Secret,
    Ttl,
};

use crate::support::{Hooked, NOW_MS, addrs, peer, seconds};

/// Counts what this process allocates.
#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const ALONE: &str = "PEERCASK_TEST_ALONE";

/// Whether this process has nothing else to do. If not, one is started that has, and what it says is believed.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("this test is a file");
    let test = format!("alone::{test}");
    let ended = std::process::Command::new(this)
        .args([&test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("a child starts");
    let said = String::from_utf8_lossy(&ended.stdout);
    let cried = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}\n{cried}");
    assert!(said.contains("1 passed"), "it ran: {said}");
    false
}

fn named(number: u32) -> Peer {
    Peer::from_bytes(&number.to_le_bytes()).expect("short")
}

// ---- memory of a removal

/// How much more memory there is at the most while so many peers are removed, of which every other one has
/// more than addresses.
fn removal_bytes(data: impl Datastore, many: u32) -> usize {
    // Whenever a batch is written all that a slice gathered is there.
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    let weighed = Hooked::new(data, move |_| {
        seen.fetch_max(ALLOCATOR.allocated(), Ordering::Relaxed);
        Ok(())
    });
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = Options::default()
        .clock(clock.clone())
        .background(false)
        .peer_age_max(seconds(1));
    let peers = Peerstore::with(weighed, options).expect("opened");
    for number in 0..many {
        peers
            .update(named(number), |peer| {
                peer.add_addrs(&addrs(0..5), Ttl::from(seconds(1)));
                match number % 2 {
                    0 => Ok(()),
                    _ => peer.put_metadata("a", u64::from(number)),
                }
            })
            .expect("told");
    }
    clock.advance(seconds(10));
    let before = ALLOCATOR.allocated();
    most.store(before, Ordering::Relaxed);
    assert_eq!(peers.gc().expect("removed").peers, u64::from(many));
    assert_eq!(peers.count(), 0);
    most.load(Ordering::Relaxed) - before
}

/// A removal wants the memory of one slice, however many peers there are.
#[test]
fn c6_the_memory_of_a_removal_does_not_grow_with_the_store() {
    if !is_alone("c6_the_memory_of_a_removal_does_not_grow_with_the_store") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let engine = peercask::Options::default().background(false);
    let on_disk = PeercaskDatastore::open(dir.path().join("store"), engine).expect("opened");
    for (few, many) in [
        (
            removal_bytes(MemoryDatastore::new(), 2_000),
            removal_bytes(MemoryDatastore::new(), 20_000),
        ),
        (0, removal_bytes(on_disk, 20_000)),
    ] {
        assert!(many > 10_000, "it was weighed: {many}");
        assert!(few < 8 << 20 && many < 8 << 20, "{few}, {many}");
        // Ten times the peers, and no more than the same slices and the lists of free places.
        assert!(few == 0 || many < 2 * few + (1 << 20), "{few}, {many}");
    }
}

// ---- memory of a peer

/// Bytes of memory a peer when a store is opened, of which what a limit of peers costs; and a peer that something
/// protects for a time.
fn bytes_of_a_peer(many: u32) -> [usize; 3] {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let open = |limit: u64| {
        let options = Options::default()
            .clock(clock.clone())
            .background(false)
            .peers_max(limit);
        Peerstore::open(dir.path().join("store"), options).expect("opened")
    };
    let fill = |change: &dyn Fn(&mut peercask_peerstore::libp2p::PeerEditor<'_>)| {
        let peers = open(0);
        let all: Vec<Peer> = (0..many).map(id).collect();
        for some in all.chunks(512) {
            let done = peers.update_many(some, |editors| {
                editors.iter_mut().for_each(change);
                Ok(())
            });
            done.expect("told");
        }
        peers.close().expect("closed");
    };
    let weigh = |limit: u64| {
        let before = ALLOCATOR.allocated();
        let peers = open(limit);
        assert_eq!(peers.count(), u64::from(many));
        let each = (ALLOCATOR.allocated() - before) / many as usize;
        peers.close().expect("closed");
        each
    };
    fill(&|peer| peer.add_addrs(&addrs(0..1), Ttl::ADDRESS));
    let (free, limited) = (weigh(0), weigh(1 << 30));
    fill(&|peer| {
        peer.set_tag("keep-alive", 0, Ttl::ADDRESS).expect("a tag");
    });
    [free, limited, weigh(1 << 30)]
}

/// As long as an Ed25519 id.
fn id(number: u32) -> Peer {
    let mut bytes = [7; 38];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Peer::from_bytes(&bytes).expect("short")
}

/// The documentation of the room says what a peer costs; `PEERCASK_PEERS` for another number of peers, and `--nocapture`
/// to see it.
#[test]
fn a_peer_costs_what_the_documentation_says() {
    let test = "a_peer_costs_what_the_documentation_says";
    let asked = std::env::var("PEERCASK_PEERS").ok();
    let asked: Option<u32> = asked.and_then(|text| text.parse().ok());
    if asked.is_none() && !is_alone(test) {
        return;
    }
    let many = asked.unwrap_or(20_000);
    let [free, limited, protected] = bytes_of_a_peer(many);
    eprintln!(
        "{many} peers: {free} bytes each, {limited} with a limit, {protected} if all are protected for a time"
    );
    // Places come 64 times 1,024 at a time, so that few peers share the room of many.
    let places = (many as usize).next_multiple_of(64 * 1_024) * 2 / many as usize;
    assert!(free < 64 * places + 60, "{free}");
    assert!(
        limited - free < 8 * places + 48,
        "{limited}, {free} without"
    );
    assert!(
        protected - limited < 200,
        "{protected}, {limited} otherwise"
    );
}

// ---- descriptors and threads

/// Descriptors of this process that lead into a directory.
fn descriptors(dir: &Path) -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("listed");
    let leads = all
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    leads.filter(|path| path.starts_with(dir)).count()
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("listed");
    let names = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("listed");
    entries
        .map(|entry| entry.expect("listed").metadata().expect("there").len())
        .sum()
}

#[test]
fn however_many_files_a_store_has_few_are_open() {
    if !is_alone("however_many_files_a_store_has_few_are_open") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = dir.path().join("store");
    let engine = peercask::Options::default().segment_bytes(16 << 10);
    let options = Options::default().background(false).engine(engine);
    let peers = Peerstore::open(&store, options).expect("opened");
    let mut most = 0;
    for number in 0..8_000 {
        peers
            .add_addrs(named(number), &addrs(0..3), Ttl::PERMANENT)
            .expect("added");
        most = most.max(descriptors(&store));
        // A segment keeps its descriptor until it is synced: what a node's sync interval does each second.
        if number % 400 == 0 {
            peers.sync().expect("synced");
        }
    }
    let segments = std::fs::read_dir(&store).expect("listed").count();
    assert!(segments > 40, "{segments} files");
    for number in 0..8_000 {
        assert_eq!(peers.addrs(named(number)).expect("readable").len(), 3);
    }
    most = most.max(descriptors(&store));
    assert!(most > 0 && most <= 8, "{most} are open");
    peers.close().expect("closed");
    assert_eq!(descriptors(&store), 0, "none is left open");
}

#[test]
fn opening_and_closing_a_hundred_times_leaves_no_thread_no_descriptor_and_no_growth() {
    if !is_alone("opening_and_closing_a_hundred_times_leaves_no_thread_no_descriptor_and_no_growth")
    {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = dir.path().join("store");
    let open = || Peerstore::open(&store, Options::default()).expect("opened");
    let peers = open();
    for number in 0..50 {
        peers
            .add_addrs(peer(number), &addrs(0..5), Ttl::PERMANENT)
            .expect("added");
    }
    let running = threads();
    assert!(running.iter().any(|name| name.trim() == "peercask-keeper"));
    drop(peers);
    drop(open());
    let (before, bytes) = (threads(), bytes_in(&store));
    let mut most = 0;
    for round in 0..100 {
        let peers = open();
        assert_eq!(peers.count(), 50);
        most = most.max(descriptors(&store));
        // By its last handle, and by a call.
        if round % 2 == 0 {
            peers.close().expect("closed");
        }
    }
    assert!(most > 0 && most <= 8, "{most} were open");
    assert_eq!(descriptors(&store), 0, "none is left open");
    assert_eq!(threads(), before, "all were joined");
    let now = bytes_in(&store);
    assert!(now <= bytes + 65_536, "{now} bytes, {bytes} before");
}

// ---- private keys in memory

/// A byte string that stands nowhere in memory as it is.
struct Veiled(Vec<u8>);

impl Veiled {
    fn new(bytes: &[u8]) -> Veiled {
        Veiled(bytes.iter().map(|byte| byte ^ 0xa5).collect())
    }

    /// How often it stands in the memory of this process that can be written, stacks left out: moving a value
    /// leaves a copy there, which nobody can wipe and the next calls write over.
    fn found(&self) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        let mut memory = std::fs::File::open("/proc/self/mem").expect("readable");
        let mut chunk = vec![0; 1 << 20];
        let mut found = 0;
        let here = std::ptr::from_ref(&found).addr() as u64;
        for line in maps.lines() {
            let (Some((range, _)), true) = (line.split_once(' '), line.contains(" rw")) else {
                continue;
            };
            let ends = range.split_once('-').expect("from and to");
            let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
            let (mut at, to) = (number(ends.0), number(ends.1));
            if (at..to).contains(&here) || line.contains("[stack]") {
                continue;
            }
            while at < to {
                // A string that lies over two chunks is met in the second, which begins before.
                let len = usize::try_from(to - at).expect("small").min(chunk.len());
                let part = &mut chunk[..len];
                let there = memory.seek(SeekFrom::Start(at)).is_ok();
                if !there || memory.read_exact(part).is_err() {
                    break;
                }
                found += self.in_part(part);
                let step = len.saturating_sub(self.0.len() - 1).max(1);
                if at + len as u64 >= to {
                    break;
                }
                at += step as u64;
            }
        }
        // What was read is a copy itself, and goes.
        chunk.fill(0);
        found
    }

    fn in_part(&self, part: &[u8]) -> usize {
        let windows = part.windows(self.0.len());
        let is_it = |window: &&[u8]| {
            let pairs = window.iter().zip(&self.0);
            pairs.clone().all(|(byte, veiled)| *byte == veiled ^ 0xa5)
        };
        windows.filter(is_it).count()
    }
}

/// Memory that held a private key is wiped before it is given back: after everything that held one is dropped it
/// stands nowhere. A copy that is kept is found, so the look can fail.
#[test]
fn of_a_sealed_private_key_nothing_stays_in_memory() {
    if !is_alone("of_a_sealed_private_key_nothing_stays_in_memory") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut seed: Vec<u8> = (0..32_u8).map(|at| at.wrapping_mul(37) ^ 0x5c).collect();
    let veiled = Veiled::new(&seed);
    assert!(veiled.found() > 0, "what is there is found");
    let pair = libp2p_identity::Keypair::ed25519_from_bytes(&mut seed).expect("a key");
    seed.fill(0);
    let who = pair.public().to_peer_id();
    let options = Options::default()
        .background(false)
        .private_keys(PrivateKeys::Sealed(Secret::new([9; 32])));
    let peers = Peerstore::open(dir.path().join("store"), options).expect("opened");
    peers.add_private_key(who, &pair).expect("sealed");
    let bytes = peers.private_key_bytes(who).expect("opens").expect("there");
    assert_eq!(bytes.len(), 68);
    drop(pair);
    assert!(veiled.found() > 0, "what the caller holds is there");
    drop(bytes);
    peers.sync().expect("synced");
    let left = veiled.found();
    assert_eq!(left, 0, "{left} copies are left");
    peers.close().expect("closed");
    assert_eq!(veiled.found(), 0);
}
