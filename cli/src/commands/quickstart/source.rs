//! Which real files a quickstart imports: the cargo registry's sources, and if these are few the Rust
//! toolchain and the current directory too; or a tree that the user names.
//!
//! The choice is random but follows from the seed and the files found. It must never open a store.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;
use walkdir::{DirEntry, WalkDir};

use super::plan::PlannedFile;
use crate::exit::Failure;
use crate::interrupt;
use crate::paths;

/// A default source with fewer files than this is joined by the next one.
const FILES_WANTED: usize = 20_000;

/// Files beyond these are not looked at: a bound on memory and patience.
const FILES_SEEN_MAX: usize = 1_000_000;

/// Longer files are passed over; each is read into memory whole.
const FILE_LEN_MAX: u64 = 256 << 20;

/// A directory tree to import from. Keys begin with its label.
pub(super) struct Source {
    pub(super) label: &'static str,
    pub(super) root: PathBuf,
}

/// The files to import, in the order of the import.
pub(super) struct Chosen {
    pub(super) sources: Vec<Source>,
    pub(super) files: Vec<PlannedFile>,
    /// Files found but left out by the limits.
    pub(super) left_out: u64,
}

/// Bounds on the work.
pub(super) struct Limits {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// Chooses files below `named`, or else below the default sources; never below `avoid`.
pub(super) fn choose(
    named: Option<&Path>,
    limits: &Limits,
    avoid: &Path,
    rng: &mut Rng,
) -> Result<Chosen, Failure> {
    let mut sources = Vec::new();
    let mut found = Vec::new();
    if let Some(root) = named {
        let root = fs::canonicalize(root)
            .map_err(|error| Failure::io(format_args!("find {}", root.display()), &error))?;
        let source = Source {
            label: "source",
            root,
        };
        collect(&source, avoid, &mut found)?;
        sources.push(source);
    } else {
        for source in default_sources() {
            if found.len() < FILES_WANTED {
                let before = found.len();
                collect(&source, avoid, &mut found)?;
                if found.len() > before {
                    sources.push(source);
                }
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::usage(
            "there are no files to import; name a directory with --source",
        ));
    }
    let seen = found.len();
    rng.shuffle(&mut found);
    let files = take_within(found, limits);
    if files.is_empty() {
        return Err(Failure::usage(
            "the limits leave no file to import; raise --max-files or --max-bytes",
        ));
    }
    Ok(Chosen {
        sources,
        left_out: u64::try_from(seen - files.len()).unwrap_or(0),
        files,
    })
}

/// The registry's sources, the toolchain, the current directory: those that exist.
fn default_sources() -> Vec<Source> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let found = [
        (
            "registry",
            cargo_home.map(|home| home.join("registry").join("src")),
        ),
        ("toolchain", toolchain()),
        ("checkout", env::current_dir().ok()),
    ];
    found
        .into_iter()
        .filter_map(|(label, root)| {
            let root = fs::canonicalize(root?).ok()?;
            Some(Source { label, root })
        })
        .collect()
}

fn toolchain() -> Option<PathBuf> {
    let answer = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    (answer.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Adds the regular files below a source, in order of their names. What cannot be read is not there.
fn collect(source: &Source, avoid: &Path, found: &mut Vec<PlannedFile>) -> Result<(), Failure> {
    // Build results change while we look; they are nobody's data.
    let built = |entry: &DirEntry| {
        source.label == "checkout"
            && entry.depth() == 1
            && [".git", "target"]
                .map(Some)
                .contains(&entry.file_name().to_str())
    };
    let walk = WalkDir::new(&source.root).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| entry.path() != avoid && !built(entry)) {
        interrupt::check()?;
        if found.len() >= FILES_SEEN_MAX {
            break;
        }
        let Ok(entry) = entry else { continue };
        if !entry.file_type().is_file() {
            continue;
        }
        let Ok(about) = entry.metadata() else {
            continue;
        };
        let relative = entry.path().strip_prefix(&source.root).ok();
        let Some(below) = relative.and_then(paths::key_of) else {
            continue;
        };
        found.push(PlannedFile {
            key: [source.label.as_bytes(), b"/", &below].concat(),
            path: entry.into_path(),
            len: about.len(),
        });
    }
    Ok(())
}

/// The first files that fit; one too long for what is left is passed over.
fn take_within(found: Vec<PlannedFile>, limits: &Limits) -> Vec<PlannedFile> {
    let mut bytes_left = limits.bytes;
    let fits = |file: &PlannedFile| {
        let fits = file.len <= bytes_left && file.len <= FILE_LEN_MAX;
        if fits {
            bytes_left -= file.len;
        }
        fits
    };
    found.into_iter().filter(fits).take(limits.files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (number, name) in names.iter().enumerate() {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a name below the directory"))
                .expect("directories");
            fs::write(path, vec![b'x'; number * 10]).expect("a small file");
        }
        dir
    }

    fn keys(dir: &Path, limits: &Limits, avoid: &Path, seed: u64) -> Vec<String> {
        let mut rng = Rng::with_seed(seed);
        let chosen = choose(Some(dir), limits, avoid, &mut rng).expect("files are found");
        chosen
            .files
            .into_iter()
            .map(|file| String::from_utf8_lossy(&file.key).into_owned())
            .collect()
    }

    #[test]
    fn the_seed_decides_the_order_and_the_limits_the_number() {
        let dir = tree(&["a", "b/c", "b/d", "e", "f", "g", "h", "i"]);
        let all = Limits {
            files: 100,
            bytes: 1 << 30,
        };
        let once = keys(dir.path(), &all, Path::new("/nowhere"), 7);
        assert_eq!(once, keys(dir.path(), &all, Path::new("/nowhere"), 7));
        assert_ne!(once, keys(dir.path(), &all, Path::new("/nowhere"), 8));
        assert_eq!(once.len(), 8);
        assert!(once.contains(&"source/b/c".to_owned()));
        let few = Limits {
            files: 3,
            bytes: 1 << 30,
        };
        assert_eq!(keys(dir.path(), &few, Path::new("/nowhere"), 7).len(), 3);
        let small = Limits {
            files: 100,
            bytes: 30,
        };
        assert!(keys(dir.path(), &small, Path::new("/nowhere"), 7).len() <= 3);
    }

    #[test]
    fn the_directory_to_avoid_is_not_looked_into() {
        let dir = tree(&["a", "store/b", "store/c"]);
        let root = fs::canonicalize(dir.path()).expect("the directory exists");
        let all = Limits {
            files: 100,
            bytes: 1 << 30,
        };
        assert_eq!(keys(&root, &all, &root.join("store"), 1), ["source/a"]);
    }
}
