//! `peerstore stats`: counts and bytes of each subsystem, and what is going on.

use clap::Args;
use peercask_peerstore::gnunet::PeerstoreStats;
use serde::Serialize;

use super::target::{Target, TargetArgs, failure};
use crate::exit::{Exit, Failure};
use crate::human;
use crate::json::BytesOut;
use crate::output::Output;
use crate::units::{bytes, count};

#[derive(Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Serialize)]
struct StatsJson<'a> {
    records: u64,
    last_seq: u64,
    disk_bytes: u64,
    monitors: u64,
    iterations: u64,
    kept_for_iterations: u64,
    damaged: u64,
    last_sweep_error: Option<&'a str>,
    subsystems: Vec<SubsystemJson<'a>>,
}

#[derive(Serialize)]
struct SubsystemJson<'a> {
    subsystem: BytesOut<'a>,
    records: u64,
    bytes: u64,
}

pub(super) fn run(args: &StatsArgs, output: &mut Output) -> Result<Exit, Failure> {
    let target = Target::existing(&args.target)?;
    let stats = target.connection.stats().map_err(failure)?;
    target.close()?;
    match output.is_json() {
        true => output.object(&json_of(&stats))?,
        false => print(&stats, output)?,
    }
    Ok(Exit::Done)
}

fn json_of(stats: &PeerstoreStats) -> StatsJson<'_> {
    let subsystems = stats.subsystems.iter();
    StatsJson {
        records: stats.records,
        last_seq: stats.last_seq,
        disk_bytes: stats.disk_bytes,
        monitors: stats.monitors,
        iterations: stats.iterations,
        kept_for_iterations: stats.kept_for_iterations,
        damaged: stats.damaged,
        last_sweep_error: stats.last_sweep_error.as_deref(),
        subsystems: subsystems
            .map(|(name, subsystem)| SubsystemJson {
                subsystem: BytesOut(name),
                records: subsystem.records,
                bytes: subsystem.bytes,
            })
            .collect(),
    }
}

fn print(stats: &PeerstoreStats, output: &mut Output) -> Result<(), Failure> {
    let mut table = human::Table::headed(1, &["subsystem", "records", "bytes"]);
    for (name, subsystem) in &stats.subsystems {
        let (records, bytes) = (count(subsystem.records), bytes(subsystem.bytes));
        table.row(vec![human::printable(name), records, bytes]);
    }
    for line in table.lines() {
        output.line(line)?;
    }
    let mut sums = human::Table::new(1);
    for (what, amount) in [
        ("records", count(stats.records)),
        ("on disk", bytes(stats.disk_bytes)),
        ("last sequence number", stats.last_seq.to_string()),
        ("watches and monitors", count(stats.monitors)),
        ("walks under way", count(stats.iterations)),
        ("removed, kept for walks", count(stats.kept_for_iterations)),
        ("damaged", count(stats.damaged)),
    ] {
        sums.row(vec![what.to_owned(), amount]);
    }
    for line in sums.lines() {
        output.line(line)?;
    }
    if let Some(error) = &stats.last_sweep_error {
        output.line(format_args!("the last sweep failed: {error}"))?;
    }
    Ok(())
}
