//! Micro-benchmarks of the engine's pieces: record, keydir, commit, get, scan, recovery, merge.
//! `cargo bench -p peercask-bench --features micro`; a name behind it takes only what it matches.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing better to do than stop"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use peercask::micro::{Codec, Index};
use peercask::{Durability, IndexKind, Keyspace, KeyspaceOptions, Merge, Options, Store, Write};
use peercask_bench::load::{GROUP, Load, Order};
use tempfile::TempDir;

/// Keys of the stores and keydirs.
const KEYS: u32 = 100_000;
/// Records of a batch.
const BATCH: u64 = 100;
const LOAD: Load = Load {
    n: KEYS as u64,
    key_len: 32,
    value_len: 100,
    threads: 1,
    limit: Duration::MAX,
};
const KINDS: [IndexKind; 2] = [IndexKind::Hash, IndexKind::Ordered];

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    for value_len in [100_usize, 1_024, 65_536] {
        let (key, value, mut codec) = ([7; 32], vec![9; value_len], Codec::default());
        group.throughput(Throughput::Bytes(32 + value_len as u64));
        group.bench_function(format!("encode {value_len}"), |b| {
            b.iter(|| codec.encode(black_box(&key), black_box(&value)));
        });
        group.bench_function(format!("decode {value_len}"), |b| {
            b.iter(|| assert!(black_box(&codec).decode()));
        });
    }
}

fn keydir(c: &mut Criterion) {
    let mut group = c.benchmark_group("keydir");
    for kind in KINDS {
        let filled = || {
            let index = Index::new(kind);
            (0..KEYS).for_each(|i| index.insert(i));
            index
        };
        group.bench_function(format!("insert {KEYS}, {kind}"), |b| b.iter(filled));
        let (index, order) = (filled(), Order::new(LOAD.n, 1));
        let mut at = 0..;
        let mut next = move || u32::try_from(order.at(at.next().unwrap())).unwrap();
        group.bench_function(format!("find, {kind}"), |b| {
            b.iter(|| assert!(index.find(black_box(next()))));
        });
        let mut i = 0;
        group.bench_function(format!("replace and back, {kind}"), |b| {
            b.iter(|| {
                i = (i + 7) % KEYS;
                assert!(index.replace(i, 1, 2) && index.replace(i, 2, 1));
            });
        });
    }
}

/// A store, where it lies, and a keyspace of it.
struct Place {
    keyspace: Keyspace,
    store: Store,
    dir: TempDir,
}

fn store(kind: IndexKind, options: Options) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options).unwrap();
    let keyspace = store.keyspace("bench", options_of(kind)).unwrap();
    Place {
        keyspace,
        store,
        dir,
    }
}

fn options_of(kind: IndexKind) -> KeyspaceOptions {
    match kind {
        IndexKind::Hash => KeyspaceOptions::hash(),
        IndexKind::Ordered => KeyspaceOptions::ordered(),
    }
}

fn put(keyspace: &Keyspace, i: u64, durability: Durability) {
    let (mut key, value) = (Vec::new(), [9; 100]);
    LOAD.key(i, &mut key);
    let write = Write::new().durability(durability);
    let commit = keyspace.put_with(&key, value, write).unwrap();
    commit.wait().unwrap();
}

fn filled(kind: IndexKind, options: Options) -> Place {
    let place = store(kind, options);
    (0..LOAD.n).for_each(|i| put(&place.keyspace, i, Durability::Buffered));
    place.store.sync().unwrap();
    place
}

fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    for kind in KINDS {
        for durability in [Durability::Buffered, Durability::Kernel, Durability::Device] {
            let place = store(kind, Options::default());
            let mut i = 0;
            group.bench_function(format!("put {durability}, {kind}"), |b| {
                b.iter(|| {
                    i = (i + 1) % LOAD.n;
                    put(&place.keyspace, i, durability);
                });
            });
        }
    }
    let place = store(IndexKind::Hash, Options::default());
    let (mut i, mut key) = (0, Vec::new());
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("batch of 100 kernel, hash", |b| {
        b.iter(|| {
            let mut batch = place.store.batch();
            for _ in 0..BATCH {
                i = (i + 1) % LOAD.n;
                LOAD.key(i, &mut key);
                batch.put(&place.keyspace, &key, [9; 100]);
            }
            let commit = batch.commit_with(Durability::Kernel).unwrap();
            commit.wait().unwrap();
        });
    });
}

fn get(c: &mut Criterion) {
    let mut group = c.benchmark_group("get");
    for kind in KINDS {
        let place = filled(kind, Options::default());
        for (name, base) in [("hit", 0), ("miss", LOAD.n + GROUP)] {
            let (order, mut i, mut key) = (Order::new(LOAD.n, 2), 0, Vec::new());
            group.bench_function(format!("{name}, {kind}"), |b| {
                b.iter(|| {
                    i += 1;
                    LOAD.key(base + order.at(i), &mut key);
                    let found = place.keyspace.get(black_box(&key)).unwrap();
                    assert_eq!(found.is_some(), base == 0);
                });
            });
        }
    }
}

fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    let place = filled(IndexKind::Ordered, Options::default());
    let (order, mut i) = (Order::new(LOAD.n / GROUP, 2), 0);
    group.throughput(Throughput::Elements(GROUP));
    group.bench_function("prefix of 64 entries", |b| {
        b.iter(|| {
            i += 1;
            let entries = place.keyspace.prefix(LOAD.prefix(order.at(i))).unwrap();
            assert_eq!(entries.count() as u64, GROUP);
        });
    });
}

fn recovery(c: &mut Criterion) {
    let mut group = c.benchmark_group("recovery");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(LOAD.n));
    for kind in KINDS {
        for (name, image_bytes) in [("by image", 0), ("by hints", u64::MAX)] {
            let options = Options::default().image_index_bytes(image_bytes);
            let place = filled(kind, options.clone());
            let dir = place.dir;
            drop(place.keyspace);
            place.store.close().unwrap();
            group.bench_function(format!("open {name}, {kind}"), |b| {
                b.iter_batched(
                    || options.clone(),
                    |options| Store::open(dir.path(), options).unwrap(),
                    // The store is closed by being dropped, outside the time that is taken.
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(LOAD.n));
    for kind in KINDS {
        group.bench_function(format!("full, half dead, {kind}"), |b| {
            b.iter_batched(
                || {
                    let options = Options::default().background(false).segment_bytes(4 << 20);
                    let place = filled(kind, options);
                    (0..LOAD.n)
                        .step_by(2)
                        .for_each(|i| put(&place.keyspace, i, Durability::Buffered));
                    place.store.sync().unwrap();
                    place
                },
                |place| {
                    let report = place.store.merge(Merge::Full).unwrap();
                    assert!(report.records_copied > 0);
                    place
                },
                BatchSize::PerIteration,
            );
        });
    }
}

mod groups {
    use super::{
        Criterion, Duration, commit, criterion_group, get, keydir, merge, record, recovery, scan,
    };

    criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = record, keydir, commit, get, scan, recovery, merge
    }
}
criterion_main!(groups::benches);
