//! Puts that survive a power cut, in turn with raw loops of append and fdatasync on the same file
//! system, so that all meet the same device: the median of several turns of each counts.

use std::time::Duration;

use peercask::Durability;

use super::{Context, FILL};
use crate::Outcome;
use crate::backend::{Backend, Pair};
use crate::line::Line;
use crate::load::{Load, Order, Pool};
use crate::measure::{self, Measured, Timing, Work};

/// Turns of each.
const TURNS: u64 = 9;
/// Syncs in all turns of one backend, unless fewer keys are asked for: some seconds on a disk.
const SYNCS: u64 = 900;
/// Records of a batch.
const BATCH: u64 = 100;
/// Bytes that the floors' record has beside key and value: what a store cannot do without.
const FRAMING: usize = 18;

pub(super) fn one(context: &Context<'_>) -> Outcome<Vec<Line>> {
    in_turn(context, 1, 1)
}

pub(super) fn eight(context: &Context<'_>) -> Outcome<Vec<Line>> {
    in_turn(context, 8, 1)
}

pub(super) fn sixty_four(context: &Context<'_>) -> Outcome<Vec<Line>> {
    in_turn(context, 64, 1)
}

pub(super) fn batches(context: &Context<'_>) -> Outcome<Vec<Line>> {
    in_turn(context, 1, BATCH)
}

/// The store's part of the turns.
struct Part<'a> {
    store: &'a dyn Backend,
    load: Load,
    order: Order,
    pool: Pool,
    threads: u64,
    batch: u64,
    done: u64,
}

impl Part<'_> {
    fn turn(&mut self, calls: u64) -> Outcome<Measured> {
        let (load, order, threads, batch) = (self.load, self.order, self.threads, self.batch);
        let (store, pool, base) = (self.store, &self.pool, self.done);
        let pair = move |at: u64, key: &mut Vec<u8>| {
            let number = order.at(at);
            load.key(number, key);
            number
        };
        let measured = measure::run(threads, calls, Duration::MAX, Timing::Every, |thread| {
            let mut key = Vec::new();
            Ok(Box::new(move |i| {
                let at = base + i * threads + thread;
                if batch == 1 {
                    let number = pair(at, &mut key);
                    return store.put(&key, pool.value(number, 0), Durability::Device);
                }
                let members = (0..batch).map(|member| -> Pair {
                    let mut key = Vec::new();
                    let number = pair(at * batch + member, &mut key);
                    (key, pool.value(number, 0).to_vec())
                });
                store.batch(&members.collect::<Vec<_>>(), Durability::Device)
            }) as Work<'_>)
        })?;
        self.done += calls;
        Ok(measured)
    }
}

/// All turns of one backend.
struct Turns {
    rates: Vec<f64>,
    all: Measured,
}

impl Turns {
    fn new() -> Outcome<Turns> {
        Ok(Turns {
            rates: Vec::new(),
            all: Measured::empty()?,
        })
    }

    fn median(&self) -> f64 {
        let mut rates = self.rates.clone();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(0.0)
    }
}

fn in_turn(context: &Context<'_>, threads: u64, batch: u64) -> Outcome<Vec<Line>> {
    let load = context.load;
    let each = (SYNCS / TURNS).min(load.n / TURNS / threads / batch).max(2);
    let calls = each * threads;
    let store = context.open_for("store", Durability::Device)?;
    let mut part = Part {
        store: &*store,
        load,
        order: Order::new((calls * TURNS * batch).max(load.n), FILL),
        pool: load.pool(),
        threads,
        batch,
        done: 0,
    };
    let mut raws = Raws::prepare(context, each)?;
    let mut ours = Turns::new()?;
    for turn in 0..TURNS {
        // Each begins in turn, so that none is always first after a pause.
        for step in 0..=Raws::LEN {
            let which = (turn + step) % (Raws::LEN + 1);
            if which < Raws::LEN {
                raws.turn(which, each)?;
                continue;
            }
            let measured = part.turn(calls)?;
            ours.rates.push(measured.per_second() * batch as f64);
            ours.all.add(&measured)?;
        }
    }
    let records = calls * TURNS * batch;
    let mut lines = raws.lines(context, each * TURNS);
    let best = lines
        .iter()
        .filter_map(|line| line.ops_per_s)
        .fold(0.0, f64::max);
    let done = Load {
        n: records,
        threads,
        ..load
    };
    let mut line = Line::new(&done, context.entry.name, context.workload).latencies(&ours.all);
    line.ops_per_s = Some(ours.median().round());
    line.syncs = store.counters().syncs;
    line.user_bytes = Some(records * load.pair_len());
    line.details.of_best_raw = (best > 0.0).then(|| ours.median() / best);
    line.details.rates = ours.rates;
    lines.push(line);
    store.close()?;
    Ok(lines)
}

#[cfg(unix)]
struct Raws {
    record: Vec<u8>,
    files: Vec<(
        crate::backend::raw::Blocks,
        crate::backend::raw::RawFile,
        Turns,
    )>,
}

#[cfg(unix)]
impl Raws {
    const LEN: u64 = 3;

    fn prepare(context: &Context<'_>, each: u64) -> Outcome<Raws> {
        use crate::backend::raw::Blocks;
        let record = vec![7; context.load.key_len + context.load.value_len + FRAMING];
        let len = (each * TURNS + 1) * crate::wide(record.len());
        let dir = context.dir("raw")?;
        let file = |blocks: Blocks| Ok((blocks, blocks.prepare(&dir, len)?, Turns::new()?));
        let files = Blocks::ALL.into_iter().map(file).collect::<Outcome<_>>()?;
        Ok(Raws { record, files })
    }

    fn turn(&mut self, which: u64, times: u64) -> Outcome<()> {
        if let Some((_, file, turns)) = self.files.get_mut(crate::narrow(which)) {
            let took = file.append(&self.record, times, &mut turns.all)?;
            turns
                .rates
                .push(times as f64 / took.as_secs_f64().max(1e-9));
        }
        Ok(())
    }

    fn lines(self, context: &Context<'_>, records: u64) -> Vec<Line> {
        let done = Load {
            n: records,
            threads: 1,
            ..context.load
        };
        let line = |(blocks, file, turns): (
            crate::backend::raw::Blocks,
            crate::backend::raw::RawFile,
            Turns,
        )| {
            let mut line =
                Line::new(&done, blocks.backend(), context.workload).latencies(&turns.all);
            line.ops_per_s = Some(turns.median().round());
            line.syncs = Some(records);
            line.details.prepare_ms = Some(file.prepared.as_secs_f64() * 1e3);
            line.details.rates = turns.rates;
            line
        };
        self.files.into_iter().map(line).collect()
    }
}

/// No raw loops here yet: positions are written as Unix does.
#[cfg(not(unix))]
struct Raws;

#[cfg(not(unix))]
impl Raws {
    const LEN: u64 = 0;

    fn prepare(_: &Context<'_>, _: u64) -> Outcome<Raws> {
        Ok(Raws)
    }

    fn turn(&mut self, _: u64, _: u64) -> Outcome<()> {
        Ok(())
    }

    fn lines(self, _: &Context<'_>, _: u64) -> Vec<Line> {
        Vec::new()
    }
}
