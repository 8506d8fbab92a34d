//! Two lives of one store: a restored copy and its origin share a store id and a past, and nothing
//! that comes after.

use peercask::{ErrorKind, Store};

use super::contents_of;
use crate::history::History;
use crate::support::{Place, assert_same, contents, hash, refused};

#[test]
fn a_restored_store_goes_its_own_way_and_the_checkpoint_stays() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..20);
    let (dir, back) = (place.file("copy"), place.file("back"));
    store.checkpoint_to(&dir).expect("made");
    let then = history.last().clone();
    Store::restore(&dir, &back).expect("restored");
    let restored = Store::open(&back, place.options()).expect("opened");
    assert_same(&contents(&restored), &then, "restored");
    hash(&restored, "flat").put("mine", "alone").expect("put");
    history.run(&store, 20..25);
    assert_same(&contents(&store), history.last(), "the origin");
    assert_eq!(contents(&restored).len(), then.len() + 1);
    assert_same(
        &contents_of(&dir, &place.options()),
        &then,
        "the checkpoint",
    );
    restored.close().expect("closed");
    let restored = Store::open(&back, place.options()).expect("opened");
    assert!(!restored.recovery().from_checkpoint, "only the first time");
    assert_eq!(contents(&restored).len(), then.len() + 1);
}

#[test]
fn seqs_of_two_lives_never_meet() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..10);
    let dir = place.file("copy");
    store.checkpoint_to(&dir).expect("made");
    let copy = Store::open(&dir, place.options()).expect("opened");
    let [ours, theirs] = [&store, &copy].map(|store| hash(store, "flat"));
    for _ in 0..50 {
        ours.put("key", "ours").expect("put");
    }
    theirs.put("key", "theirs").expect("put");
    let seq = |space: &peercask::Keyspace| space.entry("key").expect("read").expect("there").seq;
    assert!(
        seq(&theirs).0 > seq(&ours).0 + (1 << 31),
        "a jump that nobody reaches"
    );
}

#[test]
fn a_copy_of_one_life_is_not_brought_up_to_date_by_another() {
    let place = Place::new();
    let (store, mut history) = (place.open(), History::new());
    history.run(&store, 0..10);
    let (base, backup) = (place.file("base"), place.file("backup"));
    store.checkpoint_to(&base).expect("made");
    hash(&store, "flat").put("first", "life").expect("put");
    store.checkpoint_to(&backup).expect("made");
    // The origin is lost; its older copy lives on and reaches the same segment ids.
    let second = Store::open(&base, place.options()).expect("opened");
    hash(&second, "flat").put("second", "life").expect("put");
    refused(
        second.checkpoint_to(&backup),
        ErrorKind::InvalidArgument,
        &["another life", "choose another directory"],
    );
    let mut first = history.last().clone();
    first.insert(("flat".into(), b"first".to_vec()), b"life".to_vec());
    assert_same(
        &contents_of(&backup, &place.options()),
        &first,
        "left whole",
    );
    second.checkpoint_to(place.file("new")).expect("made");
}
