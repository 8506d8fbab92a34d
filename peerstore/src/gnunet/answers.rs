//! What comes back over a connection: records and events one by one for those who wait for them,
//! and replies turned into what a caller or a callback gets.

use std::time::{Duration, Instant};

use super::connection::{Connection, Found, RequestId, WINDOW};
use super::error::{Error, ErrorKind, Result};
use super::event::Event;
use super::link::Reply;
use super::record::Stored;

/// The records of an iteration; made by [`Connection::iterate`]. Dropping it ends the iteration.
pub struct Records<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: RequestId,
    /// Since credit was last asked for.
    pub(super) taken: u64,
    pub(super) ended: bool,
}

impl Iterator for Records<'_> {
    type Item = Result<Stored>;

    fn next(&mut self) -> Option<Result<Stored>> {
        if self.ended {
            return None;
        }
        let reply = self.connection.wait_for(self.id);
        match reply.and_then(found_of) {
            Ok(Some(stored)) => {
                self.taken += 1;
                if self.taken == WINDOW / 2 {
                    self.taken = 0;
                    self.connection.add_credit(self.id, WINDOW / 2);
                }
                Some(Ok(stored))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = error.kind() != ErrorKind::Corrupted;
                Some(Err(error))
            }
        }
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        self.connection.cancel(self.id);
    }
}

/// A watch; made by [`Connection::watch`]. Dropping it ends the watch.
pub struct Watch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: RequestId,
}

impl Watch<'_> {
    /// The next event, waiting up to `timeout` for one.
    ///
    /// # Errors
    /// `Closed`; `Corrupted` for a record that cannot be read, after which the watch goes on.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let started = Instant::now();
        loop {
            self.connection.check_open()?;
            if let Some(reply) = self.connection.take_mail(self.id) {
                return event_of(reply).map(Some);
            }
            let left = timeout.saturating_sub(started.elapsed());
            // Once at least, also without time to wait.
            let came = self.connection.pump(left)?;
            if !came && left.is_zero() {
                return Ok(None);
            }
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.connection.cancel(self.id);
    }
}

pub(super) fn stored(reply: Reply) -> Result<u64> {
    match reply {
        Reply::Stored(Some(seq)) => Ok(seq),
        Reply::Failed(error) => Err(error),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn counted(reply: Reply) -> Result<u64> {
    match reply {
        Reply::Count(count) => Ok(count),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn found_of(reply: Reply) -> Found {
    match reply {
        Reply::Record(stored) => Ok(Some(stored)),
        Reply::End => Ok(None),
        Reply::Failed(error) | Reply::Trouble(error) => Err(error),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn event_of(reply: Reply) -> Result<Event> {
    match reply {
        Reply::Event(event) => Ok(std::sync::Arc::unwrap_or_clone(event)),
        Reply::Failed(error) | Reply::Trouble(error) => Err(error),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(reply: &Reply) -> Error {
    Error::protocol(format!("the answer does not fit its request: {reply:?}"))
}
