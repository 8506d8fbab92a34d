//! What is done to a store. Each workload is a function from a [`Context`] to lines; it makes its
//! own stores below a directory that is empty when it begins.

mod device;
mod expiring;
mod growth;
mod merging;
pub(crate) mod opens;
mod reads;
mod space;
mod writes;
mod ycsb;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use peercask::Durability;

use crate::Outcome;
use crate::backend::{Backend, Entry, Kind, Settings};
use crate::line::Line;
use crate::load::{Load, Order};
use crate::measure::{self, Measured, Timing, Work};
use crate::process;

/// A workload that can be asked for by name.
pub struct Workload {
    /// Its name in every line.
    pub name: &'static str,
    /// What is done and what is counted.
    pub about: &'static str,
    /// Which backends it applies to.
    pub applies: fn(&Entry) -> bool,
    /// Whether it asks after memory, so that the program with the counting allocator runs it.
    pub counting: bool,
    run: fn(&Context<'_>) -> Outcome<Vec<Line>>,
}

impl Workload {
    /// Does it.
    ///
    /// # Errors
    /// What kept it from being measured.
    pub fn run(&self, context: &Context<'_>) -> Outcome<Vec<Line>> {
        (self.run)(context)
    }
}

/// What a workload works with.
pub struct Context<'a> {
    /// The workload's own name.
    pub workload: &'static str,
    /// The sizes.
    pub load: Load,
    /// The store under measure.
    pub entry: &'static Entry,
    /// Where stores may be made.
    pub home: &'a Path,
    /// The program and arguments that run a child.
    pub child: &'a [OsString],
}

/// All workloads, in the order in which they are run.
#[must_use]
pub fn all() -> &'static [Workload] {
    ALL
}

/// The one of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Workload> {
    ALL.iter().find(|workload| workload.name == name)
}

/// What `peercask bench` runs when no workload is named: a look at each side in about a minute.
pub const QUICK: &[&str] = &[
    "put-buffered",
    "put-kernel",
    "device-1",
    "read-hit",
    "read-miss",
    "ycsb-a",
    "scan",
    "index",
    "growth",
    "open-clean",
    "open-kill",
];

fn any(_: &Entry) -> bool {
    true
}

fn persistent(entry: &Entry) -> bool {
    entry.persistent
}

fn ordered(entry: &Entry) -> bool {
    entry.ordered
}

fn kernel(entry: &Entry) -> bool {
    entry.levels.contains(&Durability::Kernel)
}

fn device(entry: &Entry) -> bool {
    entry.levels.contains(&Durability::Device)
}

fn buffered(entry: &Entry) -> bool {
    entry.levels.contains(&Durability::Buffered)
}

fn ours(entry: &Entry) -> bool {
    entry.kind == Kind::Ours
}

const fn workload(
    name: &'static str,
    about: &'static str,
    applies: fn(&Entry) -> bool,
    run: fn(&Context<'_>) -> Outcome<Vec<Line>>,
) -> Workload {
    Workload {
        name,
        about,
        applies,
        counting: false,
        run,
    }
}

static ALL: &[Workload] = &[
    workload(
        "fill",
        "n keys in random order into an empty store, at its weakest durability, and one sync",
        any,
        writes::fill,
    ),
    workload(
        "overwrite",
        "every key once more, in another random order",
        any,
        writes::overwrite,
    ),
    workload(
        "put-buffered",
        "puts into an empty store that stay in the process's memory for a while",
        buffered,
        writes::buffered,
    ),
    workload(
        "put-kernel",
        "puts that each survive the death of the process",
        kernel,
        writes::kernel,
    ),
    workload(
        "device-1",
        "puts of one thread that each survive a power cut, in turn with raw loops of append and fdatasync",
        device,
        device::one,
    ),
    workload(
        "device-8",
        "the same by 8 threads that share syncs as the store lets them",
        device,
        device::eight,
    ),
    workload(
        "device-64",
        "the same by 64 threads",
        device,
        device::sixty_four,
    ),
    workload(
        "device-batch",
        "batches of 100 puts, each batch on the device",
        device,
        device::batches,
    ),
    workload(
        "read-hit",
        "every key once in random order, value copied out",
        any,
        reads::hit,
    ),
    workload("read-miss", "keys that are not there", any, reads::miss),
    workload(
        "read-zipf",
        "keys by Zipf's law with exponent 0.99",
        any,
        reads::zipf,
    ),
    workload(
        "ycsb-a",
        "half reads, half updates, by Zipf's law",
        any,
        ycsb::a,
    ),
    workload(
        "ycsb-b",
        "95 % reads, 5 % updates, by Zipf's law",
        any,
        ycsb::b,
    ),
    workload(
        "ycsb-c",
        "reads by Zipf's law, while writes might come",
        any,
        ycsb::c,
    ),
    workload(
        "ycsb-d",
        "95 % reads of what is newest, 5 % new keys",
        any,
        ycsb::d,
    ),
    workload(
        "ycsb-e",
        "95 % scans of up to 100 entries, 5 % new keys",
        ordered,
        ycsb::e,
    ),
    workload(
        "ycsb-f",
        "half reads, half reads that write back, by Zipf's law",
        any,
        ycsb::f,
    ),
    workload(
        "scan",
        "all 64 entries that share a prefix; an operation is one entry",
        ordered,
        reads::scan,
    ),
    workload(
        "delete-half",
        "half of the keys, in random order; files when it is quiet again",
        any,
        space::delete_half,
    ),
    workload(
        "expiring",
        "records of four lifetimes, 1 : 10 : 100 : 1000, n alive at a time; a store without expiry gets the deletes",
        persistent,
        expiring::run,
    ),
    workload(
        "open-clean",
        "open after a clean close, page cache warm",
        persistent,
        opens::clean,
    ),
    workload(
        "open-kill",
        "open after the process that wrote was killed, page cache warm",
        persistent,
        opens::kill,
    ),
    Workload {
        name: "index",
        about: "memory a key of the index alone, without background threads, while keys come",
        applies: ours,
        counting: true,
        run: growth::index,
    },
    Workload {
        name: "growth",
        about: "memory a key while keys come, and the longest calls beside an idle thread's naps",
        applies: any,
        counting: true,
        run: growth::growth,
    },
    workload(
        "space",
        "five overwrites of every key: files after each, bytes written, files when it is quiet again",
        persistent,
        space::overwrites,
    ),
    workload(
        "latency-merge",
        "overwrites while the store gives space back: the longest calls beside an idle thread's naps",
        persistent,
        space::latency,
    ),
    workload(
        "framing",
        "bytes written for each byte of the caller's, before any merge, hints included",
        ours,
        merging::framing,
    ),
    workload(
        "merging-uniform",
        "bytes that merging adds, uniform overwrites, at three bounds of space",
        ours,
        merging::uniform,
    ),
    workload(
        "merging-90-10",
        "the same, nine of ten writes to a tenth of the keys",
        ours,
        merging::skewed,
    ),
    workload(
        "merging-expiring",
        "the same, records of four lifetimes",
        ours,
        merging::expiring,
    ),
];

impl Context<'_> {
    /// A new directory for a store.
    fn dir(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.home.join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    fn open(&self, name: &str) -> Outcome<Box<dyn Backend>> {
        self.open_for(name, self.entry.weakest())
    }

    /// A store whose writes ask for `durability` at most.
    fn open_for(&self, name: &str, durability: Durability) -> Outcome<Box<dyn Backend>> {
        let settings = Settings {
            durability,
            ..Settings::default()
        };
        (self.entry.open)(&self.dir(name)?, &settings)
    }

    fn line(&self) -> Line {
        Line::new(&self.load, self.entry.name, self.workload)
    }

    /// A line of another backend, or of a part of the workload.
    fn line_of(&self, backend: &str, workload: &str) -> Line {
        Line::new(&self.load, backend, workload)
    }

    /// Writes all keys at the weakest durability, in the order of `seed`.
    fn put_all(
        &self,
        store: &dyn Backend,
        seed: u64,
        version: u64,
        timing: Timing,
    ) -> Outcome<Measured> {
        let (load, order, pool) = (self.load, Order::new(self.load.n, seed), self.load.pool());
        let weakest = self.entry.weakest();
        measure::run(load.threads, load.n, Duration::MAX, timing, |thread| {
            let (pool, mut key) = (&pool, Vec::new());
            Ok(Box::new(move |i| {
                let number = order.at(i * load.threads + thread);
                load.key(number, &mut key);
                store.put(&key, pool.value(number, version), weakest)
            }) as Work<'_>)
        })
    }

    /// A store with all keys in it, on the device, gone quiet. It is filled by batches: that is
    /// quicker with most stores, and is not what is measured.
    fn filled(&self) -> Outcome<Box<dyn Backend>> {
        let store = self.open("store")?;
        let (load, order, pool) = (self.load, Order::new(self.load.n, FILL), self.load.pool());
        let mut at = 0;
        while at < load.n {
            let end = (at + FILL_BATCH).min(load.n);
            let pair = |i| {
                let (number, mut key) = (order.at(i), Vec::new());
                load.key(number, &mut key);
                (key, pool.value(number, 0).to_vec())
            };
            let pairs: Vec<_> = (at..end).map(pair).collect();
            store.batch(&pairs, self.entry.weakest())?;
            at = end;
        }
        store.sync()?;
        self.settle();
        Ok(store)
    }

    /// Waits until the store's files have not changed for a while.
    fn settle(&self) {
        let quiet = match self.load.n {
            ..10_000 => Duration::from_millis(50),
            _ => Duration::from_secs(2),
        };
        let end = Instant::now() + SETTLE_MAX;
        let mut since = Instant::now();
        let mut bytes = process::disk_bytes(self.home);
        while since.elapsed() < quiet && Instant::now() < end {
            thread::sleep(quiet / 10);
            let now = process::disk_bytes(self.home);
            if now != bytes {
                (bytes, since) = (now, Instant::now());
            }
        }
    }
}

/// The longest wait for a store to go quiet.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Pairs of a batch that fills a store.
const FILL_BATCH: u64 = 1_000;
/// The order in which stores are filled.
const FILL: u64 = 1;
/// Any order but that.
const OTHER: u64 = 2;

#[cfg(test)]
mod tests;
