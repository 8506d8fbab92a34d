//! What a checkpoint of a store of 1 GiB costs: the first, one with nothing new, and one after a
//! few writes.
//!
//! `cargo run --release -p peercask --example checkpoint_cost [DIR] [MIB]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::PathBuf;

use peercask::{CheckpointReport, Durability, KeyspaceOptions, Options, Result, Store, Write};

const VALUE_LEN: usize = 64 << 10;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = args
        .next()
        .map_or(temporary.path().to_path_buf(), PathBuf::from);
    let mib: usize = args
        .next()
        .and_then(|mib| mib.parse().ok())
        .unwrap_or(1 << 10);

    let store = Store::open(dir.join("store"), Options::default())?;
    let space = store.keyspace("values", KeyspaceOptions::hash())?;
    let mut value = vec![0; VALUE_LEN];
    for number in 0..(mib << 20) / VALUE_LEN {
        value[..8].copy_from_slice(&number.to_le_bytes());
        let buffered = Write::new().durability(Durability::Buffered);
        let _synced_below = space.put_with(number.to_le_bytes(), &value, buffered)?;
    }
    store.sync()?;
    let stats = store.stats();
    println!(
        "{} MiB in {} segments",
        stats.disk_bytes >> 20,
        stats.segments
    );

    let copy = dir.join("checkpoint");
    show("first", &store.checkpoint_to(&copy)?);
    show("nothing new", &store.checkpoint_to(&copy)?);
    for number in 0..100_usize {
        space.put(number.to_le_bytes(), "new")?;
    }
    show("100 writes later", &store.checkpoint_to(&copy)?);
    show(
        "another, elsewhere",
        &store.checkpoint_to(dir.join("another"))?,
    );
    show("restore", &Store::restore(&copy, dir.join("restored"))?);
    store.close()
}

fn show(what: &str, report: &CheckpointReport) {
    println!(
        "{what}: {:.2} ms, {} linked, {} kept, {} copied",
        report.elapsed.as_secs_f64() * 1e3,
        report.segments_linked,
        report.segments_kept,
        report.segments_copied,
    );
}
