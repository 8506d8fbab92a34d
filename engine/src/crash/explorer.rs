//! The explorer as its user sees it: what is to be tried, how hard and how long.

use crate::sync::{Mutex, PoisonError};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::case::Case;
use super::history::History;
use super::judge::Effort;
use super::machine;
use super::program::{Crashed, Outcome, Run};
use super::report::{Progress, Report};
use super::shrink;
use super::steps::Workload;
use super::tour::{Subject, Tour};
use crate::clock::Stopwatch;
use crate::disk::sim::{Cut, Failure, SimDisk, mix};

/// More violations than these are not sought.
const VIOLATIONS_MAX: usize = 10;

pub(super) type Listener<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// Explores what crashes leave of a program, or of workloads of its own.
///
/// At every call that changes the simulated disk it makes the crashes that are legal there: all of
/// them where they are few, by the dice of a seed where they are many. Each is opened and judged
/// by a check; the recovery is crashed too, and what that leaves is judged again.
///
/// ```
/// use peercask::crash::Explorer;
/// use peercask::{KeyspaceOptions, Options};
///
/// let report = Explorer::new().seed(7).states(300).explore(
///     |run| {
///         let store = run.open(Options::default())?;
///         let names = store.keyspace("names", KeyspaceOptions::hash())?;
///         for n in 0..3_u8 {
///             names.put([n], "here")?;
///             run.note(n);
///         }
///         Ok(())
///     },
///     |crashed| {
///         let store = crashed.open(Options::default())?;
///         for n in crashed.notes() {
///             let names = store.existing_keyspace("names")?;
///             if names.get([*n])?.is_none() {
///                 return Err(format!("{n} was acknowledged and is gone").into());
///             }
///         }
///         Ok(())
///     },
/// );
/// report.assert_survived(100);
/// ```
pub struct Explorer<'a> {
    pub(super) seed: u64,
    pub(super) states: u64,
    pub(super) time: Option<Duration>,
    pub(super) ops: usize,
    pub(super) effort: Effort,
    pub(super) faults: Vec<Failure>,
    pub(super) sector_len: usize,
    pub(super) coverage: bool,
    pub(super) violations_max: usize,
    pub(super) shrink: bool,
    pub(super) listener: Option<Listener<'a>>,
}

impl Default for Explorer<'_> {
    fn default() -> Self {
        Explorer::new()
    }
}

impl<'a> Explorer<'a> {
    /// Seed 1, at most 10,000 states, recoveries crashed to depth 2, no faults.
    #[must_use]
    pub fn new() -> Explorer<'a> {
        Explorer {
            seed: 1,
            states: 10_000,
            time: None,
            ops: 24,
            effort: Effort {
                whole_up_to: 16,
                samples: 6,
                depth: 2,
                recovery_samples: Some(1),
                torn: true,
            },
            faults: Vec::new(),
            sector_len: 512,
            coverage: false,
            violations_max: VIOLATIONS_MAX,
            shrink: true,
            listener: None,
        }
    }

    /// What decides everything but the time. Default: 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most states to judge. Default: 10,000.
    #[must_use]
    pub fn states(mut self, states: u64) -> Self {
        self.states = states;
        self
    }

    /// The longest time to take. Default: no limit.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// How many steps a random workload has. Default: 24.
    #[must_use]
    pub fn ops(mut self, ops: usize) -> Self {
        self.ops = ops;
        self
    }

    /// How often a recovery is crashed within a recovery. Default: 2; 0 crashes no recovery.
    #[must_use]
    pub fn depth(mut self, depth: u32) -> Self {
        self.effort.depth = depth;
        self
    }

    /// Points with at most that many legal power cuts are explored whole. Default: 16.
    #[must_use]
    pub fn whole_up_to(mut self, legal: u64) -> Self {
        self.effort.whole_up_to = legal;
        self
    }

    /// How many crashes are made at each other point, in one round. Default: 6.
    #[must_use]
    pub fn samples(mut self, crashes: u64) -> Self {
        self.effort.samples = crashes;
        self
    }

    /// How many calls of one recovery are crashed after; `None` is all of them. Default: 1.
    #[must_use]
    pub fn recovery_samples(mut self, calls: Option<u64>) -> Self {
        self.effort.recovery_samples = calls;
        self
    }

    /// Whether sectors may be written in part. Default: true.
    #[must_use]
    pub fn torn(mut self, torn: bool) -> Self {
        self.effort.torn = torn;
        self
    }

    /// What the medium writes whole, in bytes. Default: 512; 1 tears at every byte.
    #[must_use]
    pub fn sector_len(mut self, bytes: usize) -> Self {
        self.sector_len = bytes.max(1);
        self
    }

    /// How calls may fail: each run but every third has one such fault, at a call by the dice,
    /// once or for good. Default: none.
    #[must_use]
    pub fn faults(mut self, faults: &[Failure]) -> Self {
        self.faults = faults.to_vec();
        self
    }

    /// Tries as well, for each line of the engine that syncs, what happens if it does not:
    /// [`SiteReport::without`](super::SiteReport::without). Takes up to that many states more for each
    /// such line. Default: no.
    #[must_use]
    pub fn sync_coverage(mut self, coverage: bool) -> Self {
        self.coverage = coverage;
        self
    }

    /// Whether to end at the first violation instead of seeking up to ten. Default: no.
    #[must_use]
    pub fn first_only(mut self, first_only: bool) -> Self {
        self.violations_max = if first_only { 1 } else { VIOLATIONS_MAX };
        self
    }

    /// Whether the first violation is made as small as can be, which takes a while. Default: yes.
    #[must_use]
    pub fn shrink(mut self, shrink: bool) -> Self {
        self.shrink = shrink;
        self
    }

    /// Called now and then with how far the exploration is; it ends early if told to.
    #[must_use]
    pub fn on_progress(mut self, listener: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

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
        Ok(self.replay_of(case, program, machine::check))
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
            machine::check(crashed)
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
