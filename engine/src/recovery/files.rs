//! Which files of the directory belong to the store. The manifest decides, not the listing; only
//! user segments younger than the manifest are taken from the listing alone.

use std::collections::BTreeSet;

use crate::disk::bytes::FileBytes;
use crate::disk::tolerant::{Unreadable, read_patiently};
use crate::disk::{Disk, How};
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::options::{Missing, Options};
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::catalog;
use crate::segment::format::{RECORDS_START, SEGMENT_HEADER_LEN};
use crate::segment::header::{HeaderFault, SegmentHeader, SegmentKind};
use crate::segment::location::SegmentId;
use crate::segment::manifest::{Manifest, SegmentEntry};
use crate::segment::names::{self, FileName};
use crate::segment::record::is_all_zero;

/// The names in the directory, sorted out by what they are.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) manifests: Vec<String>,
    pub(super) segments: BTreeSet<SegmentId>,
    hints: BTreeSet<SegmentId>,
    /// Saved keydirs.
    pub(super) images: Vec<String>,
    temporary: Vec<String>,
    /// The directory is a checkpoint: its manifest alone says what belongs to it.
    pub(super) is_checkpoint: bool,
    /// The highest segment id that any name carries; none up to it is given out again.
    pub(super) highest_segment: u64,
}

/// A segment that belongs to the log.
pub(super) struct Source {
    pub(super) header: SegmentHeader,
    /// What the manifest says of it, if it is sealed there.
    pub(super) entry: Option<SegmentEntry>,
    pub(super) has_hint: bool,
}

pub(super) fn list(disk: &dyn Disk, report: &mut RecoveryReport) -> Result<Listing> {
    let listed = disk
        .list()
        .map_err(|e| Error::io("list the directory of", names::LOCK, e))?;
    let mut listing = Listing::default();
    for name in listed {
        match names::parse(&name) {
            FileName::Lock | FileName::Reserve | FileName::Unfinished => {}
            FileName::Checkpoint => listing.is_checkpoint = true,
            FileName::Manifest(_) => listing.manifests.push(name),
            FileName::Image(_) => listing.images.push(name),
            FileName::Segment(id) => {
                listing.highest_segment = listing.highest_segment.max(id.0);
                listing.segments.insert(id);
            }
            FileName::Hint(id) => {
                listing.hints.insert(id);
            }
            FileName::Temporary => listing.temporary.push(name),
            FileName::Foreign => report.foreign_files.push(name),
        }
    }
    Ok(listing)
}

/// The segments of the log, in the order of their ids.
///
/// # Errors
/// `Corrupted` naming the file if a segment of the manifest is gone or cut short and
/// `Options::missing_segments` does not accept that; `UnsupportedFormat`; `Io`.
pub(super) fn choose(
    disk: &dyn Disk,
    manifest: &Manifest,
    listing: &Listing,
    options: &Options,
    report: &mut RecoveryReport,
) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in &manifest.segments {
        if let Some(source) = listed(disk, entry, listing, options, report)? {
            sources.push(source);
        }
    }
    for id in &listing.segments {
        let known = manifest.segments.iter().any(|entry| entry.header.id == *id);
        if !known && !manifest.replaced.contains(id) && !listing.is_checkpoint {
            sources.extend(unlisted(disk, manifest, *id, report)?);
        }
    }
    sources.sort_by_key(|source| source.header.id);
    Ok(sources)
}

/// A segment that was not sealed may have held nothing yet.
fn cost_of_loss(entry: &SegmentEntry) -> Cost {
    match entry.sealed {
        true => Cost::Records,
        false => Cost::Unknown,
    }
}

/// A segment that the manifest names; `None` if it is gone and that is accepted.
fn listed(
    disk: &dyn Disk,
    entry: &SegmentEntry,
    listing: &Listing,
    options: &Options,
    report: &mut RecoveryReport,
) -> Result<Option<Source>> {
    let id = entry.header.id;
    let name = names::segment(id);
    let refuse = entry.sealed && options.missing_segments == Missing::Refuse;
    let mut lost = |offset: u64, len: u64, what: String| {
        if refuse {
            let way_out = "bring the file back, or open with Missing::Accept to go on with what \
                           is left";
            return Err(Error::corrupted(
                &name,
                offset,
                format!("{what}; {way_out}"),
            ));
        }
        let damage = Damage::at(&name, offset, len, what);
        report.damage.push(damage.costing(cost_of_loss(entry)));
        Ok(())
    };
    if !listing.segments.contains(&id) {
        // One that was not sealed may have held nothing; that is told, but no reason to refuse.
        let records = entry.summary.records;
        lost(
            0,
            entry.file_len,
            format!("the segment is missing, with {records} records"),
        )?;
        return Ok(None);
    }
    let (start, len) = read_start_of(disk, entry, &name)?;
    let data_len = entry.summary.data_len;
    if entry.sealed && len < data_len {
        lost(
            len,
            data_len - len,
            format!("the segment is cut short: {len} bytes of {data_len}"),
        )?;
    }
    let header = SegmentHeader::decode_file_start(&start);
    if let Err(HeaderFault::Version(version)) = header {
        return Err(catalog::newer(&name, version));
    }
    // Of one just begun a crash may leave, in the place of its header, that of a removed segment whose blocks it
    // got; it holds no record.
    let is_bare = !entry.sealed && len <= RECORDS_START as u64;
    if header
        .as_ref()
        .is_ok_and(|(header, _)| *header != entry.header && !is_bare)
    {
        lost(
            0,
            len,
            "this is not the segment that the manifest names".to_owned(),
        )?;
        return Ok(None);
    }
    note_harmless(entry, &name, len, header, report);
    Ok(Some(Source {
        header: entry.header.clone(),
        entry: (entry.sealed && len >= data_len).then(|| entry.clone()),
        has_hint: listing.hints.contains(&id),
    }))
}

/// Damage to a sealed segment that concerns no record: the manifest repeats what it hit.
fn note_harmless(
    entry: &SegmentEntry,
    name: &str,
    len: u64,
    header: std::result::Result<(SegmentHeader, Option<&'static str>), HeaderFault>,
    report: &mut RecoveryReport,
) {
    let data_len = entry.summary.data_len;
    if entry.sealed && len >= data_len && len != entry.file_len {
        let what = "the file is not as long as it was; its records are not concerned";
        report
            .damage
            .push(Damage::at(name, data_len, 0, what).costing(Cost::Nothing));
    }
    match header {
        // Of an unsealed one a crash may leave less.
        Ok((_, Some(note))) if entry.sealed => {
            report
                .damage
                .push(Damage::at(name, 0, 0, note).costing(Cost::Nothing));
        }
        Err(fault) if entry.sealed => {
            report
                .damage
                .push(Damage::at(name, 0, 0, fault.to_string()).costing(Cost::Nothing));
        }
        Ok(_) | Err(_) => {}
    }
}

/// No crash leaves a file whose id is so far above those that the manifest knows: a stray file may
/// bear any name.
const ID_JUMP_MAX: u64 = 1 << 32;

/// Whether a segment of this store may have that id. The highest of all is never given out.
pub(super) fn is_ours(id: SegmentId, manifest: &Manifest) -> bool {
    id.0 <= manifest.next_segment.saturating_add(ID_JUMP_MAX) && id.0 < u64::MAX
}

/// A segment that the manifest does not name: one that was begun later, or a leftover.
fn unlisted(
    disk: &dyn Disk,
    manifest: &Manifest,
    id: SegmentId,
    report: &mut RecoveryReport,
) -> Result<Option<Source>> {
    let name = names::segment(id);
    if !is_ours(id, manifest) {
        tracing::warn!(file = name, "left alone: no id of this store");
        report.foreign_files.push(name);
        return Ok(None);
    }
    let (start, len) = read_start(disk, &name)?;
    match SegmentHeader::decode_file_start(&start) {
        // One good copy is all it takes; of a segment just begun a crash may leave no more.
        Ok((header, _)) => {
            let ours = header.store_id == manifest.store_id && header.id == id;
            let younger = id.0 >= manifest.next_segment;
            if ours && !younger && !holds_records(disk, &name)? {
                // A segment that was given up before its first record.
                return Ok(None);
            }
            let stale = header.store_id == manifest.store_id && header.id != id;
            if stale && younger && len <= RECORDS_START as u64 {
                // Begun, and the header lost: what lies in its place was another segment's.
                return Ok(None);
            }
            if !ours || (header.kind == SegmentKind::User && !younger) {
                let what = if ours {
                    "an old copy"
                } else {
                    "another store's segment"
                };
                tracing::warn!(file = name, what, "left alone: not part of this store");
                report.foreign_files.push(name);
                return Ok(None);
            }
            if header.kind == SegmentKind::Merged {
                // The output of a merge that was not declared: its inputs still count.
                return Ok(None);
            }
            Ok(Some(Source {
                header,
                entry: None,
                has_hint: false,
            }))
        }
        Err(HeaderFault::Version(version)) => Err(catalog::newer(&name, version)),
        Err(fault) => {
            // A header that was never written, or written in part, or with nothing behind it, is what
            // a crash leaves of a segment just begun: a torn one has nothing of its second copy.
            // Anything else is damage, and kept for who may repair it.
            let second = start.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
            let torn = is_all_zero(second) && !mutant::is_on(Mutant::TornHeaderTakenForDamage);
            if !torn && !is_all_zero(&start) && holds_records(disk, &name)? {
                report
                    .damage
                    .push(Damage::at(&name, 0, len, fault.to_string()).costing(Cost::Unknown));
            }
            Ok(None)
        }
    }
}

/// Whether anything but zeros stands where records do.
fn holds_records(disk: &dyn Disk, name: &str) -> Result<bool> {
    let failed = |e| Error::io("read the segment", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let bytes = FileBytes::of(&*file, len).map_err(failed)?;
    let records = bytes.as_ref().get(RECORDS_START..).unwrap_or_default();
    Ok(!is_all_zero(records))
}

/// The first bytes of a segment, and its length.
pub(super) fn read_start(disk: &dyn Disk, name: &str) -> Result<(Vec<u8>, u64)> {
    match read_start_patiently(disk, name)? {
        (start, len, None) => Ok((start, len)),
        (.., Some(lost)) => Err(Error::io("read the segment header of", name, lost.error)),
    }
}

/// The same of one that the manifest names, which repeats for a sealed one what cannot be read.
fn read_start_of(disk: &dyn Disk, entry: &SegmentEntry, name: &str) -> Result<(Vec<u8>, u64)> {
    match entry.sealed {
        true => read_start_patiently(disk, name).map(|(start, len, _)| (start, len)),
        false => read_start(disk, name),
    }
}

/// The same, with zeros where they cannot be read.
fn read_start_patiently(disk: &dyn Disk, name: &str) -> Result<(Vec<u8>, u64, Option<Unreadable>)> {
    let failed = |e| Error::io("read the segment header of", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let (start, unreadable) = read_patiently(&*file, 0, RECORDS_START).map_err(failed)?;
    Ok((start, len, unreadable))
}

/// Whether the file is a segment of another store: where somebody brought our manifest into another's
/// directory, its ids say nothing about the files there.
fn is_strangers(disk: &dyn Disk, name: &str, manifest: &Manifest) -> Result<bool> {
    let (start, _) = read_start(disk, name)?;
    let header = SegmentHeader::decode_file_start(&start);
    Ok(header.is_ok_and(|(header, _)| header.store_id != manifest.store_id))
}

/// Removes what a crash left: temporary files, dead inputs of a merge, outputs that were never
/// declared, hint files without a segment. True if there was something to remove.
pub(super) fn remove_leftovers(
    disk: &dyn Disk,
    manifest: &Manifest,
    listing: &Listing,
    sources: &[Source],
    report: &mut RecoveryReport,
) -> Result<bool> {
    let mut gone: Vec<String> = listing.temporary.clone();
    let used = |id: &SegmentId| sources.iter().any(|source| source.header.id == *id);
    for id in &listing.segments {
        let name = names::segment(*id);
        let kept = used(id) || report.foreign_files.contains(&name);
        let damaged = report.damage.iter().any(|damage| damage.file == name);
        if manifest.replaced.contains(id) {
            match is_strangers(disk, &name, manifest)? {
                true => report.foreign_files.push(name),
                false => gone.push(name),
            }
        } else if !(kept || damaged) {
            gone.push(name);
        }
    }
    gone.extend(
        listing
            .hints
            .iter()
            .filter(|id| !used(id))
            .map(|id| names::hint(*id)),
    );
    let sync = || {
        disk.sync_dir()
            .map_err(|e| Error::io("sync the directory of", names::LOCK, e))
    };
    let something = !gone.is_empty() || !manifest.replaced.is_empty();
    if something && !mutant::is_on(Mutant::RemovedOnUnsyncedWord) {
        // The process may have been killed between the renaming of the manifest and its sync: what
        // says that these files are dead must not be lost when they are.
        sync()?;
    }
    for name in &gone {
        match disk.remove(name) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("remove a leftover", name, e)),
        }
    }
    if something {
        sync()?;
    }
    let removed = !gone.is_empty();
    report.removed_files.append(&mut gone);
    Ok(removed)
}
