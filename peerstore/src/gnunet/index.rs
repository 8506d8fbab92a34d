//! Where every record stands: six sorted sets over slots, so that each of the four ways to ask has
//! both orders without a sort, and expiry is found by time. In memory, rebuilt at open.
//!
//! It knows no store and no values. A record that went while a snapshot needs it stays, marked
//! with the seq at which it died, until the last such snapshot is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::expiries::Expiries;
use super::numbers::Numbers;
use super::options::Order;
use super::record::{FOREVER, Filter, PeerIdentity};

/// `died_at` of a record that lives.
const ALIVE: u64 = u64::MAX;

type Name = Arc<[u8]>;

/// What is known of a record without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) row: u64,
    pub(crate) expiry_us: u64,
    died_at: u64,
    subsystem: u32,
    peer: u32,
    key: u32,
    value_len: u32,
}

/// A record that a page found.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) seq: u64,
    pub(crate) row: u64,
    pub(crate) expiry_us: u64,
    pub(crate) subsystem: Name,
    pub(crate) peer: PeerIdentity,
    pub(crate) key: Name,
}

/// What a walk sees: the records that were alive at a seq, and not expired at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) seq: u64,
    /// Records that expire before this are left out; 0 leaves out none.
    pub(crate) hide_before_us: u64,
}

/// Where a walk is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cursor {
    seq: u64,
    place: Option<Place>,
    of_key: Option<(PeerIdentity, u64)>,
}

/// Where a page ends: at so many records, or behind the one whose value makes it so many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageMax {
    pub(crate) records: usize,
    pub(crate) value_bytes: usize,
}

/// Records and bytes of a subsystem.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// In the order of peer, key and insertion.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    subsystem: u32,
    peer: PeerIdentity,
    key: Name,
    seq: u64,
}

/// A key of one subsystem.
type KeyName = (u32, Name);

pub(crate) struct Index {
    subsystems: Numbers<Name>,
    peers: Numbers<PeerIdentity>,
    keys: Numbers<KeyName>,
    counts: HashMap<u32, Count>,
    slots: HashMap<u64, Slot>,
    places: BTreeSet<Place>,
    by_key: BTreeSet<(u32, PeerIdentity, u64)>,
    seqs: BTreeSet<(u32, u64)>,
    seqs_of_peer: BTreeSet<(u32, u32, u64)>,
    seqs_of_key: BTreeSet<(u32, u64)>,
    /// Living records that expire.
    expiries: Expiries,
    /// Dead records that a snapshot may need, by the seq at which they died.
    dead: BTreeMap<u64, Vec<u64>>,
}

impl Index {
    pub(crate) fn new() -> Index {
        Index {
            subsystems: Numbers::new(),
            peers: Numbers::new(),
            keys: Numbers::new(),
            counts: HashMap::new(),
            slots: HashMap::new(),
            places: BTreeSet::new(),
            by_key: BTreeSet::new(),
            seqs: BTreeSet::new(),
            seqs_of_peer: BTreeSet::new(),
            seqs_of_key: BTreeSet::new(),
            expiries: Expiries::default(),
            dead: BTreeMap::new(),
        }
    }

    /// The index of many records at once, each with the length of its value: the orders are sorted
    /// once and built whole, which takes a third of the time that inserting one by one does.
    pub(crate) fn of(records: impl IntoIterator<Item = (Hit, usize)>) -> Index {
        let mut index = Index::new();
        let mut entered = Vec::new();
        for (hit, value_len) in records {
            entered.push((hit.seq, index.enter(&hit, value_len)));
        }
        entered.sort_unstable_by_key(|(seq, _)| *seq);
        let peer = |slot: &Slot| *index.peers.thing(slot.peer);
        let all = entered.iter();
        index.places = all
            .clone()
            .map(|(seq, slot)| Place {
                subsystem: slot.subsystem,
                peer: peer(slot),
                key: index.keys.thing(slot.key).1.clone(),
                seq: *seq,
            })
            .collect();
        index.by_key = all
            .clone()
            .map(|(seq, slot)| (slot.key, peer(slot), *seq))
            .collect();
        index.seqs = all
            .clone()
            .map(|(seq, slot)| (slot.subsystem, *seq))
            .collect();
        index.seqs_of_peer = all
            .clone()
            .map(|(seq, slot)| (slot.subsystem, slot.peer, *seq))
            .collect();
        index.seqs_of_key = all.clone().map(|(seq, slot)| (slot.key, *seq)).collect();
        for (seq, slot) in all.filter(|(_, slot)| slot.expiry_us != FOREVER) {
            index.expiries.insert(slot.subsystem, slot.expiry_us, *seq);
        }
        index
    }

    pub(crate) fn insert(&mut self, hit: &Hit, value_len: usize) {
        let slot = self.enter(hit, value_len);
        // One copy of a key for all records under it.
        let key = self.keys.thing(slot.key).1.clone();
        self.places.insert(Place {
            subsystem: slot.subsystem,
            peer: hit.peer,
            key,
            seq: hit.seq,
        });
        self.by_key.insert((slot.key, hit.peer, hit.seq));
        self.seqs.insert((slot.subsystem, hit.seq));
        self.seqs_of_peer
            .insert((slot.subsystem, slot.peer, hit.seq));
        self.seqs_of_key.insert((slot.key, hit.seq));
        if hit.expiry_us != FOREVER {
            self.expiries.insert(slot.subsystem, hit.expiry_us, hit.seq);
        }
    }

    /// Gives a record its slot and counts it; the orders do not know it yet.
    fn enter(&mut self, hit: &Hit, value_len: usize) -> Slot {
        let subsystem = self.subsystems.take(&hit.subsystem);
        let slot = Slot {
            row: hit.row,
            expiry_us: hit.expiry_us,
            died_at: ALIVE,
            subsystem,
            peer: self.peers.take(&hit.peer),
            key: self.keys.take(&(subsystem, hit.key.clone())),
            value_len: u32::try_from(value_len).unwrap_or(u32::MAX),
        };
        self.slots.insert(hit.seq, slot);
        let bytes = self.payload_bytes(&slot);
        let count = self.counts.entry(subsystem).or_default();
        count.records += 1;
        count.bytes += bytes;
        slot
    }

    /// Takes a record out. If a snapshot may need it, it stays for those older than `died_at`.
    pub(crate) fn remove(&mut self, seq: u64, died_at: u64, keep: bool) {
        let Some(slot) = self
            .slots
            .get_mut(&seq)
            .filter(|slot| slot.died_at == ALIVE)
        else {
            return;
        };
        slot.died_at = died_at;
        let slot = *slot;
        let bytes = self.payload_bytes(&slot);
        if let Some(count) = self.counts.get_mut(&slot.subsystem) {
            count.records -= 1;
            count.bytes -= bytes;
            if count.records == 0 {
                self.counts.remove(&slot.subsystem);
            }
        }
        if slot.expiry_us != FOREVER {
            self.expiries.remove(slot.subsystem, slot.expiry_us, seq);
        }
        if keep {
            self.dead.entry(died_at).or_default().push(seq);
        } else {
            self.forget(seq);
        }
    }

    /// Forgets the dead that no snapshot at `oldest` or later sees; calls `gone` for each.
    pub(crate) fn bury(&mut self, oldest: Option<u64>, mut gone: impl FnMut(u64)) {
        while let Some(entry) = self.dead.first_entry() {
            if oldest.is_some_and(|oldest| *entry.key() > oldest) {
                return;
            }
            for seq in entry.remove() {
                self.forget(seq);
                gone(seq);
            }
        }
    }

    fn forget(&mut self, seq: u64) {
        let Some(slot) = self.slots.remove(&seq) else {
            return;
        };
        let peer = *self.peers.thing(slot.peer);
        let key = self.keys.thing(slot.key).1.clone();
        self.places.remove(&Place {
            subsystem: slot.subsystem,
            peer,
            key,
            seq,
        });
        self.by_key.remove(&(slot.key, peer, seq));
        self.seqs.remove(&(slot.subsystem, seq));
        self.seqs_of_peer.remove(&(slot.subsystem, slot.peer, seq));
        self.seqs_of_key.remove(&(slot.key, seq));
        self.keys.release(slot.key);
        self.peers.release(slot.peer);
        self.subsystems.release(slot.subsystem);
    }

    /// The living record of a seq.
    pub(crate) fn living(&self, seq: u64) -> Option<Hit> {
        let slot = self.slots.get(&seq)?;
        (slot.died_at == ALIVE).then(|| self.hit(seq, slot))
    }

    pub(crate) fn len(&self) -> usize {
        self.counts
            .values()
            .map(|count| usize::try_from(count.records).unwrap_or(0))
            .sum()
    }

    pub(crate) fn count_of(&self, subsystem: &Name) -> Count {
        let number = self.subsystems.find(subsystem);
        let count = number.and_then(|number| self.counts.get(&number));
        count.copied().unwrap_or_default()
    }

    /// The length of a record's value.
    pub(crate) fn value_len(&self, seq: u64) -> usize {
        let slot = self.slots.get(&seq);
        slot.map_or(0, |slot| {
            usize::try_from(slot.value_len).unwrap_or(usize::MAX)
        })
    }

    /// What a record counts against its subsystem.
    pub(crate) fn payload_of(&self, seq: u64) -> u64 {
        self.slots
            .get(&seq)
            .map_or(0, |slot| self.payload_bytes(slot))
    }

    /// Records and bytes of each subsystem, by name.
    pub(crate) fn counts(&self) -> BTreeMap<Name, Count> {
        let named =
            |(number, count): (&u32, &Count)| (self.subsystems.thing(*number).clone(), *count);
        self.counts.iter().map(named).collect()
    }

    /// How many records are dead and kept for snapshots.
    pub(crate) fn dead_len(&self) -> usize {
        self.dead.values().map(Vec::len).sum()
    }

    /// The next living records that expire before `now_us`.
    pub(crate) fn expired(&self, now_us: u64, max: usize) -> Vec<u64> {
        self.expiries.before(now_us).take(max).collect()
    }

    /// The living records of a subsystem that expire before `now_us`, soonest first.
    pub(crate) fn expired_of(&self, subsystem: &Name, now_us: u64) -> impl Iterator<Item = u64> {
        let number = self.subsystems.find(subsystem);
        let of = move |number| self.expiries.of_before(number, now_us);
        number.into_iter().flat_map(of)
    }

    /// The oldest living records of a subsystem.
    pub(crate) fn oldest_of(&self, subsystem: &Name) -> impl Iterator<Item = u64> {
        let number = self.subsystems.find(subsystem);
        let range = number.map(|number| self.seqs.range((number, 0)..=(number, u64::MAX)));
        let seqs = range.into_iter().flatten().map(|(_, seq)| *seq);
        seqs.filter(|seq| {
            self.slots
                .get(seq)
                .is_some_and(|slot| slot.died_at == ALIVE)
        })
    }

    /// All living records of a peer, in every subsystem.
    pub(crate) fn of_peer_everywhere(&self, peer: &PeerIdentity) -> Vec<u64> {
        let Some(peer) = self.peers.find(peer) else {
            return Vec::new();
        };
        let of = |subsystem: u32| {
            self.seqs_of_peer
                .range((subsystem, peer, 0)..=(subsystem, peer, u64::MAX))
                .map(|(_, _, seq)| *seq)
        };
        let living = |seq: &u64| {
            self.slots
                .get(seq)
                .is_some_and(|slot| slot.died_at == ALIVE)
        };
        self.counts
            .keys()
            .flat_map(|number| of(*number))
            .filter(living)
            .collect()
    }

    /// All living records that a filter chooses.
    pub(crate) fn all_of(&self, filter: &Filter) -> Vec<u64> {
        let view = View {
            seq: u64::MAX - 1,
            hide_before_us: 0,
        };
        let mut cursor = Cursor::default();
        let mut seqs = Vec::new();
        while let Some(seq) = self.next(filter, Order::Insertion, view, &mut cursor) {
            seqs.push(seq);
        }
        seqs
    }

    /// The next records of a walk, up to `max`; it ends before it has looked at more than
    /// `SCAN_MAX`, so that a page never holds a lock for long. True if there may be more.
    pub(crate) fn page(
        &self,
        filter: &Filter,
        order: Order,
        view: View,
        cursor: &mut Cursor,
        max: PageMax,
        found: &mut Vec<Hit>,
    ) -> bool {
        let Some(seqs) = self.seqs(filter, order, cursor) else {
            return false;
        };
        const SCAN_MAX: usize = 2_048;
        let mut last = None;
        let mut more = false;
        let mut bytes = 0;
        for (scanned, seq) in seqs.enumerate() {
            let full = found.len() == max.records || bytes >= max.value_bytes;
            if full || scanned == SCAN_MAX {
                more = true;
                break;
            }
            last = Some(seq);
            let slot = &self.slots[&seq];
            if is_seen(seq, slot, view) {
                bytes += usize::try_from(slot.value_len).unwrap_or(usize::MAX);
                found.push(self.hit(seq, slot));
            }
        }
        if let Some(seq) = last {
            self.move_behind(seq, order, filter, cursor);
        }
        more
    }

    // ---- within

    fn next(&self, filter: &Filter, order: Order, view: View, cursor: &mut Cursor) -> Option<u64> {
        let mut seqs = self.seqs(filter, order, cursor)?;
        let seq = seqs.find(|seq| is_seen(*seq, &self.slots[seq], view))?;
        self.move_behind(seq, order, filter, cursor);
        Some(seq)
    }

    /// The seqs behind the cursor that the filter chooses, seen or not, in order.
    fn seqs<'a>(
        &'a self,
        filter: &Filter,
        order: Order,
        cursor: &Cursor,
    ) -> Option<Box<dyn Iterator<Item = u64> + 'a>> {
        let subsystem = self.subsystems.find(&filter.subsystem)?;
        let after = cursor.seq.checked_add(1)?;
        match (filter.peer, &filter.key, order) {
            (Some(peer), Some(key), _) => {
                let place = |seq| Place {
                    subsystem,
                    peer,
                    key: key.clone(),
                    seq,
                };
                let range = self.places.range(place(after)..=place(u64::MAX));
                Some(Box::new(range.map(|place| place.seq)))
            }
            (None, None, Order::Insertion) => {
                let range = self.seqs.range((subsystem, after)..=(subsystem, u64::MAX));
                Some(Box::new(range.map(|(_, seq)| *seq)))
            }
            (Some(peer), None, Order::Insertion) => {
                let peer = self.peers.find(&peer)?;
                let of_peer = &self.seqs_of_peer;
                let range = of_peer.range((subsystem, peer, after)..=(subsystem, peer, u64::MAX));
                Some(Box::new(range.map(|(_, _, seq)| *seq)))
            }
            (None, Some(key), Order::Insertion) => {
                let key = self.keys.find(&(subsystem, key.clone()))?;
                let range = self.seqs_of_key.range((key, after)..=(key, u64::MAX));
                Some(Box::new(range.map(|(_, seq)| *seq)))
            }
            (None, Some(key), Order::Peer) => self.seqs_by_peer_of_key(subsystem, key, cursor),
            (peer, None, Order::Peer) => Some(self.seqs_by_place(subsystem, peer, cursor)),
        }
    }

    fn seqs_by_peer_of_key<'a>(
        &'a self,
        subsystem: u32,
        key: &Name,
        cursor: &Cursor,
    ) -> Option<Box<dyn Iterator<Item = u64> + 'a>> {
        let key = self.keys.find(&(subsystem, key.clone()))?;
        let from = match cursor.of_key {
            Some((peer, seq)) => Bound::Excluded((key, peer, seq)),
            None => Bound::Included((key, PeerIdentity([0; 32]), 0)),
        };
        let to = Bound::Included((key, PeerIdentity([255; 32]), u64::MAX));
        let after = cursor.seq;
        let range = self.by_key.range((from, to)).map(|(_, _, seq)| *seq);
        Some(Box::new(range.filter(move |seq| *seq > after)))
    }

    fn seqs_by_place<'a>(
        &'a self,
        subsystem: u32,
        peer: Option<PeerIdentity>,
        cursor: &Cursor,
    ) -> Box<dyn Iterator<Item = u64> + 'a> {
        let from = match &cursor.place {
            Some(place) => Bound::Excluded(place.clone()),
            None => Bound::Included(Place {
                subsystem,
                peer: peer.unwrap_or(PeerIdentity([0; 32])),
                key: Arc::from([]),
                seq: 0,
            }),
        };
        let after = cursor.seq;
        let range = self.places.range((from, Bound::Unbounded));
        let within = range.take_while(move |place| {
            place.subsystem == subsystem && peer.is_none_or(|peer| peer == place.peer)
        });
        Box::new(
            within
                .map(|place| place.seq)
                .filter(move |seq| *seq > after),
        )
    }

    fn move_behind(&self, seq: u64, order: Order, filter: &Filter, cursor: &mut Cursor) {
        let by_seq = order == Order::Insertion || (filter.peer.is_some() && filter.key.is_some());
        if by_seq {
            cursor.seq = seq;
            return;
        }
        let slot = &self.slots[&seq];
        let peer = *self.peers.thing(slot.peer);
        match filter.key {
            Some(_) => cursor.of_key = Some((peer, seq)),
            None => {
                cursor.place = Some(Place {
                    subsystem: slot.subsystem,
                    peer,
                    key: self.keys.thing(slot.key).1.clone(),
                    seq,
                });
            }
        }
    }

    fn hit(&self, seq: u64, slot: &Slot) -> Hit {
        Hit {
            seq,
            row: slot.row,
            expiry_us: slot.expiry_us,
            subsystem: self.subsystems.thing(slot.subsystem).clone(),
            peer: *self.peers.thing(slot.peer),
            key: self.keys.thing(slot.key).1.clone(),
        }
    }

    fn payload_bytes(&self, slot: &Slot) -> u64 {
        let names = self.subsystems.thing(slot.subsystem).len() + self.keys.thing(slot.key).1.len();
        u64::try_from(names + 32).unwrap_or(0) + u64::from(slot.value_len)
    }
}

impl Cursor {
    pub(crate) fn after(seq: u64) -> Cursor {
        Cursor {
            seq,
            ..Cursor::default()
        }
    }
}

fn is_seen(seq: u64, slot: &Slot, view: View) -> bool {
    seq <= view.seq && slot.died_at > view.seq && slot.expiry_us >= view.hide_before_us
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(seq: u64, subsystem: &str, peer: u8, key: &str) -> Hit {
        Hit {
            seq,
            row: seq,
            expiry_us: FOREVER,
            subsystem: subsystem.as_bytes().into(),
            peer: PeerIdentity([peer; 32]),
            key: key.as_bytes().into(),
        }
    }

    fn walk(index: &Index, filter: &Filter, order: Order, view: View, max: usize) -> Vec<u64> {
        let max = PageMax {
            records: max,
            value_bytes: usize::MAX,
        };
        let mut cursor = Cursor::default();
        let mut seqs = Vec::new();
        loop {
            let mut page = Vec::new();
            let more = index.page(filter, order, view, &mut cursor, max, &mut page);
            seqs.extend(page.iter().map(|hit| hit.seq));
            if !more {
                return seqs;
            }
        }
    }

    #[test]
    fn every_way_to_ask_has_both_orders_at_every_page_size() {
        let mut index = Index::new();
        for (seq, peer, key) in [
            (3, 2, "b"),
            (5, 1, "b"),
            (7, 2, "a"),
            (9, 1, "b"),
            (11, 2, "b"),
        ] {
            index.insert(&hit(seq, "s", peer, key), 1);
        }
        index.insert(&hit(12, "t", 1, "b"), 1);
        let view = View {
            seq: 100,
            hide_before_us: 0,
        };
        let all = Filter::subsystem("s");
        let two = PeerIdentity([2; 32]);
        let cases = [
            (all.clone(), [&[3, 5, 7, 9, 11][..], &[5, 9, 7, 3, 11]]),
            (all.clone().peer(two), [&[3, 7, 11], &[7, 3, 11]]),
            (all.clone().key("b"), [&[3, 5, 9, 11], &[5, 9, 3, 11]]),
            (all.clone().peer(two).key("b"), [&[3, 11], &[3, 11]]),
            (Filter::subsystem("none"), [&[], &[]]),
            (all.key("none"), [&[], &[]]),
        ];
        for (filter, [by_seq, by_peer]) in cases {
            for max in 1..7 {
                assert_eq!(walk(&index, &filter, Order::Insertion, view, max), by_seq);
                assert_eq!(walk(&index, &filter, Order::Peer, view, max), by_peer);
            }
        }
    }

    #[test]
    fn built_at_once_or_one_by_one_an_index_answers_the_same() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut one_by_one = Index::new();
        let mut records = Vec::new();
        for seq in 1..300 {
            let subsystem = ["s", "t"][rng.usize(..2)];
            let key = ["a", "b", "c"][rng.usize(..3)];
            let mut record = hit(seq, subsystem, rng.u8(..5), key);
            record.expiry_us = [FOREVER, 40, 50][rng.usize(..3)];
            records.push((record, rng.usize(..9)));
        }
        for (record, value_len) in &records {
            one_by_one.insert(record, *value_len);
        }
        rng.shuffle(&mut records);
        let mut at_once = Index::of(records);
        let view = View {
            seq: 1_000,
            hide_before_us: 0,
        };
        for round in 0..2 {
            for subsystem in ["s", "t"] {
                let all = Filter::subsystem(subsystem);
                let two = PeerIdentity([2; 32]);
                for filter in [
                    all.clone(),
                    all.clone().peer(two),
                    all.clone().key("b"),
                    all.clone().peer(two).key("b"),
                ] {
                    for order in [Order::Insertion, Order::Peer] {
                        let found = walk(&at_once, &filter, order, view, 7);
                        assert_eq!(found, walk(&one_by_one, &filter, order, view, 7));
                        assert!(!found.is_empty(), "round {round}");
                    }
                }
            }
            assert_eq!(at_once.counts(), one_by_one.counts());
            let mut expired = [&at_once, &one_by_one].map(|index| index.expired(45, 1_000));
            // Which subsystem comes first is nobody's business.
            expired.iter_mut().for_each(|seqs| seqs.sort_unstable());
            assert_eq!(expired[0], expired[1]);
            for seq in (1..300).filter(|seq| seq % 3 == 0) {
                at_once.remove(seq, 1_001, false);
                one_by_one.remove(seq, 1_001, false);
            }
        }
    }

    #[test]
    fn the_dead_are_seen_by_older_views_until_they_are_buried() {
        let mut index = Index::new();
        index.insert(&hit(1, "s", 1, "k"), 4);
        index.remove(1, 2, true);
        let all = Filter::subsystem("s");
        let at = |seq| View {
            seq,
            hide_before_us: 0,
        };
        assert_eq!(walk(&index, &all, Order::Peer, at(1), 9), [1]);
        assert_eq!(walk(&index, &all, Order::Peer, at(2), 9), Vec::<u64>::new());
        assert_eq!((index.len(), index.dead_len()), (0, 1));
        index.bury(Some(1), |_| panic!("a snapshot at 1 sees it"));
        let mut gone = Vec::new();
        index.bury(Some(2), |seq| gone.push(seq));
        assert_eq!((gone, index.dead_len()), (vec![1], 0));
        assert_eq!(walk(&index, &all, Order::Peer, at(1), 9), Vec::<u64>::new());
    }
}
