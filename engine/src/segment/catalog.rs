//! The manifest's two files: read the better one, write both. And what the manifest holds beside
//! the segments: keyspaces, the hash secret, inputs of merges that may still be named.
//! The bytes are described in docs/format.md, "Manifest".

use crate::disk::{Disk, How, read_all, write_all_at};
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{self, Mutant};
use crate::segment::format::{SECRET_LEN, STORE_ID_LEN, wide};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::SegmentId;
use crate::segment::manifest::{Manifest, ManifestFault};
use crate::segment::names::{self, ManifestCopy};

/// More than any manifest of 65,536 segments and 1,024 keyspaces needs.
const MANIFEST_LEN_MAX: u64 = 64 << 20;

/// The part of the manifest that is not read off the segments.
#[derive(Clone)]
pub(crate) struct Catalog {
    pub(crate) generation: u64,
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) secret: [u8; SECRET_LEN],
    pub(crate) next_keyspace: u32,
    pub(crate) keyspaces: Vec<KeyspaceEntry>,
    /// Declared dead, unlinked, but the unlink may not be durable.
    pub(crate) replaced: Vec<SegmentId>,
}

/// What the two files gave.
pub(crate) struct Found {
    pub(crate) manifest: Option<Manifest>,
    /// Copies that exist but do not hold, with the reason.
    pub(crate) damaged: Vec<(&'static str, ManifestFault)>,
    /// Some copy is absent, damaged or older than the other.
    pub(crate) needs_writing: bool,
}

/// Reads both copies and keeps the one of the higher generation.
///
/// # Errors
/// `UnsupportedFormat` if a copy was written by a newer version; `Corrupted` if the copies are of two
/// stores; `Io` if one cannot be read, and the other does not hold.
pub(crate) fn read(disk: &dyn Disk, present: &[String]) -> Result<Found> {
    let mut found = Found {
        manifest: None,
        damaged: Vec::new(),
        needs_writing: false,
    };
    let mut unreadable = None;
    for copy in [ManifestCopy::A, ManifestCopy::B] {
        let name = names::manifest(copy);
        if !present.iter().any(|n| n == name) {
            found.needs_writing = true;
            continue;
        }
        let failed = |e| Error::io("read the manifest", name, e);
        let file = disk.open(name, How::Read).map_err(failed)?;
        let bytes = match read_all(&*file, MANIFEST_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(e) => {
                unreadable = Some((name, failed(e)));
                continue;
            }
        };
        match Manifest::decode(&bytes) {
            Ok(manifest) => {
                check_same_store(found.manifest.as_ref(), &manifest, name)?;
                let best = found.manifest.as_ref().map(|best| best.generation);
                found.needs_writing |= best.is_some_and(|best| best != manifest.generation);
                if best.is_none_or(|best| manifest.generation > best) {
                    found.manifest = Some(manifest);
                }
            }
            Err(ManifestFault::Version(version)) => return Err(newer(name, version)),
            Err(fault) => {
                found.needs_writing = true;
                found.damaged.push((name, fault));
            }
        }
    }
    if let Some((name, error)) = unreadable {
        if found.manifest.is_none() {
            return Err(error);
        }
        tracing::warn!(%error, "the other copy of the manifest serves");
        found.needs_writing = true;
        let fault = ManifestFault::Damaged("the device cannot read it");
        found.damaged.push((name, fault));
    }
    Ok(found)
}

/// No crash leaves copies of two stores: somebody brought one here. By the wrong one the files of the other
/// would be taken for leftovers.
fn check_same_store(first: Option<&Manifest>, second: &Manifest, name: &str) -> Result<()> {
    match first {
        Some(first) if first.store_id != second.store_id => {
            let other = names::manifest(ManifestCopy::A);
            let what = format!(
                "it is of another store than {other}; take away the one that does not belong here"
            );
            Err(Error::corrupted(name, 0, what))
        }
        _ => Ok(()),
    }
}

/// Why a manifest was not written.
pub(crate) enum NotWritten {
    /// Nothing changed: both copies are the old ones.
    Before(Error),
    /// The new one may count after a crash, or may not.
    Halfway(Error),
}

/// Writes both copies, a before b: each is whole or the old one at any moment, and one damaged
/// file never takes anything with it. Both are ready under temporary names before the first gets
/// its own, so that a full disk changes nothing.
pub(crate) fn write(disk: &dyn Disk, manifest: &Manifest) -> std::result::Result<u64, NotWritten> {
    let bytes = manifest.encode();
    let copies = [ManifestCopy::A, ManifestCopy::B].map(names::manifest);
    for name in copies {
        if let Err(error) = write_temporary(disk, name, &bytes) {
            for name in copies {
                // What stays is removed at the next open.
                let _first_error_counts = disk.remove(&names::temporary(name));
            }
            return Err(NotWritten::Before(error));
        }
    }
    for name in copies {
        let named = match mutant::is_on(Mutant::ManifestRenameSkipped) {
            true => Ok(()),
            false => disk.rename(&names::temporary(name), name),
        };
        named.map_err(|e| NotWritten::Halfway(Error::io("rename into place", name, e)))?;
        if !mutant::is_on(Mutant::ManifestNameNotSynced) {
            let synced = disk.sync_dir();
            synced.map_err(|e| NotWritten::Halfway(Error::io("sync the directory", name, e)))?;
        }
    }
    Ok(2 * wide(bytes.len()))
}

/// Writes `bytes` under a temporary name, syncs, and renames it to `name`. The directory is not
/// synced yet.
pub(crate) fn replace_file(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
    let temporary = names::temporary(name);
    let written = write_temporary(disk, name, bytes).and_then(|()| {
        let named = match mutant::is_on(Mutant::ReplacementRenameSkipped) {
            true => Ok(()),
            false => disk.rename(&temporary, name),
        };
        named.map_err(|e| Error::io("rename into place", name, e))
    });
    if written.is_err() {
        // It is removed at the next open if it cannot be now; the first error is what matters.
        let _first_error_counts = disk.remove(&temporary);
    }
    written
}

/// Writes and syncs the file that is to become `name`.
fn write_temporary(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<()> {
    let temporary = names::temporary(name);
    let file = disk.open(&temporary, How::Replace);
    let file = file.map_err(|e| Error::io("create a temporary file", &temporary, e))?;
    write_all_at(&*file, bytes, 0).map_err(|e| Error::io("write", &temporary, e))?;
    if mutant::is_on(Mutant::ReplacementNotSynced) {
        return Ok(());
    }
    file.sync_data()
        .map_err(|e| Error::io("sync", &temporary, e))
}

/// The refusal of files that a newer release wrote.
pub(crate) fn newer(file: &str, version: u32) -> Error {
    Error::new(
        ErrorKind::UnsupportedFormat,
        format!(
            "{file} has format version {version}, this release reads version {}; \
             open the store with a newer release",
            crate::segment::format::FORMAT_VERSION
        ),
    )
}
