//! Stale records of the same segment's past at their own offset: an append failed and was cut off, and a crash
//! brings back what it had written, under the right salt and at the right place. Nothing of it is replayed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::forge::records_of;
use crate::crash::machine::{keyspace, options};
use crate::crash::trace::lock;
use crate::crash::{Cut, Failure, Fault, Operation, SimDisk};
use crate::options::{Durability, Write};
use crate::segment::names::{self, FileName};
use crate::store::Store;
use crate::sync::Mutex;

type Files = BTreeMap<String, Vec<u8>>;

fn segments(disk: &SimDisk) -> Files {
    let names = disk.files().into_iter().map(|(name, _)| name);
    names
        .filter(|name| matches!(names::parse(name), FileName::Segment(_)))
        .map(|name| {
            let bytes = disk.bytes_of(&name).expect("listed");
            (name, bytes)
        })
        .collect()
}

/// A durable put, a batch of three whose append fails although it was done, and a put of `len` bytes after it;
/// then a kill. And the segments after each call.
fn after_a_failed_batch(len: usize) -> (SimDisk, Vec<Files>) {
    let disk = SimDisk::new(61);
    let store = Store::open_on(&disk, options()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    space.put([0], [9; 30]).expect("put");
    let pasts = Arc::new(Mutex::new(Vec::new()));
    let keep = pasts.clone();
    disk.set_hook(Some(Box::new(move |state| {
        let then = SimDisk::with_state(state.clone(), 1, 0);
        lock(&keep).push(segments(&then));
    })));
    let mut batch = store.batch();
    for key in 1..4_u8 {
        batch.put(&space, [key], [key; 30]);
    }
    disk.set_faults(&[Fault::new(Operation::Write, Failure::Io).done(true)]);
    let failed = batch.commit_with(Durability::Kernel);
    let failed = failed.and_then(|commit| commit.wait().map(drop));
    failed.expect_err("its write failed");
    disk.set_faults(&[]);
    let kernel = Write::new().durability(Durability::Kernel);
    let put = space.put_with([4], vec![4; len], kernel);
    put.and_then(|commit| commit.wait()).expect("put");
    disk.set_hook(None);
    let pasts = std::mem::take(&mut *lock(&pasts));
    (disk.crash(&Cut::Kill), pasts)
}

/// Where the last byte that is not zero ends.
fn end_of(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| last + 1)
}

#[test]
fn stale_records_of_the_segments_own_past_behind_its_end_are_not_replayed() {
    let (mut tried, mut at_their_offset) = (0, 0);
    // Among the lengths is that of the batch's first member.
    for len in 20..45 {
        let (disk, pasts) = after_a_failed_batch(len);
        for (name, now) in segments(&disk) {
            let end = end_of(&now);
            let mut stale: Vec<_> = pasts.iter().filter_map(|past| past.get(&name)).collect();
            stale.retain(|past| end_of(past) > end);
            stale.dedup();
            for past in stale {
                let mut bytes = now.clone();
                bytes.resize(bytes.len().max(past.len()), 0);
                bytes[end..past.len()].copy_from_slice(&past[end..]);
                at_their_offset += u64::from(records_of(past).contains(&(end as u64)));
                let copy = disk.crash(&Cut::Kill);
                copy.put_file(&name, &bytes);
                tried += 1;
                let store = Store::open_on(&copy, options()).expect("opens");
                assert_eq!(store.recovery().damage, [], "{len}");
                let space = keyspace(&store, 0).expect("there");
                let there = |key: u8| space.get([key]).expect("read").map(|value| value.to_vec());
                assert_eq!(there(0), Some(vec![9; 30]), "{len}");
                for key in 1..4 {
                    assert_eq!(there(key), None, "key {key} was refused, {len}");
                }
                assert_eq!(there(4), Some(vec![4; len]), "{len}");
            }
        }
    }
    println!("{tried} stale ends, {at_their_offset} with a record at its own offset");
    assert!(at_their_offset >= 25, "{at_their_offset} of {tried}");
}
