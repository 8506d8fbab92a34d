//! One page of the hash keydir: buckets of eight words, a cache line each, and a small stash for
//! what finds both of its buckets full. A word is a location and what is left of the hash.
//!
//! Readers look at it without a lock while one writer, who holds the page's turn, changes words in
//! place. No word ever moves within a page: growth makes a new page, which takes this one's place
//! whole, so a reader cannot miss a key that is there. It knows neither records nor other pages.

use super::candidates::Candidates;
use crate::segment::location::Location;
use crate::sync::atomic::{AtomicU64, Ordering};

mod saved;

/// Words of a bucket: one cache line.
const BUCKET_LEN: usize = 8;
/// So many of the hash's bits choose the buckets of an entry; each entry knows at least these.
const PLACE_BITS: u32 = 14;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// A page is made this full, in thousandths: what is left is room to grow before the next making.
const FULL_MILLI: usize = 818;
/// Below this share of used words a page is made anew, smaller.
const SPARSE_MILLI: usize = 700;
/// Buckets' worth of stash words, at most.
const STASH_BUCKETS_MAX: usize = 4;
/// Words that tell whether an entry may be in the stash.
const FILTER_LEN: usize = 4;

/// What an entry knows of its key's hash beyond the page's index: some bits, lowest first, and
/// above them a one that tells how many. Splits use the bits up from below, one each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag(u64);

impl Tag {
    /// All that fits into a field of `bits`.
    pub(super) fn of(rest: u64, bits: u32) -> Tag {
        let end = 1 << (bits - 1);
        Tag(rest & (end - 1) | end)
    }

    fn known(self) -> u32 {
        self.0.ilog2()
    }

    /// As much of it as fits into a field of `bits`.
    fn cut_to(self, bits: u32) -> Tag {
        if self.known() < bits {
            self
        } else {
            Tag::of(self.0, bits)
        }
    }

    fn matches(self, rest: u64) -> bool {
        // The one on top stands where the known bits end; nothing above it is compared.
        ((self.0 ^ rest) & ((1 << self.known()) - 1)) == 0
    }

    /// The lowest bit, which chooses one of two new pages, and what is left for it; `None` if
    /// that would not suffice to find the entry's buckets.
    pub(super) fn split(self) -> Option<(bool, Tag)> {
        (self.known() > PLACE_BITS).then_some((self.0 & 1 == 1, Tag(self.0 >> 1)))
    }
}

/// How the 64 bits of a word are shared out: tag below, offset above it, slot on top. Locations
/// get what they need and tags the rest, at least 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    tag_bits: u32,
    offset_bits: u32,
}

impl Shape {
    /// For slots and offsets up to the highest seen, with slots to spare: they rise one by one.
    pub(super) fn for_up_to(slot: u16, offset: u32) -> Shape {
        let offset_bits = (32 - offset.leading_zeros()).max(16);
        let slot_bits = (16 - slot.leading_zeros() + 1).clamp(4, 16);
        Shape {
            tag_bits: 64 - offset_bits - slot_bits,
            offset_bits,
        }
    }

    /// Whether `for_up_to` can have made it.
    fn is_sound(self) -> bool {
        let used = self.tag_bits + self.offset_bits;
        (16..=44).contains(&self.tag_bits)
            && (16..=32).contains(&self.offset_bits)
            && (48..=60).contains(&used)
    }

    /// The highest slot that fits.
    fn slot_max(self) -> u16 {
        let slot_bits = 64 - self.tag_bits - self.offset_bits;
        u16::try_from((1_u32 << slot_bits) - 1).unwrap_or(u16::MAX)
    }

    fn fits(self, location: Location) -> bool {
        let slot_bits = 64 - self.tag_bits - self.offset_bits;
        u64::from(location.offset) >> self.offset_bits == 0
            && u64::from(location.slot) >> slot_bits == 0
    }

    fn word(self, tag: Tag, location: Location) -> u64 {
        let place = u64::from(location.slot) << self.offset_bits | u64::from(location.offset);
        // Nothing is lost: `fits` was asked.
        place << self.tag_bits | tag.cut_to(self.tag_bits).0
    }

    fn location(self, word: u64) -> Location {
        let place = word >> self.tag_bits;
        Location {
            // Both keep exactly what `word` put there.
            slot: (place >> self.offset_bits & 0xFFFF) as u16,
            offset: (place & ((1 << self.offset_bits) - 1) & 0xFFFF_FFFF) as u32,
        }
    }

    fn tag(self, word: u64) -> Tag {
        Tag(word & ((1 << self.tag_bits) - 1))
    }
}

/// An entry on its way from one page to another.
pub(super) type Entry = (Tag, Location);

#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU64; BUCKET_LEN]);

impl Bucket {
    fn used(&self) -> usize {
        let taken = |word: &&AtomicU64| word.load(Ordering::Relaxed) != 0;
        self.0.iter().filter(taken).count()
    }
}

/// A page: every key whose hash ends in `depth` bits that make up `index`.
pub(super) struct Page {
    pub(super) index: u64,
    pub(super) depth: u32,
    shape: Shape,
    buckets: Box<[Bucket]>,
    stash: Box<[AtomicU64]>,
    /// A bit is set before an entry that it stands for goes into the stash.
    filter: [AtomicU64; FILTER_LEN],
}

/// The buckets of a new page of so many entries.
fn buckets_for(entries: usize) -> usize {
    ((entries + 1) * 1_000).div_ceil(BUCKET_LEN * FULL_MILLI)
}

/// What came of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    Done,
    /// What was to be replaced is not there.
    NotThere,
    /// The page has to be made anew first.
    NoRoom,
}

impl Page {
    pub(super) fn empty(index: u64, depth: u32) -> Page {
        Page {
            index,
            depth,
            shape: Shape::for_up_to(0, 0),
            buckets: Box::default(),
            stash: Box::default(),
            filter: Default::default(),
        }
    }

    /// A page of these entries with room for some more, and how many they are. They are gone through
    /// as they lie, twice at least: a list of them would take more memory than the page.
    pub(super) fn of(
        index: u64,
        depth: u32,
        shape: Shape,
        entries: impl Iterator<Item = Entry> + Clone,
    ) -> (Page, usize) {
        let count = entries.clone().count();
        if count == 0 {
            return (Page::empty(index, depth), 0);
        }
        let buckets = buckets_for(count);
        let mut stash = BUCKET_LEN * (buckets / 16).clamp(1, STASH_BUCKETS_MAX);
        loop {
            let page = Page::with_room(index, depth, shape, buckets, stash);
            if page.take_all(entries.clone()) {
                return (page, count);
            }
            // Bad luck, or hashes that agree in too much: chance makes none, a test does.
            stash *= 2;
        }
    }

    fn with_room(index: u64, depth: u32, shape: Shape, buckets: usize, stash: usize) -> Page {
        Page {
            index,
            depth,
            shape,
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            stash: (0..stash).map(|_| AtomicU64::new(0)).collect(),
            filter: Default::default(),
        }
    }

    /// Fills a page that nobody else sees yet; false if not all found a place.
    fn take_all(&self, mut entries: impl Iterator<Item = Entry>) -> bool {
        let mut used = vec![0_u8; self.buckets.len()];
        entries.all(|(tag, location)| {
            let (a, b) = self.places(tag.0);
            let fill = |at: usize| used.get(at).copied().unwrap_or(u8::MAX);
            let at = if fill(a) <= fill(b) { a } else { b };
            let word = self.shape.word(tag, location);
            let bucket = self.buckets.get(at);
            let slot = bucket.and_then(|bucket| bucket.0.get(usize::from(fill(at))));
            let Some(slot) = slot else {
                return self.stash_away(word);
            };
            slot.store(word, Ordering::Relaxed);
            if let Some(used) = used.get_mut(at) {
                *used += 1;
            }
            true
        })
    }

    /// Whether keys with this hash belong here.
    pub(super) fn covers(&self, hash: u64) -> bool {
        hash & ((1 << self.depth) - 1) == self.index
    }

    /// Bytes of memory, the counts of a shared reference included.
    pub(super) fn bytes(&self) -> u64 {
        let fixed = size_of::<Page>() + 2 * size_of::<usize>();
        (fixed + size_of_val(&*self.buckets) + size_of_val(&*self.stash)) as u64
    }

    /// Whether so few words are used that a smaller page would do.
    pub(super) fn is_sparse(&self, entries: usize) -> bool {
        let words = self.buckets.len() * BUCKET_LEN;
        entries * 1_000 < words * SPARSE_MILLI
            && (entries == 0 || buckets_for(entries) < self.buckets.len())
    }

    // ---- reading, without a lock

    /// Adds the places of all entries that may be the key's.
    pub(super) fn find(&self, hash: u64, found: &mut Candidates) {
        let rest = hash >> self.depth;
        self.look(rest, |_, word| {
            found.push(self.shape.location(word));
            false
        });
    }

    /// All locations, in no order.
    pub(super) fn locations(&self) -> Vec<Location> {
        self.entries().map(|(_, location)| location).collect()
    }

    /// All entries, in no order. Gone through again they are the same as long as the caller holds the
    /// page's turn.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + Clone + '_ {
        let in_buckets = self.buckets.iter().flat_map(|bucket| bucket.0.iter());
        in_buckets.chain(self.stash.iter()).filter_map(|slot| {
            // Pairs with the writer's release: what the location names was written before.
            let word = slot.load(Ordering::Acquire);
            (word != 0).then(|| (self.shape.tag(word), self.shape.location(word)))
        })
    }

    /// Calls `each` with every word that may be the key's, until it answers true.
    fn look(&self, rest: u64, mut each: impl FnMut(&AtomicU64, u64) -> bool) -> bool {
        if self.buckets.is_empty() {
            return false;
        }
        let (a, b) = self.places(rest);
        let mut at = |slot: &AtomicU64| {
            // Acquire pairs with the release of whoever put the word there: its record is then
            // visible too. Each word is whole in itself, so the order among words is free.
            let word = slot.load(Ordering::Acquire);
            // A word with no bit set is empty; the tag's lowest bits are the word's.
            (word ^ rest) & PLACE_MASK == 0
                && word != 0
                && self.shape.tag(word).matches(rest)
                && each(slot, word)
        };
        let mut in_bucket = |index: usize| {
            let bucket = self.buckets.get(index);
            bucket.is_some_and(|bucket| bucket.0.iter().any(&mut at))
        };
        if in_bucket(a) || (b != a && in_bucket(b)) {
            return true;
        }
        self.may_be_stashed(rest) && self.stash.iter().any(at)
    }

    /// The two buckets of an entry: from its lowest bits alone, so that a page's next making
    /// needs no more than those.
    fn places(&self, rest: u64) -> (usize, usize) {
        let len = self.buckets.len() as u64;
        let spread = (rest & PLACE_MASK).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let spread = (spread ^ spread >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let scaled = |half: u64| (half * len) >> 32;
        let (a, b) = (scaled(spread >> 32), scaled(spread & 0xFFFF_FFFF));
        let b = if a == b { (a + 1) % len.max(1) } else { b };
        // Both are below the number of buckets, which is a `usize`.
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        (index(a), index(b))
    }

    fn filter_bit(&self, rest: u64) -> (Option<&AtomicU64>, u64) {
        let spread = (rest & PLACE_MASK).wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 56;
        (self.filter.get((spread >> 6) as usize), 1 << (spread & 63))
    }

    fn may_be_stashed(&self, rest: u64) -> bool {
        let (word, bit) = self.filter_bit(rest);
        // Pairs with the release in `stash_away`, which comes before the entry itself.
        word.is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    // ---- changing, by the one who holds the page's turn

    /// Adds an entry beside all others.
    pub(super) fn insert(&self, hash: u64, location: Location) -> Change {
        if self.buckets.is_empty() || !self.shape.fits(location) {
            return Change::NoRoom;
        }
        let rest = hash >> self.depth;
        let word = self
            .shape
            .word(Tag::of(rest, self.shape.tag_bits), location);
        let (a, b) = self.places(rest);
        let (Some(a), Some(b)) = (self.buckets.get(a), self.buckets.get(b)) else {
            return Change::NoRoom;
        };
        let bucket = if a.used() <= b.used() { a } else { b };
        let free = bucket
            .0
            .iter()
            .find(|slot| slot.load(Ordering::Relaxed) == 0);
        match free {
            // Release: a reader who finds the word finds what was written before it.
            Some(slot) => slot.store(word, Ordering::Release),
            None if self.stash_away(word) => {}
            None => return Change::NoRoom,
        }
        Change::Done
    }

    /// Puts `new` in the place of `old`, or takes `old` out.
    pub(super) fn replace(&self, hash: u64, old: Location, new: Option<Location>) -> Change {
        let rest = hash >> self.depth;
        let mut answer = Change::NotThere;
        self.look(rest, |slot, word| {
            if self.shape.location(word) != old {
                return false;
            }
            let put = match new {
                Some(new) if !self.shape.fits(new) => {
                    answer = Change::NoRoom;
                    return true;
                }
                Some(new) => self.shape.word(Tag::of(rest, self.shape.tag_bits), new),
                None => 0,
            };
            // The turn is held, so nobody else changes words; a compare all the same, for an
            // entry is never changed by one who does not say what it was.
            let changed = slot.compare_exchange(word, put, Ordering::AcqRel, Ordering::Relaxed);
            if changed.is_ok() {
                answer = Change::Done;
            }
            true
        });
        answer
    }

    fn stash_away(&self, word: u64) -> bool {
        let free = self
            .stash
            .iter()
            .find(|slot| slot.load(Ordering::Relaxed) == 0);
        let Some(slot) = free else { return false };
        if let (Some(filter), bit) = self.filter_bit(word) {
            // Before the word: who may see the word must not be told that there is none.
            filter.fetch_or(bit, Ordering::Release);
        }
        slot.store(word, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u32) -> Location {
        Location { slot: 3, offset }
    }

    #[test]
    fn a_word_gives_back_location_and_tag_whatever_is_shared_out() {
        for (slot, offset) in [(0, 0), (3, 70_000), (1_000, 1 << 26), (u16::MAX, u32::MAX)] {
            let shape = Shape::for_up_to(slot, offset);
            assert!(shape.tag_bits >= 16, "{shape:?}");
            let location = Location { slot, offset };
            let tag = Tag::of(0xDEAD_BEEF_1234_5678, shape.tag_bits);
            assert!(shape.fits(location));
            let word = shape.word(tag, location);
            assert_eq!((shape.location(word), shape.tag(word)), (location, tag));
        }
        let small = Shape::for_up_to(3, 70_000);
        assert!(
            !small.fits(at(1 << 20))
                && !small.fits(Location {
                    slot: 99,
                    offset: 1
                })
        );
    }

    #[test]
    fn a_tag_matches_what_it_knows_and_gives_one_bit_to_each_split() {
        let rest = 0b1011_0110_1110_0101_1010_u64;
        let tag = Tag::of(rest, 18);
        assert!(tag.matches(rest) && tag.matches(rest | 1 << 40) && !tag.matches(rest ^ 1));
        let (bit, tag) = tag.split().expect("17 bits are enough");
        assert!(!bit && tag.matches(rest >> 1));
        let (bit, tag) = tag.split().expect("16 are");
        let (_, tag) = tag.split().expect("15 are");
        assert!(bit && tag.matches(rest >> 3));
        assert_eq!(tag.split(), None, "14 are what the buckets need");
    }

    #[test]
    fn a_page_holds_all_it_was_made_of_and_takes_more_until_it_is_full() {
        let hash = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let shape = Shape::for_up_to(3, 1 << 20);
        for count in [0_u32, 1, 7, 100, 5_000] {
            let entry = |i| (Tag::of(hash(u64::from(i)), shape.tag_bits), at(i));
            let (page, taken) = Page::of(0, 0, shape, (0..count).map(entry));
            assert_eq!(taken, count as usize);
            let mut next = count;
            while page.insert(hash(u64::from(next)), at(next)) == Change::Done {
                next += 1;
            }
            assert_eq!(page.entries().count(), next as usize);
            for i in 0..next {
                let mut found = Candidates::default();
                page.find(hash(u64::from(i)), &mut found);
                assert!(found.contains(at(i)), "{i} of {count} and {next}");
            }
            if count >= 5_000 {
                let per_key = page.bytes() as f64 / f64::from(next);
                assert!(per_key < 9.2, "full at {per_key} bytes a key");
            }
        }
    }
}
