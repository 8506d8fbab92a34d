//! The crash lab over a peerstore: a little program of stores, replaces, a delete and a sweep is
//! crashed at every call that changes the disk, in every legal way, and the recoveries too.

use peercask::crash::{Explorer, Outcome};
use peercask_peerstore::gnunet::{
    Acknowledge, Filter, Options, Peerstore, Query, Record, StoreOption, Stored,
};

use crate::common::seeds;
use crate::support::{Multiple, Replace, peer};

/// One change of the program.
enum Change {
    Store(u8, &'static str, StoreOption, Acknowledge),
    Remove(u8),
    /// By the time of a record that expired in 1970.
    Sweep,
}

use Acknowledge::{Accepted, Device, Kernel};
use Change::{Remove, Store, Sweep};

const PROGRAM: &[Change] = &[
    Store(1, "one", Multiple, Device),
    Store(1, "two", Multiple, Kernel),
    Store(2, "neighbour", Multiple, Accepted),
    Store(1, "REPLACED", Replace, Kernel),
    Store(1, "REPLACED AGAIN", Replace, Device),
    Store(1, "beside", Multiple, Kernel),
    Store(2, "old", Multiple, Kernel),
    Sweep,
    Remove(2),
    Store(1, "LAST", Replace, Device),
    Store(1, "more", Multiple, Kernel),
];

fn record(who: u8, value: &str) -> Record {
    let expiry_us = if value == "old" { 5 } else { u64::MAX };
    Record::new("s", peer(who), "k", value.as_bytes().to_vec()).expires_at_us(expiry_us)
}

/// What is there after the first `count` changes.
fn state_after(count: usize) -> Vec<(u8, &'static str)> {
    let mut state: Vec<(u8, &str)> = Vec::new();
    for change in &PROGRAM[..count] {
        match change {
            Store(who, value, option, _) => {
                if *option == Replace {
                    state.retain(|(other, _)| other != who);
                }
                state.push((*who, value));
            }
            Remove(who) => state.retain(|(other, _)| other != who),
            Sweep => state.retain(|(_, value)| *value != "old"),
        }
    }
    state
}

/// What the program tells the world outside.
#[derive(Clone, Copy, Debug)]
enum Note {
    Begun(usize),
    /// A change, as safe as it was asked to be, with its seq if it is a store.
    Done(usize, Acknowledge, u64),
}

/// No sweep at open: the program's own is one of its changes.
fn options() -> Options {
    Options::compatible().background(false).sweep_interval(None)
}

fn change(
    peers: &Peerstore,
    change: &Change,
) -> peercask_peerstore::gnunet::Result<(Acknowledge, u64)> {
    match change {
        Store(who, value, option, level) => {
            let seq = peers.store_with(&record(*who, value), *option, *level)?;
            Ok((*level, seq))
        }
        Remove(who) => {
            peers.remove(&Filter::subsystem("s").peer(peer(*who)))?;
            Ok((Kernel, 0))
        }
        Sweep => {
            peers.expire(100)?;
            Ok((Accepted, 0))
        }
    }
}

fn judge(found: &[Stored], notes: &[Note], killed: bool) -> Outcome {
    let mut least = 0;
    let mut most = 0;
    for note in notes {
        match *note {
            Note::Begun(at) => most = at + 1,
            Note::Done(at, Device, _) => least = at + 1,
            Note::Done(at, Kernel, _) if killed => least = at + 1,
            Note::Done(..) => {}
        }
    }
    let there: Vec<(u8, &str)> = found
        .iter()
        .map(|stored| {
            let value = std::str::from_utf8(&stored.record.value).expect("our values are text");
            (stored.record.peer.0[0], value)
        })
        .collect();
    // Opening sweeps what has expired, so `old` may be gone before its sweep.
    let swept = |state: Vec<(u8, &'static str)>| -> Vec<(u8, &'static str)> {
        state
            .into_iter()
            .filter(|(_, value)| *value != "old")
            .collect()
    };
    let fits = |count| there == swept(state_after(count));
    if !(least..=most).any(fits) {
        let what = format!("{there:?} is no state between change {least} and change {most}");
        return Err(what.into());
    }
    for stored in found {
        for note in notes {
            if let Note::Done(at, _, seq) = *note
                && seq == stored.seq
                && let Store(_, value, ..) = &PROGRAM[at]
                && stored.record.value != value.as_bytes()
            {
                return Err(format!("the number {seq} of {value} is another record's").into());
            }
        }
    }
    Ok(())
}

#[test]
fn after_any_legal_crash_each_change_is_whole_or_absent() {
    for seed in seeds(2) {
        let report = Explorer::new().seed(seed).states(400).explore(
            |run| {
                let store = run.open(peercask::Options::default())?;
                let peers = Peerstore::on(&store, options())?;
                for (at, step) in PROGRAM.iter().enumerate() {
                    run.note(Note::Begun(at));
                    let (level, seq) = change(&peers, step)?;
                    run.note(Note::Done(at, level, seq));
                }
                Ok(())
            },
            |crashed| {
                let store = crashed.open(peercask::Options::default())?;
                let peers = Peerstore::on(&store, options())?;
                if !peers.damaged().is_empty() {
                    return Err(format!("damage: {:?}", peers.damaged()).into());
                }
                let walk = peers.iterate(
                    Query::new(Filter::subsystem("s"))
                        .after(0)
                        .order(peercask_peerstore::gnunet::Order::Insertion),
                )?;
                let found = walk.collect::<Result<Vec<Stored>, _>>()?;
                judge(&found, crashed.notes(), crashed.was_killed())?;
                // And it goes on: a new number is above all that were ever told.
                let seq = peers.store(&record(3, "new"), Multiple)?;
                let told = crashed.notes().iter().filter_map(|note| match note {
                    Note::Done(_, _, seq) => Some(*seq),
                    Note::Begun(_) => None,
                });
                match told.max() {
                    Some(last) if last >= seq => Err(format!("{seq} after {last}").into()),
                    _ => Ok(()),
                }
            },
        );
        report.assert_survived(200);
    }
}
