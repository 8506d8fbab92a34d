//! One change of one peer: the records as they are, edited in memory, and what came of it. The rules of each
//! book are in files of their own (`addresses`, `records`, `keys`, `protocols`, `metadata`, `tags`); this one
//! knows how a change begins and what it amounts to.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use libp2p_core::Multiaddr;

use super::address::Address;
use super::cache::Unwritten;
use super::core::{Core, profile_key, reach_key};
use super::error::{ErrorKind, Result};
use super::event::{Changed, PeerRemovalReason, RemovalReason};
use super::metadata::KEEPS_ITS_PEER;
use super::peer::Peer;
use super::profile::Profile;
use super::reach::Reach;
use super::stored_keys::StoredKeys;

/// A change of one peer, over any of its books, that is applied whole or not at all: see
/// [`Peerstore::update`](super::Peerstore::update).
pub struct PeerEditor<'a> {
    pub(crate) core: &'a Core,
    pub(crate) peer: Peer,
    pub(crate) now_ms: u64,
    pub(crate) reach: Reach,
    /// As it was known before; `None` if the peer was not.
    before: Option<Arc<Reach>>,
    /// What was known but not written.
    unwritten: Option<Unwritten>,
    /// Whether addresses of before have expired.
    stripped: bool,
    profile: Option<Loaded<Profile>>,
    keys: Option<Loaded<StoredKeys>>,
    pub(crate) reasons: Vec<(Multiaddr, RemovalReason)>,
    /// What could not be read and is about to be replaced: key and bytes.
    aside: Vec<(Vec<u8>, Bytes)>,
    pub(crate) forget: Option<PeerRemovalReason>,
    /// Whether the change counts as news of the peer.
    pub(crate) touches: bool,
    /// Whether it must be written now.
    pub(crate) hard: bool,
}

struct Loaded<T> {
    before: T,
    now: T,
}

/// What a change amounts to.
pub(crate) enum Outcome {
    Nothing,
    /// Known at once, written later.
    Soft {
        reach: Arc<Reach>,
        unwritten: Unwritten,
    },
    Write(Box<Written>),
    Remove(PeerRemovalReason, Box<Gone>),
}

/// A change that is to be written.
pub(crate) struct Written {
    pub(crate) before: Option<Arc<Reach>>,
    pub(crate) reach: Arc<Reach>,
    /// Before and after, if it was changed.
    pub(crate) profile: Option<(Profile, Profile)>,
    pub(crate) keys: Option<(StoredKeys, StoredKeys)>,
    pub(crate) added: Vec<Address>,
    pub(crate) removed: Vec<(Multiaddr, RemovalReason)>,
    pub(crate) changed: Changed,
    pub(crate) aside: Vec<(Vec<u8>, Bytes)>,
    /// The profile that did not change, for events.
    pub(crate) same_profile: Option<Profile>,
}

/// A peer that is to be removed.
pub(crate) struct Gone {
    pub(crate) before: Arc<Reach>,
    pub(crate) removed: Vec<(Multiaddr, RemovalReason)>,
    pub(crate) protocols: Vec<String>,
}

impl<'a> PeerEditor<'a> {
    /// The caller holds the turn of the peer's shard.
    pub(crate) fn begin(core: &'a Core, peer: &Peer) -> Result<PeerEditor<'a>> {
        PeerEditor::begin_with(core, peer, |_| core.stored_reach(peer))
    }

    /// As [`PeerEditor::begin`], with another way to read what is not in the cache; it is given the time of
    /// the change.
    pub(crate) fn begin_with(
        core: &'a Core,
        peer: &Peer,
        read: impl FnOnce(u64) -> Result<Option<Reach>>,
    ) -> Result<PeerEditor<'a>> {
        let now_ms = core.now_ms();
        let hash = core.hash(peer);
        let mut aside = Vec::new();
        let cached = {
            let state = core.shard(Core::shard_number(hash)).read();
            let number = state.directory.find(hash, peer);
            number.map(|number| state.cache.get(number))
        };
        let (before, unwritten) = match cached {
            None => (None, None),
            Some(Some((reach, unwritten))) => (Some(reach), unwritten),
            Some(None) => match read(now_ms) {
                Ok(stored) => (stored.map(Arc::new), None),
                // It is known, and cannot be read: kept aside, and begun anew.
                Err(error) if error.kind() == ErrorKind::Corrupted => {
                    let key = reach_key(peer);
                    let bytes = core.data.get(&key).ok().flatten();
                    aside.extend(bytes.map(|bytes| (key, bytes)));
                    (Some(Arc::default()), None)
                }
                Err(error) => return Err(error),
            },
        };
        let mut reach = before.as_deref().cloned().unwrap_or_default();
        let mut reasons = Vec::new();
        reach.addresses.retain(|address| {
            let live = address.is_live(now_ms);
            if !live {
                reasons.push((address.addr.clone(), RemovalReason::Expired));
            }
            live
        });
        Ok(PeerEditor {
            core,
            peer: *peer,
            now_ms,
            reach,
            before,
            unwritten,
            stripped: !reasons.is_empty(),
            profile: None,
            keys: None,
            reasons,
            aside,
            forget: None,
            touches: true,
            hard: false,
        })
    }

    /// The peer that is changed.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whether it was known before.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.before.is_some()
    }

    /// The live addresses as they are within this change.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.reach.addresses
    }

    pub(crate) fn profile(&mut self) -> Result<&mut Profile> {
        if self.profile.is_none() {
            let before = match self.reach.profile_version {
                0 => Profile::default(),
                _ => self.load_profile()?,
            };
            let mut now = before.clone();
            now.expire(self.now_ms);
            self.profile = Some(Loaded { before, now });
        }
        Ok(&mut self.profile.as_mut().expect("loaded above").now)
    }

    fn load_profile(&mut self) -> Result<Profile> {
        match self.core.profile(&self.peer) {
            Ok(profile) => Ok(profile.unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                // Kept aside, and written anew.
                let key = profile_key(&self.peer);
                if let Ok(Some(bytes)) = self.core.data.get(&key) {
                    self.aside.push((key, bytes));
                }
                Ok(Profile::default())
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn keys(&mut self) -> Result<&mut StoredKeys> {
        if self.keys.is_none() {
            let before = match self.reach.keys_version {
                0 => StoredKeys::default(),
                _ => match self.core.keys(&self.peer) {
                    Ok(keys) => keys.unwrap_or_default(),
                    // Keys that cannot be read are replaced and, unlike a profile, not kept aside: a
                    // copy of a private key would outlive the call that forgets it.
                    Err(error) if error.kind() == ErrorKind::Corrupted => StoredKeys::default(),
                    Err(error) => return Err(error),
                },
            };
            let now = before.clone();
            self.keys = Some(Loaded { before, now });
        }
        Ok(&mut self.keys.as_mut().expect("loaded above").now)
    }

    /// Removes addresses for a reason that is told.
    pub(crate) fn remove_where(
        &mut self,
        reason: RemovalReason,
        mut chosen: impl FnMut(&Address) -> bool,
    ) -> usize {
        let before = self.reach.addresses.len();
        let reasons = &mut self.reasons;
        self.reach.addresses.retain(|address| {
            let goes = chosen(address);
            if goes {
                reasons.push((address.addr.clone(), reason));
            }
            !goes
        });
        before - self.reach.addresses.len()
    }

    /// What the change amounts to.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        if let Some(reason) = self.forget {
            return self.gone(reason);
        }
        self.settle()?;
        let unchanged = self.profile.is_none()
            && self.keys.is_none()
            && match &self.before {
                None => self.reach == Reach::default(),
                Some(before) => same_without_expired(before, &self.reach, self.now_ms),
            };
        if unchanged && !(self.hard && self.stripped) {
            return Ok(Outcome::Nothing);
        }
        if self.has_nothing_left() {
            let reason = match self.touches {
                true => PeerRemovalReason::Deleted,
                false => PeerRemovalReason::Expired,
            };
            return self.gone(reason);
        }
        if self.touches {
            self.reach.updated_ms = self.now_ms;
        }
        if self.before.is_none() {
            self.reach.created_ms = self.now_ms;
        }
        if let Some(unwritten) = self.may_wait() {
            let reach = Arc::new(self.reach);
            return Ok(Outcome::Soft { reach, unwritten });
        }
        self.written()
    }

    /// Drops what must not be without addresses, and brings the marks of the other records up to date.
    fn settle(&mut self) -> Result<()> {
        let no_address = self.reach.addresses.is_empty();
        if no_address && self.reach.has_envelope {
            self.profile()?.envelope = None;
        }
        if no_address && !self.core.options.remember_seq {
            self.reach.seq = None;
        }
        if let Some(loaded) = &self.profile {
            let (mut before, now) = (loaded.before.clone(), loaded.now.clone());
            before.version = now.version;
            if before == now {
                self.profile = None;
            } else {
                self.reach.has_envelope = now.envelope.is_some();
                self.reach.keep_alive_until_ms = super::tags::keep_alive_until_ms(&now);
                self.reach.is_kept = now.metadata.contains_key(KEEPS_ITS_PEER);
                self.reach.profile_version = match now.is_empty() {
                    true => 0,
                    false => self.core.new_version(),
                };
            }
        }
        if let Some(loaded) = &self.keys {
            if loaded.before == loaded.now {
                self.keys = None;
            } else {
                self.reach.has_public_key = loaded.now.public.is_some();
                self.reach.has_private_key = loaded.now.private.is_some();
                self.reach.keys_version = match loaded.now.is_empty() {
                    true => 0,
                    false => self.core.new_version(),
                };
            }
        }
        Ok(())
    }

    fn has_nothing_left(&self) -> bool {
        let reach = &self.reach;
        reach.addresses.is_empty()
            && reach.profile_version == 0
            && reach.keys_version == 0
            && reach.seq.is_none()
            && reach.latency_ns.is_none()
            && reach.ttl_after_disconnect.is_none()
            && reach.grace_until_ms == 0
    }

    /// Whether the change may be written later: what it says is in the store already, up to the slack.
    fn may_wait(&self) -> Option<Unwritten> {
        let before = self.before.as_ref()?;
        if self.hard || self.stripped || self.profile.is_some() || self.keys.is_some() {
            return None;
        }
        let unwritten = self.unwritten.clone().unwrap_or_else(|| Unwritten {
            stored: before.clone(),
            since_ms: self.now_ms,
        });
        let options = &self.core.options;
        let waited = self.now_ms.saturating_sub(unwritten.since_ms) >= LATENCY_WAIT_MS;
        let latency_due = waited && unwritten.stored.latency_ns != self.reach.latency_ns;
        let covered = unwritten
            .stored
            .covers(&self.reach, |ttl| options.slack_ms(ttl));
        (covered && !latency_due && !options.refresh_slack.is_zero()).then_some(unwritten)
    }

    fn gone(mut self, reason: PeerRemovalReason) -> Result<Outcome> {
        let Some(before) = self.before.clone() else {
            return Ok(Outcome::Nothing);
        };
        let told = match reason {
            PeerRemovalReason::Expired => RemovalReason::Expired,
            PeerRemovalReason::Deleted => RemovalReason::Deleted,
            PeerRemovalReason::Evicted => RemovalReason::Evicted,
        };
        self.remove_where(told, |_| true);
        let protocols = match (&self.profile, before.profile_version) {
            (Some(loaded), _) => loaded.before.protocols.iter().cloned().collect(),
            (None, 0) => Vec::new(),
            // A profile that cannot be read has no place in the index either.
            (None, _) => match self.core.profile(&self.peer) {
                Ok(profile) => profile.unwrap_or_default().protocols.into_iter().collect(),
                Err(error) if error.kind() == ErrorKind::Corrupted => Vec::new(),
                Err(error) => return Err(error),
            },
        };
        let gone = Gone {
            before,
            removed: self.reasons,
            protocols,
        };
        Ok(Outcome::Remove(reason, Box::new(gone)))
    }

    fn written(mut self) -> Result<Outcome> {
        let before_addresses = self
            .before
            .as_deref()
            .map_or(&[][..], |before| &before.addresses);
        // A peer may have a thousand addresses, and each change looks for each.
        let by_addr: HashMap<&Multiaddr, &Address> = before_addresses
            .iter()
            .map(|old| (&old.addr, old))
            .collect();
        let now_ms = self.now_ms;
        let was_there = |address: &Address| {
            let old = by_addr.get(&address.addr).copied();
            old.filter(|old| old.is_live(now_ms))
        };
        let mut changed = Changed::default();
        let mut added = Vec::new();
        for address in &self.reach.addresses {
            match was_there(address) {
                None => added.push(address.clone()),
                Some(old) => changed.addresses |= !old.says_the_same(address),
            }
        }
        // Removed and added again within one change is neither.
        let reach = &self.reach;
        let stays = |addr: &Multiaddr| reach.addresses.iter().any(|address| address.addr == *addr);
        let known = |addr: &Multiaddr| by_addr.contains_key(addr);
        self.reasons.retain(|(addr, reason)| {
            known(addr) && (!stays(addr) || *reason == RemovalReason::Expired)
        });
        changed.addresses |= !added.is_empty() || !self.reasons.is_empty();
        let same_profile = match (&self.profile, self.core.feed.is_watched()) {
            (None, true) => self.core.profile(&self.peer)?,
            _ => None,
        };
        let profile = self.profile.map(|loaded| {
            let (old, mut new) = (loaded.before, loaded.now);
            new.version = self.reach.profile_version;
            changed.protocols = old.protocols != new.protocols;
            changed.metadata = old.metadata != new.metadata;
            changed.tags = old.tags != new.tags;
            changed.record = old.envelope != new.envelope;
            (old, new)
        });
        let keys = self.keys.map(|loaded| {
            let (old, mut new) = (loaded.before, loaded.now);
            new.version = self.reach.keys_version;
            changed.keys = true;
            (old, new)
        });
        Ok(Outcome::Write(Box::new(Written {
            before: self.before,
            reach: Arc::new(self.reach),
            profile,
            keys,
            added,
            removed: self.reasons,
            changed,
            aside: self.aside,
            same_profile,
        })))
    }
}

/// How long a latency may wait for others before it is written.
pub(crate) const LATENCY_WAIT_MS: u64 = 1_000;

fn same_without_expired(before: &Reach, now: &Reach, now_ms: u64) -> bool {
    let live = before.live(now_ms);
    live.eq(now.addresses.iter()) && {
        let head = |reach: &Reach| Reach {
            addresses: Vec::new(),
            ..copy_of_head(reach)
        };
        head(before) == head(now)
    }
}

/// Everything but the addresses.
pub(crate) fn copy_of_head(reach: &Reach) -> Reach {
    Reach {
        profile_version: reach.profile_version,
        keys_version: reach.keys_version,
        has_public_key: reach.has_public_key,
        has_private_key: reach.has_private_key,
        keep_alive_until_ms: reach.keep_alive_until_ms,
        has_envelope: reach.has_envelope,
        is_kept: reach.is_kept,
        updated_ms: reach.updated_ms,
        created_ms: reach.created_ms,
        last_connected_ms: reach.last_connected_ms,
        grace_until_ms: reach.grace_until_ms,
        ttl_after_disconnect: reach.ttl_after_disconnect,
        seq: reach.seq,
        latency_ns: reach.latency_ns,
        addresses: Vec::new(),
    }
}

impl Address {
    /// Whether only times differ.
    fn says_the_same(&self, other: &Address) -> bool {
        self.certified == other.certified
            && self.uncertified == other.uncertified
            && self.source == other.source
            && self.confidence == other.confidence
    }
}

impl Reach {
    /// Whether this, as stored, says what the other says, up to times that lag by no more than the slack.
    fn covers(&self, now: &Reach, slack_ms: impl Fn(super::ttl::Ttl) -> u64) -> bool {
        let head = |reach: &Reach| Reach {
            updated_ms: 0,
            latency_ns: None,
            ..copy_of_head(reach)
        };
        let covered = |(old, new): (&Address, &Address)| {
            let slack = slack_ms(new.ttl);
            let lag = new.expiry_ms.checked_sub(old.expiry_ms);
            let times = Address {
                expiry_ms: old.expiry_ms,
                last_seen_ms: old.last_seen_ms,
                ..new.clone()
            };
            lag.is_some_and(|lag| lag <= slack) && times == *old
        };
        self.addresses.len() == now.addresses.len()
            && head(self) == head(now)
            && self.addresses.iter().zip(&now.addresses).all(covered)
    }
}
