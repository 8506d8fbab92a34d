//! What a watcher costs: its memory, a put beside idle ones, and an event that waits to be read.
//!
//! `cargo run --release -p peercask --example watch_cost [PUTS]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::alloc::System;
use std::time::Instant;

use peercask::{
    Durability, Keyspace, KeyspaceOptions, Options, Result, Store, WatchOptions, Write,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IDLE: usize = 1_000;
const WAITING: usize = 1_000;

fn main() -> Result<()> {
    let puts = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let puts: u64 = puts.unwrap_or(200_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), Options::default())?;
    let written = store.keyspace("written", KeyspaceOptions::hash())?;
    let other = store.keyspace("other", KeyspaceOptions::hash())?;
    let _warm = put_all(&written, puts)?;

    let alone = put_all(&written, puts)?;
    let (region, mut idle) = (Region::new(ALLOCATOR), Vec::new());
    for _ in 0..IDLE {
        idle.push(other.watch(WatchOptions::all())?);
    }
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    println!("memory of an idle watcher: {} B", held / IDLE);
    let beside_others = put_all(&written, puts)?;
    idle.truncate(1);
    let beside_one = put_all(&written, puts)?;
    drop(idle);
    let mut of_prefix = written.watch(WatchOptions::prefix("no key begins so"))?;
    let out_of_scope = put_all(&written, puts)?;
    assert!(of_prefix.try_recv()?.is_none());
    drop(of_prefix);

    let mut watch = written.watch(WatchOptions::all().capacity(WAITING))?;
    let region = Region::new(ALLOCATOR);
    put_all(&written, WAITING as u64)?;
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    println!("memory of an event that waits: {} B", held / WAITING);
    while watch.try_recv()?.is_some() {}
    let follower = std::thread::spawn(move || {
        let mut told = 0_u64;
        while let Ok(notice) = watch.recv() {
            told += match notice {
                peercask::Notice::Event(_) => 1,
                peercask::Notice::Lagged(gap) => gap.missed,
            };
        }
        told
    });
    let followed = put_all(&written, puts)?;
    for (what, ns) in [
        ("alone", alone),
        ("beside one idle watcher of another keyspace", beside_one),
        (
            "beside 1,000 idle watchers of another keyspace",
            beside_others,
        ),
        ("with an idle watcher of another prefix", out_of_scope),
        ("with a watcher that follows", followed),
    ] {
        println!("a put {what}: {ns:.0} ns, {:.2} of one alone", ns / alone);
    }
    store.close()?;
    let told = follower.join().expect("it ends with the store");
    assert_eq!(told, puts, "each put is told or counted as missed");
    Ok(())
}

/// Nanoseconds for each of so many puts.
fn put_all(space: &Keyspace, puts: u64) -> Result<f64> {
    let buffered = Write::new().durability(Durability::Buffered);
    let begun = Instant::now();
    for number in 0..puts {
        let _synced_later = space.put_with(number.to_le_bytes(), [7; 100], buffered)?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / puts as f64)
}
