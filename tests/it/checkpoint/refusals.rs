//! What a checkpoint and a restore refuse, and what is left of one that was broken off.

use std::fs;

use peercask::{ErrorKind, Options, Store};

use super::{contents_of, wide};
use crate::history::History;
use crate::support::{
    Place, assert_same, delete, delete_manifests, files, hash, refused, segments,
};

fn with_a_past(place: &Place) -> (Store, History) {
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..30);
    (store, history)
}

#[test]
fn a_directory_that_is_neither_empty_nor_a_checkpoint_is_left_as_it_is() {
    let (place, other) = (Place::new(), Place::new());
    let (store, _) = with_a_past(&place);
    let wrong = ErrorKind::InvalidArgument;

    fs::write(other.file("notes.txt"), "mine").expect("written");
    refused(
        store.checkpoint_to(other.path()),
        wrong,
        &["not empty", "notes.txt"],
    );
    assert_eq!(files(other.path()), ["notes.txt"], "nothing was made there");
    refused(
        store.checkpoint_to(other.file("notes.txt")),
        wrong,
        &["not a directory"],
    );

    refused(
        store.checkpoint_to(place.path()),
        wrong,
        &["a store of its own"],
    );
    let strange = Place::new();
    with_a_past(&strange).0.close().expect("closed");
    let before = strange.image();
    refused(
        store.checkpoint_to(strange.path()),
        wrong,
        &["a store of its own"],
    );
    assert_eq!(strange.image(), before);
}

#[test]
fn a_checkpoint_of_another_store_or_one_that_is_open_is_refused() {
    let place = Place::new();
    let (store, _) = with_a_past(&place);
    let strange = Place::new();
    let theirs = strange.file("copy");
    with_a_past(&strange)
        .0
        .checkpoint_to(&theirs)
        .expect("made");
    let wrong = ErrorKind::InvalidArgument;
    refused(store.checkpoint_to(&theirs), wrong, &["another store"]);

    let ours = place.file("copy");
    store.checkpoint_to(&ours).expect("made");
    let opened = Store::open(&ours, place.options()).expect("opened");
    refused(store.checkpoint_to(&ours), wrong, &["a store of its own"]);
    opened.close().expect("closed");
    refused(store.checkpoint_to(&ours), wrong, &["opened for writing"]);

    let last = place.file("last");
    let handle = store.clone();
    store.close().expect("closed");
    refused(handle.checkpoint_to(&last), ErrorKind::Closed, &[]);
}

#[test]
fn one_that_was_broken_off_is_no_store_and_is_gone_on_with() {
    let place = Place::new();
    let (store, history) = with_a_past(&place);
    let dir = place.file("copy");
    let whole = store.checkpoint_to(&dir).expect("made");
    // As a crash before the manifest leaves it, with one segment still to come.
    delete_manifests(&dir);
    fs::remove_file(dir.join(&segments(&dir)[0])).expect("removed");
    fs::write(dir.join("CHECKPOINT.tmp"), "half").expect("written");
    let wrong = ErrorKind::InvalidArgument;
    let left = files(&dir);
    refused(Store::open(&dir, place.options()), wrong, &["broken off"]);
    refused(
        Store::open(&dir, Options::default().create(false)),
        wrong,
        &["broken off"],
    );
    assert_eq!(files(&dir), left, "what is there stays");
    refused(
        Store::restore(&dir, place.file("back")),
        wrong,
        &["broken off"],
    );

    let again = store.checkpoint_to(&dir).expect("made");
    assert_eq!(
        (again.segments_linked, again.segments_kept + 1),
        (1, whole.segments)
    );
    assert_same(
        &contents_of(&dir, &place.options()),
        history.last(),
        "gone on with",
    );
    assert!(!files(&dir).contains(&"CHECKPOINT.tmp".to_owned()));
}

#[test]
fn one_that_broke_off_while_it_was_brought_up_to_date_is_the_old_one() {
    let place = Place::new();
    let (store, mut history) = with_a_past(&place);
    let then = history.last().clone();
    let (dir, next) = (place.file("copy"), place.file("next"));
    store.checkpoint_to(&dir).expect("made");
    let old = segments(&dir);
    history.run(&store, 30..60);
    store.checkpoint_to(&next).expect("made");
    // The new segments have come, the new manifest has not.
    for name in segments(&next) {
        if !old.contains(&name) {
            fs::hard_link(next.join(&name), dir.join(&name)).expect("linked");
        }
    }
    assert!(segments(&dir).len() > old.len());
    assert_same(&contents_of(&dir, &place.options()), &then, "the old one");
    let store_of_copy = Store::open(&dir, place.options()).expect("opened");
    assert_eq!(segments(&dir), old, "the remnants are removed");
    drop(store_of_copy);
}

#[test]
fn a_damaged_label_is_named_and_a_lost_manifest_rebuilt() {
    let place = Place::new();
    let (store, history) = with_a_past(&place);
    let dir = place.file("copy");
    store.checkpoint_to(&dir).expect("made");
    let label = fs::read(dir.join("CHECKPOINT")).expect("there");
    let mut bad = label.clone();
    bad[20] ^= 1;
    fs::write(dir.join("CHECKPOINT"), bad).expect("written");
    refused(
        store.checkpoint_to(&dir),
        ErrorKind::Corrupted,
        &["label", "CHECKPOINT"],
    );
    fs::write(dir.join("CHECKPOINT"), label).expect("written");

    for manifest in ["manifest-a", "manifest-b"] {
        fs::write(dir.join(manifest), "rotten").expect("written");
    }
    let opened = Store::open(&dir, place.options()).expect("opened");
    assert!(opened.recovery().manifest_rebuilt);
    assert_same(
        &crate::support::contents(&opened),
        history.last(),
        "rebuilt",
    );
}

#[test]
fn restore_refuses_what_is_no_checkpoint_and_names_what_is_missing() {
    let place = Place::new();
    let (store, history) = with_a_past(&place);
    let (dir, back) = (place.file("copy"), place.file("back"));
    let wrong = ErrorKind::InvalidArgument;
    refused(
        Store::restore(place.path(), &back),
        wrong,
        &["not a checkpoint"],
    );
    refused(
        Store::restore(place.file("none"), &back),
        ErrorKind::Io,
        &["none"],
    );
    assert!(!back.exists(), "nothing is made for a refusal");

    store.checkpoint_to(&dir).expect("made");
    refused(Store::restore(&dir, place.path()), wrong, &["not empty"]);
    refused(Store::restore(&dir, &dir), wrong, &["itself"]);
    let report = Store::restore(&dir, &back).expect("restored");
    assert_eq!(report.segments, wide(segments(&dir).len()));
    assert_same(
        &contents_of(&back, &place.options()),
        history.last(),
        "restored",
    );
    Store::restore(&dir, &back).expect("again, since it was not opened yet");

    let lost = segments(&dir)[1].clone();
    fs::remove_file(dir.join(&lost)).expect("removed");
    refused(
        Store::restore(&dir, place.file("other")),
        ErrorKind::Corrupted,
        &[&lost, "missing"],
    );
}

/// A segment with a second name is never cut: the copy shares its bytes.
#[cfg(unix)]
#[test]
fn recovery_cuts_a_copy_and_leaves_the_linked_file_alone() {
    let place = Place::new();
    let (store, _) = with_a_past(&place);
    let dir = place.file("copy");
    store.checkpoint_to(&dir).expect("made");
    drop(store);
    // Without manifests every segment is judged as one that may be torn, and the last one is.
    delete_manifests(place.path());
    delete(place.path(), "hint-");
    let last = segments(place.path()).pop().expect("there is one");
    let mut bytes = fs::read(place.file(&last)).expect("read");
    let torn = bytes.len() - 300;
    bytes[torn..].fill(0xEE);
    fs::write(place.file(&last), &bytes).expect("written in place");
    let store = place.open();
    assert!(!store.recovery().cut.is_empty(), "{:?}", store.recovery());
    assert!(fs::metadata(place.file(&last)).expect("there").len() < wide(bytes.len()));
    assert_eq!(
        fs::read(dir.join(&last)).expect("there"),
        bytes,
        "not touched"
    );
    hash(&store, "flat").put("goes", "on").expect("put");
}
