//! The proofs of a quickstart: what a store must hold, compared with what it does hold.
//!
//! Every value is compared byte for byte with the file it came from. A file that changed or vanished in
//! the meantime proves nothing any more; then the digest taken when it was imported decides, and the file
//! is counted.

use std::collections::HashSet;
use std::time::SystemTime;

use serde::Serialize;

use super::content::{self, SourceSays};
use super::kill::Ack;
use super::plan::PlannedFile;
use super::shelf::{self, Found, Shelf};
use crate::exit::Failure;
use crate::human;
use crate::interrupt;
use crate::progress::{Count, Progress};

/// Mismatches that are kept as text; beyond, they are only counted.
const TOLD_MAX: usize = 20;

/// What the store must hold for one planned file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Neither keyspace has the key.
    Nothing,
    /// The file's content, with this digest when it was read.
    Original { digest: u64 },
    /// The text that overwrites it, of this length.
    Overwritten { len: usize },
}

/// The tally of all checks of one quickstart.
#[derive(Default, Serialize)]
pub(super) struct Checks {
    /// Keys whose values, or absence, were as they must be.
    pub(super) verified: u64,
    /// Of these, values equal to the file they came from, read again.
    pub(super) equal_to_file: u64,
    /// Of these, values whose file has changed since; their digest is right.
    pub(super) file_changed: u64,
    /// Of these, values whose file has vanished since; their digest is right.
    pub(super) file_vanished: u64,
    pub(super) mismatches: u64,
    pub(super) mismatches_told: Vec<String>,
}

/// What the kill left behind.
#[derive(Default, Serialize)]
pub(super) struct AfterKill {
    pub(super) acknowledged: u64,
    pub(super) acknowledged_and_right: u64,
    pub(super) unacknowledged_but_whole: u64,
    pub(super) half: u64,
}

impl Checks {
    fn mismatch(&mut self, key: &[u8], what: &str) {
        self.mismatches += 1;
        if self.mismatches_told.len() < TOLD_MAX {
            let key = human::printable_start(key, 200);
            self.mismatches_told.push(format!("`{key}`: {what}"));
        }
    }

    /// Counts the file's say on a value that is known to be right.
    fn count_source(&mut self, says: SourceSays) {
        self.verified += 1;
        match says {
            SourceSays::Same => self.equal_to_file += 1,
            SourceSays::Different => self.file_changed += 1,
            SourceSays::Gone => self.file_vanished += 1,
        }
    }

    /// Checks every key of the plan, then that the keyspaces hold no other.
    pub(super) fn whole_store(
        &mut self,
        title: &'static str,
        files: &[PlannedFile],
        expected: &[Expected],
        seed: u64,
        shelf: &Shelf,
    ) -> Result<(), Failure> {
        let mut progress = Progress::new(
            title,
            Count::Things,
            u64::try_from(files.len()).unwrap_or(0),
        );
        for (index, (file, &expected)) in files.iter().zip(expected).enumerate() {
            interrupt::check()?;
            let found = shelf.look(&file.key)?;
            self.one(index, file, expected, seed, &found);
            progress.add(1);
        }
        self.no_other_keys(files, expected, shelf)
    }

    fn one(
        &mut self,
        index: usize,
        file: &PlannedFile,
        expected: Expected,
        seed: u64,
        found: &Found,
    ) {
        let (content, len) = match (expected, &found.content, found.len) {
            (Expected::Nothing, None, None) => {
                self.verified += 1;
                return;
            }
            (Expected::Nothing, _, _) => {
                return self.mismatch(&file.key, "is there, but must not be");
            }
            (_, Some(content), Some(len)) => (content, len),
            (_, None, None) => return self.mismatch(&file.key, "is missing"),
            (_, None, Some(_)) => {
                return self.mismatch(&file.key, "its content is missing, its length is there");
            }
            (_, Some(_), None) => {
                return self.mismatch(&file.key, "its length is missing, its content is there");
            }
        };
        if u64::try_from(content.len()) != Ok(len) {
            return self.mismatch(&file.key, "the two keyspaces disagree on its length");
        }
        match expected {
            Expected::Original { digest } if digest == content::digest(content) => {
                self.count_source(content::compare(&file.path, content));
            }
            Expected::Overwritten { len }
                if content[..] == content::overwriting(seed, index, len) =>
            {
                self.verified += 1;
            }
            Expected::Overwritten { .. } => self.mismatch(&file.key, "is not what overwrote it"),
            _ => self.mismatch(&file.key, "is not what was imported"),
        }
    }

    /// Walks both keyspaces: known keys only, as many as expected, the ordered ones in order.
    fn no_other_keys(
        &mut self,
        files: &[PlannedFile],
        expected: &[Expected],
        shelf: &Shelf,
    ) -> Result<(), Failure> {
        let present: HashSet<&[u8]> = files
            .iter()
            .zip(expected)
            .filter(|(_, expected)| **expected != Expected::Nothing)
            .map(|(file, _)| file.key.as_slice())
            .collect();
        let mut walked = 0;
        for entry in shelf.files.walk() {
            interrupt::check()?;
            let entry = entry?;
            walked += 1;
            if !present.contains(&entry.key[..]) {
                self.mismatch(&entry.key, "the walk found it, but it must not be there");
            }
        }
        let mut iterated = 0;
        let mut last: Option<peercask::Value> = None;
        for entry in shelf.paths.iter()? {
            let entry = entry?;
            iterated += 1;
            if last.is_some_and(|last| last[..] >= entry.key[..]) {
                self.mismatch(&entry.key, "is out of order");
            }
            if !present.contains(&entry.key[..]) || shelf::parse_len(&entry.value).is_none() {
                self.mismatch(&entry.key, "the ordered keyspace holds it, but must not");
            }
            last = Some(entry.key);
        }
        if (walked, iterated) != (present.len(), present.len()) {
            let what = format!(
                "a walk finds {walked} keys, an iteration {iterated}, expected {}",
                present.len()
            );
            self.mismatch(b"*", &what);
        }
        Ok(())
    }

    /// Checks what is there after the kill against what was acknowledged; tells what to expect from now
    /// on. `planned_at` is from before the child began to read.
    pub(super) fn after_kill(
        &mut self,
        files: &[PlannedFile],
        acks: &[Option<Ack>],
        planned_at: SystemTime,
        shelf: &Shelf,
    ) -> Result<(AfterKill, Vec<Expected>), Failure> {
        let mut after = AfterKill::default();
        let mut all_expected = Vec::with_capacity(files.len());
        let mut progress = Progress::new(
            "checking what survived",
            Count::Things,
            u64::try_from(files.len()).unwrap_or(0),
        );
        for (file, ack) in files.iter().zip(acks) {
            interrupt::check()?;
            let found = shelf.look(&file.key)?;
            let mismatches = self.mismatches;
            let expected = match ack {
                Some(ack) => {
                    after.acknowledged += 1;
                    let expected = self.acknowledged(file, *ack, &found);
                    after.acknowledged_and_right += u64::from(self.mismatches == mismatches);
                    expected
                }
                None => self.unacknowledged(file, planned_at, &found, &mut after),
            };
            all_expected.push(expected);
            progress.add(1);
        }
        // The child has one write under way at a time.
        if after.unacknowledged_but_whole > 1 {
            self.mismatch(
                b"*",
                "more than one file is there that was never acknowledged",
            );
        }
        self.no_other_keys(files, &all_expected, shelf)?;
        Ok((after, all_expected))
    }

    fn acknowledged(&mut self, file: &PlannedFile, ack: Ack, found: &Found) -> Expected {
        match (&found.content, found.len) {
            (Some(content), Some(len))
                if content::digest(content) == ack.digest && len == ack.len =>
            {
                self.count_source(content::compare(&file.path, content));
            }
            (Some(_), Some(_)) => self.mismatch(&file.key, "was acknowledged with another content"),
            (None, None) => self.mismatch(&file.key, "was acknowledged and is missing"),
            _ => self.mismatch(&file.key, "was acknowledged and is half there"),
        }
        Expected::Original { digest: ack.digest }
    }

    fn unacknowledged(
        &mut self,
        file: &PlannedFile,
        planned_at: SystemTime,
        found: &Found,
        after: &mut AfterKill,
    ) -> Expected {
        match (&found.content, found.len) {
            (None, None) => Expected::Nothing,
            (Some(content), Some(len)) => {
                after.unacknowledged_but_whole += 1;
                let says = content::compare(&file.path, content);
                let excused =
                    says == SourceSays::Gone || !content::untouched_since(&file.path, planned_at);
                if u64::try_from(content.len()) != Ok(len) || (says != SourceSays::Same && !excused)
                {
                    self.mismatch(
                        &file.key,
                        "was not acknowledged and is not what the file holds",
                    );
                } else {
                    self.count_source(says);
                }
                Expected::Original {
                    digest: content::digest(content),
                }
            }
            _ => {
                after.half += 1;
                self.mismatch(&file.key, "is in one keyspace only");
                Expected::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use peercask::{Durability, Options, Store};
    use tempfile::TempDir;

    use super::*;

    /// Three source files, imported, and what a right store is expected to hold.
    struct Scene {
        dir: TempDir,
        files: Vec<PlannedFile>,
        expected: Vec<Expected>,
        shelf: Shelf,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options::default().background(false);
        let store = Store::open(dir.path().join("store"), options).expect("a store");
        let shelf = Shelf::open(store).expect("two keyspaces");
        let mut scene = Scene {
            dir,
            files: Vec::new(),
            expected: Vec::new(),
            shelf,
        };
        for name in ["a", "b", "c"] {
            let path = scene.dir.path().join(name);
            let content = format!("content of {name}").into_bytes();
            fs::write(&path, &content).expect("a small file");
            let key = name.as_bytes().to_vec();
            put(&scene.shelf, &key, &content);
            scene.files.push(PlannedFile { key, path, len: 12 });
            let digest = content::digest(&content);
            scene.expected.push(Expected::Original { digest });
        }
        scene
    }

    fn put(shelf: &Shelf, key: &[u8], content: &[u8]) {
        shelf.put(key, content, Durability::Kernel).expect("a put");
    }

    fn checked(scene: &Scene) -> Checks {
        let mut checks = Checks::default();
        let Scene {
            files,
            expected,
            shelf,
            ..
        } = scene;
        checks
            .whole_store("checking", files, expected, 7, shelf)
            .expect("the store is readable");
        checks
    }

    #[test]
    fn a_right_store_passes_and_changed_files_are_only_counted() {
        let mut scene = scene();
        assert_eq!(
            (checked(&scene).equal_to_file, checked(&scene).mismatches),
            (3, 0)
        );
        fs::write(&scene.files[0].path, "changed").expect("a small file");
        fs::remove_file(&scene.files[1].path).expect("the file was there");
        put(&scene.shelf, b"c", &content::overwriting(7, 2, 12));
        scene.expected[2] = Expected::Overwritten { len: 12 };
        let checks = checked(&scene);
        assert_eq!((checks.file_changed, checks.file_vanished), (1, 1));
        assert_eq!((checks.verified, checks.mismatches), (3, 0));
    }

    #[test]
    fn everything_that_can_be_wrong_with_a_store_is_a_mismatch() {
        type Wrong = (&'static str, fn(&Shelf));
        let wrongs: [Wrong; 7] = [
            ("another content of the same length", |shelf| {
                put(shelf, b"a", b"CONTENT OF A")
            }),
            ("another length", |shelf| put(shelf, b"a", b"")),
            ("gone", |shelf| {
                shelf.delete(b"a", Durability::Kernel).expect("a delete")
            }),
            ("half: content only", |shelf| {
                assert!(shelf.paths.delete(b"a").expect("a delete"))
            }),
            ("half: length only", |shelf| {
                assert!(shelf.files.delete(b"a").expect("a delete"))
            }),
            ("a length that is wrong", |shelf| {
                shelf.paths.put(b"a", b"13").expect("a put")
            }),
            ("a key from nowhere", |shelf| put(shelf, b"d", b"x")),
        ];
        for (what, wrong) in wrongs {
            let scene = scene();
            wrong(&scene.shelf);
            assert!(checked(&scene).mismatches > 0, "{what}");
        }
        let mut revived = scene();
        revived.expected[0] = Expected::Nothing;
        assert!(
            checked(&revived).mismatches > 0,
            "a deleted key that is there again"
        );
    }

    #[test]
    fn after_a_kill_one_unacknowledged_file_may_be_whole_but_none_half() {
        let scene = scene();
        let ack = |name: &str| {
            let content = format!("content of {name}").into_bytes();
            Some(Ack {
                len: 12,
                digest: content::digest(&content),
            })
        };
        let later = SystemTime::now() + Duration::from_secs(3_600);
        let after = |acks: [Option<Ack>; 3]| {
            let mut checks = Checks::default();
            let Scene { files, shelf, .. } = &scene;
            let (after, expected) = checks
                .after_kill(files, &acks, later, shelf)
                .expect("the store is readable");
            (checks.mismatches, after, expected)
        };
        let all = [ack("a"), ack("b"), ack("c")];
        assert_eq!(after(all).0, 0);
        let (mismatches, one_open, expected) = after([ack("a"), ack("b"), None]);
        assert_eq!((mismatches, one_open.unacknowledged_but_whole), (0, 1));
        assert_eq!(expected, scene.expected);
        assert!(
            after([ack("a"), None, None]).0 > 0,
            "two writes under way at once"
        );
        assert!(
            after([ack("a"), ack("b"), ack("a")]).0 > 0,
            "acknowledged with another content"
        );

        assert!(scene.shelf.paths.delete(b"c").expect("a delete"));
        let (mismatches, half, _) = after([ack("a"), ack("b"), None]);
        assert!(mismatches > 0 && half.half == 1);
        assert!(scene.shelf.files.delete(b"c").expect("a delete"));
        assert_eq!(
            after([ack("a"), ack("b"), None]).0,
            0,
            "neither half is there"
        );
        assert!(after(all).0 > 0, "an acknowledged file is missing");
        put(&scene.shelf, b"c", b"content of Z");
        assert!(
            after([ack("a"), ack("b"), None]).0 > 0,
            "whole, but not what the file holds"
        );
    }
}
