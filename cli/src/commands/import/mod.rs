//! `import`: records from JSON lines, or the files of a directory tree, into a store.
//!
//! Whatever ends an import early, the records before that point are in the store, whole and synced.

mod batches;
pub(crate) mod lines;
mod tree;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use peercask::Durability;
use serde::Serialize;

use self::batches::Importer;
use crate::args::{IndexArgs, StoreArgs, durability_parser};
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::json::JSON_HELP;
use crate::output::Output;
use crate::units::{self, counted};

/// The line format, for the help text.
const LINES_HELP: &str = "\
A line is {\"key\": .., \"value\": .., \"expires_at_ms\": .., \"keyspace\": ..}; the last two may be \
missing. --tree makes each regular file a record: its path below PATH, with `/` between the parts, \
is the key, its content the value. Links and special files are left out, and so is the store itself.";

#[derive(Args)]
#[command(after_help = format!("{LINES_HELP}\n\n{JSON_HELP}"))]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A file of JSON lines, or `-` for standard input
    #[arg(required_unless_present = "tree")]
    file: Option<PathBuf>,
    /// Import the files of a directory tree instead
    #[arg(long, value_name = "PATH", conflicts_with = "file")]
    tree: Option<PathBuf>,
    /// The keyspace of records that name none
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    keyspace: String,
    #[command(flatten)]
    index: IndexArgs,
    /// What each batch must survive while the import goes on; at the end everything is synced
    #[arg(long, default_value = "kernel", value_parser = durability_parser())]
    durability: Durability,
    /// Report lines and files that cannot be imported, and go on
    #[arg(long)]
    skip_bad: bool,
}

/// What an import did.
#[derive(Serialize)]
struct ImportJson {
    records: u64,
    bytes: u64,
    batches: u64,
    skipped_bad: u64,
    skipped_special_files: u64,
    interrupted: bool,
    elapsed_ms: u64,
}

/// What a source of records passed over.
#[derive(Default)]
struct Skipped {
    bad: u64,
    special_files: u64,
}

pub(crate) fn run(args: &ImportArgs, output: &mut Output) -> Result<Exit, Failure> {
    // A source that cannot be read must not leave a new, empty store behind.
    let lines = match (&args.file, &args.tree) {
        (Some(file), _) => Some(lines::Source::open(file)?),
        (None, Some(tree)) => {
            tree::check(tree)?;
            None
        }
        (None, None) => return Err(Failure::usage("there is nothing to import")),
    };
    let started = Instant::now();
    let store = opening::work_or_create(&args.store)?;
    interrupt::watch()?;
    let mut importer = Importer::new(&store, args.index.index, args.durability);
    let skipped = match (lines, &args.tree) {
        (Some(source), _) => lines::import(source, args, &mut importer)?,
        (None, Some(tree)) => tree::import(tree, args, &mut importer)?,
        (None, None) => Skipped::default(),
    };
    let done = importer.finish()?;
    store.close()?;
    let report = ImportJson {
        records: done.records,
        bytes: done.bytes,
        batches: done.batches,
        skipped_bad: skipped.bad,
        skipped_special_files: skipped.special_files,
        interrupted: interrupt::requested(),
        elapsed_ms: units::whole_ms(started.elapsed()),
    };
    print(&report, started.elapsed(), output)?;
    Ok(match report.interrupted {
        true => Exit::Interrupted,
        false => Exit::Done,
    })
}

fn print(report: &ImportJson, elapsed: Duration, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(report);
    }
    output.line(format_args!(
        "{}imported {}, {} of keys and values, in {}",
        if report.interrupted {
            "interrupted; "
        } else {
            ""
        },
        counted(report.records, "record"),
        units::bytes(report.bytes),
        units::duration(elapsed)
    ))?;
    if report.skipped_bad > 0 {
        output.line(format_args!(
            "skipped {} that could not be imported",
            units::count(report.skipped_bad)
        ))?;
    }
    if report.skipped_special_files > 0 {
        let files = counted(report.skipped_special_files, "link or special file");
        output.line(format_args!("left out {files}"))?;
    }
    Ok(())
}
