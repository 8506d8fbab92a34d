//! Peers as lines of text, on their way out: all that is known as JSON, or addresses alone. What the lines are is
//! in `lines`.

use std::io::Write;

use super::error::{Error, ErrorKind, Result};
use super::lines::{head, hex, object_of};
use super::peerstore::Peerstore;

/// What an export writes beside the plain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExportOptions {
    /// Whether private keys are written, in clear. Default: no.
    pub private_keys: bool,
}

impl Peerstore {
    /// Writes all peers as lines of JSON; how many. Each peer is of one moment, the file is not:
    /// for that see [`Peerstore::backup_to`].
    ///
    /// # Errors
    /// `Io` if it cannot be written; `WrongSecret` if private keys were asked for and do not open;
    /// `Closed`. Peers that cannot be read are left out and counted in
    /// [`Stats::unreadable`](super::Stats::unreadable).
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{ExportOptions, ImportMode, Options, Peerstore, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// # let alice = PeerId::random();
    /// peers.add_addrs(alice, &["/ip4/192.0.2.7/tcp/4001".parse().expect("an address")], Ttl::ADDRESS)?;
    /// let mut lines = Vec::new();
    /// peers.export(&mut lines, ExportOptions::default())?;
    ///
    /// let other = Peerstore::in_memory(Options::default())?;
    /// let report = other.import(&lines[..], ImportMode::Merge)?;
    /// assert_eq!((report.peers, report.addresses, report.skipped), (1, 1, 0));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn export(&self, mut out: impl Write, options: ExportOptions) -> Result<u64> {
        let mut line = |value: &serde_json::Value| {
            writeln!(out, "{value}").map_err(|error| io("export", &error))
        };
        line(&head())?;
        let mut count = 0;
        for peer in self.all_peers() {
            let data = match self.get(peer) {
                Ok(Some(data)) => data,
                Ok(None) => continue,
                Err(error) if error.kind() == ErrorKind::Corrupted => continue,
                Err(error) => return Err(error),
            };
            let mut object = object_of(&data);
            if options.private_keys
                && data.has_private_key
                && let Some(key) = self.private_key_bytes(peer)?
            {
                object.insert("private_key".to_owned(), hex(&key).into());
            }
            line(&serde_json::Value::Object(object))?;
            count += 1;
        }
        out.flush().map_err(|error| io("export", &error))?;
        Ok(count)
    }

    /// Writes the addresses of all peers as plain lines that end with `/p2p` and the peer; how many.
    ///
    /// # Errors
    /// As [`Peerstore::export`].
    pub fn export_addrs(&self, mut out: impl Write) -> Result<u64> {
        let mut count = 0;
        for peer in self.peers_with_addrs() {
            let Some(id) = peer.to_peer_id() else {
                continue;
            };
            for addr in self.addrs(peer)? {
                let Ok(named) = addr.with_p2p(id) else {
                    continue;
                };
                writeln!(out, "{named}").map_err(|error| io("export", &error))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

pub(crate) fn io(doing: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("could not {doing}: {error}"))
}
