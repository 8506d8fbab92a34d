//! How the states of the corpus are made: a store on the real disk, copied while it lives, and what a
//! crash may have done to its files. What must be found is written down here, not read back.

use std::fs;
use std::path::{Path, PathBuf};

use peercask::{Durability, Keyspace, Merge, Store, Write};

use crate::support::{
    Contents, Image, Place, append, copy_files, hash, hints, image, ordered, segments, set_len,
    write_image,
};

mod past;

/// Every state that can be made.
pub(super) fn recipes() -> impl Iterator<Item = &'static Recipe> {
    RECIPES.iter().chain(past::RECIPES)
}

/// A state and its story.
pub(super) struct Recipe {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Makes it, and answers with what must be found.
    pub(super) make: fn(&State) -> Contents,
}

/// Where a state is made: the living store, and the directory that the crash left.
pub(super) struct State {
    living: Place,
    left: Place,
}

impl State {
    pub(super) fn new() -> State {
        State {
            living: Place::new(),
            left: Place::new(),
        }
    }

    pub(super) fn state(&self) -> &Path {
        self.left.path()
    }

    /// A crash that loses nothing: the files as every process sees them.
    fn crash(&self) {
        copy_files(self.living.path(), self.left.path());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.left.file(name)
    }

    fn segment(&self, index_from_last: usize) -> PathBuf {
        let names = segments(self.left.path());
        self.file(&names[names.len() - 1 - index_from_last])
    }

    fn segment_bytes(&self, index_from_last: usize) -> Vec<u8> {
        fs::read(self.segment(index_from_last)).expect("read")
    }

    /// Where the written bytes of the youngest segment end: behind them are only zeros.
    fn written_len(&self) -> u64 {
        let bytes = self.segment_bytes(0);
        let end = bytes.iter().rposition(|byte| *byte != 0).expect("written");
        end as u64 + 1
    }
}

/// What `numbers` put: under the same key in both keyspaces, in order.
fn expected(numbers: impl IntoIterator<Item = u32>) -> Contents {
    let mut contents = Contents::new();
    for number in numbers {
        for space in ["flat", "sorted"] {
            let place = (space.to_owned(), format!("key {number}").into_bytes());
            contents.insert(place, value(number).into_bytes());
        }
    }
    contents
}

fn value(number: u32) -> String {
    format!("value {number} {}", "-".repeat(40))
}

fn spaces(store: &Store) -> [Keyspace; 2] {
    [hash(store, "flat"), ordered(store, "sorted")]
}

/// A batch of one key in both keyspaces.
fn put(store: &Store, number: u32, durability: Durability) {
    let [flat, sorted] = spaces(store);
    let mut batch = store.batch();
    batch.put(&flat, format!("key {number}"), value(number));
    batch.put(&sorted, format!("key {number}"), value(number));
    let commit = batch.commit_with(durability).expect("committed");
    commit.wait().expect("waited");
}

fn fill(store: &Store, numbers: std::ops::Range<u32>, durability: Durability) {
    for number in numbers {
        put(store, number, durability);
    }
}

/// A store with four durable batches that was never closed.
fn four(made: &State) {
    let store = made.living.open();
    fill(&store, 0..4, Durability::Device);
    made.crash();
}

/// A store over several segments, closed.
fn several_closed(made: &State) {
    let store = made.living.open();
    fill(&store, 0..60, Durability::Kernel);
    store.close().expect("closed");
    made.crash();
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "preallocated-tail",
        what: "killed between two writes: behind the last record only reserved space, all zeros",
        make: |made| {
            four(made);
            expected(0..4)
        },
    },
    Recipe {
        name: "torn-tail",
        what: "power cut in an append: the last record ends in the middle, and so does the file",
        make: |made| {
            four(made);
            set_len(&made.segment(0), made.written_len() - 9);
            expected(0..3)
        },
    },
    Recipe {
        name: "torn-tail-then-zeros",
        what: "power cut in an append into reserved space: the last record's end is zeros",
        make: |made| {
            four(made);
            let len = made.segment_bytes(0).len() as u64;
            set_len(&made.segment(0), made.written_len() - 30);
            set_len(&made.segment(0), len);
            expected(0..3)
        },
    },
    Recipe {
        name: "lost-sector-behind-the-mark",
        what: "an earlier record of the unsynced tail was lost and later ones survived: all of the tail goes",
        make: |made| {
            let store = made.living.open();
            put(&store, 0, Durability::Device);
            put(&store, 1, Durability::Kernel);
            let from = {
                made.crash();
                made.written_len()
            };
            put(&store, 2, Durability::Kernel);
            put(&store, 3, Durability::Kernel);
            made.crash();
            let mut bytes = made.segment_bytes(0);
            let from = usize::try_from(from).expect("small");
            bytes[from..from + 40].fill(0);
            fs::write(made.segment(0), bytes).expect("written");
            expected(0..2)
        },
    },
    Recipe {
        name: "stale-blocks",
        what: "behind the records stand blocks of a deleted file, whole records of another segment at their old offsets",
        make: |made| {
            let store = made.living.open();
            fill(&store, 0..60, Durability::Kernel);
            made.crash();
            let (older, end) = (made.segment_bytes(1), made.written_len());
            let from = usize::try_from(end).expect("small");
            let mut bytes = made.segment_bytes(0);
            let until = older.len().min(bytes.len());
            bytes[from..until].copy_from_slice(&older[from..until]);
            fs::write(made.segment(0), bytes).expect("written");
            expected(0..60)
        },
    },
    Recipe {
        name: "half-a-batch",
        what: "of the last batch, which spans both keyspaces, only the first record was written",
        make: |made| {
            four(made);
            let last = value(3).into_bytes();
            let mut bytes = made.segment_bytes(0);
            let first = bytes.windows(last.len()).position(|window| window == last);
            let end = first.expect("there") + last.len();
            bytes[end..].fill(0);
            fs::write(made.segment(0), bytes).expect("written");
            expected(0..3)
        },
    },
    Recipe {
        name: "lost-directory-entry",
        what: "the name of the youngest segment never reached the directory: what was in it was not acknowledged as Device",
        make: |made| {
            rotated(made);
            fs::remove_file(made.segment(0)).expect("removed");
            until_last_segment(made)
        },
    },
    Recipe {
        name: "empty-segment",
        what: "the youngest segment has its name and no byte",
        make: |made| {
            rotated(made);
            set_len(&made.segment(0), 0);
            until_last_segment(made)
        },
    },
    Recipe {
        name: "header-only",
        what: "the youngest segment has its header and nothing else",
        make: |made| {
            rotated(made);
            set_len(&made.segment(0), 160);
            until_last_segment(made)
        },
    },
    Recipe {
        name: "half-a-header",
        what: "of the header of the youngest segment 40 bytes were written",
        make: |made| {
            rotated(made);
            set_len(&made.segment(0), 40);
            until_last_segment(made)
        },
    },
    Recipe {
        name: "all-zero-segment",
        what: "the youngest segment has its length, and every byte of it is zero",
        make: |made| {
            rotated(made);
            let len = made.segment_bytes(0).len();
            fs::write(made.segment(0), vec![0; len]).expect("written");
            until_last_segment(made)
        },
    },
    Recipe {
        name: "older-torn-younger-whole",
        what: "rotation waits for no sync: the older segment lost its end, the younger one is whole and goes",
        make: |made| {
            rotated(made);
            let path = made.segment(1);
            let bytes = fs::read(&path).expect("read");
            let wanted = value(5).into_bytes();
            let at = bytes
                .windows(wanted.len())
                .position(|window| window == wanted);
            set_len(&path, at.expect("in the older one") as u64);
            expected(0..5)
        },
    },
    Recipe {
        name: "closed-but-manifest-old",
        what: "power cut in a close: the footer is there, hint and manifest are not",
        make: |made| {
            let store = made.living.open();
            fill(&store, 0..4, Durability::Device);
            let before = made.living.image();
            store.close().expect("closed");
            made.crash();
            for name in ["manifest-a", "manifest-b"] {
                fs::write(made.file(name), &before[name]).expect("written");
            }
            for name in hints(made.state()) {
                fs::remove_file(made.file(&name)).expect("removed");
            }
            expected(0..4)
        },
    },
    Recipe {
        name: "manifest-one-copy",
        what: "one copy of the manifest alone: the directory entry of the other was lost",
        make: |made| {
            several_closed(made);
            fs::remove_file(made.file("manifest-b")).expect("removed");
            expected(0..60)
        },
    },
    Recipe {
        name: "manifest-a-new-b-old",
        what: "power cut between the two copies of a manifest: the higher generation counts",
        make: |made| {
            let store = made.living.open();
            fill(&store, 0..4, Durability::Device);
            let before = made.living.image();
            hash(&store, "made last").put("key", "value").expect("put");
            made.crash();
            fs::write(made.file("manifest-b"), &before["manifest-b"]).expect("written");
            let mut contents = expected(0..4);
            contents.insert(("made last".to_owned(), b"key".to_vec()), b"value".to_vec());
            contents
        },
    },
    Recipe {
        name: "manifest-torn-while-replaced",
        what: "a file system that tore the copy being renamed into place: the other one counts",
        make: |made| {
            several_closed(made);
            let bytes = fs::read(made.file("manifest-a")).expect("read");
            fs::write(made.file("manifest-a"), &bytes[..bytes.len() / 2]).expect("written");
            expected(0..60)
        },
    },
    Recipe {
        name: "temporary-files",
        what: "leftovers of every kind of file that is written under a temporary name",
        make: |made| {
            several_closed(made);
            let segment = segments(made.state())[0].clone();
            let hint = hints(made.state())[0].clone();
            for name in ["manifest-a", "manifest-b", &segment, &hint] {
                let bytes = fs::read(made.file(name)).expect("read");
                fs::write(made.file(&format!("{name}.tmp")), &bytes[..bytes.len() / 2])
                    .expect("written");
            }
            expected(0..60)
        },
    },
    Recipe {
        name: "created-and-no-more",
        what: "killed while the store was made: one manifest, nothing else",
        make: |made| {
            drop(made.living.open());
            made.crash();
            fs::remove_file(made.file("manifest-b")).expect("removed");
            Contents::new()
        },
    },
    Recipe {
        name: "hint-cut",
        what: "a hint file lost its second half: it is not believed, the segment is read",
        make: |made| {
            several_closed(made);
            let path = made.file(&hints(made.state())[1]);
            let len = fs::metadata(&path).expect("there").len();
            set_len(&path, len / 2);
            expected(0..60)
        },
    },
    Recipe {
        name: "hint-empty",
        what: "a hint file has its name and no byte",
        make: |made| {
            several_closed(made);
            set_len(&made.file(&hints(made.state())[0]), 0);
            expected(0..60)
        },
    },
    Recipe {
        name: "hint-of-another-segment",
        what: "a hint file holds what belongs to its neighbour",
        make: |made| {
            several_closed(made);
            let names = hints(made.state());
            fs::copy(made.file(&names[0]), made.file(&names[1])).expect("copied");
            expected(0..60)
        },
    },
    Recipe {
        name: "hints-missing",
        what: "no hint file at all: none had been written when the power went",
        make: |made| {
            several_closed(made);
            crate::support::delete_hints(made.state());
            expected(0..60)
        },
    },
    Recipe {
        name: "merge-not-declared",
        what: "merge broken off before its manifest: inputs and outputs are both there, the inputs count",
        make: |made| {
            let (before, after) = merged(made);
            let mut state = before.clone();
            for (name, bytes) in after {
                state.entry(name).or_insert(bytes);
            }
            write_image(made.state(), &state);
            after_deletes()
        },
    },
    Recipe {
        name: "merge-declared-inputs-back",
        what: "merge declared, and every unlink of an input was undone: no deleted key may come back",
        make: |made| {
            let (before, after) = merged(made);
            let mut state = after;
            for (name, bytes) in before {
                state.entry(name).or_insert(bytes);
            }
            write_image(made.state(), &state);
            after_deletes()
        },
    },
    Recipe {
        name: "merge-declared-one-input-back",
        what: "merge declared, and the unlink of the oldest input alone was undone: its values must not outlive their deletes",
        make: |made| {
            let (before, after) = merged(made);
            let mut state = after;
            let oldest = before.iter().find(|(name, _)| name.starts_with("seg-"));
            let (name, bytes) = oldest.expect("an input");
            state.insert(name.clone(), bytes.clone());
            write_image(made.state(), &state);
            after_deletes()
        },
    },
    Recipe {
        name: "unclean-after-a-merge",
        what: "bug: the end of the log was sought as if a merge had not taken the records that headers count on",
        make: |made| {
            let store = made.living.open();
            fill(&store, 0..30, Durability::Kernel);
            store.merge(Merge::Full).expect("merged");
            fill(&store, 30..34, Durability::Kernel);
            made.crash();
            expected(0..34)
        },
    },
    Recipe {
        name: "second-unclean-life",
        what: "two lives that were never closed: seqs jump between them, which is no gap",
        make: |made| {
            four(made);
            let second = State::new();
            copy_files(made.state(), second.living.path());
            let store = second.living.open();
            fill(&store, 4..8, Durability::Device);
            second.crash();
            write_image(made.state(), &image(second.state()));
            expected(0..8)
        },
    },
    Recipe {
        name: "torn-in-the-second-life",
        what: "the end torn in the first life was cut then; the second life's end is torn in another segment",
        make: |made| {
            four(made);
            set_len(&made.segment(0), made.written_len() - 9);
            let second = State::new();
            copy_files(made.state(), second.living.path());
            let store = second.living.open();
            fill(&store, 10..14, Durability::Device);
            second.crash();
            write_image(made.state(), &image(second.state()));
            set_len(&made.segment(0), made.written_len() - 9);
            let mut contents = expected(0..3);
            contents.extend(expected(10..13));
            contents
        },
    },
    Recipe {
        name: "keyspace-dropped",
        what: "killed right after a keyspace was dropped: its records are still in the log, and dead",
        make: |made| {
            let store = made.living.open();
            hash(&store, "dropped").put("key", "value").expect("put");
            fill(&store, 0..2, Durability::Device);
            assert!(store.drop_keyspace("dropped").expect("dropped"));
            made.crash();
            expected(0..2)
        },
    },
    Recipe {
        name: "rot-in-a-synced-record",
        what: "not a crash alone: a record below the synced mark rotted; it costs itself, and is reported",
        make: |made| {
            let store = made.living.open();
            let flat = hash(&store, "flat");
            for number in 0..4 {
                let strong = Write::new().durability(Durability::Device);
                let put = flat.put_with(format!("key {number}"), value(number), strong);
                put.expect("put").wait().expect("waited");
            }
            made.crash();
            let mut bytes = made.segment_bytes(0);
            let at = bytes.windows(5).position(|window| window == b"key 1");
            bytes[at.expect("there")] ^= 0x20;
            fs::write(made.segment(0), bytes).expect("written");
            let mut contents = expected([0, 2, 3]);
            contents.retain(|(space, _), _| space == "flat");
            contents
        },
    },
    Recipe {
        name: "garbage-behind-the-end",
        what: "random bytes where the file was extended and nothing was written",
        make: |made| {
            four(made);
            set_len(&made.segment(0), made.written_len());
            let mut rng = crate::support::Rng::quiet(0xC0, 0x17);
            append(&made.segment(0), &rng.bytes(700));
            expected(0..4)
        },
    },
];

/// Two segments, the younger begun by weak writes that the manifest does not know of.
fn rotated(made: &State) {
    let store = made.living.open();
    let [flat, sorted] = spaces(&store);
    drop((flat, sorted));
    let mut number = 0;
    while segments(made.living.path()).len() < 2 {
        put(&store, number, Durability::Kernel);
        number += 1;
    }
    put(&store, number, Durability::Kernel);
    made.crash();
}

/// What the older segment holds alone: everything that its bytes show in both keyspaces.
fn until_last_segment(made: &State) -> Contents {
    let oldest = made.file(&segments(made.state())[0]);
    let bytes = fs::read(oldest).expect("read");
    let holds = |number: &u32| {
        let value = value(*number).into_bytes();
        bytes
            .windows(value.len())
            .filter(|window| *window == value)
            .count()
            == 2
    };
    expected((0..).take_while(holds))
}

/// A store with deletes and overwrites over several segments, before and right after a full merge.
fn merged(made: &State) -> (Image, Image) {
    let store = made.living.open();
    fill(&store, 0..40, Durability::Kernel);
    let [flat, sorted] = spaces(&store);
    for number in (0..40).step_by(2) {
        for space in [&flat, &sorted] {
            assert!(space.delete(format!("key {number}")).expect("deleted"));
        }
    }
    store.sync().expect("synced");
    // Everything sealed and listed, so that both images are of the same log.
    store.close().expect("closed");
    let store = made.living.open();
    let before = made.living.image();
    store.merge(Merge::Full).expect("merged");
    (before, made.living.image())
}

fn after_deletes() -> Contents {
    expected((0..40).filter(|number| number % 2 == 1))
}
