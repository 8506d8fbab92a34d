//! Repair: what can still be read of a damaged store is written into a new one. The damaged one
//! is only read, so that nothing is lost by trying, and nobody has to trust a tool that edits.
//!
//! The new directory carries a mark until it is whole.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Stopwatch;
use crate::core::Core;
use crate::disk::Disk;
use crate::disk::How;
use crate::disk::os::{OsDisk, Place};
use crate::disk::tolerant::TolerantDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::keyspace::Keyspace;
use crate::options::{Durability, KeyspaceOptions, Missing, Options, Write};
use crate::report::{Damage, Progress, RepairReport};
use crate::segment::format::wide;
use crate::segment::names::{self, FileName};
use crate::store::{Store, unfinished_repair};
use crate::value::Entry;

/// Records and bytes written at once.
const BATCH_LEN_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Opens a store of which any part may be missing or unreadable, for reading alone.
pub(crate) fn open_damaged(inner: Arc<dyn Disk>, dir: &Path, options: &Options) -> Result<Store> {
    let disk: Arc<dyn Disk> = Arc::new(TolerantDisk::new(inner));
    let options = Options::default()
        .missing_segments(Missing::Accept)
        .recovery_threads(options.recovery_threads)
        .clock(options.clock.clone());
    let core = Core::open_read_only(dir.to_path_buf(), &disk, options)?;
    Ok(Store::of(Handle::new(core)))
}

/// Makes `target` a new store of all that can be read in `source`.
pub(crate) fn repair(
    source: &Path,
    target: &Path,
    options: Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairReport> {
    let watch = Stopwatch::start();
    options.check()?;
    let shown = source.display().to_string();
    let place = OsDisk::look(source).map_err(|e| Error::io("look at", &shown, e))?;
    if place != Place::Directory {
        let what = format!("there is no store in {shown}");
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    let damaged = open_damaged(Arc::new(OsDisk::without_maps(source)), source, &options)?;
    let disk = prepare_target(target)?;
    let make = || Store::open_unchecked(target, options.durability(Durability::Buffered));
    let mut report = fill(&damaged, &*disk, make, progress)?;
    report.elapsed = watch.elapsed();
    Ok(report)
}

/// Makes the new store in the empty directory `disk`. The mark is there before anything else, and
/// goes when all of it is durable.
pub(crate) fn fill(
    damaged: &Store,
    disk: &dyn Disk,
    make: impl FnOnce() -> Result<Store>,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairReport> {
    let failed = |e| Error::io("mark the unfinished repair", names::UNFINISHED, e);
    let _mark = disk.open(names::UNFINISHED, How::Replace).map_err(failed)?;
    // Durable with the directory, which a store syncs before it makes its first file there.
    let fresh = make()?;
    let report = salvage(damaged, &fresh, progress)?;
    fresh.close()?;
    let unmarked = disk.remove(names::UNFINISHED);
    unmarked.and_then(|()| disk.sync_dir()).map_err(failed)?;
    Ok(report)
}

/// An empty directory, made if it is missing.
fn prepare_target(target: &Path) -> Result<Arc<dyn Disk>> {
    let shown = target.display().to_string();
    let disk = OsDisk::new(target).directory(target).map_err(|e| {
        let what = format!("{shown} cannot be the directory of a new store: {e}");
        Error::invalid(what)
    })?;
    let listed = disk.list();
    let listed = listed.map_err(|e| Error::io("list the directory", &shown, e))?;
    if listed.iter().any(|name| name == names::UNFINISHED) {
        return Err(unfinished_repair(&shown));
    }
    let nothing = |name: &String| matches!(names::parse(name), FileName::Lock);
    match listed.iter().find(|name| !nothing(name)) {
        Some(found) => Err(Error::invalid(format!(
            "{shown} is not empty: it holds '{found}'; a repair needs a directory of its own"
        ))),
        None => Ok(disk),
    }
}

/// Copies every live record that can be read, keyspace by keyspace.
pub(crate) fn salvage(
    damaged: &Store,
    fresh: &Store,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairReport> {
    let found = damaged.recovery();
    let mut report = RepairReport {
        damage: found.damage.clone(),
        foreign_files: found.foreign_files.clone(),
        ..RepairReport::default()
    };
    let total_bytes = damaged.stats().live_bytes;
    let mut infos = damaged.keyspaces();
    infos.sort_by_key(|info| info.id);
    for info in infos {
        let options = match info.kind {
            crate::options::IndexKind::Hash => KeyspaceOptions::hash(),
            crate::options::IndexKind::Ordered => KeyspaceOptions::ordered(),
        };
        let to = fresh.keyspace(&info.name, options.default_ttl(info.default_ttl))?;
        let from = damaged.existing_keyspace(&info.name)?;
        report.keyspaces += 1;
        let mut tell = |done: u64| {
            progress(Progress {
                done_bytes: done.min(total_bytes),
                total_bytes,
            });
        };
        one_keyspace(damaged, &from, fresh, &to, &mut report, &mut tell)?;
    }
    Ok(report)
}

fn one_keyspace(
    damaged: &Store,
    from: &Keyspace,
    fresh: &Store,
    to: &Keyspace,
    report: &mut RepairReport,
    tell: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut batch = fresh.batch();
    let mut bytes = 0;
    for entry in from.walk() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                report.lost.push(lost(damaged, from, &error));
                continue;
            }
            Err(error) => return Err(error),
        };
        if bytes + entry.value.len() > BATCH_BYTES_MAX {
            std::mem::replace(&mut batch, fresh.batch()).commit()?;
            bytes = 0;
        }
        bytes += entry.key.len() + entry.value.len();
        report.records += 1;
        report.bytes += wide(entry.key.len() + entry.value.len());
        batch.put_with(to, &entry.key, &entry.value, life_of(&entry));
        if batch.len() >= BATCH_LEN_MAX || bytes >= BATCH_BYTES_MAX {
            std::mem::replace(&mut batch, fresh.batch()).commit()?;
            bytes = 0;
            tell(report.bytes);
        }
    }
    batch.commit()?;
    tell(report.bytes);
    Ok(())
}

fn life_of(entry: &Entry) -> Write {
    match entry.expires_at_ms {
        Some(at) => Write::new().expires_at_ms(at),
        None => Write::new().never_expires(),
    }
}

/// A live record that cannot be read, with its key if that can.
fn lost(damaged: &Store, from: &Keyspace, error: &Error) -> Damage {
    let file = error.file().unwrap_or_default();
    let offset = error.offset().unwrap_or_default();
    let segments = damaged.core().log.table.by_id();
    let segment = segments.iter().find(|segment| segment.name == file);
    let looked = segment.and_then(|segment| {
        let look = segment.look(offset, |header, key| (header.record_len(), key.to_vec()));
        look.ok()
    });
    let (len, key) = looked.unzip();
    Damage {
        key,
        keyspace: Some(from.name().to_owned()),
        ..Damage::at(file, offset, len.unwrap_or(0), error.to_string())
    }
}
