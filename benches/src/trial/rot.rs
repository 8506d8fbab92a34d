//! Bit rot: a store at rest, one bit of a byte in use flipped, and what the store makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::power::empty;
use super::reader::{Reader, WRITE};
use super::verdict::{Tally, after_a_flip};
use crate::Outcome;

/// Makes a store of `writes` acknowledged writes, closed well, and flips one bit of it, again and again.
///
/// # Errors
/// If no child can be started, or the one that writes fails.
pub fn flip(reader: &Reader, dir: &Path, writes: usize, seed: u64, flips: u64) -> Outcome<Tally> {
    empty(dir)?;
    let wrote = Command::new(&reader.program)
        .args([WRITE, reader.backend])
        .arg(dir)
        .args([&writes.to_string(), "--close"])
        .stdin(Stdio::null())
        .output()?;
    if !wrote.status.success() {
        let words = String::from_utf8_lossy(&wrote.stderr).into_owned();
        return Err(format!("the child that writes failed: {words}").into());
    }
    let mut files = Vec::new();
    read_below(dir, Path::new(""), &mut files)?;
    let in_use = |bytes: &[u8]| bytes.iter().filter(|byte| **byte != 0).count();
    let total: usize = files.iter().map(|(_, bytes)| in_use(bytes)).sum();
    let mut dice = seed;
    let mut tally = Tally::new();
    let state = dir.with_extension("state");
    for _ in 0..flips {
        empty(&state)?;
        let mut left = below(&mut dice, total);
        for (name, bytes) in &files {
            let mut bytes = bytes.clone();
            let used = in_use(&bytes);
            if left < used
                && let Some(byte) = bytes.iter_mut().filter(|byte| **byte != 0).nth(left)
            {
                *byte ^= 1 << below(&mut dice, 8);
            }
            left = left.checked_sub(used).unwrap_or(usize::MAX);
            let path = state.join(name);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, bytes)?;
        }
        let verdict = after_a_flip(&reader.ask(&state)?, writes);
        *tally.entry(verdict).or_default() += 1;
    }
    Ok(tally)
}

/// Every file below `dir`, by name, with its bytes.
fn read_below(dir: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Outcome<()> {
    let entries: Result<Vec<_>, _> = fs::read_dir(dir.join(below))?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => read_below(dir, &name, files)?,
            false => files.push((name, fs::read(entry.path())?)),
        }
    }
    Ok(())
}

/// A number below `end` by dice whose state is `dice` (splitmix64).
fn below(dice: &mut u64, end: usize) -> usize {
    *dice = dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    crate::narrow(mixed % crate::wide(end.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_reach_every_number() {
        let mut dice = 1;
        let mut met = [false; 8];
        (0..200).for_each(|_| met[below(&mut dice, 8)] = true);
        assert_eq!(met, [true; 8]);
    }
}
