//! What Peercask writes beyond what it was given: framing, hints and manifests before any merge,
//! and what merging adds. Loads as in the tables of the research: uniform overwrites, nine of ten
//! writes to a tenth of the keys, and records of four lives in proportion 1 : 10 : 100 : 1000 with
//! equal arrival. Counts of the store, no times.

use std::sync::Arc;
use std::time::Duration;

use peercask::{Durability, KeyspaceOptions, ManualClock, Merge, Options, Stats, Store, Write};

use super::{Context, FILL};
use crate::Outcome;
use crate::line::Line;
use crate::load::{Load, Order, Random};
use crate::measure::Timing;
use crate::process::Usage;

/// Segments are small, as those of a store a hundred times as large would be beside it.
const SEGMENT_BYTES: u64 = 128 << 10;
/// More keys than this tell no more, and take long.
const KEYS_MAX: u64 = 50_000;
/// Framing of a plain record and its row in a hint.
const FRAMING_AND_HINT: u64 = 18 + 27;
/// Writes between two looks of the merge, as the background looks once a second.
const LOOK_EVERY: u64 = 500;
/// So many times the live bytes are written before counting begins, and then again.
const TURNS: u64 = 5;
/// Lengths of key and value together whose framing the goals name.
const FRAMED: [usize; 2] = [100, 1_024 - 32];

/// What the names of keydir images begin with, and that of the space kept for a full disk, of which
/// nothing is written.
const IMAGES: &str = "keydir-";
const RESERVE: &str = "RESERVE";

#[derive(Clone, Copy)]
enum Kind {
    Uniform,
    Skewed,
    Expiring,
}

pub(super) fn uniform(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Kind::Uniform, [1.25, 1.39, 1.67])
}

pub(super) fn skewed(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Kind::Skewed, [1.25, 1.43, 1.67])
}

pub(super) fn expiring(context: &Context<'_>) -> Outcome<Vec<Line>> {
    run(context, Kind::Expiring, [1.25, 1.43, 1.67])
}

fn run(context: &Context<'_>, kind: Kind, bounds: [f64; 3]) -> Outcome<Vec<Line>> {
    bounds
        .into_iter()
        .map(|bound| one(context, kind, bound))
        .collect()
}

/// Bytes written for each given, of records of the two sizes that the goals name: all of them new,
/// closed in the end, so that hints and the image are written.
pub(super) fn framing(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let mut lines = Vec::new();
    for value_len in FRAMED {
        let load = Load {
            key_len: 32,
            value_len,
            threads: 1,
            ..context.load
        };
        let whole = Context { load, ..*context };
        let store = whole.open(&format!("framing-{value_len}"))?;
        let usage = Usage::now();
        let measured = whole.put_all(&*store, FILL, 0, Timing::Sampled)?;
        store.close()?;
        let mut line = whole.line().timed(&measured);
        line.user_bytes = Some(load.n * load.pair_len());
        line.write_bytes = usage.written();
        let dir = whole.dir(&format!("framing-{value_len}"))?;
        line.disk_bytes = Some(crate::process::disk_bytes(&dir));
        line.details.without_images_bytes = Some(without_images(&dir)?);
        lines.push(line);
    }
    Ok(lines)
}

/// Bytes of segments, hints and the manifest: nothing was merged, so each was written once. What was
/// written beyond them is images.
fn without_images(dir: &std::path::Path) -> Outcome<u64> {
    let mut sum = 0;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        if !name.to_string_lossy().starts_with(IMAGES) && name != RESERVE {
            sum += file.metadata()?.len();
        }
    }
    Ok(sum)
}

/// The key of write number `i`, and its life.
fn next(kind: Kind, i: u64, n: u64, random: &mut Random) -> (u64, Write) {
    let write = Write::new().durability(Durability::Buffered);
    match kind {
        // The first turn makes every key.
        Kind::Uniform | Kind::Skewed if i < n => (i, write),
        Kind::Uniform => (random.below(n), write),
        Kind::Skewed if random.below(10) > 0 => (random.below(n / 10), write),
        Kind::Skewed => (n / 10 + random.below(n - n / 10), write),
        Kind::Expiring => {
            let index = crate::narrow(random.below(4));
            let hours = [1, 10, 100, 1_000].get(index).copied().unwrap_or(1);
            (i, write.ttl(Duration::from_secs(hours * 3_600)))
        }
    }
}

/// Live records' share of the files, over many looks.
#[derive(Default)]
struct Share {
    sum: f64,
    looks: u32,
}

impl Share {
    fn look(&mut self, stats: &Stats) {
        let live = stats.live_bytes.saturating_sub(stats.expired_bytes);
        self.sum += live as f64 / stats.disk_bytes.max(1) as f64;
        self.looks += 1;
    }
}

fn one(context: &Context<'_>, kind: Kind, bound: f64) -> Outcome<Line> {
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let options = Options::default()
        .background(false)
        .segment_bytes(SEGMENT_BYTES)
        .merge_space_amplification(bound)
        .image_index_bytes(u64::MAX)
        .clock(clock.clone());
    let store = Store::open(context.dir(&format!("merging-{bound}"))?, options)?;
    let keyspace = store.keyspace("bench", KeyspaceOptions::hash())?;
    let load = Load {
        n: context.load.n.clamp(20, KEYS_MAX),
        threads: 1,
        ..context.load
    };
    let (pool, order) = (load.pool(), Order::new(load.n, FILL));
    let (mut random, mut key, mut share) = (Random::new(9), Vec::new(), Share::default());
    // So that about `n` records are alive at a time: their mean life is 277.75 hours.
    let tick = Duration::from_millis((999_900_000 / load.n).max(1));
    let (mut start, mut asked) = (Stats::default(), 0);
    let first = (TURNS + 1) * load.n;
    for i in 0..(2 * TURNS + 1) * load.n {
        let (number, write) = next(kind, i, load.n, &mut random);
        let number = match kind {
            Kind::Expiring => {
                clock.advance(tick);
                number
            }
            _ => order.at(number),
        };
        load.key(number, &mut key);
        keyspace
            .put_with(&key, pool.value(number, i), write)?
            .wait()?;
        if i == first {
            start = store.stats();
        }
        asked = (i + 1).saturating_sub(first);
        if i % LOOK_EVERY == 0 {
            store.merge(Merge::Needed)?;
            if i > first {
                share.look(&store.stats());
            }
        }
    }
    let end = store.stats();
    let mut line = Line::new(
        &load,
        context.entry.name,
        &format!("{}-{bound}", context.workload),
    );
    // Appends and hints without manifests, which weigh more than they do in stores of usual size.
    let plain = asked * (load.pair_len() + FRAMING_AND_HINT);
    let merged = end.merge_written_bytes - start.merge_written_bytes;
    line.user_bytes = Some(end.user_bytes - start.user_bytes);
    line.disk_bytes = Some(end.disk_bytes);
    line.details.merge_amplification = Some(1.0 + merged as f64 / plain as f64);
    line.details.live_share = Some(share.sum / f64::from(share.looks.max(1)));
    line.details.segment_bytes = Some(SEGMENT_BYTES);
    drop(keyspace);
    store.close()?;
    Ok(line)
}
