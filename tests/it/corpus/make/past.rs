//! States that an engine of the past took wrongly: what it made of each is told, and what is right stands in what the
//! recipe answers. The explorer found most of them; here files are made so without it.

use std::fs;

use peercask::{Durability, Merge};

use super::{Recipe, State, expected, fill, four, put, spaces, until_last_segment, value};
use crate::support::{Contents, Place, copy_files, delete, hash, segments, set_len};

pub(super) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "past-torn-header-told-as-damage",
        what: "the first sector of a segment just begun was torn within the header, and records behind it are whole; \
               this was told as damage until f735d76",
        make: torn_header,
    },
    Recipe {
        name: "past-name-lost-after-a-merge",
        what: "a merge took the newest durable record, a tombstone; then the first of two unsynced segments lost its \
               name; dead records were told as lost and the second segment was kept behind the hole until 3989f3d",
        make: name_lost_after_a_merge,
    },
    Recipe {
        name: "past-hint-without-the-keys-of-a-dropped-keyspace",
        what: "a checkpoint being brought up to date: its manifest still has a keyspace that was dropped, and the hint \
               linked beside it was made without that keyspace's keys; the keyspace seemed empty until 37ded41",
        make: hint_without_keys,
    },
    Recipe {
        name: "past-stray-file-with-the-last-id",
        what: "a stray file bears the last segment id that there is; until 198dda9 it used up the ids",
        make: stray_last_id,
    },
    Recipe {
        name: "past-voided-append-before-the-next-segment",
        what: "an append that failed, or that a crash took back, still lies at the end of a segment, and the log went \
               on in the next one; it ended the whole log until 6f5cb1d",
        make: voided_append,
    },
    Recipe {
        name: "past-header-of-a-removed-segment",
        what: "a segment just begun got the blocks of one that a merge had removed, and its own header was lost; the \
               old header made it a foreign file, left for ever, until 00dce7a",
        make: stale_header,
    },
    Recipe {
        name: "past-hole-in-a-batch",
        what: "an unsynced batch lost bytes in its middle; its first half was kept until 42fa8e4",
        make: hole_in_a_batch,
    },
];

/// Puts that only the kernel has, until a segment more has begun and holds more than a sector.
fn rotate_by_writing(made: &State, store: &peercask::Store, first: u32) {
    let before = segments(made.living.path()).len();
    let mut number = first;
    while segments(made.living.path()).len() <= before {
        put(store, number, Durability::Kernel);
        number += 1;
    }
    fill(store, number..number + 6, Durability::Kernel);
}

fn torn_header(made: &State) -> Contents {
    let store = made.living.open();
    put(&store, 0, Durability::Kernel);
    rotate_by_writing(made, &store, 1);
    made.crash();
    let mut bytes = made.segment_bytes(0);
    assert!(made.written_len() > 700, "records behind the first sector");
    bytes[40..512].fill(0);
    fs::write(made.segment(0), bytes).expect("written");
    until_last_segment(made)
}

fn name_lost_after_a_merge(made: &State) -> Contents {
    let store = made.living.open();
    fill(&store, 0..2, Durability::Device);
    for space in spaces(&store) {
        assert!(space.delete("key 1").expect("deleted"));
    }
    store.sync().expect("synced");
    store.merge(Merge::Full).expect("merged");
    let old = segments(made.living.path());
    put(&store, 2, Durability::Kernel);
    rotate_by_writing(made, &store, 3);
    made.crash();
    let new: Vec<String> = segments(made.state())
        .into_iter()
        .filter(|name| !old.contains(name))
        .collect();
    assert!(new.len() >= 2, "{new:?} beside {old:?}");
    fs::remove_file(made.file(&new[0])).expect("removed");
    expected(0..1)
}

fn hint_without_keys(made: &State) -> Contents {
    let store = made.living.open();
    put(&store, 0, Durability::Device);
    let copy = Place::new();
    let checkpoint = copy.file("checkpoint");
    store.checkpoint_to(&checkpoint).expect("made");
    assert!(store.drop_keyspace("sorted").expect("dropped"));
    store.close().expect("closed");
    // The hints are made when the store closes, without the dropped one's keys.
    copy_files(&checkpoint, made.state());
    for name in crate::support::hints(made.living.path()) {
        let segment = name.replace("hint-", "seg-");
        if made.file(&segment).exists() {
            fs::copy(made.living.file(&name), made.file(&name)).expect("copied");
        }
    }
    assert!(!crate::support::hints(made.state()).is_empty());
    expected(0..1)
}

fn stray_last_id(made: &State) -> Contents {
    four(made);
    delete(made.state(), "seg-ffffffffffffffff");
    let stray = made.file("seg-ffffffffffffffff.cask");
    fs::write(stray, "no segment of anybody's").expect("written");
    expected(0..4)
}

/// Records 1 and 2 lie where a next segment says that nothing counts.
fn voided_append(made: &State) -> Contents {
    let store = made.living.open();
    put(&store, 0, Durability::Device);
    made.crash();
    let safe = made.written_len();
    fill(&store, 1..3, Durability::Kernel);
    made.crash();
    let first = segments(made.state()).remove(0);
    let other = Place::copy_of(made.state());
    set_len(&other.file(&first), safe);
    let store = other.open();
    put(&store, 3, Durability::Device);
    let next = segments(other.path()).remove(1);
    fs::copy(other.file(&next), made.file(&next)).expect("copied");
    assert_eq!(segments(made.state()), [first, next]);
    expected([0, 3])
}

fn stale_header(made: &State) -> Contents {
    let store = made.living.open();
    fill(&store, 0..2, Durability::Device);
    made.crash();
    let removed = made.segment_bytes(0);
    store.merge(Merge::Full).expect("merged");
    let gone = segments(made.state()).remove(0);
    assert!(!segments(made.living.path()).contains(&gone), "{gone}");
    put(&store, 2, Durability::Device);
    delete(made.state(), "");
    made.crash();
    let last = segments(made.state()).pop().expect("there");
    let digits = last.trim_start_matches("seg-").trim_end_matches(".cask");
    let id = u64::from_str_radix(digits, 16).expect("an id");
    let begun = made.file(&format!("seg-{:016x}.cask", id + 1));
    // The header twice, and no record behind it.
    fs::write(begun, &removed[..160]).expect("written");
    expected(0..3)
}

fn hole_in_a_batch(made: &State) -> Contents {
    let store = made.living.open();
    put(&store, 0, Durability::Device);
    made.crash();
    let from = usize::try_from(made.written_len()).expect("small");
    let mut batch = store.batch();
    for number in 1..9 {
        batch.put(
            &hash(&store, "flat"),
            format!("key {number}"),
            value(number),
        );
    }
    let commit = batch.commit_with(Durability::Kernel).expect("committed");
    commit.wait().expect("waited");
    made.crash();
    let mut bytes = made.segment_bytes(0);
    let middle = usize::midpoint(from, usize::try_from(made.written_len()).expect("small"));
    bytes[middle..middle + 40].fill(0);
    fs::write(made.segment(0), bytes).expect("written");
    expected(0..1)
}
