//! The figures of a store for the recorder of the `metrics` facade, if the feature is on. It knows
//! the picture that `stats` makes, never the store: who wants figures over time calls it over time.

use metrics::{counter, gauge};

use crate::histogram::Histogram;
use crate::stats::Stats;

/// The shares that are published of each histogram.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)];
const NANOS: f64 = 1e-9;
const MILLIS: f64 = 1e-3;

impl Stats {
    /// Hands every figure to the recorder of the `metrics` facade, with the label `store`: counts
    /// as counters, sizes as gauges, and of each histogram its count and, with the label
    /// `quantile`, the greatest value of 50, 90, 99 and 100 of a hundred. Times are in seconds.
    /// Call it as often as figures are wanted; it costs the store nothing in between.
    ///
    /// ```
    /// # use peercask::{Options, Store};
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let store = Store::open(dir.path(), Options::default())?;
    /// store.stats().publish("peers");
    /// # Ok::<(), peercask::Error>(())
    /// ```
    pub fn publish(&self, store: &str) {
        for (name, value) in self.counts() {
            counter!(name, "store" => store.to_owned()).absolute(value);
        }
        for (name, value) in self.sizes() {
            // Precision beyond 2^53 does not matter in a gauge.
            gauge!(name, "store" => store.to_owned()).set(value as f64);
        }
        let poisoned = f64::from(u8::from(self.poisoned.is_some()));
        gauge!("peercask_poisoned", "store" => store.to_owned()).set(poisoned);
        let histograms = [
            ("peercask_get_seconds", &self.get_latency_ns, NANOS),
            ("peercask_write_seconds", &self.write_latency_ns, NANOS),
            ("peercask_sync_seconds", &self.sync_latency_ns, NANOS),
            ("peercask_merge_seconds", &self.merge_latency_ns, NANOS),
            ("peercask_sync_group_records", &self.sync_group_records, 1.0),
            (
                "peercask_reclaim_lateness_seconds",
                &self.reclaim_lateness_ms,
                MILLIS,
            ),
        ];
        for (name, histogram, unit) in histograms {
            publish_histogram(store, name, histogram, unit);
        }
    }

    fn counts(&self) -> [(&'static str, u64); 12] {
        [
            ("peercask_puts_total", self.puts),
            ("peercask_deletes_total", self.deletes),
            ("peercask_gets_total", self.gets),
            ("peercask_syncs_total", self.syncs),
            ("peercask_rotations_total", self.rotations),
            ("peercask_merges_total", self.merges),
            ("peercask_stalls_total", self.stalls),
            ("peercask_evicted_total", self.evicted),
            ("peercask_user_bytes_total", self.user_bytes),
            ("peercask_written_bytes_total", self.written_bytes),
            (
                "peercask_merge_written_bytes_total",
                self.merge_written_bytes,
            ),
            ("peercask_last_seq_total", self.last_seq),
        ]
    }

    fn sizes(&self) -> [(&'static str, u64); 13] {
        let merging = self.merging;
        [
            ("peercask_segments", self.segments),
            ("peercask_damaged_segments", self.damaged_segments),
            ("peercask_disk_bytes", self.disk_bytes),
            ("peercask_live_bytes", self.live_bytes),
            ("peercask_dead_bytes", self.dead_bytes),
            ("peercask_expired_bytes", self.expired_bytes),
            ("peercask_tombstone_bytes", self.tombstone_bytes),
            ("peercask_removed_bytes", self.removed_bytes),
            ("peercask_keys", self.keys),
            ("peercask_index_bytes", self.index_bytes),
            (
                "peercask_unsynced_records",
                self.last_seq.saturating_sub(self.synced_seq),
            ),
            (
                "peercask_merging_done_bytes",
                merging.map_or(0, |merging| merging.done_bytes),
            ),
            (
                "peercask_merging_total_bytes",
                merging.map_or(0, |merging| merging.total_bytes),
            ),
        ]
    }
}

fn publish_histogram(store: &str, name: &'static str, histogram: &Histogram, unit: f64) {
    let count = format!("{name}_count");
    counter!(count, "store" => store.to_owned()).absolute(histogram.count());
    for (label, share) in QUANTILES {
        if let Some(value) = histogram.quantile(share) {
            let labels = [("store", store.to_owned()), ("quantile", label.to_owned())];
            gauge!(name, &labels).set(value as f64 * unit);
        }
    }
}

#[cfg(all(test, not(any(feature = "shuttle", feature = "loom"))))]
mod tests {
    use super::*;
    use crate::histogram::Recorder as Values;
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    /// What was told, by name and labels.
    #[derive(Default)]
    struct Told(Arc<Mutex<BTreeMap<String, f64>>>);

    struct One(String, Arc<Mutex<BTreeMap<String, f64>>>);

    impl One {
        fn tell(&self, value: f64) {
            self.1.lock().expect("whole").insert(self.0.clone(), value);
        }
    }

    impl CounterFn for One {
        fn increment(&self, _: u64) {
            panic!("counts are absolute")
        }

        fn absolute(&self, value: u64) {
            self.tell(value as f64);
        }
    }

    impl GaugeFn for One {
        fn increment(&self, _: f64) {
            panic!("sizes are set")
        }

        fn decrement(&self, _: f64) {
            panic!("sizes are set")
        }

        fn set(&self, value: f64) {
            self.tell(value);
        }
    }

    impl Told {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
            Arc::new(One(
                format!("{} {}", key.name(), labels.join(" ")),
                self.0.clone(),
            ))
        }
    }

    impl Recorder for Told {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
            panic!("a picture is not a stream of values")
        }
    }

    #[test]
    fn every_figure_reaches_the_recorder_under_its_name() {
        let latency = Values::default();
        latency.record(2_000_000_000);
        let stats = Stats {
            puts: 7,
            dead_bytes: 9,
            sync_latency_ns: latency.picture(),
            ..Stats::default()
        };
        let told = Told::default();
        metrics::with_local_recorder(&told, || stats.publish("peers"));
        let told = told.0.lock().expect("whole");
        assert_eq!(told.get("peercask_puts_total peers"), Some(&7.0));
        assert_eq!(told.get("peercask_dead_bytes peers"), Some(&9.0));
        assert_eq!(told.get("peercask_sync_seconds_count peers"), Some(&1.0));
        assert_eq!(told.get("peercask_sync_seconds peers 0.99"), Some(&2.0));
        assert_eq!(
            told.get("peercask_get_seconds peers 0.99"),
            None,
            "nothing was read"
        );
    }
}
