//! Listing peers: page by page out of the directory, so that a list of a million takes no memory and holds up
//! nobody. Peers that come or go meanwhile may be met or not; all others are met once.

use std::sync::Arc;

use super::core::{Core, SHARDS};
use super::directory::{Known, SlotNumber};
use super::peer::Peer;

const PAGE_LEN: SlotNumber = 512;

/// Chooses peers by what is known without a read; the number is the time.
pub(crate) type Chosen = fn(&Known, u64) -> bool;

/// Peers, in no order.
pub struct Peers {
    core: Arc<Core>,
    chosen: Chosen,
    shard: usize,
    place: SlotNumber,
    page: std::vec::IntoIter<(SlotNumber, Peer)>,
    last: Position,
}

impl Peers {
    pub(crate) fn new(core: Arc<Core>, chosen: Chosen) -> Peers {
        Peers {
            core,
            chosen,
            shard: 0,
            place: 0,
            page: Vec::new().into_iter(),
            last: Position { shard: 0, place: 0 },
        }
    }

    /// Where it stands: a list can be taken up from here, while the store stays open.
    #[must_use]
    pub fn position(&self) -> Position {
        self.last
    }

    /// Goes on where another list stood.
    #[must_use]
    pub fn from(mut self, position: Position) -> Peers {
        (self.shard, self.place) = (position.shard, position.place);
        self.page = Vec::new().into_iter();
        self.last = position;
        self
    }
}

/// A place in a list of peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    shard: usize,
    place: SlotNumber,
}

impl Iterator for Peers {
    type Item = Peer;

    fn next(&mut self) -> Option<Peer> {
        loop {
            if let Some((place, peer)) = self.page.next() {
                self.last.place = place.saturating_add(1);
                return Some(peer);
            }
            if self.shard >= SHARDS {
                return None;
            }
            let now_ms = self.core.now_ms();
            let state = self.core.shard(self.shard).read();
            let end = state
                .directory
                .slots()
                .min(self.place.saturating_add(PAGE_LEN));
            let chosen = |place: &SlotNumber| (self.chosen)(&state.directory.known(*place), now_ms);
            let found = (self.place..end).filter_map(|place| {
                let peer = state.directory.peer(place)?;
                chosen(&place).then_some((place, peer))
            });
            self.page = found.collect::<Vec<_>>().into_iter();
            self.last = Position {
                shard: self.shard,
                place: self.place,
            };
            self.place = end;
            if end >= state.directory.slots() {
                (self.shard, self.place) = (self.shard + 1, 0);
            }
        }
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}
