//! Walks over keys from both ends, a few at a time: what iterators over more than one source of
//! keys have in common. It holds what was fetched and the bounds of what was not; where keys come
//! from it is told with each call.

use std::collections::VecDeque;
use std::ops::Bound;

/// Keys fetched at once.
pub(crate) const PART_LEN: usize = 128;

pub(crate) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);
pub(crate) type BoundsRef<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Keys between two bounds, of which each is given out once.
pub(crate) struct KeyCursor {
    /// What has not been fetched yet.
    bounds: Bounds,
    front: VecDeque<Box<[u8]>>,
    back: VecDeque<Box<[u8]>>,
}

impl KeyCursor {
    pub(crate) fn new(bounds: Bounds) -> KeyCursor {
        KeyCursor {
            bounds,
            front: VecDeque::new(),
            back: VecDeque::new(),
        }
    }

    /// The lowest key left. `fetch` gives the first keys of each source within bounds, at most
    /// `PART_LEN` of each, in any order.
    pub(crate) fn next(
        &mut self,
        fetch: impl FnOnce(BoundsRef<'_>, bool) -> Vec<Box<[u8]>>,
    ) -> Option<Box<[u8]>> {
        if self.front.is_empty() && !is_void(&self.bounds) {
            let mut keys = fetch(as_ref(&self.bounds), false);
            keys.sort_unstable();
            keys.dedup();
            // Behind the shortest full source others may have keys that were not fetched.
            keys.truncate(PART_LEN);
            self.front = keys.into();
            if let Some(key) = self.front.back() {
                self.bounds.0 = Bound::Excluded(key.to_vec());
            }
        }
        // What the other end fetched in advance comes last.
        self.front.pop_front().or_else(|| self.back.pop_back())
    }

    /// The highest key left.
    pub(crate) fn next_back(
        &mut self,
        fetch: impl FnOnce(BoundsRef<'_>, bool) -> Vec<Box<[u8]>>,
    ) -> Option<Box<[u8]>> {
        if self.back.is_empty() && !is_void(&self.bounds) {
            let mut keys = fetch(as_ref(&self.bounds), true);
            keys.sort_unstable_by(|a, b| b.cmp(a));
            keys.dedup();
            keys.truncate(PART_LEN);
            self.back = keys.into();
            if let Some(key) = self.back.back() {
                self.bounds.1 = Bound::Excluded(key.to_vec());
            }
        }
        self.back.pop_front().or_else(|| self.front.pop_back())
    }
}

pub(crate) fn as_ref((lower, upper): &Bounds) -> BoundsRef<'_> {
    (
        lower.as_ref().map(Vec::as_slice),
        upper.as_ref().map(Vec::as_slice),
    )
}

/// Whether no key can lie between the bounds; trees panic on some of these.
pub(crate) fn is_void(bounds: &Bounds) -> bool {
    let (
        Bound::Included(low) | Bound::Excluded(low),
        Bound::Included(high) | Bound::Excluded(high),
    ) = bounds
    else {
        return false;
    };
    let both_included = matches!(bounds, (Bound::Included(_), Bound::Included(_)));
    low > high || (low == high && !both_included)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[expect(clippy::big_endian_bytes, reason = "keys in the order of the numbers")]
    fn key(n: u32) -> Box<[u8]> {
        Box::new(n.to_be_bytes())
    }

    /// The first keys of each of two sources, as a keydir and a past would give them.
    fn fetch(sources: &[BTreeSet<Box<[u8]>>], bounds: BoundsRef<'_>, back: bool) -> Vec<Box<[u8]>> {
        let mut keys = Vec::new();
        for source in sources {
            let range = source.range::<[u8], _>(bounds);
            if back {
                keys.extend(range.rev().take(PART_LEN).cloned());
            } else {
                keys.extend(range.take(PART_LEN).cloned());
            }
        }
        keys
    }

    #[test]
    fn keys_of_several_sources_come_once_each_in_order_from_both_ends() {
        let all: BTreeSet<_> = (0..2_000).map(key).collect();
        let dense: BTreeSet<_> = (0..2_000)
            .filter(|n| n % 7 > 0 || *n > 900)
            .map(key)
            .collect();
        let sparse: BTreeSet<_> = (0..2_000).filter(|n| n % 7 == 0).map(key).collect();
        let sources = [dense, sparse];
        for turn in 1..6_usize {
            let mut cursor = KeyCursor::new((Bound::Unbounded, Bound::Unbounded));
            let (mut front, mut back) = (Vec::new(), Vec::new());
            loop {
                let from_back = (front.len() + back.len()) % turn == 1;
                let got = if from_back {
                    cursor.next_back(|bounds, back| fetch(&sources, bounds, back))
                } else {
                    cursor.next(|bounds, back| fetch(&sources, bounds, back))
                };
                let Some(got) = got else { break };
                if from_back {
                    back.push(got);
                } else {
                    front.push(got);
                }
            }
            front.extend(back.into_iter().rev());
            assert!(front.iter().eq(&all), "every {turn}th from the back");
        }
    }

    #[test]
    fn bounds_that_hold_nothing_fetch_nothing() {
        let at = |n: u8| vec![n];
        let (inc, exc) = (Bound::Included::<Vec<u8>>, Bound::Excluded::<Vec<u8>>);
        assert!(is_void(&(inc(at(2)), inc(at(1)))));
        assert!(is_void(&(exc(at(1)), exc(at(1)))));
        assert!(is_void(&(exc(at(1)), inc(at(1)))));
        assert!(!is_void(&(inc(at(1)), inc(at(1)))));
        assert!(!is_void(&(exc(at(2)), Bound::Unbounded)));
        let mut cursor = KeyCursor::new((inc(at(2)), exc(at(1))));
        assert!(cursor.next(|_, _| panic!("nothing to fetch")).is_none());
    }
}
