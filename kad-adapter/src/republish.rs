//! The driver that publishes own records again through a `kad::Behaviour`, from where the last
//! run of the program ended. Kad's own jobs begin anew with every start: a node that runs for less
//! than 12 hours at a time never publishes its keys again through them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use libp2p_kad::{Behaviour, Config, Event, QueryId, QueryResult, Quorum, RecordKey};

use crate::due::{Due, Published};
use crate::error::Result;
use crate::handle::Handle;

/// A query without an end is forgotten after this time.
const QUERY_MAX: Duration = Duration::from_secs(600);

/// Publishes what is due, a bounded number of queries at a time.
///
/// Call [`tick`](Republisher::tick) every second or so, and hand every kad event to
/// [`on_event`](Republisher::on_event): a record counts as published when its query succeeded.
pub struct Republisher {
    handle: Handle,
    interval: Duration,
    queries_max: usize,
    retry_after: Duration,
    queries: HashMap<QueryId, Query>,
    /// Records whose query failed, until when they wait.
    failed: HashMap<(Published, RecordKey), Instant>,
    published: u64,
    failures: u64,
}

struct Query {
    what: Published,
    key: RecordKey,
    since: Instant,
}

impl Republisher {
    /// A driver for the store behind `handle`, with the store's interval, 32 queries at a time,
    /// and a minute between two tries.
    #[must_use]
    pub fn new(handle: Handle) -> Republisher {
        Republisher {
            interval: handle.republish_interval(),
            handle,
            queries_max: 32,
            retry_after: Duration::from_secs(60),
            queries: HashMap::new(),
            failed: HashMap::new(),
            published: 0,
            failures: 0,
        }
    }

    /// How many queries may run at once.
    #[must_use]
    pub fn queries_max(mut self, queries: usize) -> Republisher {
        self.queries_max = queries;
        self
    }

    /// How long a record waits after its query failed.
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Republisher {
        self.retry_after = time;
        self
    }

    /// Switches kad's own publishing of own records off: this driver does it. Replication of
    /// others' value records stays kad's.
    pub fn configure(config: &mut Config) {
        config
            .set_provider_publication_interval(None)
            .set_publication_interval(None);
    }

    /// Begins queries for what is due, as far as there is room. Does nothing while kad knows no
    /// peer: a query would then succeed without telling anyone. Answers with what is due.
    ///
    /// # Errors
    /// `Closed`.
    pub fn tick<S>(&mut self, kad: &mut Behaviour<S>) -> Result<Due>
    where
        S: RecordStore + Send + 'static,
    {
        let now = Instant::now();
        self.queries
            .retain(|_, query| now.duration_since(query.since) < QUERY_MAX);
        self.failed.retain(|_, until| *until > now);
        // Those under way and those that wait are due as well, and come first.
        let wanted = self.queries_max + self.failed.len();
        let due = self.handle.due(self.interval, wanted)?;
        if kad.kbuckets().all(|bucket| bucket.num_entries() == 0) {
            return Ok(due);
        }
        for record in &due.records {
            if self.queries.len() >= self.queries_max {
                break;
            }
            if !self.is_waiting(record.what, &record.key) {
                self.publish(kad, record.what, &record.key, now);
            }
        }
        Ok(due)
    }

    /// Notes which queries succeeded, those that the program began itself included.
    pub fn on_event(&mut self, event: &Event) {
        let Event::OutboundQueryProgressed {
            id, result, stats, ..
        } = event
        else {
            return;
        };
        let (what, key, ok) = match result {
            QueryResult::StartProviding(Ok(done)) | QueryResult::RepublishProvider(Ok(done)) => {
                (Published::Provide, &done.key, true)
            }
            QueryResult::StartProviding(Err(error))
            | QueryResult::RepublishProvider(Err(error)) => {
                (Published::Provide, error.key(), false)
            }
            QueryResult::PutRecord(Ok(done)) | QueryResult::RepublishRecord(Ok(done)) => {
                (Published::Value, &done.key, true)
            }
            QueryResult::PutRecord(Err(error)) | QueryResult::RepublishRecord(Err(error)) => {
                (Published::Value, error.key(), false)
            }
            _ => return,
        };
        let ours = self.queries.remove(id).is_some();
        // A query that reached nobody has told nobody.
        if ok && stats.num_successes() > 0 {
            // False: it was removed meanwhile. An error: the store is closed.
            if matches!(self.handle.mark_published(what, key), Ok(true)) {
                self.published += 1;
            }
        } else if ours {
            self.fail(what, key);
        }
    }

    /// Records whose publishing succeeded.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Queries that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn is_waiting(&self, what: Published, key: &RecordKey) -> bool {
        self.failed.contains_key(&(what, key.clone()))
            || self
                .queries
                .values()
                .any(|query| query.what == what && query.key == *key)
    }

    fn publish<S>(&mut self, kad: &mut Behaviour<S>, what: Published, key: &RecordKey, now: Instant)
    where
        S: RecordStore + Send + 'static,
    {
        let begun = match what {
            Published::Provide => kad.start_providing(key.clone()),
            Published::Value => match self.handle.own_record(key) {
                Some(record) => kad.put_record(record, Quorum::One),
                // Removed since it was listed.
                None => return,
            },
        };
        match begun {
            Ok(id) => {
                let query = Query {
                    what,
                    key: key.clone(),
                    since: now,
                };
                self.queries.insert(id, query);
            }
            Err(_) => self.fail(what, key),
        }
    }

    fn fail(&mut self, what: Published, key: &RecordKey) {
        self.failures += 1;
        let until = Instant::now() + self.retry_after;
        self.failed.insert((what, key.clone()), until);
    }
}
