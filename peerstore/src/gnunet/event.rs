//! What a monitor tells. Plain data; it crosses the wire as it is.

use std::sync::Arc;

use super::record::{PeerIdentity, Record};

/// Subsystem, peer and key.
pub(crate) type Names<'a> = (&'a Arc<[u8]>, &'a PeerIdentity, &'a Arc<[u8]>);

/// Why a record is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Cause {
    /// Somebody deleted it.
    Deleted,
    /// It was swept after its expiry.
    Expired,
    /// It made room under its subsystem's quota.
    Evicted,
}

/// What a watch or monitor delivers, in the order of commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A record: one that was there already, before [`Event::Synced`], or a new one.
    Stored {
        /// Its sequence number.
        seq: u64,
        /// The record.
        record: Record,
        /// It replaced whatever stood under its subsystem, peer and key.
        replaces: bool,
    },
    /// A record is gone; only for monitors that asked for removals. What a replacing record
    /// removes is told by that record alone.
    Removed {
        /// The sequence number of the removal.
        seq: u64,
        /// That of the record.
        of: u64,
        /// The record's subsystem.
        subsystem: Arc<[u8]>,
        /// The record's peer.
        peer: PeerIdentity,
        /// The record's key.
        key: Arc<[u8]>,
        /// Why.
        cause: Cause,
    },
    /// All that was there when the monitor started, or missed since `after`, has been told; what
    /// follows is live. Exactly one for each start, and one more after each [`Event::Missed`].
    Synced {
        /// Everything up to this sequence number was told.
        seq: u64,
    },
    /// The monitor was too slow or too long away for its removals to be told one by one. The
    /// records that it has not seen follow, then [`Event::Synced`]; what it knows with a sequence
    /// number up to `after` may be gone meanwhile.
    Missed {
        /// The last sequence number that the monitor had seen; 0 if all records follow.
        after: u64,
    },
}

impl Event {
    /// The sequence number from which a monitor that saw this event goes on.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Event::Stored { seq, .. } | Event::Removed { seq, .. } | Event::Synced { seq } => *seq,
            Event::Missed { after } => *after,
        }
    }

    pub(crate) fn names(&self) -> Option<Names<'_>> {
        match self {
            Event::Stored { record, .. } => Some((&record.subsystem, &record.peer, &record.key)),
            Event::Removed {
                subsystem,
                peer,
                key,
                ..
            } => Some((subsystem, peer, key)),
            Event::Synced { .. } | Event::Missed { .. } => None,
        }
    }

    pub(crate) fn is_removal(&self) -> bool {
        matches!(self, Event::Removed { .. })
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let names = self
            .names()
            .map_or(0, |(subsystem, _, key)| subsystem.len() + key.len());
        let value = match self {
            Event::Stored { record, .. } => record.value.len(),
            _ => 0,
        };
        size_of::<Event>() + names + value
    }
}
