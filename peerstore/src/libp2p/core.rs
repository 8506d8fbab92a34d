//! What all handles of an open peer store share: the datastore, the shards, the feed; and how a peer is read.
//!
//! Locks, in this order: `admission`, held while a newcomer comes into a store with a limit of peers; a shard's
//! `turn`, held for one change of its peers, across the write and its wait for the device; then, for a copy
//! each: a shard's `state`, the least recently updated peers, the numbers of protocols, the feed. Readers take
//! `state` alone, and never across a read of the datastore. No caller's code runs under `state`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use roaring::RoaringBitmap;

use super::cache::Cache;
use super::counters::Counters;
use super::datastore::Datastore;
use super::directory::{Directory, Known};
use super::error::{Error, ErrorKind, Result};
use super::feed::Feed;
use super::image::Image;
use super::keeper::Keeper;
use super::options::{GcMode, Options};
use super::peer::Peer;
use super::profile::Profile;
use super::reach::Reach;
use super::recent::Recent;
use super::stored_keys::StoredKeys;
use super::time::Time;

/// How many parts the peers are dealt into. Writers of one part go one after the other.
pub(crate) const SHARDS: usize = 64;
/// The least memory for refreshes that are not written yet.
const UNWRITTEN_BYTES_MIN: usize = 4 << 20;
/// How often a read of several records is tried without a lock.
const TRIES_MAX: usize = 64;

pub(crate) fn reach_key(peer: &Peer) -> Vec<u8> {
    [b"a", peer.as_bytes()].concat()
}

pub(crate) fn profile_key(peer: &Peer) -> Vec<u8> {
    [b"b", peer.as_bytes()].concat()
}

pub(crate) fn keys_key(peer: &Peer) -> Vec<u8> {
    [b"k", peer.as_bytes()].concat()
}

/// One part of the peers.
pub(crate) struct Shard {
    turn: Mutex<()>,
    state: RwLock<ShardState>,
}

pub(crate) struct ShardState {
    pub(crate) directory: Directory,
    pub(crate) cache: Cache,
    /// Which places speak a protocol, by its number.
    pub(crate) speakers: HashMap<u32, RoaringBitmap>,
}

impl Shard {
    // A panic under a lock would be a broken directory; every change is made of steps that cannot.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, ShardState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, ShardState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// For one who has the store to itself.
    pub(crate) fn state_mut(&mut self) -> &mut ShardState {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All records of a peer, as of one moment.
pub(crate) struct Whole {
    pub(crate) reach: Arc<Reach>,
    pub(crate) profile: Profile,
    pub(crate) keys: StoredKeys,
}

pub(crate) struct Core {
    pub(crate) data: Arc<dyn Datastore>,
    pub(crate) options: Options,
    pub(crate) time: Time,
    pub(crate) feed: Feed,
    pub(crate) counters: Counters,
    pub(crate) keeper: Keeper,
    /// Peers by their last update, if there is a limit of them.
    pub(crate) recent: Mutex<Recent>,
    pub(crate) admission: Mutex<()>,
    pub(crate) protocols: Mutex<super::speakers::Numbers>,
    pub(crate) image: Image,
    /// Whether opening read a saved directory instead of all records.
    pub(crate) from_image: bool,
    /// What could not be read at open.
    pub(crate) damaged: Vec<String>,
    pub(crate) read_only: bool,
    /// Whether the secret of the options is that of the store.
    pub(crate) secret_fits: bool,
    shards: Vec<Shard>,
    hasher: RandomState,
    next_version: AtomicU64,
    closed: AtomicBool,
}

impl Core {
    pub(crate) fn new(data: Arc<dyn Datastore>, options: Options, read_only: bool) -> Core {
        let time = Time::new(options.clock.clone());
        let now_ms = time.now_ms();
        let share = |bytes: usize| bytes / SHARDS;
        let shard = || Shard {
            turn: Mutex::new(()),
            state: RwLock::new(ShardState {
                // What is due is sorted in when all are known.
                directory: Directory::new(0),
                cache: Cache::new(share(options.cache_bytes), share(UNWRITTEN_BYTES_MIN)),
                speakers: HashMap::new(),
            }),
        };
        Core {
            data,
            feed: Feed::new(options.events_max),
            counters: Counters::default(),
            keeper: Keeper::new(now_ms),
            recent: Mutex::default(),
            admission: Mutex::new(()),
            protocols: Mutex::default(),
            image: Image::new(),
            from_image: false,
            damaged: Vec::new(),
            read_only,
            secret_fits: true,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            // Above every version of an earlier life, unless the clock stepped back far; then the
            // worst is a read that is tried twice.
            next_version: AtomicU64::new(now_ms.saturating_mul(1 << 12)),
            closed: AtomicBool::new(false),
            time,
            options,
        }
    }

    /// How far ahead the index of what is due goes by itself.
    pub(crate) fn horizon_ms(&self) -> u64 {
        match self.options.gc {
            GcMode::Incremental(_) | GcMode::Manual => u64::MAX - 1,
            GcMode::Off | GcMode::FullSweep(_) | GcMode::Lookahead { .. } => 0,
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::closed()),
            false => Ok(()),
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        match self.read_only {
            true => Err(Error::new(
                ErrorKind::ReadOnly,
                "the peer store was opened for reading alone",
            )),
            false => Ok(()),
        }
    }

    /// True for the first caller.
    pub(crate) fn mark_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    pub(crate) fn new_version(&self) -> u64 {
        self.next_version.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn hash(&self, peer: &Peer) -> u64 {
        self.hasher.hash_one(peer)
    }

    /// The number of the shard of a hash: other bits than those that the shard's own table uses.
    pub(crate) fn shard_number(hash: u64) -> usize {
        usize::try_from(hash >> 40).unwrap_or(0) % SHARDS
    }

    pub(crate) fn shard(&self, number: usize) -> &Shard {
        &self.shards[number % SHARDS]
    }

    pub(crate) fn shard_mut(&mut self, number: usize) -> &mut Shard {
        &mut self.shards[number % SHARDS]
    }

    /// The hash of names, for one who changes a shard.
    pub(crate) fn hasher(&self) -> impl Fn(&Peer) -> u64 + use<> {
        let hasher = self.hasher.clone();
        move |peer| hasher.hash_one(peer)
    }

    /// Makes room for so many peers, dealt evenly, before they come.
    pub(crate) fn expect_peers(&mut self, count: u64) {
        let share = usize::try_from(count).unwrap_or(usize::MAX) / SHARDS;
        let hasher = self.hasher();
        for shard in &mut self.shards {
            shard.state_mut().directory.expect(share, &hasher);
        }
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// What is known of a peer without a read.
    pub(crate) fn known(&self, peer: &Peer) -> Option<Known> {
        let hash = self.hash(peer);
        let state = self.shard(Core::shard_number(hash)).read();
        let number = state.directory.find(hash, peer)?;
        Some(state.directory.known(number))
    }

    pub(crate) fn count_peers(&self) -> u64 {
        self.counters.peers.load(Ordering::Relaxed)
    }

    pub(crate) fn is_own(&self, peer: &Peer) -> bool {
        self.options.own_id.as_ref() == Some(peer)
    }

    /// How a peer is reached; of one that is not known nothing is read, and nothing made.
    pub(crate) fn reach(&self, peer: &Peer) -> Result<Option<Arc<Reach>>> {
        self.check_open()?;
        let hash = self.hash(peer);
        let shard = self.shard(Core::shard_number(hash));
        let (number, stamp) = {
            let state = shard.read();
            let Some(number) = state.directory.find(hash, peer) else {
                return Ok(None);
            };
            if let Some((reach, _)) = state.cache.get(number) {
                self.counters.cache_hits.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(reach));
            }
            (number, state.directory.stamp(number))
        };
        self.counters.cache_misses.fetch_add(1, Ordering::Relaxed);
        let Some(reach) = self.stored_reach(peer)? else {
            return Ok(None);
        };
        let reach = Arc::new(reach);
        if self.options.cache_bytes > 0
            && let Ok(mut state) = shard.state.try_write()
            && state.directory.stamp(number) == stamp
        {
            state.cache.put(number, reach.clone(), None);
        }
        Ok(Some(reach))
    }

    /// How a peer is reached, leaving the cache as it is: for walks over many peers.
    pub(crate) fn peek(&self, peer: &Peer) -> Result<Option<Arc<Reach>>> {
        self.check_open()?;
        let hash = self.hash(peer);
        let cached = {
            let state = self.shard(Core::shard_number(hash)).read();
            let Some(number) = state.directory.find(hash, peer) else {
                return Ok(None);
            };
            state.cache.get(number)
        };
        match cached {
            Some((reach, _)) => Ok(Some(reach)),
            None => Ok(self.stored_reach(peer)?.map(Arc::new)),
        }
    }

    /// What the datastore holds of how a peer is reached.
    pub(crate) fn stored_reach(&self, peer: &Peer) -> Result<Option<Reach>> {
        self.noted(self.read_as(&reach_key(peer), Reach::decode))
    }

    /// All records of a peer, as one change left them.
    pub(crate) fn whole(&self, peer: &Peer) -> Result<Option<Whole>> {
        let Some(mut reach) = self.peek(peer)? else {
            return Ok(None);
        };
        for _ in 0..TRIES_MAX {
            if let Some(whole) = self.rest_of(peer, &reach)? {
                return Ok(Some(whole));
            }
            // A change came between. It is in the datastore already, or on its way there.
            let Some(stored) = self.stored_reach(peer)? else {
                return Ok(None);
            };
            reach = Arc::new(stored);
            std::thread::yield_now();
        }
        let shard = self.shard(Core::shard_number(self.hash(peer)));
        let _turn = shard.turn();
        let Some(reach) = self.reach(peer)? else {
            return Ok(None);
        };
        match self.rest_of(peer, &reach)? {
            Some(whole) => Ok(Some(whole)),
            None => Err(Error::corrupted(format!(
                "the records of {peer} do not belong together"
            ))),
        }
    }

    /// Profile and keys that belong to this reach, if they are there.
    fn rest_of(&self, peer: &Peer, reach: &Arc<Reach>) -> Result<Option<Whole>> {
        let profile = match reach.profile_version {
            0 => Profile::default(),
            version => match self.profile(peer)? {
                Some(profile) if profile.version == version => profile,
                _ => return Ok(None),
            },
        };
        let keys = match reach.keys_version {
            0 => StoredKeys::default(),
            version => match self.keys(peer) {
                Ok(Some(keys)) if keys.version == version => keys,
                Ok(_) => return Ok(None),
                // Keys that cannot be read cost themselves.
                Err(error) if error.kind() == ErrorKind::Corrupted => StoredKeys::default(),
                Err(error) => return Err(error),
            },
        };
        Ok(Some(Whole {
            reach: reach.clone(),
            profile,
            keys,
        }))
    }

    /// The stored profile; of a peer that is known to have none nothing is read.
    pub(crate) fn profile(&self, peer: &Peer) -> Result<Option<Profile>> {
        self.check_open()?;
        let profile = self.read_as(&profile_key(peer), Profile::decode);
        self.noted(profile.map_err(|error| error.while_doing(&format!("reading {peer}"))))
    }

    /// The stored keys.
    pub(crate) fn keys(&self, peer: &Peer) -> Result<Option<StoredKeys>> {
        self.check_open()?;
        let keys = self.read_as(&keys_key(peer), StoredKeys::decode);
        self.noted(keys.map_err(|error| error.while_doing(&format!("reading {peer}"))))
    }

    pub(crate) fn read_as<T>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<T>> {
        match self.data.get(key)? {
            Some(bytes) => decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// An answer; if it tells of damage, that is counted, and the next opening reads all records.
    pub(crate) fn noted<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(error) = &answer
            && error.kind() == ErrorKind::Corrupted
        {
            self.counters.unreadable.fetch_add(1, Ordering::Relaxed);
            self.image.doubt();
        }
        answer
    }
}

/// What such a mutex guards is whole after every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
