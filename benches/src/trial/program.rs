//! The program `peercask-bench-crash`: its command line, and the tables that it prints.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use super::power::{self, Plan, Trial};
use super::reader::{self, READ, Reader, WRITE};
use super::replay::Model;
use super::verdict::{Tally, Verdict};
use super::{calls, rot, users, writes};
use crate::Outcome;
use crate::backend::{self, Entry};

/// Writes before a bit is flipped.
const ROT_WRITES: usize = 20;

/// Crash trials of the stores that are built in, Peercask among them, by one means: a run under strace, every kind of
/// state that a power cut may leave of it, each opened by a child; then stores at rest with one flipped bit.
#[derive(Parser)]
#[command(name = "peercask-bench-crash", version)]
struct Args {
    #[command(subcommand)]
    child: Option<Child>,
    /// Try only these; all that keep what they hold, if left out
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = names())]
    backend: Vec<String>,
    /// Decides which states are made and which bits are flipped
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// States after power cuts for each store and model; a few after each call in any case
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    states: u64,
    /// The longest time for the power cuts of one store in one model
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
    /// Acknowledged writes of a run
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u16).range(1..=200))]
    writes: u16,
    /// Flipped bits for each store; 0 for none
    #[arg(long, value_name = "N", default_value_t = 300)]
    flips: u64,
    /// Keep the first state of each kind of failure below this directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Work in this directory instead of one for temporary files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Child {
    #[command(name = WRITE, hide = true)]
    Write {
        backend: String,
        dir: PathBuf,
        count: usize,
        #[arg(long)]
        close: bool,
    },
    #[command(name = READ, hide = true)]
    Read { backend: String, dir: PathBuf },
    /// Crash trials of a program of your own: it runs once under strace, its calls are played to the simulated disk,
    /// and every kind of state that a power cut may leave is judged by a check of your own
    Program(Users),
}

#[derive(clap::Args)]
struct Users {
    /// Run by `sh -c` for each state, with the directory as $1 and, on standard input, the lines that the program
    /// had printed before the power went; a state holds if it ends with 0
    #[arg(long, value_name = "COMMAND")]
    check: String,
    /// A sync of any file carries all names with it, as on ext4, XFS and btrfs; POSIX promises less
    #[arg(long)]
    names_carried: bool,
    /// Decides which states are made
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// States to judge; a few after each call in any case
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    states: u64,
    /// The longest time to take
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
    /// Keep the first state that does not hold in this directory, which must not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The program and its arguments, of which each `{}` stands for the directory that it is to work in
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(kept().map(|entry| entry.name))
}

fn kept() -> impl Iterator<Item = &'static Entry> {
    backend::all().iter().filter(|entry| entry.persistent)
}

fn named(name: &str) -> Outcome<&'static Entry> {
    backend::named(name).ok_or_else(|| format!("no store is named {name}").into())
}

/// Runs it: 0 if everything was tried, whatever it showed of rivals; 1 if Peercask failed, or a trial.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(1)
        }
    }
}

fn run(args: &Args) -> Outcome<bool> {
    match &args.child {
        Some(Child::Write {
            backend,
            dir,
            count,
            close,
        }) => return writes::write(named(backend)?, dir, *count, *close).map(|()| true),
        Some(Child::Read { backend, dir }) => {
            return reader::read(named(backend)?, dir).map(|()| true);
        }
        Some(Child::Program(users)) => return try_users(users),
        None => {}
    }
    calls::may_trace()?;
    let wanted = |entry: &&Entry| {
        args.backend.is_empty() || args.backend.iter().any(|name| name == entry.name)
    };
    let place = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    // As the child's calls will name it.
    let place = place.path().canonicalize().map(|path| (path, place))?;
    let mut good = true;
    let mut cuts = Table::new(
        &["store", "model", "states", "points", "syncs"],
        &CUT_COLUMNS,
    );
    let mut flips = Table::new(&["store", "flips"], &FLIP_COLUMNS);
    for entry in kept().filter(wanted) {
        let reader = Reader {
            program: std::env::current_exe()?,
            backend: entry.name,
        };
        let label = format!("{} {}", entry.name, entry.version().unwrap_or(""));
        good &= cut_all(args, entry, &reader, &label, &place.0, &mut cuts)?;
        if args.flips > 0 {
            note(&format!("{label}: {} flipped bits", args.flips));
            let dir = place.0.join(format!("{}-rot", entry.name));
            let tally = rot::flip(&reader, &dir, ROT_WRITES, args.seed, args.flips)?;
            good &= entry.kind != backend::Kind::Ours || is_clean(&tally, &FLIP_FAILURES);
            flips.row(vec![label, args.flips.to_string()], &tally);
        }
    }
    print(&format!(
        "Power cuts, seed {}, {} acknowledged writes a run:\n\n{}",
        args.seed, args.writes, cuts.text
    ))?;
    if args.flips > 0 {
        print(&format!(
            "One flipped bit, seed {}, {ROT_WRITES} acknowledged writes, closed well:\n\n{}",
            args.seed, flips.text
        ))?;
    }
    Ok(good)
}

/// False if a state did not hold.
fn try_users(users: &Users) -> Outcome<bool> {
    calls::may_trace()?;
    let found = users::try_out(&users::Plan {
        program: users.program.clone(),
        check: users.check.clone(),
        model: match users.names_carried {
            true => Model::NamesCarried,
            false => Model::Posix,
        },
        seed: users.seed,
        states: users.states,
        time: Duration::from_secs(users.seconds),
        keep: users.keep.clone(),
    })?;
    print(&found.told())?;
    Ok(found.violation.is_none())
}

const CUT_COLUMNS: [Verdict; 7] = [
    Verdict::Held,
    Verdict::RefusedUnused,
    Verdict::Refused,
    Verdict::Unsteady,
    Verdict::Lost,
    Verdict::Panicked,
    Verdict::Wrong,
];
const FLIP_COLUMNS: [Verdict; 6] = [
    Verdict::Held,
    Verdict::Told,
    Verdict::Refused,
    Verdict::Lost,
    Verdict::Panicked,
    Verdict::Wrong,
];
/// What a flipped bit must not lead to; that a damaged store is refused, naming what to do, is no failure of this kind.
const FLIP_FAILURES: [Verdict; 3] = [Verdict::Lost, Verdict::Panicked, Verdict::Wrong];

fn is_clean(tally: &Tally, failures: &[Verdict]) -> bool {
    failures.iter().all(|verdict| !tally.contains_key(verdict))
}

/// Both models; false if Peercask failed in one.
fn cut_all(
    args: &Args,
    entry: &Entry,
    reader: &Reader,
    label: &str,
    place: &Path,
    table: &mut Table,
) -> Outcome<bool> {
    let dir = place.join(entry.name);
    let plan = Plan {
        seed: args.seed,
        states: args.states,
        time: Duration::from_secs(args.seconds),
        writes: usize::from(args.writes),
        keep: args.keep.clone(),
    };
    note(&format!("{label}: a traced run"));
    let calls = power::record(reader, &dir, plan.writes)?;
    let ours = entry.kind == backend::Kind::Ours;
    let mut good = true;
    for (model, name) in [
        (Model::Posix, "POSIX"),
        (Model::NamesCarried, "names carried"),
    ] {
        note(&format!("{label}: power cuts, {name}"));
        let trial = match power::cut(reader, &calls, &dir, model, &plan) {
            Ok(trial) => trial,
            Err(error) if !ours => {
                table.failed(&[label, name], &error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        tell(label, &trial);
        if let Some(file) = trial.played.mapped.first() {
            let words =
                format!("not judged: {file} is stored to through a map, which no call shows");
            table.failed(&[label, name], &words);
            continue;
        }
        good &= !ours || is_clean(&trial.tally, &CUT_COLUMNS[1..]);
        let points = match trial.points == trial.points_there {
            true => trial.points.to_string(),
            false => format!("{} of {}", trial.points, trial.points_there),
        };
        let head = [
            label,
            name,
            &trial.states.to_string(),
            &points,
            &trial.played.syncs.to_string(),
        ];
        table.row(head.map(str::to_owned).to_vec(), &trial.tally);
    }
    Ok(good)
}

fn tell(label: &str, trial: &Trial) {
    for (verdict, words) in &trial.examples {
        note(&format!("{label}: {}: {words}", verdict.word()));
    }
}

/// A table in Markdown.
struct Table {
    text: String,
    verdicts: &'static [Verdict],
    width: usize,
}

impl Table {
    fn new(head: &[&str], verdicts: &'static [Verdict]) -> Table {
        let words = head.iter().copied();
        let words: Vec<&str> = words
            .chain(verdicts.iter().map(|verdict| verdict.word()))
            .collect();
        Table {
            text: format!(
                "| {} |\n|{}\n",
                words.join(" | "),
                "---|".repeat(words.len())
            ),
            verdicts,
            width: words.len(),
        }
    }

    fn row(&mut self, mut cells: Vec<String>, tally: &Tally) {
        let count = |verdict| tally.get(verdict).copied().unwrap_or(0).to_string();
        cells.extend(self.verdicts.iter().map(count));
        self.push(&cells);
    }

    fn failed(&mut self, head: &[&str], words: &str) {
        let mut cells: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        cells.push(words.to_owned());
        cells.resize(self.width, String::new());
        self.push(&cells);
    }

    fn push(&mut self, cells: &[String]) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }
}

fn print(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn note(text: &str) {
    // When standard error is gone there is nowhere left to say so.
    let _ = writeln!(io::stderr().lock(), "peercask-bench-crash: {text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_table_has_as_many_cells_in_each_line() {
        let mut table = Table::new(&["store", "flips"], &FLIP_COLUMNS);
        let tally = Tally::from([(Verdict::Wrong, 7)]);
        table.row(vec!["a".to_owned(), "9".to_owned()], &tally);
        table.failed(&["b"], "not judged");
        let bars: Vec<usize> = table
            .text
            .lines()
            .map(|line| line.matches('|').count())
            .collect();
        assert_eq!(bars, [9; 4], "{}", table.text);
        assert!(table.text.contains("| 7 |"));
    }
}
