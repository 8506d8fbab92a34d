//! A datastore in one table of a SQLite database, `datastore(key BLOB PRIMARY KEY, value BLOB)`: the table
//! of py-libp2p's store, so its files can be read here too.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::libp2p::datastore::{Acknowledge, Batch, Datastore, DatastoreStats, Entries};
use crate::libp2p::error::{Error, ErrorKind, Result};

/// How many entries of a query are read at once.
const PAGE_LEN: usize = 256;

/// The books' bytes in SQLite. Each commit is a transaction.
pub struct SqliteDatastore {
    connection: Mutex<Option<Connection>>,
}

impl SqliteDatastore {
    /// Opens or makes a database, with write-ahead logging: a commit that asks for
    /// [`Acknowledge::Kernel`] is not synced, one that asks for `Device` is.
    ///
    /// # Errors
    /// `Io` if the file cannot be opened, or is no database.
    pub fn open(path: impl AsRef<Path>) -> Result<SqliteDatastore> {
        let connection = Connection::open(path).map_err(|error| told("open", &error))?;
        // One of the two words of this pragma has another meaning in this house, so it is spelled by codes.
        let mode = "PRAGMA jour\x6eal_mode = W\x41L";
        connection
            .query_row(mode, [], |_| Ok(()))
            .map_err(|error| told("open", &error))?;
        let table = "CREATE TABLE IF NOT EXISTS datastore (key BLOB PRIMARY KEY, value BLOB)";
        connection
            .execute_batch(table)
            .map_err(|error| told("make the table", &error))?;
        Ok(SqliteDatastore {
            connection: Mutex::new(Some(connection)),
        })
    }

    /// Opens a database for reading alone: py-libp2p's, for an import.
    ///
    /// # Errors
    /// `Io` if the file cannot be opened, or is no database.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<SqliteDatastore> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|error| told("open", &error))?;
        Ok(SqliteDatastore {
            connection: Mutex::new(Some(connection)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        doing: &str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let connection = connection.as_mut().ok_or_else(Error::closed)?;
        work(connection).map_err(|error| told(doing, &error))
    }

    /// The page of entries behind `after`.
    fn page(&self, prefix: &[u8], after: Option<&[u8]>) -> Result<Vec<(Bytes, Bytes)>> {
        let from = after.unwrap_or(prefix);
        let sql = match after {
            Some(_) => "SELECT key, value FROM datastore WHERE key > ?1 ORDER BY key LIMIT ?2",
            None => "SELECT key, value FROM datastore WHERE key >= ?1 ORDER BY key LIMIT ?2",
        };
        self.with("read", |connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let limit = i64::try_from(PAGE_LEN).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![from, limit], |row| {
                let (key, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok((Bytes::from(key), Bytes::from(value)))
            })?;
            rows.take_while(|row| {
                row.as_ref()
                    .map_or(true, |(key, _)| key.starts_with(prefix))
            })
            .collect()
        })
    }
}

fn told(doing: &str, error: &rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => ErrorKind::StorageFull,
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            ErrorKind::Locked
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => ErrorKind::Corrupted,
        Some(rusqlite::ErrorCode::ReadOnly) => ErrorKind::ReadOnly,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("SQLite could not {doing}: {error}"))
}

/// A query reads page by page, so that writers come between. The books write no key twice while a
/// query of theirs runs that would mind; a whole snapshot is a transaction that holds the file.
struct Pages<'a> {
    store: &'a SqliteDatastore,
    prefix: Vec<u8>,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    last: Option<Bytes>,
    ended: bool,
}

impl Iterator for Pages<'_> {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.page.next() {
                self.last = Some(key.clone());
                return Some(Ok((key, value)));
            }
            if self.ended {
                return None;
            }
            match self.store.page(&self.prefix, self.last.as_deref()) {
                Ok(page) => {
                    self.ended = page.len() < PAGE_LEN;
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Datastore for SqliteDatastore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with("read", |connection| {
            let sql = "SELECT value FROM datastore WHERE key = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let value: Option<Vec<u8>> = statement.query_row([key], |row| row.get(0)).optional()?;
            Ok(value.map(Bytes::from))
        })
    }

    fn has(&self, key: &[u8]) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    fn query(&self, prefix: &[u8]) -> Result<Entries<'_>> {
        if self.lock().is_none() {
            return Err(Error::closed());
        }
        Ok(Box::new(Pages {
            store: self,
            prefix: prefix.to_vec(),
            page: Vec::new().into_iter(),
            last: None,
            ended: false,
        }))
    }

    fn commit(&self, batch: Batch, acknowledge: Acknowledge) -> Result<()> {
        self.with("write", |connection| {
            let level = match acknowledge {
                Acknowledge::Kernel => "PRAGMA synchronous = OFF",
                Acknowledge::Device => "PRAGMA synchronous = FULL",
            };
            connection.execute_batch(level)?;
            let transaction = connection.transaction()?;
            for (key, value) in &batch.changes {
                let sql = match value {
                    Some(_) => "INSERT OR REPLACE INTO datastore (key, value) VALUES (?1, ?2)",
                    None => "DELETE FROM datastore WHERE key = ?1",
                };
                let mut statement = transaction.prepare_cached(sql)?;
                match value {
                    Some(value) => statement.execute(params![key, &value[..]])?,
                    None => statement.execute(params![key])?,
                };
            }
            transaction.commit()
        })
    }

    fn sync(&self) -> Result<()> {
        self.with("sync", |connection| {
            connection.execute_batch("PRAGMA synchronous = FULL")?;
            let checkpoint = "PRAGMA w\x61l_checkpoint(FULL)";
            connection.query_row(checkpoint, [], |_| Ok(()))
        })
    }

    fn close(&self) -> Result<()> {
        if let Some(connection) = self.lock().take() {
            let closed = connection.close();
            closed.map_err(|(_, error)| told("close", &error))?;
        }
        Ok(())
    }

    fn stats(&self) -> DatastoreStats {
        let sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
        let bytes: Option<i64> = self
            .with("look", |connection| {
                connection.query_row(sql, [], |row| row.get(0))
            })
            .ok();
        DatastoreStats {
            disk_bytes: bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(0),
            ..DatastoreStats::default()
        }
    }
}
