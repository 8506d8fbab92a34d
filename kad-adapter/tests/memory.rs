//! Memory per record and per call, as the allocator saw it: a binary of its own with one test, so
//! that nobody else allocates meanwhile. `PEERCASK_SEEDS` times as many own records, within the same bound.
#![expect(clippy::print_stderr, reason = "the figures are what it is run for")]

use std::alloc::System;

use libp2p_identity::PeerId;
use libp2p_kad::store::RecordStore;
use libp2p_kad::{ProviderRecord, Record, RecordKey};
use peercask_kad::{Limits, Options, PersistentStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Grows, not shrinks: all of it counts against the records.
const BYTES_PER_RECORD_MAX: f64 = 100.0;
/// The largest that one call may take at once. An index of 200,000 records has some 15 MiB.
const BYTES_PER_CALL_MAX: usize = 1 << 20;
/// The same where 50,000 of each kind have indexes of 4 MiB: a page of the engine's keydir that splits, of
/// 16,384 entries, is the most that a call takes. Even a map from slot to slot that grows as a whole would take more.
const OWN_BYTES_PER_CALL_MAX: usize = 512 << 10;

/// Spread like SHA-256, and the same each time.
fn id(number: u64) -> [u8; 34] {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&[0x12, 0x20]);
    let mut z = number;
    for at in 0..4 {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bytes[2 + at * 8..10 + at * 8].copy_from_slice(&(mixed ^ (mixed >> 32)).to_le_bytes());
    }
    bytes
}

fn provider(number: u64, now: std::time::Instant) -> ProviderRecord {
    let peer = PeerId::from_bytes(&id(number % 5_000)).expect("a multihash");
    let address = "/ip4/10.0.0.1/tcp/4001".parse().expect("an address");
    ProviderRecord {
        expires: Some(now + std::time::Duration::from_secs(172_800 + number / 1_500)),
        ..ProviderRecord::new(RecordKey::new(&id(number << 20)), peer, vec![address])
    }
}

/// The most that one of these calls took: what is taken in one call is no less than the largest
/// single allocation in it.
fn largest_call(numbers: std::ops::Range<u64>, mut call: impl FnMut(u64)) -> usize {
    let mut largest = 0;
    for number in numbers {
        let region = Region::new(GLOBAL);
        call(number);
        largest = largest.max(region.change().bytes_allocated);
    }
    largest
}

fn opened(dir: &std::path::Path) -> PersistentStore {
    let options = Options::default().background(false).limits(Limits {
        queue_bytes_max: 1 << 20,
        foreign_records_max: 1 << 30,
        ..Limits::default()
    });
    let local = PeerId::from_bytes(&id(u64::MAX)).expect("a multihash");
    PersistentStore::open(dir, local, options).expect("opened")
}

#[test]
fn a_provider_record_takes_at_most_a_hundred_bytes_and_no_call_moves_the_index() {
    foreign_provides();
    own_records();
}

#[expect(clippy::cast_precision_loss, reason = "a measurement")]
fn foreign_provides() {
    const RECORDS: u64 = 200_000;
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = opened(dir.path());
    let handle = store.handle();
    let now = std::time::Instant::now();
    let region = Region::new(GLOBAL);
    let mut largest = 0;
    for from in (0..RECORDS).step_by(2_000) {
        let calls = largest_call(from..from + 2_000, |number| {
            store.add_provider(provider(number, now)).expect("added");
        });
        largest = largest.max(calls);
        handle.step().expect("stepped");
    }
    let change = region.change();
    let held = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    let engine = handle.engine().stats().index_bytes as f64;
    let each = held / RECORDS as f64;
    eprintln!(
        "{each:.1} bytes a record, of which the engine's keydir says {:.1}; largest call {largest}",
        engine / RECORDS as f64
    );
    assert!(largest < BYTES_PER_CALL_MAX, "{largest} bytes in one call");
    assert!(each <= BYTES_PER_RECORD_MAX, "{each:.1} bytes a record");
}

/// The calls that write by themselves: values of others and own, own provides.
fn own_records() {
    let seeds = std::env::var("PEERCASK_SEEDS").ok();
    let records = 50_000 * seeds.and_then(|n| n.parse().ok()).unwrap_or(1_u64).max(1);
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = opened(dir.path());
    let local = store.handle().local_peer_id();
    let puts = largest_call(0..records, |number| {
        let own = number % 2 == 0;
        let value = Record {
            publisher: own.then_some(local),
            ..Record::new(RecordKey::new(&id(number)), vec![7; 100])
        };
        store.put(value).expect("put");
    });
    let provides = largest_call(0..records, |number| {
        let own = ProviderRecord::new(RecordKey::new(&id(number)), local, vec![]);
        store.add_provider(own).expect("added");
    });
    let stats = store.handle().stats();
    assert_eq!((stats.records, stats.own_keys), (records, records));
    eprintln!("largest put {puts}, largest own provide {provides}");
    assert!(puts < OWN_BYTES_PER_CALL_MAX, "{puts} bytes in one put");
    assert!(
        provides < OWN_BYTES_PER_CALL_MAX,
        "{provides} bytes in one own provide"
    );
}
