//! `peerstore watch` and `peerstore monitor`: events as they happen, one a line, until Ctrl-C or the
//! number that was asked for. A service that goes and comes back is waited for, and nothing is missed.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use peercask_peerstore::gnunet::{Event, Filter, From, MonitorSpec, PeerIdentity};

use super::shown::print_event;
use super::target::{FilterArgs, Target, TargetArgs, failure, peer_parser};
use crate::bytes_arg;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The subsystem
    subsystem: OsString,
    /// The peer: 52 characters of GNUnet's base32, or 64 hexadecimal digits
    #[arg(value_parser = peer_parser)]
    peer: PeerIdentity,
    /// The key
    key: OsString,
    /// Keys and values are hexadecimal, as given and as printed
    #[arg(long)]
    hex: bool,
    /// End after so many records
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

#[derive(Args)]
pub(super) struct MonitorArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The records that are there come first
    #[arg(long, conflicts_with = "after")]
    existing: bool,
    /// Go on behind the sequence number that an earlier monitor told last
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// Deletes, expiry and evictions too
    #[arg(long)]
    removals: bool,
    /// End after so many records and removals
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

pub(super) fn run_watch(args: &WatchArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = bytes_arg::parse(&args.key, args.hex)?;
    let filter = Filter::triple(args.subsystem.as_encoded_bytes(), args.peer, key);
    let spec = MonitorSpec::new(filter);
    follow(&args.target, spec, args.count, args.hex, output)
}

pub(super) fn run_monitor(args: &MonitorArgs, output: &mut Output) -> Result<Exit, Failure> {
    let from = match args.after {
        Some(seq) => From::After(seq),
        None if args.existing => From::Existing,
        None => From::Now,
    };
    let spec = MonitorSpec::new(args.filter.filter()?)
        .from(from)
        .removals(args.removals);
    follow(&args.target, spec, args.count, args.filter.hex, output)
}

fn follow(
    target: &TargetArgs,
    spec: MonitorSpec,
    count: Option<u64>,
    hex: bool,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let target = Target::existing(target)?;
    interrupt::watch()?;
    let mut left = count.unwrap_or(u64::MAX);
    {
        let mut watch = target.connection.watch(spec).map_err(failure)?;
        while left > 0 && !interrupt::requested() {
            let Some(event) = watch.next_timeout(LOOK).map_err(failure)? else {
                continue;
            };
            print_event(output, &event, hex)?;
            let counts = matches!(event, Event::Stored { .. } | Event::Removed { .. });
            left -= u64::from(counts);
        }
    }
    target.close()?;
    Ok(match left {
        0 => Exit::Done,
        _ => Exit::Interrupted,
    })
}
