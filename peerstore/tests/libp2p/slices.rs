//! The slices of a removal, seen from the datastore: how much each batch holds, how long one gathers, and what is
//! read for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use peercask_peerstore::libp2p::{
    Acknowledge, Batch, Datastore, Entries, MemoryDatastore, Options, Peer, Peerstore, Result, Ttl,
};

use crate::support::{NOW_MS, addrs, seconds};

/// A datastore in memory that notes its batches, and takes its time to read.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    data: Arc<MemoryDatastore>,
    read_time: Duration,
    reads: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
    batches: Arc<AtomicUsize>,
    changes_max: Arc<AtomicUsize>,
    bytes_max: Arc<AtomicUsize>,
}

impl Datastore for Watched {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        if !self.read_time.is_zero() {
            std::thread::sleep(self.read_time);
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.data.get(key)
    }

    fn has(&self, key: &[u8]) -> Result<bool> {
        self.data.has(key)
    }

    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.data.query(prefix)
    }

    fn commit(&self, batch: Batch, acknowledge: Acknowledge) -> Result<()> {
        let sizes = batch
            .changes()
            .map(|(key, value)| key.len() + value.map_or(0, Bytes::len));
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.bytes_max.fetch_max(sizes.sum(), Ordering::Relaxed);
        self.changes_max.fetch_max(batch.len(), Ordering::Relaxed);
        self.data.commit(batch, acknowledge)
    }

    fn sync(&self) -> Result<()> {
        self.data.sync()
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl Watched {
    pub(crate) fn forget(&self) {
        for counter in [
            &self.reads,
            &self.queries,
            &self.batches,
            &self.changes_max,
            &self.bytes_max,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }

    fn noted(&self) -> (usize, usize, usize) {
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (
            of(&self.batches),
            of(&self.changes_max),
            of(&self.bytes_max),
        )
    }
}

fn opened(data: Watched) -> (Peerstore, Arc<peercask::ManualClock>) {
    let clock = Arc::new(peercask::ManualClock::new(NOW_MS));
    let options = Options::default()
        .clock(clock.clone())
        .background(false)
        .cache_bytes(0)
        .events_max(10_000)
        .peer_age_max(seconds(1));
    (Peerstore::with(data, options).expect("opened"), clock)
}

fn named(number: u32) -> Peer {
    Peer::from_bytes(&number.to_le_bytes()).expect("short")
}

/// Peers of which each has three records are as few in a slice as their records ask for.
#[test]
fn c4_no_slice_holds_more_than_256_records_however_many_a_peer_has() {
    let data = Watched::default();
    let (peers, clock) = opened(data.clone());
    let key = crate::keys::ecdsa();
    let owner = Peer::from(key.public().to_peer_id());
    for number in 0..2_000 {
        peers
            .update(named(number), |peer| {
                peer.add_addrs(&addrs(0..1), Ttl::from(seconds(1)));
                peer.put_metadata("a", u64::from(number))
            })
            .expect("told");
    }
    peers.add_public_key(owner, &key.public()).expect("added");
    data.forget();
    clock.advance(seconds(10));
    let report = peers.gc().expect("removed");
    assert_eq!((report.peers, peers.count()), (2_001, 0));
    let (batches, changes_max, _) = data.noted();
    assert_eq!(batches as u64, report.slices);
    // Two records each: no more than 128 peers, and more than one where reading is quick.
    assert!((2..=256).contains(&changes_max), "{changes_max}");
}

/// Where reading is slow a slice ends after two milliseconds, whatever it has.
#[test]
fn c4_a_slice_gathers_for_two_milliseconds_at_the_most() {
    let data = Watched::default();
    let (peers, clock) = opened(data.clone());
    for number in 0..120 {
        // More than addresses: what they are is looked up before they go.
        peers
            .update(named(number), |peer| {
                peer.add_addrs(&addrs(0..1), Ttl::from(seconds(1)));
                peer.put_metadata("a", u64::from(number))
            })
            .expect("told");
    }
    peers.close().expect("closed");
    let slow = Watched {
        read_time: Duration::from_millis(1),
        ..data.clone()
    };
    let options = peers.options().clone();
    drop(peers);
    clock.advance(seconds(10));
    let peers = Peerstore::with(slow, options).expect("opened");
    data.forget();
    let report = peers.gc().expect("removed");
    assert_eq!((report.peers, peers.count()), (120, 0));
    // A peer takes milliseconds to read: after the second one at the latest the time is over.
    let (batches, changes_max, _) = data.noted();
    assert!(
        changes_max <= 4 && batches >= 60,
        "{changes_max} in {batches}"
    );
}

/// Of peers that are nothing but addresses nothing is read when these have expired, unless somebody listens, who
/// is told of each address.
#[test]
fn peers_of_which_only_addresses_are_known_go_without_a_read() {
    for listens in [false, true] {
        let data = Watched::default();
        let (peers, clock) = opened(data.clone());
        for number in 0..1_000 {
            let life = Ttl::from(seconds(1 + u64::from(number) % 2 * 100));
            peers
                .add_addrs(named(number), &addrs(0..3), life)
                .expect("added");
        }
        let mut events = listens.then(|| peers.events());
        data.forget();
        clock.advance(seconds(10));
        let report = peers.gc().expect("removed");
        assert_eq!((report.peers, report.addresses), (500, 1_500));
        assert_eq!(data.reads(), if listens { 500 } else { 0 });
        let stats = peers.stats();
        assert_eq!(
            (stats.peers, stats.addresses, stats.gc_indexed),
            (500, 1_500, 500)
        );
        assert_eq!((stats.peers_expired, stats.addresses_expired), (500, 1_500));
        assert!(
            !data
                .has(&[b"a", named(0).as_bytes()].concat())
                .expect("readable")
        );
        let told = events.iter_mut().flat_map(crate::support::drain);
        assert_eq!(told.count(), if listens { 2_000 } else { 0 });
    }
}
