//! The database files of upstream's own peerstore, read and written: up to 0.20 a table without
//! row numbers of its own, from 0.21 on one with `uid`. Upstream has no way from one to the other;
//! here it is an import and an export.
//!
//! It knows records and no store. A file that is read is never changed.
//!
//! ```no_run
//! use peercask_peerstore::gnunet::sqlite::Reader;
//! use peercask_peerstore::gnunet::{Options, Peerstore, StoreOption};
//!
//! let peers = Peerstore::open("node-peers", Options::default())?;
//! let mut stored = Ok(0);
//! Reader::open("peerstore.db")?.each(&mut |row, record| match record {
//!     Ok(record) => {
//!         stored = peers.store(&record, StoreOption::Multiple);
//!         stored.is_ok()
//!     }
//!     Err(why) => {
//!         eprintln!("row {row} is no record: {why}");
//!         true
//!     }
//! })?;
//! stored?;
//! # Ok::<(), peercask_peerstore::gnunet::Error>(())
//! ```

use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::error::{Error, ErrorKind, Result};
use super::record::{FOREVER, PeerIdentity, Record};

/// Upstream clamps every expiry to this, and takes what it reads from here on for never.
const EXPIRY_MAX: i64 = i64::MAX;

/// Which of upstream's two tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Schema {
    /// Up to 0.20.
    Plain,
    /// From 0.21 on: with `uid`.
    Numbered,
}

/// Reads a database of upstream's. Close upstream's service first: what it has not committed is
/// not read.
pub struct Reader {
    database: Connection,
    schema: Schema,
}

impl Reader {
    /// Opens a database, for reading alone.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` if it is no database of upstream's; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader> {
        let path = path.as_ref();
        if !path.exists() {
            let what = format!("there is no file {}", path.display());
            return Err(Error::new(ErrorKind::NotFound, what));
        }
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| told("open", path, &error))?;
        let mut columns = Vec::new();
        database
            .pragma(None, "table_info", "peerstoredata", |row| {
                columns.push(row.get::<_, String>(1)?);
                Ok(())
            })
            .map_err(|error| told("read", path, &error))?;
        let has = |name: &str| columns.iter().any(|column| column == name);
        if !["sub_system", "peer_id", "key", "value", "expiry"]
            .into_iter()
            .all(has)
        {
            let what = format!("{} is no database of GNUnet's peerstore", path.display());
            return Err(Error::invalid(what));
        }
        let schema = if has("uid") {
            Schema::Numbered
        } else {
            Schema::Plain
        };
        Ok(Reader { database, schema })
    }

    /// Which table it has.
    #[must_use]
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// How many rows it has.
    ///
    /// # Errors
    /// `Io`, `Corrupted`.
    pub fn rows(&self) -> Result<u64> {
        let count = self
            .database
            .query_row("SELECT count(*) FROM peerstoredata", [], |row| {
                row.get::<_, i64>(0)
            });
        let count = count.map_err(|error| fault(&error))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Calls `each` with the number of each row and its record, or why it is none, in the order of
    /// insertion; until it returns false.
    ///
    /// # Errors
    /// `Io`, `Corrupted`.
    pub fn each(
        &self,
        each: &mut dyn FnMut(i64, std::result::Result<Record, String>) -> bool,
    ) -> Result<()> {
        // `uid` is the row's number too, where there is one.
        let sql = "SELECT rowid, sub_system, peer_id, key, value, expiry FROM peerstoredata \
                   ORDER BY rowid";
        let mut statement = self.database.prepare(sql).map_err(|error| fault(&error))?;
        let mut rows = statement.query([]).map_err(|error| fault(&error))?;
        while let Some(row) = rows.next().map_err(|error| fault(&error))? {
            let number = row.get(0).map_err(|error| fault(&error))?;
            if !each(number, record_of(row)) {
                break;
            }
        }
        Ok(())
    }
}

fn record_of(row: &Row<'_>) -> std::result::Result<Record, String> {
    let bytes = |at: usize| match row.get_ref(at) {
        Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Ok(bytes),
        Ok(ValueRef::Null) => Ok(&[][..]),
        Ok(_) => Err(format!("column {at} holds a number")),
        Err(error) => Err(error.to_string()),
    };
    let peer = bytes(2)?;
    let peer = <[u8; 32]>::try_from(peer)
        .map_err(|_| format!("a peer of {} bytes, not 32", peer.len()))?;
    let expiry: i64 = row.get(5).map_err(|error| error.to_string())?;
    let expiry_us = match u64::try_from(expiry) {
        Ok(expiry) if expiry < EXPIRY_MAX.unsigned_abs() => expiry,
        // Of older versions, which stored all 64 bits, what is negative here is far ahead too.
        _ => FOREVER,
    };
    let value = bytes(4)?.to_vec();
    let record = Record::new(bytes(1)?, PeerIdentity(peer), bytes(3)?, value);
    Ok(record.expires_at_us(expiry_us))
}

/// Writes a database that upstream's peerstore opens as its own.
pub struct Writer {
    database: Connection,
}

impl Writer {
    /// Makes a database in `path`, which is missing or empty. Nothing is there before
    /// [`Writer::finish`].
    ///
    /// # Errors
    /// `Io`; also if the file holds such a table already.
    pub fn create(path: impl AsRef<Path>, schema: Schema) -> Result<Writer> {
        let path = path.as_ref();
        let database = Connection::open(path).map_err(|error| told("create", path, &error))?;
        let (uid, indexed) = match schema {
            Schema::Plain => ("", ""),
            Schema::Numbered => ("uid INTEGER PRIMARY KEY, ", ", uid"),
        };
        database
            .execute_batch(&format!(
                "PRAGMA encoding = 'UTF-8'; BEGIN; \
                 CREATE TABLE peerstoredata ({uid}sub_system TEXT NOT NULL, peer_id BLOB NOT NULL, \
                 key TEXT NOT NULL, value BLOB NULL, expiry INT8 NOT NULL); \
                 CREATE INDEX peerstoredata_key_index \
                 ON peerstoredata (sub_system, peer_id, key{indexed});"
            ))
            .map_err(|error| told("create", path, &error))?;
        Ok(Writer { database })
    }

    /// Adds a record. An expiry beyond what upstream can tell from never becomes never.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; `InvalidRecord` for names that upstream's table cannot hold: its
    /// strings have no NUL.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        if record.subsystem.contains(&0) || record.key.contains(&0) {
            let what = format!("upstream's strings cannot hold the NUL of {record:?}");
            return Err(Error::new(ErrorKind::InvalidRecord, what));
        }
        let sql = "INSERT INTO peerstoredata (sub_system, peer_id, key, value, expiry) \
                   VALUES (CAST(?1 AS TEXT), ?2, CAST(?3 AS TEXT), ?4, ?5)";
        let expiry = i64::try_from(record.expiry_us).unwrap_or(EXPIRY_MAX);
        let mut statement = self
            .database
            .prepare_cached(sql)
            .map_err(|error| fault(&error))?;
        statement
            .execute(params![
                &record.subsystem[..],
                &record.peer.0[..],
                &record.key[..],
                &record.value[..],
                expiry
            ])
            .map_err(|error| fault(&error))?;
        Ok(())
    }

    /// Commits everything.
    ///
    /// # Errors
    /// `Io`, `StorageFull`; nothing is there then.
    pub fn finish(self) -> Result<()> {
        self.database
            .execute_batch("COMMIT")
            .map_err(|error| fault(&error))
    }
}

fn told(doing: &str, path: &Path, error: &rusqlite::Error) -> Error {
    let kind = fault(error).kind();
    Error::new(
        kind,
        format!("could not {doing} {}: {error}", path.display()),
    )
}

fn fault(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ErrorKind::StorageFull,
        Some(ErrorCode::DatabaseCorrupt) => ErrorKind::Corrupted,
        Some(ErrorCode::NotADatabase) => ErrorKind::InvalidArgument,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Locked,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("SQLite: {error}"))
}
