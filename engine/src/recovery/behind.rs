//! What lies behind an image: the records of one keyspace that it does not cover, brought into the keydir
//! that it filled. They come from the hints in ranges of the hash, each of which one thread goes through;
//! no two ranges have a key in common.

use std::cmp::Ordering;
use std::sync::Arc;

use super::fill::{self, Heads};
use super::load::{HintBytes, Opened};
use crate::keydir::hash::HashKeydir;
use crate::keydir::ordered::{Entries, OrderedKeydir};
use crate::keydir::space::Space;
use crate::parallel::{self, in_parallel};
use crate::segment::data_file::Segment;
use crate::segment::format::narrow;
use crate::segment::hint_file::{Hint, HintRow};
use crate::segment::live::Live;
use crate::segment::location::Location;
use crate::segment::record::{RecordHeader, RecordKind};
use crate::segment::table::{Slots, Table};

/// The records of a keyspace that an image does not cover.
pub(super) struct Behind<'a> {
    space: &'a Space,
    parts: Vec<Part<'a>>,
    /// Into how many ranges of the hash they are cut.
    ranges: usize,
    slots: Arc<Slots>,
    threads: usize,
}

/// Those of one segment.
struct Part<'a> {
    segment: &'a Arc<Segment>,
    hint: &'a Hint<HintBytes>,
    section: usize,
    /// Up to here the image knows the segment.
    covered: u64,
}

/// A record among the others of its range: what orders it, and where its hint tells the rest.
#[derive(Clone, Copy)]
struct Fresh {
    hash: u128,
    seq: u64,
    part: u32,
    row: u32,
}

// Millions of them are sorted.
const _: () = assert!(size_of::<Fresh>() == 32);

/// The newest record of a key among the others of an ordered keyspace.
struct Keyed<'a> {
    head: u64,
    key: &'a [u8],
    fresh: (u32, u32),
    offset: u32,
    is_put: bool,
}

impl<'a> Behind<'a> {
    /// `covered` tells up to where the image knows a segment.
    pub(super) fn new(
        space: &'a Space,
        segments: &'a [Opened],
        covered: &dyn Fn(&Segment) -> u64,
        table: &Table,
        threads: usize,
    ) -> Behind<'a> {
        let mut parts = Vec::new();
        let mut rows = 0;
        for (segment, hint) in segments {
            let section = hint.as_ref().and_then(|hint| {
                let section = hint.section_for(space.id())?;
                Some((hint, section))
            });
            let Some((hint, section)) = section else {
                continue;
            };
            rows += hint.sections().get(section).map_or(0, |s| s.row_count());
            let covered = covered(segment);
            parts.push(Part {
                segment,
                hint,
                section,
                covered,
            });
        }
        Behind {
            space,
            parts,
            ranges: fill::ranges_for(rows),
            slots: table.load_full(),
            threads,
        }
    }

    /// Brings them into a hash keydir.
    pub(super) fn into_hash(self, keydir: &HashKeydir) {
        let rehash = |place: Location| {
            let segment = self.slots.get(place.slot)?;
            let hash = |_: &RecordHeader, key: &[u8]| self.space.hash(key);
            segment.look(u64::from(place.offset), hash).ok()
        };
        let before = keydir.len();
        self.settle_range(keydir, 0);
        // Hashes are even: what one range adds the others will. Pages are split before, by all threads, not
        // one after the other when they are full.
        let adds = keydir.len().saturating_sub(before);
        let expected = before.saturating_add(adds.saturating_mul(self.ranges as u64));
        keydir.split_for(expected, &rehash, self.threads);
        let rest: Vec<usize> = (1..self.ranges).collect();
        in_parallel(&rest, self.threads, |range| {
            self.settle_range(keydir, *range);
        });
        // Lest the first write has to.
        keydir.tend(&rehash);
    }

    /// Most of a range is new to the image: that is put in page by page.
    fn settle_range(&self, keydir: &HashKeydir, range: usize) {
        let rows = self.range(range);
        let mut new = Vec::with_capacity(rows.len());
        let mut live = self.nothing_live();
        for fresh in &rows {
            let row = self.row(fresh.part, fresh.row);
            let places = keydir.candidates(fresh.hash);
            if row.is_put() && places.is_empty() {
                row.count(self.space, live.get_mut(row.part));
                new.push((fresh.hash, row.location()));
                continue;
            }
            let old = match self.verdict(&row, places.iter()) {
                Verdict::Older => continue,
                Verdict::Known => {
                    row.count(self.space, live.get_mut(row.part));
                    continue;
                }
                Verdict::Newer(old) => old,
            };
            row.count(self.space, live.get_mut(row.part));
            if old.is_some() || row.is_put() {
                keydir.change(fresh.hash, old, row.is_put().then(|| row.location()));
            }
        }
        self.add_live(&live);
        keydir.fill(&new);
    }

    /// Fills an ordered keydir with the entries of the image, which come in parts, and with these. Both
    /// are gone through in the order of the keys: one by one each record would copy a leaf.
    pub(super) fn into_ordered(self, keydir: &OrderedKeydir, mut entries: Vec<Entries<'a>>) {
        let (rows, heads) = self.by_key();
        if rows.is_empty() {
            return keydir.fill(&entries, self.threads);
        }
        entries.retain(|part| !part.is_empty());
        if entries.is_empty() {
            entries.push(Entries::new());
        }
        let mut left = &rows[..];
        let mut work = Vec::with_capacity(entries.len());
        let next_keys = entries.iter().skip(1).map(|part| part.first());
        for (part, next) in entries.iter().zip(next_keys.chain([None])) {
            let below = |row: &Keyed<'_>| {
                next.is_none_or(|(key, _)| heads.order(key, (row.head, row.key)).is_gt())
            };
            let (rows, rest) = left.split_at(left.partition_point(below));
            work.push((part, rows));
            left = rest;
        }
        let merged = in_parallel(&work, self.threads, |(entries, rows)| {
            self.merged(entries, rows, heads)
        });
        drop((rows, entries));
        keydir.fill(&merged, self.threads);
    }

    /// All of them in the order of their keys, of each key the newest.
    fn by_key(&self) -> (Vec<Keyed<'a>>, Heads<'a>) {
        let all: Vec<usize> = (0..self.ranges).collect();
        let ranges = in_parallel(&all, self.threads, |range| {
            let mut live = self.nothing_live();
            let rows = self.range(*range);
            let keyed: Vec<Keyed<'a>> = rows
                .iter()
                .map(|fresh| {
                    let row = self.row(fresh.part, fresh.row);
                    row.count(self.space, live.get_mut(row.part));
                    Keyed {
                        head: 0,
                        key: row.key,
                        fresh: (fresh.part, fresh.row),
                        offset: row.row.offset,
                        is_put: row.is_put(),
                    }
                })
                .collect();
            self.add_live(&live);
            let heads = Heads::of(keyed.iter().map(|row| row.key));
            (keyed, heads)
        });
        let heads = ranges.iter().map(|(_, heads)| *heads);
        let heads = heads.reduce(Heads::with).unwrap_or_else(Heads::none);
        let mut rows = Vec::with_capacity(ranges.iter().map(|(rows, _)| rows.len()).sum());
        for (range, _) in ranges {
            rows.extend(range.into_iter().map(|row| Keyed {
                head: heads.of_key(row.key),
                ..row
            }));
        }
        parallel::sort(&mut rows, self.threads, &|a, b| {
            (a.head, a.key).cmp(&(b.head, b.key))
        });
        // As when a keydir is filled by hints alone.
        rows.dedup_by(|later, first| (later.head, later.key) == (first.head, first.key));
        (rows, heads)
    }

    /// Entries of the image with the records that belong among them. What is live among these was counted.
    fn merged(
        &self,
        entries: &[(&'a [u8], Location)],
        rows: &[Keyed<'a>],
        heads: Heads<'a>,
    ) -> Entries<'a> {
        let mut all = Vec::with_capacity(entries.len() + rows.len());
        let mut entries = entries.iter().copied().peekable();
        for new in rows {
            let mut old = None;
            while let Some((key, place)) = entries.peek().copied() {
                let order = heads.order(key, (new.head, new.key));
                if order == Ordering::Greater {
                    break;
                }
                entries.next();
                match order {
                    Ordering::Equal => old = Some(place),
                    _ => all.push((key, place)),
                }
            }
            let place = match old {
                None => new.is_put.then(|| self.place(new.fresh.0, new.offset)),
                Some(_) => self.of_two(new, old),
            };
            all.extend(place.map(|place| (new.key, place)));
        }
        all.extend(entries);
        all
    }

    /// Which of the image's entry and a record with its key stands.
    fn of_two(&self, new: &Keyed<'a>, old: Option<Location>) -> Option<Location> {
        let row = self.row(new.fresh.0, new.fresh.1);
        match self.verdict(&row, old.into_iter()) {
            Verdict::Known => old,
            Verdict::Newer(_) => row.is_put().then(|| row.location()),
            Verdict::Older => {
                if row.is_put() {
                    let (len, expiry) = (row.row.len, row.row.expiry);
                    row.segment.note_dead(self.space.id(), len, expiry);
                }
                old
            }
        }
    }

    /// One range of them: of each hash the record with the highest seq, by rising hash.
    fn range(&self, range: usize) -> Vec<Fresh> {
        let mut rows: Vec<Fresh> = Vec::new();
        for (number, part) in (0..).zip(&self.parts) {
            let mut tombstones = Live::default();
            for at in fill::rows_of_range(part.hint, part.section, range, self.ranges) {
                let row = part.hint.row(part.section, at);
                if u64::from(row.offset) < part.covered {
                    continue;
                }
                if row.kind == RecordKind::Tombstone {
                    tombstones.tombstone_bytes += row.len;
                }
                rows.push(Fresh {
                    hash: row.hash,
                    seq: row.seq,
                    part: number,
                    row: u32::try_from(at).expect("a segment has fewer than 2^32 records"),
                });
            }
            part.segment.add_all_live(&tombstones);
        }
        // Those of each segment are in this order already: this sort finds such runs and merges them.
        rows.sort_by_key(|row| (row.hash, row.seq));
        rows.dedup_by(|later, kept| {
            let same = later.hash == kept.hash;
            if same {
                *kept = *later;
            }
            same
        });
        rows
    }

    fn row(&self, part: u32, row: u32) -> Row<'a> {
        let number = narrow(part);
        let part = self.parts.get(number).expect("it was numbered so");
        let row = narrow(row);
        Row {
            part: number,
            row: part.hint.row(part.section, row),
            key: part.hint.key(part.section, row).unwrap_or_default(),
            segment: part.segment,
        }
    }

    fn place(&self, part: u32, offset: u32) -> Location {
        let part = self.parts.get(narrow(part)).expect("it was numbered so");
        Location {
            slot: part.segment.slot,
            offset,
        }
    }

    /// What is live by these in each of the segments.
    fn nothing_live(&self) -> Vec<Live> {
        vec![Live::default(); self.parts.len()]
    }

    fn add_live(&self, live: &[Live]) {
        for (part, live) in self.parts.iter().zip(live) {
            part.segment.add_all_live(live);
        }
    }

    /// What a record is beside the entries that the image has for its key; what is dead by that is counted.
    fn verdict(
        &self,
        new: &Row<'_>,
        candidates: impl Iterator<Item = Location> + Clone,
    ) -> Verdict {
        if candidates.clone().any(|place| place == new.location()) {
            return Verdict::Known;
        }
        let look = |place: Location| -> Option<Option<RecordHeader>> {
            let segment = self.slots.get(place.slot)?;
            let same = |header: &RecordHeader, key: &[u8]| {
                (header.fields.keyspace == self.space.id() && self.space.hash(key) == new.row.hash)
                    .then_some(*header)
            };
            segment.look(u64::from(place.offset), same).ok()
        };
        let mut prior = None;
        for place in candidates {
            match look(place) {
                Some(None) => {}
                Some(Some(header)) => prior = Some((place, Some(header))),
                // As for a write: what cannot be read is taken for this key's.
                None => prior = prior.or(Some((place, None))),
            }
        }
        if let Some((_, Some(header))) = prior
            && header.fields.seq > new.row.seq
        {
            return Verdict::Older;
        }
        if let Some((place, Some(header))) = prior
            && let Some(segment) = self.slots.get(place.slot)
        {
            let fields = &header.fields;
            segment.note_dead(fields.keyspace, header.record_len(), fields.expiry);
        }
        Verdict::Newer(prior.map(|(place, _)| place))
    }
}

/// A record that the image may not know.
struct Row<'a> {
    /// The number of its part.
    part: usize,
    row: HintRow,
    key: &'a [u8],
    segment: &'a Arc<Segment>,
}

impl Row<'_> {
    fn location(&self) -> Location {
        Location {
            slot: self.segment.slot,
            offset: self.row.offset,
        }
    }

    fn is_put(&self) -> bool {
        self.row.kind == RecordKind::Put
    }

    /// Counts it as live, if it is a put.
    fn count(&self, space: &Space, live: Option<&mut Live>) {
        if let Some(live) = live.filter(|_| self.is_put()) {
            let created_ms = self.segment.header.created_ms;
            live.add(space.id(), self.row.len, self.row.expiry, created_ms);
        }
    }
}

/// What a record is beside the entries that the image has for its key.
enum Verdict {
    /// Written while the image was: it has it already.
    Known,
    /// The image has a newer version.
    Older,
    /// It takes the place of this one, if any.
    Newer(Option<Location>),
}
