//! The explorer at work: on programs, on workloads, on one case again.

use std::sync::Arc;

use super::case::Case;
use super::explorer::Explorer;
use super::history::History;
use super::machine;
use super::program::{Crashed, Outcome, Run};
use super::report::Report;
use super::shrink;
use super::steps::Workload;
use super::subject::Subject;
use super::survival;
use super::tour::Tour;
use crate::clock::Stopwatch;
use crate::disk::sim::{Cut, SimDisk, mix};
use crate::sync::{Mutex, PoisonError};

impl Explorer<'_> {
    /// Explores a program: `program` runs on a simulated disk and must do the same for the same disk;
    /// `check` is given what a crash left and says whether that is right. Runs again, with
    /// other dice, until the number of states or the time is used up.
    ///
    /// A program that ends in an error although its disk had no fault is a violation.
    pub fn explore<N: Clone + Send + 'static>(
        &mut self,
        program: impl Fn(&Run<N>) -> Outcome,
        check: impl Fn(&Crashed<'_, N>) -> Outcome,
    ) -> Report {
        let note_key = |notes: &[N]| notes.len() as u64;
        let subject = Subject {
            program: &program,
            check: &check,
            note_key: &note_key,
            workload: None,
        };
        let mut tour = Tour::new(self);
        for run in 0.. {
            let setting = tour.setting(run);
            let found = tour.run(&setting, &subject, run);
            // Without faults and with every point whole, another run would show nothing new.
            if tour.is_over() || (found && tour.explorer.faults.is_empty()) {
                break;
            }
        }
        tour.end_of_program(&subject)
    }

    /// Explores random workloads of puts, deletes, batches, syncs, merges and so on, one after
    /// the other, until the number of states or the time is used up. The check: the store opens, holds
    /// a prefix of history at or past the last acknowledged write, opens again with the same, and
    /// lives on.
    pub fn run(&mut self) -> Report {
        let mut tour = Tour::new(self);
        for run in 0.. {
            let setting = tour.setting(run);
            let workload = Workload::random(mix(&[setting.seed, 3]), tour.explorer.ops);
            tour.workload(&setting, &workload, run);
            if tour.is_over() {
                break;
            }
        }
        tour.end_of_workloads()
    }

    /// Explores every workload of 1 to `steps` steps from [`Workload::menu`], until the number of
    /// states or the time is used up.
    pub fn exhaustive(&mut self, steps: usize) -> Report {
        self.workloads(&Workload::all(steps))
    }

    /// Explores these workloads.
    pub fn workloads(&mut self, workloads: &[Workload]) -> Report {
        let mut tour = Tour::new(self);
        for (run, workload) in workloads.iter().enumerate() {
            let setting = match tour.explorer.faults.is_empty() {
                // The same disk for all: what two have in common is judged once.
                true => tour.plain_setting(),
                false => tour.setting(run as u64),
            };
            tour.workload(&setting, workload, run as u64);
            if tour.is_over() {
                break;
            }
        }
        tour.end_of_workloads()
    }

    /// Sees one case of a built-in workload again: a report of one state, and of its violation if it
    /// is one.
    ///
    /// # Errors
    /// If the case is one of a program, which only [`Explorer::replay_of`] can see again.
    pub fn replay(&mut self, case: &Case) -> Result<Report, String> {
        let Some(workload) = case.workload.clone() else {
            return Err("this is a case of a program; give the program too".to_owned());
        };
        let program = |run: &Run<Arc<History>>| machine::run(&workload, run);
        Ok(self.replay_of(case, program, survival::check))
    }

    /// What a case of a built-in workload leaves, before anything is opened on it: to be looked at,
    /// or kept with [`SimDisk::save_to`].
    ///
    /// # Errors
    /// If the case is one of a program, or its run has no such point.
    pub fn disk_of(&mut self, case: &Case) -> Result<SimDisk, String> {
        let Some(workload) = case.workload.clone() else {
            return Err(
                "this is a case of a program, whose disk only the program knows".to_owned(),
            );
        };
        let left = Mutex::new(None);
        let program = |run: &Run<Arc<History>>| machine::run(&workload, run);
        let check = |crashed: &Crashed<'_, Arc<History>>| {
            // Of the checks on the way the last one is of the case.
            let copy = crashed.disk().crash(&Cut::Kill);
            *left.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
            survival::check(crashed)
        };
        self.replay_of(case, program, check);
        let left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        left.ok_or_else(|| "the run of this case has no such point".to_owned())
    }

    /// Sees one case of a program again.
    pub fn replay_of<N: Clone + Send + 'static>(
        &mut self,
        case: &Case,
        program: impl Fn(&Run<N>) -> Outcome,
        check: impl Fn(&Crashed<'_, N>) -> Outcome,
    ) -> Report {
        let watch = Stopwatch::start();
        let mut report = Report {
            seed: case.seed,
            runs: 1,
            ..Report::default()
        };
        let subject = shrink::Subject {
            program: &program,
            check: &check,
        };
        let (judged, found) = shrink::judge_case(case, &subject);
        (report.states, report.distinct, report.points) = (judged, judged, judged);
        report.violations.extend(found);
        report.elapsed = watch.elapsed();
        report
    }
}
