//! The command line that `peercask bench` and `peercask-bench` share, and what it asks for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::backend::{self, Entry};
use crate::load::{KEY_LEN_MIN, Load};
use crate::runner::Plan;
use crate::workload::{self, QUICK, Workload};

/// The word for every workload.
const ALL: &str = "all";

/// What to measure, of what size, and what to make of it.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// What to do, or `all`; a quick choice if left out. See --list
    #[arg(value_name = "WORKLOAD", value_parser = workload_names(), hide_possible_values = true)]
    workloads: Vec<String>,
    /// Keys
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    n: u64,
    /// Threads, where the workload does not name a number
    #[arg(long, value_name = "T", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=1_024))]
    threads: u64,
    /// Bytes of each key, at least 8
    #[arg(long, value_name = "K", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(8..))]
    key_len: u16,
    /// Bytes of each value, at most 16 MiB
    #[arg(long, value_name = "V", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=16 << 20))]
    value_len: u32,
    /// Measure only these, of those that --list names; all of them if left out
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = backend_names(),
          hide_possible_values = true)]
    backend: Vec<String>,
    /// Run each pair so often, in turn, and keep the round with the median figure
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// A phase that is timed ends after so many seconds, however much of it is done
    #[arg(long, value_name = "N", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Make the stores here, on the disk to be measured; the place for temporary files by default
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print histograms, versions and what else is known in a field `details` of each JSON line
    #[arg(long)]
    pub details: bool,
    /// Show the JSON lines of an earlier run too; without a workload, show them alone
    #[arg(long, value_name = "FILE")]
    pub from: Vec<PathBuf>,
    /// Write a page with plots; one file, nothing loaded from elsewhere
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// List workloads and backends
    #[arg(long)]
    pub list: bool,
}

fn workload_names() -> PossibleValuesParser {
    let names = workload::all().iter().map(|workload| workload.name);
    PossibleValuesParser::new(names.chain([ALL]))
}

fn backend_names() -> PossibleValuesParser {
    PossibleValuesParser::new(backend::all().iter().map(|entry| entry.name))
}

impl BenchArgs {
    /// Whether anything is to be run.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.workloads.is_empty() || self.from.is_empty()
    }

    /// The plan, with the programs that are its children.
    #[must_use]
    pub fn plan(&self, child: Vec<OsString>, counting_child: Option<Vec<OsString>>) -> Plan {
        Plan {
            workloads: self.chosen(),
            backends: self.backends(),
            load: self.load(),
            rounds: self.rounds,
            dir: self.dir.clone(),
            child,
            counting_child,
        }
    }

    /// The sizes.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            n: self.n,
            key_len: usize::from(self.key_len).max(KEY_LEN_MIN),
            value_len: crate::narrow(self.value_len.into()),
            threads: self.threads,
            limit: Duration::from_secs(self.seconds),
        }
    }

    fn chosen(&self) -> Vec<&'static Workload> {
        let wanted = |workload: &&Workload| match self.workloads.as_slice() {
            [] => QUICK.contains(&workload.name),
            names => names
                .iter()
                .any(|name| name == workload.name || name == ALL),
        };
        workload::all().iter().filter(wanted).collect()
    }

    fn backends(&self) -> Vec<&'static Entry> {
        let wanted = |entry: &&Entry| {
            self.backend.is_empty() || self.backend.iter().any(|name| name == entry.name)
        };
        backend::all().iter().filter(wanted).collect()
    }
}
