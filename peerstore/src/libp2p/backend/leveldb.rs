//! The entries of a LevelDB directory, for an import from stores of go, js and py that stand on one. The files are
//! read into memory and opened there: what is on disk is neither locked nor changed, whatever state it is in.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use rusty_leveldb::env::Env as _;
use rusty_leveldb::{DB, DBIterator, LdbIterator as _, MemEnv, Options, in_memory};

use crate::libp2p::error::{Error, ErrorKind, Result};

/// Where the copy stands in memory.
const PLACE: &str = "copy";
/// The most bytes that are read, all files together.
pub const LEVELDB_BYTES_MAX: u64 = 4 << 30;

/// The entries of a LevelDB, of keys that were deleted none: see [`LevelDbEntries::open`].
pub struct LevelDbEntries {
    entries: DBIterator,
    failed: bool,
    /// Kept open for the entries.
    _db: DB,
}

impl LevelDbEntries {
    /// Reads a LevelDB directory of another implementation, compressed with snappy or not, into memory:
    /// [`Peerstore::import_foreign`](crate::libp2p::Peerstore::import_foreign) takes it. The program that owns it
    /// should not run meanwhile.
    ///
    /// # Errors
    /// `NotFound` if the directory or its `CURRENT` is missing, `TooLarge` over
    /// [`LEVELDB_BYTES_MAX`], `Io`; `Corrupted` if its files do not hold, also of single entries
    /// while it goes on.
    pub fn open(dir: impl AsRef<Path>) -> Result<LevelDbEntries> {
        let env = copy(dir.as_ref())?;
        let options = Options {
            env: Rc::new(Box::new(env)),
            create_if_missing: false,
            paranoid_checks: true,
            reuse_logs: false,
            reuse_manifest: false,
            ..in_memory()
        };
        let opened = guarded(|| {
            let mut db = DB::open(PLACE, options)?;
            let entries = db.new_iter()?;
            Ok((db, entries))
        })?;
        let (db, entries) = opened.map_err(|status: rusty_leveldb::Status| {
            let shown = dir.as_ref().display();
            Error::corrupted(format!("{shown} is no LevelDB that can be read: {status}"))
        })?;
        Ok(LevelDbEntries {
            entries,
            failed: false,
            _db: db,
        })
    }
}

impl Iterator for LevelDbEntries {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Result<(Bytes, Bytes)>> {
        if self.failed {
            return None;
        }
        let entries = &mut self.entries;
        match guarded(|| entries.next()) {
            Ok(entry) => entry.map(|(key, value)| Ok((Bytes::from(key), Bytes::from(value)))),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

impl std::fmt::Debug for LevelDbEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LevelDbEntries").finish_non_exhaustive()
    }
}

/// The reader trusts its files here and there; what they make it stumble over is an error of theirs.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| Error::corrupted("a LevelDB does not hold: its reader stumbled over a file"))
}

/// All files of a directory, in memory.
fn copy(dir: &Path) -> Result<MemEnv> {
    let failed = |what: &Path, error: &std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("could not read {}: {error}", what.display()))
    };
    if !dir.join("CURRENT").is_file() {
        let what = format!("{} is no LevelDB: it has no file CURRENT", dir.display());
        return Err(Error::new(ErrorKind::NotFound, what));
    }
    let env = MemEnv::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
        let path = entry.map_err(|error| failed(dir, &error))?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else {
            continue;
        };
        bytes += path
            .metadata()
            .map_err(|error| failed(&path, &error))?
            .len();
        if bytes > LEVELDB_BYTES_MAX {
            let shown = dir.display();
            let what = format!("{shown} has more than {LEVELDB_BYTES_MAX} bytes, the limit");
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        let content = std::fs::read(&path).map_err(|error| failed(&path, &error))?;
        let place = Path::new(PLACE).join(name);
        let told = |error: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Io,
                format!("could not keep {}: {error}", path.display()),
            )
        };
        let mut file = env
            .open_writable_file(&place)
            .map_err(|error| told(&error))?;
        file.write_all(&content).map_err(|error| told(&error))?;
    }
    Ok(env)
}
