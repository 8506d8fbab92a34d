//! The mixed load: what a busy node of the public network sees, on a full store, while the sweep and
//! merges run. It tells how many of these there were, and the calls beside a merge apart from the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use libp2p_kad::store::RecordStore;
use peercask_kad::Handle;

use crate::Args;
use crate::load::{self, Times};

const ADDS: u64 = 1_500;
const CALLS: u64 = 2_000;
/// About what a call takes on average beside merges.
const SUM_TIME: Duration = Duration::from_micros(30);

/// How long the calls took.
#[derive(Default)]
struct Calls {
    adds: Times,
    adds_beside_merge: Times,
    reads: Times,
    reads_beside_merge: Times,
    /// Sums that ask no store and take about as long as a call: what makes one of them long is the
    /// machine's doing, and happens to calls as often.
    sums: Times,
    refused: u64,
}

/// What the merging thread did.
#[derive(Default)]
struct Merged {
    merges: u64,
    time: Duration,
    segments: u64,
    records: u64,
    failures: Vec<String>,
}

pub(crate) fn mixed(store: &mut impl RecordStore, args: &Args, handle: Option<&Handle>) {
    if args.mixed_seconds == 0 {
        return;
    }
    let merging = AtomicBool::new(false);
    let before = handle.map(counts);
    let (calls, merged) = std::thread::scope(|scope| {
        let (stop, is_stopped) = sync_channel::<()>(1);
        let merger = handle
            .filter(|_| args.merge_pause_seconds > 0)
            .map(|handle| {
                let (merging, pause) = (&merging, args.merge_pause_seconds);
                scope.spawn(move || merge(handle, pause, merging, &is_stopped))
            });
        let calls = load(store, args, &merging);
        drop(stop);
        let merged = merger.map(|merger| merger.join().expect("no panic"));
        (calls, merged.unwrap_or_default())
    });
    tell(args, &calls);
    if let (Some(handle), Some(before)) = (handle, before) {
        tell_background(args, before, counts(handle), &merged);
        println!("  adds beside a merge: {}", calls.adds_beside_merge.tell());
        println!(
            "  reads beside a merge: {}",
            calls.reads_beside_merge.tell()
        );
    }
    println!("  adds by microseconds: {}", calls.adds.histogram());
}

/// Merges by the engine's own count, records swept, syncs.
fn counts(handle: &Handle) -> [u64; 3] {
    let engine = handle.engine().stats();
    [engine.merges, handle.stats().swept, engine.syncs]
}

/// Merges the whole store again and again until told to stop.
fn merge(handle: &Handle, pause: u64, merging: &AtomicBool, stop: &Receiver<()>) -> Merged {
    let mut merged = Merged::default();
    loop {
        let start = Instant::now();
        merging.store(true, Ordering::Relaxed);
        let report = handle.merge(peercask::Merge::Full);
        merging.store(false, Ordering::Relaxed);
        merged.time += start.elapsed();
        match report {
            Ok(report) => {
                merged.merges += 1;
                merged.segments += report.segments_in;
                merged.records += report.records_copied;
            }
            Err(error) => merged.failures.push(error.to_string()),
        }
        let told = stop.recv_timeout(Duration::from_secs(pause));
        if !matches!(told, Err(RecvTimeoutError::Timeout)) {
            return merged;
        }
    }
}

fn load(store: &mut impl RecordStore, args: &Args, merging: &AtomicBool) -> Calls {
    let rounds = rounds_of_a_sum();
    let start = Instant::now();
    let mut calls = Calls::default();
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(args.mixed_seconds) {
        load::keep_rate(start, number, CALLS);
        let beside_merge = merging.load(Ordering::Relaxed);
        if number % CALLS < ADDS {
            // A half is new, a half refreshes what is there.
            let which = if number % 2 == 0 {
                args.records + number
            } else {
                load::mix(number) % args.records
            };
            let mut record = load::provider(which, Instant::now());
            // Some live for seconds, so that there is something to sweep.
            if number % 3 == 0 {
                record.expires = Some(Instant::now() + Duration::from_secs(5));
            }
            let began = Instant::now();
            calls.refused += u64::from(store.add_provider(record).is_err());
            let took = began.elapsed();
            calls.adds.note(took);
            if beside_merge {
                calls.adds_beside_merge.note(took);
            }
        } else {
            let key = load::key(load::mix(number) % args.records);
            let began = Instant::now();
            let _found = store.providers(&key);
            let took = began.elapsed();
            calls.reads.note(took);
            if beside_merge {
                calls.reads_beside_merge.note(took);
            }
        }
        let began = Instant::now();
        sum(rounds, number);
        calls.sums.note(began.elapsed());
        number += 1;
    }
    calls
}

fn sum(rounds: u64, seed: u64) {
    let sum = (0..rounds).fold(seed, |sum, round| load::mix(sum ^ round));
    std::hint::black_box(sum);
}

/// How many make a sum of `SUM_TIME`, by the quickest of many.
fn rounds_of_a_sum() -> u64 {
    const TRIED: u64 = 1_000;
    let quickest = (0..100)
        .map(|seed| {
            let began = Instant::now();
            sum(TRIED, seed);
            began.elapsed()
        })
        .min();
    let ns = quickest.map_or(1, |time| time.as_nanos().max(1));
    u64::try_from(SUM_TIME.as_nanos() * u128::from(TRIED) / ns).unwrap_or(TRIED)
}

fn tell(args: &Args, calls: &Calls) {
    println!(
        "mixed, {} s, 1,500 adds and 500 reads a second, {} refused:",
        args.mixed_seconds, calls.refused
    );
    println!("  adds {}", calls.adds.tell());
    println!("  reads {}", calls.reads.tell());
    println!(
        "  sums that ask no store, for the machine's share: {}",
        calls.sums.tell()
    );
}

fn tell_background(args: &Args, before: [u64; 3], after: [u64; 3], merged: &Merged) {
    let since: Vec<u64> = before.iter().zip(after).map(|(a, b)| b - a).collect();
    println!(
        "  in that time: {} merges by the engine's count, {} records swept, {} syncs",
        since[0], since[1], since[2]
    );
    println!(
        "  of the whole store {} merges were called for, which took {:.1} of {} s, read {} segments and copied {} records",
        merged.merges,
        merged.time.as_secs_f64(),
        args.mixed_seconds,
        merged.segments,
        merged.records
    );
    for failure in &merged.failures {
        println!("  a merge failed: {failure}");
    }
    if since[0] == 0 || since[1] == 0 {
        println!("  NOT SHOWN: no merge or no sweep fell into it; more seconds are needed");
    }
}
