//! Bytes a key and the speed of lookups and ranges, beside a balanced tree behind a lock and a
//! lock-free skip list. Run alone, since all threads share the counter of bytes:
//! `cargo test --release -p peercask --lib ordered::figures -- --ignored --nocapture`;
//! `PEERCASK_KEYS=n` for other sizes.

use std::collections::BTreeMap;
use std::sync::RwLock;

use crossbeam_skiplist::SkipMap;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use super::*;
use crate::clock::Stopwatch;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const KEY_LEN: usize = 32;
const RANGE_LEN: usize = 100;

type Boxed = Box<[u8]>;

fn key(i: u64) -> [u8; KEY_LEN] {
    let mut key = [b'k'; KEY_LEN];
    key[..8].copy_from_slice(&i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    key
}

fn at(i: u64) -> Location {
    let offset = u32::try_from(i & 0xFFFF_FFFF).expect("masked");
    Location { slot: 1, offset }
}

fn copy(key: &Boxed, location: &Location) -> (Boxed, Location) {
    (key.clone(), *location)
}

/// What each index does with a key, and a range from a key on that counts what it met.
struct Index<'a> {
    name: &'a str,
    insert: &'a dyn Fn(u64),
    find: &'a dyn Fn(u64) -> bool,
    range: &'a dyn Fn(&[u8], bool) -> usize,
}

fn measure(index: &Index<'_>, n: u64) {
    let region = Region::new(ALLOCATOR);
    let seconds = |work: &mut dyn FnMut()| {
        let watch = Stopwatch::start();
        work();
        watch.elapsed().as_secs_f64()
    };
    let filled = seconds(&mut || (0..n).for_each(|i| (index.insert)(i)));
    let change = region.change();
    let held = (change.bytes_allocated - change.bytes_deallocated) as f64;
    let scattered = |i: u64| i.wrapping_mul(0x2545_F491_4F6C_DD1D) % n;
    let found = seconds(&mut || (0..n).for_each(|i| assert!((index.find)(scattered(i)))));
    let ranges = n / 50;
    let mut met = 0;
    let ways = [false, true].map(|from_back| {
        seconds(&mut || {
            (0..ranges).for_each(|i| met += (index.range)(&key(scattered(i)), from_back));
        })
    });
    assert!(met > 0);
    println!(
        "{:10} {n} keys: {:5.1} B/key (key {KEY_LEN}), insert {:5.0} ns, find {:5.0} ns, \
         range of {RANGE_LEN} {:6.0} ns, backwards {:6.0} ns",
        index.name,
        held / n as f64,
        filled / n as f64 * 1e9,
        found / n as f64 * 1e9,
        ways[0] / ranges as f64 * 1e9,
        ways[1] / ranges as f64 * 1e9,
    );
}

#[test]
#[ignore = "prints figures; wants a release build and a machine at rest"]
fn figures() {
    let n = std::env::var("PEERCASK_KEYS").ok();
    let n = n.and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let keydir = OrderedKeydir::new();
    measure(
        &Index {
            name: "peercask",
            insert: &|i| assert!(keydir.change(&key(i), None, Some(at(i)))),
            find: &|i| keydir.candidates(&key(i)).contains(at(i)),
            range: &|key, back| {
                let from = if back {
                    (Bound::Unbounded, Bound::Included(key))
                } else {
                    (Bound::Included(key), Bound::Unbounded)
                };
                keydir.part(from, back, RANGE_LEN).len()
            },
        },
        n,
    );
    tree_figures(n);
    list_figures(n);
}

fn tree_figures(n: u64) {
    let tree: RwLock<BTreeMap<Boxed, Location>> = RwLock::default();
    let read = || tree.read().expect("nobody panics");
    measure(
        &Index {
            name: "BTreeMap",
            insert: &|i| {
                tree.write()
                    .expect("nobody panics")
                    .insert(key(i).into(), at(i));
            },
            find: &|i| read().get(&key(i)[..]) == Some(&at(i)),
            range: &|key, back| {
                let tree = read();
                let part: Vec<_> = if back {
                    let range = tree.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
                    range
                        .rev()
                        .take(RANGE_LEN)
                        .map(|(k, l)| copy(k, l))
                        .collect()
                } else {
                    let range = tree.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
                    range.take(RANGE_LEN).map(|(k, l)| copy(k, l)).collect()
                };
                part.len()
            },
        },
        n,
    );
}

fn list_figures(n: u64) {
    let list: SkipMap<Boxed, Location> = SkipMap::new();
    measure(
        &Index {
            name: "skiplist",
            insert: &|i| {
                list.insert(key(i).into(), at(i));
            },
            find: &|i| {
                list.get(&key(i)[..])
                    .is_some_and(|entry| *entry.value() == at(i))
            },
            range: &|key, back| {
                let entries = if back {
                    let range = list.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
                    let part = range.rev().take(RANGE_LEN);
                    part.map(|e| copy(e.key(), e.value())).collect::<Vec<_>>()
                } else {
                    let range = list.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
                    let part = range.take(RANGE_LEN);
                    part.map(|e| copy(e.key(), e.value())).collect::<Vec<_>>()
                };
                entries.len()
            },
        },
        n,
    );
}
