//! `Device` puts of one writer beside raw loops of append and fdatasync on the same file system, run
//! in turn so that all meet the same device: a file that just grows, one whose blocks are
//! preallocated, one that was filled with zeros. The cost of filling is printed apart.
#![expect(
    clippy::print_stdout,
    reason = "printing its results is what a benchmark is for"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use peercask::{Durability, KeyspaceOptions, Options, Store, Write};
use serde_json::{Value, json};

use crate::workload::{Load, line};

/// Turns of each; the median counts.
const TURNS: usize = 9;
/// Zeros are written in pieces of a page: one large write would be charged whole for each small
/// one behind it.
const PAGE: usize = 4 << 10;

struct Raw {
    name: &'static str,
    file: File,
    at: u64,
}

impl Raw {
    fn append(&mut self, record: &[u8], n: u64) -> std::io::Result<Duration> {
        let watch = Instant::now();
        for _ in 0..n {
            self.file.write_all_at(record, self.at)?;
            self.at += record.len() as u64;
            self.file.sync_data()?;
        }
        Ok(watch.elapsed())
    }
}

/// The files of the raw loops.
fn prepare(home: &Path, len: u64) -> std::io::Result<Vec<Raw>> {
    let mut raws = Vec::new();
    for name in ["plain", "preallocated", "zero-filled"] {
        let mut file = File::create(home.join(name))?;
        let watch = Instant::now();
        match name {
            "preallocated" => {
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?
            }
            "zero-filled" => {
                for _ in 0..len.div_ceil(PAGE as u64) {
                    file.write_all(&[0; PAGE])?;
                }
            }
            _ => {}
        }
        file.sync_all()?;
        println!("preparing {name}: {:?} for {len} bytes", watch.elapsed());
        raws.push(Raw { name, file, at: 0 });
    }
    Ok(raws)
}

pub(crate) fn run(home: &Path, load: &Load) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let record = vec![7; load.key_len + load.value_len + 18];
    let each = (load.device_n / TURNS as u64).max(10);
    let len = (each * TURNS as u64 + 1) * record.len() as u64;
    let mut raws = prepare(home, len)?;
    let store = Store::open(home.join("store"), Options::default())?;
    let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
    let (value, write) = (load.value(), Write::new().durability(Durability::Device));
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); raws.len() + 1];
    let mut key = 0;
    for turn in 0..TURNS {
        // Each begins in turn, so that none is always first after a pause.
        for step in 0..took.len() {
            let which = (turn + step) % took.len();
            let time = if let Some(raw) = raws.get_mut(which) {
                raw.append(&record, each)?
            } else {
                let watch = Instant::now();
                for _ in 0..each {
                    keyspace.put_with(load.key(key), &value, write)?.wait()?;
                    key += 1;
                }
                watch.elapsed()
            };
            if let Some(times) = took.get_mut(which) {
                times.push(time);
            }
        }
    }
    store.close()?;
    let names = raws.iter().map(|raw| raw.name).chain(["peercask"]);
    let mut results = Vec::new();
    let mut best = 0.0_f64;
    for (name, mut times) in names.zip(took) {
        times.sort_unstable();
        let median = times.get(TURNS / 2).copied().unwrap_or_default();
        let rate = each as f64 / median.as_secs_f64();
        let backend = if name == "peercask" {
            name
        } else {
            "floor-append"
        };
        let mut result = line(load, backend, &format!("put-device-{name}"), each, median);
        if name == "peercask" {
            println!(
                "peercask: {rate:.0}/s, {:.3} of the best raw loop",
                rate / best
            );
            result["of_best_raw"] = json!(rate / best);
        } else {
            best = best.max(rate);
            println!("raw {name}: {rate:.0}/s");
        }
        results.push(result);
    }
    Ok(results)
}
