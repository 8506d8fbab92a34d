//! `peers`: what a libp2p node remembers of its peers, from the command line. Built with the feature `p2p`
//! alone, so that no other command waits for libp2p.
//!
//! The subcommands stand one a file; how they reach a store is in `target.rs`, how peers are printed in
//! `shown.rs`.

mod dump;
mod export;
mod import;
mod list;
mod show;
mod shown;
mod stats;
mod target;

#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// What a node has not written yet is not seen.
const BESIDE_A_NODE: &str = "\
Takes no lock and writes nothing: it works beside a node that has the store open, and sees what the node has \
written. Of addresses that the node heard of again, a later expiry may not be written yet.";

#[derive(Args)]
pub(crate) struct PeersArgs {
    #[command(subcommand)]
    command: PeersCommand,
}

#[derive(Subcommand)]
enum PeersCommand {
    /// List peers, one a line: id, best address, how many addresses and protocols, last contact
    List(list::ListArgs),
    /// Show everything that is known of one peer
    Show(show::ShowArgs),
    /// Show how many peers, addresses and records there are, and what they take on disk
    Stats(stats::StatsArgs),
    /// Write all peers out as JSON lines, or their addresses as a plain list
    Export(export::ExportArgs),
    /// Read peers from an export, a list of addresses, or the store of another implementation
    Import(import::ImportArgs),
}

pub(crate) fn run(args: &PeersArgs, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        PeersCommand::List(args) => list::run(args, output),
        PeersCommand::Show(args) => show::run(args, output),
        PeersCommand::Stats(args) => stats::run(args, output),
        PeersCommand::Export(args) => export::run(args, output),
        PeersCommand::Import(args) => import::run(args, output),
    }
}
