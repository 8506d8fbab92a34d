//! What the store and its handles share: the engine, the index behind one lock, the counters. The
//! lock is never held across a read of the disk, and across a write only by the caller whose own
//! record it is; the background thread holds it for slices of some hundred entries.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p_identity::PeerId;
use libp2p_kad::KBucketKey;
use peercask::{Durability, Keyspace, Store, Value, Write};

use crate::bell::Bell;
use crate::codec::{Life, Stored};
use crate::error::Result;
use crate::index::peers::PeerCounts;
use crate::index::slab::SlotState;
use crate::index::table::Table;
use crate::options::Options;
use crate::pending::{Pending, Place};
use crate::report::OpenReport;
use crate::stats::{Counters, Refusal};
use crate::time::{Anchor, ns_of, second_of_ms};

/// The engine keeps a record this long after the grace, so that it never goes before we say so.
const ENGINE_SLACK_MS: u64 = 60_000;
/// Keys whose expired records one call takes out at most to make room: what it costs stays bounded.
const EVICTED_KEYS_MAX: usize = 64;
/// The engine's word for never.
pub(crate) const NEVER_MS: u64 = u64::MAX;

/// The kinds of record; the numbers are places in `Shared::spaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Values = 0,
    OwnValues = 1,
    Provides = 2,
    OwnProvides = 3,
}

impl Which {
    pub(crate) const ALL: [Which; 4] = [
        Which::Values,
        Which::OwnValues,
        Which::Provides,
        Which::OwnProvides,
    ];

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn is_own(self) -> bool {
        matches!(self, Which::OwnValues | Which::OwnProvides)
    }

    pub(crate) fn place(self, slot: u32) -> Place {
        (self.number(), slot)
    }

    /// Where the publishing time of an own record is kept.
    pub(crate) fn published_place(self, slot: u32) -> Option<Place> {
        match self {
            Which::OwnValues => Some((4, slot)),
            Which::OwnProvides => Some((5, slot)),
            Which::Values | Which::Provides => None,
        }
    }
}

/// Where a key lies in the keyspace of Kademlia.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spot {
    /// The first eight bytes of its SHA-256.
    pub(crate) prefix: u64,
    /// The next eight.
    pub(crate) more: u64,
}

impl Spot {
    pub(crate) fn of(key: &[u8]) -> Spot {
        let hashed = KBucketKey::new(key);
        let (prefix, more) = halves(hashed.hashed_bytes());
        Spot { prefix, more }
    }
}

/// Tells the providers of a key apart.
pub(crate) fn tag_of(peer: &[u8]) -> u64 {
    halves(KBucketKey::new(peer).hashed_bytes()).0
}

fn halves(hash: &[u8]) -> (u64, u64) {
    let half = |at: usize| {
        let bytes = hash.get(at..at + 8).and_then(|part| part.try_into().ok());
        // The order of the keyspace is that of the bytes, so the first one counts most.
        bytes.map_or(0, |bytes: [u8; 8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        })
    };
    (half(0), half(8))
}

/// What changes, behind one lock.
pub(crate) struct State {
    pub(crate) tables: [Table; 4],
    pub(crate) pending: Pending,
    pub(crate) anchor: Anchor,
    pub(crate) per_peer: PeerCounts,
    /// Where the next window of `records()` and of `provided()` begins.
    pub(crate) cursors: [u64; 2],
}

impl State {
    pub(crate) fn table(&self, which: Which) -> &Table {
        &self.tables[usize::from(which.number())]
    }

    pub(crate) fn table_mut(&mut self, which: Which) -> &mut Table {
        &mut self.tables[usize::from(which.number())]
    }

    pub(crate) fn table_of(&mut self, place: Place) -> Option<&mut Table> {
        self.tables.get_mut(usize::from(place.0))
    }
}

/// The whole of it.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) local: PeerId,
    pub(crate) local_bytes: Vec<u8>,
    pub(crate) local_tag: u64,
    /// None if somebody else opened the engine: then nothing is kept beside it.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) store: Store,
    /// By `Which`, then the publishing times of own values and own provides.
    pub(crate) spaces: [Keyspace; 6],
    pub(crate) meta: Keyspace,
    pub(crate) session: u32,
    pub(crate) opened_ns: u64,
    pub(crate) report: OpenReport,
    pub(crate) counters: Counters,
    pub(crate) closed: AtomicBool,
    pub(crate) bell: Arc<Bell>,
    pub(crate) ended: Mutex<Option<Result<()>>>,
    /// Held by the one who hands pending writes to the engine: they keep their order.
    pub(crate) drain_turn: Mutex<()>,
    pub(crate) state: Mutex<State>,
}

/// Now, as the store believes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) ms: u64,
    pub(crate) second: u32,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves at worst a counter that is off by one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn space(&self, place: Place) -> &Keyspace {
        &self.spaces[usize::from(place.0)]
    }

    pub(crate) fn now(&self) -> Now {
        let ms = self.store.now_ms();
        Now {
            ms,
            second: second_of_ms(ms),
        }
    }

    /// The lock for a change of the index; `None` if the store was closed. Closing marks the end and
    /// then takes the lock once: from there on nobody changes what is being saved, and nobody
    /// waits for that.
    pub(crate) fn lock_to_change(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        (!self.is_closed()).then_some(state)
    }

    /// The same with the anchor brought up to date: for writes, whose deadlines go to disk.
    pub(crate) fn lock_for_write(&self, now: Now) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock_to_change()?;
        state.anchor.follow(now.ms, self.options.time.instant());
        Some(state)
    }

    // ---- deadlines

    /// The life that a deadline of libp2p grants, as it is stored.
    pub(crate) fn life(
        &self,
        anchor: &Anchor,
        expires: Option<std::time::Instant>,
        now: Now,
    ) -> Option<Life> {
        expires.map(|expires| {
            let deadline_unix_ns = anchor.unix_ns_of(expires);
            Life {
                deadline_unix_ns,
                granted_ns: deadline_unix_ns.saturating_sub(now.ms.saturating_mul(1_000_000)),
                session: self.session,
            }
        })
    }

    /// When a stored record is over: never later than its granted life after this opening, so
    /// that a clock that was set back does not make it live longer.
    pub(crate) fn deadline_ns(&self, life: Life) -> u64 {
        if life.session == self.session {
            return life.deadline_unix_ns;
        }
        let latest = self.opened_ns.saturating_add(life.granted_ns);
        life.deadline_unix_ns.min(latest)
    }

    /// Until when the engine has to keep a record.
    pub(crate) fn engine_expiry_ms(&self, life: Option<Life>) -> u64 {
        life.map_or(NEVER_MS, |life| {
            let grace_ms = ns_of(self.options.grace) / 1_000_000;
            let keep = life.deadline_unix_ns / 1_000_000;
            keep.saturating_add(grace_ms)
                .saturating_add(ENGINE_SLACK_MS)
                .min(NEVER_MS - 1)
        })
    }

    // ---- reading

    /// The stored bytes of a slot, from the engine. A failure is counted and shown by health.
    pub(crate) fn read(&self, which: Which, slot: u32) -> Option<Value> {
        match self.space(which.place(slot)).get(slot.to_le_bytes()) {
            Ok(Some(value)) => Some(value),
            Ok(None) => {
                self.lose(which, slot);
                None
            }
            Err(error) => {
                if error.kind() == peercask::ErrorKind::Corrupted {
                    self.counters.damaged.add(1);
                } else {
                    self.counters.io_errors.add(1);
                }
                self.counters.note(&error, self.store.now_ms());
                None
            }
        }
    }

    /// The index knew a record that the disk does not have: the index is wrong, the disk decides.
    fn lose(&self, which: Which, slot: u32) {
        let Some(mut state) = self.lock_to_change() else {
            return;
        };
        if !state.table(which).is_live(slot) || state.pending.get(which.place(slot)).is_some() {
            return;
        }
        // Once more under the lock: a write may have come in between.
        let there = self.space(which.place(slot)).contains(slot.to_le_bytes());
        if there.is_ok_and(|there| !there) {
            self.counters.lost.add(1);
            self.take_out(&mut state, which, slot, SlotState::Free);
        }
    }

    /// A record whose bytes say nothing: out of the index, and its slot is not used again.
    pub(crate) fn quarantine(&self, which: Which, slot: u32) {
        let Some(mut state) = self.lock_to_change() else {
            return;
        };
        if !state.table(which).is_live(slot) {
            return;
        }
        self.counters.undecodable.add(1);
        let what = format!(
            "the bytes of record {slot} in keyspace '{}' say nothing; they are kept",
            self.space(which.place(slot)).name()
        );
        self.counters.note(&what, self.store.now_ms());
        self.take_out(&mut state, which, slot, SlotState::Quarantined);
    }

    // ---- writing

    /// Writes a record so that it survives the process, and only then answers.
    pub(crate) fn write_now(
        &self,
        which: Which,
        slot: u32,
        stored: &Stored<'_>,
    ) -> peercask::Result<()> {
        let bytes = stored.encode();
        let write = Write::new()
            .durability(Durability::Kernel)
            .expires_at_ms(self.engine_expiry_ms(stored.life));
        self.count_written(bytes.len());
        let space = self.space(which.place(slot));
        space.put_with(slot.to_le_bytes(), &bytes, write)?.wait()?;
        self.counters.note_success();
        Ok(())
    }

    /// Takes a record out of index and engine; durable as a removal has to be unless the record
    /// itself is not yet, or is over anyway.
    pub(crate) fn remove_now(&self, state: &mut State, which: Which, slot: u32, now: Now) {
        let place = which.place(slot);
        let deadline_s = state.table(which).entry(slot).deadline_s;
        let over = deadline_s > 0 && deadline_s <= now.second;
        if state.pending.is_in_flight(place) {
            // Behind the write that is on its way. Both are younger than the stated window.
            state.pending.push(place, None, NEVER_MS);
            self.take_out(state, which, slot, SlotState::Leaving);
            return;
        }
        state.pending.forget(place);
        if over {
            // The engine lets it go by itself, and it is not looked at when the store opens.
            self.take_out(state, which, slot, SlotState::Free);
            return;
        }
        let key = slot.to_le_bytes();
        match self.space(place).delete_with(key, Durability::Kernel) {
            Ok((_, commit)) => {
                // Handed to the kernel already: there is nothing to wait for.
                drop(commit);
                self.take_out(state, which, slot, SlotState::Free);
            }
            Err(error) => {
                // Tried again by the background until it succeeds.
                self.counters.note_error(&error, now.ms);
                state.pending.push(place, None, NEVER_MS);
                self.take_out(state, which, slot, SlotState::Leaving);
            }
        }
    }

    /// Takes a record out of the index, with what hangs on it.
    pub(crate) fn take_out(&self, state: &mut State, which: Which, slot: u32, next: SlotState) {
        let published = state.table(which).due.as_ref().and_then(|due| due.of(slot));
        let entry = state.table_mut(which).remove(slot, next);
        if which == Which::Provides {
            state.per_peer.remove(entry.tag);
        }
        if let Some(place) = which.published_place(slot)
            && published.is_some()
        {
            state.pending.push(place, None, NEVER_MS);
            self.bell.ring();
        }
    }

    /// Takes expired records out, those first that expired first, until there is room under a
    /// quota: one may be of a key that lives on, or of a provider that is not over its share. False
    /// if there is no room after so many keys, or nothing more has expired.
    pub(crate) fn evict_until(
        &self,
        state: &mut State,
        which: Which,
        now: Now,
        has_room: impl Fn(&State) -> bool,
    ) -> bool {
        for _ in 0..EVICTED_KEYS_MAX {
            if has_room(state) {
                return true;
            }
            if !self.evict_expired(state, which, now) {
                return false;
            }
        }
        has_room(state)
    }

    /// Takes out the record that expired first, with all expired ones of its key. False if nothing
    /// has expired.
    fn evict_expired(&self, state: &mut State, which: Which, now: Now) -> bool {
        let Some((deadline_s, first)) = state.table(which).first_deadline() else {
            return false;
        };
        if deadline_s > now.second {
            return false;
        }
        let table = state.table(which);
        let prefix = table.entry(first).prefix;
        let over = |slot: &u32| {
            let deadline_s = table.entry(*slot).deadline_s;
            deadline_s > 0 && deadline_s <= now.second
        };
        let slots: Vec<u32> = table.of_key(prefix).filter(over).collect();
        for slot in slots {
            self.counters.evicted.add(1);
            self.remove_now(state, which, slot, now);
        }
        true
    }

    /// Whether the files are as large as they may be for foreign records.
    pub(crate) fn is_disk_full(&self) -> bool {
        let Some(max) = self.options.limits.disk_bytes_max else {
            return false;
        };
        let used = self.counters.disk_bytes.get() + self.counters.written_since.get();
        used.saturating_add(self.disk_margin()) >= max
    }

    /// What merge may need besides: one output and the segment being filled.
    fn disk_margin(&self) -> u64 {
        self.options
            .limits
            .disk_bytes_max
            .map_or(0, |max| 2 * crate::open::segment_bytes(max))
    }

    pub(crate) fn count_written(&self, len: usize) {
        // Framing and hint come to less than this.
        self.counters.written_since.add(len as u64 + 64);
    }

    pub(crate) fn refuse(&self, reason: Refusal) {
        self.counters.refuse(reason);
    }
}
