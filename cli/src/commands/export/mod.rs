//! `export`: a store as JSON lines, or one keyspace as a directory tree.
//!
//! What it writes, `import` reads back. Keys become paths only under the rule of paths.rs.

pub(crate) mod lines;
mod tree;

use std::path::PathBuf;

use clap::Args;
use peercask::Entry;
use serde::Serialize;

use crate::args::StoreArgs;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::json::JSON_HELP;
use crate::output::Output;
use crate::units::{self, counted};

#[derive(Args)]
#[command(after_help = JSON_HELP)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Only this keyspace; left out, JSON lines hold all keyspaces, and --tree takes `default`
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
    /// Write the JSON lines to a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write each record to a file below PATH instead, named by its key
    #[arg(long, value_name = "PATH", conflicts_with = "output")]
    tree: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long)]
    force: bool,
}

/// What an export did.
#[derive(Default, Serialize)]
struct Exported {
    records: u64,
    bytes: u64,
    /// Records whose key is no safe path.
    refused_unsafe: u64,
    /// Records whose file exists, without --force.
    refused_existing: u64,
    /// Records whose file could not be written.
    failed: u64,
    /// Records that could not be read.
    damaged: u64,
    interrupted: bool,
}

impl Exported {
    fn count(&mut self, entry: &Entry) {
        self.records += 1;
        self.bytes += u64::try_from(entry.value.len()).unwrap_or(0);
    }

    fn is_whole(&self) -> bool {
        self.refused_unsafe + self.refused_existing + self.failed == 0
    }
}

pub(crate) fn run(args: &ExportArgs, output: &mut Output) -> Result<Exit, Failure> {
    let store = opening::read(&args.store)?;
    interrupt::watch()?;
    let exported = match (&args.tree, &args.output) {
        (Some(tree), _) => {
            let keyspace =
                opening::existing_keyspace(&store, args.keyspace.as_deref().unwrap_or("default"))?;
            tree::export(&keyspace, tree, args.force)?
        }
        (None, Some(file)) => {
            lines::export_to_file(&store, args.keyspace.as_deref(), file, args.force)?
        }
        // Standard output carries the records, so nothing else is said there.
        (None, None) => {
            let exported = lines::export_to_output(&store, args.keyspace.as_deref(), output)?;
            return Ok(exit_of(&exported));
        }
    };
    if output.is_json() {
        output.object(&exported)?;
    } else {
        print(&exported, output)?;
    }
    Ok(exit_of(&exported))
}

fn exit_of(exported: &Exported) -> Exit {
    match exported {
        Exported {
            interrupted: true, ..
        } => Exit::Interrupted,
        _ if exported.damaged > 0 => Exit::Corrupted,
        _ if exported.is_whole() => Exit::Done,
        _ => Exit::NotFoundOrWrong,
    }
}

fn print(exported: &Exported, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!(
        "{}exported {}, {} of values",
        if exported.interrupted {
            "interrupted; "
        } else {
            ""
        },
        counted(exported.records, "record"),
        units::bytes(exported.bytes)
    ))?;
    for (number, why) in [
        (
            exported.refused_unsafe,
            "refused, because the key is no safe path",
        ),
        (
            exported.refused_existing,
            "refused, because the file exists (--force overwrites)",
        ),
        (exported.failed, "could not be written"),
        (exported.damaged, "damaged and passed over"),
    ] {
        if number > 0 {
            output.line(format_args!("{} {why}", counted(number, "record")))?;
        }
    }
    Ok(())
}
