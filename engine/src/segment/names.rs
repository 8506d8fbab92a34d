//! File names of a store directory: the only place that formats or parses one.
//!
//! A name is ours only if it is exactly what this file would format; all others are foreign and are
//! left alone. Knows nothing of what is inside the files. The names are written down in
//! docs/format.md.

use crate::segment::location::SegmentId;

/// Locked by the kernel while a process writes; its content is information only.
pub(crate) const LOCK: &str = "LOCK";
/// Space kept back so that deletes and merges work on a full disk.
pub(crate) const RESERVE: &str = "RESERVE";

/// Says that the directory is a checkpoint, and not yet a store of its own.
pub(crate) const CHECKPOINT: &str = "CHECKPOINT";

/// Says that a repair into this directory is not at its end.
pub(crate) const UNFINISHED: &str = "UNFINISHED";

const MANIFEST_A: &str = "manifest-a";
const MANIFEST_B: &str = "manifest-b";
const IMAGE_A: &str = "keydir-a";
const IMAGE_B: &str = "keydir-b";
const SEGMENT_PREFIX: &str = "seg-";
const HINT_PREFIX: &str = "hint-";
const EXTENSION: &str = ".cask";
const TEMPORARY: &str = ".tmp";
const ID_DIGITS: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileName {
    Lock,
    Reserve,
    Checkpoint,
    Unfinished,
    Manifest(ManifestCopy),
    /// A saved keydir.
    Image(ImageCopy),
    Segment(SegmentId),
    Hint(SegmentId),
    /// A label, manifest, image, segment or hint file that was being written; removed at open.
    Temporary,
    Foreign,
}

/// Which of the two copies of the manifest; a writer replaces A first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ManifestCopy {
    A,
    B,
}

/// Which of the two generations of the keydir image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ImageCopy {
    A,
    B,
}

impl ImageCopy {
    /// The generations take turns, so that the last but one stays until the next is whole.
    pub(crate) fn of(generation: u64) -> ImageCopy {
        if generation.is_multiple_of(2) {
            ImageCopy::A
        } else {
            ImageCopy::B
        }
    }
}

pub(crate) fn image(copy: ImageCopy) -> &'static str {
    match copy {
        ImageCopy::A => IMAGE_A,
        ImageCopy::B => IMAGE_B,
    }
}

pub(crate) fn manifest(copy: ManifestCopy) -> &'static str {
    match copy {
        ManifestCopy::A => MANIFEST_A,
        ManifestCopy::B => MANIFEST_B,
    }
}

pub(crate) fn segment(id: SegmentId) -> String {
    format!("{SEGMENT_PREFIX}{id}{EXTENSION}")
}

pub(crate) fn hint(id: SegmentId) -> String {
    format!("{HINT_PREFIX}{id}{EXTENSION}")
}

/// The name under which the file `final_name` is written before it is renamed.
pub(crate) fn temporary(final_name: &str) -> String {
    format!("{final_name}{TEMPORARY}")
}

/// Tells what a directory entry is, by its name alone.
/// Whether it is a file of a store.
pub(crate) fn is_ours(name: &str) -> bool {
    parse(name) != FileName::Foreign
}

/// Whether it is a file that is still being written.
pub(crate) fn is_temporary(name: &str) -> bool {
    parse(name) == FileName::Temporary
}

/// What a name stands for.
pub(crate) fn parse(name: &str) -> FileName {
    match name.strip_suffix(TEMPORARY) {
        Some(final_name) => match parse_final(final_name) {
            FileName::Checkpoint
            | FileName::Manifest(_)
            | FileName::Image(_)
            | FileName::Segment(_)
            | FileName::Hint(_) => FileName::Temporary,
            _ => FileName::Foreign,
        },
        None => parse_final(name),
    }
}

fn parse_final(name: &str) -> FileName {
    match name {
        LOCK => return FileName::Lock,
        RESERVE => return FileName::Reserve,
        CHECKPOINT => return FileName::Checkpoint,
        UNFINISHED => return FileName::Unfinished,
        MANIFEST_A => return FileName::Manifest(ManifestCopy::A),
        MANIFEST_B => return FileName::Manifest(ManifestCopy::B),
        IMAGE_A => return FileName::Image(ImageCopy::A),
        IMAGE_B => return FileName::Image(ImageCopy::B),
        _ => {}
    }
    if let Some(id) = parse_numbered(name, SEGMENT_PREFIX) {
        FileName::Segment(id)
    } else if let Some(id) = parse_numbered(name, HINT_PREFIX) {
        FileName::Hint(id)
    } else {
        FileName::Foreign
    }
}

fn parse_numbered(name: &str, prefix: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(EXTENSION)?;
    // Checked by hand: from_str_radix would also take capitals, a sign and other lengths.
    let exact = digits.len() == ID_DIGITS
        && digits
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !exact {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(SegmentId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fuzz;
    use proptest::prelude::*;

    #[test]
    fn every_formatted_name_parses_back() {
        assert_eq!(parse(LOCK), FileName::Lock);
        assert_eq!(parse(RESERVE), FileName::Reserve);
        assert_eq!(parse(CHECKPOINT), FileName::Checkpoint);
        assert_eq!(parse(UNFINISHED), FileName::Unfinished);
        assert_eq!(parse(&temporary(CHECKPOINT)), FileName::Temporary);
        for copy in [ManifestCopy::A, ManifestCopy::B] {
            assert_eq!(parse(manifest(copy)), FileName::Manifest(copy));
            assert_eq!(parse(&temporary(manifest(copy))), FileName::Temporary);
        }
        for copy in [ImageCopy::A, ImageCopy::B] {
            assert_eq!(parse(image(copy)), FileName::Image(copy));
            assert_eq!(parse(&temporary(image(copy))), FileName::Temporary);
        }
        assert_eq!(segment(SegmentId(0x1f)), "seg-000000000000001f.cask");
        assert_eq!(hint(SegmentId(0x1f)), "hint-000000000000001f.cask");
        assert_eq!(
            temporary(&hint(SegmentId(1))),
            "hint-0000000000000001.cask.tmp"
        );
        for id in [0, 1, 0xABCD_EF01_2345_6789, u64::MAX].map(SegmentId) {
            assert_eq!(parse(&segment(id)), FileName::Segment(id));
            assert_eq!(parse(&hint(id)), FileName::Hint(id));
            assert_eq!(parse(&temporary(&segment(id))), FileName::Temporary);
            assert_eq!(parse(&temporary(&hint(id))), FileName::Temporary);
        }
    }

    #[test]
    fn a_name_that_is_almost_ours_is_foreign() {
        for name in [
            "",
            ".tmp",
            "lock",
            "LOCK.tmp",
            "RESERVE.tmp",
            "manifest",
            "manifest-c",
            "manifest-A",
            "manifest-a.tmp.tmp",
            "manifest-x.tmp",
            "seg-.cask",
            "seg-1.cask",
            "seg-000000000000001F.cask",
            "seg-00000000000000001f.cask",
            "seg-+00000000000001f.cask",
            "seg-000000000000001g.cask",
            "seg-000000000000001f",
            "seg-000000000000001f.cask~",
            "seg-000000000000001f.CASK",
            "Seg-000000000000001f.cask",
            " seg-000000000000001f.cask",
            "hint-1f.cask.tmp",
            "hint-000000000000001f.hint",
            "seg-\u{ff10}00000000000001f.cask",
        ] {
            assert_eq!(parse(name), FileName::Foreign, "{name:?}");
        }
    }

    #[test]
    fn arbitrary_names_never_panic_or_mislead() {
        fuzz::seeded(2_000, 40, fuzz::fuzz_names);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn only_exactly_formatted_names_are_numbered(
            name in "(seg|hint)-[0-9a-fA-F+ ]{15,17}\\.cask(\\.tmp)?",
        ) {
            match parse(&name) {
                FileName::Segment(id) => prop_assert_eq!(segment(id), name),
                FileName::Hint(id) => prop_assert_eq!(hint(id), name),
                _ => {}
            }
        }
    }
}
