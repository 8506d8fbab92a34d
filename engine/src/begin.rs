//! The ways to a transaction: by closure, by waiting, without waiting, and as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::handle::Handle;
use crate::store::Store;
use crate::transaction::{Transaction, Turn};

/// Waits for the turn without blocking a thread; made by [`Store::begin_async`]. Dropping it gives
/// up its place.
#[must_use = "futures do nothing unless polled"]
pub struct Begin {
    handle: Arc<Handle>,
    turn: Option<Turn>,
}

impl Store {
    /// Runs `work` in a transaction and commits it with the store's default durability if that
    /// returns `Ok`; on an error or a panic it is rolled back. Waits for its turn.
    ///
    /// ```
    /// # use peercask::{ErrorKind, KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let queue = store.keyspace("queue", KeyspaceOptions::ordered())?;
    /// let done = store.keyspace("done", KeyspaceOptions::hash())?;
    /// queue.put("job 1", "dig")?;
    /// queue.put("job 2", "fill in")?;
    ///
    /// // Moves the first job over; two threads never get the same one.
    /// let job = store.transaction(|tx| {
    ///     let Some((key, value)) = tx.iter(&queue)?.next().transpose()? else {
    ///         return Ok(None);
    ///     };
    ///     tx.delete(&queue, &key)?;
    ///     tx.put(&done, &key, &value)?;
    ///     assert_eq!(tx.get(&done, &key)?.expect("its own write"), b"dig");
    ///     assert_eq!(done.get(&key)?, None, "others see nothing yet");
    ///     Ok(Some(key))
    /// })?;
    /// assert_eq!(job.expect("there was one"), b"job 1");
    /// assert_eq!(queue.iter()?.count(), 1);
    ///
    /// let conflict = store.transaction(|tx| {
    ///     tx.get(&queue, "job 2")?;
    ///     queue.put("job 2", "a plain write meanwhile")?;
    ///     tx.put(&done, "job 2", "too late")
    /// });
    /// assert_eq!(conflict.expect_err("refused").kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` returned; else as [`Transaction::commit`]. `InvalidArgument` in a closure that
    /// is itself run by this method, since it would wait for its own thread.
    pub fn transaction<T>(&self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let mut transaction = self.begin()?;
        self.handle.turns.note_thread();
        let answer = work(&mut transaction)?;
        transaction.commit()?;
        Ok(answer)
    }

    /// Begins a transaction that the caller keeps; blocks until it has the turn. A thread that
    /// keeps one and begins another waits for itself: use [`Store::try_begin`] where that can be.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// let things = store.keyspace("things", KeyspaceOptions::hash())?;
    /// let mut tx = store.begin()?;
    /// tx.put(&things, "a", "1")?;
    /// drop(tx); // rolled back
    /// let mut tx = store.begin()?;
    /// tx.put(&things, "b", "2")?;
    /// let tx = std::thread::spawn(move || tx.commit());
    /// tx.join().expect("joined")?;
    /// assert_eq!((things.get("a")?, things.contains("b")?), (None, true));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A transaction is spent by its commit; that it is not used afterwards is seen to when the
    /// program is compiled:
    ///
    /// ```compile_fail,E0382
    /// # fn test(store: &peercask::Store, things: &peercask::Keyspace) -> peercask::Result<()> {
    /// let mut tx = store.begin()?;
    /// tx.commit()?;
    /// tx.put(things, "a", "1")
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Closed`, also if the store is closed while this waits; `InvalidArgument` in the closure of
    /// [`Store::transaction`].
    pub fn begin(&self) -> Result<Transaction> {
        let turn = Turn::ask(&self.handle);
        self.handle.turns.wait(turn.ticket)?;
        Transaction::begin(turn)
    }

    /// Begins a transaction if none is under way; `None` if it would have to wait.
    ///
    /// # Errors
    /// `Closed`.
    pub fn try_begin(&self) -> Result<Option<Transaction>> {
        self.handle.log.check_open()?;
        let Some(ticket) = self.handle.turns.ask_now() else {
            return Ok(None);
        };
        Transaction::begin(Turn::new(&self.handle, ticket)).map(Some)
    }

    /// A future that begins a transaction when it has the turn; needs no runtime. The place in the
    /// queue is taken at its first poll.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
    /// # fn block_on<F: Future>(future: F) -> F::Output {
    /// #     let mut future = pin!(future);
    /// #     loop {
    /// #         let mut context = Context::from_waker(Waker::noop());
    /// #         if let Poll::Ready(output) = future.as_mut().poll(&mut context) { return output }
    /// #     }
    /// # }
    /// # fn main() -> peercask::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// # let things = store.keyspace("things", KeyspaceOptions::hash())?;
    /// # block_on(async {
    /// let mut tx = store.begin_async().await?;
    /// tx.put(&things, "a", "1")?;
    /// // .await something else, in whatever thread
    /// tx.commit()?;
    /// # peercask::Result::Ok(())
    /// # })
    /// # }
    /// ```
    pub fn begin_async(&self) -> Begin {
        Begin {
            handle: self.handle.clone(),
            turn: None,
        }
    }
}

impl Future for Begin {
    type Output = Result<Transaction>;

    fn poll(mut self: Pin<&mut Begin>, context: &mut Context<'_>) -> Poll<Result<Transaction>> {
        let turn = match self.turn.take() {
            Some(turn) => turn,
            None => Turn::ask(&self.handle),
        };
        match self.handle.turns.poll(turn.ticket, context.waker()) {
            Poll::Ready(Ok(())) => Poll::Ready(Transaction::begin(turn)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.turn = Some(turn);
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begin")
            .field("waits", &self.turn.is_some())
            .finish_non_exhaustive()
    }
}
