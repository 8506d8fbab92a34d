//! Sync coverage: for each line of the engine that syncs, what happens if it does not. A line
//! without which nothing goes wrong is useless, or nothing tries it.

use std::sync::Arc;

use super::explorer::Explorer;
use super::history::History;
use super::judge::{Judge, Sites, Tally};
use super::machine;
use super::program::Run;
use super::report::Without;
use super::steps::Workload;
use super::subject::Subject;
use super::survival;
use super::trace::{Setting, record};
use crate::disk::sim::{Dice, Operation, mix};
use crate::disk::site::Site;

/// States that are judged without one line, at most.
const STATES_MAX: u64 = 4_000;
/// States that did not hold after which a line is known to be needed.
const BAD_ENOUGH: u64 = 20;

/// Tries the workloads without each line that syncs.
pub(super) fn of_workloads(
    explorer: &Explorer<'_>,
    tried: &[(Setting, Workload)],
    sites: &mut Sites,
) {
    for ((site, operation), report) in sites {
        if !syncs(*operation) {
            continue;
        }
        let mut without = Without::default();
        for (setting, workload) in tried {
            let program = |run: &Run<Arc<History>>| machine::run(workload, run);
            let subject = Subject {
                program: &program,
                check: &survival::check,
                note_key: &machine::note_key,
                workload: Some(workload.clone()),
            };
            one(explorer, setting, &subject, *site, &mut without);
            if without.states >= STATES_MAX || without.bad >= BAD_ENOUGH {
                break;
            }
        }
        report.without = Some(without);
    }
}

/// Tries one program without each line that syncs.
pub(super) fn of_program<N: Clone + Send + 'static>(
    explorer: &Explorer<'_>,
    setting: &Setting,
    subject: &Subject<'_, N>,
    sites: &mut Sites,
) {
    for ((site, operation), report) in sites {
        if syncs(*operation) {
            let mut without = Without::default();
            one(explorer, setting, subject, *site, &mut without);
            report.without = Some(without);
        }
    }
}

fn syncs(operation: Operation) -> bool {
    matches!(operation, Operation::Sync | Operation::SyncDirectory)
}

/// Runs the subject once on a disk that does not hear the syncs of `site`.
fn one<N: Clone + Send + 'static>(
    explorer: &Explorer<'_>,
    setting: &Setting,
    subject: &Subject<'_, N>,
    site: Site,
    without: &mut Without,
) {
    let setting = Setting {
        deaf: Some(site),
        ..setting.clone()
    };
    let trace = record(&setting, subject.program);
    let called = trace.calls.iter().any(|(call, _)| call.site == Some(site));
    if !called && !site.file.starts_with("recovery/") {
        return;
    }
    let mut tally = Tally::default();
    let mut judge = Judge {
        check: subject.check,
        notes: &trace.notes,
        note_key: subject.note_key,
        faulty: !setting.faults.is_empty(),
        deaf: Some(site),
        effort: explorer.effort,
        tally: &mut tally,
    };
    let mut dice = Dice::new(mix(&[setting.seed, 0xDEAF]));
    let before = without.states;
    for point in &trace.points {
        let mut go_on = |tally: &Tally| before + tally.states < STATES_MAX;
        let at = judge.point(point, 0, &mut dice, &mut go_on);
        without.states = before + judge.tally.states;
        if !at.bad.is_empty() {
            without.bad += at.bad.len() as u64;
            without.first.get_or_insert(without.states);
        }
        if without.bad >= BAD_ENOUGH || without.states >= STATES_MAX {
            break;
        }
    }
}
