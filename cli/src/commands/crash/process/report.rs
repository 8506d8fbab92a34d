//! What a run of kills found: counts from the run, a verdict, and where the evidence lies.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::judge::Found;
use super::kill::{Death, Moment};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::units::{self, count, counted};

/// Counts of one run.
pub(super) struct Report {
    seed: u64,
    traced: bool,
    rounds: u64,
    kills: Kills,
    acknowledged: u64,
    writes: u64,
    unacknowledged_found: u64,
    rounds_with_cut: u64,
    bytes_cut: u64,
    rounds_with_leftovers: u64,
    verified: u64,
    pub(super) violations: Vec<String>,
    pub(super) elapsed: Duration,
    pub(super) kept: Option<PathBuf>,
    pub(super) interrupted: bool,
}

/// Kills by what the child was doing.
#[derive(Default, Serialize)]
struct Kills {
    opening: u64,
    writing: u64,
    merging: u64,
    at_call: u64,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    verdict: &'static str,
    ok: bool,
    mode: &'static str,
    seed: u64,
    rounds: u64,
    kills: &'a Kills,
    traced: bool,
    acknowledged: u64,
    writes: u64,
    unacknowledged_found: u64,
    rounds_with_cut: u64,
    bytes_cut: u64,
    rounds_with_leftovers: u64,
    verified: u64,
    failures: usize,
    violations: &'a [String],
    elapsed_ms: u64,
    kept: Option<String>,
}

impl Report {
    pub(super) fn new(seed: u64, traced: bool) -> Report {
        Report {
            seed,
            traced,
            rounds: 0,
            kills: Kills::default(),
            acknowledged: 0,
            writes: 0,
            unacknowledged_found: 0,
            rounds_with_cut: 0,
            bytes_cut: 0,
            rounds_with_leftovers: 0,
            verified: 0,
            violations: Vec::new(),
            elapsed: Duration::ZERO,
            kept: None,
            interrupted: false,
        }
    }

    pub(super) fn note_death(&mut self, moment: Moment, death: &Death) {
        self.rounds += 1;
        self.acknowledged += death.acknowledgements;
        if !death.ended_by_kill {
            return;
        }
        let kills = &mut self.kills;
        *match moment {
            Moment::Call { .. } => &mut kills.at_call,
            _ if !death.opened => &mut kills.opening,
            _ if death.merging => &mut kills.merging,
            _ => &mut kills.writing,
        } += 1;
    }

    pub(super) fn note_found(&mut self, found: &Found, least: u64) {
        self.writes = self.writes.max(found.writes);
        self.unacknowledged_found += found.writes - least.min(found.writes);
        self.rounds_with_cut += u64::from(!found.recovery.cut.is_empty());
        self.bytes_cut += found.recovery.cut.iter().map(|cut| cut.bytes).sum::<u64>();
        self.rounds_with_leftovers += u64::from(!found.recovery.removed_files.is_empty());
        self.verified += u64::from(found.verified);
    }

    fn kills_in_all(&self) -> u64 {
        let Kills {
            opening,
            writing,
            merging,
            at_call,
        } = self.kills;
        opening + writing + merging + at_call
    }

    /// A run without a kill, or in which nothing was acknowledged, proves nothing.
    fn measured(&self) -> bool {
        self.kills_in_all() > 0 && self.acknowledged > 0
    }

    fn verdict(&self) -> &'static str {
        match (self.violations.is_empty(), self.measured()) {
            (false, _) => "violated",
            (true, false) => "not measured",
            (true, true) => "survived",
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self.verdict() {
            "survived" if self.interrupted => Exit::Interrupted,
            "survived" => Exit::Done,
            _ if self.interrupted && self.violations.is_empty() => Exit::Interrupted,
            _ => Exit::NotFoundOrWrong,
        }
    }

    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.object(&self.json());
        }
        let kills = &self.kills;
        output.line(format_args!(
            "{} in {}: {} while it opened or recovered, {} while it wrote, {} in a merge, {} at a \
             system call{}; seed {}",
            counted(self.kills_in_all(), "kill"),
            units::duration(self.elapsed),
            count(kills.opening),
            count(kills.writing),
            count(kills.merging),
            count(kills.at_call),
            if self.traced {
                ""
            } else {
                " (skipped, no strace)"
            },
            self.seed
        ))?;
        output.line(format_args!(
            "{} acknowledged, {} in the store at the end; {} found that were not acknowledged yet",
            counted(self.acknowledged, "write"),
            count(self.writes),
            count(self.unacknowledged_found)
        ))?;
        output.line(format_args!(
            "unfinished tails cut in {} ({}), leftovers removed in {}, every checksum compared in {}",
            counted(self.rounds_with_cut, "round"),
            counted(self.bytes_cut, "byte"),
            counted(self.rounds_with_leftovers, "round"),
            counted(self.verified, "round"),
        ))?;
        for violation in &self.violations {
            output.line(format_args!("VIOLATION: {violation}"))?;
        }
        if let Some(kept) = &self.kept {
            output.line(format_args!(
                "kept: {} (store/ as it is, evidence/ as the last kill left it)",
                kept.display()
            ))?;
        }
        output.line(match self.verdict() {
            "survived" => "survived: nothing acknowledged was lost, and every state was a prefix",
            "not measured" => "NOT MEASURED: no kill hit, or nothing was acknowledged before one; that proves nothing",
            _ => "VIOLATED",
        })
    }

    fn json(&self) -> ReportJson<'_> {
        ReportJson {
            verdict: self.verdict(),
            ok: self.verdict() == "survived",
            mode: "process",
            seed: self.seed,
            rounds: self.rounds,
            kills: &self.kills,
            traced: self.traced,
            acknowledged: self.acknowledged,
            writes: self.writes,
            unacknowledged_found: self.unacknowledged_found,
            rounds_with_cut: self.rounds_with_cut,
            bytes_cut: self.bytes_cut,
            rounds_with_leftovers: self.rounds_with_leftovers,
            verified: self.verified,
            failures: self.violations.len(),
            violations: &self.violations,
            elapsed_ms: units::whole_ms(self.elapsed),
            kept: self.kept.as_ref().map(|dir| dir.display().to_string()),
        }
    }
}
