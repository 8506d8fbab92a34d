//! `crash`: proof by trial that nothing is lost. Without more it explores crash states of workloads on a
//! simulated disk; with `--process` it kills a real child on the real disk.
//!
//! This file is the command line; it must never judge a state itself.

mod explore;
mod page;
pub(crate) mod process;
mod story;
mod summary;
mod workloads;

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use peercask::crash::{Case, Failure as Fault};

use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Without any limit a run takes so long.
const SECONDS: u64 = 10;

#[derive(Args)]
pub(crate) struct CrashArgs {
    /// The longest time to take; 10 if no other limit is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Repeat a run: the same seed gives the same states
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Judge at most so many crash states
    #[arg(long, value_name = "N", help_heading = "Exploring", conflicts_with = "process",
          value_parser = clap::value_parser!(u64).range(1..))]
    states: Option<u64>,
    /// Steps of each random workload
    #[arg(long, value_name = "N", help_heading = "Exploring", default_value_t = 24,
          conflicts_with_all = ["process", "workload", "exhaustive"])]
    ops: usize,
    /// How often a recovery is crashed within a recovery; 0 for never
    #[arg(
        long,
        value_name = "N",
        help_heading = "Exploring",
        default_value_t = 2,
        conflicts_with = "process"
    )]
    depth: u32,
    /// Let calls fail too, in two runs of three: any of eio, enospc, edquot, emfile, eacces, erofs,
    /// eintr, or all
    #[arg(long, value_name = "LIST", help_heading = "Exploring", value_delimiter = ',',
          value_parser = fault_parser(), conflicts_with = "process")]
    faults: Vec<FaultChoice>,
    /// Every workload of 1 to N steps, every legal state at points with up to 4,096 of them
    #[arg(long, value_name = "N", help_heading = "Exploring",
          value_parser = clap::value_parser!(u8).range(1..=4), conflicts_with = "process")]
    exhaustive: Option<u8>,
    /// This workload over and over: a built-in mix (see --list-workloads), or a file of steps
    #[arg(long, value_name = "NAME|FILE", help_heading = "Exploring",
          conflicts_with_all = ["process", "exhaustive"])]
    workload: Option<String>,
    /// List the built-in workloads and the language of steps
    #[arg(long, help_heading = "Exploring", exclusive = true)]
    list_workloads: bool,
    /// What the medium writes whole or from its beginning, in bytes. A store counts on 512, as every disk
    /// has them; smaller ones would show harm that no disk does
    #[arg(long, value_name = "N", help_heading = "Exploring", default_value_t = 512,
          value_parser = clap::value_parser!(u16).range(512..=4096), conflicts_with = "process")]
    sector: u16,
    /// Try too what happens if one line of the engine does not sync, for each such line; always with
    /// --report
    #[arg(long, help_heading = "Exploring", conflicts_with = "process")]
    sync_coverage: bool,
    /// See exactly one state again, as a violation names it
    #[arg(long, value_name = "CASE", help_heading = "Exploring",
          conflicts_with_all = ["process", "exhaustive", "workload", "states", "faults", "seed"])]
    replay: Option<Case>,
    /// Write the state of --replay, or of the first violation, to a new directory to look at
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Exploring",
        conflicts_with = "process"
    )]
    keep: Option<PathBuf>,
    /// Write a page with a picture of the run; one file, nothing loaded from elsewhere
    #[arg(long, value_name = "FILE.html", help_heading = "Exploring",
          conflicts_with_all = ["process", "replay"])]
    report: Option<PathBuf>,

    /// Kill a real child on the real disk instead
    #[arg(long, help_heading = "Killing a process")]
    process: bool,
    /// So many kills
    #[arg(long, value_name = "N", help_heading = "Killing a process", requires = "process",
          value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Work in this directory, new or empty, and keep it; left out, a temporary one is used
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Killing a process",
        requires = "process"
    )]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: &CrashArgs, output: &mut Output) -> Result<Exit, Failure> {
    if args.list_workloads {
        return workloads::list(output).map(|()| Exit::Done);
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u32(..).into());
    if args.process {
        return process::run(
            &process::Budget {
                dir: args.dir.clone(),
                seconds: args.seconds.or(args.rounds.is_none().then_some(SECONDS)),
                rounds: args.rounds,
                seed,
            },
            output,
        );
    }
    if let Some(case) = &args.replay {
        return explore::replay(case, args.keep.as_deref(), output);
    }
    let unlimited = args.states.is_none() && args.exhaustive.is_none();
    let plan = explore::Plan {
        seed,
        seconds: args.seconds.or(unlimited.then_some(SECONDS)),
        states: args.states,
        ops: args.ops,
        depth: args.depth,
        faults: faults(&args.faults),
        exhaustive: args.exhaustive.map(usize::from),
        workload: args.workload.as_deref().map(workloads::named).transpose()?,
        workload_name: args.workload.clone(),
        sector_len: usize::from(args.sector),
        coverage: args.sync_coverage || args.report.is_some(),
        keep: args.keep.clone(),
        page: args.report.clone(),
    };
    explore::run(&plan, output)
}

/// A kind of failure, or all of them.
#[derive(Clone, Copy)]
enum FaultChoice {
    One(Fault),
    All,
}

fn fault_parser() -> impl TypedValueParser<Value = FaultChoice> {
    let words = Fault::ALL.iter().map(|fault| fault.word()).chain(["all"]);
    PossibleValuesParser::new(words.collect::<Vec<_>>()).map(|word| match Fault::of_word(&word) {
        Some(fault) => FaultChoice::One(fault),
        None => FaultChoice::All,
    })
}

fn faults(chosen: &[FaultChoice]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for choice in chosen {
        match choice {
            FaultChoice::One(fault) => faults.push(*fault),
            FaultChoice::All => faults.extend(Fault::ALL),
        }
    }
    faults.sort_unstable();
    faults.dedup();
    faults
}
