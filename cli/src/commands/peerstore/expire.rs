//! `peerstore expire`: a sweep now, instead of at the next interval.

use clap::Args;

use super::delete;
use super::target::{Target, TargetArgs, failure};
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
pub(super) struct ExpireArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Remove what expires before this, in microseconds since 1970; left out, before now
    #[arg(long, value_name = "MICROSECONDS")]
    before_us: Option<u64>,
}

pub(super) fn run(args: &ExpireArgs, output: &mut Output) -> Result<Exit, Failure> {
    let target = Target::existing(&args.target)?;
    let records = target.connection.expire(args.before_us).map_err(failure)?;
    delete::tell(target, records, output)?;
    // Nothing to remove is as good as something.
    Ok(Exit::Done)
}
