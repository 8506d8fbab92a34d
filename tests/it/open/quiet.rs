//! Opening a store that needs nothing changes nothing; a segment from an older copy of the store is
//! noticed; a stray file uses up no numbers.

use std::fs;

use peercask::{ErrorKind, Store};

use crate::support::{Place, contents, files, hash, segments};

fn filled(place: &Place) -> Store {
    let store = place.open();
    let space = hash(&store, "things");
    for key in 0..40_u32 {
        space.put(key.to_le_bytes(), vec![1; 500]).expect("put");
    }
    store
}

/// Everything but who held the lock last.
fn image_of(place: &Place) -> crate::support::Image {
    let mut image = place.image();
    image.remove("LOCK");
    image
}

#[test]
fn opening_and_closing_a_closed_store_changes_no_byte() {
    let place = Place::new();
    filled(&place).close().expect("closed");
    let (image, held) = (image_of(&place), contents(&place.open()));
    for life in 0..3 {
        let store = place.open();
        assert!(store.recovery().clean && store.recovery().removed_files.is_empty());
        assert_eq!(contents(&store), held, "life {life}");
        store.close().expect("closed");
        assert_eq!(image_of(&place), image, "life {life}");
    }
}

#[test]
fn the_second_open_of_a_crashed_store_finds_what_the_first_did_and_repairs_nothing_more() {
    let place = Place::new();
    let store = filled(&place);
    let crashed = Place::copy_of(place.path());
    drop(store);
    let first = crashed.open();
    let held = contents(&first);
    // The first open is killed too, having written nothing of its own.
    let again = Place::copy_of(crashed.path());
    let before = image_of(&again);
    let second = again.open();
    assert_eq!(contents(&second), held);
    assert_eq!(second.recovery().cut, [], "it was repaired before");
    assert_eq!(second.recovery().damage, []);
    assert_eq!(segments(again.path()), segments(crashed.path()));
    let changed: Vec<_> = image_of(&again)
        .into_iter()
        .filter(|(name, bytes)| name.starts_with("seg-") && before.get(name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(changed, [""; 0], "no segment was written to");
}

#[test]
fn a_segment_restored_from_an_old_backup_is_noticed() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    space.put("old", vec![1; 900]).expect("put");
    let name = segments(place.path()).pop().expect("an active segment");
    let backup = fs::read(place.file(&name)).expect("read");
    for key in 0..40_u32 {
        space.put(key.to_le_bytes(), vec![2; 500]).expect("put");
    }
    drop(space);
    store.close().expect("closed");

    // As it was when the backup was made: zeros, where later records came to lie.
    fs::write(place.file(&name), &backup).expect("written");
    match Store::open(place.path(), place.options()) {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
            assert_eq!(error.file(), Some(name.as_str()));
        }
        Ok(store) => {
            let report = store.verify(&mut |_| {}).expect("verified");
            let named = report.damage.iter().any(|damage| damage.file == name);
            assert!(named, "{:?}", report.damage);
        }
    }
}

#[test]
fn a_stray_file_with_the_last_id_neither_uses_up_the_ids_nor_is_touched() {
    let place = Place::new();
    filled(&place).close().expect("closed");
    let last = "seg-ffffffffffffffff.cask";
    fs::write(place.file(last), "somebody else's").expect("written");
    for life in 0..3_u32 {
        let store = place.open();
        let space = hash(&store, "things");
        for key in 0..20_u32 {
            let key = 1_000 * (life + 1) + key;
            space.put(key.to_le_bytes(), vec![2; 900]).expect("put");
        }
        assert_eq!(space.walk().count(), 40 + 20 * (life as usize + 1));
        assert_eq!(
            fs::read(place.file(last)).expect("there"),
            b"somebody else's"
        );
        drop(space);
        store.close().expect("closed");
    }
    let names = files(place.path());
    assert!(
        !names.contains(&"seg-0000000000000000.cask".to_owned()),
        "{names:?}"
    );
}
