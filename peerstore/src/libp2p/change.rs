//! The way of a change: take the turn, edit, write one batch, publish, tell. Nothing is known that is not
//! written, except what may wait; nothing is told that is not as safe as was asked for.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::cache::Unwritten;
use super::core::{Core, ShardState, keys_key, lock, profile_key, reach_key};
use super::counters::Counters;
use super::datastore::Batch;
use super::directory::Known;
use super::editor::{Gone, Outcome, PeerEditor, Written};
use super::error::{Error, ErrorKind, Result};
use super::event::{Event, EventKind, PeerRemovalReason};
use super::peer::Peer;
use super::peer_data::PeerData;
use super::reach::Reach;
use super::recent::Place;
use super::stored_keys::StoredKeys;

/// The turns that a thread holds, by the number of the shard.
pub(crate) type Turns<'a> = Vec<(usize, MutexGuard<'a, ()>)>;

/// A change that is ready to be written.
struct Prepared {
    peer: Peer,
    outcome: Outcome,
}

impl Core {
    /// One change of one peer, whole or not at all. The closure runs under the turn of the peer's
    /// shard and must not call the store.
    pub(crate) fn update<T>(
        &self,
        peer: &Peer,
        change: impl FnOnce(&mut PeerEditor<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut answer = None;
        self.update_many(&[*peer], |editors| {
            if let [editor] = editors {
                answer = Some(change(editor)?);
            }
            Ok(())
        })?;
        answer.ok_or_else(|| Error::corrupted("a change of one peer had no peer"))
    }

    /// One change of several peers, whole or not at all.
    pub(crate) fn update_many<T>(
        &self,
        peers: &[Peer],
        change: impl FnOnce(&mut [PeerEditor<'_>]) -> Result<T>,
    ) -> Result<T> {
        self.check_writable()?;
        let limited = self.options.peers_max > 0;
        let may_grow = peers.iter().any(|peer| self.known(peer).is_none());
        let _admission = (limited && (may_grow || peers.len() > 1)).then(|| lock(&self.admission));
        let mut numbers: Vec<usize> = peers
            .iter()
            .map(|peer| Core::shard_number(self.hash(peer)))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut turns: Turns<'_> = Vec::new();
        for number in numbers {
            turns.push((number, self.shard(number).turn()));
        }
        self.check_open()?;
        let mut editors = peers
            .iter()
            .map(|peer| PeerEditor::begin(self, peer))
            .collect::<Result<Vec<_>>>()?;
        let answer = change(&mut editors)?;
        self.apply(editors, &mut turns)?;
        Ok(answer)
    }

    /// Writes what editors made of their peers, as one batch. The caller holds the turns.
    pub(crate) fn apply<'a>(
        &'a self,
        editors: Vec<PeerEditor<'_>>,
        turns: &mut Turns<'a>,
    ) -> Result<()> {
        let mut prepared = Vec::with_capacity(editors.len());
        for editor in editors {
            let peer = editor.peer;
            let outcome = self.harden(&peer, editor.finish()?);
            prepared.push(Prepared { peer, outcome });
        }
        if self.options.peers_max > 0 {
            let room = self.make_room(&mut prepared, turns);
            if let Err(error) = room {
                self.stay(&prepared);
                return Err(error);
            }
        }
        let mut batch = Batch::new();
        for Prepared { peer, outcome } in &prepared {
            add_to(&mut batch, peer, outcome);
        }
        if !batch.is_empty() {
            self.counters.writes.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.commit(batch) {
                prepared
                    .iter()
                    .for_each(|prepared| self.doubt(&prepared.peer));
                self.stay(&prepared);
                return Err(error);
            }
        }
        let mut events = Vec::new();
        // Who goes for a newcomer goes first: nobody ever counts one too many.
        prepared.sort_by_key(|prepared| !matches!(prepared.outcome, Outcome::Remove(..)));
        for Prepared { peer, outcome } in prepared {
            self.publish(&peer, outcome, &mut events);
        }
        self.feed.tell(&events);
        Ok(())
    }

    /// Adds the removal of those who go for newcomers, in the same batch. The caller holds the
    /// admission if there are newcomers.
    fn make_room<'a>(&'a self, prepared: &mut Vec<Prepared>, turns: &mut Turns<'a>) -> Result<()> {
        let is_new = |prepared: &&Prepared| match &prepared.outcome {
            Outcome::Write(written) => written.before.is_none(),
            _ => false,
        };
        let new = prepared.iter().filter(is_new).count() as u64;
        if new == 0 {
            return Ok(());
        }
        let (mut looked_at, count) = (Vec::new(), self.count_peers().saturating_add(new));
        let over = count.saturating_sub(self.options.peers_max);
        let found = self.find_who_goes(over, prepared, turns, &mut looked_at);
        // Who was looked at and stays is one of those that may go next time.
        for (peer, reach) in looked_at {
            self.line_up_again(&peer, &reach);
        }
        found
    }

    /// Notes so many peers as going, and those that it took out of the line beside them.
    fn find_who_goes<'a>(
        &'a self,
        count: u64,
        prepared: &mut Vec<Prepared>,
        turns: &mut Turns<'a>,
        looked_at: &mut Vec<(Peer, Reach)>,
    ) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let Some(place) = lock(&self.recent).take_first(self.now_ms()) else {
                let max = self.options.peers_max;
                let what = format!("{max} peers are known, the limit, and all are protected");
                return Err(Error::new(ErrorKind::TooManyPeers, what));
            };
            let number = place.shard();
            if !turns.iter().any(|(held, _)| *held == number) {
                // Others who hold more than one turn wait for the admission before.
                turns.push((number, self.shard(number).turn()));
            }
            let Some(victim) = self.shard(number).read().directory.peer(place.slot()) else {
                continue;
            };
            let mut editor = match PeerEditor::begin(self, &victim) {
                Ok(editor) => editor,
                Err(error) => {
                    // Unreadable just now: the last that is looked at next time.
                    let updated_ms = self.now_ms();
                    looked_at.push((
                        victim,
                        Reach {
                            updated_ms,
                            ..Reach::default()
                        },
                    ));
                    return Err(error);
                }
            };
            let changes = prepared.iter().any(|prepared| prepared.peer == victim);
            if changes || !editor.is_known() || self.is_protected(&victim, &editor.reach) {
                looked_at.push((victim, editor.reach));
                continue;
            }
            let before = editor.reach.clone();
            editor.forget = Some(PeerRemovalReason::Evicted);
            match editor.finish() {
                Ok(outcome) => prepared.push(Prepared {
                    peer: victim,
                    outcome,
                }),
                Err(error) => {
                    looked_at.push((victim, before));
                    return Err(error);
                }
            }
            left -= 1;
        }
        Ok(())
    }

    /// Who was to go for a newcomer that did not come is one of many again.
    fn stay(&self, prepared: &[Prepared]) {
        if self.options.peers_max == 0 {
            return;
        }
        for Prepared { peer, outcome } in prepared {
            if let Outcome::Remove(PeerRemovalReason::Evicted, gone) = outcome {
                self.line_up_again(peer, &gone.before);
            }
        }
    }

    fn line_up_again(&self, peer: &Peer, reach: &Reach) {
        let hash = self.hash(peer);
        let number = Core::shard_number(hash);
        let state = self.shard(number).read();
        if let Some(slot) = state.directory.find(hash, peer) {
            self.line_up(Place::new(number, slot), peer, reach);
        }
    }

    /// A refresh that finds no room to wait is written at once.
    fn harden(&self, peer: &Peer, outcome: Outcome) -> Outcome {
        let Outcome::Soft { reach, unwritten } = outcome else {
            return outcome;
        };
        let state = self.shard(Core::shard_number(self.hash(peer))).read();
        if state.cache.has_room_for(&reach) {
            return Outcome::Soft { reach, unwritten };
        }
        Outcome::Write(Box::new(Written {
            before: Some(unwritten.stored),
            reach,
            profile: None,
            keys: None,
            added: Vec::new(),
            removed: Vec::new(),
            changed: super::event::Changed::default(),
            aside: Vec::new(),
            same_profile: None,
        }))
    }

    /// After a write that failed, what is in the store is looked up again.
    pub(crate) fn doubt(&self, peer: &Peer) {
        let hash = self.hash(peer);
        let mut state = self.shard(Core::shard_number(hash)).write();
        if let Some(number) = state.directory.find(hash, peer)
            && state
                .cache
                .get(number)
                .is_some_and(|(_, unwritten)| unwritten.is_none())
        {
            state.cache.remove(number);
        }
    }

    fn publish(&self, peer: &Peer, outcome: Outcome, events: &mut Vec<Event>) {
        let hash = self.hash(peer);
        let shard = self.shard(Core::shard_number(hash));
        match outcome {
            Outcome::Nothing => {
                self.counters.writes_spared.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Soft { reach, unwritten } => {
                self.counters.writes_spared.fetch_add(1, Ordering::Relaxed);
                self.note(&mut shard.write(), hash, peer, reach, Some(unwritten));
            }
            Outcome::Write(written) => {
                let mut state = shard.write();
                let number = self.note(&mut state, hash, peer, written.reach.clone(), None);
                if let Some((before, now)) = &written.profile {
                    let mut protocols = lock(&self.protocols);
                    for gone in before.protocols.difference(&now.protocols) {
                        if let Some(protocol) = protocols.of(gone) {
                            state.speaks_no_more(number, protocol);
                        }
                    }
                    for new in now.protocols.difference(&before.protocols) {
                        if let Some(protocol) = protocols.of(new) {
                            state.speaks(number, protocol);
                        }
                    }
                }
                drop(state);
                self.count_change(written.before.as_deref(), Some(&written.reach));
                written
                    .removed
                    .iter()
                    .for_each(|(_, reason)| self.counters.removed(*reason));
                if self.feed.has_listeners() {
                    self.events_of(peer, &written, events);
                }
            }
            Outcome::Remove(reason, gone) => self.publish_removal(peer, reason, &gone, events),
        }
    }

    fn publish_removal(
        &self,
        peer: &Peer,
        reason: PeerRemovalReason,
        gone: &Gone,
        events: &mut Vec<Event>,
    ) {
        let hash = self.hash(peer);
        let mut state = self.shard(Core::shard_number(hash)).write();
        if let Some(number) = state.directory.find(hash, peer) {
            let mut protocols = lock(&self.protocols);
            for name in &gone.protocols {
                if let Some(protocol) = protocols.of(name) {
                    state.speaks_no_more(number, protocol);
                }
            }
            state.cache.remove(number);
            state.directory.remove(hash, number);
            // Before anybody else gets the place.
            if self.options.peers_max > 0 {
                let shard = Core::shard_number(hash);
                lock(&self.recent).remove(Place::new(shard, number));
            }
        }
        drop(state);
        self.count_change(Some(&gone.before), None);
        gone.removed
            .iter()
            .for_each(|(_, reason)| self.counters.removed(*reason));
        match reason {
            PeerRemovalReason::Evicted => &self.counters.peers_evicted,
            PeerRemovalReason::Expired => &self.counters.peers_expired,
            PeerRemovalReason::Deleted => &self.counters.deleted,
        }
        .fetch_add(
            u64::from(reason != PeerRemovalReason::Deleted),
            Ordering::Relaxed,
        );
        if !self.feed.has_listeners() {
            return;
        }
        let own = self.is_own(peer);
        let told = |kind: EventKind| Event {
            peer: *peer,
            own,
            kind,
        };
        // Addresses that were not parsed, because nobody listened then, are not told now.
        let removed = gone.removed.iter().filter(|(addr, _)| !addr.is_empty());
        for (addr, reason) in removed {
            let addr = addr.clone();
            events.push(told(EventKind::AddressRemoved {
                addr,
                reason: *reason,
            }));
        }
        events.push(told(EventKind::PeerRemoved(reason)));
    }

    /// Puts what is known now into the shard.
    pub(crate) fn note(
        &self,
        state: &mut ShardState,
        hash: u64,
        peer: &Peer,
        reach: Arc<Reach>,
        unwritten: Option<Unwritten>,
    ) -> u32 {
        let found = state.directory.find(hash, peer);
        let number = found.unwrap_or_else(|| {
            let hasher = |peer: &Peer| self.hash(peer);
            state.directory.insert(hash, peer, hasher)
        });
        state.directory.set(number, self.known_of(peer, &reach));
        if self.options.peers_max > 0 {
            self.line_up(Place::new(Core::shard_number(hash), number), peer, &reach);
        }
        state.cache.put(number, reach, unwritten);
        number
    }

    /// What the directory keeps of it.
    pub(crate) fn known_of(&self, peer: &Peer, reach: &Reach) -> Known {
        Known {
            due_ms: self.due_ms(peer, reach),
            latest_expiry_ms: reach.latest_expiry_ms(),
            has_public_key: reach.has_public_key,
            has_private_key: reach.has_private_key,
            has_envelope: reach.has_envelope,
            has_profile: reach.profile_version != 0,
            is_connected: reach.is_connected(),
            plain_addresses: match self.is_own(peer) {
                true => 0,
                false => reach.plain_addresses(),
            },
        }
    }

    /// Moves the counters of all peers.
    pub(crate) fn count_change(&self, before: Option<&Reach>, now: Option<&Reach>) {
        let of = |reach: Option<&Reach>, chosen: fn(&super::address::Address) -> bool| {
            let addresses = reach.map_or(&[][..], |reach| &reach.addresses);
            addresses.iter().filter(|address| chosen(address)).count()
        };
        let counters = &self.counters;
        let known = |reach: Option<&Reach>| usize::from(reach.is_some());
        Counters::shift(&counters.peers, known(before), known(now));
        let envelope = |reach: Option<&Reach>| usize::from(reach.is_some_and(|r| r.has_envelope));
        Counters::shift(&counters.envelopes, envelope(before), envelope(now));
        for (counter, chosen) in [
            (
                &counters.addresses,
                (|_| true) as fn(&super::address::Address) -> bool,
            ),
            (&counters.pinned, |address| address.is_pinned()),
            (&counters.certified, |address| address.certified),
        ] {
            Counters::shift(counter, of(before, chosen), of(now, chosen));
        }
    }

    fn events_of(&self, peer: &Peer, written: &Written, events: &mut Vec<Event>) {
        let own = self.is_own(peer);
        let told = |kind: EventKind| Event {
            peer: *peer,
            own,
            kind,
        };
        if written.before.is_none() {
            events.push(told(EventKind::PeerAdded));
        }
        for (addr, reason) in written.removed.iter().filter(|(addr, _)| !addr.is_empty()) {
            let addr = addr.clone();
            events.push(told(EventKind::AddressRemoved {
                addr,
                reason: *reason,
            }));
        }
        let added = written.added.iter().cloned();
        events.extend(added.map(|address| told(EventKind::AddressAdded(address))));
        let Some(before) = written.before.as_deref().filter(|_| self.feed.is_watched()) else {
            return;
        };
        if !written.changed.any() {
            return;
        }
        let same = written.same_profile.clone().unwrap_or_default();
        let (old_profile, new_profile) = match &written.profile {
            Some((old, new)) => (old, new),
            None => (&same, &same),
        };
        // Keys that did not change are not read for an event.
        let none = StoredKeys::default();
        let (old_keys, new_keys) = match &written.keys {
            Some((old, new)) => (old, new),
            None => (&none, &none),
        };
        let now_ms = self.now_ms();
        let data = |reach: &Reach, profile, keys| {
            let mut data = PeerData::of(
                peer,
                reach,
                profile,
                keys,
                now_ms,
                self.options.address_order,
            );
            data.has_private_key = reach.has_private_key;
            Arc::new(data)
        };
        events.push(told(EventKind::PeerUpdated {
            changed: written.changed,
            previous: data(before, old_profile, old_keys),
            current: data(&written.reach, new_profile, new_keys),
        }));
    }

    /// Writes refreshes that wait, of one shard. The caller holds no lock.
    pub(crate) fn write_unwritten(
        &self,
        number: usize,
        only: impl Fn(&Unwritten, &Reach) -> bool,
    ) -> Result<u64> {
        let shard = self.shard(number);
        let _turn = shard.turn();
        let waiting: Vec<(Peer, Arc<Reach>)> = {
            let state = shard.read();
            let numbers = state.cache.unwritten_before(u64::MAX);
            let found = numbers.into_iter().filter_map(|number| {
                let peer = state.directory.peer(number)?;
                let (reach, unwritten) = state.cache.get(number)?;
                only(&unwritten?, &reach).then_some((peer, reach))
            });
            found.collect()
        };
        if waiting.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::new();
        for (peer, reach) in &waiting {
            batch.put(reach_key(peer), reach.encode());
        }
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.commit(batch)?;
        let mut state = shard.write();
        for (peer, reach) in &waiting {
            self.note(&mut state, self.hash(peer), peer, reach.clone(), None);
        }
        Ok(waiting.len() as u64)
    }
}

fn add_to(batch: &mut Batch, peer: &Peer, outcome: &Outcome) {
    match outcome {
        Outcome::Nothing | Outcome::Soft { .. } => {}
        Outcome::Write(written) => {
            for (key, bytes) in &written.aside {
                batch.put([b"q", key.as_slice()].concat(), bytes.clone());
            }
            if let Some((_, profile)) = &written.profile {
                match profile.is_empty() {
                    true => batch.delete(profile_key(peer)),
                    false => batch.put(profile_key(peer), profile.encode()),
                }
            }
            if let Some((_, keys)) = &written.keys {
                match keys.is_empty() {
                    true => batch.delete(keys_key(peer)),
                    false => batch.put(keys_key(peer), keys.encode()),
                }
            }
            batch.put(reach_key(peer), written.reach.encode());
        }
        Outcome::Remove(_, gone) => {
            batch.delete(reach_key(peer));
            if gone.before.profile_version != 0 {
                batch.delete(profile_key(peer));
            }
            if gone.before.keys_version != 0 {
                batch.delete(keys_key(peer));
            }
        }
    }
}
