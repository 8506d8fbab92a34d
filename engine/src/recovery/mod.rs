//! From a directory to a log and its keydirs, whatever a crash left there. In this order: which
//! files belong (`files`), what each segment holds (`load`), where the log ends (`tail`), the
//! repair of its end (`repair`), the keydirs (`fill`). Every step may be interrupted and done
//! again with the same result; nothing is written if nothing needs repair.

mod behind;
mod files;
mod fill;
mod follow;
mod image;
mod load;
mod rebuild;
mod repair;
mod tail;
mod tails;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use follow::{Follower, refresh};

use crate::checkpoint;
use crate::clock::{Stopwatch, StoreClock};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind, Result};
use crate::keydir::space::{Space, Spaces};
use crate::options::Options;
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::base::{Base, BaseStart};
use crate::segment::catalog::{self, Catalog};
use crate::segment::data_file::Segment;
use crate::segment::header::Summary;
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::location::SegmentId;
use crate::segment::log::Log;
use crate::segment::manifest::Manifest;
use crate::segment::names;
use crate::segment::table::Table;
use crate::segment::writer::Writer;

/// After an unclean stop seqs go on this far above the last one: those that were handed out but
/// lost are never used again.
const SEQ_JUMP: u64 = 1 << 32;

/// An opened log with its keyspaces.
pub(crate) struct Recovered {
    pub(crate) log: Log,
    pub(crate) spaces: Spaces,
    pub(crate) clock: StoreClock,
    pub(crate) report: RecoveryReport,
}

/// Opens or creates the store on `disk`; the caller holds the lock.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &Options) -> Result<Recovered> {
    let watch = Stopwatch::start();
    let span = tracing::info_span!("open");
    let _entered = span.enter();
    let mut report = RecoveryReport::default();
    let listing = files::list(&**disk, &mut report)?;
    let found = catalog::read(&**disk, &listing.manifests)?;
    for (file, fault) in &found.damaged {
        let what = format!("this copy of the manifest does not hold: {fault}");
        report
            .damage
            .push(Damage::at(file, 0, 0, what).costing(Cost::Nothing));
    }
    let none = found.manifest.is_none() && found.damaged.is_empty();
    if none && listing.is_checkpoint {
        return Err(checkpoint::unfinished("this directory"));
    }
    let fresh = none && listing.segments.is_empty();
    let mut must_write = found.needs_writing;
    let manifest = match found.manifest {
        Some(manifest) => manifest,
        None if fresh => {
            report.created = true;
            rebuild::new_manifest(&**disk)?
        }
        None => {
            report.manifest_rebuilt = true;
            rebuild::manifest(&**disk, &listing)?
        }
    };
    let built = build(
        disk,
        options,
        manifest,
        &listing,
        false,
        &mut report,
        &mut must_write,
    )?;
    let mut recovered = built.0;
    recovered.report = RecoveryReport {
        elapsed: watch.elapsed(),
        ..report
    };
    if listing.is_checkpoint {
        begin_own_life(&**disk, &mut recovered)?;
    } else if must_write {
        write_down(&recovered)?;
    }
    recovered.log.take_reserve();
    let report = &recovered.report;
    tracing::info!(
        segments = report.segments,
        records = report.records,
        damage = report.damage.len(),
        cut = report.cut.len(),
        "opened"
    );
    Ok(recovered)
}

/// Opens the store on `disk` for reading alone, as recovery would leave it; a writer may be at
/// work on it all the while. Nothing is written, no lock is taken.
///
/// # Errors
/// `NotFound` if there is no store; else as [`open`].
pub(crate) fn open_read_only(
    disk: &Arc<dyn Disk>,
    options: &Options,
) -> Result<(Recovered, Follower)> {
    let mut tried = None;
    for _ in 0..follow::TURNS_MAX {
        let generation = follow::manifest_now(&**disk)?.map(|manifest| manifest.generation);
        match read(disk, options) {
            // Merge took a file away, or a manifest is younger than the listing: look again.
            Err(error)
                if tried != Some(generation)
                    && matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupted) =>
            {
                tried = Some(generation);
            }
            other => return other,
        }
    }
    let what = "the store changes faster than it can be read; try again";
    Err(Error::new(ErrorKind::Conflict, what))
}

/// One look at the files. The manifest is read before the names are listed, so that everything it
/// lists should be there.
fn read(disk: &Arc<dyn Disk>, options: &Options) -> Result<(Recovered, Follower)> {
    let watch = Stopwatch::start();
    let mut report = RecoveryReport::default();
    let manifests = files::list(&**disk, &mut report)?.manifests;
    let found = catalog::read(&**disk, &manifests)?;
    report = RecoveryReport::default();
    let listing = files::list(&**disk, &mut report)?;
    for (file, fault) in &found.damaged {
        let what = format!("this copy of the manifest does not hold: {fault}");
        let damage = Damage::at(file, 0, 0, what);
        report.damage.push(damage.costing(Cost::Nothing));
    }
    let manifest = match found.manifest {
        Some(manifest) => manifest,
        None if found.damaged.is_empty() && listing.is_checkpoint => {
            return Err(checkpoint::unfinished("this directory"));
        }
        None if found.damaged.is_empty() && listing.segments.is_empty() => {
            let what = "there is no store in this directory";
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        None => {
            report.manifest_rebuilt = true;
            rebuild::manifest(&**disk, &listing)?
        }
    };
    let (mut recovered, follower) = build(
        disk,
        options,
        manifest,
        &listing,
        true,
        &mut report,
        &mut false,
    )?;
    recovered.report = RecoveryReport {
        elapsed: watch.elapsed(),
        ..report
    };
    Ok((recovered, follower))
}

/// Brings what recovery decided into the manifest. A full disk does not keep the store from
/// opening: the files as repaired say the same, and the next open decides alike.
fn write_down(recovered: &Recovered) -> Result<()> {
    let now_ms = recovered.clock.now_ms();
    let write = || recovered.log.update_catalog(now_ms, |_| Ok(()));
    match write() {
        Err(error) if error.kind() == ErrorKind::StorageFull && !recovered.report.created => {
            // Removing needs no space and may give some. What was cut must be gone before anything
            // is written behind it.
            recovered.log.remove_files()?;
            if let Err(error) = write() {
                tracing::warn!(%error, "opened without writing the manifest");
            }
            Ok(())
        }
        Err(error) => Err(error),
        Ok(()) => recovered.log.remove_files(),
    }
}

/// From here on the directory is no checkpoint but a store that goes its own way. The manifest
/// with its seqs, which the origin will not reach, is written first: once the label is gone,
/// segments that no manifest lists count again.
fn begin_own_life(disk: &dyn Disk, recovered: &mut Recovered) -> Result<()> {
    let now_ms = recovered.clock.now_ms();
    recovered.log.update_catalog(now_ms, |_| Ok(()))?;
    recovered.log.remove_files()?;
    // Not synced: while nothing was written here the label may come back, and all of this is done
    // again. The first segment of this life is durable with the directory, the label's end with both.
    let removed = disk.remove(names::CHECKPOINT);
    removed.map_err(|e| Error::io("remove the label of the checkpoint", names::CHECKPOINT, e))?;
    recovered.report.from_checkpoint = true;
    Ok(())
}

/// From manifest and listing to the log in memory, with its end repaired on disk.
fn build(
    disk: &Arc<dyn Disk>,
    options: &Options,
    manifest: Manifest,
    listing: &files::Listing,
    only_reads: bool,
    report: &mut RecoveryReport,
    must_write: &mut bool,
) -> Result<(Recovered, Follower)> {
    let _span = tracing::info_span!("recovery", only_reads).entered();
    let sources = files::choose(&**disk, &manifest, listing, options, report)?;
    let settled =
        !only_reads && files::remove_leftovers(&**disk, &manifest, listing, &sources, report)?;
    let image = image_for(&**disk, &manifest, listing, &sources, only_reads, report)?;
    let is_covered = |source: &files::Source| image.as_ref().is_some_and(|i| i.covers(source));
    let mut loaded = load::all(
        &**disk,
        &manifest,
        &sources,
        &is_covered,
        options,
        only_reads,
        report,
    )?;
    let end = tail::find_end(&manifest, &mut loaded, report);
    let unclean = is_unclean(&manifest, &loaded) || listing.is_checkpoint;
    *must_write |= unclean || report.manifest_rebuilt || settled;
    let empty = without_empty(&**disk, &mut loaded, only_reads, report)?;
    build_hints(&**disk, &manifest, &mut loaded)?;
    let keyspaces = rebuild::with_unknown_keyspaces(&manifest, &loaded, report);
    let numbers = Numbers::after(&manifest, listing, &loaded, &end, unclean);
    let table = Table::new();
    let tails = tails_of(&loaded);
    let segments = load::into_table(disk, &table, loaded, only_reads)?;
    let follower = follower_of(&segments, &tails, end.last_seq);
    report.segments = segments.len() as u64;
    let make_spaces = || spaces_of(&keyspaces, &manifest);
    let filling = image::Filling {
        disk: &**disk,
        manifest: &manifest,
        sources: &sources,
        table: &table,
        last_seq: end.last_seq,
        threads: options.threads(),
        make_spaces: &make_spaces,
    };
    let spaces = filling.run(image.as_ref(), segments, report)?;
    report.last_seq = end.last_seq;
    report.synced_seq = end.synced_seq;
    report.clean = !report.created && !*must_write && report.damage.is_empty();

    let start = Start {
        table,
        keyspaces: keyspaces.clone(),
        next_segment: numbers.next_segment,
        synced_seq: end.last_seq,
        image: report.image_generation,
        only_reads,
    };
    let base = base_of(disk, options, &manifest, start);
    let catalog = catalog_of(&manifest, keyspaces, empty);
    *must_write |= report.created;
    let recovered = Recovered {
        log: Log::new(base, Writer::new(end.last_seq, numbers.next_seq), catalog),
        spaces,
        clock: StoreClock::new(options.clock.clone(), numbers.time_ms),
        report: RecoveryReport::default(),
    };
    Ok((recovered, follower))
}

/// The keydir image to begin with. A reader cannot tell a whole one from one that is being
/// replaced; a checkpoint has none.
fn image_for(
    disk: &dyn Disk,
    manifest: &Manifest,
    listing: &files::Listing,
    sources: &[files::Source],
    only_reads: bool,
    report: &mut RecoveryReport,
) -> Result<Option<image::Usable>> {
    if only_reads || listing.is_checkpoint {
        return Ok(None);
    }
    image::choose(disk, manifest, listing, sources, report)
}

/// Repairs the log's end, or looks past it; which segments held nothing.
fn without_empty(
    disk: &dyn Disk,
    loaded: &mut Vec<load::Loaded>,
    only_reads: bool,
    report: &RecoveryReport,
) -> Result<Vec<SegmentId>> {
    loaded.iter_mut().try_for_each(load::Loaded::check_end)?;
    match only_reads {
        true => Ok(repair::leave_out_empty(loaded)),
        false => repair::end_of_log(disk, loaded, report),
    }
}

/// What recovery found that the log starts from.
struct Start {
    table: Table,
    keyspaces: Vec<KeyspaceEntry>,
    next_segment: u64,
    /// All that is left of the log was synced by the repair, or was before.
    synced_seq: u64,
    image: u64,
    only_reads: bool,
}

fn base_of(disk: &Arc<dyn Disk>, options: &Options, manifest: &Manifest, start: Start) -> Base {
    Base::new(BaseStart {
        disk: disk.clone(),
        table: start.table,
        store_id: manifest.store_id,
        secret: manifest.secret,
        keyspaces: start.keyspaces,
        next_segment: start.next_segment,
        synced_seq: start.synced_seq,
        image: start.image,
        segment_bytes: options.segment_bytes,
        part_bytes: options.part_bytes.unwrap_or(options.segment_bytes),
        buffer_bytes: options.buffer_bytes,
        reserve_bytes: options.reserve_bytes,
        only_reads: start.only_reads,
    })
}

/// Hints for the segments that have none, of which only the end is known by now.
fn build_hints(disk: &dyn Disk, manifest: &Manifest, loaded: &mut [load::Loaded]) -> Result<()> {
    let without = |s: &&mut load::Loaded| s.hint.is_none() && !s.by_image;
    for segment in loaded.iter_mut().filter(without) {
        let data_end = segment.summary.data_len;
        let (secret, keyspaces) = (&manifest.secret, &manifest.keyspaces);
        load::build_hint(disk, secret, keyspaces, segment, data_end)?;
    }
    Ok(())
}

fn catalog_of(
    manifest: &Manifest,
    keyspaces: Vec<KeyspaceEntry>,
    replaced: Vec<SegmentId>,
) -> Catalog {
    Catalog {
        generation: manifest.generation,
        store_id: manifest.store_id,
        secret: manifest.secret,
        next_keyspace: keyspaces
            .iter()
            .map(|k| k.id.0.saturating_add(1))
            .fold(manifest.next_keyspace, u32::max),
        keyspaces,
        // Those of merges are gone, and the directory is synced.
        replaced,
    }
}

/// The last seq of each segment that may still grow; `None` while it holds no record.
type Tails = BTreeMap<SegmentId, Option<u64>>;

fn tails_of(loaded: &[load::Loaded]) -> Tails {
    let last_seq = |summary: &Summary| (summary.records > 0).then_some(summary.max_seq);
    loaded
        .iter()
        .filter(|segment| !segment.listed_sealed)
        .map(|segment| (segment.header.id, last_seq(&segment.summary)))
        .collect()
}

fn follower_of<H>(segments: &[(Arc<Segment>, H)], tails: &Tails, last_seq: u64) -> Follower {
    let mut follower = Follower::new(last_seq);
    for (segment, _) in segments {
        let tail = tails.get(&segment.header.id);
        follower.knows(segment, tail.is_some(), tail.copied().flatten());
    }
    follower
}

/// Whether the log did not end with a clean close.
fn is_unclean(manifest: &Manifest, loaded: &[load::Loaded]) -> bool {
    loaded.iter().any(|segment| !segment.listed_sealed)
        || manifest.segments.iter().any(|entry| !entry.sealed)
}

fn spaces_of(keyspaces: &[KeyspaceEntry], manifest: &Manifest) -> Spaces {
    let spaces = Spaces::default();
    for entry in keyspaces {
        spaces.insert(Arc::new(Space::new(entry.clone(), manifest.secret)));
    }
    spaces
}

/// The high-water marks that the log goes on from.
struct Numbers {
    next_segment: u64,
    next_seq: u64,
    time_ms: u64,
}

impl Numbers {
    fn after(
        manifest: &Manifest,
        listing: &files::Listing,
        loaded: &[load::Loaded],
        end: &tail::End,
        unclean: bool,
    ) -> Numbers {
        let ids = loaded.iter().map(|segment| segment.header.id.0);
        // A stray file may bear any name: one far beyond all that were given out is not ours, and
        // must not use up the ids.
        let ours = |id: &u64| files::is_ours(SegmentId(*id), manifest);
        let listed = Some(listing.highest_segment).filter(ours).unwrap_or(0);
        let highest = ids.fold(listed, u64::max);
        let times = loaded
            .iter()
            .map(|s| s.header.created_ms.max(s.mark_time_ms));
        let high = end.last_seq.max(manifest.seq_high);
        Numbers {
            next_segment: manifest.next_segment.max(highest.saturating_add(1)),
            next_seq: high.saturating_add(if unclean { SEQ_JUMP } else { 1 }),
            time_ms: times.fold(manifest.time_ms, u64::max),
        }
    }
}
