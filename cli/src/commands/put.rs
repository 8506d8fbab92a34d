//! `put`: one value under one key, acknowledged at the durability that was asked for.
//!
//! The value is an argument, or a file's content; the store and the keyspace are created if missing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use peercask::{Durability, Write};
use serde::Serialize;

use crate::args::{IndexArgs, KeyspaceArgs, StoreArgs, durability_parser};
use crate::bytes_arg;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::json::BytesOut;
use crate::output::Output;
use crate::units::{self, Lifetime};

#[derive(Args)]
#[command(after_help = bytes_arg::BYTES_HELP)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The key
    key: OsString,
    /// The value
    #[arg(required_unless_present = "value_file")]
    value: Option<OsString>,
    /// Take the value from a file, or from standard input with `-`
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    value_file: Option<PathBuf>,
    #[command(flatten)]
    keyspace: KeyspaceArgs,
    #[command(flatten)]
    index: IndexArgs,
    /// How long the value lives: 500ms, 45s, 10m, 1h30m, 2d, 1w or never
    ///
    /// Left out, the keyspace's default holds, if it has one.
    #[arg(long, value_name = "TIME", value_parser = units::parse_lifetime)]
    ttl: Option<Lifetime>,
    /// What the write must survive before the command ends: buffered, in our memory until the store is
    /// closed at the end of the command; kernel, the death of the process; device, power loss
    #[arg(long, default_value = "device", value_parser = durability_parser())]
    durability: Durability,
}

#[derive(Serialize)]
struct PutJson<'a> {
    keyspace: &'a str,
    key: BytesOut<'a>,
    value_bytes: usize,
    seq: u64,
    durability: String,
}

pub(crate) fn run(args: &PutArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = bytes_arg::parse(&args.key, args.keyspace.hex)?;
    let value = match (&args.value, &args.value_file) {
        (Some(value), _) => bytes_arg::parse(value, args.keyspace.hex)?,
        (None, Some(path)) => bytes_arg::read_file(path)?,
        (None, None) => return Err(Failure::usage("there is no value")),
    };
    let mut write = Write::new().durability(args.durability);
    match args.ttl {
        Some(Lifetime::For(time)) => write = write.ttl(time),
        Some(Lifetime::Never) => write = write.never_expires(),
        None => {}
    }
    let store = opening::visit_or_create(&args.store)?;
    let keyspace = opening::keyspace_or_create(&store, &args.keyspace.keyspace, args.index.index)?;
    let seq = keyspace.put_with(&key, &value, write)?.wait()?;
    // A buffered write reaches the kernel here, or we say that it did not.
    store.close()?;
    if output.is_json() {
        output.object(&PutJson {
            keyspace: &args.keyspace.keyspace,
            key: BytesOut(&key),
            value_bytes: value.len(),
            seq: seq.0,
            durability: args.durability.to_string(),
        })?;
    }
    Ok(Exit::Done)
}
