//! The process that measures one pair of workload and backend: it prints its lines and ends.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::load::Load;
use crate::workload::{self, Context};
use crate::{Outcome, backend};

/// The word behind a child's program that stands in the parent's own command line.
pub const COMMAND: &str = "bench-child";
/// What a child does that fills a store and waits to be killed.
pub(crate) const FILL_AND_WAIT: &str = "fill-and-wait";

/// The arguments of a child.
#[derive(Args)]
pub struct ChildArgs {
    #[arg(long)]
    backend: String,
    #[arg(long)]
    workload: String,
    #[arg(long)]
    n: u64,
    #[arg(long)]
    key_len: usize,
    #[arg(long)]
    value_len: usize,
    #[arg(long)]
    threads: u64,
    #[arg(long)]
    limit_ms: u64,
    #[arg(long)]
    home: PathBuf,
}

/// The arguments as a parent writes them.
pub(crate) fn arguments(backend: &str, workload: &str, load: &Load, home: &Path) -> Vec<OsString> {
    let limit_ms = u64::try_from(load.limit.as_millis()).unwrap_or(u64::MAX);
    let words = [
        ("--backend", backend.to_owned()),
        ("--workload", workload.to_owned()),
        ("--n", load.n.to_string()),
        ("--key-len", load.key_len.to_string()),
        ("--value-len", load.value_len.to_string()),
        ("--threads", load.threads.to_string()),
        ("--limit-ms", limit_ms.to_string()),
    ];
    let mut all: Vec<OsString> = words
        .into_iter()
        .flat_map(|(name, value)| [name.into(), value.into()])
        .collect();
    all.extend(["--home".into(), home.as_os_str().to_owned()]);
    all
}

/// Does it. `command` is how this program is started again as a child.
///
/// # Errors
/// What kept it from being measured.
pub fn run(args: &ChildArgs, command: &[OsString]) -> Outcome<()> {
    let entry = backend::named(&args.backend)
        .ok_or_else(|| format!("'{}' is not built in", args.backend))?;
    let context = Context {
        workload: workload::named(&args.workload).map_or(FILL_AND_WAIT, |known| known.name),
        load: Load {
            n: args.n,
            key_len: args.key_len,
            value_len: args.value_len,
            threads: args.threads,
            limit: Duration::from_millis(args.limit_ms),
        },
        entry,
        home: &args.home,
        child: command,
    };
    if args.workload == FILL_AND_WAIT {
        return workload::opens::fill_and_wait(&context);
    }
    let known = workload::named(&args.workload)
        .ok_or_else(|| format!("there is no workload '{}'", args.workload))?;
    let load_average = crate::process::load_average();
    let mut out = std::io::stdout().lock();
    for mut line in known.run(&context)? {
        line.details.load_average = load_average;
        if line.backend == entry.name {
            line.details.version = entry.version().map(str::to_owned);
        }
        serde_json::to_writer(&mut out, &line)?;
        writeln!(out)?;
    }
    Ok(())
}
