//! `del`: deletes one key; exit code 1 when there was nothing to delete.

use std::ffi::OsString;

use clap::Args;
use peercask::Durability;
use serde::Serialize;

use crate::args::{KeyspaceArgs, StoreArgs, durability_parser};
use crate::bytes_arg;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::json::BytesOut;
use crate::output::{self, Output};

#[derive(Args)]
#[command(after_help = bytes_arg::BYTES_HELP)]
pub(crate) struct DelArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The key
    key: OsString,
    #[command(flatten)]
    keyspace: KeyspaceArgs,
    /// What the delete must survive before the command ends
    #[arg(long, default_value = "device", value_parser = durability_parser())]
    durability: Durability,
}

#[derive(Serialize)]
struct DelJson<'a> {
    keyspace: &'a str,
    key: BytesOut<'a>,
    deleted: bool,
}

pub(crate) fn run(args: &DelArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = bytes_arg::parse(&args.key, args.keyspace.hex)?;
    let store = opening::visit(&args.store)?;
    let keyspace = opening::existing_keyspace(&store, &args.keyspace.keyspace)?;
    let (deleted, commit) = keyspace.delete_with(&key, args.durability)?;
    commit.wait()?;
    store.close()?;
    if output.is_json() {
        output.object(&DelJson {
            keyspace: &args.keyspace.keyspace,
            key: BytesOut(&key),
            deleted,
        })?;
    }
    if deleted {
        return Ok(Exit::Done);
    }
    let (key, name) = (human::printable_start(&key, 200), &args.keyspace.keyspace);
    output::note(format_args!("no key `{key}` in keyspace `{name}`"));
    Ok(Exit::NotFoundOrWrong)
}
