//! A store of a thousand records with single bytes flipped, in a process of its own so that its allocations can
//! be counted: each costs at most the record it hits, is told, and never makes opening ask for more memory than
//! the files account for. Some hundred bytes spread over all files; `PEERCASK_SEEDS=500` flips every one.

use std::process::Command;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

use super::times;
use crate::crash::machine::{keyspace, options};
use crate::crash::{Cut, SimDisk};
use crate::options::{Durability, Options, Write};
use crate::store::Store;

const CHILD: &str = "PEERCASK_TEST_THOUSAND";
const RECORDS: u16 = 1_000;
/// Bytes flipped in one round.
const FLIPS: usize = 250;
/// Opening allocates no more than this in all, for each byte of the files: some read, hashed and built twice.
const ALLOCATED_PER_BYTE: usize = 10;

fn thousand() -> Options {
    options().segment_bytes(16_384)
}

fn value(key: u16) -> [u8; 12] {
    let mut value = [0xA5; 12];
    value[..2].copy_from_slice(&key.to_le_bytes());
    value
}

fn store_on(disk: &SimDisk) {
    let store = Store::open_on(disk, thousand()).expect("opened");
    let space = keyspace(&store, 0).expect("made");
    let write = Write::new().durability(Durability::Buffered);
    for key in 0..RECORDS {
        let put = space.put_with(key.to_le_bytes(), value(key), write);
        drop(put.expect("put"));
    }
    drop(space);
    store.close().expect("closed");
}

/// Keys that cannot be read; all others are what was written.
fn lost_keys(store: &Store, what: &str) -> u64 {
    let space = keyspace(store, 0).expect("there");
    let mut lost = 0;
    for key in 0..RECORDS {
        match space.get(key.to_le_bytes()) {
            Ok(Some(found)) => assert_eq!(*found, value(key), "{what}: {key}"),
            Ok(None) | Err(_) => lost += 1,
        }
    }
    lost
}

/// Not a test of its own: the child.
#[test]
fn helper_flips_bytes_of_a_thousand_records() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let disk = SimDisk::new(1);
    store_on(&disk);
    let files = disk.files().into_iter();
    let files = files.filter(|(name, _)| name != "LOCK" && name != "RESERVE");
    let files: Vec<(String, usize)> = files.collect();
    let bytes: usize = files.iter().map(|(_, len)| len).sum();
    let wanted = FLIPS * usize::try_from(times()).expect("a small number");
    let step = (bytes / wanted).max(1);
    let (mut flips, mut costly, mut most, mut before) = (0, 0, 0, 0);
    for (name, len) in &files {
        // As many from here on as the whole of all files gives.
        let first = (step - before % step) % step;
        before += len;
        for at in (first..*len).step_by(step) {
            let copy = disk.crash(&Cut::Kill);
            copy.rot(name, at, 1 << (flips % 8)).expect("there");
            let what = format!("{name} byte {at}");
            let region = Region::new(&INSTRUMENTED_SYSTEM);
            let store = Store::open_on(&copy, thousand());
            let allocated = region.change().bytes_allocated;
            let store = store.unwrap_or_else(|e| panic!("{what}: {e}"));
            most = most.max(allocated);
            let lost = lost_keys(&store, &what);
            assert!(lost <= 1, "{what}: {lost} keys are lost");
            let verified = store.verify(&mut |_| {}).expect("verified");
            let told = !store.recovery().damage.is_empty() || !verified.is_clean();
            let ignored = !store.recovery().images_ignored.is_empty();
            assert!(told || ignored, "{what}: nothing was said");
            costly += lost;
            flips += 1;
        }
    }
    println!("{flips} of {bytes} bytes flipped, {costly} records lost, {most} bytes allocated");
    assert!(most <= ALLOCATED_PER_BYTE * bytes, "{most} of {bytes}");
    assert!(flips >= FLIPS && costly > 10, "{flips} {costly}");
    println!("DONE");
}

#[test]
fn a_flipped_byte_of_a_thousand_records_costs_one_and_no_memory() {
    let exe = std::env::current_exe().expect("this test has a file");
    let helper = "crash::tests::thousand::helper_flips_bytes_of_a_thousand_records";
    let mut child = Command::new(exe);
    child.args([helper, "--exact", "--nocapture", "--test-threads=1"]);
    let ran = child.env(CHILD, "1").output().expect("the child runs");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let more = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success() && told.contains("DONE"),
        "{told}{more}"
    );
    print!("{told}");
}
