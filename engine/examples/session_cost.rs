//! What a live snapshot costs for each key that changes, what a cancelled transaction costs, and
//! what a deletion by prefix does: bytes as the allocator sees them, bytes and seqs of the log, and
//! times as ratios.
//!
//! `cargo run --release -p peercask --example session_cost [KEYS]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::alloc::System;
use std::time::Instant;

use peercask::{Durability, Keyspace, KeyspaceOptions, Options, Result, Store, Write};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TRANSACTIONS: u64 = 10_000;
const CHANGES: u64 = 10;

fn main() -> Result<()> {
    let keys = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let keys: u64 = keys.unwrap_or(200_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    // No background work: what is counted is the calls' alone. Segments as large as all of it: no
    // rotation among the figures.
    let options = Options::default()
        .background(false)
        .segment_bytes(1 << 30)
        .durability(Durability::Buffered);
    let store = Store::open(dir.path(), options)?;
    for kind in ["hash", "ordered"] {
        let space = match kind {
            "hash" => store.keyspace(kind, KeyspaceOptions::hash())?,
            _ => store.keyspace(kind, KeyspaceOptions::ordered())?,
        };
        put_all(&space, keys)?;
        snapshots(&store, &space, kind, keys)?;
    }
    transactions(&store)?;
    prefix(&store, keys)?;
    store.close()
}

/// Bytes that are held more after than before.
fn held(region: &Region<'_, System>) -> i64 {
    let change = region.change();
    let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    signed(change.bytes_allocated) - signed(change.bytes_deallocated)
}

/// Nanoseconds for each of so many puts of 16-byte keys.
fn put_all(space: &Keyspace, keys: u64) -> Result<f64> {
    let begun = Instant::now();
    for number in 0..keys {
        let key = format!("p/{number:014}");
        let _in_memory = space.put_with(key, [7; 100], Write::new())?;
    }
    Ok(nanos(begun) / keys as f64)
}

fn nanos(begun: Instant) -> f64 {
    begun.elapsed().as_nanos() as f64
}

fn snapshots(store: &Store, space: &Keyspace, kind: &str, keys: u64) -> Result<()> {
    let alone = put_all(space, keys)?;
    let region = Region::new(ALLOCATOR);
    let snapshot = store.snapshot()?;
    println!(
        "{kind}: a snapshot of {keys} keys when taken: {} B",
        held(&region)
    );
    let first = put_all(space, keys)?;
    let kept = store.stats().kept_versions;
    println!(
        "{kind}: a live snapshot, for each changed key: {:.1} B, {:.2} versions, a put takes {:.2} \
         of one without",
        held(&region) as f64 / keys as f64,
        kept as f64 / keys as f64,
        first / alone
    );
    let region = Region::new(ALLOCATOR);
    let again = put_all(space, keys)?;
    println!(
        "{kind}: each further change of such a key: {:.1} B, {:.2} versions, a put takes {:.2}",
        held(&region) as f64 / keys as f64,
        (store.stats().kept_versions - kept) as f64 / keys as f64,
        again / alone
    );
    let begun = Instant::now();
    drop(snapshot);
    let dropped = nanos(begun) / keys as f64;
    let after = put_all(space, keys)?;
    println!(
        "{kind}: when it is gone: {} versions, dropping it took {:.2} of a put for each key kept, \
         a put takes {:.2}",
        store.stats().kept_versions,
        dropped / alone,
        after / alone
    );
    Ok(())
}

/// Transactions of so many changes each: dropped, or committed.
fn transact(store: &Store, space: &Keyspace, commit: bool) -> Result<f64> {
    let begun = Instant::now();
    for round in 0..TRANSACTIONS {
        let mut tx = store.begin()?;
        for change in 0..CHANGES {
            tx.put(space, format!("{round}/{change}"), [7; 100])?;
        }
        if commit {
            let _in_memory = tx.commit()?;
        }
    }
    Ok(nanos(begun) / TRANSACTIONS as f64)
}

fn transactions(store: &Store) -> Result<()> {
    let space = store.keyspace("transactions", KeyspaceOptions::ordered())?;
    // What is kept from call to call, for its capacity.
    let _warm = transact(store, &space, false)?;
    let (before, region) = (store.stats(), Region::new(ALLOCATOR));
    let cancelled = transact(store, &space, false)?;
    // Asked before the figures are, which are memory too.
    let left = held(&region);
    let after = store.stats();
    println!(
        "{TRANSACTIONS} cancelled transactions of {CHANGES} puts: {left} B of memory left, {} B \
         written, {} seqs, {} syncs, {} keys",
        after.written_bytes - before.written_bytes,
        after.last_seq - before.last_seq,
        after.syncs - before.syncs,
        after.keys - before.keys,
    );
    let committed = transact(store, &space, true)?;
    println!(
        "a cancelled transaction takes {:.2} of one that commits",
        cancelled / committed
    );
    Ok(())
}

fn prefix(store: &Store, keys: u64) -> Result<()> {
    let space = store.keyspace("ordered", KeyspaceOptions::ordered())?;
    let put = put_all(&space, keys)?;
    let before = store.stats();
    let begun = Instant::now();
    assert_eq!(space.delete_prefix("p/")?, keys);
    let took = nanos(begun) / keys as f64;
    let after = store.stats();
    println!(
        "a deletion by prefix, for each key: {:.1} B written, {:.2} of a put; {} segments begun for it",
        (after.written_bytes - before.written_bytes) as f64 / keys as f64,
        took / put,
        after.segments - before.segments,
    );
    Ok(())
}
