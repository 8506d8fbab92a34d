//! Provider records: foreign ones wait in a bounded queue for the writer, the node's own are in
//! the kernel's hands before the call answers.

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_kad::store::Error as StoreError;
use libp2p_kad::{K_VALUE, ProviderRecord, RecordKey};

use crate::codec::{Life, Stored, decode_addresses, encode_addresses};
use crate::index::slab::{Entry, SlotState};
use crate::shared::{Now, Shared, Spot, State, Which, tag_of};
use crate::stats::Refusal;
use crate::time::{Anchor, second_after};

/// A provider record of a key on its way to the caller.
struct Candidate {
    ordinal: u32,
    which: Which,
    slot: u32,
    /// What waits for the writer; else it is on disk.
    waiting: Option<Box<[u8]>>,
}

impl Shared {
    pub(crate) fn add_provider(&self, record: &ProviderRecord) -> Result<(), StoreError> {
        if self.is_closed() {
            return self.refused(Refusal::Closed);
        }
        if record.key.as_ref().len() > self.options.limits.key_bytes_max {
            return self.refused(Refusal::KeyTooLong);
        }
        if record.provider == self.local {
            self.add_own(record)
        } else {
            self.add_foreign(record)
        }
    }

    pub(crate) fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        if self.is_closed() {
            return Vec::new();
        }
        let spot = Spot::of(key.as_ref());
        let (mut candidates, anchor) = {
            let state = self.lock();
            (candidates(&state, spot.prefix), state.anchor)
        };
        candidates.sort_unstable_by_key(|candidate| candidate.ordinal);
        self.bring_own_forward(&mut candidates);
        let found = candidates.into_iter().filter_map(|candidate| {
            self.read_provider(&candidate, &anchor)
                .filter(|record| record.key == *key)
        });
        if self.options.strict_expiry {
            found
                .filter(|record| !self.is_over(record.expires))
                .collect()
        } else {
            found.collect()
        }
    }

    /// Kad answers others with the first 20 alone: on a key that has more this node comes first, or
    /// nobody would learn from it that it provides the key. Others keep their order.
    fn bring_own_forward(&self, candidates: &mut [Candidate]) {
        let told = self.options.limits.providers_per_key_max.min(K_VALUE.get());
        if candidates.len() > told
            && let Some(at) = candidates.iter().position(|one| one.which.is_own())
        {
            candidates[..=at].rotate_right(1);
        }
    }

    pub(crate) fn remove_provider(&self, key: &RecordKey, provider: &PeerId) {
        if self.is_closed() {
            self.refuse(Refusal::Closed);
            return;
        }
        let spot = Spot::of(key.as_ref());
        let own = *provider == self.local;
        let tag = if own {
            self.local_tag
        } else {
            tag_of(&provider.to_bytes())
        };
        let which = if own {
            Which::OwnProvides
        } else {
            Which::Provides
        };
        let now = self.now();
        let Some(mut state) = self.lock_to_change() else {
            self.refuse(Refusal::Closed);
            return;
        };
        if let Some(slot) = state.table(which).find(spot.prefix, tag) {
            self.remove_now(&mut state, which, slot, now);
            self.counters.removed.add(1);
        }
        if !state.pending.is_empty() {
            self.bell.ring();
        }
    }

    /// The own provider record in a slot.
    pub(crate) fn read_own_provide(&self, slot: u32, anchor: &Anchor) -> Option<ProviderRecord> {
        let candidate = Candidate {
            ordinal: 0,
            which: Which::OwnProvides,
            slot,
            waiting: None,
        };
        self.read_provider(&candidate, anchor)
    }

    // ---- foreign

    fn add_foreign(&self, record: &ProviderRecord) -> Result<(), StoreError> {
        if self.is_disk_full() {
            return self.refused(Refusal::Disk);
        }
        let spot = Spot::of(record.key.as_ref());
        let peer = record.provider.to_bytes();
        let tag = tag_of(&peer);
        let now = self.now();
        let Some(mut state) = self.lock_for_write(now) else {
            return self.refused(Refusal::Closed);
        };
        if !state.pending.has_room(0) {
            return self.refused(Refusal::Queue);
        }
        let known = state.table(Which::Provides).find(spot.prefix, tag);
        if known.is_none() {
            match self.make_room(&mut state, spot, tag, now) {
                Ok(()) => {}
                // The key keeps those who came first, as `MemoryStore` does.
                Err(Refusal::KeyFull) => {
                    self.refuse(Refusal::KeyFull);
                    return Ok(());
                }
                Err(reason) => return self.refused(reason),
            }
        }
        let ordinal = match known {
            Some(slot) => state.table(Which::Provides).entry(slot).ordinal,
            None => next_ordinal(&state, spot.prefix),
        };
        let life = self.life(&state.anchor, record.expires, now);
        let stored = Stored {
            life,
            ordinal,
            key: record.key.as_ref(),
            peer: Some(&peer),
            body: &self.trimmed(&record.addresses),
        };
        let bytes = stored.encode();
        if !state.pending.has_room(bytes.len()) {
            return self.refused(Refusal::Queue);
        }
        let deadline_s = life.map_or(0, |life| second_after(life.deadline_unix_ns));
        let slot = self.place_foreign(&mut state, known, spot, tag, deadline_s, ordinal);
        self.count_written(bytes.len());
        let place = Which::Provides.place(slot);
        let expires_ms = self.engine_expiry_ms(life);
        let first = state.pending.is_empty();
        state.pending.push(place, Some(bytes.into()), expires_ms);
        drop(state);
        if first {
            self.bell.ring();
        }
        Ok(())
    }

    fn place_foreign(
        &self,
        state: &mut State,
        known: Option<u32>,
        spot: Spot,
        tag: u64,
        deadline_s: u32,
        ordinal: u32,
    ) -> u32 {
        if let Some(slot) = known {
            state
                .table_mut(Which::Provides)
                .set_deadline(slot, deadline_s);
            self.counters.refreshed.add(1);
            return slot;
        }
        self.counters.added.add(1);
        state.per_peer.add(tag);
        let entry = Entry {
            prefix: spot.prefix,
            tag,
            deadline_s,
            ordinal,
        };
        let slot = state.table_mut(Which::Provides).insert(entry);
        slot.expect("quotas are far below four billion slots")
    }

    /// Whether a new foreign record may come, after expired ones made room if need be. Costs the
    /// same whether the answer is yes or no.
    fn make_room(&self, state: &mut State, spot: Spot, tag: u64, now: Now) -> Result<(), Refusal> {
        let limits = &self.options.limits;
        let of_key = state.table(Which::Provides).of_key(spot.prefix).count();
        let keys_fit =
            |state: &State| state.table(Which::Provides).keys() < limits.foreign_keys_max;
        if of_key == 0 && !self.evict_until(state, Which::Provides, now, keys_fit) {
            return Err(Refusal::Keys);
        }
        if of_key >= limits.providers_per_key_max && !self.evict_of_key(state, spot.prefix, now) {
            return Err(Refusal::KeyFull);
        }
        let provider_fits =
            |state: &State| state.per_peer.of(tag) < limits.records_per_provider_max;
        if !self.evict_until(state, Which::Provides, now, provider_fits) {
            return Err(Refusal::Provider);
        }
        let all_fit =
            |state: &State| state.table(Which::Provides).len() < limits.foreign_provides_max;
        if !self.evict_until(state, Which::Provides, now, all_fit) {
            return Err(Refusal::Provides);
        }
        Ok(())
    }

    /// Takes the expired foreign providers of a full key out. False if there is none.
    fn evict_of_key(&self, state: &mut State, prefix: u64, now: Now) -> bool {
        let table = state.table(Which::Provides);
        let over = |slot: &u32| {
            let deadline_s = table.entry(*slot).deadline_s;
            deadline_s > 0 && deadline_s <= now.second
        };
        let slots: Vec<u32> = table.of_key(prefix).filter(over).collect();
        for slot in &slots {
            self.counters.evicted.add(1);
            self.remove_now(state, Which::Provides, *slot, now);
        }
        !slots.is_empty()
    }

    /// The addresses as stored, no more than the limits allow.
    fn trimmed(&self, addresses: &[Multiaddr]) -> Vec<u8> {
        let limits = &self.options.limits;
        let mut bytes = 0;
        let fit = addresses
            .iter()
            .take(limits.addresses_max)
            .take_while(|address| {
                bytes += address.len();
                bytes <= limits.address_bytes_max
            })
            .count();
        if fit < addresses.len() {
            self.counters.trimmed.add(1);
        }
        encode_addresses(&addresses[..fit])
    }

    // ---- own

    fn add_own(&self, record: &ProviderRecord) -> Result<(), StoreError> {
        let spot = Spot::of(record.key.as_ref());
        let now = self.now();
        let Some(mut state) = self.lock_for_write(now) else {
            return self.refused(Refusal::Closed);
        };
        let table = state.table(Which::OwnProvides);
        let known = table.find(spot.prefix, self.local_tag);
        let life = self.life(&state.anchor, record.expires, now);
        // An intent without an end is not given one by publishing it again.
        let endless = known.is_some_and(|slot| table.entry(slot).deadline_s == 0);
        let life = life.filter(|_| !endless);
        let ordinal = match known {
            Some(slot) => table.entry(slot).ordinal,
            None => next_ordinal(&state, spot.prefix),
        };
        let stored = Stored {
            life,
            ordinal,
            key: record.key.as_ref(),
            peer: Some(&self.local_bytes),
            body: &encode_addresses(&record.addresses),
        };
        if let Some(slot) = known
            && self.is_same_provide(slot, &stored)
        {
            return Ok(());
        }
        let slot = match self.place_own(&mut state, known, spot, life, ordinal, now) {
            Ok(slot) => slot,
            Err(reason) => return self.refused(reason),
        };
        if let Err(error) = self.write_now(Which::OwnProvides, slot, &stored) {
            if known.is_none() {
                self.take_out(&mut state, Which::OwnProvides, slot, SlotState::Free);
            }
            self.counters.note_error(&error, now.ms);
            return self.refused(Refusal::Failed);
        }
        let deadline_s = life.map_or(0, |life| second_after(life.deadline_unix_ns));
        state
            .table_mut(Which::OwnProvides)
            .set_deadline(slot, deadline_s);
        if known.is_none() {
            self.end_of_foreign_copy(&mut state, spot, now);
        }
        Ok(())
    }

    fn place_own(
        &self,
        state: &mut State,
        known: Option<u32>,
        spot: Spot,
        life: Option<Life>,
        ordinal: u32,
        now: Now,
    ) -> Result<u32, Refusal> {
        if let Some(slot) = known {
            self.counters.refreshed.add(1);
            return Ok(slot);
        }
        let max = self.options.limits.own_provides_max;
        let fits = |state: &State| state.table(Which::OwnProvides).len() < max;
        if !self.evict_until(state, Which::OwnProvides, now, fits) {
            return Err(Refusal::Keys);
        }
        let entry = Entry {
            prefix: spot.prefix,
            tag: self.local_tag,
            deadline_s: life.map_or(0, |life| second_after(life.deadline_unix_ns)),
            ordinal,
        };
        let settling_s = self.settling_s(now);
        let table = state.table_mut(Which::OwnProvides);
        let slot = table.insert(entry).ok_or(Refusal::Keys)?;
        if let Some(due) = &mut table.due {
            due.set_unconfirmed(slot, settling_s);
        }
        self.counters.added.add(1);
        Ok(slot)
    }

    /// Under another identity this node may have been told of itself by others.
    fn end_of_foreign_copy(&self, state: &mut State, spot: Spot, now: Now) {
        if let Some(slot) = state
            .table(Which::Provides)
            .find(spot.prefix, self.local_tag)
        {
            self.remove_now(state, Which::Provides, slot, now);
        }
    }

    /// Whether an own record is stored already as it is: publishing again writes nothing.
    fn is_same_provide(&self, slot: u32, stored: &Stored<'_>) -> bool {
        let space = self.space(Which::OwnProvides.place(slot));
        let Ok(Some(bytes)) = space.get(slot.to_le_bytes()) else {
            return false;
        };
        Stored::decode(&bytes).is_some_and(|known| {
            known.key == stored.key
                && known.body == stored.body
                && known.life.map(|life| life.deadline_unix_ns)
                    == stored.life.map(|life| life.deadline_unix_ns)
        })
    }

    // ---- both

    fn read_provider(&self, candidate: &Candidate, anchor: &Anchor) -> Option<ProviderRecord> {
        let decoded = match &candidate.waiting {
            Some(bytes) => self.decode_provider(bytes, anchor),
            None => {
                let bytes = self.read(candidate.which, candidate.slot)?;
                self.decode_provider(&bytes, anchor)
            }
        };
        if decoded.is_none() {
            self.quarantine(candidate.which, candidate.slot);
        }
        decoded
    }

    fn decode_provider(&self, bytes: &[u8], anchor: &Anchor) -> Option<ProviderRecord> {
        let stored = Stored::decode(bytes)?;
        Some(ProviderRecord {
            key: RecordKey::new(&stored.key),
            provider: stored.peer_id().ok()??,
            expires: stored
                .life
                .map(|life| anchor.instant_of(self.deadline_ns(life))),
            addresses: decode_addresses(stored.body)?,
        })
    }

    fn refused(&self, reason: Refusal) -> Result<(), StoreError> {
        self.refuse(reason);
        Err(StoreError::MaxProvidedKeys)
    }
}

/// All records of a key, own and foreign.
fn candidates(state: &State, prefix: u64) -> Vec<Candidate> {
    let mut found = Vec::new();
    for which in [Which::Provides, Which::OwnProvides] {
        for slot in state.table(which).of_key(prefix) {
            let waiting = state.pending.get(which.place(slot));
            found.push(Candidate {
                ordinal: state.table(which).entry(slot).ordinal,
                which,
                slot,
                waiting: waiting.flatten().map(Box::from),
            });
        }
    }
    found
}

/// Behind all providers that the key has.
fn next_ordinal(state: &State, prefix: u64) -> u32 {
    let last = [Which::Provides, Which::OwnProvides]
        .into_iter()
        .flat_map(|which| {
            let table = state.table(which);
            table.of_key(prefix).map(|slot| table.entry(slot).ordinal)
        })
        .max();
    last.map_or(0, |last| last.saturating_add(1))
}
