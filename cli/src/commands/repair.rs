//! `repair`: everything that can still be read of a damaged store, written into a new one. The damaged
//! store is only read; exit code 1 when something could not be saved.

use std::path::PathBuf;

use clap::Args;
use peercask::{Options, Store};

use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::reports::{self, RepairJson};

#[derive(Args)]
pub(crate) struct RepairArgs {
    /// The damaged store, which is only read
    damaged: PathBuf,
    /// Where the new store goes: empty or missing
    dir: PathBuf,
}

pub(crate) fn run(args: &RepairArgs, output: &mut Output) -> Result<Exit, Failure> {
    let mut progress = Progress::new("repairing", Count::Bytes, 0);
    let report = Store::repair_with(&args.damaged, &args.dir, Options::default(), &mut |done| {
        progress.follow(&done);
    })?;
    drop(progress);
    let printed = if output.is_json() {
        output.object(&RepairJson::from(&report))
    } else {
        print(&report, output)
    };
    // The verdict does not depend on somebody reading the report to its end.
    match printed {
        Err(failure) if !failure.is_reader_gone() => Err(failure),
        _ if report.is_complete() => Ok(Exit::Done),
        _ => Ok(Exit::NotFoundOrWrong),
    }
}

fn print(report: &peercask::RepairReport, output: &mut Output) -> Result<(), Failure> {
    for damage in &report.damage {
        output.line(format_args!("damaged: {damage}"))?;
    }
    for lost in &report.lost {
        output.line(format_args!("lost: {lost}"))?;
    }
    output.line(reports::repair_line(report))
}
