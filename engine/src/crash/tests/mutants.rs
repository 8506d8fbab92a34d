//! A proof that the proof works: faults are put into the engine one at a time, and each must be
//! noticed within a bounded number of states.

use super::{Trial, flat, try_out};
use crate::crash::{Explorer, Failure, Fault, Operation, Workload};
use crate::disk::sim::Dice;
use crate::mutant::{self, Mutant};

/// How many states it may take.
const STATES_MAX: u64 = 40_000;

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

/// One of five kinds of runs: how many states it took, and whether it noticed something.
fn run(number: u64) -> (u64, bool) {
    let failing = |text: &str, fault: Fault, samples| {
        let workload: Workload = text.parse().expect("steps");
        let trial = Trial {
            workload: &workload,
            seed: number,
            faults: &[fault],
            capacity: None,
        };
        let (states, bad) = try_out(&trial, flat(samples), 1);
        (states, bad.is_some())
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
            let trial = Trial {
                workload: &workload,
                seed: number,
                faults: &[],
                capacity: None,
            };
            let (states, bad) = try_out(&trial, flat(2), 6);
            (states, bad.is_some())
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
            (report.states, !report.violations.is_empty())
        }
    }
}

/// States judged when the mutant was noticed.
fn killed_after(mutant: Mutant) -> Option<u64> {
    mutant::switch(Some(mutant));
    let mut states = 0;
    let mut noticed = false;
    for number in 0.. {
        let (more, bad) = run(number);
        states += more;
        noticed = bad;
        if noticed || states >= STATES_MAX {
            break;
        }
    }
    mutant::switch(None);
    noticed.then_some(states)
}

#[test]
fn every_mutant_is_killed() {
    let mut alive = Vec::new();
    for mutant in mutant::ALL {
        match killed_after(mutant) {
            Some(states) => println!("| {mutant:?} | {states} |"),
            None => alive.push(mutant),
        }
    }
    assert_eq!(alive, [], "mutants that nothing noticed");
}
