//! Anybody's program under the crash lab, unchanged: it runs once under strace, in a directory that it is given; its calls are
//! played to the simulated disk; for each kind of state that a power cut may leave, a check of the user's own says
//! whether it holds, and is told what the program had printed by then. The program may use any store or none.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use peercask::crash::{Crashed, Explorer, Run, SimDisk};

use super::calls::{self, Call};
use super::power::empty;
use super::replay::{Model, Note, Played, play, write_out};
use crate::Outcome;

/// Points with at most so many legal states are explored whole.
const WHOLE_UP_TO: u64 = 16;
/// States at each other point, in one round.
const SAMPLES: u64 = 5;
/// Stands for the directory in the arguments of the program.
const DIRECTORY: &str = "{}";

/// What to try, and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program and its arguments; each `{}` in them is the directory that it works in.
    pub program: Vec<OsString>,
    /// For `sh -c`, with the directory as `$1` and the lines said so far on its standard input.
    pub check: String,
    /// How syncs are taken.
    pub model: Model,
    /// Decides which states are made.
    pub seed: u64,
    /// So many states; a few at each point in any case.
    pub states: u64,
    /// No longer than this.
    pub time: Duration,
    /// The first state that does not hold is kept here.
    pub keep: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Found {
    /// States judged, no two of them alike with the same lines said.
    pub states: u64,
    /// Calls after which power was cut.
    pub points: u64,
    /// Of these so many were explored whole.
    pub points_whole: u64,
    /// What was played.
    pub played: Played,
    /// The story of the first state that did not hold.
    pub violation: Option<String>,
}

impl Found {
    /// For whoever asked.
    #[must_use]
    pub fn told(&self) -> String {
        let Found {
            states,
            points,
            points_whole,
            ..
        } = self;
        let (syncs, said) = (self.played.syncs, self.played.said.len());
        let tried = format!(
            "{states} crash states after {points} calls ({points_whole} explored whole); {syncs} syncs, {said} lines said"
        );
        match &self.violation {
            None => format!("{tried}: all of them hold"),
            Some(story) => format!("{tried}: one does not hold\n\n{story}"),
        }
    }
}

/// Runs the program once, and judges what power cuts may leave of it.
///
/// # Errors
/// If it cannot be traced or fails, changes no file below its directory, does what the model cannot show, or if the check cannot
/// be started or refuses what the program leaves without a crash.
pub fn try_out(plan: &Plan) -> Outcome<Found> {
    if let Some(keep) = plan.keep.as_deref().filter(|keep| keep.exists()) {
        return Err(format!("{} exists; --keep makes a new directory", keep.display()).into());
    }
    let place = tempfile::tempdir()?;
    // As its calls will name it.
    let root = place.path().canonicalize()?;
    let (dir, state) = (root.join("program"), root.join("state"));
    fs::create_dir(&dir)?;
    let calls = record(&plan.program, &dir, &root.join("trace"))?;
    let disk = SimDisk::new(plan.seed);
    let played = play(&calls, &dir, &disk, plan.model, &|_| {})?;
    if disk.operations() == 0 {
        return Err("the program changed no file below the directory that it was given".into());
    }
    if let Some(file) = played.mapped.first() {
        return Err(format!("{file} is stored to through a map, which no call shows").into());
    }
    write_out(&disk, &state)?;
    if let Err(why) = asked(&plan.check, &state, &played.said)? {
        return Err(format!("the check refuses what is there without a crash: {why}").into());
    }
    explore(plan, &calls, &dir, &state, disk.operations(), played)
}

fn record(program: &[OsString], dir: &Path, trace: &Path) -> Outcome<Vec<Call>> {
    let given = |argument: &OsString| match argument.to_str() {
        Some(text) => text.replace(DIRECTORY, &dir.to_string_lossy()).into(),
        None => argument.clone(),
    };
    let words: Vec<OsString> = program.iter().map(given).collect();
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    calls::of(Path::new(program), &arguments, trace)
}

fn explore(
    plan: &Plan,
    calls: &[Call],
    dir: &Path,
    state: &Path,
    points: u64,
    played: Played,
) -> Outcome<Found> {
    let trouble: RefCell<Option<String>> = RefCell::default();
    let check = |crashed: &Crashed<'_, Note>| -> Outcome<Result<(), String>> {
        let said = crashed.notes().iter().filter(|note| **note == Note::Said);
        let said = played.said.get(..said.count()).unwrap_or_default();
        empty(state)?;
        write_out(crashed.disk(), state)?;
        let answer = asked(&plan.check, state, said)?;
        if let (Err(_), Some(keep)) = (&answer, &plan.keep)
            && !keep.exists()
        {
            write_out(crashed.disk(), keep)?;
        }
        Ok(answer)
    };
    let mut explorer = Explorer::new()
        .seed(plan.seed)
        .states(plan.states.max(points * SAMPLES))
        .time(plan.time)
        .whole_up_to(WHOLE_UP_TO)
        .samples(SAMPLES)
        .depth(0)
        .torn(false)
        .first_only(true)
        .shrink(false);
    let report = explorer.explore(
        |run: &Run<Note>| {
            let note = |note| run.note(note);
            let again = play(calls, dir, run.disk(), plan.model, &note);
            again.map(drop).map_err(|error| error.to_string().into())
        },
        |crashed| {
            if trouble.borrow().is_some() {
                return Ok(());
            }
            match check(crashed) {
                Ok(answer) => answer.map_err(Into::into),
                Err(error) => {
                    *trouble.borrow_mut() = Some(error.to_string());
                    Ok(())
                }
            }
        },
    );
    if let Some(trouble) = trouble.into_inner() {
        return Err(trouble.into());
    }
    let first = report.violations.first();
    Ok(Found {
        states: report.states,
        points: report.points,
        points_whole: report.points_whole,
        violation: first.map(|first| format!("{}\n{}", first.what, first.story)),
        played,
    })
}

/// What the check says of a directory: nothing, or why it does not hold.
fn asked(check: &str, dir: &Path, said: &[String]) -> Outcome<Result<(), String>> {
    let mut child = Command::new("sh")
        .args(["-c", check, "sh"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let lines: String = said.iter().map(|line| format!("{line}\n")).collect();
        // A check that does not ask for them has closed it.
        let _not_wanted = stdin.write_all(lines.as_bytes());
    }
    let ended = child.wait_with_output()?;
    if ended.status.success() {
        return Ok(Ok(()));
    }
    let words = [ended.stderr, ended.stdout].concat();
    let words = String::from_utf8_lossy(&words);
    let first = words.lines().find(|line| !line.trim().is_empty());
    let why = first.map_or_else(|| ended.status.to_string(), str::to_owned);
    Ok(Err(why))
}
