//! `merge`: gives dead bytes back, as far as the watermarks ask, or all of them with --full.
//!
//! It may be interrupted at any moment: a merge publishes its outputs before it drops its inputs, and
//! open removes what a crashed merge left.

use clap::Args;
use peercask::Merge;
use serde::Serialize;

use crate::args::StoreArgs;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::reports::{self, MergeJson};
use crate::units;

#[derive(Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Leave no dead byte in any file
    #[arg(long)]
    full: bool,
}

#[derive(Serialize)]
struct MergeDoneJson {
    disk_bytes_before: u64,
    disk_bytes_after: u64,
    #[serde(flatten)]
    merge: MergeJson,
}

pub(crate) fn run(args: &MergeArgs, output: &mut Output) -> Result<Exit, Failure> {
    let store = opening::visit(&args.store)?;
    let before = store.stats().disk_bytes;
    let how = match args.full {
        true => Merge::Full,
        false => Merge::Needed,
    };
    let mut progress = Progress::new("merging", Count::Bytes, 0);
    let report = store.merge_with(how, &mut |done| progress.follow(&done))?;
    drop(progress);
    let after = store.stats().disk_bytes;
    store.close()?;
    if output.is_json() {
        output.object(&MergeDoneJson {
            disk_bytes_before: before,
            disk_bytes_after: after,
            merge: MergeJson::from(&report),
        })?;
        return Ok(Exit::Done);
    }
    if report.segments_in == 0 && report.segments_dropped == 0 {
        output.line("nothing to merge")?;
    } else {
        output.line(reports::merge_line(&report))?;
    }
    if report.segments_damaged > 0 {
        let damaged = units::counted(report.segments_damaged, "damaged segment");
        output.line(format_args!(
            "{damaged} left alone; `peercask verify` names the places"
        ))?;
    }
    output.line(format_args!(
        "on disk {} before, {} after",
        units::bytes(before),
        units::bytes(after)
    ))?;
    Ok(Exit::Done)
}
