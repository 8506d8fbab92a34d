//! A keydir as blocks of bytes, and back: a page of a hash keydir as its words stand, some entries
//! in order of an ordered one. Locations name the slots of the process that wrote them; they are
//! translated on the way back. What frames the blocks, and in which file they lie, it does not know.
//! Written down in docs/format.md, "Keydir image".

use std::ops::Bound;

use super::ordered::{Entries, OrderedKeydir};
use crate::parallel::in_parallel;
use crate::segment::cursor::Cursor;
use crate::segment::format::{put_u16, put_u32};
use crate::segment::location::Location;

/// Entries of an ordered keydir that make up a block.
const BLOCK_ENTRIES: usize = 1_024;

/// Slot, offset and length of a key: what an entry with an empty key takes.
const ENTRY_LEN_MIN: usize = 8;

/// Such blocks that one thread reads at a time.
const READ_AT_ONCE: usize = 16;

/// From the slots of an image to those of now.
pub(crate) struct SlotMap {
    slots: Vec<To>,
}

/// What became of the segment that a slot stood for.
#[derive(Clone, Copy, Debug)]
enum To {
    /// The image does not name it: such a location is damage.
    Unknown,
    /// It left the log; so does what pointed at it.
    Gone,
    /// Where it stands now, and where its records end.
    At { slot: u16, end: u64 },
}

/// Where a location of the image points now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Translated {
    Gone,
    To(Location),
}

impl SlotMap {
    pub(crate) fn new() -> SlotMap {
        SlotMap { slots: Vec::new() }
    }

    /// The segment of `slot` is now in the other slot, with records up to `end`, or `None` if gone.
    pub(crate) fn set(&mut self, slot: u16, now: Option<(u16, u64)>) {
        let at = usize::from(slot);
        if self.slots.len() <= at {
            self.slots.resize(at + 1, To::Unknown);
        }
        if let Some(to) = self.slots.get_mut(at) {
            *to = now.map_or(To::Gone, |(slot, end)| To::At { slot, end });
        }
    }

    /// The slot where the segment of `slot` is now, and where its records end: nowhere and at 0 if it is
    /// gone or was never there.
    #[inline]
    pub(super) fn place(&self, slot: u16) -> (u16, u64) {
        match self.slots.get(usize::from(slot)) {
            Some(To::At { slot, end }) => (*slot, *end),
            _ => (0, 0),
        }
    }

    /// `None` for what no image of this log can hold.
    pub(super) fn translate(&self, location: Location) -> Option<Translated> {
        match self.slots.get(usize::from(location.slot))? {
            To::Unknown => None,
            To::Gone => Some(Translated::Gone),
            To::At { end, .. } if u64::from(location.offset) >= *end => None,
            To::At { slot, .. } => Some(Translated::To(Location {
                slot: *slot,
                offset: location.offset,
            })),
        }
    }
}

/// As `Keydir::save`.
pub(super) fn save_ordered<E>(
    keydir: &OrderedKeydir,
    emit: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let mut last: Option<Box<[u8]>> = None;
    let mut entries = 0;
    let mut body = Vec::new();
    loop {
        let from = last
            .as_ref()
            .map_or(Bound::Unbounded, |key| Bound::Excluded(&**key));
        let part = keydir.part((from, Bound::Unbounded), false, BLOCK_ENTRIES);
        if part.is_empty() {
            return Ok(entries);
        }
        body.clear();
        for (key, location) in &part {
            put_u16(&mut body, location.slot);
            put_u32(&mut body, location.offset);
            put_u16(
                &mut body,
                u16::try_from(key.len()).expect("keys are bounded"),
            );
            body.extend_from_slice(key);
        }
        emit(&body)?;
        entries += part.len() as u64;
        last = part.into_iter().next_back().map(|(key, _)| key);
    }
}

/// The entries of all blocks of an ordered keydir, some blocks together, in the order of their keys; `None`
/// if the bodies are not what `Keydir::save` gave.
pub(crate) fn ordered_entries<'a>(
    bodies: &[&'a [u8]],
    slots: &SlotMap,
    threads: usize,
) -> Option<Vec<Entries<'a>>> {
    let parts: Vec<_> = bodies.chunks(READ_AT_ONCE).collect();
    let read = in_parallel(&parts, threads, |part| entries_of(part, slots));
    let mut all = Vec::with_capacity(read.len());
    let mut last: Option<&[u8]> = None;
    for part in read {
        let part = part?;
        if let Some((from, to)) = part.keys {
            if last.is_some_and(|last| last >= from) {
                return None;
            }
            last = Some(to);
        }
        all.push(part.entries);
    }
    Some(all)
}

/// What stands in some blocks that follow each other.
struct Part<'a> {
    /// The first and the last key, be their records gone or not.
    keys: Option<(&'a [u8], &'a [u8])>,
    entries: Entries<'a>,
}

fn entries_of<'a>(bodies: &[&'a [u8]], slots: &SlotMap) -> Option<Part<'a>> {
    // A forged block may be empty.
    let most: usize = bodies.iter().map(|body| body.len() / ENTRY_LEN_MIN).sum();
    let mut entries = Vec::with_capacity(most.min(bodies.len() * BLOCK_ENTRIES));
    let mut keys: Option<(&[u8], &[u8])> = None;
    for body in bodies {
        let mut cursor = Cursor::new(body);
        while !cursor.is_empty() {
            let location = Location {
                slot: cursor.u16()?,
                offset: cursor.u32()?,
            };
            let len = usize::from(cursor.u16()?);
            let key = cursor.take(len)?;
            if keys.is_some_and(|(_, last)| last >= key) {
                return None;
            }
            keys = Some((keys.map_or(key, |(first, _)| first), key));
            if let Translated::To(location) = slots.translate(location)? {
                entries.push((key, location));
            }
        }
    }
    Some(Part { keys, entries })
}
