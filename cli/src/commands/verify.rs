//! `verify`: every checksum of every record, every hint file against its segment; exit code 1 when
//! anything is damaged.

use clap::Args;

use crate::args::StoreArgs;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::reports::{self, VerifyJson};

#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn run(args: &VerifyArgs, output: &mut Output) -> Result<Exit, Failure> {
    let store = opening::read(&args.store)?;
    let mut progress = Progress::new("verifying", Count::Bytes, 0);
    let report = store.verify(&mut |done| progress.follow(&done))?;
    drop(progress);
    let printed = if output.is_json() {
        output.object(&VerifyJson::from(&report))
    } else {
        print(&report, output)
    };
    // The verdict does not depend on somebody reading the report to its end.
    match printed {
        Err(failure) if !failure.is_reader_gone() => Err(failure),
        _ if report.is_clean() => Ok(Exit::Done),
        _ => Ok(Exit::NotFoundOrWrong),
    }
}

fn print(report: &peercask::VerifyReport, output: &mut Output) -> Result<(), Failure> {
    for damage in &report.damage {
        output.line(format_args!("damaged: {damage}"))?;
    }
    output.line(reports::verify_line(report))
}
