//! A million keys: what recovery after a kill and a merge of everything take in memory, as the allocator saw it, and how
//! opening tells how far it is. Counts, no times. Alone in its process; `--nocapture` prints the figures.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use peercask::{Durability, Keyspace, KeyspaceOptions, Merge, Options, Progress, Store};
use peercask_bench::memory::{self, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator = memory::allocator();

const DIR: &str = "PEERCASK_TEST_BOUNDS_DIR";
const KEYS: u32 = 1_000_000;
/// Of these so many are written twice, and so many deleted.
const TWICE: u32 = 200_000;
const DELETED: u32 = 100_000;
/// Records of one batch.
const BATCH: u32 = 2_000;

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(16 << 20)
        .merge_rate(None)
}

fn key(n: u32) -> [u8; 12] {
    let mut key = [b'k'; 12];
    key[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_le_bytes());
    key
}

fn value(n: u32, round: u8) -> [u8; 8] {
    let mut value = [round; 8];
    value[..4].copy_from_slice(&n.to_le_bytes());
    value
}

fn space(store: &Store) -> Keyspace {
    let made = store.keyspace("many", KeyspaceOptions::hash());
    made.expect("made, or there")
}

/// Not a test of its own: the child that writes, and ends as by a kill.
#[test]
fn helper_writes_a_million_keys_and_dies() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = Store::open(dir, options()).expect("made");
    let space = space(&store);
    let in_batches = |from: u32, until: u32, write: &dyn Fn(&mut peercask::Batch, u32)| {
        for first in (from..until).step_by(BATCH as usize) {
            let mut batch = store.batch();
            (first..(first + BATCH).min(until)).for_each(|n| write(&mut batch, n));
            drop(batch.commit_with(Durability::Buffered).expect("written"));
        }
    };
    in_batches(0, KEYS, &|batch, n| batch.put(&space, key(n), value(n, 1)));
    in_batches(0, TWICE, &|batch, n| batch.put(&space, key(n), value(n, 2)));
    in_batches(KEYS - DELETED, KEYS, &|batch, n| {
        batch.delete(&space, key(n))
    });
    store.sync().expect("synced");
    std::process::exit(0);
}

/// Bytes a key that are allocated, or were at most, beyond `before`.
fn per_key(bytes: Option<u64>, before: u64) -> f64 {
    let bytes = bytes.expect("it is counted").saturating_sub(before);
    bytes as f64 / f64::from(KEYS)
}

fn check(store: &Store) {
    let space = space(store);
    for n in (0..KEYS).step_by(997) {
        let wanted = match n {
            n if n < TWICE => Some(value(n, 2)),
            n if n >= KEYS - DELETED => None,
            n => Some(value(n, 1)),
        };
        let found = space.get(key(n)).expect("readable");
        assert_eq!(
            found.as_deref(),
            wanted.as_ref().map(<[u8; 8]>::as_slice),
            "{n}"
        );
    }
    assert_eq!(store.stats().keys, u64::from(KEYS - DELETED));
}

fn open(dir: &Path) -> (Store, Vec<Progress>) {
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let listener = told.clone();
    let options = options().open_progress(move |progress| {
        listener.lock().expect("whole").push(progress);
    });
    let store = Store::open(dir, options).expect("opens");
    let told = std::mem::take(&mut *told.lock().expect("whole"));
    (store, told)
}

#[test]
fn a_million_keys_are_recovered_and_merged_in_bounded_memory_with_progress() {
    memory::install(&ALLOCATOR);
    let place = tempfile::tempdir().expect("a temporary directory");
    let child = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["helper_writes_a_million_keys_and_dies", "--exact"])
        .env(DIR, place.path())
        .status();
    assert!(child.expect("it ran").success());

    let before = memory::held().expect("it is counted");
    let (store, told) = open(place.path());
    let (held, most) = (
        per_key(memory::held(), before),
        per_key(memory::highest(), before),
    );
    println!("recovery without hints: {held:.1} B a key held, {most:.1} B at most");
    assert!(store.recovery().damage.is_empty());
    assert!(
        held <= HELD_MAX && most <= RECOVERY_MAX,
        "{held} and {most}"
    );
    // Progress comes once for each segment, whichever thread read it, and ends at all.
    let done: Vec<u64> = told.iter().map(|progress| progress.done_bytes).collect();
    assert!(done.len() >= 3, "{done:?}");
    let total = told.first().map(|progress| progress.total_bytes);
    assert_eq!(done.iter().max().copied(), total);
    check(&store);

    store.merge(Merge::Full).expect("merged");
    let (held, most) = (
        per_key(memory::held(), before),
        per_key(memory::highest(), before),
    );
    println!("after a merge of everything: {held:.1} B a key held, {most:.1} B at most so far");
    assert!(held <= HELD_MAX && most <= MERGE_MAX, "{held} and {most}");
    check(&store);
    store.close().expect("closed");

    let (store, _) = open(place.path());
    let (held, most) = (
        per_key(memory::held(), before),
        per_key(memory::highest(), before),
    );
    println!("a clean open: {held:.1} B a key held, {most:.1} B at most so far");
    assert!(held <= HELD_MAX && most <= MERGE_MAX, "{held} and {most}");
    check(&store);
}

/// The index takes some ten bytes a key; the rest is what does not grow with the keys.
const HELD_MAX: f64 = 13.0;
/// The most at any moment of a recovery that has to scan: 133 when this was written, about a hundred bytes for
/// each of 1.3 records a key.
const RECOVERY_MAX: f64 = 150.0;
/// The most at any moment of a merge of everything: 184 when this was written.
const MERGE_MAX: f64 = 200.0;
