//! Opening by a keydir image: the image that fits this state of the log fills the keydirs, and only
//! records that it does not cover are looked at. One that does not fit is left alone or removed,
//! told in the report, and the store opens by its hints.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::atomic::Ordering;

use super::files::{Listing, Source};
use super::load::{HintBytes, Opened};
use super::{fill, load};
use crate::disk::bytes::FileBytes;
use crate::disk::{Disk, How};
use crate::error::{Error, Result};
use crate::keydir::either::Keydir;
use crate::keydir::hash::HashKeydir;
use crate::keydir::image::{SlotMap, ordered_entries};
use crate::keydir::space::{Space, Spaces};
use crate::mutant::{self, Mutant};
use crate::parallel::{self, in_parallel};
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::data_file::Segment;
use crate::segment::hint_file::{Hint, HintRow};
use crate::segment::image_file::{self, Image, ImageSegment};
use crate::segment::key_hash::secret_id;
use crate::segment::live::Live;
use crate::segment::location::{KeyspaceId, Location, SegmentId};
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, ImageCopy};
use crate::segment::record::{RecordHeader, RecordKind};
use crate::segment::table::Table;

/// An image that fits the store as far as manifest and listing tell.
pub(super) struct Usable {
    image: Image,
    bytes: FileBytes,
    name: &'static str,
}

/// Finds the newest image that fits; with damage about, none does, and all are removed: an image
/// must not hide on one open what the hints show on the next.
pub(super) fn choose(
    disk: &dyn Disk,
    manifest: &Manifest,
    listing: &Listing,
    sources: &[Source],
    report: &mut RecoveryReport,
) -> Result<Option<Usable>> {
    if report.manifest_rebuilt || !report.damage.is_empty() {
        remove(disk, listing, report)?;
        return Ok(None);
    }
    let mut found: Vec<Usable> = Vec::new();
    for copy in [ImageCopy::A, ImageCopy::B] {
        let name = names::image(copy);
        if listing.images.iter().any(|listed| listed == name)
            && let Some(image) = read(disk, name, report)?
        {
            found.push(image);
        }
    }
    found.sort_by_key(|usable| Reverse(usable.image.generation));
    for usable in found {
        report.image_generation = report.image_generation.max(usable.image.generation);
        match misfit(&usable.image, manifest, sources) {
            None => return Ok(Some(usable)),
            Some(why) => report
                .images_ignored
                .push(format!("{}: {why}", usable.name)),
        }
    }
    Ok(None)
}

fn read(
    disk: &dyn Disk,
    name: &'static str,
    report: &mut RecoveryReport,
) -> Result<Option<Usable>> {
    let failed = |e| Error::io("read the keydir image", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let (bytes, _unreadable_is_wrong) = FileBytes::patiently(&*file, len).map_err(failed)?;
    match Image::decode(bytes.as_ref()) {
        Ok(image) => Ok(Some(Usable { image, bytes, name })),
        Err(fault) => {
            report.images_ignored.push(format!("{name}: {fault}"));
            Ok(None)
        }
    }
}

/// Why the image is not one of this log, if it is not.
fn misfit(image: &Image, manifest: &Manifest, sources: &[Source]) -> Option<&'static str> {
    if image.store_id != manifest.store_id {
        return Some("it is another store's");
    }
    if image.secret_id != secret_id(&manifest.secret) {
        return Some("it was made with another hash secret");
    }
    if image.manifest_generation > manifest.generation {
        return Some("it is younger than the manifest");
    }
    let known: BTreeMap<SegmentId, &Source> = sources
        .iter()
        .map(|source| (source.header.id, source))
        .collect();
    for segment in &image.segments {
        let Some(source) = known.get(&segment.id) else {
            continue;
        };
        let ended = source.entry.as_ref().map(|entry| entry.summary.data_len);
        if source.header.salt != segment.salt || ended.is_some_and(|end| end < segment.covered) {
            return Some("a segment is not the one that it was made from");
        }
    }
    None
}

/// Takes all images away; what is not there any more cannot come back in a later open.
pub(super) fn remove(
    disk: &dyn Disk,
    listing: &Listing,
    report: &mut RecoveryReport,
) -> Result<()> {
    for name in &listing.images {
        match disk.remove(name) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("remove a keydir image", name, e)),
        }
        report
            .images_ignored
            .push(format!("{name}: removed, since the store is damaged"));
    }
    Ok(())
}

/// What it takes to fill the keydirs.
pub(super) struct Filling<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) manifest: &'a Manifest,
    pub(super) sources: &'a [Source],
    pub(super) table: &'a Table,
    /// Where the log ends.
    pub(super) last_seq: u64,
    pub(super) threads: usize,
    pub(super) make_spaces: &'a dyn Fn() -> Spaces,
}

impl Filling<'_> {
    /// Fills all keydirs: by the image if it fits to the last, else by the hints.
    pub(super) fn run(
        &self,
        image: Option<&Usable>,
        segments: Vec<Opened>,
        report: &mut RecoveryReport,
    ) -> Result<Spaces> {
        if let Some(image) = image {
            let spaces = (self.make_spaces)();
            if image.fill(self, &spaces, &segments, report) {
                return Ok(spaces);
            }
        }
        let spaces = (self.make_spaces)();
        let mut hinted = Vec::with_capacity(segments.len());
        for (segment, hint) in segments {
            let hint = match hint {
                Some(hint) => Some(hint),
                None => self.late_hint(&segment, report)?,
            };
            hinted.extend(hint.map(|hint| (segment, hint)));
        }
        fill::keydirs(&spaces, &hinted, self.threads);
        Ok(spaces)
    }

    fn late_hint(
        &self,
        segment: &Segment,
        report: &mut RecoveryReport,
    ) -> Result<Option<Hint<HintBytes>>> {
        let of_segment = |source: &&Source| source.header.id == segment.header.id;
        let Some(source) = self.sources.iter().find(of_segment) else {
            return Ok(None);
        };
        let (hint, from_file) = load::late(self.disk, self.manifest, source, report)?;
        segment.hinted.store(from_file, Ordering::Release);
        Ok(hint)
    }
}

impl Usable {
    /// Whether the image knows all of the segment: then nobody asks for its hint.
    pub(super) fn covers(&self, source: &Source) -> bool {
        let of_image = |end| {
            self.covered(source.header.id)
                .is_some_and(|covered| covered == end)
        };
        source
            .entry
            .as_ref()
            .is_some_and(|entry| of_image(entry.summary.data_len))
    }

    fn covered(&self, id: SegmentId) -> Option<u64> {
        self.segment(id).map(|segment| segment.covered)
    }

    fn segment(&self, id: SegmentId) -> Option<&ImageSegment> {
        let all = &self.image.segments;
        let at = all.binary_search_by_key(&id, |segment| segment.id).ok()?;
        all.get(at)
    }

    /// Fills the keydirs and counts what is live. False, with a note in the report, if the image
    /// turns out not to fit: then whatever was filled is to be thrown away.
    fn fill(
        &self,
        filling: &Filling<'_>,
        spaces: &Spaces,
        segments: &[Opened],
        report: &mut RecoveryReport,
    ) -> bool {
        let ordered = match self.fill_from_blocks(filling, spaces, segments) {
            Ok(ordered) => ordered,
            Err(why) => {
                report.images_ignored.push(format!("{}: {why}", self.name));
                let what = format!("the keydir image is not used: {why}");
                // The hints say the same.
                let damage = Damage::at(self.name, 0, 0, what).costing(Cost::Nothing);
                report.damage.push(damage);
                return false;
            }
        };
        for (segment, _) in segments {
            if let Some(known) = self.segment(segment.header.id) {
                let mut live = known.live.clone();
                live.retain(|id| spaces.by_id(id).is_some());
                segment.add_all_live(&live);
            }
        }
        let mut ordered: BTreeMap<KeyspaceId, Entries<'_>> = ordered
            .into_iter()
            .map(|(space, entries)| (space.id(), entries))
            .collect();
        for space in spaces.all() {
            let ranges = self.ranges(&space, segments);
            let all: Vec<usize> = (0..ranges).collect();
            let rows_of = |range: usize| self.fresh_rows(&space, segments, range, ranges);
            match &space.keydir {
                Keydir::Ordered(keydir) => {
                    let rows = in_parallel(&all, filling.threads, |range| rows_of(*range));
                    let rows = rows.into_iter().flatten().collect();
                    let entries = ordered.remove(&space.id()).unwrap_or_default();
                    let entries = with_rows(&space, entries, rows, filling);
                    keydir.fill(&entries, filling.threads);
                }
                Keydir::Hash(keydir) => {
                    in_parallel(&all, filling.threads, |range| {
                        settle_all(&space, keydir, &rows_of(*range), filling.table);
                    });
                    tend(&space, filling.table);
                }
            }
        }
        report.image_used = true;
        true
    }

    /// Fills the hash keydirs; answers what the ordered ones are to be filled with.
    fn fill_from_blocks(
        &self,
        filling: &Filling<'_>,
        spaces: &Spaces,
        segments: &[Opened],
    ) -> std::result::Result<Vec<(Arc<Space>, Entries<'_>)>, &'static str> {
        const NOT_SAVED_SO: &str = "a block is not what a keydir is saved as";
        if self.image.last_seq > filling.last_seq {
            return Err("it is younger than the log");
        }
        let slots = self
            .slots(segments)
            .ok_or("the log is shorter than it was")?;
        let mut work = Vec::new();
        for known in &self.image.spaces {
            // Of a keyspace that was dropped since nothing is wanted.
            let Some(space) = spaces.by_id(known.id) else {
                continue;
            };
            let blocks = image_file::blocks(self.bytes.as_ref(), known);
            let blocks = blocks.ok_or("its blocks do not fill their place")?;
            if space.entry.kind != known.kind {
                return Err("a keyspace is of another kind");
            }
            work.push((space, blocks));
        }
        let (threads, mut ordered) = (filling.threads, Vec::new());
        for (space, blocks) in work {
            let parts: Vec<_> = blocks
                .chunks(blocks.len().div_ceil(threads.max(1)).max(1))
                .collect();
            let bodies = in_parallel(&parts, threads, |part| {
                part.iter()
                    .map(|block| block.body())
                    .collect::<Option<Vec<_>>>()
            });
            let bodies: Option<Vec<Vec<&[u8]>>> = bodies.into_iter().collect();
            let bodies = bodies
                .ok_or("the checksum of a block does not hold")?
                .concat();
            if space.is_ordered() {
                let entries = ordered_entries(&bodies, &slots).ok_or(NOT_SAVED_SO)?;
                ordered.push((space, entries));
            } else if !space.keydir.load(&bodies, &slots, threads) {
                return Err(NOT_SAVED_SO);
            }
        }
        Ok(ordered)
    }

    /// Where the slots of the image are now; `None` if a segment ends before what was covered.
    fn slots(&self, segments: &[Opened]) -> Option<SlotMap> {
        let now: BTreeMap<SegmentId, &Arc<Segment>> = segments
            .iter()
            .map(|(segment, _)| (segment.header.id, segment))
            .collect();
        let mut slots = SlotMap::new();
        for known in &self.image.segments {
            let place = now
                .get(&known.id)
                .map(|segment| (segment.slot, segment.written()));
            if place.is_some_and(|(_, end)| end < known.covered) {
                return None;
            }
            slots.set(known.slot, place);
        }
        Some(slots)
    }

    /// Into how many ranges of the hash what the image does not cover of a keyspace is cut.
    fn ranges(&self, space: &Space, segments: &[Opened]) -> usize {
        let rows = segments.iter().filter_map(|(_, hint)| {
            let hint = hint.as_ref()?;
            let section = hint.section_for(space.id())?;
            hint.sections().get(section).map(|s| s.row_count())
        });
        fill::ranges_for(rows.sum())
    }

    /// What the image does not cover of one range of a keyspace: of each hash the row with the highest
    /// seq, by rising hash.
    fn fresh_rows<'a>(
        &self,
        space: &Space,
        segments: &'a [Opened],
        range: usize,
        ranges: usize,
    ) -> Vec<Row<'a>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        if mutant::is_on(Mutant::ImageTailForgotten) {
            return rows;
        }
        for (segment, hint) in segments {
            let Some(hint) = hint else { continue };
            let covered = self.covered(segment.header.id).unwrap_or(0);
            let Some(section) = hint.section_for(space.id()) else {
                continue;
            };
            let mut tombstones = Live::default();
            for at in fill::rows_of_range(hint, section, range, ranges) {
                let row = hint.row(section, at);
                if u64::from(row.offset) < covered {
                    continue;
                }
                if row.kind == RecordKind::Tombstone {
                    tombstones.tombstone_bytes += row.len;
                }
                let key = hint.key(section, at).unwrap_or_default();
                rows.push(Row { row, key, segment });
            }
            segment.add_all_live(&tombstones);
        }
        rows.sort_unstable_by_key(|row| (row.row.hash, Reverse(row.row.seq)));
        rows.dedup_by_key(|row| row.row.hash);
        rows
    }
}

/// Entries of an ordered keydir, in the order of their keys.
type Entries<'a> = Vec<(&'a [u8], Location)>;

/// The entries of an image with what it does not cover brought in. Both are gone through in the
/// order of the keys: one by one each of the rows would copy a leaf.
fn with_rows<'a>(
    space: &Space,
    entries: Entries<'a>,
    mut rows: Vec<Row<'a>>,
    filling: &Filling<'_>,
) -> Entries<'a> {
    if rows.is_empty() {
        return entries;
    }
    parallel::sort(&mut rows, filling.threads, &|a, b| a.key.cmp(b.key));
    // As when a keydir is filled by hints alone.
    rows.dedup_by(|later, first| later.key == first.key);
    let mut all = Vec::with_capacity(entries.len() + rows.len());
    let mut entries = entries.into_iter().peekable();
    for new in &rows {
        while let Some(entry) = entries.next_if(|(key, _)| *key < new.key) {
            all.push(entry);
        }
        let old = entries.next_if(|(key, _)| *key == new.key);
        let places = old.map(|(_, place)| place);
        let stands = match Verdict::of(space, new, places.into_iter(), filling.table) {
            Verdict::Known | Verdict::Older => places,
            Verdict::Newer(_) => new.is_put().then_some(new.location()),
        };
        all.extend(stands.map(|place| (new.key, place)));
    }
    all.extend(entries);
    all
}

/// A record that the image may not know.
struct Row<'a> {
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
}

/// What a row is beside the entries that the image has for its key.
enum Verdict {
    /// Written while the image was: it has it already.
    Known,
    /// The image has a newer version.
    Older,
    /// It takes the place of this one, if any.
    Newer(Option<Location>),
}

impl Verdict {
    /// Decides, and counts what is live and dead by it.
    fn of(
        space: &Space,
        new: &Row<'_>,
        candidates: impl Iterator<Item = Location> + Clone,
        table: &Table,
    ) -> Verdict {
        let row = &new.row;
        let slots = table.load();
        let count = || {
            if new.is_put() {
                new.segment.add_live(space.id(), row.len, row.expiry);
            }
        };
        if candidates.clone().any(|place| place == new.location()) {
            count();
            return Verdict::Known;
        }
        let look = |place: Location| -> Option<Option<RecordHeader>> {
            let segment = slots.get(place.slot)?;
            let same = |header: &RecordHeader, key: &[u8]| {
                (header.fields.keyspace == space.id() && space.hash(key) == row.hash)
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
            && header.fields.seq > row.seq
        {
            return Verdict::Older;
        }
        if let Some((place, Some(header))) = prior
            && let Some(segment) = slots.get(place.slot)
        {
            let fields = &header.fields;
            segment.note_dead(fields.keyspace, header.record_len(), fields.expiry);
        }
        count();
        Verdict::Newer(prior.map(|(place, _)| place))
    }
}

/// Brings one range of what the image does not cover into a hash keydir. Most of it is new to the
/// image: that is put in page by page. No two ranges have a key in common, and few a page.
fn settle_all(space: &Space, keydir: &HashKeydir, rows: &[Row<'_>], table: &Table) {
    let mut new = Vec::with_capacity(rows.len());
    let mut live: BTreeMap<SegmentId, (&Arc<Segment>, Live)> = BTreeMap::new();
    for row in rows {
        if !row.is_put() || !keydir.candidates(row.row.hash).is_empty() {
            settle(space, row, table);
            continue;
        }
        new.push((row.row.hash, row.location()));
        let header = &row.segment.header;
        let counted = live.entry(header.id);
        let (_, counted) = counted.or_insert_with(|| (row.segment, Live::default()));
        let (len, expiry) = (row.row.len, row.row.expiry);
        counted.add(space.id(), len, expiry, header.created_ms);
    }
    for (segment, live) in live.into_values() {
        segment.add_all_live(&live);
    }
    keydir.fill(&new);
}

/// Splits the pages that grew, lest the first write has to.
fn tend(space: &Space, table: &Table) {
    let slots = table.load();
    space.keydir.tend(&|place| {
        let segment = slots.get(place.slot)?;
        let hash = |_: &RecordHeader, key: &[u8]| space.hash(key);
        segment.look(u64::from(place.offset), hash).ok()
    });
}

/// The newest record of a key that the image does not cover takes the place of what the image has.
fn settle(space: &Space, new: &Row<'_>, table: &Table) {
    let candidates = space.keydir.candidates(new.row.hash, new.key);
    let Verdict::Newer(old) = Verdict::of(space, new, candidates.iter(), table) else {
        return;
    };
    if old.is_none() && !new.is_put() {
        return;
    }
    let place = new.is_put().then_some(new.location());
    space.keydir.change(new.row.hash, new.key, old, place);
}
