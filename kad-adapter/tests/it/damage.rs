//! Files that were cut or flipped: they open, say what was lost, and lose only that.

use std::fs;
use std::path::{Path, PathBuf};

use libp2p_kad::store::RecordStore;
use peercask_kad::{Options, PersistentStore};

use crate::support::*;

const RECORDS: u64 = 120;

fn options() -> Options {
    let engine = peercask::Options::default()
        .segment_bytes(8 << 10)
        .reserve_bytes(0);
    quiet().engine(engine)
}

/// A store with several segments, as a kill leaves it, all of it on the device.
fn left_behind() -> tempfile::TempDir {
    let dir = dir();
    let mut store = open_with(dir.path(), options());
    for number in 0..RECORDS {
        store
            .put(record(number, &[number as u8; 100]))
            .expect("put");
        store.add_provider(own_provide(number)).expect("added");
        store.add_provider(provider(number, number)).expect("added");
        store.handle().step().expect("stepped");
    }
    store.handle().sync().expect("synced");
    // Whatever is written next carries the mark that all before is on the device.
    store.put(record(RECORDS, b"the mark")).expect("put");
    copy_of(dir.path())
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = peercask::inspect::segments(dir)
        .expect("listed")
        .into_iter()
        .map(|segment| (segment.id, dir.join(segment.file)))
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// How many of each are there; every one that is, is whole.
fn survivors(store: &PersistentStore) -> [u64; 3] {
    let mut there = [0; 3];
    for number in 0..RECORDS {
        if let Some(found) = store.get(&key(number)) {
            assert_eq!(found.value, [number as u8; 100]);
            there[0] += 1;
        }
        for found in store.providers(&key(number)) {
            assert_eq!(found.key, key(number));
            there[if found.provider == local() { 1 } else { 2 }] += 1;
        }
    }
    there
}

/// Opens what damage left. How many records are missing.
fn missing_after(copy: &Path, what: &str) -> u64 {
    let store = PersistentStore::open(copy, local(), options());
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    let missing: u64 = survivors(&store).iter().map(|there| RECORDS - there).sum();
    if missing > 0 {
        let handle = store.handle();
        let report = handle.report();
        let told = report.recovery.damage.len() as u64
            + report.recovery.cut.len() as u64
            + report.damaged
            + store.handle().stats().damaged;
        assert!(told > 0, "{what}: {missing} are gone and nobody says so");
    }
    // It goes on as a store.
    drop(store);
    let mut store = open_with(copy, options());
    store.put(record(9_999, b"after")).expect("put");
    assert!(store.get(&key(9_999)).is_some());
    missing
}

#[test]
fn a_flipped_byte_costs_at_most_the_record_that_it_hits() {
    let dir = left_behind();
    let all = segments(dir.path());
    assert!(all.len() >= 5, "{}", all.len());
    let mut rng = Rng::new(11);
    for (which, place) in [
        ("a middle segment", all.len() / 2),
        ("the last", all.len() - 1),
    ] {
        for _ in 0..rounds(40) {
            let copy = copy_of(dir.path());
            let path = segments(copy.path())[place].clone();
            let mut bytes = fs::read(&path).expect("read");
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            fs::write(&path, bytes).expect("written");
            let missing = missing_after(copy.path(), &format!("{which}, byte {at}"));
            assert!(
                missing <= 1,
                "{which}, byte {at}: {missing} records are gone"
            );
        }
    }
}

#[test]
fn a_torn_or_zeroed_tail_costs_what_lay_in_it() {
    let dir = left_behind();
    let last = segments(dir.path()).pop().expect("some");
    let bytes = fs::read(&last).expect("read");
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("not empty")
        + 1;
    let mut most = 0;
    for cut in (160..end).rev().step_by(end / 40) {
        for zeroed in [false, true] {
            let copy = copy_of(dir.path());
            let path = segments(copy.path()).pop().expect("some");
            let mut torn = bytes[..cut].to_vec();
            if zeroed {
                torn.resize(bytes.len(), 0);
            }
            fs::write(&path, torn).expect("written");
            let what = format!("cut at {cut}, zeroed: {zeroed}");
            let missing = missing_after(copy.path(), &what);
            // A record takes at least 60 bytes.
            assert!(
                missing as usize <= (end - cut) / 60 + 1,
                "{what}: {missing}"
            );
            most = most.max(missing);
        }
    }
    assert!(most > 0, "the cuts hit something");
}
