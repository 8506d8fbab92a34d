//! Which peers are known, in memory: 64 bytes and a share of a table for each, so that a peer is found, counted
//! and listed without a read, and what is due is known without a scan. One for each shard; knows no store.

use std::collections::{BTreeSet, HashMap};

use hashbrown::HashTable;

use super::peer::Peer;

/// Ids up to here are kept in place: all of libp2p but those with a long identity hash.
const INLINE_LEN_MAX: usize = 39;
/// The length of an id that is kept elsewhere.
const LONG: u8 = u8::MAX;
const PAGE_LEN: usize = 1_024;

/// A place of a peer in the directory of its shard.
pub(crate) type SlotNumber = u32;

/// What is known of a peer without a read.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// When something has to be done about it; `u64::MAX` for never.
    pub(crate) due_ms: u64,
    /// When its last address expires; 0 without one.
    pub(crate) latest_expiry_ms: u64,
    pub(crate) has_public_key: bool,
    pub(crate) has_private_key: bool,
    pub(crate) has_envelope: bool,
    pub(crate) has_profile: bool,
    /// One of its addresses is in use.
    pub(crate) is_connected: bool,
    /// How many addresses it has, if it has nothing else and no promise of anything: when the last one has
    /// expired it goes, and nothing has to be read for that. 0 if there is more, or more than fit.
    pub(crate) plain_addresses: u8,
}

#[derive(Clone, Copy)]
struct Slot {
    id: [u8; INLINE_LEN_MAX],
    /// 0 is free: the empty id is kept as a long one.
    len: u8,
    flags: u8,
    plain_addresses: u8,
    due_ms: u64,
    latest_expiry_ms: u64,
    /// Rises with every change; tells a reader that what it read is still current.
    stamp: u32,
}

const FREE: Slot = Slot {
    id: [0; INLINE_LEN_MAX],
    len: 0,
    flags: 0,
    plain_addresses: 0,
    due_ms: u64::MAX,
    latest_expiry_ms: 0,
    stamp: 0,
};

impl Slot {
    fn known(&self) -> Known {
        let has = |flag: u8| self.flags & flag != 0;
        Known {
            due_ms: self.due_ms,
            latest_expiry_ms: self.latest_expiry_ms,
            has_public_key: has(1),
            has_private_key: has(2),
            has_envelope: has(4),
            has_profile: has(8),
            is_connected: has(16),
            plain_addresses: self.plain_addresses,
        }
    }

    fn set(&mut self, known: Known) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        self.due_ms = known.due_ms;
        self.latest_expiry_ms = known.latest_expiry_ms;
        self.flags = flag(known.has_public_key, 1)
            | flag(known.has_private_key, 2)
            | flag(known.has_envelope, 4)
            | flag(known.has_profile, 8)
            | flag(known.is_connected, 16);
        self.plain_addresses = known.plain_addresses;
        self.stamp = self.stamp.wrapping_add(1);
    }
}

#[derive(Default)]
pub(crate) struct Directory {
    places: HashTable<SlotNumber>,
    pages: Vec<Box<[Slot]>>,
    free: Vec<SlotNumber>,
    long: HashMap<SlotNumber, Peer>,
    /// What is due, as far as the horizon goes.
    due: BTreeSet<(u64, SlotNumber)>,
    /// Dues up to here are in the index.
    horizon_ms: u64,
}

impl Directory {
    pub(crate) fn new(horizon_ms: u64) -> Directory {
        Directory {
            horizon_ms,
            ..Directory::default()
        }
    }

    /// Makes room in the table for so many more peers at once.
    pub(crate) fn expect(&mut self, more: usize, hasher: impl Fn(&Peer) -> u64) {
        let (pages, long) = (&self.pages, &self.long);
        let rehash =
            |number: &SlotNumber| name_of(pages, long, *number).map_or(0, |peer| hasher(&peer));
        self.places.reserve(more, rehash);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn find(&self, hash: u64, peer: &Peer) -> Option<SlotNumber> {
        let is_it = |number: &SlotNumber| self.is(*number, peer);
        self.places.find(hash, is_it).copied()
    }

    pub(crate) fn insert(
        &mut self,
        hash: u64,
        peer: &Peer,
        hasher: impl Fn(&Peer) -> u64,
    ) -> SlotNumber {
        let number = self.free.pop().unwrap_or_else(|| self.grow());
        let name = peer.as_bytes();
        let inline = (1..=INLINE_LEN_MAX).contains(&name.len());
        if !inline {
            self.long.insert(number, *peer);
        }
        if let Some(slot) = self.slot_mut(number) {
            let stamp = slot.stamp;
            *slot = FREE;
            slot.stamp = stamp.wrapping_add(1);
            slot.len = LONG;
            if inline && let Some(place) = slot.id.get_mut(..name.len()) {
                place.copy_from_slice(name);
                slot.len = u8::try_from(name.len()).unwrap_or(LONG);
            }
        }
        let (pages, long) = (&self.pages, &self.long);
        let rehash =
            |number: &SlotNumber| name_of(pages, long, *number).map_or(0, |peer| hasher(&peer));
        self.places.insert_unique(hash, number, rehash);
        number
    }

    pub(crate) fn remove(&mut self, hash: u64, number: SlotNumber) {
        let Ok(entry) = self.places.find_entry(hash, |found| *found == number) else {
            return;
        };
        entry.remove();
        self.long.remove(&number);
        let Some(slot) = self.slot_mut(number) else {
            return;
        };
        let (due_ms, stamp) = (slot.due_ms, slot.stamp);
        *slot = FREE;
        slot.stamp = stamp.wrapping_add(1);
        self.due.remove(&(due_ms, number));
        self.free.push(number);
    }

    pub(crate) fn known(&self, number: SlotNumber) -> Known {
        self.slot(number).map_or(FREE.known(), Slot::known)
    }

    pub(crate) fn stamp(&self, number: SlotNumber) -> u32 {
        self.slot(number).map_or(0, |slot| slot.stamp)
    }

    pub(crate) fn set(&mut self, number: SlotNumber, known: Known) {
        let horizon_ms = self.horizon_ms;
        let Some(slot) = self.slot_mut(number) else {
            return;
        };
        let old = slot.due_ms;
        slot.set(known);
        if old != known.due_ms {
            self.due.remove(&(old, number));
        }
        if known.due_ms <= horizon_ms && known.due_ms != u64::MAX {
            self.due.insert((known.due_ms, number));
        }
    }

    /// The name of the peer at a place, if one is there.
    pub(crate) fn peer(&self, number: SlotNumber) -> Option<Peer> {
        name_of(&self.pages, &self.long, number)
    }

    /// Up to `max` peers that are due, soonest first.
    pub(crate) fn due(&self, now_ms: u64, max: usize) -> Vec<(SlotNumber, Peer)> {
        let due = self.due.range(..=(now_ms, SlotNumber::MAX));
        due.take(max)
            .filter_map(|(_, number)| Some((*number, self.peer(*number)?)))
            .collect()
    }

    /// When the next one is due, as far as the horizon goes.
    #[cfg(test)]
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    /// How many peers the index of what is due holds.
    pub(crate) fn indexed(&self) -> usize {
        self.due.len()
    }

    /// Fills the index up to a new horizon.
    pub(crate) fn look_ahead(&mut self, horizon_ms: u64) {
        self.horizon_ms = horizon_ms;
        let known = (0..self.slots()).map(|number| (self.known(number).due_ms, number));
        // Of sorted entries full nodes are made: of half the memory that those have which grew.
        self.due = known
            .filter(|(due_ms, _)| *due_ms <= horizon_ms && *due_ms != u64::MAX)
            .collect();
    }

    /// How many places there are, free ones included: walks go by their numbers.
    pub(crate) fn slots(&self) -> SlotNumber {
        SlotNumber::try_from(self.pages.len() * PAGE_LEN).unwrap_or(SlotNumber::MAX)
    }

    fn grow(&mut self) -> SlotNumber {
        let first = self.slots();
        self.pages.push(vec![FREE; PAGE_LEN].into_boxed_slice());
        // The lowest numbers first: bitmaps stay dense.
        self.free.extend((first + 1..self.slots()).rev());
        first
    }

    fn is(&self, number: SlotNumber, peer: &Peer) -> bool {
        let Some(slot) = self.slot(number) else {
            return false;
        };
        match slot.len {
            LONG => self.long.get(&number) == Some(peer),
            len => slot.id.get(..usize::from(len)) == Some(peer.as_bytes()),
        }
    }

    fn slot(&self, number: SlotNumber) -> Option<&Slot> {
        slot_of(&self.pages, number)
    }

    fn slot_mut(&mut self, number: SlotNumber) -> Option<&mut Slot> {
        let at = number as usize;
        self.pages.get_mut(at / PAGE_LEN)?.get_mut(at % PAGE_LEN)
    }
}

fn slot_of(pages: &[Box<[Slot]>], number: SlotNumber) -> Option<&Slot> {
    let at = number as usize;
    pages.get(at / PAGE_LEN)?.get(at % PAGE_LEN)
}

fn name_of(
    pages: &[Box<[Slot]>],
    long: &HashMap<SlotNumber, Peer>,
    number: SlotNumber,
) -> Option<Peer> {
    let slot = slot_of(pages, number)?;
    match slot.len {
        0 => None,
        LONG => long.get(&number).copied(),
        len => Peer::from_bytes(slot.id.get(..usize::from(len))?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(peer: &Peer) -> u64 {
        peer.as_bytes()
            .iter()
            .fold(7_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(*byte))
    }

    #[test]
    fn peers_of_any_length_are_found_removed_and_their_places_used_again() {
        let mut directory = Directory::new(u64::MAX);
        let peer = |len: usize, byte: u8| Peer::from_bytes(&vec![byte; len]).expect("short");
        let peers: Vec<Peer> = (0..=72)
            .flat_map(|len| [peer(len, 1), peer(len, 2)])
            .skip(1)
            .collect();
        for round in 0..3 {
            for (at, peer) in peers.iter().enumerate() {
                assert_eq!(directory.find(hash(peer), peer), None, "round {round}");
                let number = directory.insert(hash(peer), peer, hash);
                let known = Known {
                    due_ms: at as u64,
                    ..Known::default()
                };
                directory.set(number, known);
            }
            assert_eq!(
                (directory.len(), directory.indexed()),
                (peers.len(), peers.len())
            );
            let due = directory.due(1, 10);
            assert!(due.iter().map(|(_, peer)| peer).eq(&peers[..2]));
            for peer in &peers {
                let number = directory.find(hash(peer), peer).expect("known");
                assert_eq!(directory.peer(number), Some(*peer));
                directory.remove(hash(peer), number);
                assert_eq!(directory.peer(number), None);
            }
            assert_eq!((directory.len(), directory.next_due_ms()), (0, None));
        }
        assert_eq!(directory.slots() as usize, PAGE_LEN);
    }

    #[test]
    fn a_place_is_no_larger_than_what_the_documentation_says() {
        assert!(size_of::<Slot>() <= 64, "{}", size_of::<Slot>());
    }
}
