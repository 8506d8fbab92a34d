//! The spans of `tracing`: what an operator sees of open, recovery, merge, sync, and of the moment in
//! which a store is poisoned.

use std::sync::Arc;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::crash::machine::{keyspace, options};
use crate::crash::trace::lock;
use crate::crash::{Failure, Fault, Operation, SimDisk};
use crate::error::ErrorKind;
use crate::merge::Merge;
use crate::store::Store;
use crate::sync::Mutex;

/// Writes down which spans began, each below those that it began in.
#[derive(Clone, Default)]
struct Recorder {
    begun: Arc<Mutex<Vec<String>>>,
    /// Names by id, and the ids entered now.
    names: Arc<Mutex<Vec<&'static str>>>,
    entered: Arc<Mutex<Vec<u64>>>,
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut names = lock(&self.names);
        names.push(span.metadata().name());
        Id::from_u64(names.len() as u64)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        let mut entered = lock(&self.entered);
        entered.push(span.into_u64());
        let names = lock(&self.names);
        let name = |id: &u64| {
            let at = usize::try_from(*id).ok().and_then(|id| id.checked_sub(1));
            at.and_then(|at| names.get(at)).copied().unwrap_or("?")
        };
        let path: Vec<&str> = entered.iter().map(name).collect();
        lock(&self.begun).push(path.join("/"));
    }

    fn exit(&self, _span: &Id) {
        lock(&self.entered).pop();
    }
}

#[test]
fn open_recovery_merge_sync_and_poison_stand_in_spans() {
    let recorder = Recorder::default();
    // With a single dispatcher anywhere, a span that another test's thread meets first is judged by that thread's
    // subscriber, which is none, and stays off for all. With two each of them is asked.
    let _another = tracing::Dispatch::new(Recorder::default());
    tracing::subscriber::with_default(recorder.clone(), || {
        let disk = SimDisk::new(1);
        let store = Store::open_on(&disk, options()).expect("made");
        let space = keyspace(&store, 0).expect("made");
        space.put([1], [7; 700]).expect("put");
        store.rotate().expect("sealed");
        space.put([1], [8; 700]).expect("put");
        store.merge(Merge::Full).expect("merged");
        disk.set_faults(&[Fault::new(Operation::Sync, Failure::Io)]);
        let failed = space.put([2], [9; 30]).expect_err("its sync fails");
        assert_eq!(failed.kind(), ErrorKind::Io);
        assert!(store.stats().poisoned.is_some());
    });
    let begun = lock(&recorder.begun);
    for wanted in [
        "open",
        "open/recovery",
        "sync",
        "merge",
        "merge/sync",
        "sync/poison",
    ] {
        assert!(
            begun.iter().any(|path| path == wanted),
            "{wanted}: {begun:?}"
        );
    }
}
