//! Peercask is an embedded, append-only, log-structured key-value store for peer-to-peer nodes:
//! one directory, one process that writes, no server and no C library.
//!
//! Keys live in named keyspaces over one log of segment files. An in-memory keydir finds the
//! newest record of a key, reads are lent from memory maps without a copy, records may expire,
//! and merge gives space back in the background. What a write survives is chosen per write.
//!
//! ```
//! use peercask::{Durability, KeyspaceOptions, Options, Store, Write};
//! use std::time::Duration;
//!
//! # fn main() -> peercask::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path();
//! let store = Store::open(dir, Options::default())?;
//! let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
//!
//! peers.put("12D3KooW/alice", "/ip4/192.0.2.7/tcp/4001")?;
//! let hour = Write::new().ttl(Duration::from_secs(3600)).durability(Durability::Kernel);
//! peers.put_with("12D3KooW/bob", "/ip4/192.0.2.8/tcp/4001", hour)?.wait()?;
//!
//! for entry in peers.prefix("12D3KooW/")?.rev() {
//!     let entry = entry?;
//!     println!("{:?} -> {:?}", entry.key, entry.value);
//! }
//!
//! let seen = store.keyspace("seen", KeyspaceOptions::hash())?;
//! let mut batch = store.batch();
//! batch.delete(&peers, "12D3KooW/bob");
//! batch.put(&seen, "12D3KooW/bob", "left");
//! batch.commit()?;
//! assert_eq!(peers.get("12D3KooW/bob")?, None);
//! store.close()
//! # }
//! ```
//!
//! # Waiting for durability
//!
//! A write returns a ticket, a [`Commit`]: its seq, and the wait until it is as durable as was
//! asked, by a thread or by any runtime. It can be asked for more later.
//!
//! ```
//! # use peercask::{Durability, KeyspaceOptions, Options, Store, Write};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! # let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
//! let soft = Write::new().durability(Durability::Buffered);
//! let ticket = keyspace.put_with("key", "value", soft)?;
//! // In an async function: ticket.upgrade(Durability::Device).await?
//! let seq = ticket.upgrade(Durability::Device).wait()?;
//! assert!(store.stats().synced_seq >= seq.0);
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Watching
//!
//! A [`Watch`] tells what is written under a key, a prefix or to a whole keyspace, in commit order,
//! each with its seq and the durability reached. It is bounded and holds up nobody: a slow watcher
//! is told of the gap, and fills it from the log.
//!
//! ```
//! # use peercask::{EventKind, KeyspaceOptions, Options, Store, WatchOptions};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! # let peers = store.keyspace("peers", KeyspaceOptions::hash())?;
//! let mut watch = peers.watch(WatchOptions::prefix("eu/"))?;
//! let follower = std::thread::spawn(move || watch.recv());
//! peers.put("eu/alice", "192.0.2.7")?;
//! let event = follower.join().expect("joined")?.event().expect("no lag");
//! assert_eq!((event.kind(), event.key()), (EventKind::Put, &b"eu/alice"[..]));
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Compare-and-swap
//!
//! A write that happens only if the current version is the [`Expected`] one; a refusal holds the
//! version that stands there. [`Batch::expect`] makes a whole batch depend on versions.
//!
//! ```
//! # use peercask::{Expected, KeyspaceOptions, Options, Store, Swap, Write};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! let leases = store.keyspace("leases", KeyspaceOptions::hash())?;
//! assert!(leases.put_if_absent("relay", "node 1")?.applied()?);
//! let Swap::Refused(Some(held)) = leases.put_if_absent("relay", "node 2")? else {
//!     panic!("it is taken");
//! };
//! assert_eq!(held.value, b"node 1");
//! let taken = leases.put_if("relay", "node 2", Expected::Seq(held.seq), Write::new())?;
//! assert!(taken.applied()?);
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Snapshots
//!
//! A [`Snapshot`] shows all keyspaces as they were at one moment, for as long as it is kept. It is
//! taken in constant time and costs memory only for keys that change; writers, merge and close go
//! on, even if it is leaked.
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! # let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
//! peers.put("alice", "192.0.2.7")?;
//! let snapshot = store.snapshot()?;
//! peers.delete("alice")?;
//! let entry = snapshot.iter(&peers)?.next_back().expect("one")?;
//! assert_eq!((&*entry.key, &*entry.value), (&b"alice"[..], &b"192.0.2.7"[..]));
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Transactions
//!
//! A [`Transaction`] reads one moment with its own writes on top and is committed as one batch, or
//! refused with [`ErrorKind::Conflict`] if a plain write touched what it read or wrote. One runs at
//! a time; others wait for their turn as threads ([`Store::begin`]) or as futures
//! ([`Store::begin_async`]). Dropping it leaves nothing.
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! let log = store.keyspace("log", KeyspaceOptions::ordered())?;
//! for line in ["first", "second"] {
//!     store.transaction(|tx| {
//!         let last = tx.iter(&log)?.next_back().transpose()?;
//!         let next = last.map_or(0, |(key, _)| key[0] + 1);
//!         tx.put(&log, [next], line)
//!     })?;
//! }
//! assert_eq!(log.get([1])?.expect("there"), b"second");
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Deleting by prefix
//!
//! [`Keyspace::delete_prefix`] removes all keys of an ordered keyspace that start with a prefix, in
//! one batch: all or none of them, whatever crashes.
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! # let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
//! peers.put("alice/1", "192.0.2.7")?;
//! peers.put("alice/2", "192.0.2.8")?;
//! assert_eq!(peers.delete_prefix("alice/")?, 2);
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Copies of a living store
//!
//! [`Store::checkpoint_to`] makes an openable copy out of hard links, in a time that does not
//! grow with the data; [`Store::restore`] makes a store of it again. Copy and origin share a
//! store id, a hash secret and their past. The first open of a copy for writing begins a life of
//! its own, with seqs that the origin never gives; from then on it is no checkpoint any more.
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # fn main() -> peercask::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let (live, backup, back) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
//! let store = Store::open(&live, Options::default())?;
//! store.keyspace("peers", KeyspaceOptions::ordered())?.put("alice", "here")?;
//! store.checkpoint_to(&backup)?;
//! Store::restore(&backup, &back)?;
//! let restored = Store::open(&back, Options::default())?;
//! assert!(restored.existing_keyspace("peers")?.contains("alice")?);
//! # Ok(())
//! # }
//! ```
//!
//! # Readers in other processes
//!
//! [`Store::open_read_only`] takes no lock and writes nothing; it shows what the writer has
//! committed, and follows on [`Store::refresh`]:
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # fn main() -> peercask::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path();
//! let store = Store::open(dir, Options::default())?;
//! let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
//! let reader = Store::open_read_only(dir, Options::default())?;
//! peers.put("alice", "here")?;
//! assert!(reader.refresh()?);
//! assert!(reader.existing_keyspace("peers")?.contains("alice")?);
//! # Ok(())
//! # }
//! ```
//!
//! # When files are damaged
//!
//! A damaged record costs itself: reading it is an error that names file and offset. On a store
//! that was opened for reading alone [`Store::verify`] tells everything that is wrong, with the
//! key where it can be read, and changes nothing. [`Store::repair`] writes all that can be read
//! into a new store, and lists what it could not save:
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # fn main() -> peercask::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let (old, new) = (dir.path().join("a"), dir.path().join("b"));
//! # Store::open(&old, Options::default())?.keyspace("peers", KeyspaceOptions::hash())?.put("a", "b")?;
//! let store = Store::open_read_only(&old, Options::default())?;
//! if !store.verify(&mut |_| {})?.is_clean() {
//!     println!("damaged");
//! }
//! let report = Store::repair(&old, &new, Options::default())?;
//! println!("{} records saved, {} lost", report.records, report.lost.len());
//! # Ok(())
//! # }
//! ```
//!
//! # In tests
//!
//! With the feature `sim`, `Store::in_memory` is a store without files, and the module `crash` has
//! stores on a simulated disk that can be crashed. Both are the engine itself.
//!
//! ```
//! # #[cfg(feature = "sim")]
//! # fn main() -> peercask::Result<()> {
//! use peercask::{KeyspaceOptions, Options, Store};
//!
//! let store = Store::in_memory(Options::default())?;
//! let peers = store.keyspace("peers", KeyspaceOptions::ordered())?;
//! peers.put("alice", "here")?;
//! assert!(store.snapshot()?.get(&peers, "alice")?.is_some());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sim"))]
//! # fn main() {}
//! ```
//!
//! # Systems
//!
//! Linux is where all of it is tested. What differs elsewhere is in one place, the module that
//! calls the system: on macOS a sync asks the device to empty its cache
//! (`F_FULLFSYNC`), on systems that are not Unix and on 32 bits segments are read by position, since
//! a mapped file cannot be deleted or does not fit. Lengths and offsets on disk are of fixed width.
//! Reads by position can be had everywhere:
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Reads, Store};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! let store = Store::open(dir.path(), Options::default().reads(Reads::Positional))?;
//! let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
//! keyspace.put("key", "the same files, read without a map")?;
//! assert!(keyspace.get("key")?.is_some());
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # Figures
//!
//! [`Store::stats`] tells what the store holds, did and waited for, in constant time, latencies as
//! [`Histogram`]s. With the feature `metrics`, `Stats::publish` hands all of it to the recorder of
//! the `metrics` facade. Spans of `tracing` stand around open, recovery, merge, sync,
//! checkpoint and the moment in which a store is poisoned, which is an error event too.
//!
//! ```
//! # use peercask::{KeyspaceOptions, Options, Store};
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let store = Store::open(dir.path(), Options::default())?;
//! # let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
//! keyspace.put("key", "value")?;
//! let stats = store.stats();
//! assert_eq!((stats.puts, stats.keys, stats.dead_bytes), (1, 1, 0));
//! println!("99 of 100 syncs took at most {:?} ns", stats.sync_latency_ns.quantile(0.99));
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! # A cap on space
//!
//! With [`Options::space_cap`] the files of the store never take more than so many bytes, room for
//! merge included. At the cap puts are refused, or what expires soonest is evicted for them.
//!
//! ```
//! # use peercask::{AtCap, KeyspaceOptions, Options, Store, Write};
//! # use std::time::Duration;
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! let options = Options::default()
//!     .segment_bytes(1 << 20)
//!     .space_cap(Some(16 << 20))
//!     .at_cap(AtCap::Evict);
//! let store = Store::open(dir.path(), options)?;
//! let cache = store.keyspace("cache", KeyspaceOptions::hash())?;
//! cache.put_with("key", "value", Write::new().ttl(Duration::from_secs(600)))?.wait()?;
//! println!("{} records were evicted", store.stats().evicted);
//! # Ok::<(), peercask::Error>(())
//! ```
//!
//! What is promised after which crash stands in `docs/durability.md`, the bytes on disk in
//! `docs/format.md`, the shape of the code in `ARCHITECTURE.md`.

mod background;
mod batch;
mod begin;
mod cap;
mod checkpoint;
mod clear;
mod clock;
mod commit;
mod copies;
mod core;
#[cfg(any(test, feature = "sim"))]
pub mod crash;
mod disk;
pub mod doctor;
mod error;
mod event;
mod evict;
mod expected;
mod feed;
mod figures;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod histogram;
mod history;
mod image;
pub mod inspect;
mod iter;
mod key_cursor;
mod keydir;
mod keyspace;
mod lookup;
#[cfg(any(test, feature = "sim"))]
mod memory;
mod merge;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "micro")]
#[doc(hidden)]
pub mod micro;
#[cfg(all(test, feature = "loom"))]
mod models;
mod mutant;
mod options;
mod parallel;
mod parker;
mod past;
mod pieces;
mod prefix;
mod recovery;
mod repair;
mod report;
mod room;
#[cfg(all(test, feature = "shuttle"))]
mod schedules;
mod segment;
mod snapshot;
mod stats;
mod store;
mod swap;
mod sync;
mod ticket;
mod transaction;
mod turn;
mod value;
mod verify;
mod view;
mod watch;
mod worker;

pub use batch::Batch;
pub use begin::Begin;
pub use clock::{Clock, ClockWarning, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind, Lagged, Notice};
pub use expected::Expected;
pub use histogram::Histogram;
pub use iter::{Iter, Walk};
pub use keyspace::Keyspace;
pub use merge::Merge;
pub use options::{
    AtCap, BATCH_BYTES_MAX, DELETE_PREFIX_KEYS_MAX, Durability, IndexKind, KEY_LEN_MAX,
    KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX, KeyspaceOptions, Missing, Options, Reads,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, VALUE_LEN_MAX, Write,
};
pub use report::{
    CheckpointReport, Cost, Cut, Damage, MergeReport, Progress, RecoveryReport, RepairReport,
    VerifyReport,
};
pub use segment::location::Seq;
pub use snapshot::{Snapshot, SnapshotIter, SnapshotWalk};
pub use stats::{KeyspaceInfo, Stats};
pub use store::Store;
pub use swap::Swap;
pub use ticket::Commit;
pub use transaction::{Transaction, TransactionIter};
pub use value::{Entry, Value, ValueReader};
pub use watch::{Next, Watch, WatchOptions};

/// The README's program is compiled and run with the other examples.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
