//! A saved directory: what opening would learn from a pass over all records, written by a close and void from the
//! first change after it, so that opening reads some forty bytes a peer and no record. Never the only copy of
//! anything: whatever is in doubt, the records themselves are read. Its stored form, version 1, is defined here:
//!
//! `mimage`, the header: stamp; time of saving; what it was made under; peers, addresses, pinned, certified,
//! signed records; how many records of each kind the store held; whether some protocols have no number, and the
//! names of those that have; number of parts.
//! `mimage-part` and a number, low end first: the stamp; a time near which the others are; how many peers; each
//! peer: flags, id, how many addresses if there is nothing else, what is due unless never, last expiry near it,
//! last update if it may be evicted, numbers of its protocols.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::codec::{Reader, Writer};
use super::core::{Core, SHARDS, ShardState, lock};
use super::datastore::Batch;
use super::directory::{Known, SlotNumber};
use super::error::{Error, ErrorKind, Result};
use super::peer::Peer;
use super::reach::{Reach, Skimmed};
use super::recent::Place;
use super::ttl::Ttl;

const VERSION: u8 = 1;
const HEADER_KEY: &[u8] = b"mimage";
/// How many places one part looks at, at the most.
const PART_PLACES: SlotNumber = 2_048;
/// First bytes of the records that are counted.
const KINDS: [&[u8]; 3] = [b"a", b"b", b"k"];

const HAS_PUBLIC_KEY: u8 = 1;
const HAS_PRIVATE_KEY: u8 = 2;
const HAS_ENVELOPE: u8 = 4;
const HAS_PROFILE: u8 = 8;
const IS_CONNECTED: u8 = 16;
const SPEAKS: u8 = 32;
const MAY_GO: u8 = 64;
const NEVER_DUE: u8 = 128;
/// Flags, length of an empty id, count of addresses, last expiry.
const ENTRY_LEN_MIN: usize = 4;

fn part_key(number: u32) -> Vec<u8> {
    [b"mimage-part".as_slice(), &number.to_le_bytes()].concat()
}

/// What became of the image that the last close may have left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was changed since the store was opened: it stands, if there is one.
    Standing,
    /// Something was changed: it was removed before.
    Void,
    /// The store is closed: nothing may change any more.
    Sealed,
}

pub(crate) struct Image {
    state: Mutex<State>,
    /// The state is `Void`: what every change but the first looks at.
    is_void: AtomicBool,
    /// The directory may be other than the records: it is not saved.
    is_doubtful: AtomicBool,
}

impl Image {
    pub(crate) fn new() -> Image {
        Image {
            state: Mutex::new(State::Standing),
            is_void: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
        }
    }

    /// What is known may be other than what is stored, or a record was met that cannot be read: the next
    /// opening shall look at all of them.
    pub(crate) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Release);
    }
}

/// What stands at the head of an image.
#[derive(Default, PartialEq, Eq, Debug)]
struct Header {
    stamp: u64,
    saved_ms: u64,
    made_under: Vec<u8>,
    peers: u64,
    addresses: u64,
    pinned: u64,
    certified: u64,
    envelopes: u64,
    /// How many records of each of `KINDS` there were, plus one; 0 if the datastore does not know.
    records: [u64; KINDS.len()],
    /// Some protocols have no number.
    overflowed: bool,
    names: Vec<String>,
    parts: u32,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(VERSION);
        writer.number(self.stamp);
        writer.number(self.saved_ms);
        writer.string(&self.made_under);
        for count in [
            self.peers,
            self.addresses,
            self.pinned,
            self.certified,
            self.envelopes,
        ] {
            writer.number(count);
        }
        self.records.iter().for_each(|count| writer.number(*count));
        writer.byte(u8::from(self.overflowed));
        writer.number(self.names.len() as u64);
        for name in &self.names {
            writer.string(name.as_bytes());
        }
        writer.number(u64::from(self.parts));
        writer.bytes
    }

    fn decode(bytes: &[u8]) -> Result<Header> {
        let mut reader = Reader::new("a saved directory", bytes, VERSION)?;
        let mut header = Header {
            stamp: reader.number()?,
            saved_ms: reader.number()?,
            made_under: reader.string()?.to_vec(),
            peers: reader.number()?,
            addresses: reader.number()?,
            pinned: reader.number()?,
            certified: reader.number()?,
            envelopes: reader.number()?,
            ..Header::default()
        };
        for count in &mut header.records {
            *count = reader.number()?;
        }
        header.overflowed = reader.byte()? != 0;
        for _ in 0..reader.count(1)? {
            let name = std::str::from_utf8(reader.string()?);
            let name = name.map_err(|_| reader.fault("names a protocol that is no text"))?;
            header.names.push(name.to_owned());
        }
        let parts = u32::try_from(reader.number()?);
        header.parts = parts.map_err(|_| reader.fault("has more parts than there may be"))?;
        reader.end()?;
        Ok(header)
    }
}

/// One peer of an image.
struct Entry {
    peer: Peer,
    known: Known,
    /// When it was last updated, if it may go for a newcomer.
    may_go_ms: Option<u64>,
    protocols: Vec<u32>,
}

impl Entry {
    fn read(reader: &mut Reader<'_>, base: u64) -> Result<Entry> {
        let flags = reader.byte()?;
        let has = |flag: u8| flags & flag != 0;
        let peer = Peer::from_bytes(reader.string()?)
            .map_err(|error| reader.fault(&format!("names no peer: {error}")))?;
        let plain_addresses = reader.byte()?;
        let due_ms = match has(NEVER_DUE) {
            true => u64::MAX,
            false => reader.near(base)?,
        };
        let known = Known {
            due_ms,
            latest_expiry_ms: reader.near(due_ms)?,
            has_public_key: has(HAS_PUBLIC_KEY),
            has_private_key: has(HAS_PRIVATE_KEY),
            has_envelope: has(HAS_ENVELOPE),
            has_profile: has(HAS_PROFILE),
            is_connected: has(IS_CONNECTED),
            plain_addresses,
        };
        let may_go_ms = match has(MAY_GO) {
            true => Some(reader.near(base)?),
            false => None,
        };
        let mut protocols = Vec::new();
        if has(SPEAKS) {
            for _ in 0..reader.count(1)? {
                let number = u32::try_from(reader.number()?);
                protocols.push(number.map_err(|_| reader.fault("numbers no protocol"))?);
            }
        }
        Ok(Entry {
            peer,
            known,
            may_go_ms,
            protocols,
        })
    }

    fn write(writer: &mut Writer, entry: &Entry, base: u64) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let known = &entry.known;
        writer.byte(
            flag(known.has_public_key, HAS_PUBLIC_KEY)
                | flag(known.has_private_key, HAS_PRIVATE_KEY)
                | flag(known.has_envelope, HAS_ENVELOPE)
                | flag(known.has_profile, HAS_PROFILE)
                | flag(known.is_connected, IS_CONNECTED)
                | flag(!entry.protocols.is_empty(), SPEAKS)
                | flag(entry.may_go_ms.is_some(), MAY_GO)
                | flag(known.due_ms == u64::MAX, NEVER_DUE),
        );
        writer.string(entry.peer.as_bytes());
        writer.byte(known.plain_addresses);
        if known.due_ms != u64::MAX {
            writer.near(known.due_ms, base);
        }
        writer.near(known.latest_expiry_ms, known.due_ms);
        if let Some(updated_ms) = entry.may_go_ms {
            writer.near(updated_ms, base);
        }
        if !entry.protocols.is_empty() {
            writer.number(entry.protocols.len() as u64);
            let numbers = entry.protocols.iter();
            numbers.for_each(|number| writer.number(u64::from(*number)));
        }
    }
}

// ---- changes

impl Core {
    /// Writes a batch that changes what the directory says. The caller holds the turns of its peers, or has the
    /// store to itself.
    pub(crate) fn commit(&self, batch: Batch) -> Result<()> {
        if !self.image.is_void.load(Ordering::Acquire) {
            self.void_image()?;
        }
        let written = self.data.commit(batch, self.options.acknowledge);
        if written.is_err() {
            self.image.doubt();
        }
        written
    }

    /// Removes the image of an earlier close, before anything that it does not know is written.
    fn void_image(&self) -> Result<()> {
        let mut state = lock(&self.image.state);
        match *state {
            State::Void => return Ok(()),
            State::Sealed => return Err(Error::closed()),
            State::Standing => {}
        }
        self.remove_image()?;
        *state = State::Void;
        self.image.is_void.store(true, Ordering::Release);
        Ok(())
    }

    /// Header and parts go as one batch. Parts without a header, of a close that was killed, go too.
    fn remove_image(&self) -> Result<()> {
        let is_there = |key: &[u8]| match self.data.has(key) {
            // What cannot be read is there, and goes.
            Err(error) if error.kind() == ErrorKind::Corrupted => Ok(true),
            answer => answer,
        };
        let mut batch = Batch::new();
        if is_there(HEADER_KEY)? {
            batch.delete(HEADER_KEY);
        }
        for key in (0..u32::MAX).map(part_key) {
            if !is_there(&key)? {
                break;
            }
            batch.delete(key);
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.data.commit(batch, self.options.acknowledge),
        }
    }
}

// ---- closing

impl Core {
    /// Ends all changes, and saves the directory if that is worth it. All that waited was written before.
    pub(crate) fn seal(&self) {
        // Whoever changes something holds a turn; who holds several asked for admission before.
        let _admission = lock(&self.admission);
        let _turns: Vec<_> = self.shards().iter().map(super::core::Shard::turn).collect();
        let mut state = lock(&self.image.state);
        let was = std::mem::replace(&mut *state, State::Sealed);
        self.image.is_void.store(false, Ordering::Release);
        drop(state);
        let few = self.count_peers() < self.options.image_peers_min;
        let doubtful = self.image.is_doubtful.load(Ordering::Acquire)
            || self.counters.unreadable.load(Ordering::Relaxed) > 0;
        if self.read_only || was != State::Void || few || doubtful {
            return;
        }
        if let Err(error) = self.save_image() {
            // The next opening reads the records, as it would after a crash.
            tracing::warn!(%error, "the directory of a peer store was not saved");
            if let Err(error) = self.remove_image() {
                tracing::warn!(%error, "parts of a saved directory stay until the next change");
            }
        }
    }

    fn save_image(&self) -> Result<()> {
        let (names, overflowed) = lock(&self.protocols).names();
        let records = KINDS.map(|first| self.data.keys(first).map_or(0, |count| count + 1));
        let peers = self.count_peers();
        if records
            .first()
            .is_some_and(|count| *count != 0 && *count != peers + 1)
        {
            return Err(Error::corrupted("there are not as many records as peers"));
        }
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut header = Header {
            stamp: self.new_version(),
            saved_ms: self.now_ms(),
            made_under: self.made_under(),
            peers,
            addresses: of(&self.counters.addresses),
            pinned: of(&self.counters.pinned),
            certified: of(&self.counters.certified),
            envelopes: of(&self.counters.envelopes),
            records,
            overflowed,
            names,
            parts: 0,
        };
        for number in 0..SHARDS {
            let slots = self.shard(number).read().directory.slots();
            for from in (0..slots).step_by(PART_PLACES as usize) {
                let state = self.shard(number).read();
                let part = self.part(&state, number, from, header.stamp, header.saved_ms);
                drop(state);
                if let Some(part) = part {
                    let mut batch = Batch::new();
                    batch.put(part_key(header.parts), part);
                    self.data.commit(batch, self.options.acknowledge)?;
                    header.parts += 1;
                }
            }
        }
        // Last: without it there is no image.
        let mut batch = Batch::new();
        batch.put(HEADER_KEY, header.encode());
        self.data.commit(batch, self.options.acknowledge)
    }

    /// The peers of some places of a shard, if there are any.
    fn part(
        &self,
        state: &ShardState,
        shard: usize,
        from: SlotNumber,
        stamp: u64,
        base: u64,
    ) -> Option<Vec<u8>> {
        let to = state
            .directory
            .slots()
            .min(from.saturating_add(PART_PLACES));
        let mut spoken = state.spoken(from..to).into_iter().peekable();
        let (mut entries, mut count) = (Writer::default(), 0_u64);
        for place in from..to {
            let mut protocols = Vec::new();
            while let Some((speaker, protocol)) = spoken.next_if(|(at, _)| *at <= place) {
                if speaker == place {
                    protocols.push(protocol);
                }
            }
            let Some(peer) = state.directory.peer(place) else {
                continue;
            };
            let may_go_ms = match self.options.peers_max {
                0 => None,
                _ => lock(&self.recent).updated_ms(Place::new(shard, place)),
            };
            let known = state.directory.known(place);
            let entry = Entry {
                peer,
                known,
                may_go_ms,
                protocols,
            };
            Entry::write(&mut entries, &entry, base);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let mut part = Writer::new(VERSION);
        part.number(stamp);
        part.number(base);
        part.number(count);
        part.bytes.extend_from_slice(&entries.bytes);
        Some(part.bytes)
    }

    /// The options on which the directory depends: an image made under others is of no use.
    fn made_under(&self) -> Vec<u8> {
        let options = &self.options;
        let mut writer = Writer::default();
        writer.number(options.peer_age_max_ms().unwrap_or(0));
        writer.byte(u8::from(options.peers_max > 0));
        writer.byte(u8::from(options.own_id.is_some()));
        writer.string(options.own_id.as_ref().map_or(&[], Peer::as_bytes));
        writer.bytes
    }
}

// ---- opening

impl Core {
    /// Fills the directory from an image, if there is one that holds. Answers with the peers that have to be put
    /// right, as the pass over all records does; `None` if that pass has to be made.
    pub(crate) fn load_image(&mut self) -> Result<Option<Vec<Peer>>> {
        if self.options.strict || self.options.image_peers_min == u64::MAX {
            return Ok(None);
        }
        let loaded = match self.image_header() {
            Ok(Some(header)) => self.load_parts(&header),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        match loaded {
            Ok(wrong) => Ok(Some(wrong)),
            Err(error) => {
                let kind = error.kind();
                if !matches!(kind, ErrorKind::Corrupted | ErrorKind::UnsupportedVersion) {
                    return Err(error);
                }
                tracing::warn!(%error, "a saved directory is of no use; all records are read");
                self.forget_all();
                Ok(None)
            }
        }
    }

    /// The header of an image that fits these options, this time and this store.
    fn image_header(&self) -> Result<Option<Header>> {
        let Some(bytes) = self.data.get(HEADER_KEY)? else {
            return Ok(None);
        };
        let header = Header::decode(&bytes)?;
        // Lives that a clock which stepped back would lengthen are found in the records alone.
        let stepped_back = self.now_ms() < header.saved_ms;
        if stepped_back || header.made_under != self.made_under() {
            return Ok(None);
        }
        for (first, was) in KINDS.into_iter().zip(header.records) {
            let is = self.data.keys(first).map_or(0, |count| count + 1);
            if was != 0 && is != 0 && was != is {
                return Err(Error::corrupted(format!(
                    "a saved directory is of a store with {} records of kind {}, there are {}",
                    was - 1,
                    first.escape_ascii(),
                    is - 1
                )));
            }
        }
        Ok(Some(header))
    }

    fn load_parts(&mut self, header: &Header) -> Result<Vec<Peer>> {
        let named = super::speakers::Numbers::of_names(&header.names, header.overflowed);
        let twice = || Error::corrupted("a saved directory names a protocol twice");
        *lock(&self.protocols) = named.ok_or_else(twice)?;
        self.expect_peers(header.peers);
        let (mut wrong, mut count) = (Vec::new(), 0);
        for number in 0..header.parts {
            let Some(part) = self.data.get(&part_key(number))? else {
                let what = format!("a saved directory has no part {number}");
                return Err(Error::corrupted(what));
            };
            count += self.load_part(&part, header, &mut wrong)?;
        }
        if count != header.peers {
            let what = format!("a saved directory holds {count} of {} peers", header.peers);
            return Err(Error::corrupted(what));
        }
        let put = |counter: &std::sync::atomic::AtomicU64, count: u64| {
            counter.store(count, Ordering::Relaxed);
        };
        put(&self.counters.peers, header.peers);
        put(&self.counters.addresses, header.addresses);
        put(&self.counters.pinned, header.pinned);
        put(&self.counters.certified, header.certified);
        put(&self.counters.envelopes, header.envelopes);
        Ok(wrong)
    }

    fn load_part(&mut self, part: &Bytes, header: &Header, wrong: &mut Vec<Peer>) -> Result<u64> {
        let mut reader = Reader::new("a part of a saved directory", part, VERSION)?;
        if reader.number()? != header.stamp {
            return Err(reader.fault("is of another one"));
        }
        let base = reader.number()?;
        let count = reader.count(ENTRY_LEN_MIN)?;
        let converts = self.options.connected_at_open != Ttl::CONNECTED;
        for _ in 0..count {
            let entry = Entry::read(&mut reader, base)?;
            let names = header.names.len();
            if entry
                .protocols
                .iter()
                .any(|number| *number as usize >= names)
            {
                return Err(reader.fault("numbers a protocol that has no name"));
            }
            if entry.known.is_connected && converts {
                wrong.push(entry.peer);
            }
            self.load_entry(&entry)?;
        }
        reader.end()?;
        Ok(count as u64)
    }

    fn load_entry(&mut self, entry: &Entry) -> Result<()> {
        let peer = &entry.peer;
        let hash = self.hash(peer);
        let hasher = self.hasher();
        // Nobody else is here yet: no lock is taken.
        let state = self.shard_mut(Core::shard_number(hash)).state_mut();
        let place = state.directory.insert(hash, peer, |peer| hasher(peer));
        state.directory.set(place, entry.known);
        for number in &entry.protocols {
            state.speaks(place, *number);
        }
        if self.options.peers_max > 0 {
            let place = Place::new(Core::shard_number(hash), place);
            match entry.may_go_ms {
                Some(updated_ms) => lock(&self.recent).set(place, updated_ms, 0),
                // What protected it may be for a time, and that over meanwhile.
                None => self.line_up(place, peer, &self.protected(peer)?),
            }
        }
        Ok(())
    }

    /// What is stored of a peer that was protected when the image was made.
    fn protected(&self, peer: &Peer) -> Result<Reach> {
        let Some(bytes) = self.data.get(&super::core::reach_key(peer))? else {
            return Err(Error::corrupted(format!("{peer} has no record")));
        };
        Ok(Skimmed::read(&bytes)?.reach)
    }

    /// What an image that does not hold had brought goes.
    fn forget_all(&mut self) {
        for number in 0..SHARDS {
            let state = self.shard_mut(number).state_mut();
            state.directory = super::directory::Directory::new(0);
            state.speakers.clear();
        }
        *lock(&self.protocols) = super::speakers::Numbers::default();
        *lock(&self.recent) = super::recent::Recent::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            stamp: 7,
            saved_ms: 1_767_225_600_000,
            made_under: vec![1, 2, 3],
            peers: 3,
            addresses: 5,
            pinned: 1,
            certified: 2,
            envelopes: 1,
            records: [4, 2, 0],
            overflowed: false,
            names: vec!["/a".to_owned(), "/b".to_owned()],
            parts: 1,
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_header_is_an_error_or_another_header() {
        let bytes = header().encode();
        assert_eq!(Header::decode(&bytes).expect("ours"), header());
        for cut in 0..bytes.len() {
            assert!(Header::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            if let Ok(found) = Header::decode(&flipped) {
                assert_ne!(found, header(), "bit {at}");
            }
        }
    }

    #[test]
    fn entries_come_back_whatever_is_known_of_a_peer() {
        let base = 1_767_225_600_000;
        let dues = [
            0,
            1,
            base - 1,
            base,
            base + 3_600_000,
            u64::MAX - 1,
            u64::MAX,
        ];
        for (at, due_ms) in dues.into_iter().enumerate() {
            for latest_expiry_ms in dues {
                let name = vec![9; at * 12];
                let entry = Entry {
                    peer: Peer::from_bytes(&name).expect("short"),
                    known: Known {
                        due_ms,
                        latest_expiry_ms,
                        has_public_key: at % 2 == 0,
                        has_private_key: at % 3 == 0,
                        has_envelope: at % 4 == 0,
                        has_profile: at % 5 == 0,
                        is_connected: at % 6 == 0,
                        plain_addresses: u8::try_from(at * 40).expect("small"),
                    },
                    may_go_ms: (at % 2 == 1).then_some(due_ms),
                    protocols: (0..7).take(at).map(|number| number * 1_000).collect(),
                };
                let mut writer = Writer::new(VERSION);
                Entry::write(&mut writer, &entry, base);
                let mut reader = Reader::new("a test", &writer.bytes, VERSION).expect("ours");
                let back = Entry::read(&mut reader, base).expect("ours");
                reader.end().expect("nothing is left");
                assert_eq!((back.peer, back.known), (entry.peer, entry.known));
                assert_eq!(back.may_go_ms, entry.may_go_ms);
                assert_eq!(back.protocols, entry.protocols);
            }
        }
    }
}
