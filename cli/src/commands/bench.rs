//! `bench`: measures the engine beside floors that no such store can beat, each pair in a process
//! of its own. What is measured and how stands in the crate `peercask-bench`.
//!
//! This file is the way in and out; it must never measure anything itself.

use std::env;
use std::ffi::OsString;

use peercask_bench::args::BenchArgs;
use peercask_bench::child::{self, ChildArgs};
use peercask_bench::desk::{self, Desk, Ended, Trouble};

use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::{self, Output};
use crate::progress::{Count, Progress};

pub(crate) fn run(args: &BenchArgs, output: &mut Output) -> Result<Exit, Failure> {
    interrupt::watch()?;
    let json = output.is_json();
    let mut counter = Counter {
        output,
        progress: None,
        failure: None,
    };
    let ended = desk::run(args, json, (this_program()?, None), &mut counter);
    if let Some(failure) = counter.failure {
        return Err(failure);
    }
    match ended {
        Ok(Ended::Done) => Ok(Exit::Done),
        Ok(Ended::Failed) => Ok(Exit::Other),
        Ok(Ended::Stopped) => Err(Failure::new(Exit::Interrupted, "interrupted")),
        Err(Trouble::Usage(words)) => Err(Failure::usage(words)),
        Err(Trouble::Run(error)) => Err(Failure::new(Exit::Io, error.to_string())),
    }
}

/// One workload on one backend, in a process that is this program's child.
pub(crate) fn child(args: &ChildArgs) -> Result<Exit, Failure> {
    let done = child::run(args, &this_program()?);
    done.map(|()| Exit::Done)
        .map_err(|error| Failure::new(Exit::Other, error.to_string()))
}

fn this_program() -> Result<Vec<OsString>, Failure> {
    let program = env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
    Ok(vec![program.into_os_string(), child::COMMAND.into()])
}

/// Where the words of a run go.
struct Counter<'a> {
    output: &'a mut Output,
    progress: Option<Progress>,
    /// What kept a line from being printed.
    failure: Option<Failure>,
}

impl Desk for Counter<'_> {
    fn line(&mut self, text: &str) -> peercask_bench::Outcome<()> {
        let printed = self.output.line(text).and_then(|()| self.output.flush());
        printed.map_err(|failure| {
            self.failure = Some(failure);
            "the output is gone".into()
        })
    }

    fn note(&mut self, text: &str) {
        output::note(text);
    }

    fn total(&mut self, processes: u64) {
        self.progress = Some(Progress::new("measuring", Count::Things, processes));
    }

    fn begins(&mut self, workload: &str, backend: &str) {
        if let Some(progress) = &mut self.progress {
            progress.add(0);
            progress.tell(|| format!("{workload}, {backend}"));
        }
    }

    fn ended(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.add(1);
        }
    }

    fn stopped(&self) -> bool {
        interrupt::requested()
    }
}
