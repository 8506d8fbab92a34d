//! The space cap: what is refused before anything is done, and the sizes of the files as the file
//! system tells them. That it holds after every single disk call is shown in `engine/src/room.rs`.

use std::fs;
use std::path::Path;

use peercask::{AtCap, ErrorKind, Options, Store};

use crate::support::{Place, files, hash, refused};

const CAP: u64 = 260_000;

fn capped(place: &Place) -> Options {
    place.options().reserve_bytes(8_192).space_cap(Some(CAP))
}

fn bytes_of(dir: &Path) -> u64 {
    let len = |name: &String| fs::metadata(dir.join(name)).expect("it is listed").len();
    files(dir).iter().map(len).sum()
}

#[test]
fn a_cap_below_what_the_segments_need_is_refused_with_the_least_that_works() {
    let place = Place::new();
    let small = capped(&place).space_cap(Some(4_000));
    let error = refused(
        Store::open(place.path(), small),
        ErrorKind::InvalidArgument,
        &["space_cap of 4000", "the least is"],
    );
    let text = error.to_string();
    let least = text.split("the least is ").nth(1).expect("told");
    let least = least
        .split(',')
        .next()
        .expect("told")
        .parse()
        .expect("a number");
    drop(place.open_with(capped(&place).space_cap(Some(least))));
    let below = capped(&place).space_cap(Some(least - 1));
    refused(
        Store::open(place.path(), below),
        ErrorKind::InvalidArgument,
        &["the least is"],
    );
    let none = capped(&place).reserve_bytes(0).at_cap(AtCap::Evict);
    refused(
        Store::open(place.path(), none),
        ErrorKind::InvalidArgument,
        &["reserve_bytes"],
    );
}

#[test]
fn a_store_over_the_cap_and_a_record_over_a_segment_are_refused() {
    let place = Place::new();
    let store = place.open();
    let keyspace = hash(&store, "k");
    for n in 0..400_u64 {
        keyspace
            .put(n.to_le_bytes(), vec![0; 1_000])
            .expect("no cap yet");
    }
    drop(keyspace);
    store.close().expect("closed");
    refused(
        Store::open(place.path(), capped(&place)),
        ErrorKind::InvalidArgument,
        &["over Options::space_cap of 260000"],
    );
    let place = Place::new();
    let keyspace = hash(&place.open_with(capped(&place)), "k");
    refused(
        keyspace.put("large", vec![0; 5_000]),
        ErrorKind::InvalidArgument,
        &["fits a segment"],
    );
}

#[test]
fn the_files_stay_below_the_cap_while_threads_write_and_merge() {
    let place = Place::new();
    let store = place.open_with(capped(&place).background(true));
    let keyspace = hash(&store, "k");
    let refusals: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|writer| {
                let keyspace = keyspace.clone();
                scope.spawn(move || {
                    let mut refusals = 0;
                    for n in 0..1_500 {
                        let key = (writer * 400 + n % 400).to_le_bytes();
                        if let Err(error) = keyspace.put(key, vec![1; 200]) {
                            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                            refusals += 1;
                        }
                    }
                    refusals
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            assert!(place_bytes_if_still(&place) <= CAP);
        }
        writers
            .into_iter()
            .map(|writer| writer.join().expect("joined"))
            .sum()
    });
    assert!(refusals > 0, "three writers fill it");
    store.close().expect("closed");
    assert!(bytes_of(place.path()) <= CAP);
}

/// The sum as of one moment cannot be had from outside: files come and go between two looks. Each
/// file once, and one that went counts nothing, is at most what was there at some moment or another
/// of the look; segments that merge replaces meanwhile are seen once.
fn place_bytes_if_still(place: &Place) -> u64 {
    let before = files(place.path());
    let sizes = before
        .iter()
        .map(|name| fs::metadata(place.file(name)).map_or(0, |meta| meta.len()));
    let sum = sizes.sum();
    if files(place.path()) == before {
        sum
    } else {
        0
    }
}
