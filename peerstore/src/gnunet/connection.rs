//! A handle as GNUnet's subsystems have it: stores wait in it until its turn, answers come as
//! callbacks out of `turn` and never out of the call that asked, cancelling and disconnecting mean
//! what they say. No thread of its own; everything happens on the thread that calls.
//!
//! It knows requests and replies, and not whether a peerstore or a socket is behind its link.
//! Callbacks may do anything with the connection: no borrow is held while one runs.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::answers::{Records, Watch, counted, event_of, found_of, stored, unexpected};
use super::client::{ClientOptions, SocketLink};
use super::error::{Error, ErrorKind, Result};
use super::event::Event;
use super::link::{Link, Reply, Request};
use super::local_link::LocalLink;
use super::monitor::MonitorSpec;
use super::options::{Acknowledge, Query, StoreOption};
use super::peerstore::{Peerstore, PeerstoreStats};
use super::record::{Filter, PeerIdentity, Record, Stored};
use super::requests::{Callback, Inner, NoLink, Task};
use super::waker::Waker;

/// How many records an iteration of the blocking kind asks for in advance.
pub(super) const WINDOW: u64 = 128;
/// Callbacks that one `turn` runs at most, so that it ends while others store without end.
const TURN_MAX: usize = 4_096;
/// How long a blocking call looks at a time whether its patience is over.
const LOOK: Duration = Duration::from_millis(500);

/// The number of a request with a callback, to cancel it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RequestId(u64);

/// What is told to the callback of an iteration: a record; the end (`None`), after which nothing
/// comes; or what went wrong. After an error of kind `Corrupted` (one record could not be read)
/// the iteration goes on, after any other it is over.
pub type Found = Result<Option<Stored>>;

/// A connection to a peerstore of this process or behind a service: the same in both cases.
///
/// Calls that end in `_then` return at once; their callback runs in a later [`Connection::turn`],
/// on the thread that calls it. All other calls wait for their answer, and run no callback
/// meanwhile. Requests are carried out in the order in which they were made: an iteration sees
/// every store before it.
///
/// Dropping it is `disconnect(false)`.
///
/// ```
/// use std::time::Duration;
/// use peercask_peerstore::gnunet::{
///     Acknowledge, Filter, Options, PeerIdentity, Peerstore, Record, StoreOption,
/// };
///
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// let peers = Peerstore::open(dir.path(), Options::compatible())?;
/// let connection = peers.connect();
/// let record = Record::new("fs", PeerIdentity([1; 32]), "respect", "17");
/// let triple = record.triple();
/// connection.store_then(record, StoreOption::Replace, Acknowledge::Kernel, |connection, done| {
///     println!("stored as {:?}", done);
///     // A callback may do anything with its connection.
///     let all = Filter::subsystem("fs");
///     let found = connection.iterate_then(all, u64::MAX, |_, found| println!("{found:?}"));
///     assert!(found.is_ok());
/// })?;
/// while connection.turn(Duration::ZERO)? > 0 {}
/// assert_eq!(connection.iterate(triple)?.count(), 1);
/// connection.disconnect(true)?;
/// # Ok::<(), peercask_peerstore::gnunet::Error>(())
/// ```
pub struct Connection {
    inner: RefCell<Inner>,
    closed: Cell<bool>,
    patience: Duration,
}

impl Connection {
    pub(crate) fn local(peerstore: &Peerstore) -> Connection {
        let link = LocalLink::new(peerstore, Waker::new());
        Connection::over(Box::new(link), Duration::MAX)
    }

    /// Connects to the service at a socket. Like upstream's, it does not wait for the service:
    /// one that is not there (any more) is tried again, and requests wait meanwhile, blocking
    /// ones for [`ClientOptions::patience`].
    ///
    /// # Errors
    /// None of the service's; `InvalidArgument` for an option out of range.
    pub fn to_service(socket: impl AsRef<Path>, options: ClientOptions) -> Result<Connection> {
        let patience = options.patience;
        let link = SocketLink::new(socket.as_ref(), options)?;
        Ok(Connection::over(Box::new(link), patience))
    }

    pub(crate) fn over(link: Box<dyn Link>, patience: Duration) -> Connection {
        Connection {
            inner: RefCell::new(Inner {
                link,
                last_number: 0,
                outgoing: VecDeque::new(),
                tasks: HashMap::new(),
                called: VecDeque::new(),
            }),
            closed: Cell::new(false),
            patience,
        }
    }

    // ---- storing

    /// Stores a record and waits until it is as safe as `acknowledge` says; its sequence number.
    ///
    /// # Errors
    /// As [`Peerstore::store_with`]; `ConnectionLost` if the connection broke before the answer:
    /// the record may or may not be stored.
    pub fn store(
        &self,
        record: &Record,
        option: StoreOption,
        acknowledge: Acknowledge,
    ) -> Result<u64> {
        let request = Request::Store {
            record: record.clone(),
            option,
            acknowledge,
        };
        stored(self.ask(request)?)
    }

    /// Stores a record; `done` is called exactly once with what really happened: its sequence
    /// number, or why it was not stored. The store waits in the connection until the next
    /// [`Connection::turn`] or blocking call, and can be [cancelled](Connection::cancel) so long.
    ///
    /// # Errors
    /// `Closed`.
    pub fn store_then(
        &self,
        record: Record,
        option: StoreOption,
        acknowledge: Acknowledge,
        done: impl FnOnce(&Connection, Result<u64>) + Send + 'static,
    ) -> Result<RequestId> {
        let request = Request::Store {
            record,
            option,
            acknowledge,
        };
        self.begin(request, Some(Callback::Store(Box::new(done))))
    }

    /// See [`Peerstore::store_newest`].
    ///
    /// # Errors
    /// As [`Connection::store`].
    pub fn store_newest(&self, record: &Record, acknowledge: Acknowledge) -> Result<Option<u64>> {
        let request = Request::StoreNewest {
            record: record.clone(),
            acknowledge,
        };
        match self.ask(request)? {
            Reply::Stored(seq) => Ok(seq),
            other => Err(unexpected(&other)),
        }
    }

    // ---- reading

    /// Walks over the records that a query chooses, as they are now, waiting for each.
    ///
    /// # Errors
    /// `Closed`, `ConnectionLost`.
    pub fn iterate(&self, query: impl Into<Query>) -> Result<Records<'_>> {
        let request = Request::Iterate {
            query: query.into(),
            credit: WINDOW,
        };
        let id = self.begin(request, None)?;
        Ok(Records {
            connection: self,
            id,
            taken: 0,
            ended: false,
        })
    }

    /// Walks over the records that a query chooses: `found` is called for the first `credit` of
    /// them (`u64::MAX` for all, 0 for none yet), for more after [`Connection::more`], and once at
    /// the end.
    ///
    /// # Errors
    /// `Closed`.
    pub fn iterate_then(
        &self,
        query: impl Into<Query>,
        credit: u64,
        found: impl FnMut(&Connection, Found) + Send + 'static,
    ) -> Result<RequestId> {
        let request = Request::Iterate {
            query: query.into(),
            credit,
        };
        self.begin(request, Some(Callback::Found(Box::new(found))))
    }

    /// Asks for up to `credit` more records of an iteration, or of the initial pass of a monitor.
    ///
    /// # Errors
    /// `InvalidArgument` while records asked for before have not come, or when it is over.
    pub fn more(&self, id: RequestId, credit: u64) -> Result<()> {
        let mut inner = self.inner.borrow_mut();
        let task = inner.tasks.get_mut(&id.0).filter(|task| !task.ended);
        let task = task.ok_or_else(|| Error::invalid("the iteration is over"))?;
        if task.outstanding > 0 {
            return Err(Error::invalid(format!(
                "{} records that were asked for before have not come yet",
                task.outstanding
            )));
        }
        task.outstanding = credit;
        inner.outgoing.push_back((id.0, Request::More { credit }));
        Ok(())
    }

    /// Watches what a filter chooses, waiting for each event when asked: see [`MonitorSpec`].
    ///
    /// # Errors
    /// `Closed`.
    pub fn watch(&self, spec: impl Into<MonitorSpec>) -> Result<Watch<'_>> {
        let request = Request::Monitor {
            spec: spec.into(),
            credit: u64::MAX,
        };
        let id = self.begin(request, None)?;
        Ok(Watch {
            connection: self,
            id,
        })
    }

    /// Watches what a filter chooses; `told` is called for each event. The credit bounds the
    /// initial pass alone (see [`Connection::more`]), live events come as they happen.
    ///
    /// # Errors
    /// `Closed`.
    pub fn watch_then(
        &self,
        spec: impl Into<MonitorSpec>,
        credit: u64,
        told: impl FnMut(&Connection, Result<Event>) + Send + 'static,
    ) -> Result<RequestId> {
        let request = Request::Monitor {
            spec: spec.into(),
            credit,
        };
        self.begin(request, Some(Callback::Event(Box::new(told))))
    }

    // ---- the rest

    /// See [`Peerstore::remove`].
    ///
    /// # Errors
    /// As [`Peerstore::remove`]; `ConnectionLost`.
    pub fn remove(&self, filter: &Filter) -> Result<u64> {
        let filter = filter.clone();
        counted(self.ask(Request::Remove { filter })?)
    }

    /// See [`Peerstore::forget_peer`].
    ///
    /// # Errors
    /// As [`Peerstore::forget_peer`]; `ConnectionLost`.
    pub fn forget_peer(&self, peer: PeerIdentity) -> Result<u64> {
        counted(self.ask(Request::ForgetPeer { peer })?)
    }

    /// See [`Peerstore::expire`]; `None` is now, by the clock of the store.
    ///
    /// # Errors
    /// As [`Peerstore::expire`]; `ConnectionLost`.
    pub fn expire(&self, now_us: Option<u64>) -> Result<u64> {
        counted(self.ask(Request::Expire { now_us })?)
    }

    /// See [`Peerstore::stats`].
    ///
    /// # Errors
    /// `Closed`, `ConnectionLost`.
    pub fn stats(&self) -> Result<PeerstoreStats> {
        match self.ask(Request::Stats)? {
            Reply::Stats(stats) => Ok(stats),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a request: its callback is not called again. For a store: true if it will not be
    /// stored; false if it has been handed over already, and then its callback comes. For an
    /// iteration or watch: false if it was over. May be called at any time, in callbacks too.
    pub fn cancel(&self, id: RequestId) -> bool {
        let mut inner = self.inner.borrow_mut();
        let Some(task) = inner.tasks.get(&id.0) else {
            return false;
        };
        let (is_store, ended) = (task.is_store, task.ended);
        let waiting = inner.outgoing.iter().any(|(number, _)| *number == id.0);
        let unsent = waiting && !inner.is_handed_over(id.0);
        if is_store && !unsent {
            return false;
        }
        inner.outgoing.retain(|(number, _)| *number != id.0);
        inner.tasks.remove(&id.0);
        if !unsent && !ended {
            inner.outgoing.push_back((id.0, Request::Stop));
        }
        !ended
    }

    /// Hands over what waits, takes in what has come, and runs the callbacks; waits up to
    /// `timeout` if there is nothing, and no longer, whatever the service does or fails to do. How
    /// many callbacks ran. Without a service to ask (in process) a store is carried out here, and
    /// takes as long as its [`Acknowledge`] does.
    ///
    /// A callback may call it too.
    ///
    /// # Errors
    /// `Closed`; `UnsupportedVersion` or `Protocol` if the service speaks otherwise. A service
    /// that is not there is no error: it is tried again.
    pub fn turn(&self, timeout: Duration) -> Result<usize> {
        self.check_open()?;
        let mut ran = 0;
        let mut timeout = timeout;
        while ran < TURN_MAX {
            if self.call_next() {
                ran += 1;
                timeout = Duration::ZERO;
            } else if self.closed.get() || !self.pump(timeout)? {
                break;
            }
        }
        Ok(ran)
    }

    /// Ends the connection, and with it all iterations and watches, without further callbacks.
    /// Stores whose callback has not run are carried out first, callbacks included, if
    /// `sync_first`; else those not yet handed over are dropped, and no callback runs. May be
    /// called in callbacks; later calls answer `Closed`.
    ///
    /// # Errors
    /// With `sync_first`: `NoService` or `ConnectionLost` if they could not be handed over.
    pub fn disconnect(&self, sync_first: bool) -> Result<()> {
        if self.closed.get() {
            return Ok(());
        }
        let result = match sync_first {
            true => self.finish_stores(),
            false => Ok(()),
        };
        self.closed.set(true);
        let mut inner = self.inner.borrow_mut();
        inner.link = Box::new(NoLink);
        inner.outgoing.clear();
        inner.called.clear();
        // Callbacks are dropped outside the borrow: they may own anything.
        let tasks = std::mem::take(&mut inner.tasks);
        drop(inner);
        drop(tasks);
        result
    }

    // ---- within

    pub(super) fn check_open(&self) -> Result<()> {
        match self.closed.get() {
            true => Err(Error::new(ErrorKind::Closed, "the connection is closed")),
            false => Ok(()),
        }
    }

    fn begin(&self, request: Request, callback: Option<Callback>) -> Result<RequestId> {
        self.check_open()?;
        let mut inner = self.inner.borrow_mut();
        inner.last_number += 1;
        let number = inner.last_number;
        let task = Task {
            mail: VecDeque::new(),
            calls: callback.is_some(),
            callback,
            is_store: matches!(request, Request::Store { .. } | Request::StoreNewest { .. }),
            outstanding: match &request {
                Request::Iterate { credit, .. } | Request::Monitor { credit, .. } => *credit,
                _ => 0,
            },
            ended: false,
        };
        inner.tasks.insert(number, task);
        inner.outgoing.push_back((number, request));
        Ok(RequestId(number))
    }

    /// Asks, and waits for the one answer.
    fn ask(&self, request: Request) -> Result<Reply> {
        let id = self.begin(request, None)?;
        let reply = self.wait_for(id);
        self.inner.borrow_mut().tasks.remove(&id.0);
        match reply? {
            Reply::Failed(error) => Err(error),
            reply => Ok(reply),
        }
    }

    /// The next answer to a request without a callback.
    pub(super) fn wait_for(&self, id: RequestId) -> Result<Reply> {
        let started = Instant::now();
        loop {
            self.check_open()?;
            if let Some(reply) = self.take_mail(id) {
                return Ok(reply);
            }
            let left = self.patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                self.cancel(id);
                let what = format!("no answer of the service within {:?}", self.patience);
                return Err(Error::new(ErrorKind::NoService, what));
            }
            self.pump(left.min(LOOK))?;
        }
    }

    pub(super) fn take_mail(&self, id: RequestId) -> Option<Reply> {
        let mut inner = self.inner.borrow_mut();
        inner.tasks.get_mut(&id.0)?.mail.pop_front()
    }

    /// Credit for an iteration of the blocking kind, which counts for itself.
    pub(super) fn add_credit(&self, id: RequestId, credit: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.outgoing.push_back((id.0, Request::More { credit }));
    }

    /// Hands over what waits and takes in one answer; false if none came in time.
    pub(super) fn pump(&self, timeout: Duration) -> Result<bool> {
        let started = Instant::now();
        let mut inner = self.inner.borrow_mut();
        loop {
            while !inner.outgoing.is_empty() && inner.link.is_ready()? {
                if let Some((number, request)) = inner.outgoing.pop_front() {
                    inner.link.submit(number, request)?;
                }
            }
            let left = timeout.saturating_sub(started.elapsed());
            if let Some((number, reply)) = inner.link.receive(left)? {
                inner.deliver(number, reply);
                return Ok(true);
            }
            if started.elapsed() >= timeout {
                return Ok(false);
            }
        }
    }

    /// Runs the callback of the oldest answer; false if there is none.
    fn call_next(&self) -> bool {
        loop {
            let mut inner = self.inner.borrow_mut();
            let Some(number) = inner.called.pop_front() else {
                return false;
            };
            let Some(task) = inner.tasks.get_mut(&number) else {
                continue;
            };
            // While its callback runs, its mail waits: the callback finds it when it is back.
            let Some(callback) = task.callback.take() else {
                continue;
            };
            let Some(reply) = task.mail.pop_front() else {
                task.callback = Some(callback);
                continue;
            };
            let last = reply.is_last();
            if last {
                inner.tasks.remove(&number);
            }
            drop(inner);
            let callback = self.call(callback, reply);
            self.put_back(number, callback, last);
            return true;
        }
    }

    fn call(&self, callback: Callback, reply: Reply) -> Option<Callback> {
        match callback {
            Callback::Store(done) => {
                done(self, stored(reply));
                None
            }
            Callback::Found(mut found) => {
                found(self, found_of(reply));
                Some(Callback::Found(found))
            }
            Callback::Event(mut told) => {
                told(self, event_of(reply));
                Some(Callback::Event(told))
            }
        }
    }

    fn put_back(&self, number: u64, callback: Option<Callback>, last: bool) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        // Cancelled in its own callback, it is not there any more.
        if let (Some(task), Some(callback), false) = (inner.tasks.get_mut(&number), callback, last)
        {
            task.callback = Some(callback);
            let waiting = task.mail.len();
            inner.called.retain(|called| *called != number);
            // In front: this mail came before what waits for others.
            for _ in 0..waiting {
                inner.called.push_front(number);
            }
        }
    }

    /// Carries out all stores whose callback has not run, and runs it; no other callback runs.
    fn finish_stores(&self) -> Result<()> {
        let dropped = {
            let mut inner = self.inner.borrow_mut();
            let (stores, others): (HashMap<_, _>, HashMap<_, _>) = std::mem::take(&mut inner.tasks)
                .into_iter()
                .partition(|(_, task)| task.is_store);
            inner.tasks = stores;
            let Inner {
                outgoing, tasks, ..
            } = &mut *inner;
            outgoing.retain(|(number, _)| tasks.contains_key(number));
            others
        };
        drop(dropped);
        let started = Instant::now();
        loop {
            while self.call_next() {}
            if self.closed.get() || self.inner.borrow().tasks.is_empty() {
                return Ok(());
            }
            let left = self.patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                let what = "the service did not take the stores that were pending";
                return Err(Error::new(ErrorKind::NoService, what));
            }
            self.pump(left.min(LOOK))?;
            // A store without a callback has nobody to tell.
            let done = |task: &Task| !task.calls && !task.mail.is_empty();
            self.inner.borrow_mut().tasks.retain(|_, task| !done(task));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without stores to finish nothing can fail.
        let _ = self.disconnect(false);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("closed", &self.closed.get())
            .finish_non_exhaustive()
    }
}
