//! Iterators over a keyspace. They take locations from the keydir a few at a time and read the
//! records afterwards, without a lock; the table of segments is held meanwhile, so what merge
//! moves stays readable where it was. Each entry was current at a moment of the iteration.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::handle::Handle;
use crate::keydir::space::Space;
use crate::lookup;
use crate::segment::data_file::{Record, Segment};
use crate::segment::format::NEVER;
use crate::segment::location::{Location, Seq};
use crate::segment::table::Slots;
use crate::value::{Entry, Value};

/// Locations taken from an ordered keydir under one lock.
const PART_LEN: usize = 128;

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);
type Found = (Box<[u8]>, Location);

/// Iterates over the entries of an ordered keyspace between two keys, from both ends.
pub struct Iter {
    handle: Arc<Handle>,
    space: Arc<Space>,
    /// What has not been taken from the keydir yet.
    bounds: Bounds,
    front: VecDeque<Found>,
    back: VecDeque<Found>,
}

/// Iterates over all entries of a keyspace in no particular order.
pub struct Walk {
    handle: Arc<Handle>,
    space: Arc<Space>,
    by_key: Option<Iter>,
    /// Where the part to list next begins; `None` behind the last.
    part: Option<u64>,
    /// The table before and after the part was listed: each location is in one of them.
    tables: [Arc<Slots>; 2],
    locations: std::vec::IntoIter<Location>,
    /// The store or keyspace went away.
    failed: bool,
}

/// The bounds of all keys that start with `prefix`.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    // The first key behind: the last byte that can grow grows, what follows it goes.
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}

impl Iter {
    pub(crate) fn new(handle: Arc<Handle>, space: Arc<Space>, bounds: Bounds) -> Iter {
        Iter {
            handle,
            space,
            bounds,
            front: VecDeque::new(),
            back: VecDeque::new(),
        }
    }

    /// Counts what is live, reading only records that may expire.
    pub(crate) fn count_live(mut self) -> Result<u64> {
        let mut count = 0;
        while let Some((key, location)) = self.take_front() {
            let table = self.handle.log.table.load();
            let never = table
                .get(location.slot)
                .is_some_and(|s| !s.may_expire.load(crate::sync::atomic::Ordering::Acquire));
            if never || self.read(&key, false)?.is_some() {
                count += 1;
            }
        }
        Ok(count)
    }

    fn take_front(&mut self) -> Option<Found> {
        if self.front.is_empty() {
            self.front = self.part(false).into();
            if let Some((key, _)) = self.front.back() {
                self.bounds.0 = Bound::Excluded(key.to_vec());
            }
        }
        // What the other end took in advance comes last.
        self.front.pop_front().or_else(|| self.back.pop_back())
    }

    fn take_back(&mut self) -> Option<Found> {
        if self.back.is_empty() {
            self.back = self.part(true).into();
            if let Some((key, _)) = self.back.back() {
                self.bounds.1 = Bound::Excluded(key.to_vec());
            }
        }
        self.back.pop_front().or_else(|| self.front.pop_back())
    }

    fn part(&self, from_back: bool) -> Vec<Found> {
        let bounds = (
            self.bounds.0.as_ref().map(Vec::as_slice),
            self.bounds.1.as_ref().map(Vec::as_slice),
        );
        self.space.keydir.ordered_part(bounds, from_back, PART_LEN)
    }

    /// The live record of `key`, looked up anew: it may have been written since.
    fn read(&self, key: &[u8], with_value: bool) -> Result<Option<Record>> {
        check(&self.handle, &self.space)?;
        let hash = self.space.hash(key);
        let found = lookup::find(&self.handle.log, &self.space, hash, key, with_value)?;
        Ok(found.filter(|record| is_live(&self.handle, record)))
    }

    fn entry(&self, key: &[u8]) -> Option<Result<Entry>> {
        self.read(key, true)
            .map(|record| record.map(|record| entry_of(&record)))
            .transpose()
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            let (key, _) = self.take_front()?;
            if let Some(entry) = self.entry(&key) {
                return Some(entry);
            }
        }
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        loop {
            let (key, _) = self.take_back()?;
            if let Some(entry) = self.entry(&key) {
                return Some(entry);
            }
        }
    }
}

impl Walk {
    pub(crate) fn new(handle: Arc<Handle>, space: Arc<Space>) -> Walk {
        let by_key = match space.entry.kind {
            crate::options::IndexKind::Hash => None,
            crate::options::IndexKind::Ordered => {
                let all = (Bound::Unbounded, Bound::Unbounded);
                Some(Iter::new(handle.clone(), space.clone(), all))
            }
        };
        let table = handle.log.table.load_full();
        let tables = [table.clone(), table];
        Walk {
            handle,
            space,
            by_key,
            part: Some(0),
            tables,
            locations: Vec::new().into_iter(),
            failed: false,
        }
    }

    fn next_location(&mut self) -> Result<Option<Location>> {
        let mut turns = 0;
        while turns < lookup::TURNS_MAX {
            if let Some(location) = self.locations.next() {
                return Ok(Some(location));
            }
            // Of a dropped keyspace merge forgets the entries: they may point nowhere.
            check(&self.handle, &self.space)?;
            let Some(part) = self.part else {
                return Ok(None);
            };
            let before = self.handle.log.table.load_full();
            let (locations, next) = self.space.keydir.hash_part(part);
            self.tables = [before, self.handle.log.table.load_full()];
            // A segment that came and went between the two: the part is listed again.
            if locations
                .iter()
                .all(|location| self.segment(*location).is_some())
            {
                self.part = next;
                self.locations = locations.into_iter();
            } else {
                turns += 1;
                crate::sync::thread::yield_now();
            }
        }
        Err(lookup::lost(&self.space))
    }

    /// Tells the error once; there is nothing after it.
    fn end_with(&mut self, error: Error) -> Option<Result<Entry>> {
        let first = !std::mem::replace(&mut self.failed, true);
        first.then_some(Err(error))
    }

    fn segment(&self, location: Location) -> Option<&Arc<Segment>> {
        self.tables
            .iter()
            .find_map(|table| table.get(location.slot))
    }

    fn read(&self, location: Location) -> Result<Option<Record>> {
        check(&self.handle, &self.space)?;
        let Some(segment) = self.segment(location) else {
            return Ok(None);
        };
        let record = segment.read(u64::from(location.offset), true)?;
        Ok(Some(record).filter(|record| is_live(&self.handle, record)))
    }
}

impl Iterator for Walk {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some(iter) = &mut self.by_key {
            return iter.next();
        }
        loop {
            let location = match self.next_location() {
                Ok(location) => location?,
                Err(error) => return self.end_with(error),
            };
            match self.read(location) {
                Ok(Some(record)) => return Some(Ok(entry_of(&record))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The store is open and the keyspace still there.
pub(crate) fn check(handle: &Handle, space: &Space) -> Result<()> {
    handle.log.check_open()?;
    if space.is_dropped() {
        let gone = format!("keyspace '{}' was dropped", space.entry.name);
        return Err(Error::new(ErrorKind::NotFound, gone));
    }
    Ok(())
}

fn is_live(handle: &Handle, record: &Record) -> bool {
    let expiry = record.header.fields.expiry;
    expiry == NEVER || expiry > handle.clock.now_ms()
}

/// The record as callers get it.
pub(crate) fn entry_of(record: &Record) -> Entry {
    let header = &record.header;
    Entry {
        key: Value::new(record.bytes.part(header.header_len, header.key_len)),
        value: value_of(record),
        seq: Seq(header.fields.seq),
        expires_at_ms: (header.fields.expiry != NEVER).then_some(header.fields.expiry),
    }
}

pub(crate) fn value_of(record: &Record) -> Value {
    let range = record.header.value_range();
    Value::new(record.bytes.part(range.start, range.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_a_prefix_end_before_the_first_key_without_it() {
        let excluded = |key: &[u8]| Bound::Excluded(key.to_vec());
        assert_eq!(prefix_bounds(b"ab").1, excluded(b"ac"));
        assert_eq!(prefix_bounds(b"a\xFF").1, excluded(b"b"));
        assert_eq!(prefix_bounds(b"\xFF\xFF").1, Bound::Unbounded);
        assert_eq!(prefix_bounds(b"").1, Bound::Unbounded);
    }
}
