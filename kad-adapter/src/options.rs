//! What a node may choose. Each limit has a default that a small node can bear.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use libp2p_kad::store::MemoryStoreConfig;

use crate::error::{Error, Result};
use crate::time::{SystemTime, Time};

/// How much a store takes, from whom. Own and foreign records never share a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Value records that others published. Default: 65,536.
    pub foreign_records_max: u64,
    /// Value records that this node published. Default: 1,048,576.
    pub own_records_max: u64,
    /// A value of this many bytes or more is refused. Default: 66,560 (65 KiB), as `MemoryStore`.
    pub value_bytes_max: usize,
    /// Keys longer than this are refused, for values and providers. Default: 512 bytes.
    pub key_bytes_max: usize,
    /// Keys with providers other than this node. Default: 1,048,576.
    pub foreign_keys_max: u64,
    /// Provider records of others, all keys together. Default: 2,097,152. Each takes less than 100
    /// bytes of memory.
    pub foreign_provides_max: u64,
    /// Keys that this node provides. Default: 16,777,216.
    pub own_provides_max: u64,
    /// Foreign providers of one key; this node always finds its place besides. Default: 20.
    pub providers_per_key_max: usize,
    /// Provider records of one foreign provider. Default: 262,144.
    pub records_per_provider_max: u32,
    /// Addresses kept of one provider record; the rest is cut off. Default: 16.
    pub addresses_max: usize,
    /// Bytes of these addresses together; the rest is cut off. Default: 1,024.
    pub address_bytes_max: usize,
    /// Bytes of all files. Near it foreign records are refused; own ones are not. `None`: no
    /// limit. Default: 8 GiB. At least 16 MiB.
    pub disk_bytes_max: Option<u64>,
    /// Foreign provider records that may wait for the writer. Default: 16,384.
    pub queue_records_max: usize,
    /// Their bytes. Default: 8 MiB.
    pub queue_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            foreign_records_max: 1 << 16,
            own_records_max: 1 << 20,
            value_bytes_max: 65 * 1024,
            key_bytes_max: 512,
            foreign_keys_max: 1 << 20,
            foreign_provides_max: 1 << 21,
            own_provides_max: 1 << 24,
            providers_per_key_max: 20,
            records_per_provider_max: 1 << 18,
            addresses_max: 16,
            address_bytes_max: 1_024,
            disk_bytes_max: Some(8 << 30),
            queue_records_max: 16_384,
            queue_bytes_max: 8 << 20,
        }
    }
}

impl From<&MemoryStoreConfig> for Limits {
    /// The limits of a `MemoryStore`, to take over a node's settings.
    fn from(config: &MemoryStoreConfig) -> Limits {
        Limits {
            foreign_records_max: config.max_records as u64,
            value_bytes_max: config.max_value_bytes,
            foreign_keys_max: config.max_provided_keys as u64,
            providers_per_key_max: config.max_providers_per_key,
            ..Limits::default()
        }
    }
}

/// How a store is opened. The defaults suit a node with kad's own defaults.
#[derive(Clone)]
pub struct Options {
    pub(crate) limits: Limits,
    pub(crate) window_records: usize,
    pub(crate) near_expiry: Duration,
    pub(crate) grace: Duration,
    pub(crate) strict_expiry: bool,
    pub(crate) republish_interval: Duration,
    pub(crate) settle: Duration,
    pub(crate) write_window: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) background: bool,
    pub(crate) engine: peercask::Options,
    pub(crate) engine_given: bool,
    pub(crate) time: Arc<dyn Time>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            limits: Limits::default(),
            window_records: 512,
            near_expiry: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            strict_expiry: false,
            republish_interval: Duration::from_secs(12 * 3_600),
            settle: Duration::from_secs(120),
            write_window: Duration::from_millis(5),
            close_timeout: Duration::from_secs(10),
            background: true,
            engine: peercask::Options::default(),
            engine_given: false,
            time: Arc::new(SystemTime::default()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("window_records", &self.window_records)
            .field("near_expiry", &self.near_expiry)
            .field("grace", &self.grace)
            .field("strict_expiry", &self.strict_expiry)
            .field("republish_interval", &self.republish_interval)
            .field("settle", &self.settle)
            .field("write_window", &self.write_window)
            .field("close_timeout", &self.close_timeout)
            .field("background", &self.background)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// How much the store takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Options {
        self.limits = limits;
        self
    }

    /// How many records `records()` and `provided()` yield in one call. Default: 512. A store that
    /// holds no more yields all of them each time; a larger one goes on where the last call ended,
    /// over restarts too.
    #[must_use]
    pub fn window_records(mut self, records: usize) -> Options {
        self.window_records = records;
        self
    }

    /// What has less than this left to live is not yielded: by the time kad has come to it, it
    /// would be over, and kad would remove by key what may have been refreshed. Default: 30 s.
    #[must_use]
    pub fn near_expiry(mut self, left: Duration) -> Options {
        self.near_expiry = left;
        self
    }

    /// How long after its deadline a record stays to be read, as kad expects. Default: 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Options {
        self.grace = grace;
        self
    }

    /// Whether `get` and `providers` leave out what is past its deadline, for programs that read
    /// the store themselves. Default: false, as `MemoryStore`: kad looks and removes.
    #[must_use]
    pub fn strict_expiry(mut self, strict: bool) -> Options {
        self.strict_expiry = strict;
        self
    }

    /// How long own records go without being published again. Default: 12 h.
    #[must_use]
    pub fn republish_interval(mut self, interval: Duration) -> Options {
        self.republish_interval = interval;
        self
    }

    /// How long after it was added an own record waits for `mark_published` before it counts as
    /// due: kad publishes at once what is added. Default: 2 min.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Options {
        self.settle = settle;
        self
    }

    /// How long foreign provider records gather before they are handed to the kernel together. A
    /// killed process loses at most the last of these windows. Default: 5 ms; at most 100 ms.
    #[must_use]
    pub fn write_window(mut self, window: Duration) -> Options {
        self.write_window = window;
        self
    }

    /// How long `Drop` waits for the end of closing. Default: 10 s. Closing goes on behind it.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Options {
        self.close_timeout = timeout;
        self
    }

    /// Whether a thread writes and sweeps. Default: true. With false the program calls
    /// [`Handle::step`](crate::Handle::step) itself, and the engine has no threads either.
    #[must_use]
    pub fn background(mut self, background: bool) -> Options {
        self.background = background;
        self
    }

    /// The engine's options. Durability, background and clock are set by this crate. The segment
    /// size follows the disk limit unless options are given here.
    #[must_use]
    pub fn engine(mut self, engine: peercask::Options) -> Options {
        self.engine = engine;
        self.engine_given = true;
        self
    }

    /// Where the time comes from. Default: the system's clocks.
    #[must_use]
    pub fn time(mut self, time: Arc<dyn Time>) -> Options {
        self.time = time;
        self
    }

    /// Refuses what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::InvalidOption(what.to_owned()));
        if self.window_records == 0 {
            return refuse("window_records must be at least 1");
        }
        if self.write_window > Duration::from_millis(100) {
            return refuse("write_window must be at most 100 ms");
        }
        if self.limits.disk_bytes_max.is_some_and(|max| max < 16 << 20) {
            return refuse("disk_bytes_max must be at least 16 MiB, or None");
        }
        if self.limits.queue_records_max == 0 {
            return refuse("queue_records_max must be at least 1");
        }
        if self.limits.key_bytes_max > 16_384 {
            return refuse("key_bytes_max must be at most 16384");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        assert!(Options::default().check().is_ok());
        let tiny = Limits {
            disk_bytes_max: Some(1),
            ..Limits::default()
        };
        let cases = [
            (Options::default().window_records(0), "window_records"),
            (Options::default().limits(tiny), "disk_bytes_max"),
            (
                Options::default().write_window(Duration::from_secs(1)),
                "write_window",
            ),
        ];
        for (options, field) in cases {
            let error = options.check().expect_err("refused");
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}
