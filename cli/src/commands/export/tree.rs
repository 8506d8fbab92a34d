//! A directory tree as the target of an export: each record a file named by its key.
//!
//! Nothing is written outside the tree: unsafe keys are refused, and so are ways through links that lie
//! in the tree already. Existing files stay unless the user forces it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use peercask::Keyspace;

use super::Exported;
use crate::commands::readable::Readable;
use crate::exit::Failure;
use crate::human;
use crate::interrupt;
use crate::output;
use crate::paths;
use crate::progress::{Count, Progress};

/// Refusals that are told one by one; beyond, they are only counted.
const TOLD_MAX: u64 = 20;

pub(super) fn export(keyspace: &Keyspace, tree: &Path, force: bool) -> Result<Exported, Failure> {
    fs::create_dir_all(tree).map_err(|error| {
        Failure::io(
            format_args!("create the directory {}", tree.display()),
            &error,
        )
    })?;
    let mut progress = Progress::new("exporting files", Count::Things, keyspace.info()?.keys);
    let mut writer = TreeWriter {
        tree,
        force,
        last_dir: PathBuf::new(),
    };
    let mut exported = Exported::default();
    let mut told = 0;
    let mut entries = Readable::whole(keyspace)?;
    while let Some(entry) = entries.next()? {
        if interrupt::requested() {
            exported.interrupted = true;
            break;
        }
        let why = match writer.write(&entry.key, &entry.value) {
            Ok(()) => {
                exported.count(&entry);
                None
            }
            Err(Refusal::Unsafe(why)) => {
                exported.refused_unsafe += 1;
                Some(why)
            }
            Err(Refusal::Exists) => {
                exported.refused_existing += 1;
                Some("the file exists".to_owned())
            }
            Err(Refusal::Failed(error)) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(Failure::io(
                    format_args!("write below {}", tree.display()),
                    &error,
                ));
            }
            Err(Refusal::Failed(error)) => {
                exported.failed += 1;
                Some(error.to_string())
            }
        };
        if let Some(why) = why {
            told += 1;
            tell(told, &entry.key, &why);
        }
        progress.add(1);
    }
    exported.damaged = entries.damaged();
    Ok(exported)
}

fn tell(told: u64, key: &[u8], why: &str) {
    if told <= TOLD_MAX {
        output::note(format_args!(
            "not written: `{}`: {why}",
            human::printable_start(key, 200)
        ));
    } else if told == TOLD_MAX + 1 {
        output::note("more are not written; they are counted below");
    }
}

/// Why a record became no file.
enum Refusal {
    Unsafe(String),
    Exists,
    Failed(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Refusal::Exists,
            _ => Refusal::Failed(error),
        }
    }
}

struct TreeWriter<'a> {
    tree: &'a Path,
    force: bool,
    /// The directory made last: keys in order share it with their neighbours.
    last_dir: PathBuf,
}

impl TreeWriter<'_> {
    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let relative =
            paths::safe_relative_path(key).map_err(|why| Refusal::Unsafe(why.to_string()))?;
        let dir = relative.parent().unwrap_or(Path::new(""));
        if dir != self.last_dir {
            self.make_dirs(dir)?;
            self.last_dir = dir.to_owned();
        }
        let path = self.tree.join(&relative);
        if self.force {
            // Removed, not truncated: a link is replaced, what it points to stays.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Refusal::Failed(error));
                }
                _ => {}
            }
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        file.write_all(value).map_err(Refusal::Failed)
    }

    /// Makes the directories of a record one by one, so that a link among them is seen.
    fn make_dirs(&self, dir: &Path) -> Result<(), Refusal> {
        let mut path = self.tree.to_owned();
        for name in dir {
            path.push(name);
            match fs::symlink_metadata(&path) {
                Ok(about) if about.is_dir() => {}
                Ok(about) if about.is_symlink() => {
                    return Err(Refusal::Unsafe(format!(
                        "{} is a link that may lead elsewhere",
                        path.display()
                    )));
                }
                Ok(_) => {
                    return Err(Refusal::Failed(io::Error::from(
                        io::ErrorKind::NotADirectory,
                    )));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&path).map_err(Refusal::Failed)?
                }
                Err(error) => return Err(Refusal::Failed(error)),
            }
        }
        Ok(())
    }
}
