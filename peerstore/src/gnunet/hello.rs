//! GNUnet's use of the store for the addresses of peers: one HELLO per peer, under a fixed
//! subsystem and key, the one that lives longest. The HELLO itself is bytes here.

use bytes::Bytes;

use super::record::{PeerIdentity, Record};

/// The subsystem under which GNUnet (0.21 and later) keeps the HELLOs of peers.
pub const HELLO_SUBSYSTEM: &str = "peerstore";
/// And the key.
pub const HELLO_KEY: &str = "peerstore-peer-hello-uri";

/// The record of a peer's HELLO, to be given to
/// [`Peerstore::store_newest`](super::Peerstore::store_newest): a HELLO that expires later than
/// this one stays.
///
/// ```
/// use peercask_peerstore::gnunet::{Acknowledge, Options, PeerIdentity, Peerstore, hello};
///
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// let peers = Peerstore::open(dir.path(), Options::default())?;
/// let alice = PeerIdentity([1; 32]);
/// let tomorrow = peers.now_us() + 86_400_000_000;
/// let newer = hello(alice, "gnunet://hello/...", tomorrow);
/// let older = hello(alice, "gnunet://hello/...", tomorrow - 1);
/// assert!(peers.store_newest(&newer, Acknowledge::Kernel)?.is_some());
/// assert!(peers.store_newest(&older, Acknowledge::Kernel)?.is_none());
/// # Ok::<(), peercask_peerstore::gnunet::Error>(())
/// ```
#[must_use]
pub fn hello(peer: PeerIdentity, hello: impl Into<Bytes>, expiry_us: u64) -> Record {
    Record::new(HELLO_SUBSYSTEM, peer, HELLO_KEY, hello).expires_at_us(expiry_us)
}
