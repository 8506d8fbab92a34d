//! From a directory to a store: the engine, the notes of this crate, the index from its image or
//! from a walk over the records.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use peercask::{Durability, ErrorKind, Keyspace, KeyspaceOptions, Store, Write};

use crate::bell::Bell;
use crate::codec::Stored;
use crate::due::decode_published;
use crate::error::{Error, Result};
use crate::image::{self, SavedTable};
use crate::index::peers::PeerCounts;
use crate::index::slab::Entry;
use crate::index::table::{Found, Table};
use crate::options::Options;
use crate::pending::Pending;
use crate::report::OpenReport;
use crate::shared::{Shared, Spot, State, Which, tag_of};
use crate::stats::Counters;
use crate::time::{Anchor, EngineClock, second_after, second_of_ms};
use crate::windows::Walked;
use crate::writer;

/// The version of keyspaces and records below.
pub(crate) const FORMAT: u32 = 1;
const META: &str = "kad.meta";
const NOTE_FORMAT: &str = "format";
const NOTE_SESSION: &str = "session";
const NOTE_LOCAL: &str = "local";
/// What is read of the files, in order, before they are walked out of order: 16 GiB.
const WARM_BYTES_MAX: u64 = 16 << 30;

/// The segment size for a limit of the files: small enough that the limit means something.
pub(crate) fn segment_bytes(disk_bytes_max: u64) -> u64 {
    (disk_bytes_max / 64).clamp(1 << 20, 64 << 20)
}

/// The names of the keyspaces: own records belong to an identity.
fn space_names(local: &PeerId) -> [String; 6] {
    let tag = format!("{:016x}", tag_of(&local.to_bytes()));
    [
        "kad.values".to_owned(),
        format!("kad.own-values.{tag}"),
        "kad.providers".to_owned(),
        format!("kad.own-provides.{tag}"),
        format!("kad.published-values.{tag}"),
        format!("kad.published-provides.{tag}"),
    ]
}

pub(crate) fn open(dir: &Path, local: PeerId, options: Options) -> Result<Arc<Shared>> {
    let start = Instant::now();
    options.check()?;
    let store = Store::open(dir, engine_options(&options))?;
    let begun = Begun {
        start,
        engine_elapsed: start.elapsed(),
        dir: Some(dir.to_path_buf()),
    };
    attach(store, begun, local, options)
}

/// On an engine that somebody else opened: no file beside it is read or written.
pub(crate) fn open_on(store: Store, local: PeerId, options: Options) -> Result<Arc<Shared>> {
    options.check()?;
    let begun = Begun {
        start: Instant::now(),
        engine_elapsed: Duration::ZERO,
        dir: None,
    };
    attach(store, begun, local, options)
}

/// What is known before there is a store.
struct Begun {
    start: Instant,
    engine_elapsed: Duration,
    dir: Option<PathBuf>,
}

fn attach(store: Store, begun: Begun, local: PeerId, options: Options) -> Result<Arc<Shared>> {
    let Begun {
        start,
        engine_elapsed,
        dir,
    } = begun;
    let meta = meta_of(&store)?;
    let spaces = spaces_of(&store, &local)?;
    let (session, identity_before) = begin_session(&meta, &local)?;
    let last_seq = store.recovery().last_seq;
    let saved = dir.as_deref().and_then(|dir| image::load(dir, last_seq));
    let saved = saved.filter(|_| store.recovery().clean);
    dir.iter().for_each(|dir| image::remove(dir));

    let now_ms = store.now_ms();
    let mut report = OpenReport {
        recovery: store.recovery().clone(),
        // Own records of another identity are not in it.
        index_from_image: saved.is_some() && identity_before.is_none(),
        identity_before,
        engine_elapsed,
        ..OpenReport::default()
    };
    let tables = index(saved, dir.as_deref(), &spaces, now_ms, &mut report)?;
    report.records = tables.iter().map(Table::len).sum();
    report.elapsed = start.elapsed();
    let state = State {
        per_peer: peers_of(&tables[2]),
        tables,
        pending: Pending::new(
            options.limits.queue_records_max,
            options.limits.queue_bytes_max,
        ),
        anchor: Anchor::new(now_ms, options.time.instant()),
        cursors: [
            read_cursor(&meta, Walked::Records)?,
            read_cursor(&meta, Walked::Provided)?,
        ],
    };
    let shared = Arc::new(Shared {
        local_bytes: local.to_bytes(),
        local_tag: tag_of(&local.to_bytes()),
        local,
        dir,
        store,
        spaces,
        meta,
        session,
        opened_ns: now_ms.saturating_mul(1_000_000),
        counters: counters_of(&report),
        report,
        closed: AtomicBool::new(false),
        bell: Arc::new(Bell::default()),
        ended: Mutex::new(None),
        drain_turn: Mutex::new(()),
        state: Mutex::new(state),
        options,
    });
    shared.measure();
    if shared.options.background {
        writer::start(&shared)?;
    }
    Ok(shared)
}

fn engine_options(options: &Options) -> peercask::Options {
    let mut engine = options
        .engine
        .clone()
        .durability(Durability::Kernel)
        .background(options.background)
        .clock(Arc::new(EngineClock(options.time.clone())));
    if let Some(max) = options.limits.disk_bytes_max
        && !options.engine_given
    {
        engine = engine.segment_bytes(segment_bytes(max));
    }
    engine
}

/// The notes of this crate, after a look whether they are of a version that it knows.
fn meta_of(store: &Store) -> Result<Keyspace> {
    let known = store.existing_keyspace(META);
    match known {
        Ok(meta) => {
            let found = read_number(&meta, NOTE_FORMAT)?;
            // 0: a crash came between the keyspace and its first note.
            if found > FORMAT {
                return Err(Error::NewerFormat {
                    found,
                    known: FORMAT,
                });
            }
            note(&meta, NOTE_FORMAT, &FORMAT.to_le_bytes())?;
            Ok(meta)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let meta = store.keyspace(META, KeyspaceOptions::hash())?;
            note(&meta, NOTE_FORMAT, &FORMAT.to_le_bytes())?;
            Ok(meta)
        }
        Err(error) => Err(error.into()),
    }
}

fn spaces_of(store: &Store, local: &PeerId) -> Result<[Keyspace; 6]> {
    let names = space_names(local);
    let mut spaces = Vec::with_capacity(names.len());
    for name in &names {
        spaces.push(store.keyspace(name, KeyspaceOptions::hash())?);
    }
    spaces
        .try_into()
        .map_err(|_| Error::BadMeta("six keyspaces were asked for".to_owned()))
}

/// Counts the session, and notes the identity; answers with the one before if it was another.
fn begin_session(meta: &Keyspace, local: &PeerId) -> Result<(u32, Option<PeerId>)> {
    let session = read_number(meta, NOTE_SESSION)?.saturating_add(1);
    note(meta, NOTE_SESSION, &session.to_le_bytes())?;
    let before = read_note(meta, NOTE_LOCAL)?;
    let before = before.and_then(|bytes| PeerId::from_bytes(&bytes).ok());
    if before != Some(*local) {
        note(meta, NOTE_LOCAL, &local.to_bytes())?;
    }
    Ok((session, before.filter(|before| before != local)))
}

fn read_number(meta: &Keyspace, name: &str) -> Result<u32> {
    let Some(bytes) = read_note(meta, name)? else {
        return Ok(0);
    };
    let number = bytes.as_ref().try_into().map(u32::from_le_bytes);
    number.map_err(|_| Error::BadMeta(format!("'{name}' has {} bytes", bytes.len())))
}

/// A note; one that is damaged counts as none, and is written anew.
fn read_note(meta: &Keyspace, name: &str) -> Result<Option<peercask::Value>> {
    match meta.get(name) {
        Err(error) if error.kind() == ErrorKind::Corrupted => Ok(None),
        other => Ok(other?),
    }
}

fn read_cursor(meta: &Keyspace, walked: Walked) -> Result<u64> {
    let bytes = read_note(meta, walked.note())?;
    let number = bytes.and_then(|bytes| bytes.as_ref().try_into().ok());
    // Any place is a good one to go on from.
    Ok(number.map_or(0, u64::from_le_bytes))
}

fn note(meta: &Keyspace, name: &str, bytes: &[u8]) -> Result<()> {
    if read_note(meta, name)?.as_deref() == Some(bytes) {
        return Ok(());
    }
    let write = Write::new().never_expires().durability(Durability::Kernel);
    meta.put_with(name, bytes, write)?.wait()?;
    Ok(())
}

fn counters_of(report: &OpenReport) -> Counters {
    let counters = Counters::default();
    counters.undecodable.add(report.undecodable);
    counters.damaged.add(report.damaged);
    counters
}

// ---- the index

/// From the saved image if it is this log's and this identity's, else from the records.
fn index(
    saved: Option<[SavedTable; 4]>,
    dir: Option<&Path>,
    spaces: &[Keyspace; 6],
    now_ms: u64,
    report: &mut OpenReport,
) -> Result<[Table; 4]> {
    if let Some(saved) = saved.filter(|_| report.index_from_image) {
        return Ok(from_image(saved, second_of_ms(now_ms), report));
    }
    dir.iter().for_each(|dir| warm(dir));
    let view = View {
        now_ns: now_ms.saturating_mul(1_000_000),
    };
    walk_all(spaces, view, report)
}

fn from_image(saved: [SavedTable; 4], now_s: u32, report: &mut OpenReport) -> [Table; 4] {
    let mut which = Which::ALL.into_iter();
    saved.map(|mut saved| {
        let before = saved.found.len();
        saved
            .found
            .retain(|found| found.entry.deadline_s == 0 || found.entry.deadline_s > now_s);
        report.expired += (before - saved.found.len()) as u64;
        let own = which.next().is_some_and(Which::is_own);
        let slots: Vec<u32> = saved.found.iter().map(|found| found.slot).collect();
        let mut table = Table::build(own, saved.found, &saved.quarantined);
        if let Some(due) = &mut table.due {
            slots.into_iter().for_each(|slot| due.set(slot, 0));
            for (slot, second) in saved.published {
                if due.of(slot).is_some() {
                    due.set(slot, second);
                }
            }
        }
        table
    })
}

/// What a walk needs to know to judge deadlines.
#[derive(Clone, Copy)]
struct View {
    now_ns: u64,
}

/// Reads the files from front to back: the walk jumps about in them, and a cold disk jumps badly.
fn warm(dir: &Path) {
    let Ok(listed) = std::fs::read_dir(dir) else {
        // The engine has it open; a second look only helps.
        return;
    };
    let mut left = WARM_BYTES_MAX;
    for entry in listed.flatten() {
        if let Ok(file) = std::fs::File::open(entry.path()) {
            let read = std::io::copy(&mut file.take(left), &mut std::io::sink());
            left = left.saturating_sub(read.unwrap_or(0));
        }
    }
}

fn walk_all(spaces: &[Keyspace; 6], view: View, report: &mut OpenReport) -> Result<[Table; 4]> {
    let mut tables = Which::ALL.map(|which| Table::new(which.is_own()));
    for (which, table) in Which::ALL.into_iter().zip(&mut tables) {
        let space = &spaces[usize::from(which.number())];
        *table = walk_one(space, which, view, report)?;
        if let Some((number, _)) = which.published_place(0) {
            walk_published(&spaces[usize::from(number)], table)?;
        }
    }
    Ok(tables)
}

fn walk_one(space: &Keyspace, which: Which, view: View, report: &mut OpenReport) -> Result<Table> {
    let mut found = Vec::with_capacity(usize::try_from(space.keys_estimate()).unwrap_or(0));
    let mut unreadable = Vec::new();
    for entry in space.walk() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                report.damaged += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let Some(slot) = slot_of(&entry) else {
            report.undecodable += 1;
            continue;
        };
        match look(&entry, which, view) {
            Look::Live(known) => found.push(Found {
                entry: known,
                seq: entry.seq.0,
                slot,
            }),
            Look::Expired => report.expired += 1,
            Look::Unreadable => {
                report.undecodable += 1;
                unreadable.push(slot);
            }
        }
    }
    Ok(Table::build(which.is_own(), found, &unreadable))
}

fn slot_of(entry: &peercask::Entry) -> Option<u32> {
    entry.key.as_ref().try_into().map(u32::from_le_bytes).ok()
}

enum Look {
    Live(Entry),
    Expired,
    Unreadable,
}

fn look(entry: &peercask::Entry, which: Which, view: View) -> Look {
    let Some(stored) = Stored::decode(&entry.value) else {
        return Look::Unreadable;
    };
    let deadline_ns = stored.life.map(|life| {
        let latest = view.now_ns.saturating_add(life.granted_ns);
        life.deadline_unix_ns.min(latest)
    });
    if deadline_ns.is_some_and(|deadline_ns| deadline_ns <= view.now_ns) {
        return Look::Expired;
    }
    let spot = Spot::of(stored.key);
    let tag = match (which, stored.peer) {
        (Which::Values | Which::OwnValues, _) => spot.more,
        (Which::Provides | Which::OwnProvides, Some(peer)) => tag_of(peer),
        (Which::Provides | Which::OwnProvides, None) => return Look::Unreadable,
    };
    Look::Live(Entry {
        prefix: spot.prefix,
        tag,
        deadline_s: deadline_ns.map_or(0, second_after),
        ordinal: stored.ordinal,
    })
}

/// Publishing times; what has none is due at once.
fn walk_published(space: &Keyspace, table: &mut Table) -> Result<()> {
    let slots: Vec<u32> = table.at_prefix(0).map(|(_, slot)| slot).collect();
    let mut times = Vec::new();
    for entry in space.walk() {
        let entry = match entry {
            Ok(entry) => entry,
            // Published once more: no loss worth a word.
            Err(error) if error.kind() == ErrorKind::Corrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if let Some(slot) = slot_of(&entry)
            && let Some((second, prefix)) = decode_published(&entry.value)
            && table.is_live(slot)
            && table.entry(slot).prefix == prefix
        {
            times.push((slot, second));
        }
    }
    if let Some(due) = &mut table.due {
        slots.into_iter().for_each(|slot| due.set(slot, 0));
        times
            .into_iter()
            .for_each(|(slot, second)| due.set(slot, second));
    }
    Ok(())
}

fn peers_of(provides: &Table) -> PeerCounts {
    let tags = provides
        .at_prefix(0)
        .map(|(_, slot)| provides.entry(slot).tag)
        .collect();
    PeerCounts::build(tags)
}
