//! A page of the hash keydir as bytes, and back: its words as they stand, for the keydir image.

use super::{BUCKET_LEN, Bucket, Entry, PLACE_BITS, Page, Shape};
use crate::keydir::image::{SlotMap, Translated};
use crate::segment::cursor::Cursor;
use crate::segment::format::{narrow, put_u32, put_u64};
use crate::segment::location::Location;
use crate::sync::atomic::{AtomicU64, Ordering};

/// More splits than memory allows.
const DEPTH_MAX: u32 = 40;
/// Bytes of a word, and of a bucket.
const WORD_LEN: usize = size_of::<u64>();
const LINE_LEN: usize = BUCKET_LEN * WORD_LEN;

/// Takes words over one by one while all of them are plain: empty, or with a place that has its like now.
/// It never branches on what a word is, which no processor could foresee.
struct Quick<'a> {
    shape: Shape,
    slots: &'a SlotMap,
    slot_max: u16,
    used: usize,
    /// Whether all words so far were plain; if not, what was made of them counts for nothing.
    all_sound: bool,
}

impl<'a> Quick<'a> {
    fn new(shape: Shape, slots: &'a SlotMap) -> Quick<'a> {
        Quick {
            shape,
            slots,
            slot_max: shape.slot_max(),
            used: 0,
            all_sound: true,
        }
    }

    #[inline]
    fn next<'b>(&mut self, words: &mut impl Iterator<Item = &'b [u8]>) -> AtomicU64 {
        let bytes = words.next().and_then(|bytes| bytes.first_chunk());
        let word = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let place_bits = self.shape.tag_bits + self.shape.offset_bits;
        let at = self.shape.location(word);
        let (slot, end) = self.slots.place(at.slot);
        let is_entry = word != 0;
        let is_plain = (u64::from(at.offset) < end)
            & (slot <= self.slot_max)
            & (self.shape.tag(word).0 >> PLACE_BITS != 0);
        self.all_sound &= is_plain | !is_entry;
        self.used += usize::from(is_entry);
        let moved = u64::from(slot) << place_bits | word & ((1 << place_bits) - 1);
        AtomicU64::new(if is_entry { moved } else { 0 })
    }
}

impl Page {
    /// The words as they stand, and how many are used.
    pub(in crate::keydir) fn save(&self, out: &mut Vec<u8>) -> usize {
        put_u64(out, self.index);
        let small = |bits: u32| u8::try_from(bits).expect("below 64");
        let (tag_bits, offset_bits) = (self.shape.tag_bits, self.shape.offset_bits);
        out.extend_from_slice(&[small(self.depth), small(tag_bits), small(offset_bits), 0]);
        let len = |len: usize| u32::try_from(len).expect("a page fits in memory many times");
        put_u32(out, len(self.buckets.len()));
        put_u32(out, len(self.stash.len()));
        let in_buckets = self.buckets.iter().flat_map(|bucket| bucket.0.iter());
        let mut used = 0;
        for slot in in_buckets.chain(self.stash.iter()) {
            let word = slot.load(Ordering::Acquire);
            used += usize::from(word != 0);
            put_u64(out, word);
        }
        used
    }

    /// A page from what `save` gave, with its locations translated, and how many entries it has;
    /// `None` for what `save` cannot have given.
    pub(in crate::keydir) fn load(body: &[u8], slots: &SlotMap) -> Option<(Page, usize)> {
        let mut cursor = Cursor::new(body);
        let index = cursor.u64()?;
        let [depth, tag_bits, offset_bits, 0] = cursor.array()? else {
            return None;
        };
        let shape = Shape {
            tag_bits: tag_bits.into(),
            offset_bits: offset_bits.into(),
        };
        let (buckets, stash) = (narrow(cursor.u32()?), narrow(cursor.u32()?));
        let words = buckets.checked_mul(BUCKET_LEN)?.checked_add(stash)?;
        let depth = u32::from(depth);
        if cursor.len() != words.checked_mul(WORD_LEN)?
            || depth > DEPTH_MAX
            || index >> depth != 0
            || !shape.is_sound()
        {
            return None;
        }
        let words = cursor.take(cursor.len())?;
        let (in_buckets, in_stash) = words.split_at_checked(buckets * LINE_LEN)?;
        let mut quick = Quick::new(shape, slots);
        let page = Page {
            index,
            depth,
            shape,
            buckets: in_buckets
                .chunks_exact(LINE_LEN)
                .map(|line| {
                    let mut words = line.chunks_exact(WORD_LEN);
                    Bucket(std::array::from_fn(|_| quick.next(&mut words)))
                })
                .collect(),
            stash: {
                let mut words = in_stash.chunks_exact(WORD_LEN);
                (0..stash).map(|_| quick.next(&mut words)).collect()
            },
            filter: Default::default(),
        };
        if quick.all_sound {
            page.filter_stash();
            return Some((page, quick.used));
        }
        // Some entry is gone, takes more bits in its new place, or is none.
        let page = Page::with_room(index, depth, shape, buckets, stash);
        page.load_words(&mut Cursor::new(words), slots)
    }

    /// Sets the filter of what stands in the stash.
    fn filter_stash(&self) {
        for slot in &self.stash {
            let word = slot.load(Ordering::Relaxed);
            if let (Some(filter), bit) = self.filter_bit(word)
                && word != 0
            {
                filter.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn load_words(self, cursor: &mut Cursor<'_>, slots: &SlotMap) -> Option<(Page, usize)> {
        let mut used = 0;
        // Entries whose new place is too large for this page's words.
        let mut wide = Vec::new();
        for slot in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            if let Some(word) = self.load_word(cursor.u64()?, slots, &mut used, &mut wide)? {
                slot.store(word, Ordering::Relaxed);
            }
        }
        for slot in &self.stash {
            if let Some(word) = self.load_word(cursor.u64()?, slots, &mut used, &mut wide)? {
                slot.store(word, Ordering::Relaxed);
            }
        }
        self.filter_stash();
        if wide.is_empty() {
            return Some((self, used));
        }
        let most = |part: fn(&Location) -> u32| wide.iter().map(|(_, at)| part(at)).max();
        let slot = u16::try_from(most(|at| at.slot.into()).unwrap_or(0)).unwrap_or(u16::MAX);
        let offset_max = (1 << self.shape.offset_bits) - 1;
        let offset = u32::try_from(offset_max).unwrap_or(u32::MAX);
        let slot = slot.max(self.shape.slot_max());
        wide.extend(self.entries());
        let shape = Shape::for_up_to(slot, offset);
        let (page, _) = Page::of(self.index, self.depth, shape, wide.iter().copied());
        Some((page, used))
    }

    /// The word to put where `word` stood, if any; `None` for what `save` cannot have given.
    #[inline]
    fn load_word(
        &self,
        word: u64,
        slots: &SlotMap,
        used: &mut usize,
        wide: &mut Vec<Entry>,
    ) -> Option<Option<u64>> {
        if word == 0 {
            return Some(None);
        }
        let tag = self.shape.tag(word);
        if tag.0 >> PLACE_BITS == 0 {
            return None;
        }
        let Translated::To(location) = slots.translate(self.shape.location(word))? else {
            return Some(None);
        };
        *used += 1;
        if !self.shape.fits(location) {
            wide.push((tag, location));
            return Some(None);
        }
        Some(Some(self.shape.word(tag, location)))
    }
}
