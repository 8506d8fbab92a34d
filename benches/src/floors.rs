//! The two floors below which no such store can go: a bare hash map for reads, a file that is
//! appended to for writes, with one `write` per record, buffered, or with a sync after each.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::workload::{Load, line, shuffled};

pub(crate) fn run(home: &Path, load: &Load) -> std::io::Result<Vec<Value>> {
    let mut results = Vec::new();
    let mut file = BufWriter::with_capacity(256 << 10, File::create(home.join("buffered"))?);
    results.push(append(
        load,
        "floor-append",
        "put-buffered",
        load.n,
        |bytes| file.write_all(bytes),
    )?);
    file.flush()?;
    let mut file = File::create(home.join("kernel"))?;
    results.push(append(
        load,
        "floor-append",
        "put-kernel",
        load.n / 4,
        |bytes| file.write_all(bytes),
    )?);
    let mut file = File::create(home.join("device"))?;
    results.push(append(
        load,
        "floor-append",
        "put-device",
        load.device_n,
        |bytes| {
            file.write_all(bytes)?;
            file.sync_data()
        },
    )?);
    results.push(hash_map(load));
    Ok(results)
}

fn append(
    load: &Load,
    backend: &str,
    workload: &str,
    n: u64,
    mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<Value> {
    let value = load.value();
    let mut record = Vec::new();
    let watch = Instant::now();
    for i in 0..n {
        record.clear();
        record.extend_from_slice(&load.key(i));
        record.extend_from_slice(&value);
        write(&record)?;
    }
    Ok(line(load, backend, workload, n, watch.elapsed()))
}

/// A look-up and a copy of the value, keys in random order.
fn hash_map(load: &Load) -> Value {
    let map: HashMap<Vec<u8>, Vec<u8>> = (0..load.n).map(|i| (load.key(i), load.value())).collect();
    let order = shuffled(load.n);
    let mut copied = 0;
    let watch = Instant::now();
    for i in order {
        if let Some(value) = map.get(&load.key(i)) {
            copied += std::hint::black_box(value.clone()).len();
        }
    }
    let elapsed = watch.elapsed();
    assert_eq!(
        copied as u64,
        load.n * load.value_len as u64,
        "every key was found"
    );
    line(load, "floor-map", "get", load.n, elapsed)
}
