//! Deletions by prefix that lie over several segments: at every crash, failed call and full disk all
//! of one is there or nothing, and what follows it stands.

use super::faults::survives;
use super::times;
use crate::crash::machine::options;
use crate::crash::{Explorer, Failure, Fault, Operation, SimDisk, Workload};
use crate::options::KeyspaceOptions;
use crate::store::Store;

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
