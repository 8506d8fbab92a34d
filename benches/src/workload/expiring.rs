//! Records of four lifetimes in proportion 1 : 10 : 100 : 1000, as many of each, so that about `n`
//! are alive at a time. Peercask is told the lifetimes, and its clock is moved by the workload; a
//! store that cannot expire gets a delete of each record when its time has come, as a node that
//! uses such a store must do it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peercask::ManualClock;

use super::Context;
use crate::Outcome;
use crate::backend::Settings;
use crate::line::Line;
use crate::load::Random;
use crate::measure::Measured;
use crate::process::{self, Usage};

/// Hours.
const LIVES: [u64; 4] = [1, 10, 100, 1_000];
/// Mean of the lives in milliseconds.
const MEAN_MS: u64 = 999_900_000;
/// So many times as many records as live at a time are written, and half before counting begins.
const TURNS: u64 = 6;
/// Writes between two looks of the store at what has expired.
const TEND_EVERY: u64 = 500;
/// Peercask's segments are a share of what lives, as those of a large store are.
const SEGMENTS: u64 = 120;

pub(super) fn run(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let (load, pool) = (context.load, context.load.pool());
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let segment_bytes = (load.n * load.pair_len() / SEGMENTS).clamp(64 << 10, 64 << 20);
    let settings = Settings {
        clock: Some(clock.clone()),
        segment_bytes: Some(segment_bytes),
        durability: context.entry.weakest(),
        ..Settings::default()
    };
    let store = (context.entry.open)(&context.dir("store")?, &settings)?;
    let (mut random, mut key) = (Random::new(3), Vec::new());
    let mut due = LIVES.map(|_| VecDeque::<(u64, u64)>::new());
    // A tick for each record: the mean life is n ticks.
    let tick_ms = (MEAN_MS / load.n).max(1);
    let (mut measured, mut usage, mut start) = (Measured::empty()?, Usage::now(), Instant::now());
    let all = TURNS * load.n;
    for i in 0..all {
        if i == all / 2 {
            (usage, start) = (Usage::now(), Instant::now());
        }
        let now_ms = i * tick_ms;
        clock.advance(Duration::from_millis(tick_ms));
        let class = crate::narrow(random.below(crate::wide(LIVES.len())));
        let life = Duration::from_secs(LIVES.get(class).copied().unwrap_or(1) * 3_600);
        load.key(i, &mut key);
        if !store.put_expiring(&key, pool.value(i, 0), life)? {
            store.put(&key, pool.value(i, 0), context.entry.weakest())?;
            let end_ms = now_ms + u64::try_from(life.as_millis())?;
            due.get_mut(class)
                .into_iter()
                .for_each(|queue| queue.push_back((end_ms, i)));
            for queue in &mut due {
                while let Some((_, old)) = queue.pop_front_if(|(end_ms, _)| *end_ms <= now_ms) {
                    load.key(old, &mut key);
                    store.delete(&key)?;
                }
            }
        }
        if i % TEND_EVERY == 0 {
            store.tend()?;
        }
    }
    measured.elapsed = start.elapsed();
    measured.calls = all - all / 2;
    let mut line: Line = context.line().timed(&measured);
    line.threads = 1;
    line.user_bytes = Some(measured.calls * load.pair_len());
    line.write_bytes = usage.written();
    store.sync()?;
    context.settle();
    line.disk_bytes = Some(process::disk_bytes(context.home));
    line.details.live_bytes = Some(load.n * load.pair_len());
    line.details.live_records_bytes = store.counters().live_bytes;
    line.details.segment_bytes = Some(segment_bytes);
    store.close()?;
    Ok(vec![line])
}
