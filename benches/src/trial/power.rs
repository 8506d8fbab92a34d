//! Power cuts: a traced run of a store, the states that the crash lab allows after each of its calls, and what the
//! store makes of each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use peercask::crash::{Crashed, Explorer, Run, SimDisk};

use super::calls::{self, Call};
use super::reader::{Answer, Reader, WRITE};
use super::replay::{Model, Note, Played, play, write_out};
use super::verdict::{Promise, Tally, Verdict, after_a_cut};
use crate::Outcome;

/// Points with at most so many legal states are explored whole.
const WHOLE_UP_TO: u64 = 12;
/// States at each other point, in one round.
const SAMPLES: u64 = 5;

/// What to try, and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides which states are made.
    pub seed: u64,
    /// So many states at least, if there are so many; a few at each point in any case.
    pub states: u64,
    /// No longer than this.
    pub time: Duration,
    /// Writes of the run.
    pub writes: usize,
    /// The first state of each kind of failure is kept below this directory.
    pub keep: Option<PathBuf>,
}

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Trial {
    /// States judged, no two of them alike with the same promise.
    pub states: u64,
    /// Calls after which power was cut, of all that changed the disk.
    pub points: u64,
    /// All of these.
    pub points_there: u64,
    /// What was played.
    pub played: Played,
    /// Verdicts.
    pub tally: Tally,
    /// Of each bad kind the first that was met, in the store's words.
    pub examples: Vec<(Verdict, String)>,
}

/// Runs a store under strace; answers with its calls, which concern files below `dir`.
///
/// # Errors
/// If it cannot be traced, or fails.
pub fn record(reader: &Reader, dir: &Path, writes: usize) -> Outcome<Vec<Call>> {
    let trace = dir.with_extension("trace");
    fs::create_dir_all(dir)?;
    let count = writes.to_string();
    let arguments = [
        OsStr::new(WRITE),
        OsStr::new(reader.backend),
        dir.as_os_str(),
        OsStr::new(&count),
    ];
    let calls = calls::of(&reader.program, &arguments, &trace);
    fs::remove_file(&trace)?;
    calls
}

/// Cuts the power of a traced run.
///
/// # Errors
/// If the model cannot show the run, or no child can be started.
pub fn cut(
    reader: &Reader,
    calls: &[Call],
    dir: &Path,
    model: Model,
    plan: &Plan,
) -> Outcome<Trial> {
    let dry = SimDisk::new(plan.seed);
    let acknowledged = RefCell::new(0);
    let count = |note: Note| *acknowledged.borrow_mut() += usize::from(note == Note::Acknowledged);
    let played = play(calls, dir, &dry, model, &count)?;
    if acknowledged.into_inner() != plan.writes {
        return Err("the trace does not show every acknowledgement".into());
    }
    let points_there = dry.operations();
    let judge = Judge {
        reader,
        plan,
        place: dir.with_extension("state"),
        known: RefCell::default(),
        tally: RefCell::default(),
        examples: RefCell::default(),
        trouble: RefCell::default(),
    };
    let mut explorer = Explorer::new()
        .seed(plan.seed)
        .states(plan.states.max(points_there * SAMPLES))
        .time(plan.time)
        .whole_up_to(WHOLE_UP_TO)
        .samples(SAMPLES)
        .depth(0)
        .torn(false)
        .shrink(false);
    let report = explorer.explore(
        |run: &Run<Note>| {
            let note = |note| run.note(note);
            let again = play(calls, dir, run.disk(), model, &note);
            again.map(drop).map_err(|error| error.to_string().into())
        },
        |crashed| {
            judge.look(crashed);
            Ok(())
        },
    );
    if let Some(trouble) = judge.trouble.into_inner() {
        return Err(trouble.into());
    }
    if let Some(violation) = report.violations.first() {
        return Err(violation.what.clone().into());
    }
    Ok(Trial {
        states: report.states,
        points: report.points.min(points_there),
        points_there,
        played,
        tally: judge.tally.into_inner(),
        examples: judge.examples.into_inner(),
    })
}

struct Judge<'a> {
    reader: &'a Reader,
    plan: &'a Plan,
    /// Where states are written to be opened.
    place: PathBuf,
    /// Answers by the bytes that they are about.
    known: RefCell<HashMap<u64, Answer>>,
    tally: RefCell<Tally>,
    examples: RefCell<Vec<(Verdict, String)>>,
    /// The trial itself failed.
    trouble: RefCell<Option<String>>,
}

impl Judge<'_> {
    fn look(&self, crashed: &Crashed<'_, Note>) {
        if self.trouble.borrow().is_some() {
            return;
        }
        match self.answer(crashed.disk()) {
            Ok(answer) => self.count(crashed, &answer),
            Err(error) => *self.trouble.borrow_mut() = Some(error.to_string()),
        }
    }

    fn answer(&self, disk: &SimDisk) -> Outcome<Answer> {
        let digest = disk.digest();
        if let Some(answer) = self.known.borrow().get(&digest) {
            return Ok(answer.clone());
        }
        empty(&self.place)?;
        write_out(disk, &self.place)?;
        let answer = self.reader.ask(&self.place)?;
        self.known.borrow_mut().insert(digest, answer.clone());
        Ok(answer)
    }

    fn count(&self, crashed: &Crashed<'_, Note>, answer: &Answer) {
        let noted = |what| crashed.notes().iter().filter(|note| **note == what).count();
        let promise = Promise {
            begun: noted(Note::Begun),
            acknowledged: noted(Note::Acknowledged),
        };
        let verdict = after_a_cut(answer, promise);
        *self.tally.borrow_mut().entry(verdict).or_default() += 1;
        let mut examples = self.examples.borrow_mut();
        if verdict == Verdict::Held || examples.iter().any(|(known, _)| *known == verdict) {
            return;
        }
        let acknowledged = promise.acknowledged;
        let words = match answer {
            Answer::Refused(why) | Answer::Panicked(why) => why.clone(),
            Answer::Hung => "not done in time".to_owned(),
            Answer::Read { first, .. } => format!("keys {:?}", first.found.keys()),
        };
        examples.push((verdict, format!("{acknowledged} acknowledged: {words}")));
        if let Some(keep) = &self.plan.keep {
            let name = format!(
                "{}-{}",
                self.reader.backend,
                verdict.word().replace(' ', "-")
            );
            if let Err(error) = write_out(crashed.disk(), &keep.join(name)) {
                *self.trouble.borrow_mut() = Some(error.to_string());
            }
        }
    }
}

/// Makes `dir` a directory without anything in it.
///
/// # Errors
/// The file system's.
pub(super) fn empty(dir: &Path) -> Outcome<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs::create_dir_all(dir)?)
}
