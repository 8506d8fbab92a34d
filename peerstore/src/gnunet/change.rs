//! The way of a change: look at what goes, keep what snapshots and readers under way may need, one
//! batch to the store, publish, tell. A change is whole or absent, in the store by its batch and
//! in memory by the state's lock.
//!
//! It knows rows and seqs; what a call means is said in `peerstore.rs`.

use peercask::{Commit, Snapshot, Write};

use super::codec;
use super::core::{Core, Kept, State, Writing};
use super::error::{Error, ErrorKind, Result};
use super::event::{Cause, Event};
use super::index::Hit;
use super::options::{Acknowledge, Quota, QuotaRule, StoreOption};
use super::record::{NAME_LEN_MAX, Record, WIRE_BYTES_MAX};

/// Records swept in one step: few enough that no store waits for long.
const SWEEP_STEP: usize = 1_024;
/// Rows that go are read if they are no more than this, and kept in the store beneath if they are.
const READ_ROWS_MAX: usize = 32;
const READ_BYTES_MAX: usize = 64 << 10;

/// A record that goes, and why it is told; a replaced one is told by what replaces it.
struct Removal {
    hit: Hit,
    cause: Option<Cause>,
}

/// A change that is published; waiting for the commit makes it as durable as asked.
pub(crate) struct Applied {
    pub(crate) seq: u64,
    pub(crate) commit: Option<Commit>,
}

impl Core {
    /// Checks a record against the limits of the mode.
    pub(crate) fn check_record(&self, record: &Record) -> Result<()> {
        let too_large = |what: String| Err(Error::new(ErrorKind::TooLarge, what));
        let names = [("subsystem", &record.subsystem), ("key", &record.key)];
        for (name, bytes) in names {
            if self.options.compatible && bytes.contains(&0) {
                let what = format!("the {name} holds a NUL, which upstream's strings cannot");
                return Err(Error::new(ErrorKind::InvalidRecord, what));
            }
        }
        let len = record.wire_bytes();
        if self.options.compatible && len > WIRE_BYTES_MAX {
            return too_large(format!(
                "subsystem, key and value take {len} bytes of a message, {WIRE_BYTES_MAX} is the \
                 limit of the compatible mode"
            ));
        }
        for (name, bytes) in names {
            if bytes.len() > NAME_LEN_MAX {
                let what = format!(
                    "a {name} of {} bytes is over the limit of {NAME_LEN_MAX} bytes",
                    bytes.len()
                );
                return Err(Error::new(ErrorKind::InvalidRecord, what));
            }
        }
        let (len, max) = (record.value.len(), self.options.value_len_max);
        if !self.options.compatible && len > max {
            return too_large(format!(
                "a value of {len} bytes is over the limit of {max} bytes"
            ));
        }
        Ok(())
    }

    /// Stores a record.
    pub(crate) fn store_record(
        &self,
        record: &Record,
        option: StoreOption,
        acknowledge: Acknowledge,
    ) -> Result<Applied> {
        self.check_record(record)?;
        let mut writing = self.writing()?;
        self.store_locked(&mut writing, record, option, acknowledge)
    }

    /// Stores a record in place of those under its triple, unless one of them expires later.
    pub(crate) fn store_newest(
        &self,
        record: &Record,
        acknowledge: Acknowledge,
    ) -> Result<Option<Applied>> {
        self.check_record(record)?;
        let mut writing = self.writing()?;
        let later = {
            let state = self.read();
            let stored = state.index.all_of(&record.triple());
            let expiry = |seq| state.index.living(seq).map(|hit| hit.expiry_us);
            stored
                .into_iter()
                .filter_map(expiry)
                .any(|expiry_us| expiry_us > record.expiry_us)
        };
        if later {
            return Ok(None);
        }
        self.store_locked(&mut writing, record, StoreOption::Replace, acknowledge)
            .map(Some)
    }

    /// Removes what `choose` finds, all in one step; how many that were.
    pub(crate) fn remove_chosen(
        &self,
        acknowledge: Acknowledge,
        choose: impl FnOnce(&State) -> Vec<u64>,
    ) -> Result<(u64, Option<Applied>)> {
        let mut writing = self.writing()?;
        let removals = {
            let state = self.read();
            removals_of(&state, choose(&state), Some(Cause::Deleted))
        };
        if removals.is_empty() {
            return Ok((0, None));
        }
        let count = u64::try_from(removals.len()).unwrap_or(u64::MAX);
        let applied = self.apply(&mut writing, removals, None, acknowledge)?;
        Ok((count, Some(applied)))
    }

    /// Removes what expired before `now_us`, in steps between which others get their turn.
    pub(crate) fn sweep(&self, now_us: u64) -> Result<u64> {
        let mut count = 0;
        loop {
            let mut writing = self.writing()?;
            let removals = {
                let state = self.read();
                let seqs = state.index.expired(now_us, SWEEP_STEP);
                removals_of(&state, seqs, Some(Cause::Expired))
            };
            let swept = removals.len();
            count += u64::try_from(swept).unwrap_or(u64::MAX);
            if swept > 0 {
                // Lost with a crash it is done again at the next open.
                self.apply(&mut writing, removals, None, Acknowledge::Accepted)?;
            }
            if swept < SWEEP_STEP {
                return Ok(count);
            }
        }
    }

    // ---- within

    fn store_locked(
        &self,
        writing: &mut Writing,
        record: &Record,
        option: StoreOption,
        acknowledge: Acknowledge,
    ) -> Result<Applied> {
        let removals = {
            let state = self.read();
            let mut removals = match option {
                StoreOption::Multiple => Vec::new(),
                StoreOption::Replace => {
                    removals_of(&state, state.index.all_of(&record.triple()), None)
                }
            };
            if let Some(quota) = self.options.quota_of(&record.subsystem) {
                make_room(&state, &quota, record, self.now_us(), &mut removals)?;
            }
            removals
        };
        self.apply(writing, removals, Some(record), acknowledge)
    }

    /// One change: in the store, then in memory, then told. The caller holds `writing`.
    fn apply(
        &self,
        writing: &mut Writing,
        removals: Vec<Removal>,
        record: Option<&Record>,
        acknowledge: Acknowledge,
    ) -> Result<Applied> {
        // The row of the first replaced record is written over: the common REPLACE is then one
        // record in the log, without a tombstone.
        let over = removals.iter().find(|removal| removal.cause.is_none());
        let row = over.map_or(writing.next_row, |removal| removal.hit.row);
        // Dropped behind the lock: it may be the last hold on a great many rows.
        let _kept = self.keep(&removals)?;
        let committed = self.commit(&removals, record.map(|record| (row, record)), acknowledge);
        let mut state = self.write();
        let commit = match committed {
            Ok(commit) => commit,
            Err(error) => {
                for removal in &removals {
                    state.kept.remove(&removal.hit.seq);
                }
                return Err(error);
            }
        };
        if record.is_some() && row == writing.next_row {
            writing.next_row += 1;
        }
        let seq = commit.seq().0;
        state.publish(&removals, record, row, seq);
        drop(state);
        Ok(Applied {
            seq,
            commit: Some(commit),
        })
    }

    /// Keeps the rows that go, for readers that find them in the index until the change is
    /// published, and for snapshots afterwards. Few small ones are read. Many or large ones are left
    /// where they are, in a snapshot of the store, so that a delete reads nothing.
    fn keep(&self, removals: &[Removal]) -> Result<Option<Snapshot>> {
        if removals.is_empty() {
            return Ok(None);
        }
        let is_small = removals.len() <= READ_ROWS_MAX && {
            let state = self.read();
            let len = |removal: &Removal| state.index.value_len(removal.hit.seq);
            removals.iter().map(len).sum::<usize>() <= READ_BYTES_MAX
        };
        if is_small {
            let read = |removal: &Removal| {
                let row = self.rows.get(codec::row_key(removal.hit.row));
                (removal.hit.seq, Kept::Row(row))
            };
            let kept: Vec<_> = removals.iter().map(read).collect();
            self.write().kept.extend(kept);
            return Ok(None);
        }
        let snapshot = self.store.snapshot()?;
        let kept = |removal: &Removal| (removal.hit.seq, Kept::In(snapshot.clone()));
        self.write().kept.extend(removals.iter().map(kept));
        Ok(Some(snapshot))
    }

    fn commit(
        &self,
        removals: &[Removal],
        record: Option<(u64, &Record)>,
        acknowledge: Acknowledge,
    ) -> Result<Commit> {
        if let (Some((row, record)), 0 | 1) = (record, removals.len())
            && removals.iter().all(|removal| removal.hit.row == row)
        {
            let write = Write::new().durability(acknowledge.into());
            let (key, value) = (codec::row_key(row), codec::encode(record));
            return Ok(self.rows.put_with(key, value, write)?);
        }
        let mut batch = self.store.batch();
        let over = record.map(|(row, _)| row);
        for removal in removals
            .iter()
            .filter(|removal| Some(removal.hit.row) != over)
        {
            batch.delete(&self.rows, codec::row_key(removal.hit.row));
        }
        // The record comes last: the batch's seq is its own.
        if let Some((row, record)) = record {
            batch.put(&self.rows, codec::row_key(row), codec::encode(record));
        }
        Ok(batch.commit_with(acknowledge.into())?)
    }
}

impl State {
    fn publish(&mut self, removals: &[Removal], record: Option<&Record>, row: u64, seq: u64) {
        let keep = !self.snapshots.is_empty();
        let told = removals
            .iter()
            .filter(|removal| removal.cause.is_some())
            .count();
        // The tombstones of a batch have the seqs before its last; each removal is told under one
        // of them, rising, so that a monitor can come back behind any of them.
        let behind = told - usize::from(record.is_none() && told > 0);
        let mut removal_seq = seq - u64::try_from(behind).unwrap_or(0);
        for removal in removals {
            self.index.remove(removal.hit.seq, seq, keep);
            if !keep {
                self.kept.remove(&removal.hit.seq);
            }
            if let Some(cause) = removal.cause {
                self.feed.tell(Event::Removed {
                    seq: removal_seq,
                    of: removal.hit.seq,
                    subsystem: removal.hit.subsystem.clone(),
                    peer: removal.hit.peer,
                    key: removal.hit.key.clone(),
                    cause,
                });
                removal_seq += 1;
            }
        }
        if let Some(record) = record {
            let hit = Hit {
                seq,
                row,
                expiry_us: record.expiry_us,
                subsystem: record.subsystem.clone(),
                peer: record.peer,
                key: record.key.clone(),
            };
            self.index.insert(&hit, record.value.len());
            self.feed.tell(Event::Stored {
                seq,
                record: record.clone(),
                replaces: removals.iter().any(|removal| removal.cause.is_none()),
            });
        }
        self.last_seq = seq;
    }
}

fn removals_of(state: &State, seqs: Vec<u64>, cause: Option<Cause>) -> Vec<Removal> {
    let living = seqs.into_iter().filter_map(|seq| state.index.living(seq));
    living.map(|hit| Removal { hit, cause }).collect()
}

/// Makes room for a record under its subsystem's quota: what has expired goes first, in whichever
/// mode; then the oldest, or the record is refused.
fn make_room(
    state: &State,
    quota: &Quota,
    record: &Record,
    now_us: u64,
    removals: &mut Vec<Removal>,
) -> Result<()> {
    let count = state.index.count_of(&record.subsystem);
    let mut records = count.records + 1;
    let mut bytes = count.bytes + record.payload_bytes();
    for removal in removals.iter() {
        records -= 1;
        bytes -= state.index.payload_of(removal.hit.seq);
    }
    let over = |records: u64, bytes: u64| records > quota.records_max || bytes > quota.bytes_max;
    let alone = over(1, record.payload_bytes());
    let mut going: std::collections::HashSet<u64> =
        removals.iter().map(|removal| removal.hit.seq).collect();
    let expired = state.index.expired_of(&record.subsystem, now_us);
    let oldest = state.index.oldest_of(&record.subsystem);
    let oldest = oldest.take_while(|_| quota.rule == QuotaRule::EvictOldest);
    let expired = expired.map(|seq| (seq, Cause::Expired));
    let mut next = expired.chain(oldest.map(|seq| (seq, Cause::Evicted)));
    while !alone && over(records, bytes) {
        let Some((seq, cause)) = next.find(|(seq, _)| going.insert(*seq)) else {
            break;
        };
        records -= 1;
        bytes -= state.index.payload_of(seq);
        removals.extend(removals_of(state, vec![seq], Some(cause)));
    }
    if over(records, bytes) {
        return Err(Error::new(
            ErrorKind::QuotaExceeded,
            format!(
                "subsystem `{}` may keep {} records and {} bytes, and would have {records} and {bytes}",
                record.subsystem.escape_ascii(),
                quota.records_max,
                quota.bytes_max
            ),
        ));
    }
    Ok(())
}
