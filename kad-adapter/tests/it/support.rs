//! What the tests share: places, keys, peers, records, a seeded generator of numbers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_kad::{ProviderRecord, Record, RecordKey};
use peercask_kad::{ManualTime, Options, PersistentStore};

/// Some moment in 2026.
pub(crate) const WALL_MS: u64 = 1_790_000_000_000;

/// A small generator; the same numbers for the same seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// How much of a test that can be had in more: `PEERCASK_SEEDS` times as much.
pub(crate) fn rounds(base: u64) -> u64 {
    let factor = std::env::var("PEERCASK_SEEDS").ok();
    base * factor.and_then(|n| n.parse().ok()).unwrap_or(1).max(1)
}

/// The peer with this number; its id looks like any other.
pub(crate) fn peer(number: u64) -> PeerId {
    let mut rng = Rng::new(number ^ 0xBEEF);
    let mut bytes = vec![0x12, 0x20];
    (0..4).for_each(|_| bytes.extend(rng.next().to_le_bytes()));
    PeerId::from_bytes(&bytes).expect("a SHA-256 multihash is a peer id")
}

/// The node whose store it is.
pub(crate) fn local() -> PeerId {
    peer(u64::MAX)
}

/// The key with this number: a multihash, as most keys are.
pub(crate) fn key(number: u64) -> RecordKey {
    let mut rng = Rng::new(number);
    let mut bytes = vec![0x12, 0x20];
    (0..4).for_each(|_| bytes.extend(rng.next().to_le_bytes()));
    RecordKey::from(bytes)
}

pub(crate) fn address(number: u64) -> Multiaddr {
    format!("/ip4/10.0.{}.{}/tcp/4001", number / 256 % 256, number % 256)
        .parse()
        .expect("an address")
}

pub(crate) fn provider(key_number: u64, peer_number: u64) -> ProviderRecord {
    ProviderRecord::new(
        key(key_number),
        peer(peer_number),
        vec![address(peer_number)],
    )
}

pub(crate) fn own_provide(key_number: u64) -> ProviderRecord {
    ProviderRecord::new(key(key_number), local(), Vec::new())
}

pub(crate) fn with_expiry(mut record: ProviderRecord, expires: Instant) -> ProviderRecord {
    record.expires = Some(expires);
    record
}

pub(crate) fn record(key_number: u64, value: &[u8]) -> Record {
    Record::new(key(key_number), value.to_vec())
}

pub(crate) fn own_record(key_number: u64, value: &[u8]) -> Record {
    Record {
        publisher: Some(local()),
        ..record(key_number, value)
    }
}

/// No threads: what the background does is done when `step` is called.
pub(crate) fn quiet() -> Options {
    Options::default().background(false)
}

pub(crate) fn open(dir: &Path) -> PersistentStore {
    open_with(dir, quiet())
}

pub(crate) fn open_with(dir: &Path, options: Options) -> PersistentStore {
    PersistentStore::open(dir, local(), options).expect("opened")
}

/// Options with a clock in the test's hand.
pub(crate) fn timed() -> (Arc<ManualTime>, Options) {
    let time = Arc::new(ManualTime::new(WALL_MS));
    let options = quiet().time(time.clone());
    (time, options)
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A copy of a directory, as a crash would leave it.
pub(crate) fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = self::dir();
    for name in files(dir) {
        let from = dir.join(&name);
        std::fs::copy(&from, copy.path().join(&name)).expect("copied");
    }
    copy
}

/// What all files of a directory take of the disk, by the system's own account: blocks, reserved
/// space included, each file once whatever names it has.
#[cfg(unix)]
pub(crate) fn occupied(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let of = |name| std::fs::metadata(dir.join(name)).ok();
    let mut files: Vec<_> = files(dir)
        .into_iter()
        .filter_map(of)
        .map(|found| (found.ino(), found.blocks() * 512))
        .collect();
    files.sort_unstable();
    files.dedup_by_key(|(inode, _)| *inode);
    files.into_iter().map(|(_, bytes)| bytes).sum()
}

/// The names of all files, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| PathBuf::from(entry.expect("listed").file_name()))
        .collect();
    names.sort();
    names
}
