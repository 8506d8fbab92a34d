//! A directory tree as a source of records: relative path -> content.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::batches::{Importer, Trouble};
use super::{ImportArgs, Skipped};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output;
use crate::paths;
use crate::progress::{Count, Progress};
use crate::units::count;

/// Fails unless the tree is a directory that can be read.
pub(super) fn check(tree: &Path) -> Result<(), Failure> {
    match fs::read_dir(tree) {
        Ok(_) => Ok(()),
        Err(_) if tree.is_file() => {
            let tree = tree.display();
            Err(Failure::usage(format!(
                "{tree} is a file; --tree takes a directory"
            )))
        }
        Err(error) => Err(Failure::io(
            format_args!("read the directory {}", tree.display()),
            &error,
        )),
    }
}

pub(super) fn import(
    tree: &Path,
    args: &ImportArgs,
    importer: &mut Importer<'_>,
) -> Result<Skipped, Failure> {
    let resolve = |path: &Path| {
        fs::canonicalize(path)
            .map_err(|error| Failure::io(format_args!("find {}", path.display()), &error))
    };
    let (root, store) = (resolve(tree)?, resolve(&args.store.dir)?);
    let total = walk(&root, &store)
        .take_while(|_| !interrupt::requested())
        .filter(|entry| entry.as_ref().is_ok_and(is_file))
        .count();
    let mut progress = Progress::new(
        "importing files",
        Count::Things,
        u64::try_from(total).unwrap_or(0),
    );
    let mut skipped = Skipped::default();
    for entry in walk(&root, &store) {
        if interrupt::requested() {
            break;
        }
        match import_entry(entry, &root, args, importer) {
            Ok(Outcome::Imported) => progress.add(1),
            Ok(Outcome::Directory) => {}
            Ok(Outcome::Special) => skipped.special_files += 1,
            Err(Trouble::Failed(failure)) => return Err(failure),
            Err(Trouble::Bad(why)) if args.skip_bad => {
                output::note(format_args!("skipped {why}"));
                skipped.bad += 1;
            }
            Err(Trouble::Bad(why)) => {
                let before = count(importer.finish()?.records);
                let message = format!(
                    "{why} ({before} files before it are imported; --skip-bad skips such files)"
                );
                return Err(Failure::new(Exit::Io, message));
            }
        }
    }
    Ok(skipped)
}

enum Outcome {
    Imported,
    Directory,
    Special,
}

/// In order of names, without following links, and without the store itself: it grows while we read.
fn walk(root: &Path, store: &Path) -> impl Iterator<Item = walkdir::Result<DirEntry>> {
    let store: PathBuf = store.to_owned();
    WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| entry.path() != store)
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_file()
}

fn import_entry(
    entry: walkdir::Result<DirEntry>,
    root: &Path,
    args: &ImportArgs,
    importer: &mut Importer<'_>,
) -> Result<Outcome, Trouble> {
    let entry = entry.map_err(|error| Trouble::Bad(error.to_string()))?;
    if entry.file_type().is_dir() {
        return Ok(Outcome::Directory);
    }
    if !is_file(&entry) {
        return Ok(Outcome::Special);
    }
    let path = entry.path();
    let bad = |why: String| Trouble::Bad(format!("{}: {why}", path.display()));
    let key = path.strip_prefix(root).ok().and_then(paths::key_of);
    let key = key.ok_or_else(|| bad("the path has no portable form".into()))?;
    let content = fs::read(path).map_err(|error| bad(error.to_string()))?;
    match importer.put(&args.keyspace, &key, &content, None) {
        Ok(()) => Ok(Outcome::Imported),
        Err(Trouble::Bad(why)) => Err(bad(why)),
        Err(failed) => Err(failed),
    }
}
