//! A watch: what is written to a keyspace, in commit order, for a thread that blocks or a future.
//! Live events come from a bounded queue that commit fills (`feed`); who lagged, or comes back,
//! reads the log instead (`history`) and joins the queue where the log ends. It keeps no store
//! open and holds up no writer and no merge.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Lagged, Notice};
use crate::feed::{Scope, Subscriber, Taken};
use crate::handle::Handle;
use crate::history::{self, History};
use crate::iter::{self, Iter, Walk};
use crate::keydir::space::Space;
use crate::lookup;
use crate::options::{Durability, IndexKind};
use crate::parker::Parker;
use crate::segment::location::Seq;
use crate::segment::waiters::{Look, Place};
use crate::value::Entry;

/// Records of others read from the log in one poll, before other tasks get their turn.
const POLL_RECORDS_MAX: usize = 4_096;

/// What a [`Watch`] tells, and how much it may fall behind.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    scope: Scope,
    after: Option<Seq>,
    capacity: usize,
    durability: Durability,
    expired: bool,
}

impl WatchOptions {
    /// Every key of the keyspace.
    #[must_use]
    pub fn all() -> WatchOptions {
        WatchOptions {
            scope: Scope::All,
            after: None,
            capacity: 1_024,
            durability: Durability::Buffered,
            expired: false,
        }
    }

    /// One key.
    #[must_use]
    pub fn key(key: impl AsRef<[u8]>) -> WatchOptions {
        WatchOptions {
            scope: Scope::Key(key.as_ref().into()),
            ..WatchOptions::all()
        }
    }

    /// The keys that start with `prefix`, of either kind of keyspace.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> WatchOptions {
        WatchOptions {
            scope: Scope::Prefix(prefix.as_ref().into()),
            ..WatchOptions::all()
        }
    }

    /// Starts after the write with this seq instead of now: what was written since is read from
    /// the log first. How far back the log reaches is up to merge; the answer is `HistoryGone`
    /// where it does not, never a gap. A full merge leaves no history.
    #[must_use]
    pub fn after(mut self, seq: Seq) -> WatchOptions {
        self.after = Some(seq);
        self
    }

    /// How many events wait for the watcher at most. Default: 1,024; their keys take at most
    /// 1 MiB. Beyond that the watcher has lagged. Values wait in the log, not in memory.
    #[must_use]
    pub fn capacity(mut self, events: usize) -> WatchOptions {
        self.capacity = events;
        self
    }

    /// Events are told when they are at least so durable. Default: [`Durability::Buffered`], as
    /// soon as they are visible. It syncs nothing itself: what the writer did not ask for comes
    /// with the next sync, at the latest after [`Options::sync_interval`](crate::Options::sync_interval).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> WatchOptions {
        self.durability = durability;
        self
    }

    /// Whether records that expire are told, too. Default: false, since it costs: each watch keeps
    /// key and expiry of every record in its scope that may expire, 48 bytes and the key, and
    /// reads them all when it starts. Keyspaces that are not watched so pay nothing.
    ///
    /// An expiry is told at most once per record and watch, at most a second late with the
    /// background threads (without them, when the watch is asked). Records that expired before the
    /// watch began, or while the store was closed, are not told.
    #[must_use]
    pub fn expired(mut self, expired: bool) -> WatchOptions {
        self.expired = expired;
        self
    }
}

/// What is written to a keyspace, in commit order, made by
/// [`Keyspace::watch`](crate::Keyspace::watch).
///
/// Ask it with [`Watch::recv`] on a thread of its own, as an iterator, or await [`Watch::changed`];
/// [`Watch::poll_next`] has the shape of a `Stream`. The events of a batch come in its order, one
/// after the other. A watch that is not asked holds nobody up: its queue fills, what follows is
/// counted, and it is told that it [`Lagged`]. It does not keep the store open: when that is
/// closed, it tells what is left, then `Closed`.
///
/// ```
/// # use peercask::{EventKind, KeyspaceOptions, Notice, Options, Seq, Store, WatchOptions};
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let store = Store::open(dir.path(), Options::default())?;
/// let peers = store.keyspace("peers", KeyspaceOptions::hash())?;
/// let mut watch = peers.watch(WatchOptions::prefix("eu/"))?;
/// peers.put("eu/alice", "192.0.2.7")?;
/// peers.put("us/bob", "192.0.2.8")?;
/// peers.delete("eu/alice")?;
///
/// let mut last = Seq(0);
/// while let Some(notice) = watch.try_recv()? {
///     match notice {
///         Notice::Event(event) => {
///             println!("{} {:?} {:?}", event.seq(), event.kind(), event.value()?);
///             last = event.seq();
///         }
///         Notice::Lagged(gap) => watch.resume_after(gap.after)?,
///     }
/// }
/// // Later, or after a restart: what came since, from the log.
/// peers.put("eu/carol", "192.0.2.9")?;
/// drop(watch);
/// let mut watch = peers.watch(WatchOptions::all().after(last))?;
/// let event = watch.recv()?.event().expect("no lag");
/// assert_eq!((event.kind(), event.key()), (EventKind::Put, &b"eu/carol"[..]));
/// # Ok::<(), peercask::Error>(())
/// ```
pub struct Watch {
    core: Arc<Core>,
    space: Arc<Space>,
    subscriber: Arc<Subscriber>,
    /// What an event must have reached before it is told.
    wanted: Durability,
    /// Still reading the log, up to `visible` for now.
    history: Option<History>,
    visible: u64,
    /// Found, but not durable enough yet.
    held: VecDeque<Event>,
    place: Place,
    /// Why there is nothing more to come.
    over: Option<Error>,
}

impl Watch {
    pub(crate) fn start(
        handle: &Arc<Handle>,
        space: &Arc<Space>,
        options: WatchOptions,
    ) -> Result<Watch> {
        if options.capacity == 0 {
            return Err(Error::invalid(
                "a watch needs a capacity of at least one event",
            ));
        }
        let core = handle.core().clone();
        let subscriber = Arc::new(Subscriber::new(
            space.id(),
            options.scope.clone(),
            options.capacity,
            options.expired,
        ));
        let mut watch = Watch {
            core,
            space: space.clone(),
            subscriber,
            wanted: options.durability,
            history: None,
            visible: 0,
            held: VecDeque::new(),
            place: Place::default(),
            over: None,
        };
        watch.subscribe(options.after)?;
        if options.expired {
            watch.track_all(handle, &options.scope)?;
            watch.core.ring_flusher();
        }
        Ok(watch)
    }

    /// Waits for the next notice.
    ///
    /// # Errors
    /// For good: `Closed` when the store was closed, `NotFound` when the keyspace was dropped,
    /// `Poisoned` when an event can not become as durable as was asked, `HistoryGone` when merge
    /// took what was still to be read ([`Watch::resume_after`] a later seq goes on). `Corrupted`
    /// if a record in the log does not hold; the next call goes on behind it.
    pub fn recv(&mut self) -> Result<Notice> {
        let parker = Parker::new();
        let waker = Waker::from(parker.clone());
        loop {
            if let Poll::Ready(answer) = self.poll_notice(&waker) {
                return answer;
            }
            parker.park(None);
        }
    }

    /// As [`Watch::recv`], for at most so long; `None` if nothing came.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Notice>> {
        let watch = Stopwatch::start();
        let parker = Parker::new();
        let waker = Waker::from(parker.clone());
        loop {
            if let Poll::Ready(answer) = self.poll_notice(&waker) {
                return answer.map(Some);
            }
            let left = timeout.saturating_sub(watch.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            parker.park(Some(left));
        }
    }

    /// The next notice if there is one now.
    ///
    /// # Errors
    /// As [`Watch::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Notice>> {
        loop {
            let parker = Parker::new();
            match self.poll_notice(&Waker::from(parker.clone())) {
                Poll::Ready(answer) => return answer.map(Some),
                // It reads the log, and paused for others.
                Poll::Pending if parker.is_rung() && self.history.is_some() => {}
                Poll::Pending => return Ok(None),
            }
        }
    }

    /// The next notice, to be awaited. Dropping the future loses nothing.
    pub fn changed(&mut self) -> Next<'_> {
        Next { watch: self }
    }

    /// The next notice in the shape of a `Stream`: `None` once after the error that ended it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Notice>>> {
        if self.over.is_some() {
            return Poll::Ready(None);
        }
        self.poll_notice(context.waker()).map(Some)
    }

    /// Goes back to the write after `seq`, or forward: reads on from there in the log, and joins
    /// the live events where the log ends. Nothing is told twice that was not told before `seq`.
    ///
    /// # Errors
    /// `HistoryGone` if merge took what was written after `seq`; `InvalidArgument` if that was
    /// never given.
    pub fn resume_after(&mut self, seq: Seq) -> Result<()> {
        let core = self.core.clone();
        let writer = core.log.writer_for_close();
        let history = history_after(&core, seq, writer.last_given_seq(), writer.last_seq())?;
        self.subscriber.go_back();
        drop(writer);
        self.history = Some(history);
        self.held.clear();
        core.log.waiters.leave(&mut self.place);
        if self
            .over
            .as_ref()
            .is_some_and(|e| e.kind() == ErrorKind::HistoryGone)
        {
            self.over = None;
        }
        Ok(())
    }

    // ---- starting

    /// Under the log lock, so that no write falls between the log that is read and the queue.
    fn subscribe(&mut self, after: Option<Seq>) -> Result<()> {
        let log = &self.core.log;
        let writer = log.writer_for_close();
        let last = writer.last_seq();
        match after {
            None => self.subscriber.go_live(last),
            Some(after) => {
                let history = history_after(&self.core, after, writer.last_given_seq(), last)?;
                self.history = Some(history);
            }
        }
        log.feed.add(self.subscriber.clone());
        Ok(())
    }

    /// Reads every record in scope that may expire.
    fn track_all(&self, handle: &Arc<Handle>, scope: &Scope) -> Result<()> {
        let (handle, space) = (handle.clone(), self.space.clone());
        let ordered = self.space.entry.kind == IndexKind::Ordered;
        let entries: Box<dyn Iterator<Item = Result<Entry>>> = match scope {
            Scope::Prefix(prefix) if ordered => {
                Box::new(Iter::new(handle, space, iter::prefix_bounds(prefix)))
            }
            Scope::Key(key) if ordered => {
                let bound = Bound::Included(key.to_vec());
                Box::new(Iter::new(handle, space, (bound.clone(), bound)))
            }
            _ => Box::new(Walk::new(handle, space)),
        };
        for entry in entries {
            match entry {
                Ok(entry) if scope.holds(&entry.key) => self.track(&entry)?,
                Ok(_) => {}
                // Nobody will see it expire; reading it tells the damage.
                Err(e) if e.kind() == ErrorKind::Corrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn track(&self, entry: &Entry) -> Result<()> {
        let Some(expiry) = entry.expires_at_ms else {
            return Ok(());
        };
        self.subscriber.track(expiry, entry.seq.0, &entry.key);
        // A write that replaced it before it was noted here did not take it out again.
        if self.current_seq(&entry.key)? != Some(entry.seq.0) {
            self.subscriber.untrack(expiry, entry.seq.0);
        }
        Ok(())
    }

    fn current_seq(&self, key: &[u8]) -> Result<Option<u64>> {
        let hash = self.space.hash(key);
        let found = lookup::find(&self.core.log, &self.space, hash, key, false)?;
        Ok(found.map(|record| record.header.fields.seq))
    }

    // ---- the next notice

    fn poll_notice(&mut self, waker: &Waker) -> Poll<Result<Notice>> {
        if let Some(error) = &self.over {
            return Poll::Ready(Err(error.clone()));
        }
        let answer = ready!(self.advance(waker));
        if let Err(error) = &answer
            && error.kind() != ErrorKind::Corrupted
        {
            self.over = Some(error.clone());
        }
        Poll::Ready(answer)
    }

    fn advance(&mut self, waker: &Waker) -> Poll<Result<Notice>> {
        let event = match self.held.pop_front() {
            Some(event) => event,
            None => match ready!(self.find(waker))? {
                Notice::Event(event) => event,
                lagged @ Notice::Lagged(_) => return Poll::Ready(Ok(lagged)),
            },
        };
        match self.poll_durable(event.seq().0, waker) {
            Poll::Ready(answer) => Poll::Ready(answer.map(|()| Notice::Event(event))),
            Poll::Pending => {
                self.held.push_front(event);
                Poll::Pending
            }
        }
    }

    fn find(&mut self, waker: &Waker) -> Poll<Result<Notice>> {
        let unread = self.history.as_ref().map(|history| history.position() + 1);
        if let Some(event) = self.expired(unread.unwrap_or(u64::MAX)) {
            return Poll::Ready(Ok(Notice::Event(event)));
        }
        if let Some(event) = ready!(self.logged(waker))? {
            return Poll::Ready(Ok(Notice::Event(event)));
        }
        loop {
            // Asked before the queue: what was queued before the end is told before it.
            let gone = self.gone();
            match self.subscriber.take(waker) {
                Taken::Event(queued) => {
                    let event = Event::queued(&self.core, &self.space, queued);
                    return Poll::Ready(Ok(Notice::Event(event)));
                }
                Taken::Lagged { missed, after } => {
                    let after = Seq(after);
                    return Poll::Ready(Ok(Notice::Lagged(Lagged { missed, after })));
                }
                Taken::Nothing => match gone {
                    Some(error) => return Poll::Ready(Err(error)),
                    None if self.gone().is_none() => return Poll::Pending,
                    None => {}
                },
            }
        }
    }

    /// Why nothing more can come.
    fn gone(&self) -> Option<Error> {
        if self.core.log.waiters.is_ended() {
            return Some(Error::closed());
        }
        self.space.is_dropped().then(|| {
            let what = format!("keyspace '{}' was dropped", self.space.entry.name);
            Error::new(ErrorKind::NotFound, what)
        })
    }

    /// The next record of the log, as long as that is behind.
    fn logged(&mut self, waker: &Waker) -> Poll<Result<Option<Event>>> {
        let Some(history) = &mut self.history else {
            return Poll::Ready(Ok(None));
        };
        let log = &self.core.log;
        for _ in 0..POLL_RECORDS_MAX {
            match history.next(log, self.visible)? {
                Some(logged) if logged.keyspace == self.space.id() => {
                    if self.subscriber.scope.holds(&logged.key) {
                        let event = Event::logged(&self.core, &self.space, logged);
                        return Poll::Ready(Ok(Some(event)));
                    }
                }
                Some(_) => {}
                None => {
                    let writer = log.writer_for_close();
                    self.visible = writer.last_seq();
                    if history.position() >= self.visible {
                        self.subscriber.go_live(self.visible);
                        self.history = None;
                        return Poll::Ready(Ok(None));
                    }
                }
            }
        }
        waker.wake_by_ref();
        Poll::Pending
    }

    /// A record in scope whose life is over, told after its put.
    fn expired(&self, before_seq: u64) -> Option<Event> {
        if !self.subscriber.expects_expiry() {
            return None;
        }
        let now_ms = self.core.clock.now_ms();
        loop {
            let (expiry, seq, key) = self.subscriber.take_expired(now_ms, before_seq)?;
            // Replaced by a write that could not read it, and so did not say what it replaced.
            let current = self.current_seq(&key).unwrap_or(None);
            if current.is_some_and(|current| current != seq) {
                continue;
            }
            return Some(Event::expired(&self.core, &self.space, key, seq, expiry));
        }
    }

    fn poll_durable(&mut self, seq: u64, waker: &Waker) -> Poll<Result<()>> {
        let log = &self.core.log;
        if log.reached(seq) >= self.wanted {
            log.waiters.leave(&mut self.place);
            return Poll::Ready(Ok(()));
        }
        let answer = || {
            if log.reached(seq) >= self.wanted {
                return Some(Ok(()));
            }
            log.check_healthy().err().map(Err)
        };
        let look = Look {
            seq,
            durability: self.wanted,
            demands: false,
            answer: &answer,
        };
        log.waiters.poll(&mut self.place, &look, waker)
    }
}

fn history_after(core: &Core, after: Seq, given: u64, last: u64) -> Result<History> {
    if after.0 > given {
        return Err(Error::invalid(format!(
            "seq {after} was never given by this store; the last one is {given}"
        )));
    }
    let earliest = history::earliest(&core.log, last);
    if after.0 < earliest {
        return Err(Error::history_gone(after.0, earliest));
    }
    Ok(History::after(after.0))
}

/// Blocks for each notice; ends after the error that ended the watch.
impl Iterator for Watch {
    type Item = Result<Notice>;

    fn next(&mut self) -> Option<Result<Notice>> {
        self.over.is_none().then(|| self.recv())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.core.log.feed.remove(&self.subscriber);
        self.core.log.waiters.leave(&mut self.place);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("keyspace", &self.space.entry.name)
            .field("scope", &self.subscriber.scope)
            .finish_non_exhaustive()
    }
}

/// The next notice of a [`Watch`], to be awaited; made by [`Watch::changed`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Next<'a> {
    watch: &'a mut Watch,
}

impl Future for Next<'_> {
    type Output = Result<Notice>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Notice>> {
        self.watch.poll_notice(context.waker())
    }
}
