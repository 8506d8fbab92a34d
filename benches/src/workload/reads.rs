//! Reads of a store that nobody writes: keys that are there, that are not, that are asked for more
//! often than others, and all that share a prefix.

use std::time::Duration;

use super::{Context, OTHER};
use crate::Outcome;
use crate::backend::{Backend, Reader};
use crate::line::Line;
use crate::load::{GROUP, Order, Random, Zipf};
use crate::measure::{self, Measured, Timing, Work};

/// One value in so many is compared byte by byte; all are by their length.
const COMPARED: u64 = 256;
/// So many reads warm the caches before the clock starts.
const WARM: u64 = 1_000_000;

/// Reads by the trait's own `get`, where a store has no quicker way.
struct Plain<'a>(&'a dyn Backend);

impl Reader for Plain<'_> {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        self.0.get(key, out)
    }
}

fn reader<'a>(store: &'a dyn Backend) -> Outcome<Box<dyn Reader + 'a>> {
    Ok(store.reader()?.unwrap_or_else(|| Box::new(Plain(store))))
}

pub(super) fn hit(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let order = Order::new(context.load.n, OTHER);
    let threads = context.load.threads;
    points(context, true, |thread| {
        Box::new(move |i| order.at(i * threads + thread))
    })
}

pub(super) fn miss(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let (n, threads) = (context.load.n, context.load.threads);
    let order = Order::new(n, OTHER);
    points(context, false, |thread| {
        Box::new(move |i| n + GROUP + order.at(i * threads + thread))
    })
}

pub(super) fn zipf(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let (zipf, order) = (Zipf::new(context.load.n), Order::new(context.load.n, OTHER));
    points(context, true, |thread| {
        let (zipf, mut random) = (&zipf, Random::new(thread));
        Box::new(move |_| order.at(zipf.next(&mut random)))
    })
}

/// Numbers of keys for one thread.
type Numbers<'a> = Box<dyn FnMut(u64) -> u64 + 'a>;

fn points<'a>(
    context: &Context<'_>,
    there: bool,
    numbers: impl Fn(u64) -> Numbers<'a> + Sync,
) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let (load, pool) = (context.load, context.load.pool());
    let round = |calls: u64, limit: Duration| -> Outcome<Measured> {
        measure::run(load.threads, calls, limit, Timing::Sampled, |thread| {
            let (mut reader, mut number) = (reader(&*store)?, numbers(thread));
            let (pool, mut key, mut value) = (&pool, Vec::new(), Vec::new());
            Ok(Box::new(move |i| {
                let number = number(i);
                load.key(number, &mut key);
                if reader.get(&key, &mut value)? != there {
                    return Err(format!("key {number}: {}", told(!there)).into());
                }
                let compare = there && i % COMPARED == 0;
                if there && value.len() != load.value_len
                    || compare && value != pool.value(number, 0)
                {
                    return Err(format!("key {number} has a wrong value").into());
                }
                Ok(())
            }) as Work<'_>)
        })
    };
    round(load.n.min(WARM), load.limit)?;
    let measured = round(load.n, load.limit)?;
    let line = context.line().timed(&measured);
    store.close()?;
    Ok(vec![line])
}

fn told(there: bool) -> &'static str {
    if there {
        "is there, and should not be"
    } else {
        "is not there"
    }
}

pub(super) fn scan(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let store = context.filled()?;
    let groups = context.load.n / GROUP;
    if groups == 0 {
        return Err(format!("a scan needs at least {GROUP} keys").into());
    }
    let (load, order) = (context.load, Order::new(groups, OTHER));
    let round = |calls: u64| -> Outcome<Measured> {
        measure::run(load.threads, calls, load.limit, Timing::Sampled, |thread| {
            let store = &*store;
            Ok(Box::new(move |i| {
                let (mut met, mut bytes) = (0, 0);
                let prefix = load.prefix(order.at(i * load.threads + thread));
                store.prefix(&prefix, &mut |key, value| {
                    met += 1;
                    bytes += key.len() + std::hint::black_box(value).len();
                })?;
                let wanted = GROUP * load.pair_len();
                if met != GROUP || crate::wide(bytes) != wanted {
                    return Err(format!("a prefix has {met} entries, not {GROUP}").into());
                }
                Ok(())
            }) as Work<'_>)
        })
    };
    round(groups.min(WARM / GROUP))?;
    let mut measured = round(groups)?;
    measured.per_call = GROUP;
    let line = context.line().timed(&measured);
    store.close()?;
    Ok(vec![line])
}
