//! The engine under the crash lab: workloads by the dice and all short ones, faults, damage, and
//! mutants of the engine, each of which must be noticed.
//!
//! `PEERCASK_SEEDS=n` tries n times as much.

mod bounds;
pub(super) mod budget;
mod checkpoint;
mod damage;
mod edges;
mod ends;
mod far;
mod faults;
mod forge;
mod forged;
mod full_disk;
mod hints;
mod kernel;
mod lives;
mod memory;
mod mutants;
mod past;
mod prefixes;
mod programs;
mod reader;
mod recoveries;
mod repair;
mod sectors;
mod sites;
mod spans;
mod strangers;
mod thousand;
mod unreadable;
mod workloads;

use std::sync::Arc;

use super::history::History;
use super::judge::{Effort, Judge, Tally};
use super::machine;
use super::program::Run;
use super::survival;
use super::trace::{Setting, record};
use super::{Fault, Workload};
use crate::disk::sim::{Dice, mix};

/// How many times the usual budget.
fn times() -> u64 {
    let wanted = std::env::var("PEERCASK_SEEDS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// That many crashes at a point, and none in recoveries.
fn flat(samples: u64) -> Effort {
    Effort {
        whole_up_to: 0,
        samples,
        depth: 0,
        recovery_samples: None,
        torn: false,
    }
}

/// One workload on one disk.
struct Trial<'a> {
    workload: &'a Workload,
    seed: u64,
    faults: &'a [Fault],
    capacity: Option<usize>,
    /// No more than that many states.
    states_max: u64,
}

impl<'a> Trial<'a> {
    /// On a disk without end.
    fn new(workload: &'a Workload, seed: u64, faults: &'a [Fault]) -> Trial<'a> {
        Trial {
            workload,
            seed,
            faults,
            capacity: None,
            states_max: u64::MAX,
        }
    }
}

/// What a trial came to.
struct Tried {
    /// How many states were judged.
    states: u64,
    /// What did not hold.
    bad: Option<String>,
    /// How often a fault was met.
    met: u64,
}

/// Runs the trial and crashes it at its last point and at one in `once_in` others. How many
/// states were judged, and what did not hold.
fn try_out(trial: &Trial<'_>, effort: Effort, once_in: usize) -> (u64, Option<String>) {
    let tried = tell(trial, effort, once_in);
    (tried.states, tried.bad)
}

/// As `try_out`, with the faults that were met.
fn tell(trial: &Trial<'_>, effort: Effort, once_in: usize) -> Tried {
    let program = |run: &Run<Arc<History>>| {
        run.disk().set_capacity(trial.capacity);
        machine::run_and_heal(trial.workload, run)
    };
    let setting = Setting {
        seed: trial.seed,
        faults: trial.faults.to_vec(),
        sector_len: 512,
        deaf: None,
    };
    let trace = record(&setting, &program);
    // A fault may end a run early, and excuses nothing else.
    let excused = !trial.faults.is_empty() || trial.capacity.is_some();
    if let Some(error) = trace.error
        && (trace.panicked || !excused)
    {
        return Tried {
            states: 0,
            bad: Some(error),
            met: trace.met.values().sum(),
        };
    }
    let met = trace.met.values().sum();
    let mut tally = Tally::default();
    let mut judge = Judge {
        check: &survival::check,
        notes: &trace.notes,
        note_key: &machine::note_key,
        faulty: true,
        deaf: None,
        effort,
        tally: &mut tally,
    };
    let mut dice = Dice::new(mix(&[trial.seed, trace.points.len() as u64]));
    let last = trace.points.len().saturating_sub(1);
    // From the end, where everything that was done shows.
    for (index, point) in trace.points.iter().enumerate().rev() {
        if index != last && !dice.once_in(once_in) {
            continue;
        }
        let mut go_on = |tally: &Tally| tally.states < trial.states_max;
        let at = judge.point(point, 0, &mut dice, &mut go_on);
        if let Some(bad) = at.bad.into_iter().next() {
            return Tried {
                states: tally.states,
                bad: Some(format!("{:?}: {}", bad.path, bad.what)),
                met,
            };
        }
    }
    Tried {
        states: tally.states,
        bad: None,
        met,
    }
}
