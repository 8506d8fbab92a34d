//! `peerstore iterate`: the records of a subsystem, or of one peer or key of it, on a snapshot.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use peercask_peerstore::gnunet::{ErrorKind, Order, Query};

use super::shown::print_record;
use super::target::{FilterArgs, Target, TargetArgs, failure};
use crate::exit::{Exit, Failure};
use crate::output::{self, Output};

#[derive(Args)]
pub(super) struct IterateArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// The order: as they were stored, or by peer and key; left out, that of the peerstore's rules
    #[arg(long, value_parser = order_parser())]
    order: Option<Order>,
    /// Only records with a greater sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

fn order_parser() -> impl TypedValueParser<Value = Order> {
    PossibleValuesParser::new(["insertion", "peer"]).map(|name| match name.as_str() {
        "peer" => Order::Peer,
        _ => Order::Insertion,
    })
}

pub(super) fn run(args: &IterateArgs, output: &mut Output) -> Result<Exit, Failure> {
    let mut query = Query::new(args.filter.filter()?).after(args.after);
    if let Some(order) = args.order {
        query = query.order(order);
    }
    let target = Target::existing(&args.target)?;
    let mut damaged = false;
    {
        let mut left = args.limit.unwrap_or(u64::MAX);
        let mut records = target.connection.iterate(query).map_err(failure)?;
        while left > 0 {
            match records.next() {
                None => break,
                Some(Ok(stored)) => {
                    print_record(output, &stored, args.filter.hex)?;
                    left -= 1;
                }
                // Damage costs only the record that it hit.
                Some(Err(error)) if error.kind() == ErrorKind::Corrupted => {
                    output::note(format_args!("passed over a damaged record: {error}"));
                    damaged = true;
                }
                Some(Err(error)) => return Err(failure(error)),
            }
        }
    }
    target.close()?;
    Ok(match damaged {
        true => Exit::Corrupted,
        false => Exit::Done,
    })
}
