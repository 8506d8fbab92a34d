//! What a caller may choose: the store's options, a keyspace's, a write's, and the limits.
//! Everything here is checked once, in `Options::check`, before a file is touched.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::{Error, Result};
use crate::report::Progress;

/// The longest key, in bytes. An empty key is allowed.
pub const KEY_LEN_MAX: usize = 65_535;
/// The longest value, in bytes: one byte below 4 GiB.
pub const VALUE_LEN_MAX: u64 = u32::MAX as u64;
/// The most bytes of keys, values and framing that one batch of several records may hold: 1 GiB.
pub const BATCH_BYTES_MAX: u64 = 1 << 30;
/// The most keys that one [`Keyspace::delete_prefix`](crate::Keyspace::delete_prefix) removes: 2^32,
/// as many as the members of a batch can be counted to. Their index alone takes 64 GiB of memory.
pub const DELETE_PREFIX_KEYS_MAX: u64 = 1 << 32;
/// The most keyspaces that a store may hold at once.
pub const KEYSPACES_MAX: usize = 1_024;
/// The longest name of a keyspace, in bytes of UTF-8. An empty name is refused.
pub const KEYSPACE_NAME_LEN_MAX: usize = 255;
/// The smallest segment size that [`Options::segment_bytes`] takes.
pub const SEGMENT_BYTES_MIN: u64 = 4_096;
/// The largest segment size that [`Options::segment_bytes`] takes: one byte below 4 GiB.
pub const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

/// How a keyspace finds its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum IndexKind {
    /// Keys are not kept in memory: point reads and an unordered walk.
    Hash,
    /// Keys are kept in memory: ranges and prefixes in both directions.
    Ordered,
}

impl fmt::Display for IndexKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IndexKind::Hash => "hash",
            IndexKind::Ordered => "ordered",
        })
    }
}

/// What a write survives once it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub enum Durability {
    /// In the store's own memory; handed to the kernel within 10 ms or
    /// [`Options::buffer_bytes`]. A killed process may lose the last of these writes.
    Buffered,
    /// Handed to the kernel: survives the death of the process at once, not a power cut.
    Kernel,
    /// On the device: survives a power cut. Threads that wait at once share one sync.
    #[default]
    Device,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Buffered => "buffered",
            Durability::Kernel => "kernel",
            Durability::Device => "device",
        })
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Durability> {
        match text {
            "buffered" => Ok(Durability::Buffered),
            "kernel" => Ok(Durability::Kernel),
            "device" => Ok(Durability::Device),
            other => Err(Error::invalid(format!(
                "unknown durability '{other}'; choose buffered, kernel or device"
            ))),
        }
    }
}

/// What open does when a sealed segment that the manifest names is gone or cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Missing {
    /// Open fails and names the file, so that a backup can be brought back.
    #[default]
    Refuse,
    /// Open goes on with what is left and reports the loss.
    Accept,
}

/// How records are read from segment files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reads {
    /// Through read-only memory maps: no system call, no copy. Bytes that are not in memory are
    /// fetched by a page fault, which the thread that reads sits out. If somebody cuts a segment
    /// file short under a running store, or the device cannot give a page, the system may end the
    /// process (SIGBUS). Where the system cannot take away a mapped file (Windows) or lacks the
    /// address space (32 bits), reads are positional all the same.
    #[default]
    Mapped,
    /// By positional reads into memory of our own: one or two system calls and a copy for each
    /// record, and one descriptor for each segment. For data far beyond memory, for callers
    /// whose threads must not meet page faults, and where a device may fail: an unreadable or missing
    /// byte is an error of that read.
    Positional,
}

/// Who is told how far an open is.
type OpenProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a put does that finds no room under [`Options::space_cap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AtCap {
    /// It is refused with `StorageFull`.
    #[default]
    Refuse,
    /// Records that expire are evicted, the soonest first, until there is room: each gets a
    /// tombstone, so that it does not come back, then merge takes it. Records that never expire
    /// stay; where nothing is left to evict the put is refused. The put waits meanwhile.
    Evict,
}

/// How a store is opened. Every field has a default that is safe for a node.
#[derive(Clone)]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Option<Duration>,
    pub(crate) segment_bytes: u64,
    /// How much of a batch over several segments one of them takes, if less than a segment: for
    /// tests.
    pub(crate) part_bytes: Option<u64>,
    pub(crate) buffer_bytes: usize,
    pub(crate) reserve_bytes: u64,
    pub(crate) space_cap: Option<u64>,
    pub(crate) at_cap: AtCap,
    pub(crate) background: bool,
    pub(crate) merge_dead_share: f64,
    pub(crate) merge_space_amplification: f64,
    pub(crate) merge_rate: Option<u64>,
    pub(crate) missing_segments: Missing,
    pub(crate) recovery_threads: usize,
    pub(crate) image_index_bytes: u64,
    pub(crate) image_log_bytes: u64,
    pub(crate) reads: Reads,
    pub(crate) open_progress: Option<OpenProgress>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            create: true,
            durability: Durability::Device,
            sync_interval: Some(Duration::from_secs(1)),
            segment_bytes: 64 << 20,
            part_bytes: None,
            buffer_bytes: 256 << 10,
            reserve_bytes: 1 << 20,
            space_cap: None,
            at_cap: AtCap::Refuse,
            background: true,
            merge_dead_share: 0.8,
            merge_space_amplification: 1.35,
            merge_rate: Some(64 << 20),
            missing_segments: Missing::Refuse,
            recovery_threads: 0,
            image_index_bytes: 256 << 10,
            image_log_bytes: 64 << 20,
            reads: Reads::Mapped,
            open_progress: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("create", &self.create)
            .field("durability", &self.durability)
            .field("sync_interval", &self.sync_interval)
            .field("segment_bytes", &self.segment_bytes)
            .field("buffer_bytes", &self.buffer_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("space_cap", &self.space_cap)
            .field("at_cap", &self.at_cap)
            .field("background", &self.background)
            .field("merge_dead_share", &self.merge_dead_share)
            .field("merge_space_amplification", &self.merge_space_amplification)
            .field("merge_rate", &self.merge_rate)
            .field("missing_segments", &self.missing_segments)
            .field("recovery_threads", &self.recovery_threads)
            .field("image_index_bytes", &self.image_index_bytes)
            .field("reads", &self.reads)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Makes the store if the directory is missing or empty. Default: true. With false, opening
    /// what is not there is `NotFound`.
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// The durability of writes that do not name one. Default: [`Durability::Device`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// The longest time a write weaker than `Device` stays off the device. Default: 1 s.
    /// `None`: only `Device` writes, [`sync`](crate::Store::sync), merge and close reach it.
    /// Shorter bounds the loss of a power cut; each interval with writes costs one sync.
    #[must_use]
    pub fn sync_interval(mut self, interval: Option<Duration>) -> Options {
        self.sync_interval = interval;
        self
    }

    /// The size at which a segment is sealed, in bytes. Default: 64 MiB; from 4 KiB to one byte
    /// below 4 GiB. Smaller gives shorter merges and quicker drops, larger fewer files: a store
    /// holds at most 65,536 segments.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Options {
        self.segment_bytes = bytes;
        self
    }

    /// How many bytes of `Buffered` writes are held in memory before they go to the kernel.
    /// Default: 256 KiB; at least 4 KiB, at most 64 MiB.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Options {
        self.buffer_bytes = bytes;
        self
    }

    /// Space kept aside so that deletes still work on a full disk, in bytes. Default: 1 MiB;
    /// 0 keeps none.
    #[must_use]
    pub fn reserve_bytes(mut self, bytes: u64) -> Options {
        self.reserve_bytes = bytes;
        self
    }

    /// The most bytes that the store's files take together, at every moment: segments with their
    /// reserved space, hint files, manifests, files in the making. Default: `None`, no cap.
    ///
    /// It includes room to merge any segment, two segments' worth, and the reserve for deletes, so
    /// callers can fill about the cap less three segments. It is at least four segments and the
    /// reserve. A record or batch must fit a segment. Files that were removed, but are still read
    /// through a snapshot or a value, have no name and do not count; a merge whose survivors find
    /// no room is put off. At the cap puts are answered as [`Options::at_cap`] says; deletes, merge
    /// and reads go on.
    ///
    /// Opening refuses a store whose files are over the cap.
    #[must_use]
    pub fn space_cap(mut self, bytes: Option<u64>) -> Options {
        self.space_cap = bytes;
        self
    }

    /// What a put does that finds no room under [`Options::space_cap`]. Default:
    /// [`AtCap::Refuse`].
    #[must_use]
    pub fn at_cap(mut self, at_cap: AtCap) -> Options {
        self.at_cap = at_cap;
        self
    }

    /// Whether the two background threads run. Default: true. With false nothing happens unless
    /// called: no merge, no hint files, no sync interval, and `Buffered` writes stay in memory
    /// until the buffer is full, another write, `sync` or close. Call `sync` now and then: until
    /// it is synced, each segment keeps a file descriptor.
    #[must_use]
    pub fn background(mut self, background: bool) -> Options {
        self.background = background;
        self
    }

    /// The share of dead bytes at which a segment is merged on its own account, above 0 and at
    /// most 1. Default: 0.8. Below it a segment waits until the store is over
    /// [`merge_space_amplification`](Options::merge_space_amplification): what is still dying
    /// costs less to merge later; and so does one of which all the rest expires within an eighth of
    /// its time. Lower saves space and writes more.
    #[must_use]
    pub fn merge_dead_share(mut self, share: f64) -> Options {
        self.merge_dead_share = share;
        self
    }

    /// Merging goes on while the sealed segments are larger than this times the live bytes.
    /// Default: 1.35; above 1. Lower saves space and writes more.
    #[must_use]
    pub fn merge_space_amplification(mut self, ratio: f64) -> Options {
        self.merge_space_amplification = ratio;
        self
    }

    /// The rate of background merge in bytes read and written per second. Default: 64 MiB.
    /// `None`: as fast as the disk goes. A merge that is called for is not limited.
    #[must_use]
    pub fn merge_rate(mut self, bytes_per_second: Option<u64>) -> Options {
        self.merge_rate = bytes_per_second;
        self
    }

    /// What open does when a sealed segment is gone or cut short. Default: [`Missing::Refuse`].
    #[must_use]
    pub fn missing_segments(mut self, missing: Missing) -> Options {
        self.missing_segments = missing;
        self
    }

    /// How many threads read segments while opening. Default: 0, the number of cores, at most 8.
    #[must_use]
    pub fn recovery_threads(mut self, threads: usize) -> Options {
        self.recovery_threads = threads;
        self
    }

    /// How records are read. Default: [`Reads::Mapped`].
    #[must_use]
    pub fn reads(mut self, reads: Reads) -> Options {
        self.reads = reads;
        self
    }

    /// Who is told how far an open is, in bytes of hint files and segments to be read; from
    /// several threads, after each segment. Default: nobody. An open after a clean close reads
    /// little; one that finds no hint files reads all there is.
    #[must_use]
    pub fn open_progress(mut self, tell: impl Fn(Progress) + Send + Sync + 'static) -> Options {
        self.open_progress = Some(Arc::new(tell));
        self
    }

    /// From how many bytes of index on the keydirs are saved, at close and each time that the log
    /// grew by 64 MiB or eight times the image, whichever is more. Default: 256 KiB; smaller ones
    /// are quick to rebuild. 0 saves always, `u64::MAX` never. An image makes the next open read
    /// about what the index takes in memory; the store opens without one, and after a kill with
    /// an old one.
    #[must_use]
    pub fn image_index_bytes(mut self, bytes: u64) -> Options {
        self.image_index_bytes = bytes;
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Options {
        self.clock = clock;
        self
    }

    /// Refuses what cannot work, naming the field and its range.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::invalid(format!("Options: {what}")));
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return refuse("segment_bytes must be from 4096 to 4294967295");
        }
        if !(4_096..=64 << 20).contains(&self.buffer_bytes) {
            return refuse("buffer_bytes must be from 4096 to 67108864");
        }
        if !(self.merge_dead_share > 0.0 && self.merge_dead_share <= 1.0) {
            return refuse("merge_dead_share must be above 0 and at most 1");
        }
        if !(self.merge_space_amplification > 1.0 && self.merge_space_amplification.is_finite()) {
            return refuse("merge_space_amplification must be above 1");
        }
        if self.at_cap == AtCap::Evict && self.reserve_bytes == 0 {
            return refuse("at_cap(Evict) needs reserve_bytes: tombstones are written from it");
        }
        if self.merge_rate == Some(0) {
            return refuse("merge_rate must be above 0; use None for no limit");
        }
        if self.sync_interval == Some(Duration::ZERO) {
            return refuse("sync_interval must be above 0; use Durability::Device instead");
        }
        Ok(())
    }

    pub(crate) fn threads(&self) -> usize {
        match self.recovery_threads {
            0 => std::thread::available_parallelism()
                .map_or(1, usize::from)
                .min(8),
            some => some.min(64),
        }
    }
}

/// How a keyspace is made. Reopening it with other options is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyspaceOptions {
    pub(crate) kind: IndexKind,
    pub(crate) default_ttl: Option<Duration>,
}

impl KeyspaceOptions {
    /// Keys are not kept in memory: point reads and an unordered walk.
    #[must_use]
    pub fn hash() -> KeyspaceOptions {
        KeyspaceOptions {
            kind: IndexKind::Hash,
            default_ttl: None,
        }
    }

    /// Keys are kept in memory: ranges and prefixes in both directions.
    #[must_use]
    pub fn ordered() -> KeyspaceOptions {
        KeyspaceOptions {
            kind: IndexKind::Ordered,
            default_ttl: None,
        }
    }

    /// The life of records whose write names none. Default: they never expire. At least 1 ms.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Option<Duration>) -> KeyspaceOptions {
        self.default_ttl = ttl;
        self
    }
}

/// When a write's record expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expiry {
    /// After the keyspace's default.
    Default,
    Never,
    After(Duration),
    At(u64),
}

/// The choices of one write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    pub(crate) expiry: Expiry,
    pub(crate) durability: Option<Durability>,
}

impl Default for Write {
    fn default() -> Write {
        Write::new()
    }
}

impl Write {
    /// The keyspace's default life, the store's default durability.
    #[must_use]
    pub fn new() -> Write {
        Write {
            expiry: Expiry::Default,
            durability: None,
        }
    }

    /// The record expires this long from now, by store time, in whole milliseconds.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Write {
        self.expiry = Expiry::After(ttl);
        self
    }

    /// The record expires at this moment, in milliseconds since the Unix epoch; it is invisible
    /// from that millisecond on. A moment in the past makes it invisible at once. `u64::MAX`
    /// means never.
    #[must_use]
    pub fn expires_at_ms(mut self, at_ms: u64) -> Write {
        self.expiry = Expiry::At(at_ms);
        self
    }

    /// The record does not expire, whatever the keyspace's default.
    #[must_use]
    pub fn never_expires(mut self) -> Write {
        self.expiry = Expiry::Never;
        self
    }

    /// What the write survives once waited for.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Write {
        self.durability = Some(durability);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_the_check_and_each_bad_field_is_named() {
        assert!(Options::default().check().is_ok());
        let cases = [
            (Options::default().segment_bytes(100), "segment_bytes"),
            (Options::default().buffer_bytes(1), "buffer_bytes"),
            (Options::default().merge_dead_share(0.0), "merge_dead_share"),
            (
                Options::default().merge_dead_share(f64::NAN),
                "merge_dead_share",
            ),
            (
                Options::default().merge_space_amplification(1.0),
                "merge_space_amplification",
            ),
            (Options::default().merge_rate(Some(0)), "merge_rate"),
            (
                Options::default().sync_interval(Some(Duration::ZERO)),
                "sync_interval",
            ),
        ];
        for (options, field) in cases {
            let error = options.check().expect_err("a bad field is refused");
            assert!(error.to_string().contains(field), "{error}");
        }
    }

    #[test]
    fn durability_words_round_trip() {
        for word in [Durability::Buffered, Durability::Kernel, Durability::Device] {
            assert_eq!(word.to_string().parse::<Durability>().ok(), Some(word));
        }
        assert!("fsync".parse::<Durability>().is_err());
    }
}
