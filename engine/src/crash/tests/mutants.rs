//! A proof that the proof works: faults are put into the engine one at a time, and each must be
//! noticed within a bounded number of states.

use crate::crash::{Explorer, Failure};
use crate::mutant::{self, Mutant};

/// How many states it may take.
const STATES_MAX: u64 = 60_000;

/// States judged when the mutant was noticed.
fn killed_after(mutant: Mutant) -> Option<u64> {
    mutant::switch(Some(mutant));
    let mut states = 0;
    let mut killed = None;
    for seed in 1.. {
        let plain = Explorer::new()
            .seed(seed)
            .depth(1)
            .states(2_000)
            .first_only(true);
        let mut explorer = match seed % 2 {
            0 => plain.faults(&[Failure::Io, Failure::StorageFull]),
            _ => plain,
        };
        let report = explorer.run();
        states += report.states;
        if !report.violations.is_empty() {
            killed = Some(states);
        }
        if killed.is_some() || states >= STATES_MAX {
            break;
        }
    }
    mutant::switch(None);
    killed
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
