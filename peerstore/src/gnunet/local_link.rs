//! A link to the peerstore of this process: carries requests out at once, waits for the device for
//! all stores of a turn together, and lets iterations go no further than their credit.
//!
//! It knows no callback and no socket.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::change::Applied;
use super::error::{ErrorKind, Result};
use super::iteration::Iteration;
use super::link::{Link, Reply, Request};
use super::monitor::Monitor;
use super::peerstore::{Peerstore, wait};
use super::waker::Waker;

enum Stream {
    Iteration { iteration: Iteration, credit: u64 },
    Monitor { monitor: Monitor, credit: u64 },
}

pub(crate) struct LocalLink {
    peerstore: Peerstore,
    waker: Arc<Waker>,
    /// Published, and not yet as durable as asked.
    applied: VecDeque<(u64, Applied)>,
    ready: VecDeque<(u64, Reply)>,
    streams: HashMap<u64, Stream>,
    /// Iterations with credit: the first goes on until it ends or has none left.
    iterations: VecDeque<u64>,
    /// Monitors that may have something.
    monitors: VecDeque<u64>,
}

impl LocalLink {
    pub(crate) fn new(peerstore: &Peerstore, waker: Arc<Waker>) -> LocalLink {
        LocalLink {
            peerstore: peerstore.clone(),
            waker,
            applied: VecDeque::new(),
            ready: VecDeque::new(),
            streams: HashMap::new(),
            iterations: VecDeque::new(),
            monitors: VecDeque::new(),
        }
    }

    /// Iterations and monitors that are open.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Answers to what was carried out, without those of iterations and monitors.
    pub(crate) fn take_ready(&mut self) -> Option<(u64, Reply)> {
        self.settle();
        self.ready.pop_front()
    }

    /// The next answer that is there without waiting for anything.
    pub(crate) fn take_settled(&mut self) -> Option<(u64, Reply)> {
        self.ready.pop_front()
    }

    fn carry_out(&mut self, number: u64, request: Request) -> Result<Option<Reply>> {
        let core = &self.peerstore.handle.core;
        match request {
            Request::Store {
                record,
                option,
                acknowledge,
            } => {
                let applied = core.store_record(&record, option, acknowledge)?;
                self.applied.push_back((number, applied));
            }
            Request::StoreNewest {
                record,
                acknowledge,
            } => match core.store_newest(&record, acknowledge)? {
                Some(applied) => self.applied.push_back((number, applied)),
                None => return Ok(Some(Reply::Stored(None))),
            },
            Request::Iterate { query, credit } => {
                let iteration = self.peerstore.iterate(query)?;
                self.streams
                    .insert(number, Stream::Iteration { iteration, credit });
                if credit > 0 {
                    self.iterations.push_back(number);
                }
            }
            Request::Monitor { spec, credit } => {
                core.check_open()?;
                let handle = &self.peerstore.handle;
                let monitor = Monitor::with_waker(handle, &spec, &self.waker, number);
                self.streams
                    .insert(number, Stream::Monitor { monitor, credit });
                self.monitors.push_back(number);
            }
            Request::More { credit } => self.add_credit(number, credit),
            Request::Stop => {
                self.streams.remove(&number);
            }
            Request::Remove { filter } => {
                return Ok(Some(Reply::Count(self.peerstore.remove(&filter)?)));
            }
            Request::ForgetPeer { peer } => {
                return Ok(Some(Reply::Count(self.peerstore.forget_peer(peer)?)));
            }
            Request::Expire { now_us } => {
                let now_us = now_us.unwrap_or_else(|| core.now_us());
                return Ok(Some(Reply::Count(self.peerstore.expire(now_us)?)));
            }
            Request::Stats => return Ok(Some(Reply::Stats(self.peerstore.stats()?))),
        }
        Ok(None)
    }

    /// Credit for what is not there (any more) is nothing: its end is on the way.
    fn add_credit(&mut self, number: u64, more: u64) {
        match self.streams.get_mut(&number) {
            Some(Stream::Iteration { credit, .. }) => {
                if *credit == 0 && more > 0 {
                    self.iterations.push_back(number);
                }
                *credit = credit.saturating_add(more);
            }
            Some(Stream::Monitor { credit, .. }) => {
                *credit = credit.saturating_add(more);
                self.monitors.push_back(number);
            }
            None => {}
        }
    }

    /// Waits for all stores of the turn: threads and stores share a sync.
    fn settle(&mut self) {
        while let Some((number, applied)) = self.applied.pop_front() {
            let reply = match wait(applied) {
                Ok(seq) => Reply::Stored(Some(seq)),
                Err(error) => Reply::Failed(error),
            };
            self.ready.push_back((number, reply));
        }
    }

    fn run_monitor(&mut self, number: u64) -> Option<Reply> {
        let Some(Stream::Monitor { monitor, credit }) = self.streams.get_mut(&number) else {
            return None;
        };
        let initial = monitor.is_in_initial_pass();
        match monitor.advance(*credit > 0) {
            Ok(Some(event)) => {
                if initial && monitor.is_in_initial_pass() {
                    *credit = credit.saturating_sub(1);
                }
                self.monitors.push_back(number);
                Some(Reply::Event(event))
            }
            Ok(None) => None,
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                self.monitors.push_back(number);
                Some(Reply::Trouble(error))
            }
            Err(error) => {
                self.streams.remove(&number);
                Some(Reply::Failed(error))
            }
        }
    }

    fn run_iteration(&mut self, number: u64) -> Option<Reply> {
        let Some(Stream::Iteration { iteration, credit }) = self.streams.get_mut(&number) else {
            return None;
        };
        // Whoever waits for credit holds nothing that was read in advance.
        iteration.read_ahead(*credit);
        let reply = match iteration.next() {
            Some(Ok(stored)) => {
                *credit = credit.saturating_sub(1);
                Reply::Record(stored)
            }
            Some(Err(error)) if error.kind() == ErrorKind::Corrupted => Reply::Trouble(error),
            Some(Err(error)) => Reply::Failed(error),
            None => Reply::End,
        };
        let goes_on = *credit > 0;
        if reply.is_last() {
            self.streams.remove(&number);
        } else if goes_on {
            self.iterations.push_front(number);
        }
        Some(reply)
    }
}

impl Link for LocalLink {
    fn is_ready(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn submit(&mut self, number: u64, request: Request) -> Result<()> {
        let reply = match self.carry_out(number, request) {
            Ok(reply) => reply,
            Err(error) => Some(Reply::Failed(error)),
        };
        if let Some(reply) = reply {
            // Answers come in the order of the requests.
            self.settle();
            self.ready.push_back((number, reply));
        }
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<(u64, Reply)>> {
        self.settle();
        let mut timeout = timeout;
        loop {
            if let Some(reply) = self.ready.pop_front() {
                return Ok(Some(reply));
            }
            while let Some(number) = self.waker.take(Duration::ZERO) {
                self.monitors.push_back(number);
            }
            if let Some(number) = self.monitors.pop_front() {
                if let Some(reply) = self.run_monitor(number) {
                    return Ok(Some((number, reply)));
                }
            } else if let Some(number) = self.iterations.pop_front() {
                if let Some(reply) = self.run_iteration(number) {
                    return Ok(Some((number, reply)));
                }
            } else {
                let Some(number) = self.waker.take(timeout) else {
                    return Ok(None);
                };
                self.monitors.push_back(number);
                timeout = Duration::ZERO;
            }
        }
    }
}
