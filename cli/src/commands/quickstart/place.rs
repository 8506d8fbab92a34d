//! Where a quickstart works: a directory with the store in it, and beside it what only this run needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exit::{Exit, Failure};
use crate::output::{self, Output};

pub(super) struct Place {
    /// Canonical, so that it can be told from the sources around it.
    dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Place {
    /// A fresh temporary directory, or the given one if it is new or empty.
    pub(super) fn prepare(given: Option<&Path>) -> Result<Place, Failure> {
        let (dir, temporary) = match given {
            Some(dir) => {
                take(dir)?;
                (dir.to_owned(), None)
            }
            None => {
                let made = tempfile::Builder::new()
                    .prefix("peercask-quickstart-")
                    .tempdir();
                let made =
                    made.map_err(|error| Failure::io("make a temporary directory", &error))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let dir = fs::canonicalize(&dir)
            .map_err(|error| Failure::io(format_args!("find {}", dir.display()), &error))?;
        Ok(Place { dir, temporary })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The list of files that the child reads.
    pub(super) fn list(&self) -> PathBuf {
        self.dir.join("files.jsonl")
    }

    pub(super) fn floors_dir(&self) -> PathBuf {
        self.dir.join("floors")
    }

    /// Bytes of all files in the store's directory.
    pub(super) fn store_files_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.store_dir())? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// After a failure: a store that misbehaved is evidence; one that was interrupted, or that filled the
    /// disk, is in the way.
    pub(super) fn leave(mut self, failure: &Failure) {
        let evidence = !matches!(
            failure.exit,
            Exit::Done | Exit::Usage | Exit::Io | Exit::Interrupted
        );
        if let Some(temporary) = self.temporary.take().filter(|_| evidence) {
            keep(temporary);
        }
    }

    /// Removes what nobody needs any more; a store in which something was wrong stays to be looked at.
    pub(super) fn finish(mut self, ok: bool, output: &mut Output) -> Result<(), Failure> {
        let store = self.store_dir();
        match self.temporary.take() {
            Some(temporary) if ok => {
                let removed = temporary.close();
                removed.map_err(|error| {
                    Failure::io(format_args!("remove {}", self.dir.display()), &error)
                })
            }
            Some(temporary) => {
                keep(temporary);
                Ok(())
            }
            None if ok => {
                fs::remove_file(self.list()).map_err(|error| {
                    Failure::io(format_args!("remove {}", self.list().display()), &error)
                })?;
                output.say(format_args!(
                    "the store is kept; try `peercask stat {}`",
                    store.display()
                ))
            }
            None => Ok(()),
        }
    }
}

fn keep(temporary: TempDir) {
    let kept = temporary.keep();
    output::note(format_args!("kept for a look: {}", kept.display()));
}

fn take(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::io(format_args!("use the directory {}", dir.display()), &error);
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!(
                "{} is not empty; quickstart works in a new or empty directory, or in a temporary one when none is given",
                dir.display()
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(dir).map_err(failed)
        }
        Err(_) if dir.is_file() => Err(Failure::usage(format!(
            "{} is a file; quickstart needs a directory",
            dir.display()
        ))),
        Err(error) => Err(failed(error)),
    }
}
