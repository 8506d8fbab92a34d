//! What a node process is started with, and the store that it opens by that.

use std::path::PathBuf;
use std::time::Duration;

use libp2p_identity::PeerId;
use libp2p_kad::store::{MemoryStore, MemoryStoreConfig};
use peercask_kad::{Handle, Limits, Options, PersistentStore};

use super::any_store::AnyStore;
use super::swarm::Failure;

/// What a node is started with, as text: the parent passes it in one environment variable.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its identity.
    pub number: u64,
    /// Where its store lies; `None` keeps it in memory.
    pub dir: Option<PathBuf>,
    /// 0 for any.
    pub port: u16,
    /// Life of provider records and values.
    pub ttl: Duration,
    /// Own records are published again after this time.
    pub republish: Duration,
    /// Foreign keys that it takes.
    pub keys_max: u64,
    /// Bytes of its files at most, in MiB; 0 for no limit.
    pub disk_mib: u64,
    /// Whether it remembers peers, in a directory beside that of its store.
    pub peers: bool,
    /// Own records are published by kad's own timer, not by this crate's driver.
    pub timer: bool,
}

impl Config {
    pub fn to_text(&self) -> String {
        let dir = self
            .dir
            .as_ref()
            .map_or("-".to_owned(), |dir| dir.display().to_string());
        format!(
            "{} {} {} {} {} {} {} {} {dir}",
            self.number,
            self.port,
            self.ttl.as_secs(),
            self.republish.as_secs(),
            self.keys_max,
            self.disk_mib,
            self.peers,
            self.timer
        )
    }

    pub fn of_text(text: &str) -> Result<Config, Failure> {
        let mut words = text.splitn(9, ' ');
        let mut next = || words.next().ok_or("a word is missing");
        Ok(Config {
            number: next()?.parse()?,
            port: next()?.parse()?,
            ttl: Duration::from_secs(next()?.parse()?),
            republish: Duration::from_secs(next()?.parse()?),
            keys_max: next()?.parse()?,
            disk_mib: next()?.parse()?,
            peers: next()?.parse()?,
            timer: next()?.parse()?,
            dir: Some(next()?).filter(|dir| *dir != "-").map(PathBuf::from),
        })
    }
}

pub(crate) fn open_store(
    config: &Config,
    local: PeerId,
) -> Result<(AnyStore, Option<Handle>), Failure> {
    let Some(dir) = &config.dir else {
        let max = usize::try_from(config.keys_max)?;
        let limits = MemoryStoreConfig {
            max_records: max,
            max_provided_keys: max,
            ..MemoryStoreConfig::default()
        };
        let store = MemoryStore::with_config(local, limits);
        return Ok((AnyStore::Memory(store), None));
    };
    let limits = Limits {
        foreign_keys_max: config.keys_max,
        foreign_records_max: config.keys_max,
        foreign_provides_max: config.keys_max.saturating_mul(2),
        records_per_provider_max: u32::MAX,
        disk_bytes_max: (config.disk_mib > 0).then_some(config.disk_mib << 20),
        ..Limits::default()
    };
    let options = Options::default()
        .limits(limits)
        .republish_interval(config.republish)
        .settle(config.republish.min(Duration::from_secs(120)));
    let store = PersistentStore::open(dir, local, options)?;
    let handle = store.handle();
    Ok((AnyStore::Disk(store), Some(handle)))
}
