//! States that an engine of the past took wrongly: what it made of each is told, and what is right stands in what the
//! recipe answers. The explorer found most of them; here files are made so without it.

use std::fs;

use peercask::{Durability, Merge};

use super::{Recipe, State, expected, fill, four, put, spaces, until_last_segment};
use crate::support::{Contents, Place, copy_files, delete, segments};

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
