//! What a key costs in memory while keys come, and how long the longest put takes meanwhile: growth
//! of the index, rotation, images and what else the store does in the background included.

use super::{Context, FILL};
use crate::Outcome;
use crate::backend::Settings;
use crate::line::Line;
use crate::load::Order;
use crate::measure::{self, Measured};
use crate::memory::{self, PerKey};
use crate::process::Usage;

/// Memory is looked at so many times a doubling.
const LOOKS: u64 = 64;
/// Below so many keys fixed costs are more than the entries.
const KEYS_MIN: u64 = 20_000;
/// Puts that fill the store's buffers once, before the first key counts.
const WARM: u64 = 10_000;
/// What is there after this part of the keys tells, with what is there in the end, how much each
/// key took and how much does not grow with them.
const FIRST_PART: u64 = 4;

/// With all that the store does in the background: making hints and images takes memory for a while,
/// by the size of a segment and not of the store.
pub(super) fn growth(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, false)
}

/// The index alone.
pub(super) fn index(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, true)
}

fn run(context: &Context<'_>, alone: bool) -> Outcome<Vec<Line>> {
    let (load, pool) = (context.load, context.load.pool());
    let order = Order::new(load.n, FILL);
    let durability = context.entry.weakest();
    let settings = Settings {
        alone,
        durability,
        ..Settings::default()
    };
    let store = (context.entry.open)(&context.dir("store")?, &settings)?;
    let mut key = Vec::new();
    let pair = |i| {
        let mut key = Vec::new();
        load.key(i, &mut key);
        (key, pool.value(i, 0).to_vec())
    };
    // Buffers of the store, which come once, are there before the first key counts.
    // A few at a time: what the allocator saw at its highest must not be these pairs.
    for start in (0..WARM.min(load.n)).step_by(100) {
        store.warm(&(start..start + 100).map(pair).collect::<Vec<_>>())?;
    }
    let mut puts = Measured::empty()?;
    let mut nap_line = context.line_of("floor-idle", context.workload);
    let mut per_key = PerKey::new();
    let (usage, held) = (Usage::now(), memory::held().unwrap_or(0));
    per_key.begin(held);
    let first_part = load.n / FIRST_PART;
    let mut held_first = held;
    let ((), naps) = measure::beside_idle(|| {
        let start = std::time::Instant::now();
        let (mut last, mut next_look) = (start, KEYS_MIN.min(load.n / 2).max(1));
        for i in 0..load.n {
            let number = order.at(i);
            load.key(number, &mut key);
            store.put(&key, pool.value(number, 0), durability)?;
            let now = std::time::Instant::now();
            puts.record(now - last);
            last = now;
            if i + 1 == first_part {
                held_first = memory::held().unwrap_or(0);
            }
            if i == next_look {
                per_key.look(i);
                next_look += (i / LOOKS).max(1);
            }
        }
        per_key.look(load.n);
        puts.elapsed = start.elapsed();
        Ok(())
    })?;
    puts.calls = load.n;
    let mut line = context.line().timed(&puts);
    line.threads = 1;
    let (rss, anon) = usage.resident_per_key(load.n);
    (line.rss_bytes_per_key, line.details.rss_anon_bytes_per_key) = (rss, anon);
    // Of a store whose caches are its own, the allocator's count says little of its index.
    if context.entry.kind != crate::backend::Kind::Rival {
        line.details.own_bytes_per_key = store
            .counters()
            .index_bytes
            .map(|own| own as f64 / load.n as f64);
        add_memory(&mut line, &per_key, (held, held_first));
    }
    nap_line = nap_line.latencies(&naps);
    nap_line.threads = 1;
    store.close()?;
    Ok(vec![line, nap_line])
}

/// What the allocator saw: of all keys together, and what each took beyond the first part of them.
/// `held` was there before the first key, and after that part.
fn add_memory(line: &mut Line, per_key: &PerKey, (before, first): (u64, u64)) {
    let (n, first_part) = (line.n, line.n / FIRST_PART);
    line.index_bytes_per_key = per_key.highest();
    let Some(end) = memory::held().map(|now| now.saturating_sub(before) as f64) else {
        return;
    };
    line.details.steady_bytes_per_key = Some(end / n as f64);
    if first_part == 0 {
        return;
    }
    let first = first.saturating_sub(before) as f64;
    let each = (end - first) / (n - first_part) as f64;
    let fixed = end - each * n as f64;
    line.details.each_key_bytes = Some(each);
    line.details.fixed_bytes = Some(fixed);
    line.details.each_key_bytes_most = per_key.highest_beyond(fixed);
}
