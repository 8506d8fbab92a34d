//! `peerstore delete` and `peerstore forget`: what upstream never had, an end for records that never
//! expire.

use clap::Args;
use peercask_peerstore::gnunet::PeerIdentity;
use serde::Serialize;

use super::target::{FilterArgs, Target, TargetArgs, failure, peer_parser};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::units::counted;

#[derive(Args)]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Args)]
pub(super) struct ForgetArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The peer: 52 characters of GNUnet's base32, or 64 hexadecimal digits
    #[arg(value_parser = peer_parser)]
    peer: PeerIdentity,
}

#[derive(Serialize)]
struct RemovedJson {
    records: u64,
}

pub(super) fn run(args: &DeleteArgs, output: &mut Output) -> Result<Exit, Failure> {
    let filter = args.filter.filter()?;
    let target = Target::existing(&args.target)?;
    let records = target.connection.remove(&filter).map_err(failure)?;
    tell(target, records, output)
}

pub(super) fn run_forget(args: &ForgetArgs, output: &mut Output) -> Result<Exit, Failure> {
    let target = Target::existing(&args.target)?;
    let records = target.connection.forget_peer(args.peer).map_err(failure)?;
    tell(target, records, output)
}

/// How many records went; none at all is "not found".
pub(super) fn tell(target: Target, records: u64, output: &mut Output) -> Result<Exit, Failure> {
    target.close()?;
    match output.is_json() {
        true => output.object(&RemovedJson { records })?,
        false => output.line(format_args!("removed {}", counted(records, "record")))?,
    }
    Ok(match records {
        0 => Exit::NotFoundOrWrong,
        _ => Exit::Done,
    })
}
