//! Deletions by prefix that lie over several segments: at every crash, failed call and full disk all
//! of one is there or nothing, and what follows it stands.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::faults::survives;
use super::reader::read;
use super::times;
use crate::crash::machine::options;
use crate::crash::trace::lock;
use crate::crash::{Explorer, Failure, Fault, Operation, SimDisk, Workload};
use crate::keyspace::Keyspace;
use crate::options::KeyspaceOptions;
use crate::segment::names::{self, FileName};
use crate::store::Store;
use crate::sync::Mutex;

/// Six keys, of which the tombstones take three segments or more.
const KEYS: &str = "p1.0.30k,p1.1.30k,p1.2.30k,p1.3.30k,p1.4.30k,p1.5.30k";

fn workload(rest: &str) -> Workload {
    format!("{KEYS},{rest}").parse().expect("steps")
}

#[test]
fn the_workloads_below_meet_a_batch_over_three_segments() {
    let store = Store::open_on(&SimDisk::new(1), options()).expect("opened");
    let space = store.keyspace("ordered", KeyspaceOptions::ordered());
    let space = space.expect("made");
    for key in 0..6_u8 {
        space.put([key], [7; 30]).expect("put");
    }
    let before = store.stats();
    assert_eq!(space.delete_prefix("").expect("deleted"), 6);
    let after = store.stats();
    assert!(after.segments - before.segments >= 3);
    assert_eq!(after.last_seq - before.last_seq, 6);
}

#[test]
fn a_deletion_over_several_segments_is_whole_or_absent_at_every_crash() {
    let rests = [
        "D1d,p0.1.30d",
        "D1k,p1.2.30k,s",
        "D1b,f,p1.2.30d",
        "s,D1k,p0.1.30d,D1d,o",
        "D1d,m,M,p1.1.30d,o",
        "n,D1k,w7,M,n,s",
        "D1k,c,D1k,p1.3.30d",
        "W,D1k,i,W,o,p1.0.30d",
    ];
    let workloads: Vec<Workload> = rests.map(workload).to_vec();
    Explorer::new()
        .states(1_500 * times())
        .depth(1)
        .samples(40)
        .workloads(&workloads)
        .assert_survived(800);
}

#[test]
fn a_call_that_fails_within_it_leaves_nothing_of_it() {
    let mut judged = 0;
    let rest = workload("D1k,p1.2.30k,D1d,p0.1.30d,o,p1.1.30d");
    for operation in Operation::ALL.into_iter().filter(|op| op.changes()) {
        for after in (3..24).step_by(2) {
            let once = Fault::new(operation, Failure::Io).after(after);
            judged += survives(&rest, &[once.done(after % 4 == 1)], None);
            if after % 3 == 0 {
                let full = Fault::new(operation, Failure::StorageFull).after(after);
                judged += survives(&rest, &[full.for_good(true)], None);
            }
        }
    }
    assert!(judged > 300, "{judged}");
}

#[test]
fn a_disk_that_runs_full_within_it_loses_nothing() {
    let mut judged = 0;
    for capacity in (400..3_000).step_by(97) {
        let rest = workload("D1k,p1.2.30k,D1d,p0.1.30d");
        judged += survives(&rest, &[], Some(capacity));
    }
    assert!(judged > 100, "{judged}");
}

/// A store with six keys, of which the tombstones take three segments or more.
fn with_keys(disk: &SimDisk) -> (Store, Keyspace) {
    let store = Store::open_on(disk, options()).expect("opened");
    let space = store.keyspace("ordered", KeyspaceOptions::ordered());
    let space = space.expect("made");
    for key in 0..6_u8 {
        space.put([key], [7; 30]).expect("put");
    }
    (store, space)
}

/// A deletion of all that is refused at its write with this number, counted from 0.
fn refuse(disk: &SimDisk, space: &Keyspace, at: u64) {
    let full = Fault::new(Operation::Write, Failure::StorageFull).after(at);
    disk.set_faults(&[full]);
    space.delete_prefix("").expect_err("no room");
    disk.set_faults(&[]);
}

fn keys(store: &Store) -> Vec<Vec<u8>> {
    let space = store.existing_keyspace("ordered").expect("there");
    let entries = space.prefix("").expect("ordered");
    entries
        .map(|entry| entry.expect("read").key.to_vec())
        .collect()
}

#[test]
fn one_that_is_refused_leaves_no_files_and_readers_beside_it_go_on() {
    for seed in 1..=4 {
        let disk = SimDisk::new(seed);
        let (store, space) = with_keys(&disk);
        let reader = read(&disk).expect("there is a store");
        let follower = reader.clone();
        disk.set_hook(Some(Box::new(move |_| {
            follower.refresh().expect("refreshed");
            assert!(keys(&follower).len() >= 6);
        })));
        let segments = || {
            let files = disk.files().into_iter();
            let is_segment = |name: &str| matches!(names::parse(name), FileName::Segment(_));
            files.filter(|(name, _)| is_segment(name)).count()
        };
        for round in 0..6_u8 {
            let before = segments();
            refuse(&disk, &space, 2 + u64::from(round % 3));
            assert_eq!(segments(), before, "{:?}", disk.files());
            for more in 0..2 {
                space.put([10 + 2 * round + more], "value").expect("put");
                reader.refresh().expect("refreshed");
                assert_eq!(keys(&reader), keys(&store), "seed {seed}, round {round}");
            }
        }
        disk.set_hook(None);
        assert_eq!(space.delete_prefix("").expect("room"), 18);
        reader.refresh().expect("refreshed");
        assert_eq!(keys(&reader).len(), 0);
    }
}

#[test]
fn who_looks_at_parts_of_one_that_is_refused_meets_no_hole() {
    let disk = SimDisk::new(1);
    let (store, space) = with_keys(&disk);
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (beside, keep) = (store.clone(), kept.clone());
    disk.set_hook(Some(Box::new(move |_| {
        lock(&keep).extend(beside.core().log.table.by_id());
    })));
    refuse(&disk, &space, 4);
    disk.set_hook(None);
    for segment in lock(&kept).iter() {
        segment.all_bytes().expect("as much as was written");
    }
}

#[test]
fn verify_beside_one_that_is_refused_finds_nothing() {
    let disk = SimDisk::new(1);
    let (store, space) = with_keys(&disk);
    std::thread::scope(|scope| {
        let verified = scope.spawn(|| {
            for _ in 0..200 {
                let report = store.verify(&mut |_| {}).expect("verified");
                assert!(report.is_clean(), "{:?}", report.damage);
            }
        });
        while !verified.is_finished() {
            refuse(&disk, &space, 4);
            std::thread::yield_now();
        }
        verified.join().expect("clean each time");
    });
}

#[test]
fn statistics_do_not_wait_for_one() {
    let disk = SimDisk::new(1);
    let (store, space) = with_keys(&disk);
    let (tell, told) = sync_channel(1_000);
    let asked = store.clone();
    disk.set_hook(Some(Box::new(move |_| {
        let (asked, tell, (done, is_done)) = (asked.clone(), tell.clone(), sync_channel(1));
        std::thread::spawn(move || done.send(asked.stats().last_seq));
        // One that waits for the log lock gets it only when this call has returned.
        let _nobody_listens = tell.send(is_done.recv_timeout(Duration::from_secs(10)));
    })));
    assert_eq!(space.delete_prefix("").expect("deleted"), 6);
    disk.set_hook(None);
    let told: Vec<_> = told.try_iter().collect();
    assert!(told.len() >= 4, "the hook was there: {told:?}");
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    assert_eq!(store.stats().last_seq, 12);
}
