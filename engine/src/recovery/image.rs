//! Opening by a keydir image: the image that fits this state of the log fills the keydirs, and only
//! records that it does not cover are looked at. One that does not fit is left alone or removed,
//! told in the report, and the store opens by its hints.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::atomic::Ordering;

use super::behind::Behind;
use super::files::{Listing, Source};
use super::load::{HintBytes, Opened};
use super::{fill, load};
use crate::disk::bytes::FileBytes;
use crate::disk::{Disk, How};
use crate::error::{Error, Result};
use crate::keydir::either::Keydir;
use crate::keydir::image::{SlotMap, ordered_entries};
use crate::keydir::ordered::Entries;
use crate::keydir::space::{Space, Spaces};
use crate::mutant::{self, Mutant};
use crate::parallel::in_parallel;
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::data_file::Segment;
use crate::segment::hint_file::Hint;
use crate::segment::image_file::{self, Block, Image, ImageSegment};
use crate::segment::key_hash::secret_id;
use crate::segment::location::{KeyspaceId, SegmentId};
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, ImageCopy};
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

/// An ordered keyspace with the entries that the image has of it, in parts.
type Saved<'a> = (Arc<Space>, Vec<Entries<'a>>);

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
        let mut ordered: BTreeMap<KeyspaceId, Vec<Entries<'_>>> = ordered
            .into_iter()
            .map(|(space, entries)| (space.id(), entries))
            .collect();
        let covered = |segment: &Segment| match mutant::is_on(Mutant::ImageTailForgotten) {
            true => u64::MAX,
            false => self.covered(segment.header.id).unwrap_or(0),
        };
        for space in spaces.all() {
            let (table, threads) = (filling.table, filling.threads);
            let behind = Behind::new(&space, segments, &covered, table, threads);
            match &space.keydir {
                Keydir::Ordered(keydir) => {
                    let entries = ordered.remove(&space.id()).unwrap_or_default();
                    behind.into_ordered(keydir, entries);
                }
                Keydir::Hash(keydir) => behind.into_hash(keydir),
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
    ) -> std::result::Result<Vec<Saved<'_>>, &'static str> {
        const NOT_SAVED_SO: &str = "a block is not what a keydir is saved as";
        const DAMAGED: &str = "the checksum of a block does not hold";
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
            let whole = |blocks: &[Block<'_>]| blocks.iter().all(|block| block.body().is_some());
            match &space.keydir {
                Keydir::Hash(keydir) => {
                    let loaded = keydir.load(&blocks, |block| block.body(), &slots, threads);
                    let why = || match whole(&blocks) {
                        true => NOT_SAVED_SO,
                        false => DAMAGED,
                    };
                    loaded.ok_or_else(why)?;
                }
                Keydir::Ordered(_) => {
                    let bodies = bodies(&blocks, threads).ok_or(DAMAGED)?;
                    let entries = ordered_entries(&bodies, &slots, threads);
                    ordered.push((space, entries.ok_or(NOT_SAVED_SO)?));
                }
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
}

/// What is in the blocks, if all their checksums hold.
fn bodies<'a>(blocks: &[Block<'a>], threads: usize) -> Option<Vec<&'a [u8]>> {
    let parts: Vec<_> = blocks
        .chunks(blocks.len().div_ceil(threads.max(1)).max(1))
        .collect();
    let bodies = in_parallel(&parts, threads, |part| {
        let bodies = part.iter().map(Block::body);
        bodies.collect::<Option<Vec<_>>>()
    });
    let bodies: Option<Vec<Vec<&[u8]>>> = bodies.into_iter().collect();
    Some(bodies?.concat())
}
