//! What the tests share: a place with a peerstore and, if asked for, a service before it; small
//! records; and the macro that runs a test over both kinds of connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peercask::ManualClock;
use peercask_peerstore::gnunet::{
    Acknowledge, ClientOptions, Connection, Event, Filter, Options, PeerIdentity, Peerstore, Query,
    Record, Result, Service, ServiceOptions, StoreOption, Stored, Watch,
};
use tempfile::TempDir;

pub(crate) use StoreOption::{Multiple, Replace};

/// 2026, in milliseconds.
pub(crate) const NOW_MS: u64 = 1_767_225_600_000;
pub(crate) const NOW_US: u64 = NOW_MS * 1_000;
/// Long enough for any answer of a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Via {
    Process,
    Service,
}

/// A peerstore in a directory of its own, on a clock that stands still.
pub(crate) struct Place {
    service: Option<Service>,
    peerstore: Option<Peerstore>,
    via: Via,
    options: Options,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

/// Options with a clock that stands still and no thread of its own.
pub(crate) fn still(options: Options, clock: &Arc<ManualClock>) -> Options {
    let store = peercask::Options::default()
        .clock(clock.clone())
        .background(false)
        .sync_interval(None);
    options.background(false).store(store)
}

impl Place {
    pub(crate) fn new(via: Via, options: Options) -> Place {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let mut place = Place {
            service: None,
            peerstore: None,
            via,
            options: still(options, &clock),
            clock,
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        place.open();
        place
    }

    pub(crate) fn native(via: Via) -> Place {
        Place::new(via, Options::native())
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    pub(crate) fn options(&self) -> Options {
        self.options.clone()
    }

    fn open(&mut self) {
        let peerstore =
            Peerstore::open(self.store_dir(), self.options.clone()).expect("the peerstore opens");
        if self.via == Via::Service {
            self.serve(&peerstore);
        }
        self.peerstore = Some(peerstore);
    }

    fn serve(&mut self, peerstore: &Peerstore) {
        let options = ServiceOptions::default().backlog_max(8 << 10);
        let service = Service::start(peerstore, self.socket(), options).expect("served");
        self.service = Some(service);
    }

    pub(crate) fn peerstore(&self) -> &Peerstore {
        self.peerstore.as_ref().expect("it is open")
    }

    pub(crate) fn connect(&self) -> Connection {
        match self.via {
            Via::Process => self.peerstore().connect(),
            Via::Service => {
                let options = ClientOptions::default().patience(PATIENCE);
                Connection::to_service(self.socket(), options).expect("good options")
            }
        }
    }

    /// Stops the service, if there is one.
    pub(crate) fn stop_service(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop();
        }
    }

    /// Starts it again.
    pub(crate) fn start_service(&mut self) {
        let peerstore = self.peerstore().clone();
        self.serve(&peerstore);
    }

    pub(crate) fn close(&mut self) {
        self.stop_service();
        if let Some(peerstore) = self.peerstore.take() {
            peerstore.close().expect("closed");
        }
    }

    pub(crate) fn reopen_with(&mut self, options: Options) {
        self.close();
        self.options = options;
        self.open();
    }

    pub(crate) fn reopen(&mut self) {
        self.close();
        self.open();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stop_service();
    }
}

/// Each function becomes two tests: `in_process::NAME` and `through_the_service::NAME`.
macro_rules! both {
    ($($(#[$about:meta])* fn $name:ident($via:ident) $body:block)+) => {
        $($(#[$about])* fn $name($via: $crate::support::Via) $body)+
        mod in_process {
            $(#[test] fn $name() { super::$name($crate::support::Via::Process) })+
        }
        mod through_the_service {
            $(#[test] fn $name() { super::$name($crate::support::Via::Service) })+
        }
    };
}
pub(crate) use both;

pub(crate) fn peer(number: u8) -> PeerIdentity {
    PeerIdentity([number; 32])
}

pub(crate) fn record(subsystem: &str, who: u8, key: &str, value: &str) -> Record {
    Record::new(subsystem, peer(who), key, value.as_bytes().to_vec())
}

pub(crate) fn put(connection: &Connection, record: &Record, option: StoreOption) -> u64 {
    let stored = connection.store(record, option, Acknowledge::Accepted);
    stored.expect("stored")
}

/// All that a query finds.
pub(crate) fn found(connection: &Connection, query: impl Into<Query>) -> Vec<Stored> {
    let records = connection.iterate(query).expect("an iteration");
    records.collect::<Result<Vec<_>>>().expect("readable")
}

/// The values that a query finds, as text.
pub(crate) fn values(connection: &Connection, query: impl Into<Query>) -> Vec<String> {
    let text = |stored: Stored| String::from_utf8_lossy(&stored.record.value).into_owned();
    found(connection, query).into_iter().map(text).collect()
}

pub(crate) fn all(subsystem: &str) -> Filter {
    Filter::subsystem(subsystem)
}

/// The next event, which must come.
pub(crate) fn event(watch: &mut Watch<'_>) -> Event {
    watch
        .next_timeout(PATIENCE)
        .expect("the watch works")
        .expect("an event comes")
}

/// The value of a stored event.
pub(crate) fn told(event: &Event) -> String {
    match event {
        Event::Stored { record, .. } => String::from_utf8_lossy(&record.value).into_owned(),
        other => panic!("a stored record is due: {other:?}"),
    }
}

/// A list that callbacks write into.
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    pub(crate) fn add(&self, note: impl Into<String>) {
        self.0
            .lock()
            .expect("no test panicked here")
            .push(note.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panicked here"))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().expect("no test panicked here").len()
    }
}

/// Turns until `done`, or fails.
pub(crate) fn turn_until(connection: &Connection, mut done: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "it never happens");
        connection
            .turn(Duration::from_millis(20))
            .expect("the connection works");
    }
}

/// Takes turns until nothing comes for a while.
pub(crate) fn turn_idle(connection: &Connection) {
    while connection
        .turn(Duration::from_millis(30))
        .expect("the connection works")
        > 0
    {}
}
