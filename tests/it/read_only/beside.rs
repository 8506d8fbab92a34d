//! A reader beside a writer and merges that never rest: batches are whole after each refresh, and
//! time does not run backwards.

use std::sync::atomic::{AtomicBool, Ordering};

use peercask::{Merge, Store};

use crate::support::{Place, SetAtEnd, hash, ordered, rounds};

const COUNTERS: u8 = 4;
/// More than are written while the readers look, few enough to stay small.
const BATCHES: u64 = 20_000;

#[test]
fn a_reader_beside_writer_and_merges_sees_whole_batches_in_order() {
    let place = Place::new();
    let options = place.options().segment_bytes(64 << 10);
    let store = place.open_with(options.clone());
    let [a, b] = [hash(&store, "a"), ordered(&store, "b")];
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _set_at_end = SetAtEnd(&stop);
        scope.spawn(|| {
            for number in 1..=BATCHES {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let mut batch = store.batch();
                for counter in 0..COUNTERS {
                    batch.put(&a, [counter], number.to_le_bytes());
                    batch.put(&b, [counter], number.to_le_bytes());
                }
                batch.put(&a, format!("filler {}", number % 64), vec![7; 100]);
                batch.commit().expect("committed");
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.merge(Merge::Full).expect("merged");
            }
        });
        let mut last = 0;
        let mut seen = 0;
        let mut reader = Store::open_read_only(place.path(), options.clone()).expect("opened");
        for round in 0..rounds(150) {
            if round % 25 == 24 {
                reader = Store::open_read_only(place.path(), options.clone()).expect("opened");
            } else {
                reader.refresh().expect("refreshed");
            }
            let numbers = counters(&reader);
            for number in &numbers {
                assert_eq!(number, &numbers[0], "batches are whole: {numbers:?}");
                assert!(*number >= last, "{number} after {last}");
                last = *number;
                seen += 1;
            }
        }
        assert!(seen > 0 && last > 0);
    });
}

fn counters(reader: &Store) -> Vec<u64> {
    let mut numbers = Vec::new();
    for name in ["a", "b"] {
        let space = reader.existing_keyspace(name).expect("there");
        for counter in 0..COUNTERS {
            let value = space.get([counter]).expect("read");
            numbers.extend(
                value.map(|value| u64::from_le_bytes(value[..].try_into().expect("a counter"))),
            );
        }
    }
    assert!(numbers.is_empty() || numbers.len() == 2 * usize::from(COUNTERS));
    numbers
}
