//! What merging costs: bytes written by the store, framing, hints and manifests included, for each
//! byte of records that was asked for, and how full the store is meanwhile. Loads as in the tables
//! of the research: uniform overwrites, nine of ten writes to a tenth of the keys, and records of
//! four lives in proportion 1 : 10 : 100 : 1000 with equal arrival. Counts, no times.
#![expect(
    clippy::print_stdout,
    reason = "printing its results is what a benchmark is for"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use peercask::{Durability, KeyspaceOptions, ManualClock, Merge, Options, Stats, Store, Write};
use serde_json::{Value, json};

use crate::workload::Load;

const SEGMENT_BYTES: u64 = 128 << 10;
/// Framing of a plain record and its row in a hint.
const FRAMING_AND_HINT: u64 = 18 + 27;
/// Writes between two looks of the merge, as the background looks once a second.
const LOOK_EVERY: u64 = 500;
/// So many times the live bytes are written before counting begins, and then again.
const TURNS: u64 = 5;

fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
enum Kind {
    Uniform,
    Skewed,
    Expiring,
}

pub(crate) fn run(home: &Path, load: &Load) -> peercask::Result<Vec<Value>> {
    let mut results = Vec::new();
    for (name, kind, bounds) in [
        ("uniform", Kind::Uniform, [1.25, 1.39, 1.67]),
        ("90-10", Kind::Skewed, [1.25, 1.43, 1.67]),
        ("expiring", Kind::Expiring, [1.25, 1.43, 1.67]),
    ] {
        for bound in bounds {
            results.push(one(home, load, name, kind, bound)?);
        }
    }
    Ok(results)
}

/// The key of write number `i`, and its life.
fn next(kind: Kind, i: u64, n: u64, random: &mut impl FnMut() -> u64) -> (u64, Write) {
    match kind {
        Kind::Uniform => (random() % n, Write::new()),
        Kind::Skewed if !random().is_multiple_of(10) => (random() % (n / 10), Write::new()),
        Kind::Skewed => (n / 10 + random() % (n - n / 10), Write::new()),
        Kind::Expiring => {
            let hours = [1, 10, 100, 1_000][usize::try_from(random() % 4).unwrap_or(0)];
            let life = Duration::from_secs(hours * 3_600);
            (i, Write::new().ttl(life))
        }
    }
}

fn one(home: &Path, load: &Load, name: &str, kind: Kind, bound: f64) -> peercask::Result<Value> {
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let options = Options::default()
        .background(false)
        .segment_bytes(SEGMENT_BYTES)
        .merge_space_amplification(bound)
        .image_index_bytes(u64::MAX)
        .clock(clock.clone());
    let store = Store::open(home.join(format!("merge-{name}-{bound}")), options)?;
    let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
    let n = load.n;
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let value = load.value();
    let mut start = (Stats::default(), 0);
    let (mut fill, mut looks, mut asked) = (0.0, 0, 0);
    // So that about `n` records are alive at a time: their mean life is 277.75 hours.
    let tick = Duration::from_millis(999_900_000 / n.max(1)).max(Duration::from_millis(1));
    for i in 0..(2 * TURNS + 1) * n {
        let (key, write) = next(kind, i, n, &mut random);
        if matches!(kind, Kind::Expiring) {
            clock.advance(tick);
        }
        // The first turn makes every key.
        let key = if i < n { i } else { key };
        let write = write.durability(Durability::Buffered);
        keyspace.put_with(load.key(key), &value, write)?.wait()?;
        if i == (TURNS + 1) * n {
            start = (store.stats(), i);
        }
        asked = i + 1 - start.1;
        if i % LOOK_EVERY == 0 {
            store.merge(Merge::Needed)?;
            if i > (TURNS + 1) * n {
                let stats = store.stats();
                fill += (stats.live_bytes - stats.expired_bytes) as f64
                    / stats.disk_bytes.max(1) as f64;
                looks += 1;
            }
        }
    }
    let end = store.stats();
    let written = end.written_bytes - start.0.written_bytes;
    let merged = end.merge_written_bytes - start.0.merge_written_bytes;
    // Appends and hints without manifests, which weigh more than they do in stores of usual size.
    let plain = (asked * (wide(load.key_len + load.value_len) + FRAMING_AND_HINT)) as f64;
    let (amplification, fill) = (1.0 + merged as f64 / plain, fill / f64::from(looks.max(1)));
    println!(
        "{name}, bound {bound}: write amplification {amplification:.2} at {fill:.2} live of what is \
         on disk; {:.2} of the bytes of keys and values",
        written as f64 / (end.user_bytes - start.0.user_bytes) as f64
    );
    store.close()?;
    Ok(json!({
        "backend": "peercask", "workload": format!("merge-{name}-{bound}"), "n": asked,
        "key_len": load.key_len, "value_len": load.value_len, "threads": 1,
        "write_amplification": amplification, "live_share": fill,
        "user_bytes": end.user_bytes - start.0.user_bytes, "write_bytes": written,
    }))
}
