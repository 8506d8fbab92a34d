//! What an exploration found: plain numbers from the run, and the violations as stories.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::case::Case;
use super::steps::Workload;
use crate::disk::sim::{Call, Failure, Operation};
use crate::disk::site::Site;

/// What all the judging comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every state that was judged held.
    Survived,
    /// At least one state did not hold.
    Violated,
    /// Nothing was judged, which proves nothing.
    NotMeasured,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Survived => "survived",
            Verdict::Violated => "violated",
            Verdict::NotMeasured => "not measured",
        })
    }
}

/// What an exploration found. Every number comes from the run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The seed that decides everything but the time.
    pub seed: u64,
    /// Workloads or programs run.
    pub runs: u64,
    /// States that were opened and judged, those within recoveries included.
    pub states: u64,
    /// How many different media these states were, by a hash of all names and bytes.
    pub distinct: u64,
    /// States judged that a crash within a recovery left.
    pub recovery_states: u64,
    /// Crashes that were made but not judged, because they left what was judged before.
    pub repeated: u64,
    /// Calls that changed a disk: moments at which a crash was made.
    pub points: u64,
    /// Those of them at which every legal power cut was made.
    pub points_whole: u64,
    /// Legal power cuts at all points together, as far as 128 bits count.
    pub legal_states: u128,
    /// How long it took.
    pub elapsed: Duration,
    /// The states that did not hold, the first of them shrunk.
    pub violations: Vec<Violation>,
    /// How often which call failed how.
    pub faults: BTreeMap<(Operation, Failure), u64>,
    /// What was lost, by kind: `kill`, `power cut`, `torn sector`, and so on, and in how many states.
    pub losses: BTreeMap<&'static str, u64>,
    /// Lines of the engine that changed the disk, and what crashes there and without them did.
    pub sites: BTreeMap<(Site, Operation), SiteReport>,
    /// The steps of the first run, if it was of a built-in workload.
    pub workload: Option<Workload>,
    /// The points of the first run, in order: what a picture is drawn from.
    pub timeline: Vec<PointReport>,
    /// The exploration ended because its time or number of states was used up, or was stopped.
    pub budget_used: bool,
}

/// A line of the engine that changes the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiteReport {
    /// How often it was called.
    pub calls: u64,
    /// After how many of these calls a crash was made.
    pub crashed: u64,
    /// For a sync, if sync coverage was asked for: what happens without it.
    pub without: Option<Without>,
}

/// What happens if one line syncs no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// States judged.
    pub states: u64,
    /// States that did not hold. None of many means that the sync is useless, or not tried.
    pub bad: u64,
    /// How many states it took to notice, if it was noticed.
    pub first: Option<u64>,
}

/// A moment of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PointReport {
    /// How many calls had changed the disk.
    pub number: u64,
    /// The call that had just returned.
    pub call: Option<Call>,
    /// Which step of the workload was under way, from 1; the number of notes for a program.
    pub step: u64,
    /// Legal power cuts.
    pub legal: u128,
    /// States judged.
    pub states: u64,
    /// States that did not hold.
    pub bad: u64,
}

/// A state that did not hold.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// How to see it again.
    pub case: Case,
    /// What the check said.
    pub what: String,
    /// The whole story: what was called, what was lost, what came back; numbered lines.
    pub story: String,
    /// A test that replays it, ready to be put into a file.
    pub test: String,
}

impl Report {
    /// States judged per second.
    #[must_use]
    pub fn states_per_s(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.states as f64 / seconds
        } else {
            0.0
        }
    }

    /// Survived only if something was judged and all of it held.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.states == 0 {
            Verdict::NotMeasured
        } else {
            Verdict::Survived
        }
    }

    /// For tests: returns the report if every judged state held and at least `states` were.
    ///
    /// # Panics
    /// With the story and the test of the first violation; or if fewer states were judged.
    #[track_caller]
    pub fn assert_survived(self, states: u64) -> Report {
        if let Some(first) = self.violations.first() {
            panic!("{}\n{}\n{}", first.what, first.story, first.test);
        }
        assert!(
            self.states >= states,
            "only {} states were judged, which is no proof",
            self.states
        );
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} states judged ({} different, {} within recovery), {:.0} a second",
            self.verdict(),
            self.states,
            self.distinct,
            self.recovery_states,
            self.states_per_s()
        )?;
        writeln!(
            f,
            "{} runs, {} points, {} of them whole, {} legal states in all, seed {}",
            self.runs, self.points, self.points_whole, self.legal_states, self.seed
        )?;
        for violation in &self.violations {
            writeln!(f, "{}\n{}", violation.what, violation.story)?;
        }
        Ok(())
    }
}

/// How far an exploration is; told while it runs.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// States judged so far.
    pub states: u64,
    /// How many were asked for.
    pub states_wanted: u64,
    /// Violations so far.
    pub violations: u64,
    /// Points so far.
    pub points: u64,
    /// Runs so far.
    pub runs: u64,
    /// Time so far.
    pub elapsed: Duration,
    /// Time that was given, if any was.
    pub time: Option<Duration>,
}
