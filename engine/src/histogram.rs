//! Counts of values by size, in fixed memory: eight steps to each power of two, so that what is read
//! back is at most an eighth too high. Recording takes no lock and never allocates.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Steps to a power of two, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
/// Values from this power of two on share the last bucket: for nanoseconds two and a half hours.
const POWER_MAX: u32 = 43;
const BUCKETS: usize = STEPS + (POWER_MAX - STEP_BITS) as usize * STEPS + 1;

/// What values are recorded into.
pub(crate) struct Recorder {
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            counts: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    pub(crate) fn record(&self, value: u64) {
        if let Some(count) = self.counts.get(bucket_of(value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        // Nearly always a look is enough.
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn picture(&self) -> Histogram {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Histogram {
            counts: self.counts.iter().map(load).collect(),
            sum: load(&self.sum),
            max: load(&self.max),
        }
    }
}

/// How often values of which size were met. The unit is told where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together; wraps around beyond 64 bits.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The greatest value, exactly; 0 if there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean; `None` if there is no value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The value below or at which this share of all values lies, from 0 to 1: at most an eighth
    /// too high, never too low. `None` if there is no value.
    ///
    /// ```
    /// # use peercask::{KeyspaceOptions, Options, Store};
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// # let keyspace = store.keyspace("k", KeyspaceOptions::hash())?;
    /// keyspace.put("key", "value")?;
    /// let syncs = store.stats().sync_latency_ns;
    /// println!("{} syncs, half of them within {:?} ns", syncs.count(), syncs.quantile(0.5));
    /// # Ok::<(), peercask::Error>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        let full = self.counts.iter().enumerate().find(|(_, count)| {
            below += **count;
            **count > 0 && below as f64 >= wanted
        });
        full.map(|(at, _)| bucket_end(at).min(self.max))
    }

    /// The buckets that hold something: the greatest value that each takes, and how many it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(at, count)| (bucket_end(at), *count))
    }
}

fn bucket_of(value: u64) -> usize {
    let power = value.checked_ilog2().unwrap_or(0);
    if power < STEP_BITS {
        return usize::try_from(value).unwrap_or(0);
    }
    if power >= POWER_MAX {
        return BUCKETS - 1;
    }
    let step = usize::try_from(value >> (power - STEP_BITS)).unwrap_or(0) - STEPS;
    STEPS + (power - STEP_BITS) as usize * STEPS + step
}

/// The greatest value of a bucket.
fn bucket_end(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    if bucket + 1 == BUCKETS {
        return u64::MAX;
    }
    let (power, step) = ((bucket - STEPS) / STEPS, bucket % STEPS);
    (((STEPS + step + 1) as u64) << power) - 1
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_its_bucket_and_is_told_at_most_an_eighth_too_high() {
        let powers = (0..64).flat_map(|power| [1_u64 << power, (1 << power) + 1, (1 << power) - 1]);
        for value in powers.chain(0..5_000) {
            let bucket = bucket_of(value);
            assert!(value <= bucket_end(bucket), "{value}");
            assert!(bucket == 0 || value > bucket_end(bucket - 1), "{value}");
            if value < 1 << POWER_MAX {
                assert!(bucket_end(bucket) - value <= value / 8, "{value}");
            }
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let recorder = Recorder::default();
        let values: Vec<u64> = (1..=1_000).map(|n| n * n).collect();
        values.iter().for_each(|value| recorder.record(*value));
        let picture = recorder.picture();
        assert_eq!((picture.count(), picture.max()), (1_000, 1_000_000));
        assert_eq!(picture.sum(), values.iter().sum::<u64>());
        for (share, rank) in [(0.0, 0), (0.5, 499), (0.99, 989), (1.0, 999)] {
            let (told, exact) = (picture.quantile(share).expect("some"), values[rank]);
            assert!(
                (exact..=exact + exact / 8).contains(&told),
                "{share}: {told} for {exact}"
            );
        }
        assert_eq!(Recorder::default().picture().quantile(0.5), None);
    }
}
