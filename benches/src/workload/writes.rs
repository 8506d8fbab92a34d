//! Puts into empty stores at each durability, and overwrites.

use peercask::Durability;

use super::{Context, FILL, OTHER};
use crate::Outcome;
use crate::line::Line;
use crate::load::{Load, Order};
use crate::measure::{self, Timing, Work};
use crate::process::{self, Usage};

pub(super) fn fill(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.open("store")?;
    let usage = Usage::now();
    let start = std::time::Instant::now();
    let mut measured = context.put_all(&*store, FILL, 0, Timing::Sampled)?;
    store.sync()?;
    measured.elapsed = start.elapsed();
    let mut line = context.line().timed(&measured);
    let (rss, anon) = usage.resident_per_key(context.load.n);
    (line.rss_bytes_per_key, line.details.rss_anon_bytes_per_key) = (rss, anon);
    line.user_bytes = Some(context.load.n * context.load.pair_len());
    line.details.live_bytes = line.user_bytes;
    if context.entry.persistent {
        line.write_bytes = usage.written();
        line.disk_bytes = Some(process::disk_bytes(context.home));
        line.syncs = store.counters().syncs;
    }
    store.close()?;
    Ok(vec![line])
}

pub(super) fn overwrite(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let usage = Usage::now();
    let measured = context.put_all(&*store, OTHER, 1, Timing::Sampled)?;
    let mut line = context.line().timed(&measured);
    if context.entry.persistent {
        line.user_bytes = Some(context.load.n * context.load.pair_len());
        line.write_bytes = usage.written();
    }
    store.close()?;
    Ok(vec![line])
}

pub(super) fn buffered(context: &Context<'_>) -> Outcome<Vec<Line>> {
    puts(context, Durability::Buffered)
}

pub(super) fn kernel(context: &Context<'_>) -> Outcome<Vec<Line>> {
    puts(context, Durability::Kernel)
}

fn puts(context: &Context<'_>, durability: Durability) -> Outcome<Vec<Line>> {
    let store = context.open_for("store", durability)?;
    let (load, pool) = (context.load, context.load.pool());
    let order = Order::new(load.n, FILL);
    let measured = measure::run(
        load.threads,
        load.n,
        load.limit,
        Timing::Sampled,
        |thread| {
            let (store, pool, mut key) = (&*store, &pool, Vec::new());
            Ok(Box::new(move |i| {
                let number = order.at(i * load.threads + thread);
                load.key(number, &mut key);
                store.put(&key, pool.value(number, 0), durability)
            }) as Work<'_>)
        },
    )?;
    let done = Load {
        n: measured.calls,
        ..load
    };
    let mut line = Line::new(&done, context.entry.name, context.workload).timed(&measured);
    line.user_bytes = Some(measured.calls * load.pair_len());
    store.close()?;
    Ok(vec![line])
}
