//! The peer store itself: opens and closes, changes several books at once, lists and forgets peers. What each
//! book offers is in the book's own file; this one wires the rooms and does little itself.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use libp2p_core::Multiaddr;
use peercask::Store;

use super::backend::{MemoryDatastore, PeercaskDatastore};
use super::core::{Core, SHARDS};
use super::counters::Stats;
use super::datastore::Datastore;
use super::directory::Known;
use super::editor::PeerEditor;
use super::error::{Error, ErrorKind, Result};
use super::event::{Event, PeerRemovalReason};
use super::feed::Stream;
use super::gc::GcReport;
use super::keeper::Keeper;
use super::options::Options;
use super::peer::Peer;
use super::peers::Peers;
use super::profile::Profile;

/// What a libp2p node knows about its peers. Cheap to clone, usable from any thread, needs no runtime;
/// the last handle dropped closes it.
///
/// ```
/// use peercask_peerstore::libp2p::{Options, Peerstore, Ttl};
/// use libp2p_identity::PeerId;
///
/// # fn main() -> peercask_peerstore::libp2p::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let dir = dir.path().join("peers");
/// let alice = PeerId::random();
/// let addr = "/ip4/192.0.2.7/tcp/4001".parse().expect("an address");
///
/// let peers = Peerstore::open(&dir, Options::default())?;
/// peers.add_addrs(alice, &[addr], Ttl::ADDRESS)?;
/// peers.add_protocols(alice, &["/ipfs/kad/1.0.0"])?;
/// peers.close()?;
///
/// let peers = Peerstore::open(&dir, Options::default())?;
/// assert_eq!(peers.addrs(alice)?.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Peerstore {
    handle: Arc<Handle>,
}

/// What handles count; its last drop closes.
struct Handle {
    core: Arc<Core>,
}

impl Peerstore {
    /// Opens the peer store in `dir`, making it if the directory is missing or empty.
    ///
    /// # Errors
    /// `Locked` if another process or handle has it; `InvalidArgument` for an option out of range
    /// or a directory that holds something else; `UnsupportedVersion`; `Corrupted` if
    /// [`Options::strict`] is set and a record cannot be read; `Io`.
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Peerstore> {
        options.check()?;
        let data = PeercaskDatastore::open(dir, options.of_engine())?;
        Peerstore::with(data, options)
    }

    /// Opens for reading alone, also while another process writes: as it is now. Changes answer
    /// `ReadOnly`.
    ///
    /// # Errors
    /// `NotFound` if there is none; else as [`Peerstore::open`].
    pub fn open_read_only(dir: impl AsRef<Path>, options: Options) -> Result<Peerstore> {
        options.check()?;
        let data = PeercaskDatastore::open_read_only(dir, options.of_engine())?;
        Peerstore::of(Arc::new(data), options, true)
    }

    /// In keyspaces of its own of a store that the caller has open, and keeps open.
    ///
    /// # Errors
    /// As [`Peerstore::open`].
    pub fn on(store: &Store, options: Options) -> Result<Peerstore> {
        options.check()?;
        Peerstore::with(PeercaskDatastore::on(store)?, options)
    }

    /// Without files; gone with its last handle.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range.
    pub fn in_memory(options: Options) -> Result<Peerstore> {
        // What a close would save is gone with it.
        Peerstore::with(MemoryDatastore::new(), options.image_peers_min(u64::MAX))
    }

    /// On a datastore of the caller's choice, which is closed with it.
    ///
    /// # Errors
    /// As [`Peerstore::open`].
    pub fn with(data: impl Datastore, options: Options) -> Result<Peerstore> {
        Peerstore::of(Arc::new(data), options, false)
    }

    fn of(data: Arc<dyn Datastore>, options: Options, read_only: bool) -> Result<Peerstore> {
        let background = options.background && !read_only;
        let core = Core::open(data, options, read_only)?;
        if background {
            Keeper::start(&core)?;
        }
        let handle = Arc::new(Handle { core });
        Ok(Peerstore { handle })
    }

    /// Writes what waits, ends streams and the background thread, and closes the datastore. The
    /// calls of other handles answer `Closed` from then on. The second time does nothing. Of a large
    /// store it saves the directory too ([`Options::image_peers_min`]).
    ///
    /// # Errors
    /// What kept the last changes from the device.
    pub fn close(&self) -> Result<()> {
        self.handle.core.close()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }

    // ---- changes

    /// Changes one peer in as many books as the closure likes, as one atomic step: no reader and no
    /// crash ever sees a part of it. Whatever the closure answers as an error changes nothing.
    ///
    /// The closure runs while other writers of the same peer wait, and must not call this store.
    ///
    /// # Errors
    /// What the closure answers; `StorageFull`, `Io`, `Poisoned`, `ReadOnly`, `Closed`; `TooManyPeers`
    /// if the peer is new, there are as many as there may be, and all are protected.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Peerstore, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// # let alice = PeerId::random();
    /// peers.update(alice, |alice| {
    ///     alice.add_addrs(&["/ip4/192.0.2.7/tcp/4001".parse().expect("an address")], Ttl::ADDRESS);
    ///     alice.set_protocols(&["/ipfs/kad/1.0.0"])?;
    ///     alice.put_metadata("AgentVersion", "rust-libp2p/0.57")
    /// })?;
    /// # assert!(peers.has_peer(alice));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    pub fn update<T>(
        &self,
        peer: impl Into<Peer>,
        change: impl FnOnce(&mut PeerEditor<'_>) -> Result<T>,
    ) -> Result<T> {
        self.core().update(&peer.into(), change)
    }

    /// Changes several peers as one atomic step; the editors come in the order of the peers, of
    /// which none may be named twice.
    ///
    /// # Errors
    /// `InvalidArgument` for a peer named twice; else as [`Peerstore::update`].
    pub fn update_many<T>(
        &self,
        peers: &[Peer],
        change: impl FnOnce(&mut [PeerEditor<'_>]) -> Result<T>,
    ) -> Result<T> {
        let mut names = peers.to_vec();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::invalid("a batch names a peer twice"));
        }
        self.core().update_many(peers, change)
    }

    /// Removes keys, protocols, metadata, tags and latency of a peer, as go's: its addresses and
    /// signed record stay.
    ///
    /// # Errors
    /// As [`Peerstore::update`].
    pub fn remove_peer(&self, peer: impl Into<Peer>) -> Result<()> {
        self.core().update(&peer.into(), |peer| peer.remove_peer())
    }

    /// Removes everything that is known of a peer, statistics and the memory of its signed records
    /// included; whether it was known. [`Peerstore::merge`] then takes its bytes from all files.
    ///
    /// # Errors
    /// `InvalidArgument` for the own peer; else as [`Peerstore::update`].
    pub fn forget_peer(&self, peer: impl Into<Peer>) -> Result<bool> {
        let peer = peer.into();
        if self.core().is_own(&peer) {
            return Err(Error::invalid("the own peer cannot be forgotten"));
        }
        self.core().update(&peer, |peer| {
            peer.forget = Some(PeerRemovalReason::Deleted);
            Ok(peer.is_known())
        })
    }

    // ---- listing

    /// Whether anything is known of a peer; from memory.
    #[must_use]
    pub fn has_peer(&self, peer: impl Into<Peer>) -> bool {
        self.core().known(&peer.into()).is_some()
    }

    /// How many peers are known in any book; from memory.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.core().count_peers()
    }

    /// All peers with a live address or a key, as go's `Peers`; from memory, in no order.
    #[must_use]
    pub fn peers(&self) -> Peers {
        self.peers_where(|known, now_ms| {
            now_ms < known.latest_expiry_ms || known.has_public_key || known.has_private_key
        })
    }

    /// All peers that are known in any book; from memory, in no order.
    #[must_use]
    pub fn all_peers(&self) -> Peers {
        self.peers_where(|_, _| true)
    }

    pub(crate) fn peers_where(&self, chosen: fn(&Known, u64) -> bool) -> Peers {
        Peers::new(self.core().clone(), chosen)
    }

    /// The profile without what has expired.
    pub(crate) fn profile(&self, peer: &Peer) -> Result<Option<Profile>> {
        self.core().check_open()?;
        match self.core().known(peer) {
            Some(known) if known.has_profile => {}
            _ => return Ok(None),
        }
        let mut profile = self.core().profile(peer)?;
        if let Some(profile) = &mut profile {
            profile.expire(self.core().now_ms());
        }
        Ok(profile)
    }

    // ---- streams

    /// Everything that happens to all peers from now on. A stream that is not read for
    /// [`Options::events_max`] events is told how many it missed, and holds up nobody.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{EventKind, Options, Peerstore, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// let mut events = peers.events();
    /// # let alice = PeerId::random();
    /// let addr = "/ip4/192.0.2.7/tcp/4001".parse().expect("an address");
    /// peers.add_addrs(alice, &[addr], Ttl::ADDRESS)?;
    /// let first = events.try_next().and_then(|next| next.item()).expect("it happened");
    /// assert!(matches!(first.kind, EventKind::PeerAdded));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Stream<Event> {
        self.core().feed.listen(true)
    }

    /// As [`Peerstore::events`] without [`EventKind::PeerUpdated`](super::EventKind::PeerUpdated), for which a change
    /// has to read what else is known of its peer.
    #[must_use]
    pub fn address_events(&self) -> Stream<Event> {
        self.core().feed.listen(false)
    }

    /// The addresses of a peer: those that it has, then each new one, none twice.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Closed`.
    pub fn addr_stream(&self, peer: impl Into<Peer>) -> Result<Stream<Multiaddr>> {
        let peer = peer.into();
        let core = self.core();
        let number = Core::shard_number(core.hash(&peer));
        // No change of the peer comes between the look and the listening.
        let _turn = core.shard(number).turn();
        let there: Vec<Multiaddr> = match core.reach(&peer)? {
            Some(reach) => reach
                .live(core.now_ms())
                .map(|address| address.addr.clone())
                .collect(),
            None => Vec::new(),
        };
        Ok(core.feed.listen_to(&peer, &there))
    }

    // ---- upkeep

    /// Removes everything that has expired, now.
    ///
    /// # Errors
    /// As [`Peerstore::update`]; what was removed by then stays removed.
    pub fn gc(&self) -> Result<GcReport> {
        self.core().gc()
    }

    /// The background's work, as far as it is due: for [`Options::background`] set to false.
    ///
    /// # Errors
    /// As [`Peerstore::gc`].
    pub fn maintain(&self) -> Result<GcReport> {
        self.core().maintain()
    }

    /// Returns when every change that was acknowledged survives a power cut; refreshes that wait
    /// are written too.
    ///
    /// # Errors
    /// `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn sync(&self) -> Result<()> {
        self.core().check_writable()?;
        self.core().write_all_unwritten()?;
        self.core().data.sync()
    }

    /// Takes the bytes of everything that was replaced or removed from all files: after forgetting
    /// a peer, its private key is nowhere.
    ///
    /// # Errors
    /// `Unsupported` by some datastores; `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn merge(&self) -> Result<()> {
        self.core().check_writable()?;
        self.core().data.merge()
    }

    /// A consistent copy in a directory that is missing or empty, which can be opened, while
    /// changes go on.
    ///
    /// # Errors
    /// As [`Peerstore::merge`].
    pub fn backup_to(&self, dir: impl AsRef<Path>) -> Result<()> {
        self.core().check_writable()?;
        self.core().write_all_unwritten()?;
        self.core().data.backup_to(dir.as_ref())
    }

    /// What could not be read at opening, as text. It was kept aside, and the rest is served.
    #[must_use]
    pub fn damaged(&self) -> &[String] {
        &self.core().damaged
    }

    /// The options that it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.core().options
    }

    /// The time of the books, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.core().now_ms()
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let core = self.core();
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &core.counters;
        let mut stats = Stats {
            peers: of(&counters.peers),
            addresses: of(&counters.addresses),
            pinned: of(&counters.pinned),
            certified: of(&counters.certified),
            signed_records: of(&counters.envelopes),
            cache_hits: of(&counters.cache_hits),
            cache_misses: of(&counters.cache_misses),
            cache_bytes: 0,
            gc_runs: of(&counters.gc_runs),
            gc_indexed: 0,
            addresses_expired: of(&counters.expired),
            addresses_deleted: of(&counters.deleted),
            addresses_evicted: of(&counters.evicted),
            addresses_superseded: of(&counters.superseded),
            addresses_failed: of(&counters.dial_failures),
            peers_evicted: of(&counters.peers_evicted),
            peers_expired: of(&counters.peers_expired),
            unreadable: of(&counters.unreadable),
            writes: of(&counters.writes),
            writes_spared: of(&counters.writes_spared),
            streams_lagged: core.feed.lagged(),
            streams: core.feed.streams() as u64,
            last_background_error: core.keeper.last_error(),
            opened_from_image: core.from_image,
            datastore: core.data.stats(),
        };
        for shard in core.shards() {
            let state = shard.read();
            stats.cache_bytes += state.cache.bytes() as u64;
            stats.gc_indexed += state.directory.indexed() as u64;
        }
        stats
    }
}

impl PeerEditor<'_> {
    /// Removes keys, protocols, metadata, tags and latency, as go's: addresses and the signed record
    /// stay.
    ///
    /// # Errors
    /// `Io`: what is there must be read.
    pub fn remove_peer(&mut self) -> Result<()> {
        if self.reach.keys_version != 0 {
            self.clear_keys()?;
        }
        if self.reach.profile_version != 0 {
            let profile = self.profile()?;
            profile.protocols.clear();
            profile.metadata.clear();
            profile.tags.clear();
        }
        self.clear_latency();
        Ok(())
    }
}

impl Core {
    fn write_all_unwritten(&self) -> Result<()> {
        for number in 0..SHARDS {
            self.write_unwritten(number, |_, _| true)?;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        if !self.mark_closed() {
            return Ok(());
        }
        self.keeper.join();
        let written = match self.read_only {
            true => Ok(()),
            false => self.write_all_unwritten(),
        };
        self.seal();
        let written = match self.read_only {
            true => written,
            false => written.and_then(|()| self.data.sync()),
        };
        self.feed.close();
        self.data.close().and(written)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(error) = self.core.close()
            && error.kind() != ErrorKind::Closed
        {
            tracing::warn!(%error, "closing a peer store failed");
        }
    }
}

impl fmt::Debug for Peerstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peerstore")
            .field("peers", &self.count())
            .finish_non_exhaustive()
    }
}
