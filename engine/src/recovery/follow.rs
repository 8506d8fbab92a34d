//! A reader that follows a store another process writes: what was appended, rotated and merged
//! since is brought into its table and keydirs. It reads alone, and by seq: whatever it meets
//! twice, or in another file than before, counts once.
//!
//! The manifest is read before the files that it lists, and these before the tails: so whatever a
//! merge left out of a file that is read here, its newer version is in one that is read later.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files;
use super::load::{self, HintBytes};
use super::tails::{self, Fresh, Tail, taken_back};
use crate::disk::{Disk, How};
use crate::error::{Error, ErrorKind, Result};
use crate::keydir::space::{Space, Spaces};
use crate::lookup;
use crate::options::Options;
use crate::past::{Past, Version};
use crate::report::RecoveryReport;
use crate::segment::catalog;
use crate::segment::data_file::{Parts, Segment};
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::SegmentHeader;
use crate::segment::hint_file::Hint;
use crate::segment::key_hash::key_hash;
use crate::segment::location::{Location, SegmentId};
use crate::segment::log::Log;
use crate::segment::manifest::Manifest;
use crate::segment::names;
use crate::segment::record::RecordKind;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// How often a turn starts again because the manifest moved on while it read.
pub(super) const TURNS_MAX: usize = 100;

/// How far a reader has come.
pub(crate) struct Follower {
    /// Everything up to here is in its keydirs.
    last_seq: u64,
    /// Sealed segments in its table.
    known: BTreeSet<SegmentId>,
    tails: BTreeMap<SegmentId, Tail>,
}

type Loaded = (Arc<Segment>, Hint<HintBytes>);

/// What a turn found, before anything is changed by it.
struct Turn {
    manifest: Manifest,
    sealed: Vec<Loaded>,
    tails: BTreeMap<SegmentId, Tail>,
    fresh: Vec<Fresh>,
    last_seq: u64,
}

impl Follower {
    pub(super) fn new(last_seq: u64) -> Follower {
        Follower {
            last_seq,
            known: BTreeSet::new(),
            tails: BTreeMap::new(),
        }
    }

    /// A segment that was loaded when the reader opened; `is_tail` if it may grow.
    pub(super) fn knows(&mut self, segment: &Arc<Segment>, is_tail: bool, last_seq: Option<u64>) {
        let id = segment.header.id;
        if is_tail {
            let tail = Tail {
                segment: segment.clone(),
                at: segment.written(),
                last_seq,
            };
            self.tails.insert(id, tail);
        } else {
            self.known.insert(id);
        }
    }
}

impl Turn {
    /// A segment that was sealed and merged since the last look: what counted in it is elsewhere.
    fn forget_merged_tails(&mut self) {
        let entries = &self.manifest.segments;
        let next = self.manifest.next_segment;
        let listed = |id: &SegmentId| entries.iter().any(|entry| entry.header.id == *id);
        self.tails.retain(|id, _| id.0 >= next || listed(id));
    }

    /// A segment that was begun, given up and removed: nothing was read of it.
    fn forget_removed_tails(&mut self, present: &BTreeSet<SegmentId>) {
        self.tails
            .retain(|id, tail| tail.last_seq.is_some() || present.contains(id));
    }
}

/// The manifest as it is now, if there is one.
pub(super) fn manifest_now(disk: &dyn Disk) -> Result<Option<Manifest>> {
    let mut unused = RecoveryReport::default();
    let listing = files::list(disk, &mut unused)?;
    Ok(catalog::read(disk, &listing.manifests)?.manifest)
}

/// Brings `log` and `spaces` to what is in the files now; true if there was something new.
///
/// # Errors
/// `Conflict` if records that were seen are gone: a writer that failed, or that recovered from a
/// crash, took them back; open again. `Corrupted`, `Io`: nothing is lost, try again or open again.
pub(crate) fn refresh(
    log: &Log,
    spaces: &Spaces,
    options: &Options,
    past: &Past,
    follower: &mut Follower,
) -> Result<bool> {
    let mut tried = None;
    for _ in 0..TURNS_MAX {
        let Some(manifest) = manifest_now(&*log.disk)? else {
            let what = "the store that was opened is not there any more";
            return Err(Error::new(ErrorKind::NotFound, what));
        };
        if manifest.store_id != log.store_id {
            let what = "another store took the place of the one that was opened; open it again";
            return Err(Error::new(ErrorKind::Conflict, what));
        }
        let generation = manifest.generation;
        let mut added = Vec::new();
        match look(log, manifest, options, follower, &mut added) {
            Ok(Some(turn)) => return apply(log, spaces, past, follower, turn),
            // A keyspace is younger than the manifest: the next one has it.
            Ok(None) => log.table.remove(&added),
            Err(error) => {
                log.table.remove(&added);
                let moved = tried != Some(generation);
                if !(moved && matches!(error.kind(), ErrorKind::Io | ErrorKind::Corrupted)) {
                    return Err(error);
                }
            }
        }
        tried = Some(generation);
    }
    let what = "the store changes faster than it can be read; try again";
    Err(Error::new(ErrorKind::Conflict, what))
}

/// Reads what is new. Segments go into the table, where nothing leads to them yet.
fn look(
    log: &Log,
    manifest: Manifest,
    options: &Options,
    follower: &Follower,
    added: &mut Vec<Arc<Segment>>,
) -> Result<Option<Turn>> {
    let disk = &*log.disk;
    let mut unused = RecoveryReport::default();
    let mut listing = files::list(disk, &mut unused)?;
    let is_new = |id: &SegmentId| !follower.known.contains(id);
    listing.segments.retain(is_new);
    let mut unseen = manifest.clone();
    unseen.segments.retain(|entry| is_new(&entry.header.id));
    let mut turn = Turn {
        sealed: Vec::new(),
        tails: follower.tails.clone(),
        fresh: Vec::new(),
        last_seq: follower.last_seq,
        manifest,
    };
    turn.forget_merged_tails();
    turn.forget_removed_tails(&listing.segments);
    for source in files::choose(disk, &unseen, &listing, options, &mut unused)? {
        let id = source.header.id;
        if source.entry.is_some() {
            let loaded = load::one(disk, &turn.manifest, &source, true)?;
            let data_len = loaded.summary.data_len;
            if turn
                .tails
                .remove(&id)
                .is_some_and(|tail| tail.at > data_len)
            {
                return Err(taken_back());
            }
            turn.last_seq = turn.last_seq.max(loaded.summary.max_seq);
            for (segment, hint) in load::into_table(&log.disk, &log.table, vec![loaded], true)? {
                added.push(segment.clone());
                turn.sealed.extend(hint.map(|hint| (segment, hint)));
            }
        } else if let Entry::Vacant(place) = turn.tails.entry(id) {
            let segment = begin_tail(log, source.header)?;
            added.push(segment.clone());
            place.insert(Tail {
                segment,
                at: wide(RECORDS_START),
                last_seq: None,
            });
        }
    }
    for (segment, hint) in &turn.sealed {
        for section in 0..hint.sections().len() {
            let rows = hint.rows(section).filter(|row| row.seq > follower.last_seq);
            turn.fresh.extend(rows.map(|row| Fresh {
                seq: row.seq,
                segment: segment.clone(),
                offset: u64::from(row.offset),
            }));
        }
    }
    let next_keyspace = turn.manifest.next_keyspace;
    // What the manifest counts on may have been merged away.
    let vouched = turn.manifest.seq_high.max(turn.last_seq);
    let seen = follower.last_seq;
    let read = tails::read_on(&mut turn.tails, &mut turn.last_seq, vouched, seen)?;
    let known_keyspaces = read.iter().all(|(keyspace, _)| keyspace.0 < next_keyspace);
    turn.fresh.extend(read.into_iter().map(|(_, fresh)| fresh));
    Ok(known_keyspaces.then_some(turn))
}

fn begin_tail(log: &Log, header: SegmentHeader) -> Result<Arc<Segment>> {
    let name = names::segment(header.id);
    let file = log.disk.open(&name, How::Read);
    let file = file.map_err(|e| Error::io("open the segment", &name, e))?;
    log.table.add(|slot| {
        Segment::new(Parts {
            header,
            slot,
            disk: log.disk.clone(),
            file,
            map_len: None,
            written: wide(RECORDS_START),
            sealed: None,
        })
    })
}

/// Makes what a turn found visible, in an order in which a reader of this process finds each key
/// in one place or the other.
fn apply(
    log: &Log,
    spaces: &Spaces,
    past: &Past,
    follower: &mut Follower,
    mut turn: Turn,
) -> Result<bool> {
    // A snapshot is taken under the log lock: before all of this, or after all of it.
    let mut writer = log.writer_for_close();
    let changed_spaces = apply_keyspaces(log, spaces, &turn.manifest);
    for tail in turn.tails.values() {
        let grown = tail.at.saturating_sub(tail.segment.written());
        tail.segment.advance_written(grown);
    }
    for (segment, hint) in &turn.sealed {
        move_entries(log, spaces, segment, hint, follower.last_seq);
    }
    turn.fresh.sort_unstable_by_key(|fresh| fresh.seq);
    for fresh in &turn.fresh {
        apply_record(log, spaces, past, fresh)?;
    }
    let gone = no_longer_listed(log, &turn);
    for segment in &gone {
        forget(log, spaces, past, segment, turn.last_seq)?;
    }
    log.table.remove(&gone);
    let changed = changed_spaces || !turn.fresh.is_empty();
    follower.last_seq = turn.last_seq;
    writer.note_read(log, turn.last_seq);
    follower.known = listed_sealed(&turn.manifest);
    follower.known.retain(|id| !turn.tails.contains_key(id));
    follower.tails = turn.tails;
    Ok(changed)
}

fn listed_sealed(manifest: &Manifest) -> BTreeSet<SegmentId> {
    let sealed = manifest.segments.iter().filter(|entry| entry.sealed);
    sealed.map(|entry| entry.header.id).collect()
}

/// Keyspaces come and go with the manifest.
fn apply_keyspaces(log: &Log, spaces: &Spaces, manifest: &Manifest) -> bool {
    let mut changed = false;
    for space in spaces.all() {
        if !manifest
            .keyspaces
            .iter()
            .any(|entry| entry.id == space.id())
        {
            space.mark_dropped();
            spaces.remove(&space.entry.name);
            for segment in log.table.by_id() {
                segment.drop_keyspace(space.id());
            }
            changed = true;
        }
    }
    for entry in &manifest.keyspaces {
        if spaces.by_id(entry.id).is_none() {
            spaces.insert(Arc::new(Space::new(entry.clone(), manifest.secret)));
            changed = true;
        }
    }
    if changed {
        log.set_keyspace_entries(manifest.keyspaces.clone());
    }
    changed
}

/// Entries of records that were known already lead to where merge or rotation put them.
fn move_entries(log: &Log, spaces: &Spaces, segment: &Segment, hint: &Hint<HintBytes>, seen: u64) {
    let slots = log.table.load();
    for (section, shape) in hint.sections().iter().enumerate() {
        let Some(space) = spaces.by_id(shape.keyspace()) else {
            continue;
        };
        let known = hint.rows_with_keys(section);
        let known = known.filter(|(row, _)| row.seq <= seen && row.kind == RecordKind::Put);
        for (row, key) in known {
            let key = key.unwrap_or_default();
            let to = Location {
                slot: segment.slot,
                offset: row.offset,
            };
            for from in space.keydir.candidates(row.hash, key).iter() {
                // A seq names one record, wherever it lies.
                let seq = slots.get(from.slot).map(|held| {
                    let looked = held.look(u64::from(from.offset), |header, _| header.fields.seq);
                    looked.unwrap_or(0)
                });
                if from != to && seq == Some(row.seq) {
                    let moved = space.keydir.change(row.hash, key, Some(from), Some(to));
                    if moved {
                        segment.add_live(space.id(), row.len, row.expiry);
                    }
                }
            }
        }
    }
}

/// A record takes its place unless a newer one has it.
fn apply_record(log: &Log, spaces: &Spaces, past: &Past, fresh: &Fresh) -> Result<()> {
    let read = fresh
        .segment
        .look(fresh.offset, |header, key| (*header, key.to_vec()));
    let (header, key) = match read {
        // A damaged record that its hint tells of is left out here; verify names it.
        Err(error) if error.kind() == ErrorKind::Corrupted => return Ok(()),
        read => read?,
    };
    let Some(space) = spaces.by_id(header.fields.keyspace) else {
        return Ok(());
    };
    let hash = space.hash(&key);
    let prior = lookup::find_prior(log, &space, hash, &key)?;
    let newer = |prior: &lookup::Prior| {
        let found = prior.header.as_ref();
        found.is_some_and(|found| found.fields.seq >= header.fields.seq)
    };
    if prior.as_ref().is_some_and(newer) {
        return Ok(());
    }
    let to = (header.fields.kind == RecordKind::Put).then(|| Location {
        slot: fresh.segment.slot,
        offset: u32::try_from(fresh.offset).expect("records start below 4 GiB"),
    });
    let from = prior.as_ref().map(|prior| prior.location);
    if from.is_none() && to.is_none() {
        return Ok(());
    }
    if let Some(prior) = &prior {
        let seq = prior.header.map_or(0, |header| header.fields.seq);
        keep(
            log,
            past,
            &space,
            (hash, &key),
            prior.location,
            seq,
            header.fields.seq,
        );
    }
    if space.keydir.change(hash, &key, from, to) {
        fresh.segment.note_live(&header);
        if let Some(found) = prior.as_ref().and_then(|prior| prior.header) {
            let slots = log.table.load();
            if let Some(held) = from.and_then(|from| slots.get(from.slot)) {
                let fields = &found.fields;
                held.note_dead(fields.keyspace, found.record_len(), fields.expiry);
            }
        }
    }
    Ok(())
}

/// What a live snapshot of this reader sees stays readable for it.
fn keep(
    log: &Log,
    past: &Past,
    space: &Space,
    (hash, key): (u128, &[u8]),
    location: Location,
    seq: u64,
    superseded_at: u64,
) {
    if past.wants(seq)
        && let Some(segment) = log.table.load().get(location.slot)
    {
        let version = Version {
            segment: segment.clone(),
            seq,
            offset: location.offset,
        };
        past.keep(space, hash, key, version, superseded_at);
    }
}

/// Segments of the table that the manifest took out, or that are there anew as sealed ones.
fn no_longer_listed(log: &Log, turn: &Turn) -> Vec<Arc<Segment>> {
    let listed = listed_sealed(&turn.manifest);
    let anew: BTreeMap<SegmentId, u16> = turn
        .sealed
        .iter()
        .map(|(segment, _)| (segment.header.id, segment.slot))
        .collect();
    let stays = |segment: &Arc<Segment>| {
        let id = segment.header.id;
        match anew.get(&id) {
            Some(slot) => *slot == segment.slot,
            None => turn.tails.contains_key(&id) || listed.contains(&id),
        }
    };
    let mut gone = log.table.by_id();
    gone.retain(|segment| !stays(segment));
    gone
}

/// What still leads into a segment that goes was expired, dead or unreadable.
fn forget(log: &Log, spaces: &Spaces, past: &Past, segment: &Segment, last_seq: u64) -> Result<()> {
    let bytes = segment.all_bytes()?;
    let options = ScanOptions {
        check_values: false,
    };
    for item in Scan::new(bytes.as_ref(), segment.written(), &segment.header, options) {
        let ScanItem::Record {
            offset,
            header,
            record,
            ..
        } = item
        else {
            continue;
        };
        let id = header.fields.keyspace;
        if header.fields.kind != RecordKind::Put {
            continue;
        }
        if let Some(space) = spaces.by_id(id) {
            let key = header.key(record);
            let from = Location {
                slot: segment.slot,
                offset: u32::try_from(offset).expect("records start below 4 GiB"),
            };
            let hash = key_hash(&log.secret, id, key);
            if space.keydir.candidates(hash, key).contains(from) {
                let seq = header.fields.seq;
                keep(log, past, &space, (hash, key), from, seq, last_seq + 1);
                space.keydir.change(hash, key, Some(from), None);
            }
        }
    }
    Ok(())
}
