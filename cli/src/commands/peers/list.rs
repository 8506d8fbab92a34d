//! `peers list`: peers one a line, chosen and in an order.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use peercask_peerstore::libp2p::{Order, PrivateKeys, Query};

use super::target::{failure, read, verdict};
use super::{BESIDE_A_NODE, shown};
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
#[command(after_help = BESIDE_A_NODE)]
pub(super) struct ListArgs {
    /// The store's directory
    dir: PathBuf,
    /// Only peers that speak this protocol
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Only peers with this tag
    #[arg(long, value_name = "NAME")]
    tag: Option<String>,
    /// Only peers with an address that has not expired
    #[arg(long)]
    reachable: bool,
    /// The order: any (needs no memory), id, updated or connected (last first), latency (quickest first)
    #[arg(long, default_value = "any", value_parser = order_parser())]
    order: Order,
    /// Leave out so many at the beginning
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    offset: usize,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

fn order_parser() -> impl TypedValueParser<Value = Order> {
    PossibleValuesParser::new(["any", "id", "updated", "connected", "latency"]).map(|name| {
        match name.as_str() {
            "id" => Order::Id,
            "updated" => Order::Updated,
            "connected" => Order::Connected,
            "latency" => Order::Latency,
            _ => Order::Any,
        }
    })
}

pub(super) fn run(args: &ListArgs, output: &mut Output) -> Result<Exit, Failure> {
    let peers = read(&args.dir, PrivateKeys::Refuse)?;
    let mut query = Query::new().order(args.order).offset(args.offset);
    if let Some(limit) = args.limit {
        query = query.limit(limit);
    }
    if let Some(protocol) = &args.protocol {
        query = query.filter(move |peer| peer.protocols.contains(protocol));
    }
    if let Some(tag) = &args.tag {
        query = query.tag(tag);
    }
    if args.reachable {
        query = query.filter(|peer| !peer.addresses.is_empty());
    }
    let now_ms = peers.now_ms();
    let mut printed = Ok(());
    let listed = peers.for_each(&query, |peer| {
        printed = match output.is_json() {
            true => output.line(peer.to_json()),
            false => output.line(shown::line(&peer, now_ms)),
        };
        printed.is_ok()
    });
    printed?;
    listed.map_err(failure)?;
    let exit = verdict(&peers);
    peers.close().map_err(failure)?;
    Ok(exit)
}
