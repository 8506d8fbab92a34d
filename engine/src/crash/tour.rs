//! One exploration under way: runs programs and workloads on simulated disks, crashes them at
//! every call that changes the disk, and sums up what the check said.

use std::sync::Arc;

use super::case::Case;
use super::coverage;
use super::explorer::Explorer;
use super::history::History;
use super::judge::{Bad, Judge, Tally};
use super::machine;
use super::program::Run;
use super::report::{PointReport, Progress, Report, Violation};
use super::shrink;
use super::steps::Workload;
use super::subject::Subject;
use super::survival;
use super::trace::{Setting, Trace, record};
use crate::clock::Stopwatch;
use crate::disk::sim::{Dice, Failure, Fault, Operation, Slots, mix};

/// Points of the first run that the report keeps.
const TIMELINE_MAX: usize = 4_096;

/// One exploration under way.
pub(super) struct Tour<'e, 'a> {
    pub(super) explorer: &'e mut Explorer<'a>,
    pub(super) report: Report,
    tally: Tally,
    watch: Stopwatch,
    stopped: bool,
    /// The last workloads, for sync coverage.
    tried: Vec<(Setting, Workload)>,
}

/// How many workloads sync coverage is tried with.
const TRIED_MAX: usize = 64;

impl<'e, 'a> Tour<'e, 'a> {
    pub(super) fn new(explorer: &'e mut Explorer<'a>) -> Tour<'e, 'a> {
        let report = Report {
            seed: explorer.seed,
            ..Report::default()
        };
        Tour {
            explorer,
            report,
            tally: Tally::default(),
            watch: Stopwatch::start(),
            stopped: false,
            tried: Vec::new(),
        }
    }

    pub(super) fn plain_setting(&self) -> Setting {
        Setting {
            seed: self.explorer.seed,
            faults: Vec::new(),
            sector_len: self.explorer.sector_len,
            deaf: None,
        }
    }

    /// The disk of the `run`-th run.
    pub(super) fn setting(&self, run: u64) -> Setting {
        let seed = match run {
            0 => self.explorer.seed,
            run => mix(&[self.explorer.seed, run]),
        };
        let mut setting = Setting {
            seed,
            ..self.plain_setting()
        };
        if !self.explorer.faults.is_empty() && !run.is_multiple_of(3) {
            let mut dice = Dice::new(mix(&[seed, 0xFA11]));
            setting
                .faults
                .push(random_fault(&mut dice, &self.explorer.faults));
        }
        setting
    }

    pub(super) fn is_over(&self) -> bool {
        let time = self.explorer.time;
        self.stopped
            || self.tally.states >= self.explorer.states
            || self.report.violations.len() >= self.explorer.violations_max
            || time.is_some_and(|time| self.watch.elapsed() >= time)
    }

    pub(super) fn workload(&mut self, setting: &Setting, workload: &Workload, run: u64) {
        let program = |run: &Run<Arc<History>>| machine::run(workload, run);
        let subject = Subject {
            program: &program,
            check: &survival::check,
            note_key: &machine::note_key,
            workload: Some(workload.clone()),
        };
        self.run(setting, &subject, run);
        if self.tried.len() < TRIED_MAX {
            self.tried.push((setting.clone(), workload.clone()));
        }
        if run == 0 {
            self.report.workload = Some(workload.clone());
        }
    }

    /// Runs the subject once and crashes it at every point; true if that was all there is.
    pub(super) fn run<N: Clone + Send + 'static>(
        &mut self,
        setting: &Setting,
        subject: &Subject<'_, N>,
        run: u64,
    ) -> bool {
        let trace = record(setting, subject.program);
        self.report.runs += 1;
        self.note_run(&trace, setting, subject);
        let mut dice = Dice::new(mix(&[setting.seed, 0xC0FFEE]));
        let mut all_whole = true;
        // A program alone is looked at again and again; workloads give way to the next one.
        let rounds = if subject.workload.is_some() {
            1
        } else {
            u64::MAX
        };
        let mut open: Vec<usize> = (0..trace.points.len()).collect();
        for round in 0..rounds {
            let before = self.tally.states;
            let mut next = Vec::new();
            for index in open {
                if self.is_over() {
                    all_whole = false;
                    break;
                }
                if !self.point(setting, subject, &trace, index, (run, round), &mut dice) {
                    next.push(index);
                }
            }
            open = next;
            all_whole &= open.is_empty();
            if open.is_empty() || self.is_over() || self.tally.states == before {
                break;
            }
        }
        all_whole
    }

    /// Crashes at one point; true if nothing more can be seen there.
    fn point<N: Clone + Send + 'static>(
        &mut self,
        setting: &Setting,
        subject: &Subject<'_, N>,
        trace: &Trace<N>,
        index: usize,
        (run, round): (u64, u64),
        dice: &mut Dice,
    ) -> bool {
        let Some(point) = trace.points.get(index) else {
            return true;
        };
        let mut judge = Judge {
            check: subject.check,
            notes: &trace.notes,
            note_key: subject.note_key,
            faulty: !setting.faults.is_empty(),
            deaf: None,
            effort: self.explorer.effort,
            tally: &mut self.tally,
        };
        let (states, time, watch) = (self.explorer.states, self.explorer.time, self.watch);
        let mut go_on =
            |tally: &Tally| tally.states < states && time.is_none_or(|time| watch.elapsed() < time);
        let at = judge.point(point, round, dice, &mut go_on);
        if round == 0 {
            self.report.points += 1;
            self.report.points_whole += u64::from(at.whole);
            if run == 0 && self.report.timeline.len() < TIMELINE_MAX {
                self.report.timeline.push(PointReport {
                    number: point.state.operations,
                    call: point.state.last.clone(),
                    step: point.notes as u64,
                    legal: Slots::of(&point.state).legal(),
                    states: at.states,
                    bad: at.bad.len() as u64,
                });
            }
            let legal = Slots::of(&point.state).legal();
            self.report.legal_states = self.report.legal_states.saturating_add(legal);
        }
        for bad in at.bad {
            self.violation(setting, subject, bad);
        }
        self.tell();
        at.whole
    }

    fn note_run<N: Clone + Send + 'static>(
        &mut self,
        trace: &Trace<N>,
        setting: &Setting,
        subject: &Subject<'_, N>,
    ) {
        for (met, count) in &trace.met {
            *self.report.faults.entry(*met).or_default() += count;
        }
        for (call, _) in &trace.calls {
            if let Some(site) = call.site {
                let site = self.tally.sites.entry((site, call.operation));
                site.or_default().calls += 1;
            }
        }
        let excused = !setting.faults.is_empty() && !trace.panicked;
        if let Some(error) = trace.error.as_ref().filter(|_| !excused) {
            let bad = Bad {
                path: Vec::new(),
                what: format!("the run itself ended badly: {error}"),
            };
            self.violation(setting, subject, bad);
        }
    }

    fn violation<N: Clone + Send + 'static>(
        &mut self,
        setting: &Setting,
        subject: &Subject<'_, N>,
        bad: Bad,
    ) {
        let case = Case {
            seed: setting.seed,
            workload: subject.workload.clone(),
            faults: setting.faults.clone(),
            sector_len: setting.sector_len,
            path: bad.path,
        };
        let plain = Violation {
            case,
            what: bad.what,
            story: String::new(),
            test: String::new(),
        };
        let told = match (self.report.violations.is_empty(), &subject.workload) {
            _ if !self.explorer.shrink => shrink::told(plain, subject),
            (true, Some(workload)) => shrink::shrunk_workload(plain, workload),
            (true, None) => shrink::shrunk(plain, subject),
            (false, _) => shrink::told(plain, subject),
        };
        self.report.violations.push(told);
    }

    fn tell(&mut self) {
        if let Some(listener) = &mut self.explorer.listener {
            let progress = Progress {
                states: self.tally.states,
                states_wanted: self.explorer.states,
                violations: self.report.violations.len() as u64,
                points: self.report.points,
                runs: self.report.runs,
                elapsed: self.watch.elapsed(),
                time: self.explorer.time,
            };
            self.stopped |= listener(&progress).is_break();
        }
    }

    pub(super) fn end_of_workloads(mut self) -> Report {
        if self.explorer.coverage {
            coverage::of_workloads(self.explorer, &self.tried, &mut self.tally.sites);
        }
        self.end()
    }

    pub(super) fn end_of_program<N: Clone + Send + 'static>(
        mut self,
        subject: &Subject<'_, N>,
    ) -> Report {
        if self.explorer.coverage {
            let setting = self.plain_setting();
            coverage::of_program(self.explorer, &setting, subject, &mut self.tally.sites);
        }
        self.end()
    }

    fn end(mut self) -> Report {
        self.report.budget_used = self.is_over();
        self.report.states = self.tally.states;
        self.report.distinct = self.tally.media.len() as u64;
        self.report.recovery_states = self.tally.recovery_states;
        self.report.repeated = self.tally.repeated;
        self.report.losses = std::mem::take(&mut self.tally.losses);
        self.report.sites = std::mem::take(&mut self.tally.sites);
        self.report.elapsed = self.watch.elapsed();
        self.report
    }
}

/// One fault of one of these kinds: at some call, once or for good, done or not.
fn random_fault(dice: &mut Dice, kinds: &[Failure]) -> Fault {
    let operations = [
        Operation::Write,
        Operation::Write,
        Operation::Sync,
        Operation::Sync,
        Operation::SyncDirectory,
        Operation::Create,
        Operation::Open,
        Operation::Read,
        Operation::Resize,
        Operation::Rename,
        Operation::Remove,
        Operation::Reserve,
        Operation::List,
    ];
    let pick = |dice: &mut Dice, n: usize| dice.below(n.max(1));
    let operation = operations.get(pick(dice, operations.len()));
    let failure = kinds
        .get(pick(dice, kinds.len()))
        .copied()
        .unwrap_or(Failure::Io);
    let operation = match failure {
        // Only these can be interrupted, and a caller that goes on is right.
        Failure::Interrupted if dice.once_in(2) => Operation::Read,
        Failure::Interrupted => Operation::Write,
        _ => operation.copied().unwrap_or(Operation::Write),
    };
    Fault {
        operation,
        after: dice.below(30) as u64,
        failure,
        for_good: failure != Failure::Interrupted && dice.once_in(2),
        done: operation.changes() && failure == Failure::Io && dice.once_in(2),
    }
}
