//! Readers beside the writer: a store opened for reading alone sees what was committed, follows
//! on refresh, and writes nothing, whatever state the directory is in.

mod beside;

use std::fs;

use peercask::{Durability, ErrorKind, KeyspaceOptions, Merge, Options, Store};

use crate::history::History;
use crate::support::{
    Contents, Place, Rng, append, assert_same, contents, delete_hints, delete_manifests, files,
    hash, ordered, refused, rounds, segments,
};

fn reader(place: &Place) -> Store {
    Store::open_read_only(place.path(), place.options()).expect("it opens for reading")
}

#[test]
fn a_reader_sees_what_was_committed_and_follows_on_refresh() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..5);
    let reader = reader(&place);
    assert!(reader.is_read_only() && !store.is_read_only());
    assert_same(&contents(&reader), history.last(), "opened");
    let then = history.last().clone();
    history.run(&store, 5..40);
    assert!(segments(place.path()).len() > 2, "it has rotated");
    assert_same(&contents(&reader), &then, "nothing moves by itself");
    assert!(reader.refresh().expect("refreshed"));
    assert_same(&contents(&reader), history.last(), "refreshed");
    assert!(!reader.refresh().expect("refreshed"), "nothing is new");

    store.merge(Merge::Full).expect("merged");
    assert_same(
        &contents(&reader),
        history.last(),
        "its files are gone, its maps are not",
    );
    reader.refresh().expect("refreshed");
    assert_same(&contents(&reader), history.last(), "merged");
    hash(&store, "late").put("key", "value").expect("put");
    store.drop_keyspace("flat").expect("dropped");
    assert!(reader.refresh().expect("refreshed"));
    assert_same(&contents(&reader), &contents(&store), "keyspaces");
    assert_eq!(reader.stats().last_seq, store.stats().last_seq);
    assert_eq!(reader.stats().keys, store.stats().keys);
}

#[test]
fn buffered_writes_show_once_they_are_with_the_kernel() {
    let place = Place::new();
    let store = place.open_with(place.options().durability(Durability::Buffered));
    let space = ordered(&store, "s");
    let reader = reader(&place);
    space.put("key", "value").expect("put");
    reader.refresh().expect("refreshed");
    assert_eq!(contents(&reader).len(), 0);
    store.sync().expect("synced");
    reader.refresh().expect("refreshed");
    assert_same(&contents(&reader), &contents(&store), "with the kernel");
}

/// Random writes, batches, deletes, merges, dropped keyspaces and reopens by the writer; readers
/// that refresh now and then. Each time they hold exactly the model.
#[test]
fn after_each_refresh_a_reader_holds_what_the_writer_holds() {
    for round in 0..rounds(4) {
        let place = Place::new();
        let mut rng = Rng::new(700 + round);
        let mut store = place.open();
        let mut model = Contents::new();
        hash(&store, "flat").put("first", "of all").expect("put");
        model.insert(("flat".into(), b"first".to_vec()), b"of all".to_vec());
        let mut readers = vec![reader(&place)];
        for step in 0..250 {
            match rng.below(24) {
                0 => {
                    store.close().expect("closed");
                    store = place.open();
                }
                1 => drop(store.merge(Merge::Needed).expect("merged")),
                2 => drop(store.merge(Merge::Full).expect("merged")),
                3 => {
                    store.drop_keyspace("sorted").expect("dropped");
                    model.retain(|(space, _), _| space != "sorted");
                }
                4 => readers.push(reader(&place)),
                5..=8 => {
                    let at = rng.index(readers.len());
                    readers[at].refresh().expect("refreshed");
                    assert_same(&contents(&readers[at]), &model, &format!("{round}, {step}"));
                }
                _ => change(&store, &mut model, &mut rng),
            }
        }
        for reader in &readers {
            reader.refresh().expect("refreshed");
            assert_same(
                &contents(reader),
                &model,
                &format!("round {round}, at the end"),
            );
        }
    }
}

fn change(store: &Store, model: &mut Contents, rng: &mut Rng) {
    let spaces = [hash(store, "flat"), ordered(store, "sorted")];
    let mut batch = store.batch();
    for _ in 0..=rng.below(3) {
        let which = rng.index(2);
        let key = vec![b'a' + u8::try_from(rng.below(12)).expect("small")];
        let place = (["flat", "sorted"][which].to_owned(), key.clone());
        if rng.below(4) == 0 {
            batch.delete(&spaces[which], &key);
            model.remove(&place);
        } else {
            let len = rng.index(500);
            let value = rng.bytes(len);
            batch.put(&spaces[which], &key, &value);
            model.insert(place, value);
        }
    }
    batch.commit().expect("committed");
}

#[test]
fn everything_that_writes_is_refused_and_nothing_is_written() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..10);
    store.close().expect("closed");
    fs::remove_file(place.file("LOCK")).expect("removed");
    delete_hints(place.path());
    let before = place.image();
    let reader = reader(&place);
    let wrong = ErrorKind::ReadOnly;
    let flat = reader.existing_keyspace("flat").expect("there");
    refused(flat.put("key", "value"), wrong, &["reading"]);
    refused(flat.delete("apple"), wrong, &[]);
    let mut batch = reader.batch();
    batch.put(&flat, "key", "value");
    refused(batch.commit(), wrong, &[]);
    refused(reader.keyspace("new", KeyspaceOptions::hash()), wrong, &[]);
    assert!(
        reader.keyspace("flat", KeyspaceOptions::hash()).is_ok(),
        "it is there"
    );
    refused(reader.drop_keyspace("flat"), wrong, &[]);
    refused(reader.merge(Merge::Full), wrong, &[]);
    refused(reader.sync(), wrong, &[]);
    refused(reader.confirm_clock(), wrong, &[]);
    refused(reader.checkpoint_to(place.file("copy")), wrong, &[]);
    fs::remove_dir_all(place.file("copy")).unwrap_or_default();
    assert!(reader.verify(&mut |_| {}).expect("verified").is_clean());
    reader.refresh().expect("refreshed");
    assert_same(&contents(&reader), history.last(), "and reads go on");
    reader.close().expect("closed");
    assert_eq!(place.image(), before, "not a byte, not a name");
}

#[test]
fn readers_and_the_writer_come_and_go_in_any_order() {
    let place = Place::new();
    let store = place.open();
    hash(&store, "s").put("a", "1").expect("put");
    let early = reader(&place);
    store.close().expect("closed");
    let late = reader(&place);
    let store = place.open();
    hash(&store, "s").put("b", "2").expect("put");
    for reader in [&early, &late] {
        reader.refresh().expect("refreshed");
        assert_same(&contents(reader), &contents(&store), "all the same");
    }
    early.clone().close().expect("closed");
    refused(early.refresh(), ErrorKind::Closed, &[]);
}

#[test]
fn a_crashed_store_reads_as_recovery_would_leave_it() {
    for damage in 0..4 {
        let living = Place::new();
        let (store, mut history) = (living.open(), History::new());
        history.run(&store, 0..30);
        let place = Place::copy_of(living.path());
        let last = segments(place.path()).pop().expect("there is one");
        match damage {
            0 => {}
            1 => append(&place.file(&last), &[0xAB; 33]),
            2 => {
                let len = fs::metadata(place.file(&last)).expect("there").len();
                crate::support::set_len(&place.file(&last), len * 2 / 3);
            }
            _ => {
                delete_hints(place.path());
                delete_manifests(place.path());
            }
        }
        let before = place.image();
        let reader = reader(&place);
        let found = contents(&reader);
        let names = files(place.path());
        drop(reader);
        assert_eq!(place.image(), before, "{damage}: {names:?}");
        let recovered = place.open();
        assert_same(&found, &contents(&recovered), &format!("damage {damage}"));
    }
}

#[test]
fn what_is_no_store_is_refused_and_nothing_is_made() {
    let place = Place::new();
    let open = |name: &str| Store::open_read_only(place.file(name), Options::default());
    refused(open("none"), ErrorKind::NotFound, &["no store"]);
    assert!(!place.file("none").exists());
    fs::create_dir(place.file("empty")).expect("made");
    refused(open("empty"), ErrorKind::NotFound, &["no store"]);
    assert_eq!(files(&place.file("empty")), [""; 0]);
    fs::write(place.file("a file"), "text").expect("written");
    refused(
        open("a file"),
        ErrorKind::InvalidArgument,
        &["not a directory"],
    );
}

#[test]
fn to_look_into_a_checkpoint_leaves_it_one() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..10);
    let dir = place.file("copy");
    store.checkpoint_to(&dir).expect("made");
    let looked = Store::open_read_only(&dir, place.options()).expect("opened");
    assert_same(&contents(&looked), history.last(), "the copy");
    history.run(&store, 10..30);
    store.merge(Merge::Full).expect("merged");
    store.checkpoint_to(&dir).expect("brought up to date");
    looked.refresh().expect("refreshed");
    assert_same(&contents(&looked), history.last(), "and followed");
}
