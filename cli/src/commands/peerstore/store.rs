//! `peerstore store`: one record, acknowledged as it was asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use peercask_peerstore::gnunet::{Acknowledge, FOREVER, PeerIdentity, Record, StoreOption};
use serde::Serialize;

use super::target::{Target, TargetArgs, failure, peer_parser};
use crate::bytes_arg;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::units::{self, Lifetime};

#[derive(Args)]
#[command(after_help = bytes_arg::BYTES_HELP)]
pub(super) struct StoreRecordArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The subsystem
    subsystem: OsString,
    /// The peer: 52 characters of GNUnet's base32, or 64 hexadecimal digits
    #[arg(value_parser = peer_parser)]
    peer: PeerIdentity,
    /// The key
    key: OsString,
    /// The value
    #[arg(required_unless_present = "value_file")]
    value: Option<OsString>,
    /// Take the value from a file, or from standard input with `-`
    #[arg(long, value_name = "PATH", conflicts_with = "value")]
    value_file: Option<PathBuf>,
    /// Key and value are hexadecimal
    #[arg(long)]
    hex: bool,
    /// Replace what stands under the same subsystem, peer and key, in one atomic step
    #[arg(long)]
    replace: bool,
    /// How long the record lives: 500ms, 45s, 10m, 1h30m, 2d, 1w or never
    #[arg(long, value_name = "TIME", value_parser = units::parse_lifetime, conflicts_with = "expires_at_us")]
    ttl: Option<Lifetime>,
    /// When it expires, in microseconds since 1970
    #[arg(long, value_name = "MICROSECONDS")]
    expires_at_us: Option<u64>,
    /// When it counts as done: accepted, with the store; kernel, it survives the death of the
    /// process; device, power loss
    #[arg(long, default_value = "device", value_parser = acknowledge_parser())]
    acknowledge: Acknowledge,
}

#[derive(Serialize)]
struct StoredJson {
    seq: u64,
}

pub(super) fn acknowledge_parser() -> impl TypedValueParser<Value = Acknowledge> {
    PossibleValuesParser::new(["accepted", "kernel", "device"]).map(|name| match name.as_str() {
        "accepted" => Acknowledge::Accepted,
        "kernel" => Acknowledge::Kernel,
        _ => Acknowledge::Device,
    })
}

pub(super) fn run(args: &StoreRecordArgs, output: &mut Output) -> Result<Exit, Failure> {
    let key = bytes_arg::parse(&args.key, args.hex)?;
    let value = match (&args.value, &args.value_file) {
        (Some(value), _) => bytes_arg::parse(value, args.hex)?,
        (None, Some(path)) => bytes_arg::read_file(path)?,
        (None, None) => return Err(Failure::usage("there is no value")),
    };
    let expiry_us = match (args.ttl, args.expires_at_us) {
        (_, Some(at_us)) => at_us,
        (Some(Lifetime::For(time)), None) => {
            let ttl_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            now_us().saturating_add(ttl_us)
        }
        (Some(Lifetime::Never) | None, None) => FOREVER,
    };
    let subsystem = args.subsystem.as_encoded_bytes();
    let record = Record::new(subsystem, args.peer, key, value).expires_at_us(expiry_us);
    let option = match args.replace {
        true => StoreOption::Replace,
        false => StoreOption::Multiple,
    };
    let target = Target::or_create(&args.target)?;
    let stored = target.connection.store(&record, option, args.acknowledge);
    let seq = stored.map_err(failure)?;
    target.close()?;
    if output.is_json() {
        output.object(&StoredJson { seq })?;
    }
    Ok(Exit::Done)
}

fn now_us() -> u64 {
    use peercask::{Clock as _, SystemClock};
    SystemClock.wall_ms().saturating_mul(1_000)
}
