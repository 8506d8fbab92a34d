//! The parent: starts a process for each pair of workload and backend, one after the other, and
//! gathers their lines. With several rounds the backends take turns, and of each pair the round
//! with the median rate is kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::backend::{Entry, Kind};
use crate::line::Line;
use crate::load::Load;
use crate::workload::Workload;
use crate::{Outcome, child};

/// What is to be run.
pub struct Plan {
    /// In this order.
    pub workloads: Vec<&'static Workload>,
    /// In this order, within each workload.
    pub backends: Vec<&'static Entry>,
    /// The sizes.
    pub load: Load,
    /// How often each pair is run.
    pub rounds: u64,
    /// Where stores are made, each in a directory that is removed again; the system's place for
    /// temporary files by default.
    pub dir: Option<PathBuf>,
    /// The program that is a child, with its first arguments.
    pub child: Vec<OsString>,
    /// The same with an allocator that counts, for what asks after memory.
    pub counting_child: Option<Vec<OsString>>,
}

/// What happens during a run.
pub enum Event<'a> {
    /// A pair begins: the workload's and the backend's name.
    Begins(&'a str, &'a str),
    /// A process of it ended.
    Ended,
    /// A pair is done.
    Lines(&'a [Line]),
    /// A pair could not be measured.
    Failed(&'a Failed),
}

/// A pair that could not be measured.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The backend.
    pub backend: &'static str,
    /// Whether it is a rival; a run goes well without it.
    pub rival: bool,
    /// The workload.
    pub workload: &'static str,
    /// The last words of its process.
    pub why: String,
}

/// What came out of a run.
#[derive(Default)]
pub struct Results {
    /// One or more for each pair.
    pub lines: Vec<Line>,
    /// Pairs without.
    pub failed: Vec<Failed>,
    /// Somebody asked to stop before all was done.
    pub stopped: bool,
}

/// The lines of one process, or its last words.
type Round = Result<Vec<Line>, String>;

impl Plan {
    /// The pairs that apply.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static Workload, &'static Entry)> {
        let of = |workload: &'static Workload| {
            let fit = self
                .backends
                .iter()
                .filter(|entry| (workload.applies)(entry));
            fit.map(move |entry| (workload, *entry))
        };
        self.workloads.iter().copied().flat_map(of).collect()
    }

    /// Processes that a run starts.
    #[must_use]
    pub fn processes(&self) -> u64 {
        crate::wide(self.pairs().len()) * self.rounds
    }
}

/// Runs the plan, telling `tell` what happens; between two processes `stop` is asked.
///
/// # Errors
/// If no process can be started or no directory made. A pair that fails is an event.
pub fn run(
    plan: &Plan,
    stop: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(Event<'_>),
) -> Outcome<Results> {
    let mut results = Results::default();
    let pairs = plan.pairs();
    for workload in &plan.workloads {
        let of_this = pairs.iter().filter(|pair| pair.0.name == workload.name);
        let mut rounds: Vec<(&Entry, Vec<Round>)> =
            of_this.map(|pair| (pair.1, Vec::new())).collect();
        for _ in 0..plan.rounds {
            for (entry, done) in &mut rounds {
                if stop() {
                    results.stopped = true;
                    return Ok(results);
                }
                tell(Event::Begins(workload.name, entry.name));
                done.push(one(plan, workload, entry)?);
                tell(Event::Ended);
            }
        }
        for (entry, done) in rounds {
            match median(done) {
                Ok(lines) => {
                    tell(Event::Lines(&lines));
                    results.lines.extend(lines);
                }
                Err(why) => {
                    let failed = Failed {
                        backend: entry.name,
                        rival: entry.kind == Kind::Rival,
                        workload: workload.name,
                        why,
                    };
                    tell(Event::Failed(&failed));
                    results.failed.push(failed);
                }
            }
        }
    }
    Ok(results)
}

/// One process.
fn one(plan: &Plan, workload: &Workload, entry: &Entry) -> Outcome<Round> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("peercask-bench-");
    let home = match &plan.dir {
        Some(dir) => builder.tempdir_in(dir)?,
        None => builder.tempdir()?,
    };
    let counting = plan.counting_child.as_ref().filter(|_| workload.counting);
    let command = counting.unwrap_or(&plan.child);
    let (program, first) = command.split_first().ok_or("no program for a child")?;
    let output = Command::new(program)
        .args(first)
        .args(child::arguments(
            entry.name,
            workload.name,
            &plan.load,
            home.path(),
        ))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {}: {error}", Path::new(program).display()))?;
    home.close()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = words
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = last
            .get(last.len().saturating_sub(3)..)
            .unwrap_or_default()
            .join("; ");
        return Ok(Err(match last.is_empty() {
            true => format!("its process ended with {}", output.status),
            false => last,
        }));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let parsed = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Line>, _>>();
    Ok(parsed.map_err(|error| format!("its process printed what is no line: {error}")))
}

/// The round with the median figure, which tells the figures of all.
fn median(rounds: Vec<Round>) -> Round {
    let mut all = rounds.into_iter().collect::<Result<Vec<_>, _>>()?;
    let figure = |lines: &Vec<Line>| {
        let last = lines.iter().rev().find(|line| line.backend != "floor-idle");
        last.and_then(|line| line.ops_per_s.or(line.open_ms))
            .unwrap_or(0.0)
    };
    all.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let rates: Vec<f64> = all.iter().map(figure).collect();
    let middle = all.len() / 2;
    let mut lines = all.into_iter().nth(middle).unwrap_or_default();
    if rates.len() > 1 {
        for line in &mut lines {
            line.details.rounds = Some(crate::wide(rates.len()));
            if line.details.rates.is_empty() {
                line.details.rates.clone_from(&rates);
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(rate: f64) -> Round {
        Ok(vec![Line {
            backend: "a".to_owned(),
            ops_per_s: Some(rate),
            ..Line::default()
        }])
    }

    #[test]
    fn the_median_round_is_kept_and_a_failure_is_told() {
        let kept = median(vec![round(3.0), round(1.0), round(2.0)]).expect("none failed");
        assert_eq!(
            kept.iter().map(|line| line.ops_per_s).collect::<Vec<_>>(),
            [Some(2.0)]
        );
        assert_eq!(
            kept.first().map(|line| line.details.rates.clone()),
            Some(vec![1.0, 2.0, 3.0])
        );
        let failed = median(vec![round(3.0), Err("no room".to_owned())]);
        assert_eq!(failed, Err("no room".to_owned()));
    }
}
