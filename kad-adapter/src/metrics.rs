//! Statistics as `prometheus-client` metrics, read at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::handle::Handle;
use crate::stats::{Refusal, State, Stats};

#[derive(Debug)]
struct Collected(Handle);

impl Handle {
    /// Registers the store's statistics: `records`, `provider_records`, `disk_bytes`, `refused`
    /// by `reason`, and so on. Give the registry a prefix of the program's own.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Collected(self.clone())));
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let stats = self.0.stats();
        self.encode_gauges(&mut encoder, &stats)?;
        encode_counters(&mut encoder, &stats)
    }
}

impl Collected {
    fn encode_gauges(
        &self,
        encoder: &mut DescriptorEncoder,
        stats: &Stats,
    ) -> Result<(), std::fmt::Error> {
        let healthy = u64::from(self.0.health().state == State::Green);
        let gauges = [
            ("healthy", "1 while writes succeed", healthy),
            ("records", "Value records", stats.records),
            (
                "own_records",
                "Value records published here",
                stats.own_records,
            ),
            (
                "provider_keys",
                "Keys with foreign providers",
                stats.provider_keys,
            ),
            (
                "provider_records",
                "Foreign provider records",
                stats.provider_records,
            ),
            ("own_keys", "Keys provided by this node", stats.own_keys),
            ("live_bytes", "Bytes of live records", stats.live_bytes),
            (
                "dead_bytes",
                "Bytes of dead and expired records",
                stats.dead_bytes,
            ),
            ("disk_bytes", "Bytes of all files", stats.disk_bytes),
            ("queue_records", "Writes that wait", stats.queue_records),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

fn encode_counters(encoder: &mut DescriptorEncoder, stats: &Stats) -> Result<(), std::fmt::Error> {
    let counters = [
        ("added", "Records added", stats.added),
        ("refreshed", "Records replaced", stats.refreshed),
        ("removed", "Records removed by calls", stats.removed),
        (
            "swept",
            "Expired records taken out",
            stats.swept + stats.evicted,
        ),
        (
            "io_errors",
            "Writes and reads that the disk refused",
            stats.io_errors,
        ),
        (
            "undecodable",
            "Stored records that say nothing",
            stats.undecodable,
        ),
        ("syncs", "Syncs of files and directory", stats.syncs),
    ];
    for (name, help, value) in counters {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let mut refused = encoder.encode_descriptor(
        "refused",
        "Records refused, by reason",
        None,
        MetricType::Counter,
    )?;
    for reason in Refusal::ALL {
        let labels = [("reason", reason.name())];
        let counter = ConstCounter::new(stats.refused.of(reason));
        counter.encode(refused.encode_family(&labels)?)?;
    }
    Ok(())
}
