//! The load: numbered keys, providers and records, the same for every store; and the times of calls.

use std::time::{Duration, Instant};

use libp2p_identity::PeerId;
use libp2p_kad::{ProviderRecord, Record, RecordKey};

/// Different providers.
const PROVIDERS: u64 = 5_000;

/// Spreads numbers.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn multihash(number: u64) -> [u8; 34] {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&[0x12, 0x20]);
    for at in 0..4 {
        let part = mix(number.wrapping_mul(4).wrapping_add(at as u64));
        bytes[2 + at * 8..10 + at * 8].copy_from_slice(&part.to_le_bytes());
    }
    bytes
}

pub(crate) fn key(number: u64) -> RecordKey {
    RecordKey::new(&multihash(number))
}

pub(crate) fn peer(number: u64) -> PeerId {
    PeerId::from_bytes(&multihash(number ^ (1 << 60))).expect("a SHA-256 multihash is a peer id")
}

/// The record with this number: a key of its own, 48 hours to live.
pub(crate) fn provider(number: u64, now: Instant) -> ProviderRecord {
    let address = format!("/ip4/10.{}.{}.1/tcp/4001", number % 200, number / 200 % 200);
    ProviderRecord {
        expires: Some(now + Duration::from_secs(48 * 3_600)),
        ..ProviderRecord::new(
            key(number),
            peer(number % PROVIDERS),
            vec![address.parse().expect("an address")],
        )
    }
}

/// The value record with this number: 128 bytes, 48 hours to live.
pub(crate) fn record(number: u64, now: Instant) -> Record {
    let mut value = vec![0; 128];
    for (at, part) in value.chunks_exact_mut(8).enumerate() {
        part.copy_from_slice(&mix(number ^ (at as u64) << 56).to_le_bytes());
    }
    Record {
        expires: Some(now + Duration::from_secs(48 * 3_600)),
        ..Record::new(key(number ^ (1 << 59)), value)
    }
}

/// Waits until it is time for the call with this number.
pub(crate) fn keep_rate(start: Instant, number: u64, rate: u64) {
    if rate > 0 {
        let due = Duration::from_secs_f64(number as f64 / rate as f64);
        if let Some(ahead) = due.checked_sub(start.elapsed())
            && ahead > Duration::from_micros(50)
        {
            std::thread::sleep(ahead);
        }
    }
}

/// How long calls took, in steps of an eighth of a power of two nanoseconds.
pub(crate) struct Times {
    counts: Vec<u64>,
    max: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            counts: vec![0; 8 * 64],
            max: Duration::ZERO,
        }
    }
}

impl Times {
    pub(crate) fn note(&mut self, took: Duration) {
        let ns = took.as_nanos().max(8) as u64;
        let bits = 63 - ns.leading_zeros() as usize;
        let eighth = (ns >> (bits - 3)) as usize & 7;
        self.counts[bits * 8 + eighth] += 1;
        self.max = self.max.max(took);
    }

    /// Upper bounds of the quantiles, the largest exactly.
    pub(crate) fn tell(&self) -> String {
        let count: u64 = self.counts.iter().sum();
        format!(
            "{count} calls, p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.max.as_nanos() as f64 / 1e3
        )
    }

    /// Counts below each power of two of microseconds.
    pub(crate) fn histogram(&self) -> String {
        let mut parts = Vec::new();
        let mut seen = 0;
        for bits in 0..40 {
            // A bucket of nanoseconds is that of microseconds ten powers higher, roughly.
            let count: u64 = self.counts[bits * 8..bits * 8 + 8].iter().sum();
            seen += count;
            if count > 0 {
                parts.push(format!(
                    "<{:.1}: {seen}",
                    (1_u64 << (bits + 1)) as f64 / 1e3
                ));
            }
        }
        parts.join(", ")
    }

    fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= share * total as f64 {
                let (bits, eighth) = (at / 8, at % 8);
                let step = 1_u64 << (bits.max(3) - 3);
                return ((8 + eighth as u64 + 1) * step) as f64 / 1e3;
            }
        }
        0.0
    }
}
