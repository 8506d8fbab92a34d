//! The directory taken away under a running store: nothing more is acknowledged at `Device`, nothing
//! is written into a directory that took its place, and reads go on.
#![cfg(unix)]

use std::fs;

use peercask::{Durability, Keyspace, Options, Store};

use crate::support::{Place, files, hash};

fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// A store inside a place, so that its directory can go while the place stays.
fn store_in(place: &Place) -> (Store, Keyspace) {
    let store = Store::open(place.path().join("store"), options()).expect("opened");
    let space = hash(&store, "things");
    for key in 0..20_u32 {
        space.put(key.to_le_bytes(), vec![1; 600]).expect("put");
    }
    (store, space)
}

fn still_reads(space: &Keyspace) {
    for key in 0..20_u32 {
        let value = space.get(key.to_le_bytes()).expect("read");
        assert_eq!(value.expect("there"), [1; 600]);
    }
}

#[test]
fn a_removed_directory_ends_acknowledgement() {
    let place = Place::new();
    let (store, space) = store_in(&place);
    fs::remove_dir_all(place.path().join("store")).expect("removed");
    let error = space
        .put("lost", "never acknowledged")
        .expect_err("no name");
    assert!(error.to_string().contains("removed"), "{error}");
    assert!(store.stats().poisoned.is_some());
    still_reads(&space);
    assert!(!place.path().join("store").exists(), "not made anew");
}

#[test]
fn a_directory_that_took_the_place_is_left_alone() {
    let place = Place::new();
    let (store, space) = store_in(&place);
    let (here, away) = (place.path().join("store"), place.path().join("away"));
    fs::rename(&here, &away).expect("moved");
    fs::create_dir(&here).expect("made");
    fs::write(here.join("theirs"), "not ours").expect("written");

    // What fits the active segment still has its name, in the moved directory.
    let weak = peercask::Write::new().durability(Durability::Kernel);
    let mut refused = None;
    for key in 100..130_u32 {
        if let Err(error) = space.put_with(key.to_le_bytes(), vec![2; 600], weak) {
            refused = Some(error);
        }
    }
    let error = refused.expect("a new segment has no place");
    assert!(error.to_string().contains("moved"), "{error}");
    still_reads(&space);
    assert!(store.merge(peercask::Merge::Full).is_err());
    let _not_clean = store.close();
    assert_eq!(files(&here), ["theirs"], "nothing of ours is here");

    drop(space);
    let store = Store::open(&away, options()).expect("opened where it is now");
    still_reads(&hash(&store, "things"));
    assert_eq!(store.recovery().damage, []);
}
