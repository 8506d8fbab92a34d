//! Checkpoints beside writers and merge: each holds a prefix of history, batches whole.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use peercask::{Durability, KeyspaceOptions, Merge, Store};

use super::contents_of;
use crate::support::{Place, SetAtEnd, hash, ordered, rounds};

const COUNTERS: u8 = 5;
/// Enough to go on while all checkpoints are made, few enough to stay small.
const BATCHES: u64 = 20_000;

#[test]
fn a_checkpoint_beside_writers_and_merges_holds_a_prefix_with_batches_whole() {
    let place = Place::new();
    let options = place
        .options()
        .durability(Durability::Buffered)
        .segment_bytes(256 << 10);
    let store = place.open_with(options.clone());
    let [a, b] = [hash(&store, "a"), ordered(&store, "b")];
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut checked = 0;
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
                batch.put(&a, format!("filler {}", number % 64), vec![7; 200]);
                batch.commit().expect("committed");
                written.store(number, Ordering::Release);
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.merge(Merge::Full).expect("merged");
                store
                    .keyspace("comes and goes", KeyspaceOptions::hash())
                    .expect("made");
                store.drop_keyspace("comes and goes").expect("dropped");
            }
        });
        for round in 0..rounds(12) {
            let dir = place.file(if round % 2 == 0 { "same" } else { "other" });
            let before = written.load(Ordering::Acquire);
            store.checkpoint_to(&dir).expect("made");
            let after = written.load(Ordering::Acquire) + 1;
            let found = contents_of(&dir, &options);
            let numbers: Vec<u64> = found
                .iter()
                .filter(|((_, key), _)| key.len() == 1)
                .map(|(_, value)| u64::from_le_bytes(value[..].try_into().expect("a counter")))
                .collect();
            if before > 0 {
                assert_eq!(numbers.len(), 2 * usize::from(COUNTERS));
            }
            for number in &numbers {
                assert_eq!(number, &numbers[0], "batches are whole");
                assert!(
                    (before..=after).contains(number),
                    "{before} {number} {after}"
                );
                checked += 1;
            }
            if round % 4 == 3 {
                std::fs::remove_dir_all(&dir).expect("removed");
            }
        }
    });
    assert!(checked > 0 && written.load(Ordering::Relaxed) > 0);
    store.close().expect("closed");
    // Pins are gone: nothing dead stays.
    let store = Store::open(place.path(), options).expect("opened");
    assert_eq!(store.recovery().removed_files, [""; 0]);
}
