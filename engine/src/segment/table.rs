//! The table of open segments: from the slot in a location to the segment. Readers load it
//! without a lock and keep what they loaded, so a segment that merge retires stays readable for
//! them. It knows nothing of what the segments hold.

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};

use crate::error::{Error, ErrorKind, Result};
use crate::segment::data_file::Segment;
use crate::segment::totals::Totals;

/// A slot fits the 16 bits that a location has for it.
const SLOTS_MAX: usize = 1 << 16;

/// One state of the table; never changed, only replaced.
#[derive(Clone, Default)]
pub(crate) struct Slots {
    slots: Vec<Option<Arc<Segment>>>,
}

impl Slots {
    pub(crate) fn get(&self, slot: u16) -> Option<&Arc<Segment>> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.slots.iter().flatten()
    }
}

/// The current table.
pub(crate) struct Table {
    current: ArcSwap<Slots>,
    /// What all of them hold.
    pub(crate) totals: Arc<Totals>,
    /// Guards changes of `current`, and where to look for the next free slot.
    next: Mutex<u16>,
    /// A leaf lock: segments that left and are still held by snapshots, iterators or values.
    removed: Mutex<Vec<Weak<Segment>>>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            current: ArcSwap::from_pointee(Slots::default()),
            totals: Arc::default(),
            next: Mutex::new(0),
            removed: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn load(&self) -> Guard<Arc<Slots>> {
        self.current.load()
    }

    pub(crate) fn load_full(&self) -> Arc<Slots> {
        self.current.load_full()
    }

    /// Makes a segment in a free slot. Slots go round, so that one is not used again before
    /// 65,535 others were: a reader with an old location finds nothing rather than another file.
    pub(crate) fn add(&self, make: impl FnOnce(u16) -> Result<Segment>) -> Result<Arc<Segment>> {
        let mut next = self.lock();
        let mut slots = Slots::clone(&self.current.load());
        let first = *next;
        let mut slot = first;
        while slots.get(slot).is_some() {
            slot = slot.wrapping_add(1);
            if slot == first {
                return Err(Error::new(
                    ErrorKind::StorageFull,
                    format!(
                        "the store has {SLOTS_MAX} segments, the most it can hold; \
                             merge, or open it with a larger Options::segment_bytes"
                    ),
                ));
            }
        }
        let segment = Arc::new(make(slot)?);
        segment.enter(&self.totals);
        let at = usize::from(slot);
        if slots.slots.len() <= at {
            slots.slots.resize(at + 1, None);
        }
        if let Some(place) = slots.slots.get_mut(at) {
            *place = Some(segment.clone());
        }
        self.current.store(Arc::new(slots));
        *next = slot.wrapping_add(1);
        Ok(segment)
    }

    /// Takes segments out; who loaded the table before keeps them.
    pub(crate) fn remove(&self, gone: &[Arc<Segment>]) {
        let _guard = self.lock();
        let mut slots = Slots::clone(&self.current.load());
        for segment in gone {
            if let Some(place) = slots.slots.get_mut(usize::from(segment.slot))
                && place
                    .as_ref()
                    .is_some_and(|held| held.header.id == segment.header.id)
            {
                *place = None;
                segment.leave();
            }
        }
        self.current.store(Arc::new(slots));
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.retain(|segment| segment.strong_count() > 0);
        removed.extend(gone.iter().map(Arc::downgrade));
    }

    /// Bytes of segments that left and whose disk space somebody still holds.
    pub(crate) fn removed_bytes(&self) -> u64 {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.retain(|segment| segment.strong_count() > 0);
        let held: Vec<_> = removed.iter().filter_map(Weak::upgrade).collect();
        // The last hold may end here, and with it a map: not under the lock.
        drop(removed);
        held.iter().map(|segment| segment.file_bytes()).sum()
    }

    /// All segments in the order of their ids.
    pub(crate) fn by_id(&self) -> Vec<Arc<Segment>> {
        let mut segments: Vec<Arc<Segment>> = self.current.load().iter().cloned().collect();
        segments.sort_unstable_by_key(|segment| segment.header.id);
        segments
    }

    fn lock(&self) -> MutexGuard<'_, u16> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
