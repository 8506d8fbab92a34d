//! Pins keep the files of segments: what is pinned is not unlinked when it is declared dead, but
//! when the last pin goes. They hold no file open, and know neither who pins nor why.

use crate::sync::{Mutex, MutexGuard, PoisonError};
use std::collections::BTreeMap;

use crate::segment::location::SegmentId;

/// How often each segment is pinned.
#[derive(Default)]
pub(crate) struct Pins {
    /// Guards the counts; a leaf, held for a look or a change.
    counts: Mutex<BTreeMap<SegmentId, usize>>,
}

impl Pins {
    pub(crate) fn add(&self, ids: &[SegmentId]) {
        let mut counts = self.lock();
        for id in ids {
            *counts.entry(*id).or_default() += 1;
        }
    }

    pub(crate) fn release(&self, ids: &[SegmentId]) {
        let mut counts = self.lock();
        for id in ids {
            let left = counts.get_mut(id).map(|count| {
                *count -= 1;
                *count
            });
            if left == Some(0) {
                counts.remove(id);
            }
        }
    }

    pub(crate) fn holds(&self, id: SegmentId) -> bool {
        self.lock().contains_key(&id)
    }

    // Nothing that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentId, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_held_until_its_last_pin_goes() {
        let pins = Pins::default();
        let [a, b] = [SegmentId(1), SegmentId(2)];
        pins.add(&[a, b]);
        pins.add(&[a]);
        pins.release(&[a, b]);
        assert!(pins.holds(a) && !pins.holds(b));
        pins.release(&[a]);
        assert!(!pins.holds(a));
    }
}
