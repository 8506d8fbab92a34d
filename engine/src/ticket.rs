//! The receipt of a write: its seq, and the wait until it is as durable as was asked, by a thread
//! that blocks or by a future that is awaited. It knows no runtime and never syncs by itself: a
//! blocked thread leads in `segment/log`, the flusher leads for futures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::handle::Handle;
use crate::options::Durability;
use crate::segment::location::Seq;
use crate::segment::waiters::Place;

/// A write that is visible; it is as durable as was asked when [`Commit::wait`] has returned, or
/// when the ticket was awaited: a `Commit` is a `Future` of the write's [`Seq`], for any runtime.
///
/// Threads that wait and futures that are awaited at once share syncs. A thread that waits leads
/// the sync itself; for futures the flusher thread does, at once and without its usual pause, and
/// whoever led a sync wakes all that it served. With
/// [`Options::background(false)`](crate::Options::background) there is no flusher, and polling
/// does the sync, blocking. A waker is called on the thread that led, with no lock of the store
/// held; it should only wake, as those of all runtimes do.
///
/// Dropping a ticket does not undo the write. It then becomes durable with the next sync.
///
/// ```
/// # use peercask::{Durability, KeyspaceOptions, Options, Store, Write};
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let store = Store::open(dir.path(), Options::default())?;
/// # let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
/// // Written so that it survives the process, at once; power loss is seen to later.
/// let kernel = Write::new().durability(Durability::Kernel);
/// let ticket = keyspace.put_with("order", "three pears", kernel)?;
/// let seq = ticket.seq();
///
/// let on_device = async move { ticket.upgrade(Durability::Device).await };
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     struct Unpark(std::thread::Thread);
/// #     impl std::task::Wake for Unpark {
/// #         fn wake(self: std::sync::Arc<Self>) { self.0.unpark() }
/// #     }
/// #     let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
/// #     let mut context = std::task::Context::from_waker(&waker);
/// #     let mut future = std::pin::pin!(future);
/// #     loop {
/// #         match future.as_mut().poll(&mut context) {
/// #             std::task::Poll::Ready(output) => return output,
/// #             std::task::Poll::Pending => std::thread::park(),
/// #         }
/// #     }
/// # }
/// assert_eq!(block_on(on_device)?, seq);
/// # Ok::<(), peercask::Error>(())
/// ```
#[must_use = "the write is visible, but durable only when `wait` has returned or it was awaited"]
pub struct Commit {
    handle: Arc<Handle>,
    seq: u64,
    durability: Durability,
    /// Where a waker waits, once the future was polled.
    place: Place,
}

impl Commit {
    pub(crate) fn new(handle: &Arc<Handle>, seq: u64, durability: Durability) -> Commit {
        Commit {
            handle: handle.clone(),
            seq,
            durability,
            place: Place::default(),
        }
    }

    /// The write's place in the order of all writes: of a batch, its last member's.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// What waiting waits for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Asks for more than the write was made with: waiting then waits for `durability`. What was
    /// asked for before is never lowered.
    pub fn upgrade(mut self, durability: Durability) -> Commit {
        self.durability = self.durability.max(durability);
        self
    }

    /// What the write survives by now; never waits.
    #[must_use]
    pub fn reached(&self) -> Durability {
        self.handle.log.reached(self.seq)
    }

    /// Waits until the write is as durable as was asked. Threads that wait at once share syncs.
    ///
    /// # Errors
    /// `Poisoned` or `Io` if the sync failed, `StorageFull` if bytes held in memory could not
    /// leave it: the write is visible now, and may be gone after a crash.
    pub fn wait(self) -> Result<Seq> {
        self.handle.wait(self.seq, self.durability)?;
        Ok(Seq(self.seq))
    }
}

/// Ready with the write's seq when it is as durable as was asked. Errors are those of
/// [`Commit::wait`], and `Closed` if the store was closed without reaching the device. Dropping
/// the future leaves nothing behind.
impl Future for Commit {
    type Output = Result<Seq>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Seq>> {
        let this = self.get_mut();
        let seq = this.seq;
        let polled = this
            .handle
            .poll_wait(seq, this.durability, &mut this.place, context.waker());
        polled.map(|answer| answer.map(|()| Seq(seq)))
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.handle.log.waiters.leave(&mut self.place);
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit")
            .field("seq", &self.seq)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
