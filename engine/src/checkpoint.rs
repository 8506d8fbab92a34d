//! Checkpoints: an openable copy of a store in another directory, made of links to its sealed
//! segments, and the way back. The label comes first and the manifest last, so whatever a crash
//! leaves is either the copy that was there before, the new one, or known to be unfinished; doing
//! it again goes on from there.
//!
//! It knows manifests and files. What a point of a living store is, the log knows (`Log::freeze`).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::disk::{Disk, How, Lock, cannot_link, read_full_at, read_whole, write_all_at};
use crate::error::{Error, ErrorKind, Result};
use crate::mutant::{self, Mutant};
use crate::report::{CheckpointReport, Progress};
use crate::segment::catalog::{self, NotWritten};
use crate::segment::format::{LABEL_LEN, RECORDS_START, STORE_ID_LEN, wide};
use crate::segment::header::SegmentHeader;
use crate::segment::label::{self, LabelFault};
use crate::segment::location::SegmentId;
use crate::segment::manifest::{Manifest, SegmentEntry};
use crate::segment::names::{self, FileName};

/// Copied at once, where a link cannot be made.
const COPY_LEN: usize = 1 << 20;
/// How often a restore starts again because the checkpoint was brought up to date meanwhile.
const RESTORE_TURNS_MAX: usize = 100;

/// A directory that is, or may become, a checkpoint of one store.
struct Target<'a> {
    disk: &'a dyn Disk,
    shown: &'a str,
    /// Nobody opens it, or writes another checkpoint into it, meanwhile.
    _lock: Box<dyn Lock>,
    present: BTreeSet<String>,
    labelled: bool,
}

/// Refuses what is neither empty nor a checkpoint, before anything is done for it.
pub(crate) fn check_target(disk: &dyn Disk, shown: &str) -> Result<()> {
    look(disk, shown).map(|_| ())
}

/// The directory at `dir`, made if it is missing; `beside` is any of the same system.
pub(crate) fn directory(beside: &dyn Disk, dir: &Path) -> Result<Arc<dyn Disk>> {
    let shown = dir.display().to_string();
    beside.directory(dir).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            Error::invalid(format!("{shown} is not a directory"))
        }
        _ => Error::io("create the directory", &shown, e),
    })
}

/// The names in a directory that may be written to, and whether it is labelled.
fn look(disk: &dyn Disk, shown: &str) -> Result<(BTreeSet<String>, bool)> {
    let listed = disk.list();
    let listed = listed.map_err(|e| Error::io("list the directory", shown, e))?;
    let labelled = listed.iter().any(|name| name == names::CHECKPOINT);
    for name in &listed {
        match names::parse(name) {
            FileName::Foreign | FileName::Unfinished => {
                return Err(Error::invalid(format!(
                    "{shown} is not empty: it holds '{name}', which is no part of a checkpoint; \
                     choose a directory that is empty or does not exist"
                )));
            }
            FileName::Manifest(_) | FileName::Segment(_) if !labelled => {
                return Err(Error::invalid(format!(
                    "{shown} holds a store of its own, not a checkpoint: it was made there, or a \
                     checkpoint was opened for writing; choose another directory"
                )));
            }
            _ => {}
        }
    }
    Ok((listed.into_iter().collect(), labelled))
}

/// Makes `to` a copy of what `manifest` describes; its segments lie in `from` and stay there
/// meanwhile. Durable when it returns.
///
/// # Errors
/// `InvalidArgument` if `to` is neither empty nor a checkpoint of this store; `Locked` if it is
/// open; `StorageFull`, `Io`. What was in `to` before is whole.
pub(crate) fn write(
    from: &dyn Disk,
    mut manifest: Manifest,
    to: &dyn Disk,
    shown: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckpointReport> {
    let watch = Stopwatch::start();
    let mut target = Target::take(to, shown)?;
    let before = target.read_before(&manifest.store_id)?;
    target.remove_temporary()?;
    target.write_label(&manifest.store_id)?;
    let mut report = CheckpointReport {
        last_seq: manifest.synced_seq,
        segments: wide(manifest.segments.len()),
        ..CheckpointReport::default()
    };
    let total_bytes = manifest.segments.iter().map(|entry| entry.file_len).sum();
    let mut done_bytes = 0;
    let mut links = true;
    for entry in &manifest.segments {
        target.bring(from, entry, before.as_ref(), &mut links, &mut report)?;
        done_bytes += entry.file_len;
        progress(Progress {
            done_bytes,
            total_bytes,
        });
    }
    target.sync()?;
    if let Some(before) = &before {
        manifest.generation = manifest.generation.max(before.generation + 1);
    }
    catalog::write(to, &manifest).map_err(|failed| match failed {
        NotWritten::Before(error) | NotWritten::Halfway(error) => error,
    })?;
    target.remove_all_but(&manifest, &mut report)?;
    report.elapsed = watch.elapsed();
    Ok(report)
}

/// Refuses what is no whole checkpoint, before anything is done for it.
pub(crate) fn check_source(disk: &dyn Disk, shown: &str) -> Result<()> {
    read_checkpoint(disk, shown).map(|_| ())
}

/// Copies the checkpoint in `from` to `to`, which becomes a store when it is opened.
///
/// # Errors
/// `InvalidArgument` if `from` is no whole checkpoint, or `to` is neither empty nor a restore of
/// it that was broken off; `Corrupted` if a file of it is missing; `Locked`, `StorageFull`, `Io`.
pub(crate) fn restore(
    from: &dyn Disk,
    from_shown: &str,
    to: &dyn Disk,
    to_shown: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckpointReport> {
    let mut tried = None;
    for _ in 0..RESTORE_TURNS_MAX {
        let manifest = read_checkpoint(from, from_shown)?;
        let generation = manifest.generation;
        match write(from, manifest, to, to_shown, progress) {
            // Gone because a newer checkpoint took its place, or gone for good.
            Err(error) if error.is_missing_file() => {
                if tried == Some(generation) {
                    let file = error.file().unwrap_or_default();
                    let what = format!("this file of the checkpoint in {from_shown} is missing");
                    return Err(Error::corrupted(file, 0, what));
                }
                tried = Some(generation);
            }
            other => return other,
        }
    }
    let what = format!("the checkpoint in {from_shown} is written anew all the time");
    Err(Error::new(ErrorKind::Conflict, what))
}

/// The manifest of a whole checkpoint.
fn read_checkpoint(disk: &dyn Disk, shown: &str) -> Result<Manifest> {
    let listed = disk.list();
    let listed = listed.map_err(|e| Error::io("list the directory", shown, e))?;
    if !listed.iter().any(|name| name == names::CHECKPOINT) {
        return Err(Error::invalid(format!(
            "{shown} is not a checkpoint; to copy a store, make a checkpoint of it"
        )));
    }
    let manifest = catalog::read(disk, &listed)?.manifest;
    manifest.ok_or_else(|| unfinished(shown))
}

/// The refusal of a checkpoint that has no manifest yet.
pub(crate) fn unfinished(shown: &str) -> Error {
    Error::invalid(format!(
        "the checkpoint in {shown} was broken off before it was whole: make it again from its \
         store, which goes on where it stopped, or remove the directory"
    ))
}

impl<'a> Target<'a> {
    fn take(disk: &'a dyn Disk, shown: &'a str) -> Result<Target<'a>> {
        look(disk, shown)?;
        let lock = disk.lock(names::LOCK).map_err(|e| {
            if e.kind() == io::ErrorKind::WouldBlock {
                let what = format!("{shown} is open elsewhere, or another checkpoint goes there");
                return Error::new(ErrorKind::Locked, what);
            }
            Error::io("take the lock of the checkpoint", shown, e)
        })?;
        // Under the lock it does not change any more.
        let (present, labelled) = look(disk, shown)?;
        Ok(Target {
            disk,
            shown,
            _lock: lock,
            present,
            labelled,
        })
    }

    /// The manifest of the checkpoint that is there already.
    fn read_before(&self, store_id: &[u8; STORE_ID_LEN]) -> Result<Option<Manifest>> {
        if !self.labelled {
            return Ok(None);
        }
        let bytes = read_whole(self.disk, names::CHECKPOINT, wide(LABEL_LEN) + 1)
            .map_err(|e| Error::io("read the label of the checkpoint", names::CHECKPOINT, e))?;
        match label::decode(&bytes) {
            Ok(found) if found == *store_id => {}
            Ok(_) => {
                return Err(Error::invalid(format!(
                    "{} holds a checkpoint of another store; choose another directory",
                    self.shown
                )));
            }
            Err(LabelFault::Version(version)) => {
                return Err(catalog::newer(names::CHECKPOINT, version));
            }
            Err(LabelFault::Damaged(what)) => {
                let what = format!("the label of the checkpoint is damaged: {what}");
                return Err(Error::corrupted(names::CHECKPOINT, 0, what));
            }
        }
        let listed: Vec<String> = self.present.iter().cloned().collect();
        Ok(catalog::read(self.disk, &listed)?.manifest)
    }

    fn write_label(&mut self, store_id: &[u8; STORE_ID_LEN]) -> Result<()> {
        if !self.labelled && !mutant::is_on(Mutant::LabelLeftOut) {
            catalog::replace_file(self.disk, names::CHECKPOINT, &label::encode(store_id))?;
            self.sync()?;
            self.labelled = true;
        }
        Ok(())
    }

    /// What a broken-off copy left half written.
    fn remove_temporary(&mut self) -> Result<()> {
        let temporary = |name: &String| names::parse(name) == FileName::Temporary;
        let gone: Vec<String> = self
            .present
            .iter()
            .filter(|n| temporary(n))
            .cloned()
            .collect();
        for name in gone {
            self.remove(&name)?;
        }
        Ok(())
    }

    /// Sees to it that the segment is there, and its hint file if it has one.
    fn bring(
        &mut self,
        from: &dyn Disk,
        entry: &SegmentEntry,
        before: Option<&Manifest>,
        links: &mut bool,
        report: &mut CheckpointReport,
    ) -> Result<()> {
        let id = entry.header.id;
        let name = names::segment(id);
        if self.present.contains(&name) {
            if self.holds(entry, &name)? {
                report.segments_kept += 1;
                return self.bring_hint(from, id, links);
            }
            if before.is_some_and(|before| ids_of(before).contains(&id)) {
                return Err(Error::invalid(format!(
                    "{} holds a checkpoint of another life of this store: {name} is not the same \
                     there; choose another directory",
                    self.shown
                )));
            }
            // Of a checkpoint that was broken off, of another life of the store.
            self.remove(&name)?;
            self.remove_if_there(&names::hint(id))?;
        }
        if self.link_or_copy(from, &name, links)? {
            report.segments_linked += 1;
        } else {
            report.segments_copied += 1;
            report.bytes_copied += entry.file_len;
        }
        self.bring_hint(from, id, links)
    }

    /// A hint is no part of the promise: it may come and go, and is made anew.
    fn bring_hint(&mut self, from: &dyn Disk, id: SegmentId, links: &mut bool) -> Result<()> {
        let name = names::hint(id);
        if self.present.contains(&name) {
            return Ok(());
        }
        match self.link_or_copy(from, &name, links) {
            Err(error) if error.is_missing_file() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Whether the file that is there is the segment of the entry. A name leads to a whole file
    /// at any moment, so its header and its length are enough to know it by.
    fn holds(&self, entry: &SegmentEntry, name: &str) -> Result<bool> {
        let failed = |e| Error::io("read a segment of the checkpoint", name, e);
        let file = self.disk.open(name, How::Read).map_err(failed)?;
        let mut start = vec![0; RECORDS_START];
        let n = read_full_at(&*file, &mut start, 0).map_err(failed)?;
        start.truncate(n);
        let header = SegmentHeader::decode_file_start(&start);
        let same = header.is_ok_and(|(header, _)| header == entry.header);
        Ok(same && file.len().map_err(failed)? == entry.file_len)
    }

    /// True for a link, false for a copy.
    fn link_or_copy(&mut self, from: &dyn Disk, name: &str, links: &mut bool) -> Result<bool> {
        if *links {
            match from.link_to(name, self.disk, name) {
                Ok(()) => {
                    self.present.insert(name.to_owned());
                    return Ok(true);
                }
                // One file may have too many names; anything else will not be better for the next.
                Err(e) if e.kind() == io::ErrorKind::TooManyLinks => {}
                Err(e) if cannot_link(&e) => *links = false,
                Err(e) => return Err(Error::io("link into the checkpoint", name, e)),
            }
        }
        self.copy(from, name)?;
        self.present.insert(name.to_owned());
        Ok(false)
    }

    /// Whole under its name or not there: written under another, synced, renamed.
    fn copy(&self, from: &dyn Disk, name: &str) -> Result<()> {
        let failed = |e| Error::io("copy into the checkpoint", name, e);
        let source = from.open(name, How::Read).map_err(failed)?;
        let temporary = names::temporary(name);
        let copied = (|| {
            let copy = self.disk.open(&temporary, How::Replace)?;
            let mut buffer = vec![0; COPY_LEN];
            let mut at = 0;
            loop {
                let n = read_full_at(&*source, &mut buffer, at)?;
                write_all_at(&*copy, buffer.get(..n).unwrap_or_default(), at)?;
                at += wide(n);
                if n < COPY_LEN {
                    break;
                }
            }
            copy.sync_data()?;
            self.disk.rename(&temporary, name)
        })();
        if copied.is_err() {
            // It is removed when the checkpoint is made again; the first error is what matters.
            let _first_error_counts = self.disk.remove(&temporary);
        }
        copied.map_err(failed)
    }

    /// What the manifest does not list goes, now that it is durable.
    fn remove_all_but(&mut self, manifest: &Manifest, report: &mut CheckpointReport) -> Result<()> {
        let mut gone = Vec::new();
        let kept = ids_of(manifest);
        for name in &self.present {
            match names::parse(name) {
                FileName::Segment(id) if !kept.contains(&id) => {
                    report.segments_removed += 1;
                    gone.push(name.clone());
                }
                FileName::Hint(id) if !kept.contains(&id) => gone.push(name.clone()),
                _ => {}
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        for name in gone {
            self.remove(&name)?;
        }
        self.sync()
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        let removed = self.disk.remove(name);
        removed.map_err(|e| Error::io("remove from the checkpoint", name, e))?;
        self.present.remove(name);
        Ok(())
    }

    fn remove_if_there(&mut self, name: &str) -> Result<()> {
        if self.present.contains(name) {
            self.remove(name)?;
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let synced = self.disk.sync_dir();
        synced.map_err(|e| Error::io("sync the directory", self.shown, e))
    }
}

fn ids_of(manifest: &Manifest) -> BTreeSet<SegmentId> {
    manifest
        .segments
        .iter()
        .map(|entry| entry.header.id)
        .collect()
}
