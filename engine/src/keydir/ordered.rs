//! The ordered keydir: keys in memory, packed in leaves of some dozens, for ranges in both
//! directions. Above the leaves stand branches of some hundreds, above these the root.
//!
//! Leaves, branches and the root are never changed but for locations: a writer copies the one it
//! changes and swaps it in, so readers take no lock and see each of them whole. A leaf that was
//! split stays as it was for readers who still hold its branch. It knows keys and locations, never
//! records.

use std::ops::{Bound, Range};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::candidates::Candidates;
use super::leaf::{Found, Leaf};
use super::packed::{Packed, Parts, whole};
use crate::parallel::in_parallel;
use crate::segment::location::Location;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// A branch with more leaves is split in two.
const NODES_MAX: usize = 256;
/// Leaves are filled so far while the store opens: with some room before the next split.
const FILL_LEN: usize = 80;
/// So many leaves are one thread's work at a time then.
const FILL_LEAVES: usize = 64;

/// Where a node stands; branches that were copied share the places of their leaves.
type Place<T> = Arc<ArcSwap<T>>;

/// Entries in the order of their keys, while the store opens.
pub(crate) type Entries<'a> = Vec<(&'a [u8], Location)>;

/// Nodes in order, and from which key on each counts: the first from the lowest.
struct Row<T> {
    starts: Packed,
    places: Box<[Place<T>]>,
}

type Branch = Row<Leaf>;
type Root = Row<Branch>;

/// From a key to its location, in the order of keys as bytes.
pub(crate) struct OrderedKeydir {
    root: ArcSwap<Root>,
    /// The turn to change anything.
    turn: Mutex<()>,
    len: AtomicU64,
    bytes: AtomicU64,
}

impl<T> Row<T> {
    fn of(nodes: &[(Parts<'_>, Place<T>)]) -> Row<T> {
        Row {
            starts: Packed::of(nodes.iter().map(|(start, _)| *start)),
            places: nodes.iter().map(|(_, place)| place.clone()).collect(),
        }
    }

    fn nodes(&self) -> Vec<(Parts<'_>, Place<T>)> {
        self.starts
            .keys()
            .zip(self.places.iter().cloned())
            .collect()
    }

    /// The node that `key` belongs to.
    fn at(&self, key: &[u8]) -> (usize, &Place<T>) {
        let index = self.starts.floor(key);
        let place = self.places.get(index);
        (
            index,
            place.expect("a row has a node for every start, and at least one"),
        )
    }

    /// The nodes with those from `at` to `end` given up for others.
    fn with(&self, at: usize, end: usize, others: Vec<(Box<[u8]>, Place<T>)>) -> Vec<Row<T>> {
        let mut nodes = self.nodes();
        let fresh = others
            .iter()
            .map(|(start, place)| ((&[][..], &**start), place.clone()));
        nodes.splice(at..end, fresh);
        let rows = nodes.len().div_ceil(NODES_MAX).max(1);
        nodes
            .chunks(nodes.len().div_ceil(rows).max(1))
            .map(Row::of)
            .collect()
    }

    fn bytes(&self) -> usize {
        let place = size_of::<Place<T>>() + size_of::<ArcSwap<T>>() + 2 * size_of::<usize>();
        size_of::<Row<T>>()
            + 2 * size_of::<usize>()
            + self.starts.bytes()
            + self.places.len() * place
    }
}

/// A new place for a node.
fn new_place<T>(node: T) -> Place<T> {
    Arc::new(ArcSwap::from_pointee(node))
}

fn empty_root() -> Root {
    let leaf = new_place(Leaf::of(&[]));
    let branch = Row::of(&[((&[], &[]), leaf)]);
    Row::of(&[((&[], &[]), new_place(branch))])
}

impl OrderedKeydir {
    pub(crate) fn new() -> OrderedKeydir {
        OrderedKeydir {
            root: ArcSwap::from_pointee(empty_root()),
            turn: Mutex::new(()),
            len: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn candidates(&self, key: &[u8]) -> Candidates {
        let mut found = Candidates::default();
        let root = self.root.load();
        let branch = root.at(key).1.load();
        let leaf = branch.at(key).1.load();
        if let Some(location) = leaf.find(key) {
            found.push(location);
        }
        found
    }

    pub(crate) fn change(&self, key: &[u8], old: Option<Location>, new: Option<Location>) -> bool {
        let _turn = self.lock();
        let root = self.root.load();
        let (branch_at, branch) = root.at(key);
        let branch = branch.load();
        let (leaf_at, place) = branch.at(key);
        let leaf = place.load();
        let at = leaf.keys.search(key);
        if at.ok().and_then(|at| leaf.location(at)) != old {
            return false;
        }
        let way = Way {
            root: &root,
            branch_at,
            branch: &branch,
            leaf_at,
            leaf: &leaf,
        };
        match (at, old, new) {
            (Ok(at), Some(old), Some(new)) => return leaf.replace(at, old, new),
            (Err(at), _, Some(new)) => {
                let leaves = leaf.with(at, key, new).map(|grown| vec![grown]);
                let leaves = leaves.unwrap_or_else(|| {
                    let mut entries = leaf.entries();
                    entries.insert(at, ((&[], key), new));
                    Leaf::split_of(&entries, at == leaf.len())
                });
                self.put(&way, place, leaves);
                self.len.fetch_add(1, Ordering::Relaxed);
            }
            (Ok(at), _, None) => {
                let mut entries = leaf.entries();
                entries.remove(at);
                self.take_out(&way, place, &entries);
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
            (Err(_), _, None) | (Ok(_), None, Some(_)) => {}
        }
        true
    }

    /// Fills an empty keydir at once, while the store opens, with entries in the order of their
    /// keys, each key once; they come in parts, so that nobody has to put them all into one list.
    pub(crate) fn fill(&self, entries: &[Entries<'_>], threads: usize) {
        let _turn = self.lock();
        let len: usize = entries.iter().map(Vec::len).sum();
        let parts: Vec<_> = entries
            .iter()
            .flat_map(|entries| entries.chunks(FILL_LEN * FILL_LEAVES))
            .collect();
        // Leaves are many and small: those of one part are made by one thread.
        let leaves = in_parallel(&parts, threads, |part| {
            let leaves = part.chunks(FILL_LEN).flat_map(|entries| {
                let entries: Vec<Found<'_>> = entries
                    .iter()
                    .map(|(key, at)| ((&[][..], *key), *at))
                    .collect();
                Leaf::split_of(&entries, false)
            });
            leaves
                .map(|leaf| (start_of(&leaf), leaf.bytes(), new_place(leaf)))
                .collect::<Vec<_>>()
        });
        let bytes: usize = leaves.iter().flatten().map(|(_, bytes, _)| bytes).sum();
        let nodes: Vec<_> = leaves
            .into_iter()
            .flatten()
            .map(|(start, _, place)| (start, place))
            .collect();
        let branches: Vec<Branch> = nodes
            .chunks(NODES_MAX * 3 / 4)
            .map(|part| {
                let part: Vec<_> = part
                    .iter()
                    .map(|(start, place)| ((&[][..], &**start), place.clone()))
                    .collect();
                Row::of(&part)
            })
            .collect();
        if branches.is_empty() {
            return;
        }
        let bytes = bytes + branches.iter().map(Row::bytes).sum::<usize>();
        let nodes: Vec<_> = branches
            .into_iter()
            .map(|branch| (first_start(&branch), new_place(branch)))
            .collect();
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(start, place)| ((&[][..], &**start), place.clone()))
            .collect();
        let root = Row::of(&nodes);
        self.bytes
            .store((bytes + root.bytes()) as u64, Ordering::Relaxed);
        self.len.store(len as u64, Ordering::Relaxed);
        self.root.store(Arc::new(root));
    }

    // ---- the ways in which nodes take each other's place; the caller holds the turn

    /// Leaves in the place of the one at the end of the way.
    fn put(&self, way: &Way<'_>, place: &Place<Leaf>, leaves: Vec<Leaf>) {
        if leaves.len() > 1 {
            return self.put_from(way, way.leaf_at, way.leaf_at + 1, leaves);
        }
        for leaf in leaves {
            self.count(leaf.bytes(), way.leaf.bytes());
            // A release: who loads the leaf sees all of it.
            place.store(Arc::new(leaf));
        }
    }

    /// Leaves in the place of those from `at` to `end`, in places of their own: who still holds
    /// the branch as it was finds the old leaves whole.
    fn put_from(&self, way: &Way<'_>, at: usize, end: usize, leaves: Vec<Leaf>) {
        let gone = way.branch.places.get(at..end).unwrap_or_default();
        let gone: usize = gone.iter().map(|leaf| leaf.load().bytes()).sum();
        self.count(leaves.iter().map(Leaf::bytes).sum(), gone);
        // The first of them begins where the old one did.
        let first = way.branch.starts.keys().nth(at).map(whole);
        let starts = first.into_iter().chain(leaves.iter().skip(1).map(start_of));
        let starts: Vec<_> = starts.collect();
        let nodes = starts
            .into_iter()
            .zip(leaves.into_iter().map(new_place))
            .collect();
        let mut branches = way.branch.with(at, end, nodes);
        self.count(branches.iter().map(Row::bytes).sum(), way.branch.bytes());
        match (branches.pop(), branches.is_empty()) {
            (Some(branch), true) => {
                if let Some(place) = way.root.places.get(way.branch_at) {
                    place.store(Arc::new(branch));
                }
            }
            (Some(branch), false) => {
                branches.push(branch);
                self.put_branches(way, branches);
            }
            (None, _) => {}
        }
    }

    /// Branches in the place of the one on the way, or none: a new root.
    fn put_branches(&self, way: &Way<'_>, branches: Vec<Branch>) {
        let first = way.root.starts.keys().nth(way.branch_at).map(whole);
        let starts = first
            .into_iter()
            .chain(branches.iter().skip(1).map(first_start));
        let starts: Vec<_> = starts.collect();
        let nodes: Vec<_> = starts
            .into_iter()
            .zip(branches.into_iter().map(new_place))
            .collect();
        let mut all = way.root.nodes();
        let fresh = nodes
            .iter()
            .map(|(start, place)| ((&[][..], &**start), place.clone()));
        all.splice(way.branch_at..=way.branch_at, fresh);
        let root = Row::of(&all);
        self.count(root.bytes(), way.root.bytes());
        self.root.store(Arc::new(root));
    }

    /// The leaf without one of its entries; a small one goes into its neighbour.
    fn take_out(&self, way: &Way<'_>, place: &Place<Leaf>, left: &[Found<'_>]) {
        let leaf = Leaf::of(left);
        if !leaf.is_small() {
            return self.put(way, place, vec![leaf]);
        }
        let (before, after) = (way.leaf_at.checked_sub(1), way.leaf_at + 1);
        let neighbour = |at: usize| way.branch.places.get(at).map(|place| place.load());
        if let Some(next) = neighbour(after) {
            let mut all = left.to_vec();
            all.extend(next.entries());
            self.put_from(way, way.leaf_at, after + 1, Leaf::split_of(&all, false));
        } else if let Some((before, previous)) = before.and_then(|at| Some((at, neighbour(at)?))) {
            let mut all = previous.entries();
            all.extend(left);
            self.put_from(way, before, after, Leaf::split_of(&all, false));
        } else if left.is_empty() && way.root.places.len() > 1 {
            self.count(0, way.leaf.bytes() + way.branch.bytes());
            self.put_branches(way, Vec::new());
        } else {
            self.put(way, place, vec![leaf]);
        }
    }

    fn count(&self, more: usize, less: usize) {
        self.bytes.fetch_add(more as u64, Ordering::Relaxed);
        self.bytes.fetch_sub(less as u64, Ordering::Relaxed);
    }

    // ---- asking

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn index_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Up to `max` entries between the bounds, from the front or the back. Each key that is there
    /// all the while is among them once.
    pub(crate) fn part(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        from_back: bool,
        max: usize,
    ) -> Vec<(Box<[u8]>, Location)> {
        let mut part = Vec::new();
        let root = self.root.load();
        let branches = span(&root.starts, bounds);
        for_each(branches, from_back, |at| {
            let Some(branch) = root.places.get(at) else {
                return true;
            };
            let branch = branch.load();
            for_each(span(&branch.starts, bounds), from_back, |at| {
                let Some(leaf) = branch.places.get(at) else {
                    return true;
                };
                let leaf = leaf.load();
                for_each(within(&leaf.keys, bounds), from_back, |at| {
                    if let Some((key, location)) = leaf.entry(at).filter(|_| part.len() < max) {
                        part.push((whole(key), location));
                    }
                    part.len() < max
                })
            })
        });
        part
    }

    // A panic in another thread cannot leave anything half changed: nodes are swapped whole.
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the root to a leaf.
struct Way<'a> {
    root: &'a Root,
    branch_at: usize,
    branch: &'a Branch,
    leaf_at: usize,
    leaf: &'a Leaf,
}

fn start_of(leaf: &Leaf) -> Box<[u8]> {
    leaf.keys.keys().next().map(whole).unwrap_or_default()
}

fn first_start(branch: &Branch) -> Box<[u8]> {
    branch.starts.keys().next().map(whole).unwrap_or_default()
}

/// Calls `each` from one end or the other until it answers false; tells whether it never did.
fn for_each(range: Range<usize>, from_back: bool, mut each: impl FnMut(usize) -> bool) -> bool {
    if from_back {
        range.rev().all(&mut each)
    } else {
        range.into_iter().all(&mut each)
    }
}

/// The nodes that may hold keys between the bounds.
fn span(starts: &Packed, (lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> Range<usize> {
    let first = match lower {
        Bound::Included(key) | Bound::Excluded(key) => starts.floor(key),
        Bound::Unbounded => 0,
    };
    let last = match upper {
        Bound::Included(key) | Bound::Excluded(key) => starts.floor(key) + 1,
        Bound::Unbounded => starts.len(),
    };
    first..last.min(starts.len())
}

/// The keys between the bounds; none where the bounds cross.
fn within(keys: &Packed, (lower, upper): (Bound<&[u8]>, Bound<&[u8]>)) -> Range<usize> {
    let place = |key: &[u8], behind: bool| match keys.search(key) {
        Ok(at) => at + usize::from(behind),
        Err(at) => at,
    };
    let first = match lower {
        Bound::Included(key) => place(key, false),
        Bound::Excluded(key) => place(key, true),
        Bound::Unbounded => 0,
    };
    let last = match upper {
        Bound::Included(key) => place(key, true),
        Bound::Excluded(key) => place(key, false),
        Bound::Unbounded => keys.len(),
    };
    first..last
}

#[cfg(test)]
mod figures;
#[cfg(test)]
mod tests;
