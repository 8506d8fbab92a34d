//! The six loads of the Yahoo! Cloud Serving Benchmark, on keys and values of our sizes: mixes of
//! reads, updates, new keys, scans and reads that write back, at each store's weakest durability.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Context;
use crate::Outcome;
use crate::line::Line;
use crate::load::{Order, Random, Zipf};
use crate::measure::{self, Timing, Work};

/// The longest scan of load E.
const SCAN_MAX: u64 = 100;
/// Load E does so many times fewer operations: each meets up to a hundred entries.
const SCAN_SHARE: u64 = 20;

/// What is done beside reads, and to how many of a hundred.
#[derive(Clone, Copy, PartialEq)]
enum Mix {
    Update(u64),
    ReadLatest(u64),
    Scan(u64),
    ReadModifyWrite(u64),
}

pub(super) fn a(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::Update(50))
}

pub(super) fn b(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::Update(5))
}

pub(super) fn c(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::Update(0))
}

pub(super) fn d(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::ReadLatest(5))
}

pub(super) fn e(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::Scan(5))
}

pub(super) fn f(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Mix::ReadModifyWrite(50))
}

fn run(context: &Context<'_>, mix: Mix) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let (load, pool) = (context.load, context.load.pool());
    let (zipf, order) = (Zipf::new(load.n), Order::new(load.n, super::OTHER));
    let (weakest, keys) = (context.entry.weakest(), AtomicU64::new(load.n));
    let calls = match mix {
        Mix::Scan(_) => (load.n / SCAN_SHARE).max(1),
        _ => load.n,
    };
    let measured = measure::run(load.threads, calls, load.limit, Timing::Sampled, |thread| {
        let (store, pool, zipf, keys) = (&*store, &pool, &zipf, &keys);
        let (mut random, mut key, mut value) = (Random::new(thread), Vec::new(), Vec::new());
        Ok(Box::new(move |i: u64| {
            let rank = zipf.next(&mut random);
            let percent = random.below(100);
            let (writes, inserts) = match mix {
                Mix::Update(share) | Mix::ReadModifyWrite(share) => (percent < share, false),
                Mix::ReadLatest(share) | Mix::Scan(share) => (false, percent < share),
            };
            if inserts {
                let number = keys.fetch_add(1, Ordering::Relaxed);
                load.key(number, &mut key);
                return store.put(&key, pool.value(number, 0), weakest);
            }
            // New keys of other threads may be on their way: the newest are left out.
            let number = match mix {
                Mix::ReadLatest(_) => load.n - 1 - rank,
                _ => order.at(rank),
            };
            load.key(number, &mut key);
            if matches!(mix, Mix::Scan(_)) {
                let mut left = random.below(SCAN_MAX) + 1;
                return store.scan(&key, &mut |_, value| {
                    std::hint::black_box(value);
                    left -= 1;
                    left > 0
                });
            }
            let reads = !writes || matches!(mix, Mix::ReadModifyWrite(_));
            if reads && !store.get(&key, &mut value)? {
                return Err(format!("key {number} is not there").into());
            }
            if writes {
                store.put(&key, pool.value(number, i + 1), weakest)?;
            }
            Ok(())
        }) as Work<'_>)
    })?;
    let line = context.line().timed(&measured);
    store.close()?;
    Ok(vec![line])
}
