//! `peers show`: everything that is known of one peer.

use std::path::PathBuf;

use clap::Args;
use peercask_peerstore::libp2p::{Peer, PrivateKeys};

use super::target::{failure, peer_parser, read};
use super::{BESIDE_A_NODE, shown};
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
#[command(after_help = BESIDE_A_NODE)]
pub(super) struct ShowArgs {
    /// The store's directory
    dir: PathBuf,
    /// The peer: its id in base58 or as a CID in base32; any other name as 0x and hexadecimal digits
    #[arg(value_parser = peer_parser)]
    peer: Peer,
}

pub(super) fn run(args: &ShowArgs, output: &mut Output) -> Result<Exit, Failure> {
    let peers = read(&args.dir, PrivateKeys::Refuse)?;
    let Some(found) = peers.get(args.peer).map_err(failure)? else {
        let what = format!("nothing is known of {}", args.peer);
        return Err(Failure::new(Exit::NotFoundOrWrong, what));
    };
    match output.is_json() {
        true => output.line(found.to_json())?,
        false => {
            for line in shown::whole(&found, peers.now_ms()) {
                output.line(line)?;
            }
        }
    }
    peers.close().map_err(failure)?;
    Ok(Exit::Done)
}
