//! Timing: threads that start together, a histogram of what their calls took, and an idle thread
//! that shows what the machine itself does to a thread that does nothing.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::{Outcome, process};

/// One call in so many is timed where the clock would cost more than the call.
const SAMPLE: u64 = 16;
/// After so many calls the time limit is looked at.
const LOOK_EVERY: u64 = 256;
/// An idle thread sleeps so long at a time.
const NAP: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_millis(1);
/// The longest that is told apart; what is longer counts as this.
const NS_MAX: u64 = 600_000_000_000;

/// Which calls are timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Every one, at one reading of the clock each: for the longest of all.
    Every,
    /// One in 16: for throughput.
    Sampled,
}

/// What came out.
pub struct Measured {
    /// Calls that were made.
    pub calls: u64,
    /// Operations in each call.
    pub per_call: u64,
    /// Threads that made them.
    pub threads: u64,
    /// From the common start to the last end.
    pub elapsed: Duration,
    /// Time that the calling threads had a processor; none where the system does not tell.
    pub cpu: Option<Duration>,
    /// Nanoseconds.
    pub histogram: Histogram<u64>,
    /// Timed calls over 1 ms.
    pub over_1_ms: u64,
}

impl Measured {
    /// Nothing yet.
    ///
    /// # Errors
    /// None: the bounds are good.
    pub fn empty() -> Outcome<Measured> {
        Ok(Measured {
            calls: 0,
            per_call: 1,
            threads: 1,
            elapsed: Duration::ZERO,
            cpu: Some(Duration::ZERO),
            histogram: Histogram::new_with_bounds(1, NS_MAX, 2)?,
            over_1_ms: 0,
        })
    }

    /// Operations a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let operations = (self.calls * self.per_call) as f64;
        operations / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Operations for each second that a calling thread had a processor, where it is known.
    #[must_use]
    pub fn per_cpu_second(&self) -> Option<f64> {
        let seconds = self.cpu.filter(|cpu| !cpu.is_zero())?.as_secs_f64();
        Some((self.calls * self.per_call) as f64 / seconds)
    }

    /// Counts one call.
    pub fn record(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(NS_MAX);
        self.histogram.saturating_record(ns.max(1));
        self.over_1_ms += u64::from(took > LONG);
    }

    /// Adds another's calls, made at the same time.
    ///
    /// # Errors
    /// None: all histograms have the same bounds.
    pub fn add(&mut self, other: &Measured) -> Outcome<()> {
        self.calls += other.calls;
        self.over_1_ms += other.over_1_ms;
        self.cpu = self.cpu.zip(other.cpu).map(|(a, b)| a + b);
        Ok(self.histogram.add(&other.histogram)?)
    }

    /// Upper ends and counts of what is not empty.
    #[must_use]
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
    }
}

/// A thread's share of the work: called with 0, 1, 2...
pub type Work<'a> = Box<dyn FnMut(u64) -> Outcome<()> + 'a>;

/// Lets `threads` threads make `calls` calls in all. `make` builds each thread's work in that
/// thread; the clock runs from when all are ready.
///
/// # Errors
/// The first error of any call.
pub fn run<'a>(
    threads: u64,
    calls: u64,
    limit: Duration,
    timing: Timing,
    make: impl Fn(u64) -> Outcome<Work<'a>> + Sync,
) -> Outcome<Measured> {
    let ready = Barrier::new(crate::narrow(threads + 1));
    let share = |thread: u64| calls / threads + u64::from(thread < calls % threads);
    let mut all = Measured::empty()?;
    all.threads = threads;
    thread::scope(|scope| -> Outcome<()> {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (ready, make, calls) = (&ready, &make, share(thread));
                scope.spawn(move || {
                    let work = make(thread);
                    ready.wait();
                    one(work?, calls, limit, timing)
                })
            })
            .collect();
        ready.wait();
        // From the first start to the last end: short work may be done before this thread runs.
        let mut span: Option<(Instant, Instant)> = None;
        for thread in running {
            let done = thread.join();
            let (done, start, end) = done.map_err(|_| "a thread of the workload panicked")??;
            all.add(&done)?;
            span = Some(span.map_or((start, end), |(s, e)| (s.min(start), e.max(end))));
        }
        all.elapsed = span.map_or(Duration::ZERO, |(start, end)| end - start);
        Ok(())
    })?;
    Ok(all)
}

/// One thread's calls, and when they began and ended.
fn one(
    mut work: Work<'_>,
    calls: u64,
    limit: Duration,
    timing: Timing,
) -> Outcome<(Measured, Instant, Instant)> {
    let mut done = Measured::empty()?;
    let cpu = process::thread_cpu();
    let start = Instant::now();
    let mut last = start;
    for i in 0..calls {
        if timing == Timing::Every {
            work(i)?;
            let now = Instant::now();
            done.record(now - last);
            last = now;
        } else if i % SAMPLE == 0 {
            let before = Instant::now();
            work(i)?;
            last = Instant::now();
            done.record(last - before);
        } else {
            work(i)?;
        }
        done.calls += 1;
        if i % LOOK_EVERY == 0 && start.elapsed() > limit {
            break;
        }
    }
    let end = Instant::now();
    done.cpu = process::thread_cpu().zip(cpu).map(|(now, then)| now - then);
    Ok((done, start, end))
}

/// Runs `work` beside a thread that only sleeps, and tells how late that woke: its histogram is
/// what any thread of this machine met meanwhile.
///
/// # Errors
/// Those of `work`.
pub fn beside_idle<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Measured)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let idle = scope.spawn(|| -> Outcome<Measured> {
            let mut naps = Measured::empty()?;
            let start = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let before = Instant::now();
                thread::sleep(NAP);
                naps.record(before.elapsed().saturating_sub(NAP));
                naps.calls += 1;
            }
            naps.elapsed = start.elapsed();
            Ok(naps)
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let naps = idle.join().map_err(|_| "the idle thread panicked")?;
        Ok((done?, naps?))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn all_calls_are_made_and_shared_among_the_threads() {
        let made = AtomicU64::new(0);
        let minute = Duration::from_secs(60);
        let measured = run(3, 100, minute, Timing::Every, |_| {
            let made = &made;
            Ok(Box::new(move |_| {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }))
        });
        let measured = measured.expect("no call fails");
        assert_eq!((made.into_inner(), measured.calls), (100, 100));
        assert_eq!(measured.histogram.len(), 100);
        let buckets: u64 = measured.buckets().iter().map(|bucket| bucket.1).sum();
        assert_eq!(buckets, 100);
    }

    #[test]
    fn an_error_and_the_limit_end_it() {
        let fails = run(2, 100, Duration::from_secs(60), Timing::Sampled, |_| {
            Ok(Box::new(|i| match i {
                10 => Err("no more".into()),
                _ => Ok(()),
            }))
        });
        assert!(fails.is_err());
        let short = run(1, 1_000, Duration::ZERO, Timing::Sampled, |_| {
            Ok(Box::new(|_| Ok(())))
        });
        assert_eq!(short.expect("runs").calls, 1);
    }

    #[test]
    fn an_idle_thread_tells_its_naps() {
        let work = || {
            thread::sleep(Duration::from_millis(5));
            Ok(7)
        };
        let (seven, naps) = beside_idle(work).expect("runs");
        assert_eq!(seven, 7);
        assert!(naps.calls > 0);
    }
}
