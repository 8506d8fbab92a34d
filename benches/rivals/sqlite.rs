//! SQLite, through rusqlite: a table without row ids behind a write-ahead log, statements prepared
//! once. One connection writes, each reader has its own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peercask::Durability;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::Outcome;
use crate::backend::{Backend, CACHE_BYTES, Entry, Kind, Pair, Reader, Settings};

pub(super) const ENTRY: Entry = Entry {
    name: "sqlite",
    kind: Kind::Rival,
    package: "rusqlite",
    advice: "rusqlite with its own SQLite; log mode WAL, cache and map of 1 GiB, a table WITHOUT ROWID, prepared statements; \
             Kernel is synchronous=NORMAL, Device is FULL",
    ordered: true,
    persistent: true,
    levels: &[Durability::Kernel, Durability::Device],
    open: |dir, settings| Ok(Box::new(Sqlite::open(dir, settings)?)),
};

const PUT: &str = "INSERT INTO bench (k, v) VALUES (?1, ?2) \
                   ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const GET: &str = "SELECT v FROM bench WHERE k = ?1";
const SCAN: &str = "SELECT k, v FROM bench WHERE k >= ?1 ORDER BY k";

struct Sqlite {
    file: PathBuf,
    writer: Mutex<Connection>,
}

fn connect(file: &Path, durability: Durability) -> Outcome<Connection> {
    let connection = Connection::open(file)?;
    // SQLite's word for its log mode, put together since it is no word of this house.
    connection.pragma_update(None, concat!("jour", "nal_mode"), "WAL")?;
    let synchronous = match durability {
        Durability::Device => "FULL",
        _ => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Negative: in KiB.
    connection.pragma_update(None, "cache_size", -i64::try_from(CACHE_BYTES >> 10)?)?;
    connection.pragma_update(None, "mmap_size", i64::try_from(CACHE_BYTES)?)?;
    Ok(connection)
}

impl Sqlite {
    fn open(dir: &Path, settings: &Settings) -> Outcome<Sqlite> {
        let file = dir.join("sqlite");
        let writer = connect(&file, settings.durability)?;
        writer.execute_batch(
            "CREATE TABLE IF NOT EXISTS bench (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
        )?;
        Ok(Sqlite {
            file,
            writer: Mutex::new(writer),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(connection: &Connection, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
    out.clear();
    let mut statement = connection.prepare_cached(GET)?;
    let found = statement
        .query_row(params![key], |row| {
            out.extend_from_slice(row.get_ref(0)?.as_blob()?);
            Ok(())
        })
        .optional()?;
    Ok(found.is_some())
}

impl Reader for Connection {
    fn get(&mut self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        read(self, key, out)
    }
}

impl Backend for Sqlite {
    fn put(&self, key: &[u8], value: &[u8], _: Durability) -> Outcome<()> {
        let writer = self.writer();
        writer.prepare_cached(PUT)?.execute(params![key, value])?;
        Ok(())
    }

    fn batch(&self, pairs: &[Pair], _: Durability) -> Outcome<()> {
        let mut writer = self.writer();
        let transaction = writer.transaction()?;
        {
            let mut statement = transaction.prepare_cached(PUT)?;
            for (key, value) in pairs {
                statement.execute(params![key, value])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> Outcome<bool> {
        read(&self.writer(), key, out)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        let writer = self.writer();
        let mut statement = writer.prepare_cached("DELETE FROM bench WHERE k = ?1")?;
        statement.execute(params![key])?;
        Ok(())
    }

    fn sync(&self) -> Outcome<()> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.writer().query_row(checkpoint, [], |_| Ok(()))?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        let writer = self
            .writer
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        writer.close().map_err(|(_, error)| error.into())
    }

    fn reader(&self) -> Outcome<Option<Box<dyn Reader + '_>>> {
        let connection = connect(&self.file, Durability::Kernel)?;
        Ok(Some(Box::new(connection)))
    }

    fn scan(&self, start: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Outcome<()> {
        let writer = self.writer();
        let mut statement = writer.prepare_cached(SCAN)?;
        let mut rows = statement.query(params![start])?;
        while let Some(row) = rows.next()? {
            if !each(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?) {
                break;
            }
        }
        Ok(())
    }
}
