//! Ours beside `MemoryStore` and beside a SQLite table behind the same trait: filling with provider
//! records, reading them, memory, files, opening, and a mixed load on a full store. Each store is
//! measured in a process of its own.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "it is a command that prints measurements"
)]

mod load;
mod mixed;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use libp2p_kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use peercask_kad::{Limits, Options, PersistentStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

use load::Times;
use mixed::mixed;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Failure = Box<dyn Error>;

/// Measures record stores of Kademlia nodes.
#[derive(Parser, Clone)]
struct Args {
    /// Provider records to fill with.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Value records put, replaced and read before that, on the full store.
    #[arg(long, default_value_t = 100_000)]
    values: u64,
    /// Seconds of mixed load on the full store: 1,500 adds and 500 reads a second.
    #[arg(long, default_value_t = 30)]
    mixed_seconds: u64,
    /// Seconds between two merges of the whole store that are called for meanwhile, beside those
    /// that the engine does by itself; 0 calls for none.
    #[arg(long, default_value_t = 20)]
    merge_pause_seconds: u64,
    /// Adds a second while filling; 0 for as fast as it takes them.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Where the stores are made; a temporary directory if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The stores to measure.
    #[arg(long, value_delimiter = ',', default_value = "ours,memory")]
    stores: Vec<Which>,
    /// Measure in this very process: the command starts itself with it.
    #[arg(long, hide = true)]
    here: bool,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Which {
    Ours,
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if args.here {
        return measure(args.stores[0], &args);
    }
    println!(
        "{} provider records of 5,000 providers, one address each",
        args.records
    );
    for which in &args.stores {
        let name = which.to_possible_value().ok_or("each has a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--here")
            .args(["--stores", name.get_name()])
            .args(["--records", &args.records.to_string()])
            .args(["--rate", &args.rate.to_string()])
            .args(["--values", &args.values.to_string()])
            .args(["--mixed-seconds", &args.mixed_seconds.to_string()])
            .args([
                "--merge-pause-seconds",
                &args.merge_pause_seconds.to_string(),
            ]);
        if let Some(dir) = &args.dir {
            command.arg("--dir").arg(dir);
        }
        println!("\n== {}", name.get_name());
        if !command.status()?.success() {
            return Err("the measurement failed".into());
        }
    }
    Ok(())
}

fn measure(which: Which, args: &Args) -> Result<(), Failure> {
    let base = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let local = load::peer(u64::MAX);
    match which {
        Which::Ours => measure_ours(base.path(), args),
        Which::Memory => {
            let config = MemoryStoreConfig {
                max_provided_keys: usize::MAX,
                max_records: usize::MAX,
                ..MemoryStoreConfig::default()
            };
            let before = held();
            let mut store = MemoryStore::with_config(local, config);
            fill_and_read(&mut store, args);
            tell_memory(before, args);
            values(&mut store, args);
            mixed(&mut store, args, None);
            Ok(())
        }
        #[cfg(feature = "sqlite")]
        Which::Sqlite => {
            let before = held();
            let mut store = sqlite::SqliteStore::open(&base.path().join("records.db"))?;
            fill_and_read(&mut store, args);
            tell_memory(before, args);
            tell_files(base.path(), args)?;
            values(&mut store, args);
            mixed(&mut store, args, None);
            Ok(())
        }
    }
}

fn options() -> Options {
    let limits = Limits {
        foreign_keys_max: u64::MAX,
        foreign_records_max: u64::MAX,
        foreign_provides_max: u64::MAX,
        records_per_provider_max: u32::MAX,
        disk_bytes_max: None,
        ..Limits::default()
    };
    Options::default()
        .limits(limits)
        .close_timeout(Duration::from_secs(600))
}

fn measure_ours(base: &Path, args: &Args) -> Result<(), Failure> {
    let local = load::peer(u64::MAX);
    let dir = base.join("ours");
    let before = held();
    let mut store = PersistentStore::open(&dir, local, options())?;
    let handle = store.handle();
    fill_and_read(&mut store, args);
    handle.sync()?;
    tell_memory(before, args);
    let keydir = handle.engine().stats().index_bytes;
    println!(
        "  of which the engine's keydir: {:.1} bytes a record",
        keydir as f64 / args.records as f64
    );
    tell_files(&dir, args)?;
    values(&mut store, args);
    mixed(&mut store, args, Some(&handle));
    let stats = handle.stats();
    println!(
        "in all: swept {}, syncs {}, refused {}, slowest call {:?}",
        stats.swept,
        stats.syncs,
        stats.refused.total(),
        stats.slowest_call
    );
    let start = Instant::now();
    handle.close()?;
    println!(
        "close, saving the index: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    drop(store);
    for (what, forget) in [
        ("with the saved index", false),
        ("by a walk over all records", true),
    ] {
        if forget {
            std::fs::remove_file(dir.join("kad-index"))?;
        }
        let store = PersistentStore::open(&dir, local, options())?;
        let handle = store.handle();
        let report = handle.report();
        println!(
            "open {what}: {:.2} s for {} records, of which the engine {:.2} s (image used: {})",
            report.elapsed.as_secs_f64(),
            report.records,
            report.engine_elapsed.as_secs_f64(),
            report.index_from_image
        );
    }
    Ok(())
}

fn fill_and_read(store: &mut impl RecordStore, args: &Args) {
    let mut times = Times::default();
    let start = Instant::now();
    let now = Instant::now();
    let mut refused = 0_u64;
    for number in 0..args.records {
        load::keep_rate(start, number, args.rate);
        let record = load::provider(number, now);
        loop {
            let began = Instant::now();
            let taken = store.add_provider(record.clone());
            times.note(began.elapsed());
            if taken.is_ok() {
                break;
            }
            // As fast as it goes is faster than the writer: the queue said so.
            refused += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "fill: {:.0} adds a second, {}; {refused} times the queue was full",
        args.records as f64 / took,
        times.tell()
    );
    let mut times = Times::default();
    let reads = 100_000.min(args.records);
    let start = Instant::now();
    let mut found = 0;
    for number in 0..reads {
        let key = load::key(load::mix(number) % args.records);
        let began = Instant::now();
        found += store.providers(&key).len();
        times.note(began.elapsed());
    }
    println!(
        "providers of random keys: {:.0} a second, {}; {found} found of {reads}",
        reads as f64 / start.elapsed().as_secs_f64(),
        times.tell()
    );
}

/// Value records: each put once, every tenth replaced, all read in another order.
fn values(store: &mut impl RecordStore, args: &Args) {
    let mut times = Times::default();
    let now = Instant::now();
    let (mut taken, mut calls) = (0_u64, 0_u64);
    let again = (0..args.values).step_by(10);
    let start = Instant::now();
    for number in (0..args.values).chain(again) {
        let record = load::record(number, now);
        let began = Instant::now();
        taken += u64::from(store.put(record).is_ok());
        times.note(began.elapsed());
        calls += 1;
    }
    println!(
        "put of values of 128 bytes: {:.0} a second, {}; {taken} of {calls} taken",
        calls as f64 / start.elapsed().as_secs_f64(),
        times.tell()
    );
    let mut times = Times::default();
    let mut found = 0_u64;
    let start = Instant::now();
    for number in 0..args.values {
        let wanted = load::record(load::mix(number) % args.values, now);
        let began = Instant::now();
        let held = store.get(&wanted.key);
        times.note(began.elapsed());
        found += u64::from(held.is_some_and(|held| held.value == wanted.value));
    }
    println!(
        "get of random values: {:.0} a second, {}; {found} right of {}",
        args.values as f64 / start.elapsed().as_secs_f64(),
        times.tell(),
        args.values
    );
}

/// Bytes that are allocated and not given back.
fn held() -> u64 {
    let stats = GLOBAL.stats();
    (stats.bytes_allocated as u64).saturating_sub(stats.bytes_deallocated as u64)
}

fn tell_memory(before: u64, args: &Args) {
    let now = held().saturating_sub(before);
    println!(
        "memory: {:.1} bytes a record by the allocator; resident, files not counted: {} MiB",
        now as f64 / args.records as f64,
        resident_mib()
    );
}

/// Anonymous resident memory, where the system tells.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1_024
}

fn tell_files(dir: &Path, args: &Args) -> Result<(), Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    println!(
        "files: {:.1} bytes a record, {} MiB",
        bytes as f64 / args.records as f64,
        bytes >> 20
    );
    Ok(())
}
