//! How fast the store is beside two floors measured in the same run: a raw append log on the same disk,
//! and a `HashMap<Vec<u8>, Vec<u8>>` in memory. Same records, same order, same moment.
//!
//! Only ratios mean anything across machines; each is the median of a few rounds in which store and
//! floors take turns. Nothing here syncs: `Kernel` and `Buffered` promise no more than a raw write does.

use std::collections::HashMap;
use std::fs;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;
use peercask::{Durability, Keyspace, KeyspaceOptions, Options, Store, Write};
use serde::Serialize;

use super::plan::PlannedFile;
use super::raw_log;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::progress::{Count, Progress};
use crate::units;

/// Rounds of each measurement; odd, for a median.
const ROUNDS: usize = 3;

/// Bounds of the sample: it is held in memory twice and written a dozen times.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;
const SAMPLE_RECORDS_MAX: usize = 20_000;
const SAMPLE_VALUE_LEN_MAX: u64 = 1 << 20;

pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

#[derive(Serialize)]
pub(super) struct Floors {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) rounds: usize,
    /// The store at `Kernel`, the log with a write a record.
    pub(super) put_kernel: Compared,
    /// The store at `Buffered`, the log through a buffer.
    pub(super) put_buffered: Compared,
    /// Random order, each value copied out.
    pub(super) get: Compared,
    /// The store after a clean close; the log read through; the map filled again.
    pub(super) open: Compared,
}

/// Records per second, and the store's rate divided by each floor's: above 1 the store is faster.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Compared {
    pub(super) store_per_s: f64,
    pub(super) log_per_s: f64,
    pub(super) map_per_s: f64,
    pub(super) store_to_log: f64,
    pub(super) store_to_map: f64,
}

/// What one operation on all records took in one round.
#[derive(Clone, Copy, Default)]
struct Times {
    store: Duration,
    log: Duration,
    map: Duration,
}

#[derive(Clone, Copy, Default)]
struct Round {
    put_kernel: Times,
    put_buffered: Times,
    get: Times,
    open: Times,
}

/// Measures with the first files of the plan that fit the sample, in a directory of its own.
pub(super) fn measure(files: &[PlannedFile], dir: &Path, rng: &mut Rng) -> Result<Floors, Failure> {
    let records = sample(files);
    let bytes = records
        .iter()
        .map(|record| record.key.len() + record.value.len());
    let bytes = u64::try_from(bytes.sum::<usize>()).unwrap_or(0);
    let mut progress = Progress::new(
        "measuring beside the floors",
        Count::Things,
        u64::try_from(ROUNDS).unwrap_or(0),
    );
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        fs::create_dir_all(dir)
            .map_err(|error| Failure::io(format_args!("create {}", dir.display()), &error))?;
        rounds.push(round(&records, dir, rng)?);
        fs::remove_dir_all(dir)
            .map_err(|error| Failure::io(format_args!("remove {}", dir.display()), &error))?;
        progress.add(1);
    }
    let number = u64::try_from(records.len()).unwrap_or(0);
    let compared = |pick: fn(&Round) -> Times| compare(number, rounds.iter().map(pick).collect());
    Ok(Floors {
        records: number,
        bytes,
        rounds: ROUNDS,
        put_kernel: compared(|round| round.put_kernel),
        put_buffered: compared(|round| round.put_buffered),
        get: compared(|round| round.get),
        open: compared(|round| round.open),
    })
}

fn sample(files: &[PlannedFile]) -> Vec<Record> {
    let mut bytes_left = SAMPLE_BYTES_MAX;
    let fits = |file: &&PlannedFile| {
        let fits = file.len <= bytes_left && file.len <= SAMPLE_VALUE_LEN_MAX;
        if fits {
            bytes_left -= file.len;
        }
        fits
    };
    let chosen = files.iter().filter(fits).take(SAMPLE_RECORDS_MAX);
    chosen
        .filter_map(|file| {
            Some(Record {
                key: file.key.clone(),
                value: fs::read(&file.path).ok()?,
            })
        })
        .collect()
}

fn round(records: &[Record], dir: &Path, rng: &mut Rng) -> Result<Round, Failure> {
    let (log_path, store_dir) = (dir.join("raw-log"), dir.join("store"));
    let log_failed = |error| Failure::io("use the raw log", &error);
    let mut round = Round::default();

    interrupt::check()?;
    (round.put_buffered.log, _) =
        timed(|| raw_log::append_buffered(&log_path, records).map_err(log_failed))?;
    let buffered_dir = dir.join("buffered-store");
    let (store, keyspace) = open(&buffered_dir)?;
    (round.put_buffered.store, ()) = timed(|| put_all(&keyspace, records, Durability::Buffered))?;
    store.close()?;

    interrupt::check()?;
    let (took, places) = timed(|| raw_log::append_each(&log_path, records).map_err(log_failed))?;
    round.put_kernel.log = took;
    let (store, keyspace) = open(&store_dir)?;
    (round.put_kernel.store, ()) = timed(|| put_all(&keyspace, records, Durability::Kernel))?;
    let (took, map) = timed(|| Ok(fill_map(records)))?;
    (round.put_kernel.map, round.put_buffered.map) = (took, took);

    interrupt::check()?;
    let mut order: Vec<(&Record, raw_log::Place)> = records.iter().zip(places).collect();
    rng.shuffle(&mut order);
    let mut log = File::open(&log_path).map_err(log_failed)?;
    let mut buffer = Vec::new();
    // The first pass warms every cache and is not counted.
    for _ in 0..2 {
        (round.get.store, ()) = timed(|| get_all(&keyspace, &order, &mut buffer))?;
        (round.get.log, ()) = timed(|| {
            for (_, place) in &order {
                raw_log::read_at(&mut log, *place, &mut buffer).map_err(log_failed)?;
                black_box(&buffer);
            }
            Ok(())
        })?;
        (round.get.map, ()) = timed(|| get_all_from_map(&map, &order, &mut buffer))?;
    }

    drop(keyspace);
    store.close()?;
    (round.open.store, _) = timed(|| open(&store_dir))?;
    (round.open.log, _) = timed(|| raw_log::scan(&log_path).map_err(log_failed))?;
    (round.open.map, _) = timed(|| Ok(fill_map(records)))?;
    Ok(round)
}

/// A store that leaves syncing to the kernel, as the raw log does.
fn open(dir: &Path) -> Result<(Store, Keyspace), Failure> {
    let options = Options::default().background(false).sync_interval(None);
    let store = Store::open(dir, options)?;
    let keyspace = store.keyspace("sample", KeyspaceOptions::hash())?;
    Ok((store, keyspace))
}

fn put_all(keyspace: &Keyspace, records: &[Record], durability: Durability) -> Result<(), Failure> {
    for record in records {
        let write = Write::new().durability(durability);
        keyspace
            .put_with(&record.key, &record.value, write)?
            .wait()?;
    }
    Ok(())
}

fn fill_map(records: &[Record]) -> HashMap<Vec<u8>, Vec<u8>> {
    let mut map = HashMap::new();
    for record in records {
        map.insert(record.key.clone(), record.value.clone());
    }
    map
}

fn get_all(
    keyspace: &Keyspace,
    order: &[(&Record, raw_log::Place)],
    buffer: &mut Vec<u8>,
) -> Result<(), Failure> {
    for (record, _) in order {
        let value = keyspace.get(&record.key)?.ok_or_else(lost)?;
        buffer.clear();
        buffer.extend_from_slice(&value);
        black_box(&buffer);
    }
    Ok(())
}

fn get_all_from_map(
    map: &HashMap<Vec<u8>, Vec<u8>>,
    order: &[(&Record, raw_log::Place)],
    buffer: &mut Vec<u8>,
) -> Result<(), Failure> {
    for (record, _) in order {
        let value = map.get(&record.key).ok_or_else(lost)?;
        buffer.clear();
        buffer.extend_from_slice(value);
        black_box(&buffer);
    }
    Ok(())
}

fn lost() -> Failure {
    Failure::new(Exit::NotFoundOrWrong, "a record of the sample is missing")
}

fn timed<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<(Duration, T), Failure> {
    let started = Instant::now();
    let result = work()?;
    let took = started.elapsed();
    // Taken before the result is dropped or looked at.
    Ok((took, result))
}

fn compare(records: u64, rounds: Vec<Times>) -> Compared {
    let rate = |pick: fn(&Times) -> Duration| {
        let rates = rounds
            .iter()
            .map(|times| units::per_second(records, pick(times)));
        median(rates.collect())
    };
    let quotient = |pick: fn(&Times) -> Duration| {
        let own = |times: &Times| times.store.as_secs_f64().max(1e-9);
        let quotients = rounds
            .iter()
            .map(|times| pick(times).as_secs_f64() / own(times));
        median(quotients.collect())
    };
    Compared {
        store_per_s: rate(|times| times.store),
        log_per_s: rate(|times| times.log),
        map_per_s: rate(|times| times.map),
        store_to_log: quotient(|times| times.log),
        store_to_map: quotient(|times| times.map),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_above_one_mean_that_the_store_is_faster() {
        let times = |store, log, map| Times {
            store: Duration::from_millis(store),
            log: Duration::from_millis(log),
            map: Duration::from_millis(map),
        };
        let compared = compare(
            100,
            vec![times(10, 20, 5), times(1_000, 1, 1), times(10, 20, 5)],
        );
        assert!((compared.store_to_log - 2.0).abs() < 1e-9);
        assert!((compared.store_to_map - 0.5).abs() < 1e-9);
        assert!((compared.store_per_s - 10_000.0).abs() < 1e-6);
    }
}
