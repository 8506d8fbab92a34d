//! `get`: the value of one key, its bytes exactly.
//!
//! A line feed is added only for a terminal, so that `get ... > file` writes the value and nothing else.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use crate::args::{KeyspaceArgs, StoreArgs};
use crate::bytes_arg;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::json::BytesOut;
use crate::output::Output;

#[derive(Args)]
#[command(after_help = bytes_arg::BYTES_HELP)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The key
    key: OsString,
    #[command(flatten)]
    keyspace: KeyspaceArgs,
}

#[derive(Serialize)]
struct EntryJson<'a> {
    keyspace: &'a str,
    key: BytesOut<'a>,
    value: BytesOut<'a>,
    seq: u64,
    expires_at_ms: Option<u64>,
}

pub(crate) fn run(args: &GetArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = bytes_arg::parse(&args.key, args.keyspace.hex)?;
    let store = opening::read(&args.store)?;
    let keyspace = opening::existing_keyspace(&store, &args.keyspace.keyspace)?;
    let Some(entry) = keyspace.entry(&key)? else {
        let (key, name) = (human::printable_start(&key, 200), keyspace.name());
        let message = format!("no key `{key}` in keyspace `{name}`");
        return Err(Failure::new(Exit::NotFoundOrWrong, message));
    };
    if output.is_json() {
        output.object(&EntryJson {
            keyspace: keyspace.name(),
            key: BytesOut(&key),
            value: BytesOut(&entry.value),
            seq: entry.seq.0,
            expires_at_ms: entry.expires_at_ms,
        })?;
    } else if args.keyspace.hex {
        output.line(hex::encode(&entry.value))?;
    } else {
        output.raw(&entry.value)?;
        if output.is_terminal() {
            output.raw(b"\n")?;
        }
    }
    Ok(Exit::Done)
}
