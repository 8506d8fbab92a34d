//! `peerstore import` and `peerstore export`: JSON lines, and the database files of upstream's
//! peerstore in both of its schemas (`database.rs`).
//!
//! Stores of an import are many at a time on their way; each is answered, and none is assumed.

use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use peercask_peerstore::gnunet::{
    Acknowledge, Connection, ErrorKind, Filter, Order, Query, Record, StoreOption, Stored,
};
use serde::Serialize;

use super::database;
use super::shown::{RecordJson, RecordLine};
use super::store::acknowledge_parser;
use super::target::{Target, TargetArgs, failure};
use crate::commands::export::lines as lines_out;
use crate::commands::import::lines::Source;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::json::JSON_HELP;
use crate::output::{self, Output};
use crate::progress::{Count, Progress};
use crate::units::{self, counted};

/// The first bytes of every database of upstream's.
const DATABASE_MAGIC: &[u8] = b"SQLite format 3\0";
/// Stores that are on their way at once.
const WINDOW: u64 = 512;
/// How long one look for answers waits.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Args)]
#[command(after_help = JSON_HELP)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A file of JSON lines, `-` for standard input, or a database of upstream's peerstore
    file: PathBuf,
    /// Replace what stands under the same subsystem, peer and key; left out, an import that is
    /// repeated stores everything twice
    #[arg(long)]
    replace: bool,
    /// When each record counts as done: accepted, kernel or device
    #[arg(long, default_value = "kernel", value_parser = acknowledge_parser())]
    acknowledge: Acknowledge,
    /// Report records that cannot be imported, and go on
    #[arg(long)]
    skip_bad: bool,
}

/// What an export writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON lines, as `import` reads them
    Lines,
    /// A database for upstream's peerstore up to 0.20
    #[value(name = "gnunet-0.20")]
    Gnunet020,
    /// A database for upstream's peerstore from 0.21 on
    #[value(name = "gnunet-0.21")]
    Gnunet021,
}

#[derive(Args)]
#[command(after_help = JSON_HELP)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Write to a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write; a database needs --output
    #[arg(long, value_enum, default_value = "lines")]
    format: Format,
    /// Only this subsystem
    #[arg(long, value_name = "NAME")]
    subsystem: Option<String>,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct ImportedJson {
    records: u64,
    skipped_bad: u64,
    interrupted: bool,
    elapsed_ms: u64,
}

#[derive(Default, Serialize)]
struct ExportedJson {
    records: u64,
    damaged: u64,
    interrupted: bool,
}

pub(super) fn run_import(args: &ImportArgs, output: &mut Output) -> Result<Exit, Failure> {
    // A source that cannot be read must not leave a new, empty peerstore behind.
    let is_database = is_database(&args.file)?;
    let source = match is_database {
        true => None,
        false => Some(Source::open(&args.file)?),
    };
    if is_database {
        database::check()?;
    }
    let target = Target::or_create(&args.target)?;
    interrupt::watch()?;
    let started = Instant::now();
    let mut importer = Importer::new(&target.connection, args);
    match source {
        Some(source) => import_lines(source, &mut importer)?,
        None => database::import(&args.file, &mut importer)?,
    }
    let (records, skipped_bad) = importer.finish()?;
    target.close()?;
    let report = ImportedJson {
        records,
        skipped_bad,
        interrupted: interrupt::requested(),
        elapsed_ms: units::whole_ms(started.elapsed()),
    };
    match output.is_json() {
        true => output.object(&report)?,
        false => {
            let led = if report.interrupted {
                "interrupted; "
            } else {
                ""
            };
            let (records, time) = (
                counted(records, "record"),
                units::duration(started.elapsed()),
            );
            output.line(format_args!("{led}imported {records} in {time}"))?;
            if skipped_bad > 0 {
                let bad = counted(skipped_bad, "record");
                output.line(format_args!("skipped {bad} that could not be imported"))?;
            }
        }
    }
    Ok(match report.interrupted {
        true => Exit::Interrupted,
        false => Exit::Done,
    })
}

fn is_database(path: &Path) -> Result<bool, Failure> {
    if path == Path::new("-") {
        return Ok(false);
    }
    let failed = |error| Failure::io(format_args!("read {}", path.display()), &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.take(16).read_to_end(&mut start).map_err(failed)?;
    Ok(start == DATABASE_MAGIC)
}

fn import_lines(mut source: Source, importer: &mut Importer<'_>) -> Result<(), Failure> {
    let mut progress = Progress::new("importing lines", Count::Bytes, source.len());
    let mut line = Vec::new();
    let mut number: u64 = 0;
    while !interrupt::requested() {
        number += 1;
        let place = format!("{}, line {number}", source.name());
        if !source
            .next_line(&mut line)
            .map_err(|failure| failure.within(&place))?
        {
            break;
        }
        progress.add(u64::try_from(line.len()).unwrap_or(0));
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed: Result<RecordLine, _> = serde_json::from_slice(&line);
        match parsed
            .map_err(|error| error.to_string())
            .and_then(RecordLine::record)
        {
            Ok(record) => importer.put(record, place)?,
            Err(why) => importer.bad(&place, &why)?,
        }
    }
    Ok(())
}

/// Records on their way into a peerstore.
pub(super) struct Importer<'a> {
    connection: &'a Connection,
    option: StoreOption,
    acknowledge: Acknowledge,
    skip_bad: bool,
    given: u64,
    outcome: Arc<Mutex<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    stored: u64,
    bad: u64,
    /// Where, and why.
    failed: Option<(String, peercask_peerstore::gnunet::Error)>,
}

impl<'a> Importer<'a> {
    fn new(connection: &'a Connection, args: &ImportArgs) -> Importer<'a> {
        Importer {
            connection,
            option: match args.replace {
                true => StoreOption::Replace,
                false => StoreOption::Multiple,
            },
            acknowledge: args.acknowledge,
            skip_bad: args.skip_bad,
            given: 0,
            outcome: Arc::default(),
        }
    }

    /// Stores a record that stood at `place`, as soon as there is room on the way.
    pub(super) fn put(&mut self, record: Record, place: String) -> Result<(), Failure> {
        self.settle(WINDOW)?;
        self.given += 1;
        let (outcome, skip_bad) = (self.outcome.clone(), self.skip_bad);
        let told = move |_: &Connection, done: peercask_peerstore::gnunet::Result<u64>| {
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok(_) => outcome.stored += 1,
                Err(error) if skip_bad && is_of_the_record(error.kind()) => {
                    output::note(format_args!("skipped {place}: {error}"));
                    outcome.bad += 1;
                }
                Err(error) => {
                    outcome.failed.get_or_insert((place, error));
                }
            }
        };
        let queued = self
            .connection
            .store_then(record, self.option, self.acknowledge, told);
        queued.map(|_| ()).map_err(failure)
    }

    /// What stands at `place` is no record.
    pub(super) fn bad(&mut self, place: &str, why: &str) -> Result<(), Failure> {
        if self.skip_bad {
            output::note(format_args!("skipped {place}: {why}"));
            self.lock().bad += 1;
            self.given += 1;
            return Ok(());
        }
        self.settle(0)?;
        let before = counted(self.lock().stored, "record");
        Err(Failure::usage(format!(
            "{place}: {why} ({before} before it imported; --skip-bad skips such)"
        )))
    }

    /// Waits until all are answered: how many are stored, and how many were bad.
    fn finish(&mut self) -> Result<(u64, u64), Failure> {
        self.settle(0)?;
        let outcome = self.lock();
        Ok((outcome.stored, outcome.bad))
    }

    /// Waits until at most `open_max` are without an answer.
    fn settle(&self, open_max: u64) -> Result<(), Failure> {
        loop {
            let open = {
                let mut outcome = self.lock();
                if let Some((place, error)) = outcome.failed.take() {
                    let before = counted(outcome.stored, "record");
                    let failure = failure(error).within(place);
                    let message = failure.message.unwrap_or_default();
                    let message = format!("{message} ({before} imported)");
                    return Err(Failure::new(failure.exit, message));
                }
                self.given - outcome.stored - outcome.bad
            };
            if open <= open_max {
                return Ok(());
            }
            self.connection.turn(LOOK).map_err(failure)?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether another record may fare better.
fn is_of_the_record(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidRecord | ErrorKind::TooLarge | ErrorKind::QuotaExceeded
    )
}

pub(super) fn run_export(args: &ExportArgs, output: &mut Output) -> Result<Exit, Failure> {
    let target = Target::existing(&args.target)?;
    interrupt::watch()?;
    let mut exported = ExportedJson::default();
    let connection = &target.connection;
    match (args.format, &args.output) {
        (Format::Lines, None) => walk(connection, args, &mut exported, &mut |stored| {
            output.object(&RecordJson::of(stored.seq, &stored.record))
        })?,
        (Format::Lines, Some(path)) => {
            let file = lines_out::create(path, args.force)?;
            let failed = |error| Failure::io(format_args!("write {}", path.display()), &error);
            let mut out = BufWriter::with_capacity(1 << 20, file);
            walk(connection, args, &mut exported, &mut |stored| {
                let record = RecordJson::of(stored.seq, &stored.record);
                output::write_json_line(&mut out, &record).map_err(failed)
            })?;
            out.flush().map_err(failed)?;
        }
        (format, Some(path)) => {
            database::check()?;
            // Refused or emptied as any other file; the database then grows in it.
            drop(lines_out::create(path, args.force)?);
            let mut database = database::Writer::create(path, format == Format::Gnunet021)?;
            walk(connection, args, &mut exported, &mut |stored| {
                database.add(&stored.record)
            })?;
            database.finish()?;
        }
        (_, None) => return Err(Failure::usage("a database needs a file: give --output")),
    }
    target.close()?;
    // Standard output carries the records, so nothing else is said there.
    if args.output.is_some() {
        match output.is_json() {
            true => output.object(&exported)?,
            false => {
                let led = if exported.interrupted {
                    "interrupted; "
                } else {
                    ""
                };
                let records = counted(exported.records, "record");
                output.line(format_args!("{led}exported {records}"))?;
            }
        }
    }
    Ok(match exported {
        ExportedJson {
            interrupted: true, ..
        } => Exit::Interrupted,
        _ if exported.damaged > 0 => Exit::Corrupted,
        _ => Exit::Done,
    })
}

/// All records, each subsystem on a snapshot of its own, in the order of insertion.
fn walk(
    connection: &Connection,
    args: &ExportArgs,
    exported: &mut ExportedJson,
    write: &mut dyn FnMut(&Stored) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let stats = connection.stats().map_err(failure)?;
    let mut progress = Progress::new("exporting", Count::Things, stats.records);
    for name in stats.subsystems.keys() {
        if args
            .subsystem
            .as_ref()
            .is_some_and(|only| only.as_bytes() != name.as_slice())
        {
            continue;
        }
        let query = Query::new(Filter::subsystem(name)).order(Order::Insertion);
        for stored in connection.iterate(query).map_err(failure)? {
            match stored {
                Ok(stored) => {
                    write(&stored)?;
                    exported.records += 1;
                    progress.add(1);
                }
                Err(error) if error.kind() == ErrorKind::Corrupted => {
                    output::note(format_args!("passed over a damaged record: {error}"));
                    exported.damaged += 1;
                }
                Err(error) => return Err(failure(error)),
            }
            if interrupt::requested() {
                exported.interrupted = true;
                return Ok(());
            }
        }
    }
    Ok(())
}
