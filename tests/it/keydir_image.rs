//! The keydir image is a short cut and nothing more: a store that opens by one holds exactly what it
//! holds without, whatever happened between the saving and the open, and an image that is damaged,
//! of another store or of another time is told of and left alone.
#![expect(
    clippy::big_endian_bytes,
    reason = "keys that sort as their numbers do"
)]

use std::fs;
use std::path::Path;

use peercask::{Clock, Merge, Options, RecoveryReport, Store, Write};

use crate::support::{
    Contents, Place, Rng, assert_same, contents, copy_files, delete_manifests, files, hash,
    ordered, rounds,
};

const IMAGES: [&str; 2] = ["keydir-a", "keydir-b"];

/// Images of the smallest keydirs too.
fn options(place: &Place) -> Options {
    place.options().image_index_bytes(0)
}

fn open(place: &Place) -> Store {
    place.open_with(options(place))
}

fn delete_images(dir: &Path) {
    for name in IMAGES {
        match fs::remove_file(dir.join(name)) {
            Ok(()) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound),
        }
    }
}

/// What a copy of the directory opens to, at the same time of day.
fn opened(dir: &Path, clock_of: &Place, with_images: bool) -> (Contents, RecoveryReport) {
    let copy = Place::copy_of(dir);
    copy.clock.set_wall_ms(clock_of.clock.wall_ms());
    if !with_images {
        delete_images(copy.path());
    }
    let store = open(&copy);
    let (all, report) = (contents(&store), store.recovery().clone());
    store.close().expect("it closes");
    (all, report)
}

#[test]
fn a_clean_open_reads_the_image_and_no_hint() {
    let place = Place::new();
    let store = open(&place);
    let (a, b) = (hash(&store, "a"), ordered(&store, "b"));
    for i in 0..2_000_u32 {
        a.put(i.to_le_bytes(), [7; 20]).expect("there is room");
        b.put(i.to_be_bytes(), [8; 20]).expect("there is room");
    }
    let all = contents(&store);
    store.close().expect("it closes");
    let store = open(&place);
    let report = store.recovery();
    assert!(report.image_used && report.clean, "{report:?}");
    assert_eq!((report.hints_used, report.segments_scanned), (0, 0));
    assert!(report.segments > 5, "several segments");
    assert_same(&contents(&store), &all, "by its image");
    // What was counted came back too: nothing is dead.
    let stats = store.stats();
    assert_eq!(stats.keys, 4_000);
    assert_eq!(stats.dead_bytes, 0);
}

#[test]
fn small_keydirs_are_not_worth_an_image() {
    let place = Place::new();
    let store = place.open();
    hash(&store, "a").put(b"k", b"v").expect("there is room");
    store.close().expect("it closes");
    assert!(
        !files(place.path())
            .iter()
            .any(|name| name.starts_with("keydir-"))
    );
}

#[test]
fn after_a_kill_only_what_the_image_does_not_cover_is_read() {
    let place = Place::new();
    let store = open(&place);
    let a = hash(&store, "a");
    for i in 0..2_000_u32 {
        a.put(i.to_le_bytes(), [1; 20]).expect("there is room");
    }
    store.save_image().expect("there is room");
    for i in 0..60_u32 {
        a.put((i * 31).to_le_bytes(), [2; 20])
            .expect("there is room");
        a.delete((i * 31 + 7).to_le_bytes()).expect("there is room");
    }
    let all = contents(&store);
    let (found, report) = opened(place.path(), &place, true);
    assert!(report.image_used, "{report:?}");
    assert!(
        report.hints_used + report.segments_scanned <= 4,
        "{report:?}"
    );
    assert_same(&found, &all, "after a kill");
}

/// So many that they come in ranges, and an image of so many blocks that several threads read it: new keys,
/// new values, deletes, before the first key of the image and behind its last.
#[test]
fn many_records_behind_an_image_are_brought_in() {
    let place = Place::new();
    let options = options(&place).segment_bytes(256 << 10).recovery_threads(3);
    let store = place.open_with(options.clone());
    let spaces = [hash(&store, "a"), ordered(&store, "b")];
    let key = |i: u32| match i % 11 {
        0 => format!("p{:08x}", i.wrapping_mul(0x9E37_79B1)),
        1 => format!("z{i}"),
        _ => format!("peer/{:08x}", i.wrapping_mul(0x9E37_79B1)),
    };
    let write = |keys: std::ops::Range<u32>, with: &dyn Fn(u32) -> Option<Vec<u8>>| {
        for first in keys.clone().step_by(1_000) {
            let mut batch = store.batch();
            for i in first..(first + 1_000).min(keys.end) {
                for space in &spaces {
                    match with(i) {
                        Some(value) => batch.put(space, key(i), value),
                        None => batch.delete(space, key(i)),
                    }
                }
            }
            batch.commit().expect("there is room");
        }
    };
    write(1_000..34_000, &|i| Some(vec![1; 1 + i as usize % 5]));
    store.save_image().expect("there is room");
    write(22_000..44_000, &|i| {
        (i % 5 > 0).then(|| vec![2; 1 + i as usize % 7])
    });
    write(0..1_000, &|_| Some(Vec::new()));
    let all = contents(&store);
    let stats = store.stats();
    let copy = Place::copy_of(place.path());
    let reopened = copy.open_with(options.clone());
    assert!(reopened.recovery().image_used);
    assert_same(&contents(&reopened), &all, "by the image and the hints");
    let found = reopened.stats();
    assert_eq!(found.keys, stats.keys);
    assert_eq!(
        (found.live_bytes, found.dead_bytes),
        (stats.live_bytes, stats.dead_bytes)
    );
    let (without, report) = opened(place.path(), &place, false);
    assert!(!report.image_used);
    assert_same(&without, &all, "by the hints");
}

/// Dead bytes that the image does not know of must not be forgotten: merge lives by them.
#[test]
fn what_died_since_the_image_is_counted() {
    let place = Place::new();
    let store = open(&place);
    let a = hash(&store, "a");
    for i in 0..500_u32 {
        a.put(i.to_le_bytes(), [1; 20]).expect("there is room");
    }
    store.save_image().expect("there is room");
    for i in 0..250_u32 {
        a.put(i.to_le_bytes(), [2; 20]).expect("there is room");
    }
    let (live, dead) = (store.stats().live_bytes, store.stats().dead_bytes);
    let copy = Place::copy_of(place.path());
    let store = open(&copy);
    assert!(store.recovery().image_used);
    assert_eq!(
        (store.stats().live_bytes, store.stats().dead_bytes),
        (live, dead)
    );
}

#[test]
fn an_image_with_a_flipped_byte_or_cut_short_is_not_believed() {
    let place = Place::new();
    let store = open(&place);
    let (a, b) = (hash(&store, "a"), ordered(&store, "b"));
    for i in 0..300_u32 {
        a.put(i.to_le_bytes(), [7; 20]).expect("there is room");
        b.put(i.to_be_bytes(), [8; 20]).expect("there is room");
    }
    let all = contents(&store);
    store.close().expect("it closes");
    let name = IMAGES.iter().find(|name| place.file(name).exists());
    let name = name.expect("close saved one");
    let whole = fs::read(place.file(name)).expect("it is there");
    let mut rng = Rng::new(51);
    for round in 0..rounds(60) {
        let mut bytes = whole.clone();
        let at = rng.index(bytes.len());
        if round % 3 == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << rng.below(8);
        }
        let copy = Place::copy_of(place.path());
        fs::write(copy.file(name), &bytes).expect("it can be written");
        let store = open(&copy);
        let report = store.recovery();
        assert!(!report.image_used, "changed at {at}");
        assert!(
            report
                .images_ignored
                .iter()
                .any(|told| told.starts_with(name))
        );
        assert_same(&contents(&store), &all, "without the image");
    }
}

/// Header, trailer and blocks: no byte of an image may turn over unnoticed by verify.
#[test]
fn verify_finds_every_flipped_byte_of_an_image_and_changes_none() {
    let place = Place::new();
    let store = open(&place);
    let (a, b) = (hash(&store, "a"), ordered(&store, "b"));
    for i in 0..40_u32 {
        a.put(i.to_le_bytes(), [7; 20]).expect("there is room");
        b.put(i.to_be_bytes(), [8; 20]).expect("there is room");
    }
    store.close().expect("it closes");
    let name = IMAGES.iter().find(|name| place.file(name).exists());
    let name = *name.expect("close saved one");
    let whole = fs::read(place.file(name)).expect("it is there");
    let verified = || {
        let reader = Store::open_read_only(place.path(), options(&place)).expect("it opens");
        reader.verify(&mut |_| {}).expect("verified")
    };
    assert_eq!(verified().damage, []);
    for at in (0..whole.len()).step_by(if rounds(1) > 1 { 1 } else { 5 }) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(place.file(name), &bytes).expect("it can be written");
        let found = verified().damage;
        let of_image = found.iter().filter(|damage| damage.file == name);
        assert_eq!(
            (of_image.count(), found.len()),
            (1, 1),
            "byte {at}: {found:?}"
        );
        assert_eq!(found[0].cost, peercask::Cost::Nothing, "byte {at}");
        assert_eq!(fs::read(place.file(name)).expect("read"), bytes);
    }
}

/// A checkpoint takes no image along, one who only reads needs none, and neither is misled by those that
/// are there.
#[test]
fn checkpoints_and_readers_of_a_store_with_images_hold_what_the_store_does() {
    let place = Place::new();
    let store = open(&place);
    let (a, b) = (hash(&store, "a"), ordered(&store, "b"));
    for round in 0..3_u8 {
        for i in 0..100_u32 {
            a.put(i.to_le_bytes(), [round; 20]).expect("there is room");
            b.put(i.to_be_bytes(), [round; 20]).expect("there is room");
        }
        b.delete(u32::from(round).to_be_bytes()).expect("deleted");
        store.save_image().expect("saved");
    }
    // What no image covers.
    a.put(b"later", b"than any image").expect("there is room");
    b.delete(9_u32.to_be_bytes()).expect("deleted");
    let all = contents(&store);
    assert!(IMAGES.iter().all(|name| place.file(name).exists()));

    let reader = Store::open_read_only(place.path(), options(&place)).expect("it opens");
    assert_same(&contents(&reader), &all, "read beside the writer");
    a.put(b"more", b"for a refresh").expect("there is room");
    assert!(reader.refresh().expect("refreshed"));
    let all = contents(&store);
    assert_same(&contents(&reader), &all, "refreshed");

    let copies = Place::new();
    let (copy, restored) = (copies.file("copy"), copies.file("restored"));
    store.checkpoint_to(&copy).expect("made");
    a.delete(b"more").expect("deleted");
    store.save_image().expect("saved");
    store.checkpoint_to(&copy).expect("brought up to date");
    let all = contents(&store);
    Store::restore(&copy, &restored).expect("restored");
    for dir in [&copy, &restored] {
        let store = Store::open(dir, options(&place)).expect("it opens");
        assert_eq!(store.recovery().damage, []);
        assert_same(&contents(&store), &all, "a copy");
    }
}

#[test]
fn the_generation_before_does_when_the_last_one_is_damaged() {
    let place = Place::new();
    let store = open(&place);
    let a = hash(&store, "a");
    for i in 0..300_u32 {
        a.put(i.to_le_bytes(), [7; 20]).expect("there is room");
    }
    store.save_image().expect("there is room");
    a.delete(9_u32.to_le_bytes()).expect("there is room");
    store.save_image().expect("there is room");
    a.delete(8_u32.to_le_bytes()).expect("there is room");
    let all = contents(&store);
    assert!(IMAGES.iter().all(|name| place.file(name).exists()));
    for name in IMAGES {
        let copy = Place::copy_of(place.path());
        fs::write(copy.file(name), b"not an image").expect("it can be written");
        let store = open(&copy);
        assert!(store.recovery().image_used, "by the other one");
        assert_same(&contents(&store), &all, "by the other one");
    }
}

#[test]
fn another_stores_image_is_left_alone() {
    let (one, two) = (Place::new(), Place::new());
    for (place, value) in [(&one, b"one"), (&two, b"two")] {
        let store = open(place);
        hash(&store, "a").put(b"k", value).expect("there is room");
        store.close().expect("it closes");
    }
    for name in IMAGES.iter().filter(|name| two.file(name).exists()) {
        fs::copy(two.file(name), one.file(name)).expect("it is there");
    }
    let store = open(&one);
    let report = store.recovery();
    assert!(!report.image_used);
    assert!(
        report.images_ignored[0].contains("another store"),
        "{report:?}"
    );
    assert_eq!(
        hash(&store, "a").get(b"k").expect("readable").as_deref(),
        Some(&b"one"[..])
    );
}

/// An image would hide, on a later open, what the hints brought back on this one.
#[test]
fn a_damaged_store_loses_its_images() {
    let place = Place::new();
    let store = open(&place);
    hash(&store, "a").put(b"k", b"v").expect("there is room");
    store.close().expect("it closes");
    assert!(IMAGES.iter().any(|name| place.file(name).exists()));
    delete_manifests(place.path());
    let store = open(&place);
    let report = store.recovery();
    assert!(report.manifest_rebuilt && !report.image_used);
    assert!(!IMAGES.iter().any(|name| place.file(name).exists()));
}

/// The hardest question: any image of the past, with the log of now.
#[test]
fn an_image_of_any_age_and_the_log_of_now_give_what_the_hints_give() {
    for round in 0..rounds(6) {
        let mut rng = Rng::new(520 + round);
        let place = Place::new();
        let past = Place::new();
        let mut saved = 0_u32;
        let mut store = open(&place);
        for step in 0..60 {
            some_work(&store, &place, &mut rng);
            match rng.below(8) {
                0 => drop(store.merge(Merge::Needed).expect("there is room")),
                1 => drop(store.merge(Merge::Full).expect("there is room")),
                2 => {
                    store.close().expect("it closes");
                    store = open(&place);
                }
                3 if step % 5 == 0 => {
                    store.drop_keyspace("b").expect("nobody else uses it");
                }
                4 | 5 => {
                    store.save_image().expect("there is room");
                    for name in IMAGES.iter().filter(|name| place.file(name).exists()) {
                        let kept = past.file(&format!("{saved}"));
                        fs::copy(place.file(name), kept).expect("it is there");
                        saved += 1;
                    }
                }
                _ => {}
            }
            let expected = contents(&store);
            let (without, _) = opened(place.path(), &place, false);
            assert_same(&without, &expected, "by the hints");
            let copy = Place::new();
            copy_files(place.path(), copy.path());
            if saved > 0 {
                delete_images(copy.path());
                let which = rng.below(u64::from(saved));
                fs::copy(past.file(&which.to_string()), copy.file(IMAGES[0])).expect("kept");
            }
            let (with, report) = opened(copy.path(), &place, true);
            let what = format!(
                "step {step}, image used: {}, {:?}",
                report.image_used, report.images_ignored
            );
            assert_same(&with, &expected, &what);
        }
    }
}

fn some_work(store: &Store, place: &Place, rng: &mut Rng) {
    let spaces = [hash(store, "a"), ordered(store, "b")];
    for _ in 0..rng.below(40) {
        let space = &spaces[rng.index(2)];
        let key = format!("key-{:03}", rng.below(120));
        match rng.below(6) {
            0 | 1 => drop(space.delete(&key).expect("there is room")),
            2 => {
                let ttl = std::time::Duration::from_secs(rng.below(20_000) + 1);
                let value = rng.bytes(30);
                let put = space.put_with(&key, value, Write::new().ttl(ttl));
                put.and_then(|ticket| ticket.wait()).expect("there is room");
            }
            _ => {
                let len = rng.index(120);
                space.put(&key, rng.bytes(len)).expect("there is room");
            }
        }
    }
    place
        .clock
        .advance(std::time::Duration::from_secs(rng.below(3_000)));
}
