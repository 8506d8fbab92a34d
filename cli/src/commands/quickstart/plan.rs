//! The list of files that one quickstart works on, in the order of their import; and its form as JSON
//! lines, by which the parent hands it to the child that it will kill.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::json::{BytesIn, BytesOut};
use crate::output;
use crate::paths;

pub(super) struct PlannedFile {
    /// The key of its content and of its size.
    pub(super) key: Vec<u8>,
    pub(super) path: PathBuf,
    /// As found when the plan was made; the file may change.
    pub(super) len: u64,
}

#[derive(Serialize)]
struct LineOut<'a> {
    key: BytesOut<'a>,
    path: BytesOut<'a>,
    len: u64,
}

#[derive(Deserialize)]
struct LineIn {
    key: BytesIn,
    path: BytesIn,
    len: u64,
}

pub(super) fn write(files: &[PlannedFile], path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::io(format_args!("write {}", path.display()), &error);
    let mut out = BufWriter::new(File::create(path).map_err(failed)?);
    for file in files {
        let bytes = paths::bytes_of(&file.path).ok_or_else(|| unreadable(path))?;
        let line = LineOut {
            key: BytesOut(&file.key),
            path: BytesOut(bytes),
            len: file.len,
        };
        output::write_json_line(&mut out, &line).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

pub(super) fn read(path: &Path) -> Result<Vec<PlannedFile>, Failure> {
    let failed = |error| Failure::io(format_args!("read {}", path.display()), &error);
    let mut files = Vec::new();
    for line in BufReader::new(File::open(path).map_err(failed)?).lines() {
        let line: LineIn =
            serde_json::from_str(&line.map_err(failed)?).map_err(|_| unreadable(path))?;
        files.push(PlannedFile {
            key: line.key.0,
            path: paths::path_of(&line.path.0).ok_or_else(|| unreadable(path))?,
            len: line.len,
        });
    }
    Ok(files)
}

fn unreadable(path: &Path) -> Failure {
    Failure::new(
        Exit::Other,
        format!("{} is no list of files", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_reads_the_list_that_the_parent_wrote() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let list = dir.path().join("list");
        let files = [("a/b", "/x/a b"), ("gr\u{fc}n", "/x/\"quoted\"\nline")].map(|(key, path)| {
            PlannedFile {
                key: key.into(),
                path: path.into(),
                len: 7,
            }
        });
        write(&files, &list).expect("the list is written");
        let back = read(&list).expect("the list is read");
        assert_eq!(back.len(), files.len());
        for (file, back) in files.iter().zip(&back) {
            assert_eq!(
                (&file.key, &file.path, file.len),
                (&back.key, &back.path, back.len)
            );
        }
    }
}
