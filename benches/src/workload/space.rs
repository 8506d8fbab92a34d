//! What files take: after overwrites, after deletes, and when the store has gone quiet; what was
//! written for it; and how long calls take while a store gives space back.

use super::{Context, OTHER};
use crate::Outcome;
use crate::backend::Backend;
use crate::line::Line;
use crate::load::Order;
use crate::measure::{self, Measured, Timing, Work};
use crate::process::{self, Usage};

/// How often every key is written again.
const ROUNDS: u64 = 5;

fn room(context: &Context<'_>, store: &dyn Backend, mut line: Line, live_keys: u64) -> Line {
    line.disk_bytes = Some(process::disk_bytes(context.home));
    line.details.live_bytes = Some(live_keys * context.load.pair_len());
    line.details.live_records_bytes = store.counters().live_bytes;
    line
}

pub(super) fn overwrites(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.open("store")?;
    let (usage, load) = (Usage::now(), context.load);
    let mut lines = Vec::new();
    for round in 0..=ROUNDS {
        let measured = context.put_all(&*store, OTHER + round, round, Timing::Sampled)?;
        let mut line = room(context, &*store, context.line().timed(&measured), load.n);
        line.n = load.n * (round + 1);
        line.user_bytes = Some(line.n * load.pair_len());
        line.write_bytes = usage.written();
        lines.push(line);
    }
    store.sync()?;
    context.settle();
    let settled = context.line_of(context.entry.name, "space-settled");
    let mut line = room(context, &*store, settled, load.n);
    line.n = load.n * (ROUNDS + 1);
    line.user_bytes = Some(line.n * load.pair_len());
    line.write_bytes = usage.written();
    line.syncs = store.counters().syncs;
    lines.push(line);
    store.close()?;
    Ok(lines)
}

pub(super) fn delete_half(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let (load, order) = (context.load, Order::new(context.load.n, OTHER));
    let half = (load.n / 2).max(1);
    let usage = Usage::now();
    let measured = measure::run(
        load.threads,
        half,
        std::time::Duration::MAX,
        Timing::Sampled,
        |thread| {
            let (store, mut key) = (&*store, Vec::new());
            Ok(Box::new(move |i| {
                load.key(order.at(i * load.threads + thread), &mut key);
                store.delete(&key)
            }) as Work<'_>)
        },
    )?;
    let mut line = context.line().timed(&measured);
    store.sync()?;
    context.settle();
    if context.entry.persistent {
        line = room(context, &*store, line, load.n - half);
        line.write_bytes = usage.written();
    }
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for (place, there) in [(0, false), (half, true)] {
        load.key(order.at(place), &mut key);
        if place < load.n && store.get(&key, &mut value)? != there {
            return Err("a deleted key is there, or another is gone".into());
        }
    }
    store.close()?;
    Ok(vec![line])
}

/// Overwrites of one thread, each timed, while what they kill is given back.
pub(super) fn latency(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let (load, pool, weakest) = (context.load, context.load.pool(), context.entry.weakest());
    let mut all = Measured::empty()?;
    let ((), naps) = measure::beside_idle(|| {
        let start = std::time::Instant::now();
        for round in 1..=ROUNDS {
            let order = Order::new(load.n, OTHER + round);
            let measured = measure::run(1, load.n, load.limit, Timing::Every, |_| {
                let (store, pool, mut key) = (&*store, &pool, Vec::new());
                Ok(Box::new(move |i| {
                    let number = order.at(i);
                    load.key(number, &mut key);
                    store.put(&key, pool.value(number, round), weakest)
                }) as Work<'_>)
            })?;
            all.add(&measured)?;
        }
        all.elapsed = start.elapsed();
        Ok(())
    })?;
    let mut line = context.line().timed(&all);
    line.threads = 1;
    let mut idle = context
        .line_of("floor-idle", context.workload)
        .latencies(&naps);
    idle.threads = 1;
    store.close()?;
    Ok(vec![line, idle])
}
