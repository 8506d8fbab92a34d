//! The requests of a connection that are not over: what waits to be handed over, what has come for
//! whom, and in which order callbacks are due. It calls nobody.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::connection::{Connection, Found};
use super::error::{Error, Result};
use super::event::Event;
use super::link::{Link, Reply, Request};

pub(super) type StoreCallback = Box<dyn FnOnce(&Connection, Result<u64>) + Send>;
pub(super) type FoundCallback = Box<dyn FnMut(&Connection, Found) + Send>;
pub(super) type EventCallback = Box<dyn FnMut(&Connection, Result<Event>) + Send>;

pub(super) enum Callback {
    Store(StoreCallback),
    Found(FoundCallback),
    Event(EventCallback),
}

/// A request that is not over.
pub(super) struct Task {
    pub(super) mail: VecDeque<Reply>,
    pub(super) callback: Option<Callback>,
    /// Whether its mail goes to a callback, also while that runs.
    pub(super) calls: bool,
    pub(super) is_store: bool,
    /// Records asked for that have not come.
    pub(super) outstanding: u64,
    pub(super) ended: bool,
}

pub(super) struct Inner {
    pub(super) link: Box<dyn Link>,
    pub(super) last_number: u64,
    /// Not yet handed to the link.
    pub(super) outgoing: VecDeque<(u64, Request)>,
    pub(super) tasks: HashMap<u64, Task>,
    /// Tasks with a callback that have mail, in the order of its arrival.
    pub(super) called: VecDeque<u64>,
}

impl Inner {
    pub(super) fn deliver(&mut self, number: u64, reply: Reply) {
        // What was cancelled is told to nobody.
        let Some(task) = self.tasks.get_mut(&number) else {
            return;
        };
        task.ended = reply.is_last();
        if matches!(reply, Reply::Record(_) | Reply::Event(_)) {
            task.outstanding = task.outstanding.saturating_sub(1);
        }
        task.mail.push_back(reply);
        if task.calls {
            self.called.push_back(number);
        }
    }

    /// Whether the first request of a number went to the link: only `More` and `Stop` wait.
    pub(super) fn is_handed_over(&self, number: u64) -> bool {
        let first = self.outgoing.iter().find(|(waiting, _)| *waiting == number);
        !first.is_some_and(|(_, request)| !matches!(request, Request::More { .. } | Request::Stop))
    }
}

/// Takes the place of the link of a closed connection.
pub(super) struct NoLink;

impl Link for NoLink {
    fn is_ready(&mut self) -> Result<bool> {
        Err(Error::closed())
    }

    fn submit(&mut self, _: u64, _: Request) -> Result<()> {
        Err(Error::closed())
    }

    fn receive(&mut self, _: Duration) -> Result<Option<(u64, Reply)>> {
        Err(Error::closed())
    }
}
