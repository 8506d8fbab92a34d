//! Every crash, by the crash lab: the store's operations on a simulated disk that loses power or
//! process after any call, in every legal way or in many, with failing calls as well.

use std::collections::{BTreeMap, BTreeSet};

use libp2p_kad::store::{Error, RecordStore};
use peercask::crash::{Crashed, Explorer, Failure, Fault, Operation, Outcome, Run, SimDisk};
use peercask::{Merge, Store};
use peercask_kad::{PersistentStore, State};

use crate::support::*;

/// What the program tells the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// Operation `n` is about to begin.
    Begin(u64),
    /// It was acknowledged.
    Done(u64),
    /// Everything so far is on the device.
    Synced(u64),
}

const OPERATIONS: u64 = 26;

fn options() -> peercask::Options {
    peercask::Options::default()
        .segment_bytes(4_096)
        .reserve_bytes(0)
}

fn open(engine: Store) -> Result<PersistentStore, peercask_kad::Error> {
    PersistentStore::open_on(engine, local(), quiet())
}

/// Each operation is one write of the engine, so each state is that of some number of them.
fn apply(store: &mut PersistentStore, number: u64) -> Result<(), Error> {
    let which = number % 5;
    match number % 7 {
        0 | 1 => store.put(record(which, &[number as u8; 40])),
        2 => {
            store.remove(&key(which));
            Ok(())
        }
        3 | 4 => store.add_provider(own_provide(which)),
        5 => {
            store.remove_provider(&key(which), &local());
            Ok(())
        }
        _ => {
            store.add_provider(provider(100 + number, 1))?;
            // What the background does: from here on it survives the process.
            store.handle().step().map_err(|_| Error::MaxProvidedKeys)
        }
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Contents {
    values: BTreeMap<u64, u8>,
    own: BTreeSet<u64>,
    foreign: BTreeSet<u64>,
}

impl Contents {
    fn after(operations: u64) -> Contents {
        let mut contents = Contents::default();
        for number in 1..=operations {
            let which = number % 5;
            match number % 7 {
                0 | 1 => drop(contents.values.insert(which, number as u8)),
                2 => drop(contents.values.remove(&which)),
                3 | 4 => drop(contents.own.insert(which)),
                5 => drop(contents.own.remove(&which)),
                _ => drop(contents.foreign.insert(100 + number)),
            }
        }
        contents
    }

    fn of(store: &PersistentStore) -> Contents {
        let mut contents = Contents::default();
        for which in 0..5 {
            if let Some(found) = store.get(&key(which)) {
                contents.values.insert(which, found.value[0]);
            }
            if store
                .providers(&key(which))
                .iter()
                .any(|found| found.provider == local())
            {
                contents.own.insert(which);
            }
        }
        for number in 100..=100 + OPERATIONS {
            if !store.providers(&key(number)).is_empty() {
                contents.foreign.insert(number);
            }
        }
        contents
    }
}

fn program(run: &Run<Note>) -> Outcome {
    let mut store = open(run.open(options())?)?;
    let handle = store.handle();
    for number in 1..=OPERATIONS {
        run.note(Note::Begin(number));
        apply(&mut store, number)?;
        run.note(Note::Done(number));
        if number % 9 == 4 {
            handle.sync()?;
            run.note(Note::Synced(number));
        }
        if number % 13 == 0 {
            handle.merge(Merge::Needed)?;
        }
    }
    handle.close()?;
    run.note(Note::Synced(OPERATIONS));
    Ok(())
}

/// The state after some number of operations: of those acknowledged all, if only the process died;
/// those before the last sync, if the power went.
fn check(crashed: &Crashed<'_, Note>) -> Outcome {
    let store = open(crashed.open(options())?)?;
    let report = store.handle().report().clone();
    assert_eq!((report.undecodable, report.damaged), (0, 0));
    let (mut begun, mut done, mut synced) = (0, 0, 0);
    for note in crashed.notes() {
        match *note {
            Note::Begin(number) => begun = number,
            Note::Done(number) => done = number,
            Note::Synced(number) => synced = number,
        }
    }
    let least = if crashed.was_killed() { done } else { synced };
    let found = Contents::of(&store);
    let is_one = (least..=begun).any(|number| found == Contents::after(number));
    assert!(
        is_one,
        "{found:?} is the state after none of {least} to {begun} operations"
    );
    let stats = store.handle().stats();
    assert_eq!(stats.records, found.values.len() as u64);
    assert_eq!(stats.own_keys, found.own.len() as u64);
    assert_eq!(stats.provider_records, found.foreign.len() as u64);
    Ok(())
}

#[test]
fn every_crash_of_a_store_leaves_what_was_acknowledged() {
    let report = Explorer::new()
        .states(rounds(1_500))
        .first_only(true)
        .explore(program, check);
    assert!(
        report.violations.is_empty(),
        "{}",
        report.violations[0].story
    );
}

#[test]
fn a_disk_that_fails_is_told_and_loses_nothing_acknowledged() {
    let report = Explorer::new()
        .states(rounds(800))
        .faults(&[Failure::Io, Failure::StorageFull])
        .first_only(true)
        .explore(program, check);
    assert!(
        report.violations.is_empty(),
        "{}",
        report.violations[0].story
    );
}

#[test]
fn a_failing_write_is_refused_in_the_traits_words_and_shown_by_health() {
    for failure in [Failure::Io, Failure::StorageFull] {
        let disk = SimDisk::new(12);
        let mut store = open(Store::open_on(&disk, options()).expect("opened")).expect("opened");
        let handle = store.handle();
        store.put(record(1, b"before")).expect("put");
        store.add_provider(provider(1, 1)).expect("added");
        for operation in [Operation::Write, Operation::Reserve] {
            disk.set_faults(&[Fault::new(operation, failure).for_good(true)]);
            let mut refused = None;
            for number in 0..200 {
                if let Err(error) = store.put(record(number + 10, &[7; 100])) {
                    refused = Some(error);
                    break;
                }
            }
            assert!(
                matches!(refused, Some(Error::MaxRecords)),
                "{failure:?} {operation:?}"
            );
            let refused = store.add_provider(own_provide(9));
            assert!(
                matches!(refused, Err(Error::MaxProvidedKeys)),
                "{failure:?} {operation:?}"
            );
            assert_eq!(handle.health().state, State::Red);
            let error = handle.health().last_error.expect("told");
            assert!(!error.message.is_empty());
            assert!(store.get(&key(1)).is_some(), "reads go on");
            assert!(handle.step().is_err(), "what waits goes on waiting");
            assert_eq!(store.providers(&key(1)).len(), 1);
            disk.set_faults(&[]);
            store.put(record(2, b"after")).expect("recovers by itself");
            handle.step().expect("and what waited is written");
            assert_eq!(handle.health().state, State::Green);
            store.add_provider(provider(1, 1)).expect("added");
        }
    }
}
