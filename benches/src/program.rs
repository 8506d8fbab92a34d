//! The program of this crate: its command line, and where its text goes.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args as _, Command, FromArgMatches as _};

use crate::args::BenchArgs;
use crate::child::{self, ChildArgs};
use crate::desk::{self, Desk, Ended, Trouble};
use crate::{Outcome, memory};

/// The program with the allocator that counts, beside this one.
const COUNTING: &str = "peercask-bench-counting";

/// Runs it: 0 if all was measured, 1 if something was not, 2 for a wrong command line.
#[must_use]
pub fn main() -> ExitCode {
    let mut terminal = Terminal { done: 0, total: 0 };
    let (code, words) = match run(&mut terminal) {
        Ok(Ended::Done) => (0, None),
        Ok(Ended::Failed | Ended::Stopped) => (1, None),
        Err(Trouble::Usage(words)) => (2, Some(words)),
        Err(Trouble::Run(error)) => (1, Some(error.to_string())),
    };
    if let Some(words) = words {
        terminal.note(&words);
    }
    ExitCode::from(code)
}

fn run(terminal: &mut Terminal) -> Result<Ended, Trouble> {
    let program = std::env::current_exe().map_err(crate::Error::from)?;
    let command = vec![
        program.clone().into_os_string(),
        OsString::from(child::COMMAND),
    ];
    let matches = command_line().get_matches();
    if let Some((_, of_child)) = matches.subcommand() {
        let args = ChildArgs::from_arg_matches(of_child).unwrap_or_else(|error| error.exit());
        child::run(&args, &command)?;
        return Ok(Ended::Done);
    }
    let args = BenchArgs::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let counting = program.with_file_name(format!("{COUNTING}{}", std::env::consts::EXE_SUFFIX));
    let counting_command = counting
        .is_file()
        .then(|| vec![counting.into_os_string(), OsString::from(child::COMMAND)]);
    if counting_command.is_none() && !memory::is_counted() && args.runs() && !args.list {
        terminal.note(
            "memory is not counted: peercask-bench-counting is not built; \
             `cargo build --release -p peercask-bench` builds both",
        );
    }
    let json = matches.get_flag("json");
    desk::run(&args, json, (command, counting_command), terminal)
}

fn command_line() -> Command {
    let command = Command::new("peercask-bench")
        .about("Measures Peercask beside bare floors and, on request, other embedded stores")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .arg(
            clap::Arg::new("json")
                .long("json")
                .action(clap::ArgAction::SetTrue)
                .help("Print one JSON line for each measurement, as it comes"),
        );
    let of_child = ChildArgs::augment_args(Command::new(child::COMMAND).hide(true));
    BenchArgs::augment_args(command).subcommand(of_child)
}

/// Results to standard output, the rest to standard error.
struct Terminal {
    done: u64,
    total: u64,
}

impl Desk for Terminal {
    fn line(&mut self, text: &str) -> Outcome<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        Ok(out.flush()?)
    }

    fn note(&mut self, text: &str) {
        // When standard error is gone there is nowhere left to say so.
        let _ = writeln!(io::stderr().lock(), "peercask-bench: {text}");
    }

    fn total(&mut self, processes: u64) {
        self.total = processes;
    }

    fn begins(&mut self, workload: &str, backend: &str) {
        self.note(&format!(
            "{}/{}: {workload}, {backend}",
            self.done + 1,
            self.total
        ));
    }

    fn ended(&mut self) {
        self.done += 1;
    }

    fn stopped(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command_line().debug_assert();
    }
}
