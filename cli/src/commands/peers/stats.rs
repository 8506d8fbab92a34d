//! `peers stats`: counts of what is known, and its bytes on disk.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::BESIDE_A_NODE;
use super::target::{failure, read_all, verdict};
use crate::exit::{Exit, Failure};
use crate::human;
use crate::output::Output;
use crate::units::{bytes, count};

#[derive(Args)]
#[command(after_help = BESIDE_A_NODE)]
pub(super) struct StatsArgs {
    /// The store's directory
    dir: PathBuf,
}

#[derive(Serialize)]
struct StatsJson {
    peers: u64,
    peers_reachable: u64,
    peers_with_keys: u64,
    addresses: u64,
    addresses_pinned: u64,
    addresses_signed: u64,
    signed_records: u64,
    unreadable: u64,
    disk_bytes: u64,
    live_bytes: u64,
    dead_bytes: u64,
}

pub(super) fn run(args: &StatsArgs, output: &mut Output) -> Result<Exit, Failure> {
    let peers = read_all(&args.dir)?;
    let stats = peers.stats();
    let told = StatsJson {
        peers: stats.peers,
        peers_reachable: peers.peers_with_addrs().count() as u64,
        peers_with_keys: peers.peers_with_keys().count() as u64,
        addresses: stats.addresses,
        addresses_pinned: stats.pinned,
        addresses_signed: stats.certified,
        signed_records: stats.signed_records,
        unreadable: stats.unreadable,
        disk_bytes: stats.datastore.disk_bytes,
        live_bytes: stats.datastore.live_bytes,
        dead_bytes: stats.datastore.dead_bytes,
    };
    let exit = verdict(&peers);
    peers.close().map_err(failure)?;
    if output.is_json() {
        output.object(&told)?;
        return Ok(exit);
    }
    let mut table = human::Table::new(1);
    for (name, value) in [
        ("peers", count(told.peers)),
        ("  with a live address", count(told.peers_reachable)),
        ("  with a key", count(told.peers_with_keys)),
        ("addresses (expired ones included)", count(told.addresses)),
        ("  that do not expire", count(told.addresses_pinned)),
        ("  that a signed record holds", count(told.addresses_signed)),
        ("signed records", count(told.signed_records)),
        ("records that cannot be read", count(told.unreadable)),
        ("on disk", bytes(told.disk_bytes)),
        ("live", bytes(told.live_bytes)),
        ("dead", bytes(told.dead_bytes)),
    ] {
        table.row(vec![name.to_owned(), value]);
    }
    for line in table.lines() {
        output.line(line)?;
    }
    Ok(exit)
}
