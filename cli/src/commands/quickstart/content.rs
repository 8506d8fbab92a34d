//! Contents of files and what stands for them: a digest to remember an original by, and the text that
//! overwrites it.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::SystemTime;

/// Remembers a content. Parent and child are one program, so its keys and its result are the same in
/// both.
pub(super) fn digest(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish()
}

/// The content that overwrites a file: as long as the original, different for each file and seed, and
/// known without looking anything up.
pub(super) fn overwriting(seed: u64, index: usize, len: usize) -> Vec<u8> {
    let line = format!("file {index} overwritten by the peercask quickstart with seed {seed}\n");
    line.into_bytes().into_iter().cycle().take(len).collect()
}

/// What a file says about a value that came from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceSays {
    Same,
    Different,
    Gone,
}

pub(super) fn compare(path: &Path, value: &[u8]) -> SourceSays {
    match fs::read(path) {
        Ok(content) if content == value => SourceSays::Same,
        Ok(_) => SourceSays::Different,
        Err(_) => SourceSays::Gone,
    }
}

/// Whether a file was certainly left alone since then.
pub(super) fn untouched_since(path: &Path, moment: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|about| about.modified());
    modified.is_ok_and(|modified| modified < moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwriting_contents_have_the_length_and_differ() {
        assert_eq!(overwriting(1, 2, 0), b"");
        assert_eq!(overwriting(1, 2, 1_000).len(), 1_000);
        assert_ne!(overwriting(1, 2, 100), overwriting(1, 3, 100));
        assert_ne!(overwriting(1, 2, 100), overwriting(2, 2, 100));
    }
}
