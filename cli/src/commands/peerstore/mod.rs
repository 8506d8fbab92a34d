//! `peerstore`: GNUnet's PEERSTORE from the command line, at a service's socket or in a directory.
//!
//! The subcommands stand one a file; how they reach a peerstore is in `target.rs`, how records and
//! events are printed in `shown.rs`.

mod database;
mod delete;
mod exchange;
mod expire;
mod iterate;
mod monitor;
mod quota;
mod serve;
mod shown;
mod stats;
mod store;
mod target;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct PeerstoreArgs {
    #[command(subcommand)]
    command: PeerstoreCommand,
}

#[derive(Subcommand)]
enum PeerstoreCommand {
    /// Serve a peerstore to all processes of this host, until Ctrl-C or SIGTERM
    Serve(serve::ServeArgs),
    /// Store a record
    Store(store::StoreRecordArgs),
    /// Print the records of a subsystem, or of one peer or key of it
    Iterate(iterate::IterateArgs),
    /// Print each record that is stored under one subsystem, peer and key from now on
    Watch(monitor::WatchArgs),
    /// Print what happens in a subsystem: what is there, what is new, what goes
    Monitor(monitor::MonitorArgs),
    /// Delete the records of a subsystem, or of one peer or key of it
    Delete(delete::DeleteArgs),
    /// Delete all records about a peer, in every subsystem
    Forget(delete::ForgetArgs),
    /// Delete the records that have expired
    Expire(expire::ExpireArgs),
    /// Show what a peerstore holds
    Stats(stats::StatsArgs),
    /// Read JSON lines or a database of upstream's peerstore
    Import(exchange::ImportArgs),
    /// Write everything out as JSON lines, or as a database that upstream's peerstore opens
    Export(exchange::ExportArgs),
}

pub(crate) fn run(args: &PeerstoreArgs, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        PeerstoreCommand::Serve(args) => serve::run(args, output),
        PeerstoreCommand::Store(args) => store::run(args, output),
        PeerstoreCommand::Iterate(args) => iterate::run(args, output),
        PeerstoreCommand::Watch(args) => monitor::run_watch(args, output),
        PeerstoreCommand::Monitor(args) => monitor::run_monitor(args, output),
        PeerstoreCommand::Delete(args) => delete::run(args, output),
        PeerstoreCommand::Forget(args) => delete::run_forget(args, output),
        PeerstoreCommand::Expire(args) => expire::run(args, output),
        PeerstoreCommand::Stats(args) => stats::run(args, output),
        PeerstoreCommand::Import(args) => exchange::run_import(args, output),
        PeerstoreCommand::Export(args) => exchange::run_export(args, output),
    }
}
