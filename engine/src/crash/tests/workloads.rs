//! Built-in workloads under the explorer.

use super::times;
use crate::crash::{Explorer, Failure, Workload};

#[test]
fn a_crash_at_any_call_of_a_random_workload_leaves_a_prefix_of_history() {
    let report = Explorer::new().seed(1).states(12_000 * times()).run();
    println!("{report}");
    report.assert_survived(10_000);
}

/// All pairs of steps on one disk. Points with up to 64 legal power cuts are explored whole, which most are: what
/// is lost together with what else is not left to the dice there.
#[test]
fn every_workload_of_two_steps_survives_every_crash() {
    let report = Explorer::new()
        .seed(2)
        .states(u64::MAX)
        .whole_up_to(64)
        .depth(1)
        .workloads(&Workload::all(2));
    println!("{report}");
    let (whole, points) = (report.points_whole, report.points);
    report.assert_survived(1_000);
    assert!(whole * 10 > points * 7, "{whole} of {points} points whole");
}

/// Workloads of three steps, one in so many of them, evenly over all. All 4,913 of them, as hard as `peercask crash --exhaustive 3` does it, with `PEERCASK_EXHAUSTIVE=3`.
const ONE_IN: usize = 64;

#[test]
fn workloads_of_three_steps_survive_every_crash() {
    let all = Workload::all(3);
    let wanted = std::env::var_os("PEERCASK_EXHAUSTIVE").is_some();
    let (one_in, whole_up_to, depth) = match wanted {
        true => (1, 4_096, 2),
        false => (ONE_IN, 16, 0),
    };
    let some: Vec<Workload> = all.into_iter().step_by(one_in).collect();
    let report = Explorer::new()
        .seed(1)
        .states(u64::MAX)
        .whole_up_to(whole_up_to)
        .depth(depth)
        .workloads(&some);
    println!("{} workloads of three steps: {report}", some.len());
    assert_eq!(report.runs, some.len() as u64);
    report.assert_survived(2_500);
}

#[test]
fn calls_that_fail_are_told_and_lose_nothing_acknowledged() {
    let report = Explorer::new()
        .seed(3)
        .states(12_000 * times())
        .depth(1)
        .faults(&Failure::ALL)
        .run();
    println!("{report}\n{:?}", report.faults);
    report.assert_survived(10_000);
}

#[test]
fn one_seed_gives_the_same_states_and_verdicts_twice() {
    let run = || Explorer::new().seed(4).states(1_000).run();
    let (one, two) = (run(), run());
    let numbers =
        |r: &crate::crash::Report| (r.states, r.distinct, r.points, r.legal_states, r.repeated);
    assert_eq!(numbers(&one), numbers(&two));
    assert_eq!(one.sites, two.sites);
    let other = Explorer::new().seed(5).states(1_000).run();
    assert_ne!(numbers(&one), numbers(&other));
}

/// A kill after the manifest was renamed, then a power cut in recovery: the inputs of the merge were
/// gone, and so was the manifest that said so.
#[test]
fn what_recovery_acts_upon_is_durable_before_it_acts() {
    let workload = "p0.1.700d,r,p0.1.700d,r,M".parse().expect("steps");
    let report = Explorer::new()
        .states(u64::MAX)
        .whole_up_to(64)
        .samples(2)
        .depth(1)
        .recovery_samples(None)
        .workloads(&[workload]);
    println!("{report}");
    report.assert_survived(100);
}

/// A sector of 512 bytes may be written in part: the header of a segment just begun is torn, and a
/// record behind it is whole.
#[test]
fn a_torn_header_of_a_segment_just_begun_is_no_damage() {
    let workload = "p0.1.700d".parse().expect("steps");
    let report = Explorer::new()
        .states(3_000)
        .whole_up_to(0)
        .samples(150)
        .depth(0)
        .workloads(&[workload]);
    println!("{report}\n{:?}", report.losses);
    assert!(report.losses.contains_key("torn sector"));
    report.assert_survived(100);
}

/// The hint of a segment was made when the ordered keyspace was gone, so without its keys, and linked
/// into a checkpoint whose manifest still had the keyspace: what the checkpoint held seemed lost.
#[test]
fn a_hint_made_after_a_keyspace_was_dropped_takes_nothing_from_an_older_checkpoint() {
    let workload = "p1.1.30d,c,x1,p0.2.30d,o,c".parse().expect("steps");
    let report = Explorer::new()
        .states(2_000)
        .depth(0)
        .workloads(&[workload]);
    println!("{report}");
    report.assert_survived(200);
}

/// Found by a run of a million states: the newest durable record, a tombstone, was gone by a merge; of two
/// segments after it, both synced, the first lost its name before the directory was. That was told as
/// the loss of a synced record, and what stood in the second was kept behind the hole.
#[test]
fn a_segment_that_loses_its_name_after_a_merge_took_the_newest_record_is_a_cut() {
    let workload = "p0.3.30d,p0.4.30d,d0.4d,M,p1.0.432b,r,p1.1.518b";
    let report = Explorer::new()
        .states(5_000)
        .depth(0)
        .workloads(&[workload.parse().expect("steps")]);
    println!("{report}");
    report.assert_survived(200);
}
