//! `keyspaces`: what keyspaces a store has, of which kind and how big.

use clap::Args;

use crate::args::StoreArgs;
use crate::commands::opening;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::reports::{self, KeyspaceJson};

#[derive(Args)]
pub(crate) struct KeyspacesArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn run(args: &KeyspacesArgs, output: &mut Output) -> Result<Exit, Failure> {
    let store = opening::read(&args.store)?;
    let infos = store.keyspaces();
    if output.is_json() {
        for info in &infos {
            output.object(&KeyspaceJson::from(info))?;
        }
    } else if infos.is_empty() {
        output.line("no keyspaces")?;
    } else {
        for line in reports::keyspace_table(&infos) {
            output.line(line)?;
        }
    }
    Ok(Exit::Done)
}
