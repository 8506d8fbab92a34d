//! The floors run: what the engine costs beside a bare `HashMap` (reads) and a raw append log
//! (writes), in one process and one run, so that the ratios hold on any machine. One JSON line a
//! measurement; memory is what a counting allocator saw.
#![expect(
    clippy::print_stdout,
    reason = "printing its results is what a benchmark is for"
)]

#[cfg(target_os = "linux")]
mod device;
mod floors;
mod index;
mod merging;
mod workload;

use std::path::PathBuf;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// Measures Peercask against a bare hash map and a raw append log.
#[derive(Parser)]
struct Arguments {
    /// How many keys.
    #[arg(long, default_value_t = 1_000_000)]
    n: u64,
    /// Bytes of each key, at least 8.
    #[arg(long, default_value_t = 32)]
    key_len: usize,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    value_len: usize,
    /// How many `Device` puts of one writer.
    #[arg(long, default_value_t = 300)]
    device_n: u64,
    /// Only what the indexes cost: bytes a key while they grow, pauses, reads by threads.
    #[arg(long)]
    index: bool,
    /// Only what merging costs in bytes written: takes a twentieth of the keys.
    #[arg(long)]
    merging: bool,
    /// Only `Device` puts of one writer, in turn with raw loops of append and fdatasync.
    #[arg(long)]
    device: bool,
    /// Where to make the stores; a temporary directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let home = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let load = workload::Load {
        n: arguments.n,
        key_len: arguments.key_len.max(8),
        value_len: arguments.value_len,
        device_n: arguments.device_n,
    };
    #[cfg(target_os = "linux")]
    if arguments.device {
        for result in device::run(home.path(), &load)? {
            println!("{result}");
        }
        return Ok(());
    }
    if arguments.merging {
        let load = workload::Load {
            n: load.n / 20,
            ..load
        };
        for result in merging::run(home.path(), &load)? {
            println!("{result}");
        }
        return Ok(());
    }
    if arguments.index {
        for result in index::run(home.path(), &load)? {
            println!("{result}");
        }
        return Ok(());
    }
    let mut results = floors::run(home.path(), &load)?;
    results.extend(workload::run(home.path(), &load)?);
    for result in &results {
        println!("{result}");
    }
    workload::print_ratios(&results);
    Ok(())
}
