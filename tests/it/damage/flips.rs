//! Every byte of every file flipped, one at a time, in a store that was closed and in one that was
//! killed.

use peercask::Store;

use super::{Closed, closed};
use crate::history::{History, Reading, expected, readings};
use crate::support::{Image, Place, hash, rounds, segments, write_image};

/// What a byte is flipped with: one bit and all of them by turns, or both if `PEERCASK_ROUNDS` asks
/// for more. After every third byte the store is opened once more.
fn flips(at: usize) -> &'static [u8] {
    match (rounds(1), at % 2) {
        (1, 0) => &[0x01],
        (1, _) => &[0xFF],
        _ => &[0x01, 0xFF],
    }
}

/// Bytes that no promise hangs on: the holder's process id, and space that is kept.
fn is_idle(name: &str) -> bool {
    name == "LOCK" || name == "RESERVE"
}

fn flipped(image: &Image, name: &str, at: usize, flip: u8) -> Image {
    let mut image = image.clone();
    image.get_mut(name).expect("it is in the image")[at] ^= flip;
    image
}

#[test]
fn a_flipped_byte_of_a_closed_segment_costs_at_most_the_record_it_hit() {
    let closed = closed();
    let costs = flip_all(&closed, "seg-");
    assert!(costs > 150, "the bytes of live records cost them: {costs}");
}

#[test]
fn a_flipped_byte_of_a_hint_file_costs_nothing() {
    assert_eq!(flip_all(&closed(), "hint-"), 0);
}

#[test]
fn a_flipped_byte_of_a_manifest_costs_nothing() {
    assert_eq!(flip_all(&closed(), "manifest-"), 0);
}

#[test]
fn a_flipped_byte_of_the_lock_file_means_nothing() {
    assert_eq!(flip_all(&closed(), "LOCK"), 0);
}

/// Flips every byte of the files with this prefix; answers how many flips cost a record.
fn flip_all(closed: &Closed, prefix: &str) -> usize {
    let place = Place::new();
    let mut costs = 0;
    let mut tried = 0;
    for (name, bytes) in closed
        .image
        .iter()
        .filter(|(name, _)| name.starts_with(prefix))
    {
        for at in 0..bytes.len() {
            for &flip in flips(at) {
                let what = format!("{name} byte {at} ^ {flip:#04x}");
                write_image(place.path(), &flipped(&closed.image, name, at, flip));
                costs += one_closed(closed, &place, is_idle(name), at % 3 == 0, &what);
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "there are files named {prefix}");
    costs
}

fn one_closed(closed: &Closed, place: &Place, idle: bool, twice: bool, what: &str) -> usize {
    let store = place.open();
    let lost = closed.lost(&store, what);
    assert!(
        lost.len() <= 1,
        "{what}: one byte costs one record: {lost:?}"
    );
    let told = told(&store);
    assert_eq!(
        told.is_empty(),
        idle,
        "{what}: every flipped byte is reported: {told:?}"
    );
    drop(store);
    if !twice {
        return lost.len();
    }
    // What the first open repaired or wrote makes nothing worse.
    let store = place.open();
    assert_eq!(closed.lost(&store, what), lost, "{what}: the second open");
    if !lost.is_empty() {
        assert!(
            !self::told(&store).is_empty(),
            "{what}: the loss is reported again"
        );
    }
    lost.len()
}

/// What open and verify say is damaged.
fn told(store: &Store) -> Vec<peercask::Damage> {
    let verified = store
        .verify(&mut |_| {})
        .expect("damage is no error of verify");
    let mut told = store.recovery().damage.clone();
    told.extend(verified.damage);
    told
}

#[test]
fn verify_names_file_key_and_keyspace_of_a_damaged_value() {
    let closed = closed();
    let place = Place::new();
    let mut named = 0;
    for (name, bytes) in closed
        .image
        .iter()
        .filter(|(name, _)| name.starts_with("seg-"))
    {
        let Some(at) = bytes
            .windows(12)
            .rposition(|window| window == b"value number")
        else {
            continue;
        };
        write_image(place.path(), &flipped(&closed.image, name, at, 0x20));
        let store = place.open();
        let report = store.verify(&mut |_| {}).expect("verified");
        let damage = report.damage.iter().find(|damage| damage.key.is_some());
        let damage = damage.expect("a damaged value leaves its key readable");
        assert_eq!(&damage.file, name);
        assert!(damage.offset > 0 && damage.len > 12, "{damage}");
        let keyspace = damage.keyspace.clone().expect("named");
        let place = (keyspace, damage.key.clone().expect("named"));
        assert!(closed.places.contains(&place), "{damage}");
        named += 1;
    }
    assert!(named >= 2, "{named}");
}

// ---- a store that was killed

/// A copy of a store that was still open, and how much of its past was on the device.
struct Killed {
    image: Image,
    history: History,
    synced: usize,
    places: Vec<(String, Vec<u8>)>,
}

fn killed() -> Killed {
    let place = Place::new();
    let store = place.open();
    let mut history = History::new();
    history.run(&store, 0..7);
    store.sync().expect("synced");
    history.run(&store, 7..16);
    store.sync().expect("synced");
    let synced = history.len();
    history.run(&store, 16..20);
    let image = place.image();
    assert_eq!(segments(place.path()).len(), 2);
    let places = history.places();
    Killed {
        image,
        history,
        synced,
        places,
    }
}

#[test]
fn a_flipped_byte_of_a_killed_store_costs_one_synced_record_or_the_unsynced_end() {
    let killed = killed();
    let place = Place::new();
    let (mut whole, mut cuts, mut single) = (0, 0, 0);
    for (name, bytes) in &killed.image {
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        // Of the zeros at the end one in a hundred stands for the others.
        let behind = (used..bytes.len()).step_by(100);
        for at in (0..used).chain(behind) {
            for &flip in flips(at) {
                let what = format!("{name} byte {at} ^ {flip:#04x}");
                write_image(place.path(), &flipped(&killed.image, name, at, flip));
                match one_killed(&killed, &place, at % 3 == 0, &what) {
                    Cost::Nothing => whole += 1,
                    Cost::End => cuts += 1,
                    Cost::Single => single += 1,
                }
            }
        }
    }
    assert!(
        whole > 300,
        "manifests and dead records cost nothing: {whole}"
    );
    assert!(
        cuts > 150,
        "what was not synced ends where it is hit: {cuts}"
    );
    assert!(single > 150, "what was synced costs what is hit: {single}");
}

enum Cost {
    Nothing,
    End,
    Single,
}

fn one_killed(killed: &Killed, place: &Place, twice: bool, what: &str) -> Cost {
    let store = place.open();
    let found = readings(&store, &killed.places);
    let report = store.recovery().clone();
    let is_state = |k: &usize| {
        let state = &killed.history.states[*k];
        found
            .iter()
            .all(|(place, reading)| *reading == expected(state, place))
    };
    let last = killed.history.len();
    let cost = if is_state(&last) {
        Cost::Nothing
    } else if (killed.synced..last).any(|k| is_state(&k)) {
        assert!(!report.cut.is_empty(), "{what}: a cut is told: {report:?}");
        Cost::End
    } else {
        let differs = |(place, reading): &&((String, Vec<u8>), Reading)| {
            *reading != expected(killed.history.last(), place)
        };
        let differing: Vec<_> = found.iter().filter(differs).collect();
        assert_eq!(
            differing.len(),
            1,
            "{what}: one record is hit: {differing:?}, {report:?}"
        );
        assert!(
            !report.damage.is_empty(),
            "{what}: the loss is told: {report:?}"
        );
        Cost::Single
    };
    for (place, reading) in &found {
        if let Reading::Is(value) = reading {
            assert!(
                killed.history.was_written(place, value),
                "{what}: {place:?}: {value:?}"
            );
        }
    }
    if !twice {
        return cost;
    }
    // The store goes on from there.
    hash(&store, "flat").put("after", "all").expect("put");
    drop(store);
    let store = place.open();
    assert_eq!(
        readings(&store, &killed.places),
        found,
        "{what}: the second open"
    );
    assert_eq!(
        hash(&store, "flat")
            .get("after")
            .expect("read")
            .expect("there"),
        b"all"
    );
    cost
}
