//! `list`: the keys of a keyspace, one a line; in order and by range where the keyspace is ordered, in
//! any order where it is a hash keyspace.

use std::ffi::OsString;
use std::ops::Bound;

use clap::Args;
use peercask::{Entry, IndexKind, Keyspace};
use serde::Serialize;

use crate::args::{KeyspaceArgs, StoreArgs};
use crate::bytes_arg;
use crate::commands::opening;
use crate::commands::readable::{Entries, Readable};
use crate::exit::{Exit, Failure};
use crate::human;
use crate::json::{BytesOut, JSON_HELP};
use crate::output::Output;

#[derive(Args)]
#[command(after_help = format!("{}\n\n{JSON_HELP}", bytes_arg::BYTES_HELP))]
pub(crate) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    keyspace: KeyspaceArgs,
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["from", "to"])]
    prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// At most this many keys
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the values too, after a tab
    #[arg(long)]
    values: bool,
}

#[derive(Serialize)]
struct ListedJson<'a> {
    key: BytesOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<BytesOut<'a>>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
}

pub(crate) fn run(args: &ListArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = |arg: &Option<OsString>| match arg {
        Some(arg) => bytes_arg::parse(arg, args.keyspace.hex).map(Some),
        None => Ok(None),
    };
    let (prefix, from, to) = (key(&args.prefix)?, key(&args.from)?, key(&args.to)?);
    let store = opening::read(&args.store)?;
    let keyspace = opening::existing_keyspace(&store, &args.keyspace.keyspace)?;
    let mut entries = Readable::of(entries(&keyspace, prefix, from, to, args.reverse)?);
    for _ in 0..args.limit.unwrap_or(usize::MAX) {
        let Some(entry) = entries.next()? else {
            break;
        };
        print(&entry, args, output)?;
    }
    Ok(match entries.damaged() {
        0 => Exit::Done,
        _ => Exit::Corrupted,
    })
}

fn entries(
    keyspace: &Keyspace,
    prefix: Option<Vec<u8>>,
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
    reverse: bool,
) -> Result<Entries, Failure> {
    let whole = prefix.is_none() && from.is_none() && to.is_none() && !reverse;
    if keyspace.kind() == IndexKind::Hash {
        if whole {
            return Ok(Box::new(keyspace.walk()));
        }
        return Err(Failure::usage(format!(
            "keyspace `{}` has a hash index, so its keys have no order: list it whole, without --prefix, \
             --from, --to and --reverse; or keep such keys in an ordered keyspace",
            keyspace.name()
        )));
    }
    let iter = match prefix {
        Some(prefix) => keyspace.prefix(prefix)?,
        None => {
            let (from, to) = (
                from.map_or(Bound::Unbounded, Bound::Included),
                to.map_or(Bound::Unbounded, Bound::Excluded),
            );
            // A range that ends before it begins holds nothing.
            if let (Bound::Included(from), Bound::Excluded(to)) = (&from, &to)
                && from >= to
            {
                return Ok(Box::new(std::iter::empty()));
            }
            keyspace.range::<Vec<u8>, _>((from, to))?
        }
    };
    Ok(if reverse {
        Box::new(iter.rev())
    } else {
        Box::new(iter)
    })
}

fn print(entry: &Entry, args: &ListArgs, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(&ListedJson {
            key: BytesOut(&entry.key),
            value: args.values.then_some(BytesOut(&entry.value)),
            seq: entry.seq.0,
            expires_at_ms: entry.expires_at_ms,
        });
    }
    let text = |bytes: &[u8]| match args.keyspace.hex {
        true => hex::encode(bytes),
        false => human::printable(bytes),
    };
    if args.values {
        output.line(format_args!("{}\t{}", text(&entry.key), text(&entry.value)))
    } else {
        output.line(text(&entry.key))
    }
}
