//! The subcommands, one a file.

use crate::args::Command;
use crate::exit::{Exit, Failure};
use crate::output::Output;

pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod crash;
pub(crate) mod del;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod keyspaces;
pub(crate) mod list;
mod live;
pub(crate) mod merge;
mod opening;
#[cfg(all(unix, feature = "p2p"))]
pub(crate) mod peers;
#[cfg(unix)]
pub(crate) mod peerstore;
pub(crate) mod put;
pub(crate) mod quickstart;
mod readable;
pub(crate) mod repair;
pub(crate) mod stat;
pub(crate) mod verify;

pub(crate) fn run(command: Command, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        Command::Get(args) => get::run(&args, output),
        Command::Put(args) => put::run(&args, output),
        Command::Del(args) => del::run(&args, output),
        Command::List(args) => list::run(&args, output),
        Command::Keyspaces(args) => keyspaces::run(&args, output),
        Command::Import(args) => import::run(&args, output),
        Command::Export(args) => export::run(&args, output),
        Command::Stat(args) => stat::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Bench(args) => bench::run(&args, output),
        Command::BenchChild(args) => bench::child(&args),
        Command::Crash(args) => crash::run(&args, output),
        Command::CrashChild(args) => crash::process::child::run(&args, output),
        Command::Repair(args) => repair::run(&args, output),
        Command::Merge(args) => merge::run(&args, output),
        Command::Checkpoint(args) => checkpoint::run(&args, output),
        Command::Restore(args) => checkpoint::restore(&args, output),
        #[cfg(all(unix, feature = "p2p"))]
        Command::Peers(args) => peers::run(&args, output),
        #[cfg(unix)]
        Command::Peerstore(args) => peerstore::run(&args, output),
        Command::Dump(args) => dump::run(&args, output),
        Command::Quickstart(args) => quickstart::run(&args, output),
        Command::QuickstartWriter(args) => quickstart::writer::run(&args, output),
    }
}
