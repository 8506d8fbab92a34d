//! One measurement as one JSON line. The fields are a promise to scripts; what the tables and the
//! report show beyond them is in `details`, which is printed on request.

use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::measure::Measured;

/// What one workload measured of one backend. A field that does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Whose figures these are.
    pub backend: String,
    /// What was done.
    pub workload: String,
    /// Keys in the store, or put into it.
    pub n: u64,
    /// Bytes of each key.
    pub key_len: u64,
    /// Bytes of each value.
    pub value_len: u64,
    /// Threads that worked at once.
    pub threads: u64,
    /// Operations a second, all threads together; a batch counts its records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_per_s: Option<f64>,
    /// Half of the calls took at most so many nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_p50: Option<u64>,
    /// 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_p99: Option<u64>,
    /// 999 of 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_p999: Option<u64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_max: Option<u64>,
    /// Resident memory of the process that came with the keys, mapped files included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes_per_key: Option<f64>,
    /// The highest that a counting allocator saw from the 20,000th key on, divided by the keys
    /// there were at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_bytes_per_key: Option<f64>,
    /// Bytes of all files, as the file system has reserved them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Bytes of keys and values that were written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_bytes: Option<u64>,
    /// Bytes that the process sent to storage, as the kernel counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bytes: Option<u64>,
    /// Syncs, as the store counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syncs: Option<u64>,
    /// Milliseconds until an open returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_ms: Option<f64>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
}

/// What the tables and the report show beyond the fields of a [`Line`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Details {
    /// The backend's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Timed calls that took over 1 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_1_ms: Option<u64>,
    /// Timed calls: upper ends in nanoseconds and how many, rising.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(u64, u64)>,
    /// Operations for each second that the calling threads had a processor: beside each other these
    /// hold on a busy machine too. What background threads do is not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops_per_cpu_s: Option<f64>,
    /// Bytes a key that the counting allocator saw at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steady_bytes_per_key: Option<f64>,
    /// Bytes a key that the store says of its own indexes, in the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_bytes_per_key: Option<f64>,
    /// Bytes that each key took beyond the first quarter of them, as the counting allocator saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each_key_bytes: Option<f64>,
    /// Bytes that are there whatever the keys: what that leaves of the bytes at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_bytes: Option<f64>,
    /// The highest of any moment from the 20,000th key on, divided by the keys of that moment,
    /// without those that are always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each_key_bytes_most: Option<f64>,
    /// Bytes of the store's files without its keydir images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_images_bytes: Option<u64>,
    /// Resident memory that is not a mapped file, a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_anon_bytes_per_key: Option<f64>,
    /// Bytes of the newest values and their keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_bytes: Option<u64>,
    /// Bytes of live records, framing included, as the store counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_records_bytes: Option<u64>,
    /// Bytes written for each that a plain log of the same records, with its hints, would write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_amplification: Option<f64>,
    /// Live records' share of the files while that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_share: Option<f64>,
    /// Milliseconds that preparing a file took, before anything was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare_ms: Option<f64>,
    /// Of several turns, this backend's rate over the best raw loop's of the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_best_raw: Option<f64>,
    /// The size of a segment in bytes, where it is not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// Load of the machine over the last minute when this began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<f64>,
    /// How many rounds this is the median of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// The rates of all rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<f64>,
}

impl Details {
    fn is_empty(&self) -> bool {
        *self == Details::default()
    }
}

impl Line {
    /// A line without figures.
    #[must_use]
    pub fn new(load: &Load, backend: &str, workload: &str) -> Line {
        Line {
            backend: backend.to_owned(),
            workload: workload.to_owned(),
            n: load.n,
            key_len: crate::wide(load.key_len),
            value_len: crate::wide(load.value_len),
            threads: load.threads,
            ..Line::default()
        }
    }

    /// With what was timed.
    #[must_use]
    pub fn timed(mut self, measured: &Measured) -> Line {
        self.threads = measured.threads;
        self.ops_per_s = Some(measured.per_second().round());
        self.details.ops_per_cpu_s = measured.per_cpu_second().map(f64::round);
        self.latencies(measured)
    }

    /// With the latencies alone.
    #[must_use]
    pub fn latencies(mut self, measured: &Measured) -> Line {
        if !measured.histogram.is_empty() {
            let at = |quantile| Some(measured.histogram.value_at_quantile(quantile));
            (self.ns_p50, self.ns_p99) = (at(0.5), at(0.99));
            (self.ns_p999, self.ns_max) = (at(0.999), Some(measured.histogram.max()));
            self.details.over_1_ms = Some(measured.over_1_ms);
            self.details.histogram = measured.buckets();
        }
        self
    }

    /// The fields that are promised, without the details.
    #[must_use]
    pub fn plain(&self) -> Line {
        Line {
            details: Details::default(),
            ..self.clone()
        }
    }

    /// Bytes to storage for each that was written by the caller.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        let (written, user) = (self.write_bytes?, self.user_bytes?);
        (user > 0).then(|| written as f64 / user as f64)
    }

    /// Bytes of files for each live one.
    #[must_use]
    pub fn space_amplification(&self) -> Option<f64> {
        let (disk, live) = (self.disk_bytes?, self.details.live_bytes?);
        (live > 0).then(|| disk as f64 / live as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_has_the_promised_fields_and_comes_back() {
        let load = Load {
            n: 5,
            key_len: 8,
            value_len: 3,
            threads: 2,
            limit: Duration::ZERO,
        };
        let mut line = Line::new(&load, "peercask-hash", "fill");
        let text = serde_json::to_string(&line).expect("JSON");
        assert_eq!(
            text,
            r#"{"backend":"peercask-hash","workload":"fill","n":5,"key_len":8,"value_len":3,"threads":2}"#
        );
        line.open_ms = Some(1.5);
        line.details.histogram = vec![(3, 4)];
        let text = serde_json::to_string(&line).expect("JSON");
        assert_eq!(serde_json::from_str::<Line>(&text).ok(), Some(line.clone()));
        assert!(
            !serde_json::to_string(&line.plain())
                .expect("JSON")
                .contains("details")
        );
        assert!(serde_json::from_str::<Line>(r#"{"backend":"x"}"#).is_err());
    }
}
