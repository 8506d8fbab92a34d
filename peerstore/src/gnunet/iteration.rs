//! A walk over records on a snapshot: lazy, a page at a time, no lock held while the caller has a
//! record in hand. Stores, replaces, deletes and expiry meanwhile change nothing of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::error::{Error, Result};
use super::index::{Cursor, Hit, View};
use super::options::{Order, Query};
use super::peerstore::Handle;
use super::record::{Filter, Stored};

/// The first page is small, for a look-up of one key; those that follow grow.
const PAGE_LEN_MIN: usize = 4;
const PAGE_LEN_MAX: usize = 128;

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

    fn turn_page(&mut self) {
        let core = &self.handle.core;
        let mut hits: Vec<Hit> = Vec::with_capacity(self.page_len);
        let state = core.read();
        self.more = state.index.page(
            &self.filter,
            self.order,
            self.view,
            &mut self.cursor,
            self.page_len,
            &mut hits,
        );
        // Read under the lock: a row is not written over while somebody may be here.
        self.page.extend(hits.iter().map(|hit| {
            let record = core.load(&state, hit)?;
            Ok(Stored {
                seq: hit.seq,
                record,
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
        self.handle.core.write().release_snapshot(self.view.seq);
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
