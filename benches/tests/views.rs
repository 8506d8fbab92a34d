//! What live snapshots and cancelled transactions cost, in bytes as the allocator saw them.
//! Alone in its process: nothing else allocates. `--nocapture` prints the figures.

use std::alloc::System;
use std::path::Path;

use peercask::{Durability, Keyspace, KeyspaceOptions, Options, Store, Write};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: u32 = 50_000;
/// The length of each key in bytes.
const KEY_LEN: usize = 32;

/// Bytes that are allocated now.
fn held() -> isize {
    let stats = ALLOCATOR.stats();
    let allocated = isize::try_from(stats.bytes_allocated).expect("below half of memory");
    let freed = isize::try_from(stats.bytes_deallocated).expect("below half of memory");
    // What grew or shrank in place is in both.
    allocated - freed
}

fn key(n: u32) -> [u8; KEY_LEN] {
    let mut key = [b'k'; KEY_LEN];
    key[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_le_bytes());
    key
}

fn put(space: &Keyspace, n: u32, value: &[u8]) {
    let write = Write::new().durability(Durability::Kernel);
    drop(space.put_with(key(n), value, write).expect("put"));
}

fn files(dir: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(dir).expect("listed");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("listed"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().expect("there").len())
        })
        .collect();
    files.sort();
    files
}

fn per_key(bytes: isize) -> f64 {
    bytes as f64 / f64::from(KEYS)
}

#[test]
fn views_cost_what_changes_and_nothing_when_they_are_gone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options::default().background(false).reserve_bytes(0);
    let store = Store::open(dir.path(), options).expect("opens");
    let spaces = [
        (
            "hash",
            store
                .keyspace("h", KeyspaceOptions::hash())
                .expect("keyspace"),
        ),
        (
            "ordered",
            store
                .keyspace("o", KeyspaceOptions::ordered())
                .expect("keyspace"),
        ),
    ];
    for (kind, space) in &spaces {
        (0..KEYS).for_each(|n| put(space, n, b"old"));
        (0..KEYS).for_each(|n| put(space, n, b"old again"));
        let before = held();
        let snapshot = store.snapshot().expect("open");
        let taken = held() - before;
        (0..KEYS).for_each(|n| put(space, n, b"new"));
        let changed = held() - before;
        (0..KEYS).for_each(|n| put(space, n, b"newer"));
        let twice = held() - before;
        assert_eq!(store.stats().kept_versions, u64::from(KEYS));
        drop(snapshot);
        let after = held() - before;
        println!(
            "snapshot, {kind} keyspace: {taken} B to take, {:.1} B a changed key of {KEY_LEN} B, \
             {:.1} B when all have changed twice, {after} B when it is gone",
            per_key(changed),
            per_key(twice),
        );
        assert!(taken < 2_048, "O(1): {taken}");
        assert!(per_key(changed) < if *kind == "hash" { 100.0 } else { 150.0 });
        assert!(per_key(twice - changed) < 2.0, "the second change is free");
        assert!(after.abs() < 65_536, "{after}");
    }

    let (_, space) = &spaces[1];
    let cancel = || {
        let mut tx = store.begin().expect("its turn");
        tx.put(space, "mine", vec![7; 1_000]).expect("put");
        tx.get(space, key(3)).expect("read");
        tx.delete(space, key(4)).expect("deleted");
        tx.iter(space).expect("ordered").take(3).count();
    };
    cancel();
    let (bytes, seq, listed) = (held(), store.stats().last_seq, files(dir.path()));
    (0..10_000).for_each(|_| cancel());
    let left = held() - bytes;
    println!("10,000 cancelled transactions: {left} B of memory, no file, no byte on disk");
    assert!(left.abs() < 1_024, "{left}");
    assert_eq!(files(dir.path()), listed);
    let stats = store.stats();
    assert_eq!(
        (stats.last_seq, stats.snapshots, stats.kept_versions),
        (seq, 0, 0)
    );
}
