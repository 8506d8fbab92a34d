//! Where the child works: a directory with the store in it, beside it a copy of the store as the last
//! kill left it, which is the evidence if something was wrong.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exit::Failure;

pub(super) struct Place {
    dir: PathBuf,
    temporary: Option<TempDir>,
    /// Where the directory stays, if it does.
    kept: Option<PathBuf>,
}

impl Place {
    /// A fresh temporary directory, or the given one if it is new or empty.
    pub(super) fn prepare(given: Option<&Path>) -> Result<Place, Failure> {
        let Some(dir) = given else {
            let made = tempfile::Builder::new().prefix("peercask-crash-").tempdir();
            let made = made.map_err(|error| Failure::io("make a temporary directory", &error))?;
            return Ok(Place {
                dir: made.path().to_owned(),
                temporary: Some(made),
                kept: None,
            });
        };
        let shown = dir.display();
        let failed = |error| Failure::io(format_args!("use the directory {shown}"), &error);
        fs::create_dir_all(dir).map_err(failed)?;
        if fs::read_dir(dir).map_err(failed)?.next().is_some() {
            return Err(Failure::usage(format!(
                "{shown} is not empty; crash --process works in a new or empty directory, or in a \
                 temporary one when none is given"
            )));
        }
        Ok(Place {
            dir: dir.to_owned(),
            temporary: None,
            kept: Some(dir.to_owned()),
        })
    }

    pub(super) fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The store as the last kill left it.
    pub(super) fn copy_dir(&self) -> PathBuf {
        self.dir.join("copy")
    }

    fn evidence_dir(&self) -> PathBuf {
        self.dir.join("evidence")
    }

    pub(super) fn copy_store(&self) -> Result<(), Failure> {
        let copy = self.copy_dir();
        replace(&self.store_dir(), &copy).map_err(|error| {
            Failure::io(format_args!("copy the store to {}", copy.display()), &error)
        })?;
        // One copy is looked at, the other stays as it is.
        let evidence = self.evidence_dir();
        replace(&self.store_dir(), &evidence).map_err(|error| {
            Failure::io(
                format_args!("copy the store to {}", evidence.display()),
                &error,
            )
        })
    }

    /// When the child failed before a copy was made.
    pub(super) fn keep_evidence(&self) -> Result<(), Failure> {
        if self.evidence_dir().exists() {
            return Ok(());
        }
        replace(&self.store_dir(), &self.evidence_dir())
            .map_err(|error| Failure::io("copy the store", &error))
    }

    /// A directory that was given stays, and so does one with evidence in it.
    pub(super) fn leave(&mut self, evidence: bool) {
        if evidence && let Some(temporary) = self.temporary.take() {
            self.kept = Some(temporary.keep());
        }
    }

    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.kept.clone()
    }
}

/// Makes `to` a copy of `from`, a directory of files.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        // The child died before it made the directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
