//! Removing what has expired: by an index of what is due, in slices of one batch each, while readers and
//! writers go on. Also what protects a peer, and when something is due about it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::change::Turns;
use super::core::{Core, Shard, lock, reach_key};
use super::counters::Counters;
use super::datastore::Batch;
use super::directory::Known;
use super::editor::PeerEditor;
use super::error::{ErrorKind, Result};
use super::event::{Event, EventKind, PeerRemovalReason};
use super::options::GcMode;
use super::peer::Peer;
use super::reach::{Reach, Skimmed};
use super::recent::Place;

/// How many records one slice removes at the most: one batch, and one turn of their shard.
const SLICE_RECORDS_MAX: usize = 256;
/// How long one slice gathers what it removes: another writer of the shard waits no longer.
const SLICE_TIME_MAX: Duration = Duration::from_millis(2);
/// When a peer is looked at again that could not be put right.
const LOOK_AGAIN_MS: u64 = 60_000;

/// What a removal of what had expired did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Addresses that were removed.
    pub addresses: u64,
    /// Peers that were removed.
    pub peers: u64,
    /// Batches that were written.
    pub slices: u64,
}

impl Core {
    /// What keeps a peer from being evicted and from being forgotten for its age, now.
    pub(crate) fn is_protected(&self, peer: &Peer, reach: &Reach) -> bool {
        reach.keep_alive_until_ms > self.now_ms() || self.is_protected_for_ever(peer, reach)
    }

    /// Puts a peer where it belongs among those that may go at the limit of peers. The caller holds the state of
    /// its shard.
    pub(crate) fn line_up(&self, place: Place, peer: &Peer, reach: &Reach) {
        let mut recent = lock(&self.recent);
        match self.is_protected_for_ever(peer, reach) {
            true => recent.remove(place),
            false => recent.set(place, reach.updated_ms, reach.keep_alive_until_ms),
        }
    }

    fn is_protected_for_ever(&self, peer: &Peer, reach: &Reach) -> bool {
        reach.has_private_key
            || reach.keep_alive_until_ms == u64::MAX
            || reach
                .addresses
                .iter()
                .any(super::address::Address::is_pinned)
            || self.is_own(peer)
    }

    /// When a peer without addresses is too old; `None` for never.
    fn too_old_at_ms(&self, peer: &Peer, reach: &Reach) -> Option<u64> {
        let age_max = self.options.peer_age_max_ms()?;
        let stays = reach.is_kept || self.is_protected_for_ever(peer, reach);
        if !reach.addresses.is_empty() || stays {
            return None;
        }
        let too_old = reach.updated_ms.saturating_add(age_max);
        Some(too_old.max(reach.keep_alive_until_ms).min(u64::MAX - 1))
    }

    /// When something has to be done about a peer; the greatest number for never.
    pub(crate) fn due_ms(&self, peer: &Peer, reach: &Reach) -> u64 {
        let expiries = reach.addresses.iter().map(|address| address.expiry_ms);
        let grace = Some(reach.grace_until_ms).filter(|until| *until != 0);
        let all = expiries.chain(grace).chain(self.too_old_at_ms(peer, reach));
        all.min().unwrap_or(u64::MAX)
    }

    /// Removes everything that is due, slice by slice.
    pub(crate) fn gc(&self) -> Result<GcReport> {
        self.check_writable()?;
        let indexed = matches!(self.options.gc, GcMode::Incremental(_) | GcMode::Manual);
        if !indexed {
            self.look_ahead(self.now_ms());
        }
        let report = self.gc_indexed();
        if !indexed {
            self.look_ahead(0);
        }
        report
    }

    /// Fills the index of what is due with all that is, up to a moment.
    pub(crate) fn look_ahead(&self, horizon_ms: u64) {
        for shard in self.shards() {
            shard.write().directory.look_ahead(horizon_ms);
        }
    }

    /// Removes what is due of what the index holds.
    pub(crate) fn gc_indexed(&self) -> Result<GcReport> {
        self.counters.gc_runs.fetch_add(1, Ordering::Relaxed);
        let (expired, gone) = (&self.counters.expired, &self.counters.peers_expired);
        let before = (
            expired.load(Ordering::Relaxed),
            gone.load(Ordering::Relaxed),
        );
        let mut report = GcReport::default();
        for number in 0..self.shards().len() {
            while self.gc_slice(number)? {
                report.slices += 1;
                self.check_open()?;
            }
        }
        report.addresses = expired.load(Ordering::Relaxed).saturating_sub(before.0);
        report.peers = gone.load(Ordering::Relaxed).saturating_sub(before.1);
        Ok(report)
    }

    /// One slice of one shard; false if nothing was due.
    fn gc_slice(&self, number: usize) -> Result<bool> {
        let shard = self.shard(number);
        let now_ms = self.now_ms();
        let mut turns: Turns<'_> = vec![(number, shard.turn())];
        self.check_open()?;
        let (mut due, plain) = self.due(shard, now_ms);
        if !plain.is_empty() {
            // The others are for the next slice.
            self.remove_plain(shard, &plain)?;
            return Ok(true);
        }
        if due.is_empty() {
            return Ok(false);
        }
        let started = Instant::now();
        let mut editors = Vec::with_capacity(due.len());
        let (mut taken, mut records) = (0, 0);
        for peer in &due {
            records += 1 + self.more_records(peer);
            let full = records > SLICE_RECORDS_MAX || started.elapsed() >= SLICE_TIME_MAX;
            if taken > 0 && full {
                break;
            }
            taken += 1;
            match self.expired(peer) {
                Ok(editor) => editors.push(editor),
                Err(error) if error.kind() == ErrorKind::Corrupted => {
                    tracing::warn!(%peer, %error, "a peer cannot be read, and is left alone");
                }
                Err(error) => return Err(error),
            }
        }
        // The rest is for the next slice.
        due.truncate(taken);
        self.apply(editors, &mut turns)?;
        // What did not move on, because there was nothing to write or to read, is put off.
        let mut state = shard.write();
        for peer in &due {
            let Some(place) = state.directory.find(self.hash(peer), peer) else {
                continue;
            };
            let known = state.directory.known(place);
            if known.due_ms <= now_ms {
                let due_ms = match state.cache.get(place) {
                    Some((reach, _)) => self.due_ms(peer, &reach),
                    None => 0,
                };
                let due_ms = due_ms.max(now_ms.saturating_add(LOOK_AGAIN_MS));
                state.directory.set(place, Known { due_ms, ..known });
            }
        }
        Ok(true)
    }

    /// Peers of a shard that are due; and of those whose whole removal needs no look at what is stored, with
    /// how many addresses each has.
    fn due(&self, shard: &Shard, now_ms: u64) -> (Vec<Peer>, Vec<(Peer, u8)>) {
        let state = shard.read();
        let due = state.directory.due(now_ms, SLICE_RECORDS_MAX);
        // Who listens is told of each address.
        let told = self.feed.has_listeners();
        let plain = due.iter().filter_map(|(place, peer)| {
            let known = state.directory.known(*place);
            let gone = known.latest_expiry_ms <= now_ms && !told;
            (gone && known.plain_addresses > 0).then_some((*peer, known.plain_addresses))
        });
        let plain = plain.collect();
        (due.into_iter().map(|(_, peer)| peer).collect(), plain)
    }

    /// Removes peers of which nothing is known but addresses that have expired. The caller holds the turn.
    fn remove_plain(&self, shard: &Shard, peers: &[(Peer, u8)]) -> Result<()> {
        let mut batch = Batch::new();
        for (peer, _) in peers {
            batch.delete(reach_key(peer));
        }
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.commit(batch) {
            peers.iter().for_each(|(peer, _)| self.doubt(peer));
            return Err(error);
        }
        let mut state = shard.write();
        for (peer, _) in peers {
            let hash = self.hash(peer);
            if let Some(place) = state.directory.find(hash, peer) {
                state.cache.remove(place);
                state.directory.remove(hash, place);
                // Before anybody else gets the place.
                if self.options.peers_max > 0 {
                    let shard = Core::shard_number(hash);
                    lock(&self.recent).remove(Place::new(shard, place));
                }
            }
        }
        drop(state);
        let addresses = peers
            .iter()
            .map(|(_, addresses)| usize::from(*addresses))
            .sum();
        Counters::shift(&self.counters.peers, peers.len(), 0);
        Counters::shift(&self.counters.addresses, addresses, 0);
        Counters::shift(&self.counters.expired, 0, addresses);
        Counters::shift(&self.counters.peers_expired, 0, peers.len());
        if self.feed.has_listeners() {
            let told = |(peer, _): &(Peer, u8)| Event {
                peer: *peer,
                own: false,
                kind: EventKind::PeerRemoved(PeerRemovalReason::Expired),
            };
            self.feed.tell(&peers.iter().map(told).collect::<Vec<_>>());
        }
        Ok(())
    }

    /// How many records a peer has beside its addresses, from memory.
    fn more_records(&self, peer: &Peer) -> usize {
        self.known(peer).map_or(0, |known| {
            usize::from(known.has_profile)
                + usize::from(known.has_public_key || known.has_private_key)
        })
    }

    /// The change that a peer which is due needs. The caller holds its turn.
    fn expired(&self, peer: &Peer) -> Result<PeerEditor<'_>> {
        let read = |now_ms| self.reach_to_expire(peer, now_ms);
        let mut editor = PeerEditor::begin_with(self, peer, read)?;
        editor.touches = false;
        editor.hard = true;
        let grace_ms = editor.reach.grace_until_ms;
        if grace_ms != 0 && grace_ms <= editor.now_ms {
            editor.reach.grace_until_ms = 0;
            let protected = self.is_protected(peer, &editor.reach);
            if !protected {
                editor.remove_peer()?;
            }
        }
        let too_old = self.too_old_at_ms(peer, &editor.reach);
        if too_old.is_some_and(|at_ms| at_ms <= editor.now_ms) && editor.is_known() {
            editor.forget = Some(PeerRemovalReason::Expired);
        }
        Ok(editor)
    }

    /// How a peer is reached, for what removes it: if no address lives and nobody is told of each, they
    /// are not worth parsing.
    fn reach_to_expire(&self, peer: &Peer, now_ms: u64) -> Result<Option<Reach>> {
        self.noted(self.read_as(&reach_key(peer), |bytes| {
            let skimmed = Skimmed::read(bytes)?.reach;
            let lives = skimmed.latest_expiry_ms() > now_ms;
            match lives || self.feed.has_listeners() {
                true => Reach::decode(bytes),
                false => Ok(skimmed),
            }
        }))
    }
}
