//! What is measured of the engine: puts at each durability, gets in random order, memory per key
//! of both index kinds, open after a close, space and write amplification.
#![expect(
    clippy::print_stdout,
    reason = "printing its results is what a benchmark is for"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use peercask::{Durability, Keyspace, KeyspaceOptions, Merge, Options, Store, Write};
use serde_json::{Value, json};
use stats_alloc::Region;

/// The sizes of a run.
pub(crate) struct Load {
    pub(crate) n: u64,
    pub(crate) key_len: usize,
    pub(crate) value_len: usize,
    pub(crate) device_n: u64,
}

impl Load {
    pub(crate) fn key(&self, i: u64) -> Vec<u8> {
        let mut key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes().to_vec();
        key.resize(self.key_len, b'k');
        key
    }

    pub(crate) fn value(&self) -> Vec<u8> {
        vec![b'v'; self.value_len]
    }
}

/// All numbers below `n` in an order that is random to a log.
pub(crate) fn shuffled(n: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..n).collect();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for i in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = usize::try_from(state % (i as u64 + 1)).unwrap_or(0);
        order.swap(i, at);
    }
    order
}

pub(crate) fn line(load: &Load, backend: &str, workload: &str, n: u64, took: Duration) -> Value {
    json!({
        "backend": backend, "workload": workload, "n": n,
        "key_len": load.key_len, "value_len": load.value_len, "threads": 1,
        "ops_per_s": (n as f64 / took.as_secs_f64()).round(),
    })
}

pub(crate) fn run(home: &Path, load: &Load) -> peercask::Result<Vec<Value>> {
    let mut results = Vec::new();
    for (name, options) in [
        ("hash", KeyspaceOptions::hash()),
        ("ordered", KeyspaceOptions::ordered()),
    ] {
        fill_and_read(home, load, name, options, &mut results)?;
    }
    for (name, durability, n) in [
        ("put-kernel", Durability::Kernel, load.n / 4),
        ("put-device", Durability::Device, load.device_n),
    ] {
        let store = Store::open(home.join(name), Options::default())?;
        let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
        let watch = Instant::now();
        puts(load, &keyspace, durability, n)?;
        results.push(line(load, "peercask", name, n, watch.elapsed()));
        store.close()?;
    }
    for threads in [8, 64] {
        results.push(group_commit(home, load, threads)?);
    }
    Ok(results)
}

/// `Device` puts of several threads at once: how many records share a sync.
fn group_commit(home: &Path, load: &Load, threads: u64) -> peercask::Result<Value> {
    let store = Store::open(home.join(format!("group-{threads}")), Options::default())?;
    let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
    let (before, watch) = (store.stats().syncs, Instant::now());
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (keyspace, value) = (keyspace.clone(), load.value());
            move || -> peercask::Result<()> {
                for i in 0..load.device_n {
                    keyspace.put(load.key(i * threads + thread), &value)?;
                }
                Ok(())
            }
        };
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(work(thread)))
            .collect();
        let mut joined = running.into_iter().map(|thread| thread.join());
        joined.try_for_each(|done| done.expect("no writer panics"))
    })?;
    let n = load.device_n * threads;
    let mut result = line(
        load,
        "peercask",
        &format!("put-device-{threads}"),
        n,
        watch.elapsed(),
    );
    let syncs = store.stats().syncs - before;
    result["threads"] = json!(threads);
    result["syncs"] = json!(syncs);
    result["records_per_sync"] = json!(n as f64 / syncs as f64);
    store.close()?;
    Ok(result)
}

fn puts(load: &Load, keyspace: &Keyspace, durability: Durability, n: u64) -> peercask::Result<()> {
    let (value, write) = (load.value(), Write::new().durability(durability));
    for i in 0..n {
        keyspace.put_with(load.key(i), &value, write)?.wait()?;
    }
    Ok(())
}

fn fill_and_read(
    home: &Path,
    load: &Load,
    name: &str,
    kind: KeyspaceOptions,
    results: &mut Vec<Value>,
) -> peercask::Result<()> {
    let dir = home.join(name);
    let store = Store::open(&dir, Options::default())?;
    let keyspace = store.keyspace("k", kind)?;
    let watch = Instant::now();
    puts(load, &keyspace, Durability::Buffered, load.n)?;
    let workload = format!("put-buffered-{name}");
    results.push(line(load, "peercask", &workload, load.n, watch.elapsed()));
    store.sync()?;

    let order = shuffled(load.n);
    let watch = Instant::now();
    for i in order {
        let value = keyspace.get(load.key(i))?;
        let len = std::hint::black_box(value.map(|value| value.to_vec())).map(|v| v.len());
        assert_eq!(len, Some(load.value_len), "every key is found");
    }
    results.push(line(
        load,
        "peercask",
        &format!("get-{name}"),
        load.n,
        watch.elapsed(),
    ));
    store.merge(Merge::Needed)?;
    let stats = store.stats();
    drop(keyspace);
    store.close()?;

    let region = Region::new(crate::ALLOCATOR);
    let watch = Instant::now();
    let store = Store::open(&dir, Options::default().background(false))?;
    let open = watch.elapsed();
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    let opened = store.stats();
    results.push(json!({
        "backend": "peercask", "workload": format!("open-{name}"), "n": load.n,
        "key_len": load.key_len, "value_len": load.value_len, "threads": 1,
        "open_ms": open.as_secs_f64() * 1_000.0,
        "allocated_bytes_per_key": held as f64 / load.n as f64,
        "index_bytes_per_key": opened.index_bytes_per_key(),
        "disk_bytes": opened.disk_bytes,
        "user_bytes": stats.user_bytes,
        "write_bytes": stats.written_bytes,
        "write_amplification": stats.write_amplification(),
        "syncs": stats.syncs,
    }));
    store.close()
}

/// The figures that matter, each against its floor.
pub(crate) fn print_ratios(results: &[Value]) {
    let rate = |backend: &str, workload: &str| {
        let found = results
            .iter()
            .find(|r| r["backend"] == backend && r["workload"] == workload);
        found.and_then(|r| r["ops_per_s"].as_f64())
    };
    for (ours, floor, workload) in [
        ("put-buffered-hash", "floor-append", "put-buffered"),
        ("put-buffered-ordered", "floor-append", "put-buffered"),
        ("put-kernel", "floor-append", "put-kernel"),
        ("put-device", "floor-append", "put-device"),
        ("get-hash", "floor-map", "get"),
        ("get-ordered", "floor-map", "get"),
    ] {
        if let (Some(a), Some(b)) = (rate("peercask", ours), rate(floor, workload)) {
            println!("{ours}: {:.2} of {floor} ({a:.0}/s of {b:.0}/s)", a / b);
        }
    }
}
