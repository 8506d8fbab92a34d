//! `checkpoint` and `restore`: an openable copy of a store by hard links, and the way back.
//!
//! Either may be interrupted: what is unfinished is refused by every other command, and the same
//! command goes on with it.

use std::path::PathBuf;

use clap::Args;
use peercask::{CheckpointReport, Store};

use crate::args::StoreArgs;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::reports::{self, CheckpointJson};

#[derive(Args)]
pub(crate) struct CheckpointArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Where the checkpoint goes: empty, missing, or an earlier checkpoint of this store
    to: PathBuf,
}

#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The checkpoint, which is only read
    checkpoint: PathBuf,
    /// Where the store goes: empty or missing
    dir: PathBuf,
}

pub(crate) fn run(args: &CheckpointArgs, output: &mut Output) -> Result<Exit, Failure> {
    let store = opening::visit(&args.store)?;
    let mut progress = Progress::new("checkpoint", Count::Bytes, 0);
    let report = store.checkpoint_with(&args.to, &mut |done| progress.follow(&done))?;
    drop(progress);
    store.close()?;
    print(&report, output)
}

pub(crate) fn restore(args: &RestoreArgs, output: &mut Output) -> Result<Exit, Failure> {
    let mut progress = Progress::new("restoring", Count::Bytes, 0);
    let report = Store::restore_with(&args.checkpoint, &args.dir, &mut |done| {
        progress.follow(&done);
    })?;
    drop(progress);
    print(&report, output)
}

fn print(report: &CheckpointReport, output: &mut Output) -> Result<Exit, Failure> {
    if output.is_json() {
        output.object(&CheckpointJson::from(report))?;
    } else {
        output.line(reports::checkpoint_line(report))?;
    }
    Ok(Exit::Done)
}
