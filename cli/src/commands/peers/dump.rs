//! The stores of other implementations as keys and values: a dump in JSON lines, a SQLite file (feature `sqlite`) or
//! a LevelDB directory (feature `leveldb`). It must never know what the keys mean.

use std::io::Read as _;
use std::path::Path;

use peercask_peerstore::libp2p::{Error, ErrorKind, Foreign, ImportReport, Peerstore};

use super::target::failure;
use crate::commands::import::lines::Source;
use crate::exit::Failure;
use crate::interrupt;
use crate::json::RecordIn;
use crate::progress::{Count, Progress};

/// The first bytes of every SQLite file.
const DATABASE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A source that is there and can be read.
pub(super) enum Dump {
    Lines(Source),
    #[cfg(feature = "sqlite")]
    Database(std::path::PathBuf),
    #[cfg(feature = "leveldb")]
    LevelDb(Box<peercask_peerstore::libp2p::LevelDbEntries>),
}

impl Dump {
    pub(super) fn open(path: &Path) -> Result<Dump, Failure> {
        if path.is_dir() {
            return leveldb(path);
        }
        if is_database(path)? {
            return database(path);
        }
        Source::open(path).map(Dump::Lines)
    }

    pub(super) fn import(self, peers: &Peerstore, whose: Foreign) -> Result<ImportReport, Failure> {
        match self {
            Dump::Lines(source) => import_lines(source, peers, whose),
            #[cfg(feature = "sqlite")]
            Dump::Database(path) => {
                use peercask_peerstore::libp2p::{Datastore as _, SqliteDatastore};
                let data = SqliteDatastore::open_read_only(path).map_err(failure)?;
                let entries = data.query(b"").map_err(failure)?;
                let entries = entries.take_while(|_| !interrupt::requested());
                peers.import_foreign(whose, entries).map_err(failure)
            }
            #[cfg(feature = "leveldb")]
            Dump::LevelDb(entries) => {
                let entries = entries.take_while(|_| !interrupt::requested());
                peers.import_foreign(whose, entries).map_err(failure)
            }
        }
    }
}

#[cfg(feature = "leveldb")]
fn leveldb(path: &Path) -> Result<Dump, Failure> {
    let entries = peercask_peerstore::libp2p::LevelDbEntries::open(path);
    entries
        .map(|entries| Dump::LevelDb(Box::new(entries)))
        .map_err(failure)
}

#[cfg(not(feature = "leveldb"))]
fn leveldb(path: &Path) -> Result<Dump, Failure> {
    Err(Failure::usage(format!(
        "{} is a directory, and this peercask was built without a reader of LevelDB; build it with `cargo \
         install --path cli --features p2p,leveldb`",
        path.display()
    )))
}

#[cfg(feature = "sqlite")]
#[expect(clippy::unnecessary_wraps, reason = "without SQLite it fails")]
fn database(path: &Path) -> Result<Dump, Failure> {
    Ok(Dump::Database(path.to_owned()))
}

#[cfg(not(feature = "sqlite"))]
fn database(path: &Path) -> Result<Dump, Failure> {
    Err(Failure::usage(format!(
        "{} is a SQLite database, and this peercask was built without SQLite; build it with `cargo install \
         --path cli --features p2p,sqlite`",
        path.display()
    )))
}

fn is_database(path: &Path) -> Result<bool, Failure> {
    if path == Path::new("-") {
        return Ok(false);
    }
    let failed = |error| Failure::io(format_args!("read {}", path.display()), &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.take(16).read_to_end(&mut start).map_err(failed)?;
    Ok(start == DATABASE_MAGIC)
}

/// Lines with a key and a value, as `peercask export` writes them of any store.
fn import_lines(
    mut source: Source,
    peers: &Peerstore,
    whose: Foreign,
) -> Result<ImportReport, Failure> {
    let mut progress = Progress::new("importing lines", Count::Bytes, source.len());
    let mut failed = None;
    let mut number: u64 = 0;
    let entries = std::iter::from_fn(|| {
        let mut line = Vec::new();
        while !interrupt::requested() {
            number += 1;
            let place = format!("{}, line {number}", source.name());
            match source.next_line(&mut line) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(failure) => {
                    failed = Some(failure.within(place));
                    return None;
                }
            }
            progress.add(line.len() as u64);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let parsed = serde_json::from_slice::<RecordIn>(&line);
            let entry = parsed.map(|entry| (entry.key.0.into(), entry.value.0.into()));
            let told = |error| Error::new(ErrorKind::InvalidArgument, format!("{place}: {error}"));
            return Some(entry.map_err(told));
        }
        None
    });
    let report = peers.import_foreign(whose, entries);
    match failed {
        Some(failure) => Err(failure),
        None => report.map_err(failure),
    }
}
