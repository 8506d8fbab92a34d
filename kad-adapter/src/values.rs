//! Value records: get, put, remove, retain. A put is in the kernel's hands before it answers.

use std::collections::HashSet;

use libp2p_identity::PeerId;
use libp2p_kad::store::Error as StoreError;
use libp2p_kad::{Record, RecordKey};
use peercask::{Durability, Write};

use crate::codec::{Life, Stored};
use crate::index::slab::{Entry, SlotState};
use crate::shared::{Now, Shared, Spot, State, Which};
use crate::stats::Refusal;
use crate::time::{Anchor, second_after};

/// A slot with its kind.
pub(crate) type Held = (Which, u32);

/// Where a value was and where it goes.
struct Move {
    to: Which,
    old: Option<Held>,
}

impl Shared {
    pub(crate) fn get(&self, key: &RecordKey) -> Option<Record> {
        if self.is_closed() {
            return None;
        }
        let spot = Spot::of(key.as_ref());
        let (held, anchor) = {
            let state = self.lock();
            (find_value(&state, spot)?, state.anchor)
        };
        self.read_value(held, key, &anchor)
            .filter(|record| !self.options.strict_expiry || !self.is_over(record.expires))
    }

    /// The value record in a slot, if it is the one of `key`.
    pub(crate) fn read_value(
        &self,
        held: Held,
        key: &RecordKey,
        anchor: &Anchor,
    ) -> Option<Record> {
        let record = self.read_any_value(held, anchor)?;
        (record.key == *key).then_some(record)
    }

    /// The value record in a slot, whatever its key.
    pub(crate) fn read_any_value(&self, (which, slot): Held, anchor: &Anchor) -> Option<Record> {
        let bytes = self.read(which, slot)?;
        let decoded = Stored::decode(&bytes).and_then(|stored| {
            let publisher = stored.peer_id().ok()?;
            Some(Record {
                key: RecordKey::new(&stored.key),
                value: stored.body.to_vec(),
                publisher,
                expires: stored
                    .life
                    .map(|life| anchor.instant_of(self.deadline_ns(life))),
            })
        });
        if decoded.is_none() {
            self.quarantine(which, slot);
        }
        decoded
    }

    pub(crate) fn put(&self, record: &Record) -> Result<(), StoreError> {
        self.check_value(record)?;
        let spot = Spot::of(record.key.as_ref());
        let now = self.now();
        let Some(mut state) = self.lock_for_write(now) else {
            self.refuse(Refusal::Closed);
            return Err(StoreError::MaxRecords);
        };
        let own = record.publisher == Some(self.local);
        let to = if own { Which::OwnValues } else { Which::Values };
        let old = find_value(&state, spot);
        let life = self.life(&state.anchor, record.expires, now);
        if !own && self.is_disk_full() {
            self.refuse(Refusal::Disk);
            return Err(StoreError::MaxRecords);
        }
        if old.is_none() && !self.has_value_room(&mut state, to, now) {
            self.refuse(Refusal::Records);
            return Err(StoreError::MaxRecords);
        }
        if own && self.is_same_value(old, record, life) {
            return Ok(());
        }
        let written = self.write_value(&mut state, Move { to, old }, spot, record, life);
        match written {
            Ok(slot) => {
                if let Some(due) = &mut state.table_mut(to).due {
                    due.set_unconfirmed(slot, self.settling_s(now));
                }
                let counter = match old {
                    Some(_) => &self.counters.refreshed,
                    None => &self.counters.added,
                };
                counter.add(1);
                Ok(())
            }
            Err(error) => {
                self.counters.note_error(&error, now.ms);
                self.refuse(Refusal::Failed);
                Err(StoreError::MaxRecords)
            }
        }
    }

    pub(crate) fn remove(&self, key: &RecordKey) {
        if self.is_closed() {
            self.refuse(Refusal::Closed);
            return;
        }
        let spot = Spot::of(key.as_ref());
        let now = self.now();
        let Some(mut state) = self.lock_to_change() else {
            self.refuse(Refusal::Closed);
            return;
        };
        if let Some((which, slot)) = find_value(&state, spot) {
            self.remove_now(&mut state, which, slot, now);
            self.counters.removed.add(1);
        }
    }

    /// Keeps what the predicate says, and the changes that it made.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&RecordKey, &mut Record) -> bool) {
        let mut moved = HashSet::new();
        for which in [Which::Values, Which::OwnValues] {
            let mut from = Some(0);
            while let Some(start) = from {
                let (slots, next) = self.value_slots(which, start);
                for slot in slots {
                    self.retain_one((which, slot), &mut moved, &mut keep);
                }
                from = next;
            }
        }
    }

    // ---- within

    fn check_value(&self, record: &Record) -> Result<(), StoreError> {
        let limits = &self.options.limits;
        let refuse = |reason, error| {
            self.refuse(reason);
            Err(error)
        };
        if self.is_closed() {
            return refuse(Refusal::Closed, StoreError::MaxRecords);
        }
        if record.value.len() >= limits.value_bytes_max {
            return refuse(Refusal::ValueTooLarge, StoreError::ValueTooLarge);
        }
        if record.key.as_ref().len() > limits.key_bytes_max {
            return refuse(Refusal::KeyTooLong, StoreError::ValueTooLarge);
        }
        Ok(())
    }

    /// Whether a new key fits, after an expired one made room if need be.
    fn has_value_room(&self, state: &mut State, to: Which, now: Now) -> bool {
        let max = if to.is_own() {
            self.options.limits.own_records_max
        } else {
            self.options.limits.foreign_records_max
        };
        self.evict_until(state, to, now, |state| state.table(to).len() < max)
    }

    /// Whether an own record is stored already as it is: publishing again writes nothing.
    fn is_same_value(&self, old: Option<Held>, record: &Record, life: Option<Life>) -> bool {
        let Some((Which::OwnValues, slot)) = old else {
            return false;
        };
        let Some(bytes) = self
            .space(Which::OwnValues.place(slot))
            .get(slot.to_le_bytes())
            .ok()
        else {
            return false;
        };
        bytes
            .as_deref()
            .and_then(Stored::decode)
            .is_some_and(|stored| {
                stored.body == record.value
                    && stored.key == record.key.as_ref()
                    && stored.life.map(|life| life.deadline_unix_ns)
                        == life.map(|life| life.deadline_unix_ns)
            })
    }

    /// Writes the record to its slot, and takes the one of the other kind away with it.
    fn write_value(
        &self,
        state: &mut State,
        Move { to, old }: Move,
        spot: Spot,
        record: &Record,
        life: Option<Life>,
    ) -> peercask::Result<u32> {
        let publisher = record.publisher.map(PeerId::to_bytes);
        let stored = Stored {
            life,
            ordinal: 0,
            key: record.key.as_ref(),
            peer: publisher.as_deref(),
            body: &record.value,
        };
        let deadline_s = life.map_or(0, |life| second_after(life.deadline_unix_ns));
        if let Some((which, slot)) = old
            && which == to
        {
            self.write_now(to, slot, &stored)?;
            state.table_mut(to).set_deadline(slot, deadline_s);
            return Ok(slot);
        }
        let entry = Entry {
            prefix: spot.prefix,
            tag: spot.more,
            deadline_s,
            ordinal: 0,
        };
        let slot = state.table_mut(to).insert(entry);
        let slot = slot.expect("quotas are far below four billion slots");
        let written = match old {
            None => self.write_now(to, slot, &stored),
            Some(other) => self.write_moved(to, slot, &stored, other),
        };
        match written {
            Ok(()) => {
                if let Some((which, slot)) = old {
                    self.take_out(state, which, slot, SlotState::Free);
                }
                Ok(slot)
            }
            Err(error) => {
                self.take_out(state, to, slot, SlotState::Free);
                Err(error)
            }
        }
    }

    /// One record per key: the new one and the end of the other go together.
    fn write_moved(
        &self,
        to: Which,
        slot: u32,
        stored: &Stored<'_>,
        (which, other): Held,
    ) -> peercask::Result<()> {
        let bytes = stored.encode();
        let write = Write::new().expires_at_ms(self.engine_expiry_ms(stored.life));
        self.count_written(bytes.len());
        let mut batch = self.store.batch();
        batch.put_with(
            self.space(to.place(slot)),
            slot.to_le_bytes(),
            &bytes,
            write,
        );
        batch.delete(self.space(which.place(other)), other.to_le_bytes());
        batch.commit_with(Durability::Kernel)?.wait()?;
        self.counters.note_success();
        Ok(())
    }

    /// `moved`: records that a change took elsewhere, where they are not visited again.
    fn retain_one(
        &self,
        held: Held,
        moved: &mut HashSet<Spot>,
        keep: &mut impl FnMut(&RecordKey, &mut Record) -> bool,
    ) {
        let anchor = self.lock().anchor;
        let Some(before) = self.read_any_value(held, &anchor) else {
            return;
        };
        if moved.remove(&Spot::of(before.key.as_ref())) {
            return;
        }
        let mut record = before.clone();
        if !keep(&before.key, &mut record) {
            self.remove(&before.key);
        } else if record != before {
            // A failure is counted and shown by health; the record stays as it was.
            let was_put = self.put(&record).is_ok();
            let (was_own, is_own) = (held.0.is_own(), record.publisher == Some(self.local));
            let has_new_key = record.key != before.key;
            if was_put && (has_new_key || was_own != is_own) {
                moved.insert(Spot::of(record.key.as_ref()));
            }
            if was_put && has_new_key {
                self.remove(&before.key);
            }
        }
    }

    /// Some slots from a prefix on, and where to go on.
    fn value_slots(&self, which: Which, from: u64) -> (Vec<u32>, Option<u64>) {
        const SLICE_LEN: usize = 1_024;
        let state = self.lock();
        let mut slots = Vec::new();
        let mut last = None;
        for (prefix, slot) in state.table(which).at_prefix(from) {
            if slots.len() >= SLICE_LEN && last != Some(prefix) {
                return (slots, Some(prefix));
            }
            last = Some(prefix);
            slots.push(slot);
        }
        (slots, None)
    }

    pub(crate) fn is_over(&self, expires: Option<std::time::Instant>) -> bool {
        expires.is_some_and(|expires| self.options.time.instant() >= expires)
    }
}

pub(crate) fn find_value(state: &State, spot: Spot) -> Option<Held> {
    [Which::Values, Which::OwnValues]
        .into_iter()
        .find_map(|which| {
            let slot = state.table(which).find(spot.prefix, spot.more)?;
            Some((which, slot))
        })
}
