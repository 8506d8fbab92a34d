//! What this node has published and has to publish again: found by the time of the last
//! publishing, which is kept on disk, so that a restart goes on instead of starting over.

use std::time::Duration;

use libp2p_kad::{Record, RecordKey};

use crate::codec::Stored;
use crate::error::{Error, Result};
use crate::shared::{NEVER_MS, Now, Shared, Spot, State, Which};
use crate::time::seconds;

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Published {
    /// A value record whose publisher is this node.
    Value,
    /// That this node provides a key.
    Provide,
}

impl Published {
    fn table(self) -> Which {
        match self {
            Published::Value => Which::OwnValues,
            Published::Provide => Which::OwnProvides,
        }
    }

    fn tag(self, shared: &Shared, spot: Spot) -> u64 {
        match self {
            Published::Value => spot.more,
            Published::Provide => shared.local_tag,
        }
    }
}

/// An own record that has to be published again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueRecord {
    /// What it is.
    pub what: Published,
    /// Its key.
    pub key: RecordKey,
    /// Since when it is due, in seconds since the Unix epoch. What this opening of the store
    /// found without a publishing time is due since long ago.
    pub since_s: u32,
}

/// What has to be published again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Due {
    /// Those that wait longest, in the order of the keyspace: neighbours share their closest
    /// peers, so connections are used again.
    pub records: Vec<DueRecord>,
    /// How many are due in all.
    pub total: u64,
    /// How long the one that waits longest has been due.
    pub oldest: Option<Duration>,
}

impl Shared {
    /// The second from which the interval of a record counts that was added just now: kad
    /// publishes at once, so it is due only if nobody says so soon.
    pub(crate) fn settling_s(&self, now: Now) -> u32 {
        now.second
            .saturating_add(seconds(self.options.settle))
            .saturating_sub(seconds(self.options.republish_interval))
            .max(1)
    }

    pub(crate) fn due(&self, interval: Duration, max: usize) -> Result<Due> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let now = self.now();
        let interval_s = seconds(interval);
        let cutoff_s = now.second.saturating_sub(interval_s);
        let mut due = Due::default();
        let mut slots = Vec::new();
        {
            let state = self.lock();
            for what in [Published::Provide, Published::Value] {
                let Some(table) = &state.table(what.table()).due else {
                    continue;
                };
                due.total += table.count_until(cutoff_s);
                slots.extend(table.until(cutoff_s).take(max).map(|(second, slot)| {
                    let prefix = state.table(what.table()).entry(slot).prefix;
                    (second, prefix, what, slot)
                }));
            }
        }
        slots.sort_by_key(|(second, ..)| *second);
        slots.truncate(max);
        due.oldest = slots.first().map(|(second, ..)| {
            let over_s = now.second.saturating_sub(second.saturating_add(interval_s));
            Duration::from_secs(u64::from(over_s))
        });
        slots.sort_by_key(|(_, prefix, ..)| *prefix);
        for (second, _, what, slot) in slots {
            if let Some(key) = self.key_of(what.table(), slot) {
                due.records.push(DueRecord {
                    what,
                    key,
                    since_s: second.saturating_add(interval_s),
                });
            }
        }
        Ok(due)
    }

    /// Notes that a record was published now; false if there is none.
    pub(crate) fn mark_published(&self, what: Published, key: &RecordKey) -> Result<bool> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let spot = Spot::of(key.as_ref());
        let now = self.now();
        let mut state = self.lock_to_change().ok_or(Error::Closed)?;
        let which = what.table();
        let Some(slot) = state.table(which).find(spot.prefix, what.tag(self, spot)) else {
            return Ok(false);
        };
        set_published(&mut state, which, slot, now.second);
        // Lost in a crash, it is published once more: soft state.
        if let Some(place) = which.published_place(slot) {
            let note = encode_published(now.second, spot.prefix);
            state.pending.push(place, Some(note.into()), NEVER_MS);
            self.bell.ring();
        }
        Ok(true)
    }

    /// An own value record as it is stored, for publishing it again.
    pub(crate) fn own_value(&self, key: &RecordKey) -> Option<Record> {
        let spot = Spot::of(key.as_ref());
        let (slot, anchor) = {
            let state = self.lock();
            let slot = state.table(Which::OwnValues).find(spot.prefix, spot.more)?;
            (slot, state.anchor)
        };
        self.read_value((Which::OwnValues, slot), key, &anchor)
    }

    fn key_of(&self, which: Which, slot: u32) -> Option<RecordKey> {
        let bytes = self.read(which, slot)?;
        let Some(stored) = Stored::decode(&bytes) else {
            self.quarantine(which, slot);
            return None;
        };
        Some(RecordKey::new(&stored.key))
    }
}

pub(crate) fn set_published(state: &mut State, which: Which, slot: u32, second: u32) {
    if let Some(due) = &mut state.table_mut(which).due {
        due.set(slot, second);
    }
}

/// The second, and a part of the hash: slots are used again.
pub(crate) fn encode_published(second: u32, prefix: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&second.to_le_bytes());
    bytes[4..].copy_from_slice(&prefix.to_le_bytes());
    bytes
}

pub(crate) fn decode_published(bytes: &[u8]) -> Option<(u32, u64)> {
    let (second, prefix) = bytes.split_first_chunk::<4>()?;
    let prefix: [u8; 8] = prefix.try_into().ok()?;
    Some((u32::from_le_bytes(*second), u64::from_le_bytes(prefix)))
}
