//! Tickets: a write's seq, and the wait for its durability by a thread or by a future. Futures are
//! polled by hand here, so that each waking and each poll can be counted.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use peercask::{Commit, Durability, ErrorKind, Keyspace, Store, Write};

use crate::support::{Place, hash, refused, rounds, wait_until};

/// Counts how often it is woken, and lets the thread that made it go on.
pub(crate) struct Woken {
    count: AtomicU64,
    thread: Thread,
}

impl Woken {
    pub(crate) fn new() -> Arc<Woken> {
        Arc::new(Woken {
            count: AtomicU64::new(0),
            thread: std::thread::current(),
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The smallest runtime: polls when woken. Answers with how often it polled, too.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> (T, u64) {
    let woken = Woken::new();
    let waker = Waker::from(woken);
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    for polls in 1.. {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return (output, polls);
        }
        std::thread::park();
    }
    unreachable!("the loop has no end")
}

fn with_threads(place: &Place) -> Store {
    place.open_with(place.options().background(true).sync_interval(None))
}

fn put(keyspace: &Keyspace, key: u64, durability: Durability) -> Commit {
    let write = Write::new().durability(durability);
    let put = keyspace.put_with(key.to_le_bytes(), "value", write);
    put.expect("the value is stored")
}

#[test]
fn an_awaited_ticket_is_ready_when_the_write_is_on_the_device() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    for key in 0..50 {
        let ticket = put(&keyspace, key, Durability::Device);
        let seq = ticket.seq();
        let (awaited, polls) = block_on(ticket);
        assert_eq!(awaited.expect("durable"), seq);
        assert!(store.stats().synced_seq >= seq.0);
        assert!(polls <= 3, "woken when done, not polled: {polls} polls");
    }
}

#[test]
fn a_ticket_can_be_upgraded_and_is_never_lowered() {
    let place = Place::new();
    // No threads, so that nothing but the ticket moves the write on.
    let store = place.open_with(place.options());
    let keyspace = hash(&store, "k");
    let ticket = put(&keyspace, 1, Durability::Buffered);
    assert_eq!(ticket.reached(), Durability::Buffered);
    assert_eq!(
        block_on(ticket.upgrade(Durability::Kernel))
            .0
            .expect("written"),
        peercask::Seq(1)
    );
    let ticket = put(&keyspace, 2, Durability::Kernel);
    assert_eq!(ticket.reached(), Durability::Kernel);
    let ticket = ticket
        .upgrade(Durability::Device)
        .upgrade(Durability::Buffered);
    assert_eq!(ticket.durability(), Durability::Device);
    ticket.wait().expect("synced");
    assert_eq!(store.stats().synced_seq, 2);
    let ticket = put(&keyspace, 3, Durability::Buffered);
    let ticket = ticket.upgrade(Durability::Device);
    block_on(ticket)
        .0
        .expect("without a flusher the poll syncs");
    assert_eq!(store.stats().synced_seq, 3);
}

#[test]
fn the_flusher_moves_an_upgraded_ticket_on_without_a_sync() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    let syncs = store.stats().syncs;
    let ticket = put(&keyspace, 1, Durability::Buffered).upgrade(Durability::Kernel);
    block_on(ticket).0.expect("written");
    assert_eq!(store.stats().syncs, syncs);
}

#[test]
fn futures_that_wait_together_share_a_sync_and_are_woken_by_its_leader() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    put(&keyspace, 0, Durability::Device)
        .wait()
        .expect("synced");
    let mut tickets: Vec<Commit> = (1..=64)
        .map(|key| put(&keyspace, key, Durability::Device))
        .collect();
    let before = store.stats().syncs;
    let woken = Woken::new();
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let pending = tickets
        .iter_mut()
        .filter_map(|ticket| {
            Pin::new(ticket)
                .poll(&mut context)
                .is_pending()
                .then_some(())
        })
        .count();
    let pending = u64::try_from(pending).expect("few");
    wait_until("all are woken", || woken.count() >= pending);
    // One sync served all: they were appended before it began. A second may have been under way
    // for those that were polled while the first ran.
    assert!(store.stats().syncs - before <= 2);
    for mut ticket in tickets {
        assert!(Pin::new(&mut ticket).poll(&mut context).is_ready());
    }
}

#[test]
fn a_thread_that_syncs_serves_the_futures_too() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    for round in 0..rounds(30) {
        let ticket = put(&keyspace, round, Durability::Kernel).upgrade(Durability::Device);
        let waiting = std::thread::spawn(move || block_on(ticket).0);
        store.sync().expect("synced");
        let seq = waiting.join().expect("joined").expect("durable");
        assert!(store.stats().synced_seq >= seq.0);
    }
}

#[test]
fn many_tasks_on_many_threads_are_all_woken() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let keyspace = keyspace.clone();
            scope.spawn(move || {
                for turn in 0..rounds(60) {
                    let ticket = put(&keyspace, thread * 1_000 + turn, Durability::Device);
                    match (thread + turn) % 3 {
                        0 => ticket.wait().map(|_| ()).expect("durable"),
                        1 => block_on(ticket).0.map(|_| ()).expect("durable"),
                        // Polled once, then dropped: nobody is woken for it.
                        _ => {
                            let mut ticket = ticket;
                            let mut context = Context::from_waker(Waker::noop());
                            let _either = Pin::new(&mut ticket).poll(&mut context);
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn a_ticket_for_everything_before_is_awaited_or_waited_for() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    for key in 0..20 {
        let _not_waited_for = put(&keyspace, key, Durability::Buffered);
    }
    let ticket = store.sync_ticket().expect("open");
    assert_eq!(ticket.seq().0, 20);
    block_on(ticket).0.expect("synced");
    assert_eq!(store.stats().synced_seq, 20);
    store.sync_ticket().expect("open").wait().expect("synced");
}

#[test]
fn a_ticket_outlives_the_close_that_made_its_write_durable() {
    let place = Place::new();
    let store = with_threads(&place);
    let keyspace = hash(&store, "k");
    let ticket = put(&keyspace, 1, Durability::Buffered).upgrade(Durability::Device);
    let other = store.clone();
    store.close().expect("closed");
    block_on(ticket).0.expect("close brought it to the device");
    refused(other.sync_ticket(), ErrorKind::Closed, &[]);
}
