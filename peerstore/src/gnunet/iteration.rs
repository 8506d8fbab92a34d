//! A walk over records on a snapshot: lazy, a page at a time, no lock held while the caller has a
//! record in hand. Stores, replaces, deletes and expiry meanwhile change nothing of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::index::{Cursor, Hit, PageMax, View};
use super::options::{Order, Query};
use super::peerstore::Handle;
use super::record::{Filter, Stored};

/// The first page is small, for a look-up of one key; those that follow grow.
const PAGE_LEN_MIN: usize = 4;
const PAGE_LEN_MAX: usize = 128;
/// A page ends when its values have this many bytes, and has one record at least: the first of many
/// large ones does not wait for the others to be read, and a walk that stands still holds little.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// A walk over the records that a [`Query`] chooses, as they were when it started. Made by
/// [`Peerstore::iterate`](super::Peerstore::iterate).
///
/// Dropping it ends it. While it lives, what is removed meanwhile is kept for it: the bytes of
/// these records stay on disk, so a walk is not a thing to keep for days.
///
/// Values of 4 KiB and more are lent from the store's files without a copy, as [`peercask::Value`]
/// says: copy what is kept for long.
///
/// A record that cannot be read is an `Err`, and the walk goes on behind it.
pub struct Iteration {
    handle: Arc<Handle>,
    filter: Filter,
    order: Order,
    view: View,
    cursor: Cursor,
    page: VecDeque<Result<Stored>>,
    page_len: usize,
    /// Records that a page has at most, whatever its length.
    ahead: u64,
    more: bool,
}

impl Iteration {
    pub(crate) fn start(handle: &Arc<Handle>, query: &Query) -> Iteration {
        let seq = handle.core.write().hold_snapshot();
        Iteration::at(handle, query, seq)
    }

    /// A walk at a snapshot that the caller holds already, and that the walk releases.
    pub(crate) fn at(handle: &Arc<Handle>, query: &Query, seq: u64) -> Iteration {
        let by_default = match query.after {
            0 => handle.core.options.order,
            _ => Order::Insertion,
        };
        Iteration {
            handle: handle.clone(),
            filter: query.filter.clone(),
            order: query.order.unwrap_or(by_default),
            view: handle.core.view(seq),
            cursor: Cursor::after(query.after),
            page: VecDeque::new(),
            page_len: PAGE_LEN_MIN,
            ahead: u64::MAX,
            more: true,
        }
    }

    /// The sequence number of its snapshot: everything up to it is in the walk, nothing later.
    #[must_use]
    pub fn snapshot_seq(&self) -> u64 {
        self.view.seq
    }

    /// The order in which it goes.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// From now on at most this many records are read before they are asked for.
    pub(crate) fn read_ahead(&mut self, records: u64) {
        self.ahead = records;
    }

    fn turn_page(&mut self) {
        let core = &self.handle.core;
        let ahead = usize::try_from(self.ahead).unwrap_or(usize::MAX);
        let max = PageMax {
            records: self.page_len.min(ahead).max(1),
            value_bytes: PAGE_BYTES_MAX,
        };
        let mut hits: Vec<Hit> = Vec::with_capacity(max.records);
        let found = core.read().index.page(
            &self.filter,
            self.order,
            self.view,
            &mut self.cursor,
            max,
            &mut hits,
        );
        self.more = found;
        // Read without the lock: whoever stores does not wait for the disk of whoever reads.
        let records = core.load_all(&hits);
        self.page
            .extend(hits.iter().zip(records).map(|(hit, record)| {
                Ok(Stored {
                    seq: hit.seq,
                    record: record?,
                })
            }));
        self.page_len = (self.page_len * 2).min(PAGE_LEN_MAX);
    }
}

impl Iterator for Iteration {
    type Item = Result<Stored>;

    fn next(&mut self) -> Option<Result<Stored>> {
        loop {
            if let Some(found) = self.page.pop_front() {
                return Some(found);
            }
            if !self.more {
                return None;
            }
            if let Err(error) = self.handle.core.check_open() {
                self.more = false;
                return Some(Err::<Stored, Error>(error));
            }
            self.turn_page();
        }
    }
}

impl Drop for Iteration {
    fn drop(&mut self) {
        let gone = self.handle.core.write().release_snapshot(self.view.seq);
        // Behind the lock: it may be the last hold on a great many rows.
        drop(gone);
    }
}

impl fmt::Debug for Iteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iteration")
            .field("filter", &self.filter)
            .field("order", &self.order)
            .field("snapshot_seq", &self.view.seq)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::gnunet::{
        Acknowledge, Filter, Options, PeerIdentity, Peerstore, Record, StoreOption,
    };

    fn fill(peers: &Peerstore, records: usize, value_len: usize) {
        for _ in 0..records {
            let record = Record::new("s", PeerIdentity([1; 32]), "k", vec![7; value_len]);
            peers
                .store_with(&record, StoreOption::Multiple, Acknowledge::Accepted)
                .expect("stored");
        }
    }

    #[test]
    fn a_page_has_many_small_values_and_one_large_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peers = Peerstore::open(dir.path(), Options::native()).expect("opened");
        fill(&peers, 300, 10);
        let mut walk = peers.iterate(Filter::subsystem("s")).expect("a walk");
        let pages: Vec<usize> = (0..300)
            .map(|_| {
                walk.next().expect("a record").expect("readable");
                walk.page.len()
            })
            .collect();
        assert_eq!(pages.iter().max(), Some(&127));
        fill(&peers, 40, 64 << 10);
        let mut walk = peers.iterate(Filter::subsystem("s")).expect("a walk");
        let mut ahead = 0;
        while let Some(found) = walk.next() {
            if found.expect("readable").record.value.len() > 10 {
                ahead = ahead.max(walk.page.len());
            }
        }
        assert_eq!(
            ahead, 0,
            "large values are not read before they are asked for"
        );
    }

    #[test]
    fn no_more_is_read_ahead_than_was_said() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peers = Peerstore::open(dir.path(), Options::native()).expect("opened");
        fill(&peers, 10, 10);
        let mut walk = peers.iterate(Filter::subsystem("s")).expect("a walk");
        for (ahead, left) in [(1, 0), (2, 1), (1, 0)] {
            walk.read_ahead(ahead);
            assert!(walk.next().is_some());
            assert_eq!(walk.page.len(), left);
            while walk.page.pop_front().is_some() {}
        }
        walk.read_ahead(u64::MAX);
        assert_eq!(walk.count(), 6);
    }

    /// Many rows that go at once, and few.
    #[test]
    fn a_walk_reads_what_is_gone_meanwhile_as_it_was() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let peers = Peerstore::open(dir.path(), Options::native()).expect("opened");
        fill(&peers, 400, 10);
        let walk = peers.iterate(Filter::subsystem("s")).expect("a walk");
        assert_eq!(peers.remove(&Filter::subsystem("s")).expect("removed"), 400);
        for _ in 0..3 {
            let other = Record::new("s", PeerIdentity([1; 32]), "k", "other");
            peers.store(&other, StoreOption::Replace).expect("stored");
        }
        // Two of the others came and went.
        assert_eq!(peers.stats().expect("stats").kept_for_iterations, 402);
        let found: Vec<_> = walk.map(|found| found.expect("readable")).collect();
        assert_eq!(found.len(), 400);
        assert!(
            found
                .iter()
                .all(|stored| stored.record.value == [7; 10][..])
        );
        let stats = peers.stats().expect("stats");
        assert_eq!((stats.kept_for_iterations, stats.records), (0, 1));
        assert_eq!(peers.engine().stats().snapshots, 0);
    }
}
