//! Checkpoints: an openable copy of a living store by links, brought up to date, restored; what it
//! refuses, and what it shares with its origin.

mod lives;
mod refusals;
mod writers;

use std::collections::BTreeMap;
use std::path::Path;

use peercask::{CheckpointReport, Merge, Options, Store};

use crate::history::History;
use crate::support::{
    Contents, Place, Rng, assert_same, contents, files, hash, ordered, rounds, segments,
};

/// Opens a copy of the copy, which stays a checkpoint.
#[track_caller]
fn contents_of(dir: &Path, options: &Options) -> Contents {
    let place = Place::copy_of(dir);
    let store = Store::open(place.path(), options.clone()).expect("a checkpoint opens");
    assert_eq!(store.recovery().damage, []);
    assert!(store.recovery().from_checkpoint);
    contents(&store)
}

fn counted(report: &CheckpointReport) -> [u64; 5] {
    [
        report.segments,
        report.segments_linked,
        report.segments_copied,
        report.segments_kept,
        report.segments_removed,
    ]
}

#[test]
fn a_checkpoint_holds_everything_and_copies_no_byte() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..12);
    let dir = place.file("backups/first");
    let report = store.checkpoint_to(&dir).expect("made");
    let there = wide(segments(&dir).len());
    assert!(there >= 1, "{:?}", files(&dir));
    assert_eq!(counted(&report), [there, there, 0, 0, 0]);
    assert_eq!(report.last_seq, store.stats().last_seq);
    assert_eq!(report.bytes_copied, 0);
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "the copy",
    );
    assert_same(&contents(&store), history.last(), "the origin");
    #[cfg(unix)]
    for name in segments(&dir) {
        use std::os::unix::fs::MetadataExt as _;
        let inode = |dir: &Path| std::fs::metadata(dir.join(&name)).expect("there").ino();
        assert_eq!(inode(&dir), inode(place.path()), "{name} is one file");
    }
    // What lies in the store's own directory is none of its files.
    drop(store);
    assert_same(&contents(&place.open()), history.last(), "reopened");
}

#[test]
fn the_second_time_only_what_is_new_is_linked_and_what_merge_removed_goes() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    let dir = place.file("copy");
    history.run(&store, 0..40);
    let first = store.checkpoint_to(&dir).expect("made");
    assert!(first.segments >= 2, "{first:?}");
    history.run(&store, 40..42);
    let second = store.checkpoint_to(&dir).expect("made");
    assert_eq!(
        counted(&second),
        [first.segments + 1, 1, 0, first.segments, 0]
    );
    let third = store.checkpoint_to(&dir).expect("made");
    assert_eq!(counted(&third), [second.segments, 0, 0, second.segments, 0]);
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "the copy",
    );

    store.merge(Merge::Full).expect("merged");
    let merged = store.checkpoint_to(&dir).expect("made");
    assert_eq!(merged.segments_removed, second.segments, "{merged:?}");
    assert_eq!(segments(&dir), segments(place.path()));
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "merged",
    );
}

#[test]
fn an_older_checkpoint_keeps_what_merge_removes_from_the_store() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..20);
    let then = history.last().clone();
    let dir = place.file("copy");
    store.checkpoint_to(&dir).expect("made");
    history.run(&store, 20..40);
    store.merge(Merge::Full).expect("merged");
    store.drop_keyspace("flat").expect("dropped");
    store.merge(Merge::Full).expect("merged");
    assert_same(&contents_of(&dir, &place.options()), &then, "as it was");
}

#[test]
fn on_another_file_system_it_is_copied_and_the_copy_is_the_same() {
    let (place, other) = (Place::new(), Place::on_disk());
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..30);
    let dir = other.file("copy");
    let report = store.checkpoint_to(&dir).expect("made");
    if report.segments_copied == 0 {
        // Memory and disk are one file system here: nothing to see.
        return;
    }
    assert_eq!(report.segments_copied, report.segments);
    assert!(report.bytes_copied > 0);
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "copied",
    );
    history.run(&store, 30..32);
    let report = store.checkpoint_to(&dir).expect("made");
    assert_eq!(
        (report.segments_copied, report.segments_kept + 1),
        (1, report.segments)
    );
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "again",
    );
}

/// Random writes, merges and reopens; checkpoints into one directory that is brought up to date
/// and into new ones. Each holds the model's state of its moment, for ever.
#[test]
fn every_checkpoint_is_the_state_of_its_moment() {
    for round in 0..rounds(3) {
        let place = Place::new();
        let mut rng = Rng::new(900 + round);
        let mut store = place.open();
        let mut model = Contents::new();
        let mut made: BTreeMap<String, Contents> = BTreeMap::new();
        for step in 0..120 {
            match rng.below(20) {
                0 => store = reopen(&place, store),
                1 => drop(store.merge(Merge::Needed).expect("merged")),
                2 => drop(store.merge(Merge::Full).expect("merged")),
                3..=5 => {
                    let name = if rng.below(2) == 0 {
                        "same".into()
                    } else {
                        format!("n{step}")
                    };
                    store.checkpoint_to(place.file(&name)).expect("made");
                    made.insert(name, model.clone());
                }
                _ => change(&store, &mut model, &mut rng),
            }
        }
        for (name, then) in &made {
            let found = contents_of(&place.file(name), &place.options());
            assert_same(&found, then, &format!("round {round}, {name}"));
        }
        assert!(made.len() > 3, "{}", made.len());
    }
}

fn reopen(place: &Place, store: Store) -> Store {
    store.close().expect("closed");
    place.open()
}

fn change(store: &Store, model: &mut Contents, rng: &mut Rng) {
    let name = ["flat", "sorted"][rng.index(2)];
    let space = if name == "flat" {
        hash(store, name)
    } else {
        ordered(store, name)
    };
    let key = vec![b'a' + u8::try_from(rng.below(12)).expect("small")];
    if rng.below(4) == 0 {
        space.delete(&key).expect("deleted");
        model.remove(&(name.to_owned(), key));
    } else {
        let len = rng.index(700);
        let value = rng.bytes(len);
        space.put(&key, &value).expect("put");
        model.insert((name.to_owned(), key), value);
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits 64 bits")
}
