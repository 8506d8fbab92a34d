//! What an index costs: bytes a key as a counting allocator sees them while a keyspace grows, the
//! highest of them at any moment, the longest put meanwhile beside an idle thread's longest pause,
//! and how reads go with threads.
#![expect(
    clippy::print_stdout,
    reason = "printing its results is what a benchmark is for"
)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peercask::{Durability, Keyspace, KeyspaceOptions, Options, Store, Write};
use serde_json::{Value, json};
use stats_alloc::Region;

use crate::workload::{Load, line, shuffled};

/// Memory is looked at so many times a doubling.
const LOOKS: u64 = 64;
/// Below this many keys fixed costs are more than the entries.
const KEYS_MIN: u64 = 20_000;
/// Puts that fill the append buffer more than once.
const WARM_KEYS: u64 = 10_000;

pub(crate) fn run(home: &Path, load: &Load) -> peercask::Result<Vec<Value>> {
    let mut results = Vec::new();
    for (name, kind) in [
        ("hash", KeyspaceOptions::hash()),
        ("ordered", KeyspaceOptions::ordered()),
    ] {
        // Without threads of its own nothing but the index grows.
        let options = Options::default().background(false).merge_rate(None);
        let store = Store::open(home.join(format!("index-{name}")), options)?;
        let keyspace = store.keyspace("k", kind)?;
        results.push(growth(load, &store, &keyspace, name)?);
        for threads in [1, 2, 4, 8] {
            results.push(reads(load, &keyspace, name, threads)?);
        }
        store.close()?;
    }
    Ok(results)
}

/// Fills the keyspace and watches memory and pauses.
fn growth(load: &Load, store: &Store, keyspace: &Keyspace, name: &str) -> peercask::Result<Value> {
    let (value, write) = (load.value(), Write::new().durability(Durability::Buffered));
    let region = Region::new(crate::ALLOCATOR);
    let held = || {
        let change = region.change();
        change
            .bytes_allocated
            .saturating_sub(change.bytes_deallocated) as f64
    };
    // Buffers of the store, which come once, are there before the first key.
    let warm = store.keyspace("warm", KeyspaceOptions::hash())?;
    for i in 0..WARM_KEYS {
        warm.put_with(load.key(i), &value, write)?.wait()?;
    }
    let start = held();
    let control = Control::default();
    let (mut highest, mut longest, mut over_1_ms) = (0_f64, Duration::ZERO, 0);
    let mut sizes = Vec::new();
    std::thread::scope(|scope| -> peercask::Result<()> {
        let idle = scope.spawn(|| control.watch());
        let mut next_look = KEYS_MIN;
        for i in 0..load.n {
            let (key, before) = (load.key(i), Instant::now());
            keyspace.put_with(&key, &value, write)?.wait()?;
            let took = before.elapsed();
            longest = longest.max(took);
            over_1_ms += u64::from(took > Duration::from_millis(1));
            if i == next_look {
                let per_key = (held() - start) / i as f64;
                highest = highest.max(per_key);
                if i.is_power_of_two() || i % 1_000_000 == 0 {
                    sizes.push(json!([i, per_key]));
                }
                next_look += (i / LOOKS).max(1);
            }
        }
        control.stop.store(true, Ordering::Relaxed);
        idle.join().expect("the control thread does not panic");
        Ok(())
    })?;
    let last = (held() - start) / load.n as f64;
    println!(
        "{name}: {last:.2} bytes a key at {} keys, {highest:.2} at most from {KEYS_MIN} on; \
         longest put {longest:?} ({over_1_ms} over 1 ms), longest pause of an idle thread {:?}",
        load.n,
        control.longest()
    );
    Ok(json!({
        "backend": "peercask", "workload": format!("growth-{name}"), "n": load.n,
        "key_len": load.key_len, "value_len": load.value_len, "threads": 1,
        "allocated_bytes_per_key": last, "allocated_bytes_per_key_max": highest,
        "index_bytes_per_key": store.stats().index_bytes as f64 / load.n as f64,
        "ns_max": (longest.as_secs_f64() * 1e9).round(), "calls_over_1_ms": over_1_ms,
        "idle_ns_max": (control.longest().as_secs_f64() * 1e9).round(),
    }))
}

/// Random reads by several threads at once, each through keys of its own order.
fn reads(load: &Load, keyspace: &Keyspace, name: &str, threads: u64) -> peercask::Result<Value> {
    let order = shuffled(load.n);
    let each = load.n / threads.min(4);
    let watch = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (keyspace, order) = (keyspace.clone(), &order);
                scope.spawn(move || -> peercask::Result<()> {
                    let start = usize::try_from(thread * load.n / threads).unwrap_or(0);
                    let mine = order.iter().cycle().skip(start);
                    for i in mine.take(usize::try_from(each).unwrap_or(0)) {
                        let value = keyspace.get(load.key(*i))?;
                        let copy = std::hint::black_box(value.map(|value| value.to_vec()));
                        assert_eq!(copy.map(|v| v.len()), Some(load.value_len));
                    }
                    Ok(())
                })
            })
            .collect();
        let mut joined = running.into_iter().map(|thread| thread.join());
        joined.try_for_each(|done| done.expect("no reader panics"))
    })?;
    let workload = format!("get-{name}-{threads}");
    let n = each * threads;
    let mut result = line(load, "peercask", &workload, n, watch.elapsed());
    result["threads"] = json!(threads);
    Ok(result)
}

/// A thread that does nothing but look at the clock: its pauses are the machine's.
#[derive(Default)]
struct Control {
    stop: AtomicBool,
    longest_ns: AtomicU64,
}

impl Control {
    fn watch(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let before = Instant::now();
            std::thread::sleep(Duration::from_micros(100));
            let late = before.elapsed().saturating_sub(Duration::from_micros(100));
            let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            self.longest_ns.fetch_max(late, Ordering::Relaxed);
        }
    }

    fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed))
    }
}
