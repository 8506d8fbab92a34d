//! A proof that the proof works: faults are put into the engine one at a time, and each must be
//! noticed within a bounded number of states.

use super::programs::Program;
use super::{Trial, damage, flat, hints, programs, try_out};
use crate::crash::judge::Effort;
use crate::crash::{Explorer, Failure, Fault, Operation, Workload};
use crate::disk::sim::Dice;
use crate::mutant::{self, Mutant};

/// How many states it may take.
const STATES_MAX: u64 = 20_000;

/// Short lives over long ones, and merges of some segments but not of others.
const SHORT_LIVES: [&str; 12] = [
    "p0.0.700d",
    "p0.1.600d",
    "p0.0.20t5d",
    "p0.1.30t9d",
    "p0.2.500d",
    "r",
    "r",
    "w7",
    "w9",
    "m",
    "m",
    "W",
];

/// Workloads made for faults that chance meets seldom, each with how a call fails. They are tried first.
const MADE_FOR: [(&str, &str); 9] = [
    // A delete of what lies in a segment that merge leaves alone.
    (
        "p0.0.30d,p0.1.900d,p0.2.900d,r,d0.0d,p0.3.300d,r,p0.3.20d,r,m,o",
        "",
    ),
    // The same, by a shorter life.
    ("p0.0.30d,p0.1.900d,p0.2.900d,r,p0.0.300t5d,r,w7,m,o", ""),
    // What made a record dead is not on the device when the record goes.
    ("p0.0.700d,r,W,p0.0.30k,m,s", ""),
    // A kill in a merge, then a power cut in recovery.
    ("p0.1.700d,r,p0.1.700d,r,M", ""),
    // Something expires, but not in a snapshot.
    ("p0.1.700t5d,n,w10,M", ""),
    // A merge beside a snapshot.
    ("b+0.0+0.1d,n,M,n", ""),
    // Places far into a large segment come by the keydir image, and their page is made anew.
    (
        "S256,p0.1.70000d,b+0.10+0.11+0.12+0.13+0.14+0.15+0.16+0.17+0.18+0.19+0.20+0.21d,o,\
         b+0.30+0.31+0.32+0.33+0.34+0.35+0.36+0.37+0.38+0.39+0.40+0.41+0.42+0.43+0.44+0.45+0.46+0.47+0.48+0.49+0.50+0.51+0.52+0.53+0.54+0.55+0.56+0.57+0.58+0.59+0.60+0.61+0.62+0.63+0.64+0.65+0.66+0.67+0.68+0.69d",
        "",
    ),
    // A write that fails after others were taken, with and without an effect.
    ("p0.1.600d,r,p0.2.500d,p0.0.20t5d,W,n", "write.10.eio"),
    (
        "p0.0.30k,p0.1.30k,b+0.4+0.5k,p0.2.204k,p0.3.30k,p0.1.30k",
        "write.8.eio!",
    ),
];

/// Looked at closely.
fn closely(text: &str, fault: &str) -> (u64, Option<String>) {
    let faults: Vec<Fault> = fault.parse::<Fault>().into_iter().collect();
    let workload: Workload = text.parse().expect("steps");
    let trial = Trial {
        states_max: 600,
        ..Trial::new(&workload, 1, &faults)
    };
    let effort = Effort {
        whole_up_to: 64,
        samples: 6,
        depth: 1,
        recovery_samples: None,
        torn: true,
    };
    try_out(&trial, effort, 1)
}

/// A program that no workload of steps stands for.
fn explored(program: &Program, depth: u32) -> (u64, Option<String>) {
    let mut explorer = Explorer::new()
        .states(600)
        .whole_up_to(program.whole_up_to)
        .depth(depth)
        .first_only(true)
        .shrink(false);
    let report = explorer.explore(program.run, program.check);
    let first = report.violations.first();
    (report.states, first.map(|first| first.what.clone()))
}

/// A workload made for some fault, or one of five kinds of runs by chance: how many states it took, and what it noticed.
fn run(number: u64) -> (u64, Option<String>) {
    let made_for = usize::try_from(number).ok().and_then(|at| MADE_FOR.get(at));
    if let Some((steps, fault)) = made_for {
        return closely(steps, fault);
    }
    let number = number - MADE_FOR.len() as u64;
    if number == 0 {
        // It closes a store with a keydir image of many sectors.
        return explored(&programs::MANY_KEYS, 0);
    }
    let failing = |text: &str, fault: Fault, samples| {
        let workload: Workload = text.parse().expect("steps");
        let faults = [fault];
        try_out(&Trial::new(&workload, number, &faults), flat(samples), 1)
    };
    let after = 4 + number / 5 % 7;
    match number % 5 {
        // One small write is done and fails nevertheless. A put as long as a batch's first member
        // would lay bare the second.
        0 => {
            let fault = Fault::new(Operation::Write, Failure::Io)
                .after(after)
                .done(true);
            let steps = "p0.0.30k,p0.1.30k,b+0.4+0.5k,p0.2.204k,p0.3.30k,p0.1.30k";
            failing(steps, fault, 20)
        }
        1 => {
            let fault = Fault::new(Operation::Sync, Failure::Io).after(after);
            failing(
                "p0.0.30d,p0.1.30d,p0.2.30d,p0.3.30d,p0.4.30d,p0.5.30d",
                fault,
                4,
            )
        }
        2 => {
            let mut dice = Dice::new(number);
            let steps: Vec<&str> = (0..16)
                .map(|_| SHORT_LIVES[dice.below(SHORT_LIVES.len())])
                .collect();
            let workload: Workload = steps.join(",").parse().expect("steps");
            try_out(&Trial::new(&workload, number, &[]), flat(2), 6)
        }
        kind => {
            let explorer = Explorer::new()
                .seed(number)
                .states(600)
                .samples(4)
                .whole_up_to(4);
            let explorer = explorer.first_only(true).shrink(false).depth(1);
            let mut explorer = match kind {
                3 => explorer.faults(&[Failure::Io, Failure::StorageFull]),
                _ => explorer,
            };
            let report = explorer.run();
            let first = report.violations.first();
            let told = first.map(|first| format!("{}: {}", first.case, first.what));
            (report.states, told)
        }
    }
}

/// Whether it shows when bytes rot or files are exchanged, which no crash does.
fn is_of_rot(mutant: Mutant) -> bool {
    matches!(
        mutant,
        Mutant::HintTrusted
            | Mutant::HintNotChecked
            | Mutant::RecordHeaderNotChecked
            | Mutant::ManifestNotChecked
            | Mutant::ImageNotChecked
            | Mutant::PreambleNotChecked
            | Mutant::SegmentHeaderNotChecked
            | Mutant::FooterNotChecked
    )
}

/// What shows a mutant that none of the runs meet.
fn run_for(mutant: Mutant) -> Option<(u64, Option<String>)> {
    match mutant {
        Mutant::KeyNotCompared => Some(hints::exchanged_rows()),
        Mutant::TornCopyRenameSkipped => Some(explored(&programs::LINKED, 1)),
        mutant if is_of_rot(mutant) => Some(damage::rotten()),
        _ => None,
    }
}

/// The run that noticed a mutant when all were made in order. It is made first: those before it notice nothing, and
/// took most of the time of this test.
const NOTICED_BY: [(Mutant, u64); 19] = [
    (Mutant::SyncErrorSwallowed, 10),
    (Mutant::NamesNotSynced, 2),
    (Mutant::DeathsNotSynced, 2),
    (Mutant::ExpiredLeavesNothing, 1),
    (Mutant::BatchCountIgnored, 6),
    (Mutant::GapIgnored, 6),
    (Mutant::ValueNotChecked, 1),
    (Mutant::FailedAppendLeft, 8),
    (Mutant::PublishedBeforeWritten, 7),
    (Mutant::RemovedOnUnsyncedWord, 1),
    (Mutant::TornHeaderTakenForDamage, 9),
    (Mutant::SupersededNotKept, 13),
    (Mutant::ExpiredNotKept, 4),
    (Mutant::ImageNotSynced, 9),
    (Mutant::ImagePlacesCutOff, 6),
    (Mutant::RecordHeaderNotChecked, 6),
    (Mutant::SegmentHeaderNotChecked, 29),
    (Mutant::LabelLeftOut, 13),
    (Mutant::MarkAhead, 8),
];

/// The run to begin with, unless `PEERCASK_MUTANTS=in-order` asks for what the table in docs/durability.md says.
fn first_run(mutant: Mutant) -> Option<u64> {
    let in_order = std::env::var("PEERCASK_MUTANTS").is_ok_and(|way| way == "in-order");
    let noticed_by = NOTICED_BY.iter().find(|(of, _)| *of == mutant);
    noticed_by.map(|(_, run)| *run).filter(|_| !in_order)
}

/// States judged when the mutant was noticed, and by which run.
fn killed_after(mutant: Mutant) -> Option<(u64, Option<u64>)> {
    mutant::switch(Some(mutant));
    let (mut states, mut noticed, mut by) = (0, false, None);
    if let Some((more, bad)) = run_for(mutant) {
        (states, noticed) = (more, bad.is_some());
    }
    for number in first_run(mutant).into_iter().chain(0..) {
        if noticed {
            break;
        }
        let (more, bad) = run(number);
        states += more;
        noticed = bad.is_some();
        by = Some(number);
        if noticed || states >= STATES_MAX {
            break;
        }
    }
    mutant::switch(None);
    noticed.then_some((states, by))
}

/// What is noticed is the mutant: the same runs find nothing in the engine as it is.
#[test]
fn without_a_mutant_nothing_is_noticed() {
    let alone = [
        Mutant::ManifestNotChecked,
        Mutant::KeyNotCompared,
        Mutant::TornCopyRenameSkipped,
    ];
    let mut states = 0;
    for mutant in alone {
        let (more, noticed) = run_for(mutant).expect("it has a run of its own");
        assert_eq!(noticed, None, "the run for {mutant:?}");
        states += more;
    }
    for number in 0..MADE_FOR.len() as u64 + 16 {
        let (more, noticed) = run(number);
        assert_eq!(noticed, None, "run {number}");
        states += more;
    }
    assert!(
        states > 2_000,
        "a run that judged little is no proof: {states}"
    );
}

#[test]
fn every_mutant_is_killed() {
    let mut alive = Vec::new();
    // One alone, to look at it.
    let only = std::env::var("PEERCASK_MUTANT").ok();
    let wanted = |mutant: &Mutant| {
        only.as_ref()
            .is_none_or(|only| *only == format!("{mutant:?}"))
    };
    for mutant in mutant::ALL.into_iter().filter(wanted) {
        match killed_after(mutant) {
            Some((states, Some(run))) => println!("| {mutant:?} | {states} | by run {run}"),
            Some((states, None)) => println!("| {mutant:?} | {states} | by its own run"),
            None => alive.push(mutant),
        }
    }
    assert_eq!(alive, [], "mutants that nothing noticed");
}
