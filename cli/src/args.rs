//! The command line: the list of subcommands and the arguments that several of them share.
//!
//! A subcommand's own arguments stand in its file under commands/. This file must never do anything.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use peercask::{Durability, IndexKind};
use peercask_bench::args::BenchArgs;
use peercask_bench::child;

use crate::bytes_arg::BYTES_HELP;
#[cfg(all(unix, feature = "p2p"))]
use crate::commands::peers;
#[cfg(unix)]
use crate::commands::peerstore;
use crate::commands::{
    checkpoint, crash, del, doctor, dump, export, get, import, keyspaces, list, merge, put,
    quickstart, repair, stat, verify,
};
use crate::exit::EXIT_CODES_HELP;
use crate::json::JSON_HELP;

/// Look into, fill, check and try out peercask stores.
///
/// A store is one directory; DIR is always the first argument. Only `put` and `import` create a store.
/// One process at a time writes to a store; `get`, `list`, `keyspaces`, `export`, `stat`, `verify` and
/// `dump` read beside it and write nothing.
#[derive(Parser)]
#[command(name = "peercask", version, after_help = EXIT_CODES_HELP, max_term_width = 100)]
#[command(after_long_help = format!("{BYTES_HELP}\n\n{JSON_HELP}\n\n{EXIT_CODES_HELP}"))]
pub(crate) struct Arguments {
    /// Print data as JSON, one value a line
    #[arg(long, global = true, display_order = 900)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print the value of a key
    Get(get::GetArgs),
    /// Write a value; creates the store and the keyspace if they are missing
    Put(put::PutArgs),
    /// Delete a key
    Del(del::DelArgs),
    /// List keys, one a line
    List(list::ListArgs),
    /// List the keyspaces
    Keyspaces(keyspaces::KeyspacesArgs),
    /// Read JSON lines or a directory tree into a store
    Import(import::ImportArgs),
    /// Write a store out as JSON lines or as a directory tree
    Export(export::ExportArgs),
    /// Show what a store holds and what it costs
    Stat(stat::StatArgs),
    /// Check every checksum, and every hint file against its segment
    Verify(verify::VerifyArgs),
    /// Tell what the files prove: what is durable, what open would cut, what is damaged or lost
    Doctor(doctor::DoctorArgs),
    /// Crash a store on purpose, many times, and prove that nothing is lost
    Crash(crash::CrashArgs),
    /// The child that `crash --process` kills
    #[command(hide = true)]
    CrashChild(crash::process::child::ChildArgs),
    /// Measure this machine: the engine beside floors that no such store can beat
    Bench(BenchArgs),
    /// The child that measures one workload
    #[command(hide = true)]
    BenchChild(child::ChildArgs),
    /// Save all that can be read of a damaged store into a new one
    Repair(repair::RepairArgs),
    /// Rewrite live records and give dead bytes back
    Merge(merge::MergeArgs),
    /// Make an openable copy by hard links, or bring an earlier one up to date
    Checkpoint(checkpoint::CheckpointArgs),
    /// Make a store of a checkpoint, which stays as it is
    Restore(checkpoint::RestoreArgs),
    /// Show the manifest and the segments, or the records of one segment
    Dump(dump::DumpArgs),
    /// List, show, export and import the peers of a libp2p node
    #[cfg(all(unix, feature = "p2p"))]
    Peers(peers::PeersArgs),
    /// Serve, fill, watch and look into a peerstore: GNUnet's PEERSTORE
    #[cfg(unix)]
    Peerstore(peerstore::PeerstoreArgs),
    /// Import real files, be killed half-way, recover, and prove that nothing is lost
    Quickstart(quickstart::QuickstartArgs),
    /// The child that `quickstart` kills
    #[command(hide = true)]
    QuickstartWriter(quickstart::writer::WriterArgs),
}

/// Which store, and what to put up with when opening it.
#[derive(Args)]
pub(crate) struct StoreArgs {
    /// The store's directory
    pub(crate) dir: PathBuf,

    /// Open although sealed segments are missing or cut; what they held is lost
    #[arg(long)]
    pub(crate) accept_missing_segments: bool,

    /// Believe the system clock after a jump that the store reported
    #[arg(long)]
    pub(crate) confirm_clock: bool,
}

/// Which keyspace, and how keys are written.
#[derive(Args)]
pub(crate) struct KeyspaceArgs {
    /// The keyspace
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    pub(crate) keyspace: String,

    /// Keys and values are hexadecimal, as given and as printed
    #[arg(long)]
    pub(crate) hex: bool,
}

/// The index kind of keyspaces that a command creates.
#[derive(Args)]
pub(crate) struct IndexArgs {
    /// Index of a keyspace that has to be created; the default is ordered
    #[arg(long, value_parser = index_parser())]
    pub(crate) index: Option<IndexKind>,
}

pub(crate) fn index_parser() -> impl TypedValueParser<Value = IndexKind> {
    PossibleValuesParser::new(["ordered", "hash"]).map(|name| match name.as_str() {
        "hash" => IndexKind::Hash,
        _ => IndexKind::Ordered,
    })
}

pub(crate) fn durability_parser() -> impl TypedValueParser<Value = Durability> {
    PossibleValuesParser::new(["buffered", "kernel", "device"])
        .try_map(|name| name.parse::<Durability>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_subcommand_takes_the_directory_first() {
        for line in [
            "get D k",
            "put D k v",
            "del D k",
            "list D",
            "keyspaces D",
            "stat D",
            "verify D",
            "merge D",
            "checkpoint D to",
            "restore D to",
            "repair D to",
        ] {
            let words = ["peercask"].into_iter().chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
