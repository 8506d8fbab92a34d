//! What a store may hold after a crash, as a built-in workload goes on: the states of its content
//! from the last acknowledged one on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::sim::mix;

/// Keyspace and key.
pub(super) type Place = (u8, u8);
/// Values as they are found.
pub(super) type Content = BTreeMap<Place, Vec<u8>>;
/// Values as they were written, with the moment of expiry.
pub(super) type Written = BTreeMap<Place, (Arc<[u8]>, u64)>;

/// The states that are allowed now. A copy of it goes with every crash.
#[derive(Clone, Default)]
pub(super) struct History {
    /// From the last acknowledged state to the present one; never empty.
    states: Vec<Arc<Written>>,
    /// States with a write that failed: a crash soon after may leave it whole all the same.
    failed: Vec<Arc<Written>>,
    /// While a keyspace is dropped: the states without it.
    dropping: Vec<Arc<Written>>,
    /// What a checkpoint may hold.
    copies: Vec<Arc<Written>>,
    /// One was made: it is there.
    copied: bool,
    /// From this state on all reached the kernel, which outlives the process.
    in_kernel: usize,
    /// Changes with every change: tells histories apart.
    pub(super) key: u64,
}

impl History {
    pub(super) fn new() -> History {
        History {
            states: vec![Arc::default()],
            ..History::default()
        }
    }

    pub(super) fn now(&self) -> Written {
        self.states
            .last()
            .map(|state| Written::clone(state))
            .unwrap_or_default()
    }

    /// From here on the store may hold `state`.
    pub(super) fn begin(&mut self, state: Written) {
        self.touch(state.len() as u64);
        self.states.push(Arc::new(state));
    }

    /// The last write was refused: the store goes on without it, a crash may keep it.
    pub(super) fn refuse(&mut self) {
        self.touch(1 << 32);
        if self.states.len() > 1 {
            self.failed.extend(self.states.pop());
        }
    }

    /// All up to the present outlives the process.
    pub(super) fn reach_kernel(&mut self) {
        self.touch(5 << 32);
        self.in_kernel = self.states.len() - 1;
    }

    /// All up to the present is durable.
    pub(super) fn acknowledge(&mut self) {
        self.touch(2 << 32);
        self.in_kernel = 0;
        let present = self.states.len() - 1;
        self.states.drain(..present);
        self.failed.clear();
    }

    /// A keyspace is being dropped: whatever is found may be with it or without it.
    pub(super) fn begin_drop(&mut self, space: u8) {
        self.touch(3 << 32);
        let without = |state: &Arc<Written>| {
            let kept = state.iter().filter(|((of, _), _)| *of != space);
            Arc::new(kept.map(|(k, v)| (*k, v.clone())).collect())
        };
        self.dropping = self
            .states
            .iter()
            .chain(&self.failed)
            .map(without)
            .collect();
    }

    /// It was dropped, durably, or it was not. Weaker writes before it stay weak.
    pub(super) fn end_drop(&mut self, dropped: bool) {
        self.touch(4 << 32);
        let mut without = std::mem::take(&mut self.dropping);
        if dropped {
            self.failed = without.split_off(self.states.len());
            self.states = without;
        } else {
            // It may be found dropped nevertheless.
            self.failed.append(&mut without);
        }
    }

    /// A checkpoint is being made.
    pub(super) fn begin_copy(&mut self) {
        self.touch(6 << 32);
        self.copies.extend(self.states.last().cloned());
    }

    /// It was made.
    pub(super) fn end_copy(&mut self) {
        self.touch(7 << 32);
        let older = self.copies.len().saturating_sub(1);
        self.copies.drain(..older);
        self.copied = true;
    }

    pub(super) fn has_copy(&self) -> bool {
        self.copied
    }

    /// Whether a checkpoint may hold `found`; `None` is no checkpoint, or an unfinished one.
    pub(super) fn allows_copy(&self, found: Option<&Content>, now_ms: u64) -> bool {
        match found {
            None => !self.copied,
            Some(found) => self.copies.iter().any(|state| is(state, found, now_ms)),
        }
    }

    /// Whether `found` is allowed at `now_ms`; `killed` says that only the process died.
    pub(super) fn allows(&self, found: &Content, now_ms: u64, killed: bool) -> bool {
        self.all(killed).any(|state| is(state, found, now_ms))
    }

    /// Keys and the numbers of their values, for each allowed state.
    pub(super) fn told(&self, now_ms: u64, killed: bool) -> Vec<String> {
        let visible = |state: &Arc<Written>| {
            let live = state.iter().filter(|(_, (_, expiry))| *expiry > now_ms);
            tell(live.map(|(place, (value, _))| (*place, &**value)))
        };
        self.all(killed).map(visible).collect()
    }

    fn all(&self, killed: bool) -> impl Iterator<Item = &Arc<Written>> {
        let lost = if killed { self.in_kernel } else { 0 };
        let states = self.states.iter().skip(lost);
        states.chain(&self.failed).chain(&self.dropping)
    }

    fn touch(&mut self, with: u64) {
        self.key = mix(&[self.key, with]);
    }
}

fn is(state: &Written, found: &Content, now_ms: u64) -> bool {
    let mut live = state.iter().filter(|(_, (_, expiry))| *expiry > now_ms);
    let mut found = found.iter();
    loop {
        match (live.next(), found.next()) {
            (None, None) => return true,
            (Some((place, (value, _))), Some((at, is))) if place == at && **value == **is => {}
            _ => return false,
        }
    }
}

/// Places and which write each value is of.
pub(super) fn tell<'a>(content: impl Iterator<Item = (Place, &'a [u8])>) -> String {
    let mut text = String::from("{");
    for ((space, key), value) in content {
        let number = value
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first));
        let comma = if text.len() > 1 { ", " } else { "" };
        text.push_str(&format!("{comma}{space}.{key}: write {number}"));
    }
    text + "}"
}
