//! From a key to its record: keydir, table of segments, record, each checked. No lock is held
//! while a record is read. The table is loaded before the keydir is asked, so a segment that
//! merge retires in between is still readable here; only a segment younger than the table sends
//! the reader round once more.

use crate::error::{Error, ErrorKind, Result};
use crate::keydir::space::Space;
use crate::mutant::{self, Mutant};
use crate::past::Past;
use crate::segment::base::Base;
use crate::segment::data_file::Record;
use crate::segment::location::Location;
use crate::segment::record::RecordHeader;

/// Each turn needs a rotation or a merge to finish within it; more cannot happen by chance.
pub(crate) const TURNS_MAX: usize = 1_000;

/// The version of a key that a write is about to replace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prior {
    pub(crate) location: Location,
    /// `None` if it cannot be read: it is then taken to have been for ever.
    pub(crate) header: Option<RecordHeader>,
}

/// The current put of `key`, expired or not.
///
/// # Errors
/// `Corrupted` with file and offset if its record does not hold.
pub(crate) fn find(
    base: &Base,
    space: &Space,
    hash: u128,
    key: &[u8],
    with_value: bool,
) -> Result<Option<Record>> {
    for _ in 0..TURNS_MAX {
        let slots = base.table.load();
        let candidates = space.keydir.candidates(hash, key);
        let mut again = false;
        let mut failed = None;
        for location in candidates.iter() {
            let Some(segment) = slots.get(location.slot) else {
                again = true;
                continue;
            };
            match segment.read(u64::from(location.offset), with_value) {
                Ok(record) => {
                    let same_space = record.header.fields.keyspace == space.id();
                    let same_key = record.header.key(record.bytes.as_slice()) == key;
                    if same_space && (same_key || mutant::is_on(Mutant::KeyNotCompared)) {
                        return Ok(Some(record));
                    }
                }
                Err(error) => failed = Some((location, error)),
            }
        }
        if let Some((location, error)) = failed {
            // Only an entry that still stands makes the failure a fact.
            if space.keydir.candidates(hash, key).contains(location) {
                return Err(error);
            }
            again = true;
        }
        if !again {
            return Ok(None);
        }
        crate::sync::thread::yield_now();
    }
    Err(lost(space))
}

/// The put of `key` that was current at `seq`, expired or not, for a view that `past` keeps.
///
/// # Errors
/// As `find`.
pub(crate) fn find_at(
    base: &Base,
    past: &Past,
    space: &Space,
    key: &[u8],
    seq: u64,
    with_value: bool,
) -> Result<Option<Record>> {
    let hash = space.hash(key);
    let current = find(base, space, hash, key, with_value);
    if let Ok(Some(record)) = &current
        && record.header.fields.seq <= seq
    {
        return current;
    }
    // Asked in this order: what leaves the keydir has been kept before.
    match past.find(seq, space, hash, key) {
        Some(version) => version.read(with_value).map(Some),
        None => current.map(|_| None),
    }
}

/// What a write of `key` replaces. Runs under the log lock; merge may still move the record.
pub(crate) fn find_prior(
    base: &Base,
    space: &Space,
    hash: u128,
    key: &[u8],
) -> Result<Option<Prior>> {
    for _ in 0..TURNS_MAX {
        let slots = base.table.load();
        let candidates = space.keydir.candidates(hash, key);
        let mut again = false;
        let mut unreadable = None;
        for location in candidates.iter() {
            let Some(segment) = slots.get(location.slot) else {
                again = true;
                continue;
            };
            let looked = segment.look(u64::from(location.offset), |header, found| {
                (header.fields.keyspace == space.id() && found == key).then_some(*header)
            });
            match looked {
                Ok(Some(header)) => {
                    return Ok(Some(Prior {
                        location,
                        header: Some(header),
                    }));
                }
                Ok(None) => {}
                Err(_) => unreadable = Some(location),
            }
        }
        if again {
            crate::sync::thread::yield_now();
            continue;
        }
        // A record that cannot be read is taken for this key's: its tag says so, and a write is
        // the one thing that heals it.
        return Ok(unreadable.map(|location| Prior {
            location,
            header: None,
        }));
    }
    Err(lost(space))
}

/// The hash of the key of the record at `location`; `None` if it cannot be read. Asked by a
/// growing keydir of entries that still stand, so their segments are in the table.
pub(crate) fn rehash(base: &Base, space: &Space, location: Location) -> Option<u128> {
    let slots = base.table.load();
    let segment = slots.get(location.slot)?;
    let hash = |_: &RecordHeader, key: &[u8]| space.hash(key);
    segment.look(u64::from(location.offset), hash).ok()
}

pub(crate) fn lost(space: &Space) -> Error {
    if space.is_dropped() {
        let gone = format!("keyspace '{}' was dropped", space.entry.name);
        return Error::new(ErrorKind::NotFound, gone);
    }
    Error::corrupted(
        &space.entry.name,
        0,
        "the keydir points at a segment that is not open; reopen the store",
    )
}
