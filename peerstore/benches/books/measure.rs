//! Time and memory: rates of calls, latencies in fixed memory, what the kernel and a counting allocator say.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::ALLOCATOR;

/// What a process of its own is to do, and where.
pub(crate) const CHILD: &str = "PEERCASK_BENCH_BOOKS_CHILD";
/// Inputs are made so many at a time, off the clock.
const INPUTS: u32 = 4_096;

/// How quick calls were.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) cpu_ns: f64,
}

impl Rate {
    pub(crate) fn text(&self) -> String {
        format!("{:.0} ({:.0})", self.per_second, self.cpu_ns)
    }
}

/// Processor time of this thread.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.expect("forward"), nanos.expect("below a second"))
}

/// Of calls with numbers from 0; what it costs to make their inputs is not in it.
pub(crate) fn rate<I>(count: u32, input: impl Fn(u32) -> I, mut call: impl FnMut(u32, I)) -> Rate {
    let (mut wall, mut worked) = (Duration::ZERO, Duration::ZERO);
    for from in (0..count).step_by(INPUTS as usize) {
        let numbers = from..count.min(from + INPUTS);
        let inputs: Vec<(u32, I)> = numbers.map(|number| (number, input(number))).collect();
        let (start, before) = (Instant::now(), cpu());
        inputs
            .into_iter()
            .for_each(|(number, input)| call(number, input));
        wall += start.elapsed();
        worked += cpu() - before;
    }
    Rate {
        per_second: f64::from(count) / wall.as_secs_f64(),
        cpu_ns: worked.as_secs_f64() * 1e9 / f64::from(count),
    }
}

/// How long calls took, to one part in thirty-two, in memory that does not grow.
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Latencies {
    pub(crate) fn new() -> Latencies {
        Latencies {
            buckets: vec![0; 64 * 32],
            count: 0,
        }
    }

    /// Times one call.
    pub(crate) fn time(&mut self, call: impl FnOnce()) {
        let start = Instant::now();
        call();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let shift = ns.max(1).ilog2().saturating_sub(5);
        let at = u64::from(shift) * 32 + (ns >> shift);
        if let Some(bucket) = usize::try_from(at)
            .ok()
            .and_then(|at| self.buckets.get_mut(at))
        {
            *bucket += 1;
            self.count += 1;
        }
    }

    /// The time within which so many of a thousand calls ended, as the end of its bucket.
    pub(crate) fn within(&self, permille: u64) -> Duration {
        let wanted = (self.count * permille).div_ceil(1_000);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let shift = (at / 32).saturating_sub(1);
                return Duration::from_nanos(((at - shift * 32 + 1) as u64) << shift);
            }
        }
        Duration::ZERO
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

/// Memory of this process in MiB: resident, resident without file pages, and allocated.
pub(crate) fn memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<f64>().ok())
            .unwrap_or(f64::NAN)
            / 1_024.0
    };
    let held = ALLOCATOR.allocated() as f64 / f64::from(1 << 20);
    let (rss, anonymous) = (kib("VmRSS:"), kib("RssAnon:"));
    println!(
        "memory {when}: {rss:.0} MiB resident, {anonymous:.0} of it not file pages; {held:.1} MiB allocated"
    );
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Runs a part in a process of its own.
pub(crate) fn child(what: &str, dir: &Path, count: u32) {
    let exe = std::env::current_exe().expect("found itself");
    let mut child = std::process::Command::new(exe);
    child.arg(count.to_string());
    child.env(CHILD, format!("{what} {}", dir.display()));
    let ended = child.status().expect("ran");
    assert!(ended.success(), "{what}: {ended}");
}
