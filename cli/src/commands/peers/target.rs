//! How a subcommand reaches the books of a store, and what their errors mean for the exit code. It must never
//! know what is done with them.

use std::path::{Path, PathBuf};

use clap::Args;
use peercask_peerstore::libp2p::{Error, ErrorKind, Options, Peer, Peerstore, PrivateKeys, Secret};

use crate::bytes_arg;
use crate::exit::{Exit, Failure};
use crate::output;

/// The secret of sealed private keys.
#[derive(Args)]
pub(super) struct SecretArgs {
    /// The secret that private keys are sealed with: a file of 32 bytes, or of 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(super) secret_file: Option<PathBuf>,
}

impl SecretArgs {
    pub(super) fn secret(&self) -> Result<Option<Secret>, Failure> {
        let Some(path) = &self.secret_file else {
            return Ok(None);
        };
        let content = bytes_arg::read_file(path)?;
        let digits = content.trim_ascii();
        let bytes = match <[u8; 32]>::try_from(content.as_slice()) {
            Ok(bytes) => Some(bytes),
            Err(_) => hex::decode(digits).ok().and_then(|b| b.try_into().ok()),
        };
        let bytes = bytes.ok_or_else(|| {
            let shown = path.display();
            Failure::usage(format!(
                "{shown} holds neither 32 bytes nor 64 hexadecimal digits"
            ))
        })?;
        Ok(Some(Secret::new(bytes)))
    }
}

/// A peer as given on the command line.
pub(super) fn peer_parser(text: &str) -> Result<Peer, String> {
    text.parse::<Peer>().map_err(|error| error.to_string())
}

/// The books as they are on disk now, also while a node has them open.
pub(super) fn read(dir: &Path, private_keys: PrivateKeys) -> Result<Peerstore, Failure> {
    read_with(dir, options().private_keys(private_keys))
}

/// The same, with every record looked at, and not what the last close saved of them.
pub(super) fn read_all(dir: &Path) -> Result<Peerstore, Failure> {
    read_with(dir, options().image_peers_min(u64::MAX))
}

fn read_with(dir: &Path, options: Options) -> Result<Peerstore, Failure> {
    let peers = Peerstore::open_read_only(dir, options).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let shown = dir.display();
            let what =
                format!("no peers in {shown}: {error}; `peercask peers import` makes a store");
            Failure::new(Exit::NotFoundOrWrong, what)
        }
        _ => failure(error),
    })?;
    tell_damage(&peers);
    Ok(peers)
}

/// The books for writing, made if they are missing.
pub(super) fn write(dir: &Path, private_keys: PrivateKeys) -> Result<Peerstore, Failure> {
    let options = options().private_keys(private_keys);
    let peers = Peerstore::open(dir, options).map_err(failure)?;
    tell_damage(&peers);
    Ok(peers)
}

/// Without threads and without memory for what is read once.
fn options() -> Options {
    Options::default().background(false).cache_bytes(0)
}

fn tell_damage(peers: &Peerstore) {
    for damage in peers.damaged() {
        output::note(format_args!("damaged: {damage}"));
    }
}

/// How a command ends that came to its end: damage that it passed over is told.
pub(super) fn verdict(peers: &Peerstore) -> Exit {
    match peers.stats().unreadable {
        0 => Exit::Done,
        _ => Exit::Corrupted,
    }
}

/// An error of the books with the exit code that is documented for it.
pub(super) fn failure(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::NotFound => Exit::NotFoundOrWrong,
        ErrorKind::InvalidArgument
        | ErrorKind::InvalidAddress
        | ErrorKind::InvalidKey
        | ErrorKind::InvalidRecord
        | ErrorKind::TooLarge
        | ErrorKind::Refused
        | ErrorKind::WrongSecret => Exit::Usage,
        ErrorKind::Locked => Exit::Locked,
        ErrorKind::Corrupted => Exit::Corrupted,
        ErrorKind::Io | ErrorKind::StorageFull => Exit::Io,
        ErrorKind::UnsupportedVersion => Exit::Format,
        // Limits, poisoned, closed, and kinds that do not exist yet.
        _ => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}
