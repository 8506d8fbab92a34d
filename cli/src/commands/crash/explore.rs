//! The explorer with a budget: chooses what to run, shows how far it is, keeps what was asked for, and
//! ends in a verdict. Judging is the engine's.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peercask::crash::{
    Case, Explorer, Failure as Fault, Progress as Far, Report, Verdict, Workload,
};

use super::{page, story, summary};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::units::{self, count};

/// With `--exhaustive`, points with at most so many legal states are explored whole.
const WHOLE_UP_TO: u64 = 4_096;

/// What to explore, and how much of it.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) seconds: Option<u64>,
    pub(super) states: Option<u64>,
    pub(super) ops: usize,
    pub(super) depth: u32,
    pub(super) faults: Vec<Fault>,
    pub(super) exhaustive: Option<usize>,
    pub(super) workload: Option<Workload>,
    /// As it was given.
    pub(super) workload_name: Option<String>,
    pub(super) sector_len: usize,
    pub(super) coverage: bool,
    pub(super) keep: Option<PathBuf>,
    pub(super) page: Option<PathBuf>,
}

impl Plan {
    /// The command line that makes the same run.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["peercask crash".to_owned(), format!("--seed {}", self.seed)];
        words.extend(self.seconds.map(|n| format!("--seconds {n}")));
        words.extend(self.states.map(|n| format!("--states {n}")));
        words.extend(self.exhaustive.map(|n| format!("--exhaustive {n}")));
        if self.exhaustive.is_none() && self.workload.is_none() {
            words.push(format!("--ops {}", self.ops));
        }
        words.extend(
            self.workload_name
                .iter()
                .map(|name| format!("--workload {name}")),
        );
        if self.depth != 2 {
            words.push(format!("--depth {}", self.depth));
        }
        if !self.faults.is_empty() {
            let faults: Vec<&str> = self.faults.iter().map(|fault| fault.word()).collect();
            words.push(format!("--faults {}", faults.join(",")));
        }
        if self.sector_len != 512 {
            words.push(format!("--sector {}", self.sector_len));
        }
        words.join(" ")
    }

    fn explorer<'a>(&self) -> Explorer<'a> {
        let explorer = Explorer::new()
            .seed(self.seed)
            .states(self.states.unwrap_or(u64::MAX))
            .ops(self.ops)
            .depth(self.depth)
            .faults(&self.faults)
            .sector_len(self.sector_len)
            .sync_coverage(self.coverage);
        let explorer = match self.exhaustive {
            Some(_) => explorer.whole_up_to(WHOLE_UP_TO),
            None => explorer,
        };
        match self.seconds {
            Some(seconds) => explorer.time(Duration::from_secs(seconds)),
            None => explorer,
        }
    }

    /// Refused before the work rather than after it.
    fn check(&self) -> Result<(), Failure> {
        if let Some(dir) = &self.keep {
            refuse_existing(dir)?;
        }
        if let Some(page) = &self.page {
            fs::write(page, "")
                .map_err(|error| Failure::io(format_args!("write {}", page.display()), &error))?;
        }
        Ok(())
    }
}

pub(super) fn run(plan: &Plan, output: &mut Output) -> Result<Exit, Failure> {
    plan.check()?;
    interrupt::watch()?;
    let mut bar = Bar::of(plan);
    let report = match (plan.exhaustive, &plan.workload) {
        (Some(steps), _) => plan
            .explorer()
            .on_progress(|far| bar.follow(far))
            .exhaustive(steps),
        (None, Some(workload)) => again_and_again(plan, workload, &mut bar),
        (None, None) => plan.explorer().on_progress(|far| bar.follow(far)).run(),
    };
    drop(bar);
    let mut kept = None;
    if let (Some(dir), Some(first)) = (&plan.keep, report.violations.first()) {
        keep(&first.case, dir)?;
        kept = Some(dir.as_path());
    }
    if let Some(path) = &plan.page {
        let text = page::of(&report, plan);
        fs::write(path, text)
            .map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))?;
    }
    let printed = match output.is_json() {
        true => output.object(&summary::of(&report, plan, kept)),
        false => story::print(&report, plan, kept, output),
    };
    ended(printed, &report)
}

/// One workload with other dice each time, until the budget is used up. Faults meet every run but the
/// first, which shows what happens without.
fn again_and_again(plan: &Plan, workload: &Workload, bar: &mut Bar) -> Report {
    let mut dice = fastrand::Rng::with_seed(plan.seed);
    let started = Instant::now();
    let mut sum: Option<Report> = None;
    for run in 0_u64.. {
        let states = sum.as_ref().map_or(0, |sum| sum.states);
        let states_left = plan.states.map(|all| all.saturating_sub(states));
        let time_left = plan
            .seconds
            .map(|all| Duration::from_secs(all).saturating_sub(started.elapsed()));
        let done = states_left == Some(0) || time_left.is_some_and(|left| left.is_zero());
        let violated = sum.as_ref().is_some_and(|sum| !sum.violations.is_empty());
        if (done && sum.is_some()) || violated || interrupt::requested() {
            break;
        }
        let mut explorer = plan.explorer().states(states_left.unwrap_or(u64::MAX));
        if run > 0 {
            explorer = explorer.seed(dice.u64(..)).sync_coverage(false);
        }
        if let Some(left) = time_left {
            explorer = explorer.time(left);
        }
        // Which run has a fault is decided by its number: the list is as long as is needed for one.
        let list = vec![workload.clone(); if plan.faults.is_empty() { 1 } else { 3 }];
        let report = explorer
            .on_progress(|far| bar.follow_on(states, started.elapsed(), far))
            .workloads(&list);
        let nothing = report.states == 0;
        match &mut sum {
            None => sum = Some(report),
            Some(sum) => add(sum, report),
        }
        if nothing {
            break;
        }
    }
    let mut sum = sum.unwrap_or_default();
    sum.elapsed = started.elapsed();
    sum
}

/// The sum of two runs; the picture is of the first. Media of different seeds are different: each store
/// has its own id in all its files.
fn add(sum: &mut Report, more: Report) {
    sum.runs += more.runs;
    sum.states += more.states;
    sum.distinct += more.distinct;
    sum.recovery_states += more.recovery_states;
    sum.repeated += more.repeated;
    sum.points += more.points;
    sum.points_whole += more.points_whole;
    sum.legal_states = sum.legal_states.saturating_add(more.legal_states);
    sum.violations.extend(more.violations);
    sum.budget_used |= more.budget_used;
    for (fault, met) in more.faults {
        *sum.faults.entry(fault).or_default() += met;
    }
    for (kind, states) in more.losses {
        *sum.losses.entry(kind).or_default() += states;
    }
    for (site, found) in more.sites {
        let known = sum.sites.entry(site).or_default();
        known.calls += found.calls;
        known.crashed += found.crashed;
    }
}

/// Exactly one state again.
pub(super) fn replay(
    case: &Case,
    keep_in: Option<&Path>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    if let Some(dir) = keep_in {
        refuse_existing(dir)?;
    }
    let report = Explorer::new().replay(case).map_err(Failure::usage)?;
    if let Some(dir) = keep_in {
        keep(case, dir)?;
    }
    let printed = match output.is_json() {
        true => output.object(&summary::of_replay(&report, case, keep_in)),
        false => story::print_replay(&report, case, keep_in, output),
    };
    ended(printed, &report)
}

/// Nothing judged is no pass, and a violation is none; a run that was interrupted says so.
fn ended(printed: Result<(), Failure>, report: &Report) -> Result<Exit, Failure> {
    match (printed, report.verdict()) {
        (Err(failure), _) if !failure.is_reader_gone() => Err(failure),
        (_, Verdict::Survived) if interrupt::requested() => Ok(Exit::Interrupted),
        (_, Verdict::Survived) => Ok(Exit::Done),
        (_, Verdict::Violated | Verdict::NotMeasured) => Ok(Exit::NotFoundOrWrong),
    }
}

fn keep(case: &Case, dir: &Path) -> Result<(), Failure> {
    let disk = Explorer::new().disk_of(case).map_err(Failure::usage)?;
    disk.save_to(dir)
        .map_err(|error| Failure::io(format_args!("write the state to {}", dir.display()), &error))
}

fn refuse_existing(dir: &Path) -> Result<(), Failure> {
    match dir.exists() {
        true => Err(Failure::usage(format!(
            "{} exists; --keep makes a new directory",
            dir.display()
        ))),
        false => Ok(()),
    }
}

/// The bar: by states where these are limited, by time where it is, always with what was found.
struct Bar {
    progress: Progress,
    by_states: bool,
}

impl Bar {
    fn of(plan: &Plan) -> Bar {
        let by_states = plan.states.is_some();
        let total = plan.states.or(plan.seconds).unwrap_or(0);
        Bar {
            progress: Progress::new("exploring crash states", Count::Things, total),
            by_states,
        }
    }

    fn follow(&mut self, far: &Far) -> ControlFlow<()> {
        self.follow_on(0, far.elapsed, far)
    }

    /// With `before` states of runs before this one.
    fn follow_on(&mut self, before: u64, elapsed: Duration, far: &Far) -> ControlFlow<()> {
        let states = before + far.states;
        self.progress.set(match self.by_states {
            true => states,
            false => elapsed.as_secs(),
        });
        self.progress.tell(|| {
            format!(
                "{} states, {}/s, {} violations",
                count(states),
                count(units::whole_per_second(states, elapsed)),
                far.violations
            )
        });
        match interrupt::requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
