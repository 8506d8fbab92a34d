//! `stat`: what a store holds, what that costs in bytes on disk and in memory, and how open found it.

use clap::Args;
use peercask::{KeyspaceInfo, Stats, Store};
use serde::Serialize;

use crate::args::StoreArgs;
use crate::commands::{live, opening};
use crate::exit::{Exit, Failure};
use crate::human::Table;
use crate::output::Output;
use crate::reports::{self, KeyspaceJson, RecoveryJson};
use crate::units::{self, count};

#[derive(Args)]
pub(crate) struct StatArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// Look at the files again every so many seconds, without opening the store: also while another
    /// process has it open
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
          require_equals = true, value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,

    /// With --watch, end after so many looks instead of at Ctrl-C
    #[arg(long, requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
}

/// Everything in the engine's statistics; counts of work are since this open.
#[derive(Serialize)]
struct StatJson<'a> {
    segments: u64,
    damaged_segments: u64,
    disk_bytes: u64,
    live_bytes: u64,
    dead_bytes: u64,
    expired_bytes: u64,
    tombstone_bytes: u64,
    keys: u64,
    index_bytes: u64,
    index_bytes_per_key: Option<f64>,
    space_amplification: Option<f64>,
    write_amplification: Option<f64>,
    user_bytes: u64,
    written_bytes: u64,
    merge_written_bytes: u64,
    puts: u64,
    deletes: u64,
    gets: u64,
    syncs: u64,
    rotations: u64,
    merges: u64,
    stalls: u64,
    evicted: u64,
    last_seq: u64,
    synced_seq: u64,
    poisoned: Option<&'a str>,
    last_background_error: Option<&'a str>,
    keyspaces: Vec<KeyspaceJson<'a>>,
    recovery: RecoveryJson<'a>,
}

pub(crate) fn run(args: &StatArgs, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(seconds) = args.watch {
        return live::run(&args.store.dir, seconds, args.times, output);
    }
    let store = opening::read(&args.store)?;
    let (stats, keyspaces) = (store.stats(), store.keyspaces());
    if output.is_json() {
        output.object(&stat_json(&store, &stats, &keyspaces))?;
    } else {
        print(&store, &stats, &keyspaces, output)?;
    }
    Ok(Exit::Done)
}

fn stat_json<'a>(
    store: &'a Store,
    stats: &'a Stats,
    keyspaces: &'a [KeyspaceInfo],
) -> StatJson<'a> {
    StatJson {
        segments: stats.segments,
        damaged_segments: stats.damaged_segments,
        disk_bytes: stats.disk_bytes,
        live_bytes: stats.live_bytes,
        dead_bytes: stats.dead_bytes,
        expired_bytes: stats.expired_bytes,
        tombstone_bytes: stats.tombstone_bytes,
        keys: stats.keys,
        index_bytes: stats.index_bytes,
        index_bytes_per_key: stats.index_bytes_per_key(),
        space_amplification: stats.space_amplification(),
        write_amplification: stats.write_amplification(),
        user_bytes: stats.user_bytes,
        written_bytes: stats.written_bytes,
        merge_written_bytes: stats.merge_written_bytes,
        puts: stats.puts,
        deletes: stats.deletes,
        gets: stats.gets,
        syncs: stats.syncs,
        rotations: stats.rotations,
        merges: stats.merges,
        stalls: stats.stalls,
        evicted: stats.evicted,
        last_seq: stats.last_seq,
        synced_seq: stats.synced_seq,
        poisoned: stats.poisoned.as_deref(),
        last_background_error: stats.last_background_error.as_deref(),
        keyspaces: keyspaces.iter().map(KeyspaceJson::from).collect(),
        recovery: RecoveryJson::from(store.recovery()),
    }
}

fn print(
    store: &Store,
    stats: &Stats,
    keyspaces: &[KeyspaceInfo],
    output: &mut Output,
) -> Result<(), Failure> {
    let mut table = Table::new(1);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    let factor = |factor: Option<f64>| {
        factor.map_or_else(|| "-".to_owned(), |factor| format!("{factor:.2}"))
    };
    row("on disk", units::bytes(stats.disk_bytes));
    row("live", units::bytes(stats.live_bytes));
    row("dead", units::bytes(stats.dead_bytes));
    row("expired (estimate)", units::bytes(stats.expired_bytes));
    row("tombstones", units::bytes(stats.tombstone_bytes));
    row("space amplification", factor(stats.space_amplification()));
    row("segments", count(stats.segments));
    if stats.damaged_segments > 0 {
        row("damaged segments", count(stats.damaged_segments));
    }
    row("keys", count(stats.keys));
    row("index memory", units::bytes(stats.index_bytes));
    row("index bytes per key", factor(stats.index_bytes_per_key()));
    row("last seq", stats.last_seq.to_string());
    row("synced seq", stats.synced_seq.to_string());
    // The rest counts from this open on, so here it is what opening itself did.
    row("written since open", units::bytes(stats.written_bytes));
    row(
        "write amplification since open",
        factor(stats.write_amplification()),
    );
    row("syncs since open", count(stats.syncs));
    for line in table.lines() {
        output.line(line)?;
    }
    output.line(reports::recovery_line(store.recovery()))?;
    for file in &store.recovery().foreign_files {
        output.line(format_args!("foreign file left alone: {file}"))?;
    }
    for (what, text) in [
        ("poisoned", &stats.poisoned),
        ("background error", &stats.last_background_error),
    ] {
        if let Some(text) = text {
            output.line(format_args!("{what}: {text}"))?;
        }
    }
    if !keyspaces.is_empty() {
        output.line("")?;
        for line in reports::keyspace_table(keyspaces) {
            output.line(line)?;
        }
    }
    Ok(())
}
