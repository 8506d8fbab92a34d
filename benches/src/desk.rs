//! The way from the arguments to what is printed: runs the plan, adds earlier lines, prints JSON or
//! tables with the goals behind them, and writes the report. Where text goes is the caller's.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::args::BenchArgs;
use crate::backend::Kind;
use crate::line::Line;
use crate::runner::{self, Event, Failed};
use crate::{Error, Outcome, backend, goals, process, report, table, workload};

/// The caller's side.
pub trait Desk {
    /// One line of the result.
    ///
    /// # Errors
    /// If it cannot be printed; the run ends.
    fn line(&mut self, text: &str) -> Outcome<()>;
    /// A word beside the result.
    fn note(&mut self, text: &str);
    /// So many processes will be started.
    fn total(&mut self, processes: u64);
    /// One of them begins.
    fn begins(&mut self, workload: &str, backend: &str);
    /// One of them ended.
    fn ended(&mut self);
    /// Whether to stop.
    fn stopped(&self) -> bool;
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All that was asked for is there; rivals may be missing.
    Done,
    /// Peercask or a floor could not be measured.
    Failed,
    /// Somebody asked to stop.
    Stopped,
}

/// Why nothing came of it.
#[derive(Debug)]
pub enum Trouble {
    /// What was asked for makes no sense.
    Usage(String),
    /// It could not be done.
    Run(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Run(error)
    }
}

/// Does what the arguments say.
///
/// # Errors
/// `Usage` for files that are no lines or directories that are none; else what failed.
pub fn run(
    args: &BenchArgs,
    json: bool,
    children: (Vec<OsString>, Option<Vec<OsString>>),
    desk: &mut dyn Desk,
) -> Result<Ended, Trouble> {
    if args.list {
        return Ok(list(json, desk).map(|()| Ended::Done)?);
    }
    let mut lines = Vec::new();
    for file in &args.from {
        lines.extend(earlier(file)?);
    }
    if let Some(file) = &args.report {
        // Hours of measuring are not to end with a page that cannot be written.
        let place = |error| Trouble::Usage(format!("cannot write {}: {error}", file.display()));
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .map_err(place)?;
    }
    let (mut ended, mut failed) = (Ended::Done, Vec::new());
    if args.runs() {
        let place = args.dir.clone().unwrap_or_else(std::env::temp_dir);
        if !place.is_dir() {
            return Err(Trouble::Usage(format!(
                "{} is no directory",
                place.display()
            )));
        }
        if process::is_in_memory(&place) {
            desk.note("the stores lie in memory: syncs cost nothing there; --dir takes a directory on a disk");
        }
        let plan = args.plan(children.0, children.1);
        let rivals = plan
            .backends
            .iter()
            .filter(|entry| entry.kind == Kind::Rival);
        for rival in rivals {
            let version = rival.version().unwrap_or_default();
            desk.note(&format!("{} {version}: {}", rival.name, rival.advice));
        }
        desk.total(plan.processes());
        let results = measured(args, json, &plan, desk)?;
        lines.extend(results.lines);
        failed = results.failed;
        ended = match (results.stopped, failed.iter().any(|failed| !failed.rival)) {
            (true, _) => Ended::Stopped,
            (_, true) => Ended::Failed,
            _ => Ended::Done,
        };
    }
    if !json {
        for text in table::lines(&lines).into_iter().chain(goals::lines(&lines)) {
            desk.line(&text)?;
        }
    }
    if let Some(file) = &args.report {
        let page = report::page(&lines, &failed)?;
        let place =
            |error| Trouble::Run(format!("cannot write {}: {error}", file.display()).into());
        fs::write(file, page).map_err(place)?;
        desk.note(&format!("the report is in {}", file.display()));
    }
    Ok(ended)
}

/// Runs the plan; JSON lines are printed as they come.
fn measured(
    args: &BenchArgs,
    json: bool,
    plan: &runner::Plan,
    desk: &mut dyn Desk,
) -> Outcome<runner::Results> {
    let desk = std::cell::RefCell::new(desk);
    let mut lost = None;
    let results = runner::run(
        plan,
        &|| desk.borrow().stopped(),
        &mut |event| match event {
            Event::Begins(workload, backend) => desk.borrow_mut().begins(workload, backend),
            Event::Ended => desk.borrow_mut().ended(),
            Event::Lines(lines) if json => {
                for line in lines {
                    let shown = if args.details {
                        line.clone()
                    } else {
                        line.plain()
                    };
                    let text = serde_json::to_string(&shown).map_err(Error::from);
                    let printed = text.and_then(|text| desk.borrow_mut().line(&text));
                    lost = lost.take().or(printed.err());
                }
            }
            Event::Lines(_) => {}
            Event::Failed(failed) => desk.borrow_mut().note(&told(failed)),
        },
    )?;
    match lost {
        Some(error) => Err(error),
        None => Ok(results),
    }
}

fn told(failed: &Failed) -> String {
    format!(
        "{} could not be measured with {}: {}",
        failed.backend, failed.workload, failed.why
    )
}

/// The lines of a file that an earlier run printed.
fn earlier(file: &Path) -> Result<Vec<Line>, Trouble> {
    let text = fs::read_to_string(file)
        .map_err(|error| Trouble::Usage(format!("cannot read {}: {error}", file.display())))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                Trouble::Usage(format!("{}, line {}: {error}", file.display(), at + 1))
            })
        })
        .collect()
}

/// Workloads and backends, with what is to be known of each.
fn list(json: bool, desk: &mut dyn Desk) -> Outcome<()> {
    if json {
        for workload in workload::all() {
            let line = serde_json::json!({"workload": workload.name, "about": workload.about});
            desk.line(&line.to_string())?;
        }
        for entry in backend::all() {
            let line = serde_json::json!({
                "backend": entry.name, "version": entry.version(), "setup": entry.advice,
            });
            desk.line(&line.to_string())?;
        }
        return Ok(());
    }
    desk.line("Workloads, * in the quick choice:")?;
    for workload in workload::all() {
        let mark = if workload::QUICK.contains(&workload.name) {
            "*"
        } else {
            " "
        };
        desk.line(&format!("{mark} {:<18} {}", workload.name, workload.about))?;
    }
    desk.line("Backends:")?;
    for entry in backend::all() {
        let version = entry.version().unwrap_or("");
        desk.line(&format!(
            "  {:<18} {version:<8} {}",
            entry.name, entry.advice
        ))?;
    }
    Ok(())
}
