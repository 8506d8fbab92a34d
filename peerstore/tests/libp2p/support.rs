//! What the tests share: a place with a peer store that can be closed and opened again, on each of the
//! backends; a clock that stands still; peers, keys and addresses by number.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libp2p_core::Multiaddr;
use libp2p_identity::Keypair;
use peercask::ManualClock;
use peercask_peerstore::libp2p::{
    Acknowledge, Batch, Datastore, Entries, Options, Peer, Peerstore, Result, Stream,
};
use tempfile::TempDir;

/// 2026, in milliseconds.
pub(crate) const NOW_MS: u64 = 1_767_225_600_000;

/// On what a peer store stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Backend {
    Peercask,
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite,
    /// Peercask, with memory for decoded addresses.
    Cached,
}

/// A peer store in a directory of its own, on a clock that stands still, without threads.
pub(crate) struct Place {
    peers: Option<Peerstore>,
    pub(crate) backend: Backend,
    options: Options,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new(backend: Backend) -> Place {
        Place::with(backend, Options::default())
    }

    pub(crate) fn with(backend: Backend, options: Options) -> Place {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let options = options.clock(clock.clone()).background(false);
        let options = options.gc_initial_delay(Duration::ZERO);
        let mut place = Place {
            peers: None,
            backend,
            options: match backend {
                Backend::Cached => options.cache_bytes(16 << 20),
                _ => options,
            },
            clock,
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        place.open();
        place
    }

    fn open(&mut self) {
        self.peers = Some(self.opened(self.options.clone()).expect("it opens"));
    }

    pub(crate) fn opened(&self, options: Options) -> Result<Peerstore> {
        let dir = self.dir.path();
        match self.backend {
            Backend::Memory => Peerstore::in_memory(options),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => {
                let data = peercask_peerstore::libp2p::SqliteDatastore::open(dir.join("db"))?;
                Peerstore::with(data, options)
            }
            _ => Peerstore::open(dir.join("store"), options),
        }
    }

    pub(crate) fn options(&self) -> Options {
        self.options.clone()
    }

    pub(crate) fn peers(&self) -> &Peerstore {
        self.peers.as_ref().expect("it is open")
    }

    /// Whether what is closed can be opened again.
    pub(crate) fn lasts(&self) -> bool {
        self.backend != Backend::Memory
    }

    pub(crate) fn close(&mut self) {
        if let Some(peers) = self.peers.take() {
            peers.close().expect("closed");
        }
    }

    pub(crate) fn reopen(&mut self) {
        self.reopen_with(self.options.clone());
    }

    pub(crate) fn reopen_with(&mut self, options: Options) {
        self.close();
        self.options = options;
        self.open();
    }

    pub(crate) fn sleep(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// Each function becomes a test for each backend.
macro_rules! each_backend {
    ($($(#[$about:meta])* fn $name:ident($backend:ident) $body:block)+) => {
        $($(#[$about])* fn $name($backend: $crate::support::Backend) $body)+
        mod on_peercask {
            $(#[test] fn $name() { super::$name($crate::support::Backend::Peercask) })+
        }
        mod with_cache {
            $(#[test] fn $name() { super::$name($crate::support::Backend::Cached) })+
        }
        mod in_memory {
            $(#[test] fn $name() { super::$name($crate::support::Backend::Memory) })+
        }
        #[cfg(feature = "sqlite")]
        mod on_sqlite {
            $(#[test] fn $name() { super::$name($crate::support::Backend::Sqlite) })+
        }
    };
}
pub(crate) use each_backend;

/// A key that is the same in each run.
pub(crate) fn key(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).expect("32 bytes are a key")
}

pub(crate) fn peer(number: u8) -> Peer {
    Peer::from(key(number).public().to_peer_id())
}

pub(crate) fn addr(number: usize) -> Multiaddr {
    let text = format!("/ip4/10.{}.{}.1/tcp/4001", number / 256, number % 256);
    text.parse().expect("an address")
}

pub(crate) fn addrs(numbers: std::ops::Range<usize>) -> Vec<Multiaddr> {
    numbers.map(addr).collect()
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The addresses of a peer without their order.
pub(crate) fn sorted(peers: &Peerstore, who: Peer) -> Vec<Multiaddr> {
    let mut found = peers.addrs(who).expect("readable");
    found.sort_by_key(Multiaddr::to_vec);
    found
}

pub(crate) fn assert_addrs(peers: &Peerstore, who: Peer, expected: &[Multiaddr]) {
    let mut expected = expected.to_vec();
    expected.sort_by_key(Multiaddr::to_vec);
    assert_eq!(sorted(peers, who), expected);
}

/// A signed record with a seq of choice, in wire form.
pub(crate) fn signed(key: &Keypair, seq: u64, addrs: &[Multiaddr]) -> Vec<u8> {
    signed_about(key, &key.public().to_peer_id().to_bytes(), seq, addrs)
}

/// A record about a peer, signed by whoever.
pub(crate) fn signed_about(key: &Keypair, about: &[u8], seq: u64, addrs: &[Multiaddr]) -> Vec<u8> {
    let mut payload = Vec::new();
    field(&mut payload, 1, about);
    payload.push(2 << 3);
    varint(&mut payload, seq);
    for addr in addrs {
        let mut info = Vec::new();
        field(&mut info, 1, addr.as_ref());
        field(&mut payload, 3, &info);
    }
    let domain = "libp2p-peer-record".to_owned();
    let envelope = libp2p_core::SignedEnvelope::new(key, domain, vec![3, 1], payload);
    envelope.expect("signed").into_protobuf_encoding()
}

/// A number, as protobuf writes it.
pub(crate) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        bytes.push(u8::try_from(number & 127).expect("seven bits") | 128);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
}

/// A field of bytes, as protobuf writes it.
pub(crate) fn field(bytes: &mut Vec<u8>, number: u8, value: &[u8]) {
    bytes.push(number << 3 | 2);
    varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

/// All that a stream has, none of it lost.
pub(crate) fn drain<T: std::fmt::Debug>(stream: &mut Stream<T>) -> Vec<T> {
    std::iter::from_fn(|| stream.try_next())
        .map(|next| next.item().expect("nothing was lost"))
        .collect()
}

type Hook = Box<dyn Fn(&Batch) -> Result<()> + Send + Sync>;

/// A datastore of which each commit is looked at, held up or refused before it is applied.
pub(crate) struct Hooked<D> {
    pub(crate) data: D,
    pub(crate) before_commit: Hook,
}

impl<D: Datastore> Hooked<D> {
    pub(crate) fn new(
        data: D,
        before_commit: impl Fn(&Batch) -> Result<()> + Send + Sync + 'static,
    ) -> Hooked<D> {
        Hooked {
            data,
            before_commit: Box::new(before_commit),
        }
    }
}

impl<D: Datastore> Datastore for Hooked<D> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.data.get(key)
    }
    fn has(&self, key: &[u8]) -> Result<bool> {
        self.data.has(key)
    }
    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        self.data.query(prefix)
    }
    fn commit(&self, batch: Batch, acknowledge: Acknowledge) -> Result<()> {
        (self.before_commit)(&batch)?;
        self.data.commit(batch, acknowledge)
    }
    fn sync(&self) -> Result<()> {
        self.data.sync()
    }
    fn close(&self) -> Result<()> {
        self.data.close()
    }
}
