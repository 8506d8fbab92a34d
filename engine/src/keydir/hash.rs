//! The hash keydir: eight bytes an entry (a location, and as much of the hash as is left), no
//! keys. Entries stand in pages of a few thousand (`page`), each chosen by the end of the hash.
//!
//! It grows a page at a time: a full page is made anew a tenth larger, and when pages are large on
//! average the next one in turn is split in two (linear hashing, of pages). So no call waits for
//! more than one page, and the share of unused words is the same at every size. Readers take no
//! lock: they load a page and look at it; a page that was replaced meanwhile lives until they let
//! go. The hash is keyed with the store's secret: strangers cannot aim.

use std::iter;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::candidates::Candidates;
use super::image::SlotMap;
use super::page::{Change, Entry, Page, Shape, Tag};
use crate::mutant::{self, Mutant};
use crate::parallel::in_parallel;
use crate::segment::location::Location;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Entries of a page on average. Pages not split yet hold up to twice as many as those that were.
/// So few under loom that its model gets to see a split.
const PAGE_ENTRIES: u64 = if cfg!(all(test, feature = "loom")) {
    4
} else {
    2_600
};
/// Chunk `n` holds the cells of pages from 2^(n-1) on, chunk 0 the first: cells never move.
const CHUNKS: usize = 40;

/// Pages of an image that one thread takes at a time.
const LOADED_AT_ONCE: usize = 16;

/// Pages that are split side by side while the store opens; what is made waits until all of them are.
const SPLIT_AT_ONCE: u64 = 256;

/// Reads the record at a location and hashes its key; `None` if that cannot be read.
pub(crate) type Rehash<'a> = &'a (dyn Fn(Location) -> Option<u128> + Sync);

/// Where a page stands.
#[derive(Default)]
struct Cell {
    /// `None` in cells that are not in use yet. Only the holder of the turn swaps it.
    page: ArcSwapOption<Page>,
    /// The turn to change the page or its words; guards how many entries it has.
    turn: Mutex<usize>,
}

/// From the hash of a key to its candidates.
pub(crate) struct HashKeydir {
    chunks: [OnceLock<Box<[Cell]>>; CHUNKS],
    /// Pages in use.
    pages: AtomicU64,
    len: AtomicU64,
    /// Bytes of all pages and cells.
    bytes: AtomicU64,
    /// The next split is due above so many entries.
    split_above: AtomicU64,
    /// One split at a time.
    splitting: Mutex<()>,
    /// The highest ever seen: new pages are made so that these fit.
    offset_max: AtomicU64,
    slot_max: AtomicU64,
}

/// What of a key's hash places it: the pages are those of equal last bits. Turned round, so that
/// keys in the order of their hashes come page by page.
fn turned(hash: u128) -> u64 {
    ((hash >> 64) as u64).reverse_bits()
}

/// The page of a hash when there are `pages` of them.
fn index_of(hash: u64, pages: u64) -> u64 {
    let all = pages.next_power_of_two();
    let index = hash & (all - 1);
    if index < pages {
        index
    } else {
        index & (all / 2 - 1)
    }
}

/// How many bits of the hash the page `index` stands for when there are `pages`.
fn depth_of(index: u64, pages: u64) -> u32 {
    let low = 1 << pages.ilog2();
    let split = index < pages - low || index >= low;
    pages.ilog2() + u32::from(split)
}

impl HashKeydir {
    pub(crate) fn new() -> HashKeydir {
        let keydir = HashKeydir {
            chunks: [const { OnceLock::new() }; CHUNKS],
            pages: AtomicU64::new(0),
            len: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            split_above: AtomicU64::new(PAGE_ENTRIES),
            splitting: Mutex::new(()),
            offset_max: AtomicU64::new(0),
            slot_max: AtomicU64::new(0),
        };
        keydir.set_pages(1);
        keydir
    }

    /// Where the key may lie.
    pub(crate) fn candidates(&self, hash: u128) -> Candidates {
        let hash = turned(hash);
        let mut found = Candidates::default();
        loop {
            let page = self.cell_of(hash).page.load();
            // After a split the page here may stand for fewer keys than this reader thought. The
            // number of pages was raised before the page was swapped, so it is seen now.
            if let Some(page) = page.as_ref().filter(|page| page.covers(hash)) {
                page.find(hash, &mut found);
                return found;
            }
        }
    }

    /// Puts `new` in the place of `old`, as `Keydir::change`.
    pub(crate) fn change(&self, hash: u128, old: Option<Location>, new: Option<Location>) -> bool {
        let hash = turned(hash);
        if let Some(new) = new {
            self.note(new);
        }
        loop {
            let cell = self.cell_of(hash);
            let mut count = cell.lock();
            let page = cell.page.load();
            let Some(page) = page.as_ref().filter(|page| page.covers(hash)) else {
                continue;
            };
            let answer = match (old, new) {
                (None, None) => return true,
                (None, Some(new)) => page.insert(hash, new),
                (Some(old), new) => page.replace(hash, old, new),
            };
            match (answer, old, new) {
                (Change::NotThere, ..) => return false,
                (Change::NoRoom, None, Some(new)) => {
                    let entry = (Tag::of(hash >> page.depth, u64::BITS), new);
                    let entries = page.entries().chain(iter::once(entry));
                    self.swap(cell, &mut count, page.index, page.depth, entries);
                    self.len.fetch_add(1, Ordering::Relaxed);
                }
                // The words of this page are too narrow for the new place.
                (Change::NoRoom, ..) => {
                    self.swap(cell, &mut count, page.index, page.depth, page.entries());
                    continue;
                }
                (Change::Done, None, _) => {
                    *count += 1;
                    self.len.fetch_add(1, Ordering::Relaxed);
                }
                (Change::Done, Some(_), None) => {
                    *count -= 1;
                    self.len.fetch_sub(1, Ordering::Relaxed);
                    // Memory follows the keys down as well as up.
                    if page.is_sparse(*count) {
                        self.swap(cell, &mut count, page.index, page.depth, page.entries());
                    }
                }
                (Change::Done, Some(_), Some(_)) => {}
            }
            return true;
        }
    }

    /// Splits as many pages as are due. The writer calls it after each write; until then pages
    /// just grow. `rehash` is asked for entries that were split so often, or whose locations take
    /// so many bits, that nothing of the hash is left to split by; where it fails, splitting is
    /// put off.
    pub(crate) fn tend(&self, rehash: Rehash<'_>) {
        while self.len() > self.split_above.load(Ordering::Relaxed) {
            let Ok(_one_at_a_time) = self.splitting.try_lock() else {
                return;
            };
            self.split(rehash);
        }
    }

    fn split(&self, rehash: Rehash<'_>) {
        let pages = self.pages.load(Ordering::Acquire);
        let index = pages - (1 << pages.ilog2());
        let cell = self.cell(index);
        let mut count = cell.lock();
        let page = cell.page.load();
        let page = page
            .as_ref()
            .expect("cells below the number of pages have one");
        if page.entries().all(|(tag, _)| tag.split().is_some()) {
            let half = |of: bool| {
                let split = |(tag, at): Entry| tag.split().map(|(bit, tag)| (bit, (tag, at)));
                let halves = page.entries().filter_map(split);
                halves.filter_map(move |(bit, entry)| (bit == of).then_some(entry))
            };
            self.split_into(cell, &mut count, page, (half(false), half(true)));
        } else if let Some([stay, go]) = rehashed(page, rehash) {
            let halves = (stay.iter().copied(), go.iter().copied());
            self.split_into(cell, &mut count, page, halves);
        } else {
            let later = self.len() + self.len() / 4;
            self.split_above.store(later, Ordering::Relaxed);
        }
    }

    /// The caller holds the turn of the page, which is the next to be split, and says what stays in it
    /// and what goes.
    fn split_into<E: Iterator<Item = Entry> + Clone>(
        &self,
        cell: &Cell,
        count: &mut usize,
        page: &Page,
        (stay, go): (E, E),
    ) {
        let (pages, depth) = (self.pages.load(Ordering::Acquire), page.depth + 1);
        let new = self.cell_or_new(pages);
        self.swap(new, &mut new.lock(), pages, depth, go);
        // In this order, so that a reader finds every key at every moment: the new page, then that
        // it is there, then the old one without what went. Release pairs with the acquire of
        // `cell_of`; who finds the halved page by way of its swap sees the new number.
        self.pages.store(pages + 1, Ordering::Release);
        self.swap(cell, count, page.index, depth, stay);
        self.split_above
            .store((pages + 1) * PAGE_ENTRIES, Ordering::Relaxed);
    }

    // ---- filling, while the store opens

    /// Makes room for about `entries` in an empty keydir.
    pub(crate) fn expect(&self, entries: u64) {
        if self.len() == 0 {
            self.set_pages(entries.div_ceil(PAGE_ENTRIES).max(1));
        }
    }

    /// Adds many entries at once, sorted by hash: page by page.
    pub(crate) fn fill(&self, rows: &[(u128, Location)]) {
        for (_, location) in rows {
            self.note(*location);
        }
        let pages = self.pages.load(Ordering::Acquire);
        let page_of = |row: &(u128, Location)| index_of(turned(row.0), pages);
        let mut entries: Vec<Entry> = Vec::new();
        for rows in rows.chunk_by(|a, b| page_of(a) == page_of(b)) {
            let Some(index) = rows.first().map(page_of) else {
                continue;
            };
            let cell = self.cell(index);
            let mut count = cell.lock();
            let page = cell.page.load();
            let page = page
                .as_ref()
                .expect("cells below the number of pages have one");
            let tag = |hash: &u128| Tag::of(turned(*hash) >> page.depth, u64::BITS);
            let new = rows.iter().map(|(hash, location)| (tag(hash), *location));
            self.len.fetch_add(rows.len() as u64, Ordering::Relaxed);
            // They are gone through several times: as a list, which one thread has once, in half the time.
            entries.clear();
            entries.extend(page.entries().chain(new));
            self.swap(cell, &mut count, index, page.depth, entries.iter().copied());
        }
    }

    /// Splits the pages that so many entries ask for, as `tend` would one after the other. Nobody else
    /// uses the keydir yet.
    pub(crate) fn split_for(&self, entries: u64, rehash: Rehash<'_>, threads: usize) {
        let due = entries.div_ceil(PAGE_ENTRIES);
        loop {
            let pages = self.pages.load(Ordering::Acquire);
            let level = 1 << pages.ilog2();
            // What is made by one of these splits is not split by another.
            let end = due.min(2 * level).min(pages + SPLIT_AT_ONCE);
            let split: Vec<u64> = (pages - level..end.saturating_sub(level)).collect();
            let halves = in_parallel(&split, threads, |index| self.halves_of(*index, rehash));
            if halves.is_empty() {
                return;
            }
            for (index, halves) in split.into_iter().zip(halves) {
                // `tend` puts off what cannot be split.
                let Some([stay, go]) = halves else { return };
                let (cell, new) = (self.cell(index), self.cell_or_new(index + level));
                self.install(new, &mut new.lock(), go);
                self.pages.store(index + level + 1, Ordering::Release);
                self.install(cell, &mut cell.lock(), stay);
                self.split_above
                    .store((index + level + 1) * PAGE_ENTRIES, Ordering::Relaxed);
            }
        }
    }

    /// The two pages that one is split into, each with how many entries it has.
    fn halves_of(&self, index: u64, rehash: Rehash<'_>) -> Option<[(Page, usize); 2]> {
        let page = self.cell(index).page.load();
        let page = page.as_ref()?;
        let halves = rehashed(page, rehash)?;
        let depth = page.depth + 1;
        let bit = 1 << page.depth;
        let made = |index: u64, half: &[Entry]| self.made(index, depth, half.iter().copied());
        let [stay, go] = &halves;
        Some([made(index, stay), made(index | bit, go)])
    }

    fn set_pages(&self, pages: u64) {
        for index in 0..pages {
            let cell = self.cell_or_new(index);
            let page = Page::empty(index, depth_of(index, pages));
            let was = cell.page.load().as_ref().map_or(0, |page| page.bytes());
            self.bytes.fetch_add(page.bytes(), Ordering::Relaxed);
            self.bytes.fetch_sub(was, Ordering::Relaxed);
            cell.page.store(Some(Arc::new(page)));
        }
        self.pages.store(pages, Ordering::Release);
        self.split_above
            .store(pages * PAGE_ENTRIES, Ordering::Relaxed);
    }

    // ---- the keydir image

    /// As `Keydir::save`: a block for each page. None is split meanwhile.
    pub(super) fn save<E>(&self, emit: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
        let splitting = self.splitting.lock();
        let _no_split = splitting.unwrap_or_else(PoisonError::into_inner);
        let (mut body, mut entries) = (Vec::new(), 0);
        for index in 0..self.pages.load(Ordering::Acquire) {
            let page = self.cell(index).page.load();
            body.clear();
            if let Some(page) = &*page {
                entries += page.save(&mut body) as u64;
            }
            drop(page);
            emit(&body)?;
        }
        Ok(entries)
    }

    /// Fills an empty keydir from the blocks that it was saved as; `None`, and to be thrown away, if the
    /// bodies are not there or not those of all pages in order.
    pub(crate) fn load<B: Sync>(
        &self,
        blocks: &[B],
        body_of: impl for<'b> Fn(&'b B) -> Option<&'b [u8]> + Sync,
        slots: &SlotMap,
        threads: usize,
    ) -> Option<()> {
        let pages = blocks.len() as u64;
        if pages == 0 {
            return None;
        }
        let parts: Vec<_> = blocks.chunks(LOADED_AT_ONCE).collect();
        let loaded = in_parallel(&parts, threads, |part| {
            let pages = part.iter().map(|block| Page::load(body_of(block)?, slots));
            pages.collect::<Option<Vec<_>>>()
        });
        let loaded: Vec<_> = loaded.into_iter().collect::<Option<_>>()?;
        for (index, (page, count)) in (0..pages).zip(loaded.into_iter().flatten()) {
            if page.index != index || page.depth != depth_of(index, pages) {
                return None;
            }
            self.len.fetch_add(count as u64, Ordering::Relaxed);
            let cell = self.cell_or_new(index);
            self.install(cell, &mut cell.lock(), (page, count));
        }
        self.pages.store(pages, Ordering::Release);
        self.split_above
            .store(pages * PAGE_ENTRIES, Ordering::Relaxed);
        Some(())
    }

    // ---- asking

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    #[cfg(all(test, feature = "loom"))]
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    pub(crate) fn index_bytes(&self) -> u64 {
        size_of::<HashKeydir>() as u64 + self.bytes.load(Ordering::Relaxed)
    }

    /// The locations of the page that holds the hashes from `from` on, and where the next one
    /// begins; `None` behind the last. Begun with 0 and followed through, it gives each entry that
    /// is there all the while once, however many pages are split meanwhile.
    pub(crate) fn part(&self, from: u64) -> (Vec<Location>, Option<u64>) {
        let hash = from.reverse_bits();
        loop {
            let page = self.cell_of(hash).page.load();
            if let Some(page) = page.as_ref().filter(|page| page.covers(hash)) {
                let first = page.index.reverse_bits();
                let span = 1_u64.checked_shl(u64::BITS - page.depth);
                let next = span.and_then(|span| first.checked_add(span));
                return (page.locations(), next);
            }
        }
    }

    // ---- within

    fn note(&self, location: Location) {
        // What a page is made of is noted before it is made; what is noted later costs a making.
        let raise = |max: &AtomicU64, to: u64| {
            if max.load(Ordering::Relaxed) < to {
                max.fetch_max(to, Ordering::Relaxed);
            }
        };
        raise(&self.offset_max, u64::from(location.offset));
        raise(&self.slot_max, u64::from(location.slot));
    }

    fn shape(&self) -> Shape {
        let slot = self.slot_max.load(Ordering::Relaxed);
        let offset = self.offset_max.load(Ordering::Relaxed);
        Shape::for_up_to(
            u16::try_from(slot).unwrap_or(u16::MAX),
            u32::try_from(offset).unwrap_or(u32::MAX),
        )
    }

    /// Makes the cell's page anew. The caller holds the cell's turn.
    fn swap(
        &self,
        cell: &Cell,
        count: &mut usize,
        index: u64,
        depth: u32,
        entries: impl Iterator<Item = Entry> + Clone,
    ) {
        let made = self.made(index, depth, entries);
        self.install(cell, count, made);
    }

    /// A page of these entries, and how many they are.
    fn made(
        &self,
        index: u64,
        depth: u32,
        entries: impl Iterator<Item = Entry> + Clone,
    ) -> (Page, usize) {
        // Whatever came by way of an image was never noted: a word too narrow for a place would
        // name another.
        if !mutant::is_on(Mutant::ImagePlacesCutOff) {
            let farthest = |far: Location, (_, at): Entry| Location {
                slot: far.slot.max(at.slot),
                offset: far.offset.max(at.offset),
            };
            let near = Location { slot: 0, offset: 0 };
            self.note(entries.clone().fold(near, farthest));
        }
        Page::of(index, depth, self.shape(), entries)
    }

    /// Puts a page into its cell. The caller holds the cell's turn.
    fn install(&self, cell: &Cell, count: &mut usize, (page, entries): (Page, usize)) {
        *count = entries;
        self.bytes.fetch_add(page.bytes(), Ordering::Relaxed);
        // A release: who loads the page sees all its words.
        if let Some(old) = cell.page.swap(Some(Arc::new(page))) {
            self.bytes.fetch_sub(old.bytes(), Ordering::Relaxed);
        }
    }

    fn cell_of(&self, hash: u64) -> &Cell {
        // Acquire: the cells of so many pages are there.
        let pages = self.pages.load(Ordering::Acquire);
        self.cell(index_of(hash, pages))
    }

    fn cell(&self, index: u64) -> &Cell {
        let (chunk, at) = place_of(index);
        let cells = self.chunks.get(chunk).and_then(OnceLock::get);
        cells
            .and_then(|cells| cells.get(at))
            .expect("cells below the number of pages are made")
    }

    fn cell_or_new(&self, index: u64) -> &Cell {
        let (chunk, at) = place_of(index);
        let made = self.chunks.get(chunk);
        let made = made.expect("2^39 pages are more than memory holds");
        let cells = made.get_or_init(|| {
            let len = 1_usize << chunk.saturating_sub(1);
            let cells: Box<[Cell]> = (0..len).map(|_| Cell::default()).collect();
            self.bytes
                .fetch_add(size_of_val(&*cells) as u64, Ordering::Relaxed);
            cells
        });
        cells
            .get(at)
            .expect("a chunk holds as many as lie before it")
    }
}

impl Cell {
    // A panic in another thread leaves the page whole: words change one at a time.
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of the page by the next bit of their hashes, read from their records where nothing of
/// them is left. About as many go as stay; hashes are even.
fn rehashed(page: &Page, rehash: Rehash<'_>) -> Option<[Vec<Entry>; 2]> {
    let mut halves = [Vec::new(), Vec::new()];
    for (tag, location) in page.entries() {
        let (bit, tag) = match tag.split() {
            Some(split) => split,
            None => {
                let rest = turned(rehash(location)?) >> page.depth;
                (rest & 1 == 1, Tag::of(rest >> 1, u64::BITS))
            }
        };
        let [stay, go] = &mut halves;
        if bit { go } else { stay }.push((tag, location));
    }
    Some(halves)
}

/// The chunk of a cell, and its place there.
fn place_of(index: u64) -> (usize, usize) {
    match index.checked_ilog2() {
        None => (0, 0),
        // An index of a cell in memory is a `usize`.
        Some(log) => (
            log as usize + 1,
            usize::try_from(index - (1 << log)).unwrap_or(usize::MAX),
        ),
    }
}

#[cfg(test)]
mod tests;
