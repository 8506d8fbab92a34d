//! What a watch tells: a change of a key, or a gap. An event holds its key and where its record
//! lay; the value is read when it is asked for, so what waits costs little and pins no file.

use std::fmt;
use std::sync::Arc;

use crate::core::Core;
use crate::error::Result;
use crate::feed::Queued;
use crate::history::Logged;
use crate::iter;
use crate::keydir::space::Space;
use crate::lookup;
use crate::options::Durability;
use crate::segment::format::NEVER;
use crate::segment::location::{Location, SegmentId, Seq};
use crate::value::Value;

/// What a [`Watch`](crate::Watch) tells.
#[derive(Debug)]
pub enum Notice {
    /// A key was written, deleted, or expired.
    Event(Event),
    /// The watcher was too slow; told once for each gap.
    Lagged(Lagged),
}

impl Notice {
    /// The event, if it is one.
    #[must_use]
    pub fn event(self) -> Option<Event> {
        match self {
            Notice::Event(event) => Some(event),
            Notice::Lagged(_) => None,
        }
    }
}

/// Events did not fit the queue of a watch and were not kept. What follows is whole again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lagged {
    /// How many events are missing.
    pub missed: u64,
    /// The seq before the gap: [`Watch::resume_after`](crate::Watch::resume_after) it reads from the log what is missing.
    pub after: Seq,
}

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// A value was stored.
    Put,
    /// The value was deleted.
    Delete,
    /// The value's life is over.
    Expired,
}

/// One change of one key.
pub struct Event {
    core: Arc<Core>,
    space: Arc<Space>,
    kind: EventKind,
    key: Box<[u8]>,
    seq: u64,
    expiry: u64,
    /// Where the record lay when the event was made.
    place: Option<(SegmentId, Location)>,
}

impl Event {
    /// A change that was queued.
    pub(crate) fn queued(core: &Arc<Core>, space: &Arc<Space>, queued: Queued) -> Event {
        Event {
            core: core.clone(),
            space: space.clone(),
            kind: kind_of(queued.put),
            key: queued.key,
            seq: queued.seq,
            expiry: queued.put.unwrap_or(NEVER),
            place: Some((queued.segment, queued.location)),
        }
    }

    /// A change that was read from the log.
    pub(crate) fn logged(core: &Arc<Core>, space: &Arc<Space>, logged: Logged) -> Event {
        Event {
            core: core.clone(),
            space: space.clone(),
            kind: kind_of(logged.put),
            key: logged.key,
            seq: logged.seq,
            expiry: logged.put.unwrap_or(NEVER),
            place: Some((logged.segment, logged.location)),
        }
    }

    /// The life of a record is over; merge may have moved it since it was written.
    pub(crate) fn expired(
        core: &Arc<Core>,
        space: &Arc<Space>,
        key: Box<[u8]>,
        seq: u64,
        expiry: u64,
    ) -> Event {
        Event {
            core: core.clone(),
            space: space.clone(),
            kind: EventKind::Expired,
            key,
            seq,
            expiry,
            place: None,
        }
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        self.kind
    }

    /// To which key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The write's place in the order of all writes; of an expiry, that of the write that expired.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// When the value expires or did, in milliseconds since the Unix epoch; `None` for never.
    #[must_use]
    pub fn expires_at_ms(&self) -> Option<u64> {
        (self.expiry != NEVER).then_some(self.expiry)
    }

    /// What the write survives by now.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.core.log.reached(self.seq)
    }

    /// The value that was stored, or that expired, read now from where it lies. `None` for a
    /// delete, and when a newer write took its place and merge has removed it since.
    ///
    /// # Errors
    /// `Corrupted` with file and offset if the record does not hold; `Io`; `Closed`.
    pub fn value(&self) -> Result<Option<Value>> {
        self.core.log.check_open()?;
        if self.kind == EventKind::Delete {
            return Ok(None);
        }
        if let Some((id, location)) = self.place {
            let table = self.core.log.table.load();
            if let Some(segment) = table.get(location.slot).filter(|s| s.header.id == id) {
                let record = segment.read(u64::from(location.offset), true)?;
                return Ok(Some(iter::value_of(&record)));
            }
        }
        // Merge moved it: it is found by its key, if it is still the current one.
        let hash = self.space.hash(&self.key);
        let found = lookup::find(&self.core.log, &self.space, hash, &self.key, true)?;
        let same = found.filter(|record| record.header.fields.seq == self.seq);
        Ok(same.map(|record| iter::value_of(&record)))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("kind", &self.kind)
            .field("key", &self.key.escape_ascii().to_string())
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// A put has an expiry, if only never.
fn kind_of(put: Option<u64>) -> EventKind {
    match put {
        Some(_) => EventKind::Put,
        None => EventKind::Delete,
    }
}
