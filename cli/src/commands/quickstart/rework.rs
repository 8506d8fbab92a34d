//! The writing phases of a quickstart after the kill: the rest of the import, then a quarter of the files
//! overwritten and another quarter deleted.

use std::fs;
use std::time::{Duration, Instant};

use fastrand::Rng;
use peercask::Durability;

use super::checks::Expected;
use super::content;
use super::plan::PlannedFile;
use super::shelf::Shelf;
use crate::exit::Failure;
use crate::interrupt;
use crate::progress::{Count, Progress};

/// What one phase wrote.
#[derive(Default)]
pub(super) struct Written {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files that could not be read any more.
    pub(super) gone: u64,
    /// In the store alone, without reading files.
    pub(super) in_store: Duration,
}

/// Imports the files that are not there yet, each acknowledged at `Kernel`.
pub(super) fn resume(
    files: &[PlannedFile],
    expected: &mut [Expected],
    shelf: &Shelf,
) -> Result<Written, Failure> {
    let mut written = Written::default();
    let mut progress = Progress::new(
        "resuming the import",
        Count::Things,
        u64::try_from(files.len()).unwrap_or(0),
    );
    for (file, expected) in files.iter().zip(expected) {
        interrupt::check()?;
        progress.add(1);
        if shelf.files.contains(&file.key)? {
            continue;
        }
        let Ok(content) = fs::read(&file.path) else {
            written.gone += 1;
            continue;
        };
        let started = Instant::now();
        shelf.put(&file.key, &content, Durability::Kernel)?;
        written.in_store += started.elapsed();
        written.files += 1;
        written.bytes += u64::try_from(content.len()).unwrap_or(0);
        *expected = Expected::Original {
            digest: content::digest(&content),
        };
    }
    let started = Instant::now();
    shelf.store.sync()?;
    written.in_store += started.elapsed();
    Ok(written)
}

/// Overwrites a random quarter of what is there and deletes another; buffered, with one sync at the end.
pub(super) fn overwrite_and_delete(
    files: &[PlannedFile],
    expected: &mut [Expected],
    seed: u64,
    rng: &mut Rng,
    shelf: &Shelf,
) -> Result<(Written, Written), Failure> {
    let there = expected
        .iter()
        .enumerate()
        .filter(|(_, expected)| **expected != Expected::Nothing);
    let mut there: Vec<usize> = there.map(|(index, _)| index).collect();
    rng.shuffle(&mut there);
    let quarter = there.len() / 4;
    let (mut overwritten, mut deleted) = (Written::default(), Written::default());
    let mut progress = Progress::new(
        "overwriting and deleting",
        Count::Things,
        u64::try_from(2 * quarter).unwrap_or(0),
    );
    for (position, &index) in there.iter().take(2 * quarter).enumerate() {
        interrupt::check()?;
        progress.add(1);
        let (Some(file), Some(expected)) = (files.get(index), expected.get_mut(index)) else {
            continue;
        };
        if position < quarter {
            let len = usize::try_from(file.len).unwrap_or(0);
            let content = content::overwriting(seed, index, len);
            shelf.put(&file.key, &content, Durability::Buffered)?;
            overwritten.files += 1;
            overwritten.bytes += file.len;
            *expected = Expected::Overwritten { len };
        } else {
            shelf.delete(&file.key, Durability::Buffered)?;
            deleted.files += 1;
            *expected = Expected::Nothing;
        }
    }
    shelf.store.sync()?;
    Ok((overwritten, deleted))
}
