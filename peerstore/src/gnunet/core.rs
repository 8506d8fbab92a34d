//! What all handles of an open peerstore share: the store beneath, the index, the feed, and the one
//! lock that puts writes in order.
//!
//! Locks, in this order: `writing`, held for one change; `state`, held to look at a page or to
//! publish a change; a subscription's queue. None is held while a caller's code runs, and only
//! `writing` while the store writes. No row is read under `state`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use peercask::{Keyspace, Snapshot, Store, Value};

use super::codec;
use super::error::{Error, ErrorKind, Result};
use super::feed::Feed;
use super::index::{Hit, Index, View};
use super::options::Options;
use super::record::Record;
use super::sweeper::Sweeper;

/// The state that a change publishes.
pub(crate) struct State {
    pub(crate) index: Index,
    /// Rows as they were before a change that is under way or that a snapshot does not see.
    pub(crate) kept: HashMap<u64, Kept>,
    /// Snapshots in use, by seq.
    pub(crate) snapshots: BTreeMap<u64, u64>,
    pub(crate) feed: Feed,
    /// Everything up to it is published.
    pub(crate) last_seq: u64,
}

/// A row as it was before it went.
#[derive(Clone)]
pub(crate) enum Kept {
    Row(peercask::Result<Option<Value>>),
    /// One of many, or a large one: read when somebody asks for it.
    In(Snapshot),
}

/// What the one who writes knows.
pub(crate) struct Writing {
    pub(crate) next_row: u64,
}

pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) rows: Keyspace,
    pub(crate) options: Options,
    /// Whether closing the peerstore closes the store.
    pub(crate) owns_store: bool,
    /// Records that could not be read at open.
    pub(crate) damaged: Vec<String>,
    pub(crate) sweeper: Sweeper,
    closed: AtomicBool,
    writing: Mutex<Writing>,
    state: RwLock<State>,
}

impl Core {
    pub(crate) fn new(
        store: Store,
        rows: Keyspace,
        options: Options,
        owns_store: bool,
        loaded: Loaded,
    ) -> Core {
        let feed = Feed::new(options.queue_len, options.history_bytes, loaded.last_seq);
        Core {
            store,
            rows,
            owns_store,
            damaged: loaded.damaged,
            sweeper: Sweeper::new(),
            closed: AtomicBool::new(false),
            writing: Mutex::new(Writing {
                next_row: loaded.next_row,
            }),
            state: RwLock::new(State {
                index: loaded.index,
                kept: HashMap::new(),
                snapshots: BTreeMap::new(),
                feed,
                last_seq: loaded.last_seq,
            }),
            options,
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::closed()),
            false => Ok(()),
        }
    }

    /// True for the first caller.
    pub(crate) fn mark_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    /// The store's time in microseconds; it steps by milliseconds and never backwards.
    pub(crate) fn now_us(&self) -> u64 {
        self.store.now_ms().saturating_mul(1_000)
    }

    /// The right to change something, of a peerstore that is open.
    pub(crate) fn writing(&self) -> Result<MutexGuard<'_, Writing>> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        Ok(writing)
    }

    /// Waits for the change under way.
    pub(crate) fn wait_for_writer(&self) {
        drop(self.writing.lock().unwrap_or_else(PoisonError::into_inner));
    }

    // A panic under the lock would be a broken index; every change is made of steps that cannot.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a walk that starts now sees.
    pub(crate) fn view(&self, seq: u64) -> View {
        View {
            seq,
            hide_before_us: match self.options.hide_expired {
                true => self.now_us(),
                false => 0,
            },
        }
    }

    /// The records of hits, one for each. The caller holds the snapshot that they were found in, and
    /// no lock; none is held while rows are read.
    pub(crate) fn load_all(&self, hits: &[Hit]) -> Vec<Result<Record>> {
        let row_of = |hit: &Hit| self.rows.get(codec::row_key(hit.row));
        let mut rows: Vec<_> = hits.iter().map(row_of).collect();
        // A row that was gone or written over when it was read was kept before that, and stays
        // kept as long as the caller's snapshot: so this look behind the reading finds it.
        let mut kept = Vec::new();
        {
            let state = self.read();
            if !state.kept.is_empty() {
                let of = |hit: &Hit| state.kept.get(&hit.seq).cloned();
                kept = hits.iter().map(of).collect();
            }
        }
        for ((row, hit), kept) in rows.iter_mut().zip(hits).zip(kept) {
            match kept {
                None => {}
                Some(Kept::Row(as_it_was)) => *row = as_it_was,
                Some(Kept::In(snapshot)) => {
                    *row = snapshot.get(&self.rows, codec::row_key(hit.row));
                }
            }
        }
        let read = |(row, hit)| record_of(row, hit);
        rows.into_iter().zip(hits).map(read).collect()
    }
}

/// The record of a hit, from its row.
fn record_of(row: peercask::Result<Option<Value>>, hit: &Hit) -> Result<Record> {
    let row = row?.ok_or_else(|| {
        let what = format!(
            "row {} is not in the store, and the index names it",
            hit.row
        );
        Error::new(ErrorKind::Corrupted, what)
    })?;
    let head = codec::decode(&row)?;
    if head.peer != hit.peer || *head.key != *hit.key || *head.subsystem != *hit.subsystem {
        let what = format!("row {} holds another record than the index says", hit.row);
        return Err(Error::new(ErrorKind::Corrupted, what));
    }
    let value_at = head.value_at;
    Ok(Record {
        subsystem: hit.subsystem.clone(),
        peer: hit.peer,
        key: hit.key.clone(),
        value: codec::value_of(row, value_at),
        expiry_us: hit.expiry_us,
    })
}

impl State {
    /// A snapshot of now, held until it is released.
    pub(crate) fn hold_snapshot(&mut self) -> u64 {
        *self.snapshots.entry(self.last_seq).or_default() += 1;
        self.last_seq
    }

    /// What was kept for it and for no other, to be dropped without the lock.
    pub(crate) fn release_snapshot(&mut self, seq: u64) -> Vec<Kept> {
        if let Some(holders) = self.snapshots.get_mut(&seq) {
            *holders -= 1;
            if *holders == 0 {
                self.snapshots.remove(&seq);
            }
        }
        let oldest = self.snapshots.keys().next().copied();
        let kept = &mut self.kept;
        let mut gone = Vec::new();
        self.index
            .bury(oldest, |seq| gone.extend(kept.remove(&seq)));
        gone
    }
}

/// What was found in the store at open.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    pub(crate) next_row: u64,
    pub(crate) last_seq: u64,
    pub(crate) damaged: Vec<String>,
}

impl Loaded {
    /// Reads every row, and builds the index of them.
    pub(crate) fn from(store: &Store, rows: &Keyspace) -> Result<Loaded> {
        let mut loaded = Loaded {
            index: Index::new(),
            next_row: 1,
            last_seq: store.stats().last_seq,
            damaged: Vec::new(),
        };
        let mut records = Vec::new();
        for entry in rows.walk() {
            let entry = match entry {
                Ok(entry) => entry,
                // Damage costs the record that it hit.
                Err(error) if error.kind() == peercask::ErrorKind::Corrupted => {
                    loaded.damaged.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match loaded.read(&entry) {
                Ok(record) => records.push(record),
                Err(error) if error.kind() == ErrorKind::Corrupted => {
                    loaded.damaged.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        loaded.index = Index::of(records);
        Ok(loaded)
    }

    fn read(&mut self, entry: &peercask::Entry) -> Result<(Hit, usize)> {
        let row = codec::row_of(&entry.key).ok_or_else(|| {
            let what = "a row of the peerstore has a key that is no row number";
            Error::new(ErrorKind::Corrupted, what)
        })?;
        let head = codec::decode(&entry.value)?;
        let hit = Hit {
            seq: entry.seq.0,
            row,
            expiry_us: head.expiry_us,
            subsystem: head.subsystem.into(),
            peer: head.peer,
            key: head.key.into(),
        };
        self.next_row = self.next_row.max(row.saturating_add(1));
        self.last_seq = self.last_seq.max(entry.seq.0);
        Ok((hit, entry.value.len() - head.value_at))
    }
}
