//! A SQLite table behind the trait, as one would write it in an afternoon: journal mode `WAL`, no
//! sync at each write, one prepared statement a call. What the measurement calls, and no more of the trait.

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_kad::store::{Error, RecordStore, Result};
use libp2p_kad::{ProviderRecord, Record, RecordKey};
use rusqlite::{Connection, params};

const TABLE: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE providers (
        key BLOB NOT NULL, provider BLOB NOT NULL, expires_ms INTEGER, addresses BLOB NOT NULL,
        PRIMARY KEY (key, provider)
    ) WITHOUT ROWID;
    CREATE INDEX by_expiry ON providers (expires_ms);
    CREATE TABLE records (
        key BLOB NOT NULL PRIMARY KEY, publisher BLOB, expires_ms INTEGER, value BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX records_by_expiry ON records (expires_ms);";
const ADD: &str = "INSERT OR REPLACE INTO providers VALUES (?1, ?2, ?3, ?4)";
const OF_KEY: &str = "SELECT provider, expires_ms, addresses FROM providers WHERE key = ?1";
const PUT: &str = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4)";
const GET: &str = "SELECT publisher, expires_ms, value FROM records WHERE key = ?1";
const REMOVE_RECORD: &str = "DELETE FROM records WHERE key = ?1";
const REMOVE: &str = "DELETE FROM providers WHERE key = ?1 AND provider = ?2";

pub(crate) struct SqliteStore {
    connection: Connection,
    start: (SystemTime, Instant),
}

impl SqliteStore {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<SqliteStore> {
        let connection = Connection::open(path)?;
        connection.execute_batch(TABLE)?;
        Ok(SqliteStore {
            connection,
            start: (SystemTime::now(), Instant::now()),
        })
    }

    fn wall_ms(&self, at: Instant) -> i64 {
        let wall = self.start.0 + at.saturating_duration_since(self.start.1);
        let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn instant(&self, wall_ms: i64) -> Instant {
        let wall = UNIX_EPOCH + Duration::from_millis(wall_ms.unsigned_abs());
        self.start.1 + wall.duration_since(self.start.0).unwrap_or_default()
    }

    fn of_key(&self, key: &RecordKey) -> rusqlite::Result<Vec<ProviderRecord>> {
        let mut statement = self.connection.prepare_cached(OF_KEY)?;
        let mut rows = statement.query([key.as_ref()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (peer, bytes): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(2)?);
            let expires_ms: Option<i64> = row.get(1)?;
            let address = Multiaddr::try_from(bytes).ok();
            if let Ok(provider) = PeerId::from_bytes(&peer) {
                found.push(ProviderRecord {
                    key: key.clone(),
                    provider,
                    expires: expires_ms.map(|ms| self.instant(ms)),
                    addresses: address.into_iter().collect(),
                });
            }
        }
        Ok(found)
    }

    fn record(&self, key: &RecordKey) -> rusqlite::Result<Record> {
        let mut statement = self.connection.prepare_cached(GET)?;
        statement.query_row([key.as_ref()], |row| {
            let publisher: Option<Vec<u8>> = row.get(0)?;
            let expires_ms: Option<i64> = row.get(1)?;
            Ok(Record {
                key: key.clone(),
                value: row.get(2)?,
                publisher: publisher.and_then(|bytes| PeerId::from_bytes(&bytes).ok()),
                expires: expires_ms.map(|ms| self.instant(ms)),
            })
        })
    }
}

impl RecordStore for SqliteStore {
    type RecordsIter<'a> = std::iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, ProviderRecord>>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.record(key).ok().map(Cow::Owned)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        let expires_ms = record.expires.map(|at| self.wall_ms(at));
        let put = || {
            let mut statement = self.connection.prepare_cached(PUT)?;
            statement.execute(params![
                record.key.as_ref(),
                record.publisher.map(|peer| peer.to_bytes()),
                expires_ms,
                record.value
            ])
        };
        put().map(|_| ()).map_err(|_| Error::MaxRecords)
    }

    fn remove(&mut self, key: &RecordKey) {
        let remove = || {
            let mut statement = self.connection.prepare_cached(REMOVE_RECORD)?;
            statement.execute([key.as_ref()])
        };
        // The trait has no way to tell.
        let _untold: rusqlite::Result<usize> = remove();
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        std::iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        let expires_ms = record.expires.map(|at| self.wall_ms(at));
        let addresses = record.addresses.first().map(Multiaddr::to_vec);
        let add = || {
            let mut statement = self.connection.prepare_cached(ADD)?;
            statement.execute(params![
                record.key.as_ref(),
                record.provider.to_bytes(),
                expires_ms,
                addresses.unwrap_or_default()
            ])
        };
        add().map(|_| ()).map_err(|_| Error::MaxProvidedKeys)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.of_key(key).unwrap_or_default()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        let remove = || {
            let mut statement = self.connection.prepare_cached(REMOVE)?;
            statement.execute(params![key.as_ref(), provider.to_bytes()])
        };
        // The trait has no way to tell.
        let _untold: rusqlite::Result<usize> = remove();
    }
}
