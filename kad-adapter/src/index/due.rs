//! When each own record was last published: ordered by that moment, so that what is due is found
//! without looking at what is not.

use std::collections::{BTreeMap, BTreeSet};

/// The publishing times of a table of own records.
#[derive(Default)]
pub(crate) struct Due {
    by_time: BTreeSet<(u32, u32)>,
    times: BTreeMap<u32, u32>,
    /// How many share a second: what is due is counted without walking it.
    per_second: BTreeMap<u32, u32>,
    /// Added, and nobody has said yet that they were published.
    unconfirmed: BTreeSet<u32>,
}

impl Due {
    /// `published_s` is the second from which the interval runs.
    pub(crate) fn set(&mut self, slot: u32, published_s: u32) {
        self.remove(slot);
        self.times.insert(slot, published_s);
        self.by_time.insert((published_s, slot));
        *self.per_second.entry(published_s).or_insert(0) += 1;
    }

    /// As `set`, for one that was added and not published yet, as far as is known.
    pub(crate) fn set_unconfirmed(&mut self, slot: u32, second: u32) {
        self.set(slot, second);
        self.unconfirmed.insert(slot);
    }

    /// When it was published, if that is known: this is what survives a restart.
    pub(crate) fn confirmed(&self, slot: u32) -> Option<u32> {
        self.of(slot).filter(|_| !self.unconfirmed.contains(&slot))
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.unconfirmed.remove(&slot);
        let Some(published_s) = self.times.remove(&slot) else {
            return;
        };
        self.by_time.remove(&(published_s, slot));
        if let Some(count) = self.per_second.get_mut(&published_s) {
            *count -= 1;
            if *count == 0 {
                self.per_second.remove(&published_s);
            }
        }
    }

    pub(crate) fn of(&self, slot: u32) -> Option<u32> {
        self.times.get(&slot).copied()
    }

    /// Slots last published at or before `cutoff_s`, the longest ago first.
    pub(crate) fn until(&self, cutoff_s: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.by_time.range(..=(cutoff_s, u32::MAX)).copied()
    }

    /// How many there are until `cutoff_s`: one step for each second that any was published in.
    pub(crate) fn count_until(&self, cutoff_s: u32) -> u64 {
        self.per_second
            .range(..=cutoff_s)
            .map(|(_, count)| u64::from(*count))
            .sum()
    }

    pub(crate) fn oldest_s(&self) -> Option<u32> {
        self.by_time.first().map(|(second, _)| *second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_longest_ago_comes_first_and_counts_add_up() {
        let mut due = Due::default();
        for (slot, second) in [(1, 50), (2, 10), (3, 10), (4, 99)] {
            due.set(slot, second);
        }
        assert_eq!(due.count_until(50), 3);
        assert_eq!(
            due.until(50).map(|(_, slot)| slot).collect::<Vec<_>>(),
            [2, 3, 1]
        );
        due.set(2, 60);
        due.remove(3);
        assert_eq!(due.count_until(50), 1);
        assert_eq!(due.oldest_s(), Some(50));
        assert_eq!(due.of(2), Some(60));
        due.set_unconfirmed(2, 70);
        assert_eq!((due.of(2), due.confirmed(2)), (Some(70), None));
        due.set(2, 80);
        assert_eq!(due.confirmed(2), Some(80));
    }
}
