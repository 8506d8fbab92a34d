//! Manifests that nobody wrote: of a new store, and out of the segments themselves, when both of its copies are lost: headers tell the
//! store and the ids, footers the keyspaces and which merges were finished. Only the names of
//! keyspaces that no footer saw cannot be brought back.

use std::collections::{BTreeMap, BTreeSet};

use super::files::{self, Listing};
use super::load::Loaded;
use crate::disk::bytes::FileBytes;
use crate::disk::{Disk, How};
use crate::error::{Error, Result};
use crate::options::IndexKind;
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::catalog;
use crate::segment::format::wide;
use crate::segment::header::{Footer, HeaderFault, MergeGroup, SegmentHeader, SegmentKind};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::{KeyspaceId, SegmentId};
use crate::segment::manifest::{Manifest, SegmentEntry};
use crate::segment::names;
use crate::segment::sealed_end::footer_of;

/// What a segment says of itself.
struct Known {
    header: SegmentHeader,
    footer: Option<Footer>,
    file_len: u64,
}

/// The manifest of a store that is just being made.
pub(super) fn new_manifest(disk: &dyn Disk) -> Result<Manifest> {
    let mut manifest = Manifest {
        generation: 0,
        store_id: [0; 16],
        secret: [0; 16],
        next_segment: 1,
        next_keyspace: 1,
        seq_high: 0,
        synced_seq: 0,
        time_ms: 0,
        keyspaces: Vec::new(),
        segments: Vec::new(),
        replaced: Vec::new(),
    };
    for bytes in [&mut manifest.store_id, &mut manifest.secret] {
        let filled = disk.random(bytes);
        filled.map_err(|e| Error::io("get random bytes for", names::LOCK, e))?;
    }
    Ok(manifest)
}

/// The manifest as far as headers and footers tell it.
pub(super) fn manifest(disk: &dyn Disk, listing: &Listing) -> Result<Manifest> {
    let mut manifest = new_manifest(disk)?;
    let mut known = BTreeMap::new();
    for id in &listing.segments {
        if let Some(found) = read_segment(disk, *id)? {
            known.insert(*id, found);
        }
    }
    if let Some(first) = known.values().next() {
        manifest.store_id = first.header.store_id;
    }
    // A file whose header has another id or store is somebody's copy: left alone. So is one that claims the id
    // that is never given out.
    known.retain(|id, found| {
        let header = &found.header;
        header.store_id == manifest.store_id && header.id == *id && id.0 < u64::MAX
    });
    let (dead, undeclared) = judge_merges(&known);
    manifest.replaced = dead
        .iter()
        .copied()
        .filter(|id| known.contains_key(id))
        .collect();
    if let Some(last) = known.values().rev().find_map(|found| found.footer.as_ref()) {
        manifest.keyspaces = last.keyspaces.clone();
    }
    for found in known.values() {
        let header = &found.header;
        manifest.next_segment = manifest.next_segment.max(header.id.0.saturating_add(1));
        manifest.time_ms = manifest.time_ms.max(header.created_ms);
        let of_footer = found.footer.iter().flat_map(|footer| &footer.keyspaces);
        let ids = of_footer.map(|entry| entry.id.0.saturating_add(1));
        let next = ids.max().unwrap_or(0);
        manifest.next_keyspace = manifest.next_keyspace.max(next);
        let gone = dead.contains(&header.id) || undeclared.contains(&header.id);
        if !gone {
            manifest.segments.push(entry_of(found));
            if let Some(footer) = &found.footer {
                manifest.seq_high = manifest.seq_high.max(footer.summary.max_seq);
            }
        }
    }
    Ok(manifest)
}

/// A merge output is taken as sealed: it was synced before it got its name. A user segment with a
/// footer may not have been; it is scanned as an unsealed one.
fn entry_of(found: &Known) -> SegmentEntry {
    match &found.footer {
        Some(footer) if found.header.kind == SegmentKind::Merged => SegmentEntry {
            header: found.header.clone(),
            sealed: true,
            file_len: found.file_len,
            summary: footer.summary,
        },
        _ => SegmentEntry::unsealed(found.header.clone()),
    }
}

fn read_segment(disk: &dyn Disk, id: SegmentId) -> Result<Option<Known>> {
    let name = names::segment(id);
    let (start, file_len) = files::read_start(disk, &name)?;
    let header = match SegmentHeader::decode_file_start(&start) {
        Ok((header, _)) => header,
        Err(HeaderFault::Version(version)) => return Err(catalog::newer(&name, version)),
        Err(_) => return Ok(None),
    };
    let failed = |e| Error::io("read the footer of", &name, e);
    let file = disk.open(&name, How::Read).map_err(failed)?;
    let bytes = FileBytes::of(&*file, file_len).map_err(failed)?;
    let footer = footer_of(bytes.as_ref(), &header);
    Ok(Some(Known {
        header,
        footer,
        file_len: wide(bytes.as_ref().len()),
    }))
}

/// Which inputs are dead and which outputs do not count. A group counts if all of its outputs
/// are there, or if an input is gone: inputs are removed only after the merge was declared.
fn judge_merges(known: &BTreeMap<SegmentId, Known>) -> (BTreeSet<SegmentId>, BTreeSet<SegmentId>) {
    let mut groups: BTreeMap<u64, (&MergeGroup, Vec<SegmentId>)> = BTreeMap::new();
    for (id, found) in known {
        if let Some(group) = found
            .footer
            .as_ref()
            .and_then(|footer| footer.group.as_ref())
        {
            groups
                .entry(group.id)
                .or_insert((group, Vec::new()))
                .1
                .push(*id);
        }
    }
    let (mut dead, mut undeclared) = (BTreeSet::new(), BTreeSet::new());
    for (group, outputs) in groups.values() {
        let complete = wide(outputs.len()) == u64::from(group.size);
        let input_gone = group.inputs.iter().any(|input| !known.contains_key(input));
        if complete || input_gone {
            dead.extend(&group.inputs);
        } else {
            undeclared.extend(outputs);
        }
    }
    (dead, undeclared)
}

/// After a rebuild, records may carry ids that no footer named: their keyspaces come back under
/// a made-up name rather than not at all.
pub(super) fn with_unknown_keyspaces(
    manifest: &Manifest,
    loaded: &[Loaded],
    report: &mut RecoveryReport,
) -> Vec<KeyspaceEntry> {
    let mut keyspaces = manifest.keyspaces.clone();
    if !report.manifest_rebuilt {
        return keyspaces;
    }
    let what = "both copies of the manifest are lost; it was rebuilt from the segments";
    let manifest_a = names::manifest(names::ManifestCopy::A);
    let told = |what: &str| Damage::at(manifest_a, 0, 0, what).costing(Cost::Unknown);
    report.damage.push(told(what));
    let in_records: BTreeSet<KeyspaceId> = loaded
        .iter()
        .filter_map(|segment| segment.hint.as_ref())
        .flat_map(|hint| hint.sections().iter().map(|section| section.keyspace()))
        .filter(|id| id.0 >= manifest.next_keyspace)
        .collect();
    for id in in_records {
        let name = format!("recovered-{id}");
        let what = format!("the name of keyspace {id} is lost; it is now '{name}'");
        report.damage.push(told(&what));
        keyspaces.push(KeyspaceEntry {
            id,
            kind: IndexKind::Hash,
            default_ttl_ms: 0,
            created_ms: 0,
            name,
        });
    }
    keyspaces
}
