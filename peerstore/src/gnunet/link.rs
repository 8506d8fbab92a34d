//! What a connection needs of the other side, and what they say to each other. Two sides exist: the
//! peerstore of this process (`local_link.rs`) and a service behind a socket (`client.rs`); the
//! service serves each client through a local link of its own. So there is one meaning of every
//! request, and no request that only one side knows.

use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, Result};
use super::event::Event;
use super::monitor::MonitorSpec;
use super::options::{Acknowledge, Query, StoreOption};
use super::peerstore::PeerstoreStats;
use super::record::{Filter, PeerIdentity, Record, Stored};

/// A request; its number is chosen by who asks, above 0 and never used twice on one link.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Store {
        record: Record,
        option: StoreOption,
        acknowledge: Acknowledge,
    },
    StoreNewest {
        record: Record,
        acknowledge: Acknowledge,
    },
    /// Answered by records, as many as there is credit, then the end.
    Iterate {
        query: Query,
        credit: u64,
    },
    /// Answered by events until it is stopped; the credit is for its initial pass.
    Monitor {
        spec: MonitorSpec,
        credit: u64,
    },
    /// More credit for the iteration or monitor of the same number.
    More {
        credit: u64,
    },
    /// Ends the iteration or monitor of the same number.
    Stop,
    Remove {
        filter: Filter,
    },
    ForgetPeer {
        peer: PeerIdentity,
    },
    /// By this time, or by now.
    Expire {
        now_us: Option<u64>,
    },
    Stats,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Done; without a seq the stored record was the newer one.
    Stored(Option<u64>),
    Record(Stored),
    /// The iteration is through.
    End,
    Event(Arc<Event>),
    Count(u64),
    Stats(PeerstoreStats),
    /// The request failed, and is over.
    Failed(Error),
    /// One record of an iteration or monitor could not be read; it goes on.
    Trouble(Error),
}

impl Reply {
    /// Whether nothing more comes for this request.
    pub(crate) fn is_last(&self) -> bool {
        !matches!(self, Reply::Record(_) | Reply::Event(_) | Reply::Trouble(_))
    }
}

/// The other side.
pub(crate) trait Link: Send {
    /// Whether requests can be handed over now; if not, they wait where they can be cancelled.
    /// Never waits.
    fn is_ready(&mut self) -> Result<bool>;

    /// Hands a request over. Never waits for its answer.
    fn submit(&mut self, number: u64, request: Request) -> Result<()>;

    /// The next answer, waiting up to `timeout` for one, or until the link has become ready. An
    /// error concerns the link as a whole.
    fn receive(&mut self, timeout: Duration) -> Result<Option<(u64, Reply)>>;
}
