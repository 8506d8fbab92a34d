//! The `peercask` command: one store directory, one subcommand, one exit code.
//!
//! This file only parses, dispatches and turns the result into an exit code. It must never know
//! what a command does or how a store is laid out; the pages are docs/cli.md and docs/format.md.
#![forbid(unsafe_code)]

mod args;
mod bytes_arg;
mod commands;
mod exit;
mod human;
mod interrupt;
mod json;
mod output;
mod paths;
mod progress;
mod reports;
mod units;

use std::process::ExitCode;

use clap::Parser;
use peercask_bench::memory::{self, Allocator};

/// Counts what is allocated: `bench` tells what a key costs by it. A few nanoseconds a call.
#[global_allocator]
static ALLOCATOR: Allocator = memory::allocator();

fn main() -> ExitCode {
    memory::install(&ALLOCATOR);
    let args = args::Arguments::parse();
    let mut output = output::Output::to_stdout(args.json);
    let result = commands::run(args.command, &mut output);
    // Also after a failure: what was printed before it belongs to the user.
    let flushed = output.flush();
    let result = match flushed {
        // A reader that went away changes no verdict.
        Err(failure) if !failure.is_reader_gone() => result.and(Err(failure)),
        _ => result,
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain_of(&failure);
            failure.exit.into()
        }
    }
}
