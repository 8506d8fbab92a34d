//! `peerstore serve`: a service until Ctrl-C or SIGTERM, then everything is synced and closed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use peercask_peerstore::gnunet::{Peerstore, Service, ServiceOptions};
use serde::Serialize;

use super::target::{RulesArgs, failure, tell_damage};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::units::counted;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct ServeArgs {
    /// The peerstore's directory; made if it is missing or empty
    dir: PathBuf,
    /// Where clients connect
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Permissions of the socket, in octal: who may connect may do everything
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = parse_mode)]
    socket_mode: u32,
    /// The most clients at once
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    connections_max: usize,
    #[command(flatten)]
    rules: RulesArgs,
}

#[derive(Serialize)]
struct ServingJson<'a> {
    serving: &'a str,
    records: u64,
    process: u32,
}

pub(super) fn run(args: &ServeArgs, output: &mut Output) -> Result<Exit, Failure> {
    interrupt::watch()?;
    let peerstore = Peerstore::open(&args.dir, args.rules.options()).map_err(failure)?;
    tell_damage(&peerstore);
    let options = ServiceOptions::default()
        .socket_mode(args.socket_mode)
        .connections_max(args.connections_max);
    let service = Service::start(&peerstore, &args.socket, options).map_err(failure)?;
    let records = peerstore.stats().map_err(failure)?.records;
    let socket = args.socket.display().to_string();
    if output.is_json() {
        output.object(&ServingJson {
            serving: &socket,
            records,
            process: std::process::id(),
        })?;
        output.flush()?;
    } else {
        output.say(format_args!(
            "serving {} at {socket}; Ctrl-C ends it",
            counted(records, "record")
        ))?;
    }
    while !interrupt::requested() {
        std::thread::sleep(LOOK);
    }
    service.stop();
    peerstore.close().map_err(failure)?;
    Ok(Exit::Done)
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("`{text}` is no mode; give three octal digits such as 660"))
}
