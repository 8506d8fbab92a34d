//! Every crash around opening, by the crash lab: a second open while one is open, another identity,
//! a newer format. Items 13 to 15 of the checklist on the simulated disk.

use std::collections::BTreeSet;

use libp2p_identity::PeerId;
use libp2p_kad::store::RecordStore;
use libp2p_kad::{ProviderRecord, Record};
use peercask::crash::{Crashed, Explorer, Outcome, Run, SimDisk};
use peercask::{ErrorKind, KeyspaceOptions, Store};
use peercask_kad::{Error, PersistentStore};

use crate::support::*;

fn options() -> peercask::Options {
    peercask::Options::default()
        .segment_bytes(4_096)
        .reserve_bytes(0)
}

fn open(engine: Store, who: PeerId) -> Result<PersistentStore, Error> {
    PersistentStore::open_on(engine, who, quiet())
}

fn explore<N: Clone + Send + 'static>(
    program: impl Fn(&Run<N>) -> Outcome,
    check: impl Fn(&Crashed<'_, N>) -> Outcome,
) {
    let report = Explorer::new()
        .states(rounds(400))
        .first_only(true)
        .explore(program, check);
    assert!(
        report.violations.is_empty(),
        "{}",
        report.violations[0].story
    );
    assert!(report.states > 100, "{} states", report.states);
}

#[test]
fn a_disk_is_open_once_and_free_again_after_any_crash() {
    let disk = SimDisk::new(13);
    let mut store = open(Store::open_on(&disk, options()).expect("free"), local()).expect("opened");
    store.add_provider(own_provide(1)).expect("added");
    let second = Store::open_on(&disk, options()).expect_err("it is open");
    assert_eq!(second.kind(), ErrorKind::Locked);
    store.add_provider(own_provide(2)).expect("and goes on");
    store.handle().sync().expect("synced");
    // The lock goes with whoever held it, and what the second open tried has left no trace.
    for seed in 0..rounds(20) {
        let after = disk.crash_by_dice(seed);
        let again = Store::open_on(&after, options()).expect("free");
        let again = open(again, local()).expect("opened");
        assert_eq!(again.provided().count(), 2);
    }
    store.handle().close().expect("closed");
    let again = open(Store::open_on(&disk, options()).expect("free"), local()).expect("opened");
    assert_eq!(again.provided().count(), 2);
}

/// Which identity has acknowledged and synced how many intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Begin(usize, u64),
    Done(usize, u64),
    Synced(usize, u64),
}

const INTENTS: u64 = 4;

fn who(which: usize) -> PeerId {
    peer(7_000 + which as u64)
}

fn intend(store: &mut PersistentStore, which: usize, number: u64) -> Outcome {
    let provide = ProviderRecord::new(key(number), who(which), vec![]);
    store.add_provider(provide)?;
    let value = Record {
        publisher: Some(who(which)),
        ..record(1_000 + number, &[which as u8])
    };
    store.put(value)?;
    Ok(())
}

/// One identity after the other, and the first again.
fn identities(run: &Run<Note>) -> Outcome {
    let mut next = [0, 0];
    for which in [0, 1, 0] {
        let mut store = open(run.open(options())?, who(which))?;
        for number in next[which]..next[which] + INTENTS {
            run.note(Note::Begin(which, number + 1));
            intend(&mut store, which, number + 100 * which as u64)?;
            run.note(Note::Done(which, number + 1));
        }
        next[which] += INTENTS;
        store.handle().close()?;
        run.note(Note::Synced(which, next[which]));
    }
    Ok(())
}

/// Whoever opens it finds its own intents and nobody else's; nothing of another's is served as
/// valid for ever, and nothing of it is lost.
fn identities_are_apart(crashed: &Crashed<'_, Note>) -> Outcome {
    let (mut begun, mut least) = ([0; 2], [0; 2]);
    for note in crashed.notes() {
        match *note {
            Note::Begin(which, count) => begun[which] = count,
            Note::Done(which, count) if crashed.was_killed() => least[which] = count,
            Note::Synced(which, count) => least[which] = least[which].max(count),
            Note::Done(..) => {}
        }
    }
    for which in [0, 1, 0] {
        let store = open(crashed.open(options())?, who(which))?;
        let mine: BTreeSet<_> = store.provided().map(|one| one.key.to_vec()).collect();
        let count = mine.len() as u64;
        assert!((least[which]..=begun[which]).contains(&count), "{which}");
        let from = 100 * which as u64;
        let expected: BTreeSet<_> = (from..from + count).map(|n| key(n).to_vec()).collect();
        assert_eq!(mine, expected);
        let other = 100 - from;
        for number in 0..2 * INTENTS {
            assert_eq!(store.providers(&key(other + number)), [], "of the other");
            assert_eq!(store.get(&key(1_000 + other + number)), None);
        }
        // An intent is two writes: the value may miss of the last one begun.
        for number in 0..count.min(least[which]) {
            let found = store.get(&key(1_000 + from + number)).expect("its own");
            assert_eq!(found.publisher, Some(who(which)));
        }
        store.handle().close()?;
    }
    Ok(())
}

#[test]
fn no_crash_mixes_up_the_intents_of_two_identities() {
    explore(identities, identities_are_apart);
}

/// A program of a later version has had the store, if the note was told.
fn newer(run: &Run<u8>) -> Outcome {
    let mut store = open(run.open(options())?, local())?;
    for number in 0..4 {
        intend_here(&mut store, number)?;
    }
    store.handle().close()?;
    run.note(0);
    let engine = run.open(options())?;
    let meta = engine.existing_keyspace("kad.meta")?;
    run.note(1);
    meta.put("format", 2_u32.to_le_bytes())?;
    engine.sync()?;
    run.note(2);
    let later = engine.keyspace("kad.later", KeyspaceOptions::hash())?;
    later.put("what", "nobody knows yet")?;
    engine.close()?;
    run.note(3);
    Ok(())
}

fn intend_here(store: &mut PersistentStore, number: u64) -> Outcome {
    store.add_provider(own_provide(number))?;
    store.put(record(number, b"kept"))?;
    Ok(())
}

/// It is refused as newer and left byte for byte what it was for that program, or it is the old one
/// and opens.
fn newer_is_left_alone(crashed: &Crashed<'_, u8>) -> Outcome {
    let told = crashed.notes().last().copied();
    match open(crashed.open(options())?, local()) {
        Err(Error::NewerFormat { found: 2, known: 1 }) => {
            assert!(told >= Some(1), "{told:?}: nobody wrote it");
            let engine = crashed.open(options())?;
            let format = engine.existing_keyspace("kad.meta")?.get("format")?;
            assert_eq!(format.as_deref(), Some(&2_u32.to_le_bytes()[..]));
            if told == Some(3) {
                assert!(engine.existing_keyspace("kad.later")?.contains("what")?);
            }
            // The version after this one finds all of it.
            engine
                .existing_keyspace("kad.meta")?
                .put("format", 1_u32.to_le_bytes())?;
            engine.close()?;
            assert_all_there(&open(crashed.open(options())?, local())?);
            Ok(())
        }
        Err(other) => Err(other.into()),
        Ok(store) => {
            assert!(told < Some(2), "{told:?}: a newer format was opened");
            if told.is_some() {
                assert_all_there(&store);
            }
            Ok(())
        }
    }
}

fn assert_all_there(store: &PersistentStore) {
    assert_eq!(store.provided().count(), 4);
    assert_eq!(store.records().count(), 4);
    assert!((0..4).all(|number| store.get(&key(number)).is_some()));
}

#[test]
fn no_crash_opens_a_newer_format_or_cuts_it() {
    explore(newer, newer_is_left_alone);
}
