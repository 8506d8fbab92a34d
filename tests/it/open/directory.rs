//! What may stand at the path that is opened: no store, a newer one, one with files gone, cut, or
//! added, and what an interrupted creation leaves.

use std::fs;
use std::path::Path;

use peercask::{ErrorKind, Missing, Options, Store};

use crate::support::{
    Place, contents, copy_files, delete_hints, delete_manifests, files, hash, hints, refused,
    segments, set_len, skipped,
};

/// Three closed segments with ten keys each.
fn three_segments() -> Place {
    let place = Place::new();
    for round in 0..3_u8 {
        let store = place.open();
        let space = hash(&store, "things");
        for key in 0..10_u8 {
            space
                .put([round, key], format!("value {round} {key}"))
                .expect("put");
        }
        store.close().expect("closed");
    }
    assert_eq!(segments(place.path()).len(), 3, "{:?}", files(place.path()));
    place
}

#[test]
fn a_directory_that_holds_something_else_is_refused_and_left_as_it_was() {
    let place = Place::new();
    fs::write(place.file("thesis.tex"), "years of work").expect("written");
    let before = place.image();
    let shown = place.path().display().to_string();
    let parts = [
        shown.as_str(),
        "not a Peercask store",
        "thesis.tex",
        "empty directory",
    ];
    refused(
        Store::open(place.path(), place.options()),
        ErrorKind::InvalidArgument,
        &parts,
    );
    assert_eq!(
        place.image(),
        before,
        "nothing was made in it, no lock either"
    );
}

#[test]
fn a_path_that_is_a_file_is_refused_and_the_file_stays() {
    let place = Place::new();
    let path = place.file("store");
    fs::write(&path, "a file").expect("written");
    let shown = path.display().to_string();
    let parts = [shown.as_str(), "not a directory"];
    refused(
        Store::open(&path, place.options()),
        ErrorKind::InvalidArgument,
        &parts,
    );
    assert_eq!(fs::read(&path).expect("still there"), b"a file");
    let below = path.join("deeper");
    let error = Store::open(&below, place.options()).expect_err("no directory below a file");
    assert!(
        error.to_string().contains(&below.display().to_string()),
        "{error}"
    );
}

#[test]
fn with_create_false_what_is_not_there_is_not_made() {
    let place = Place::new();
    let missing = place.file("missing");
    let shown = missing.display().to_string();
    let options = place.options().create(false);
    let parts = [shown.as_str(), "no store", "Options::create"];
    refused(
        Store::open(&missing, options.clone()),
        ErrorKind::NotFound,
        &parts,
    );
    assert!(!missing.exists());
    refused(
        Store::open(place.path(), options.clone()),
        ErrorKind::NotFound,
        &["no store"],
    );
    assert_eq!(files(place.path()), [""; 0]);

    drop(place.open());
    let store = place.open_with(options);
    assert!(!store.recovery().created);
}

#[test]
fn a_missing_path_is_made_with_all_its_parents() {
    let place = Place::new();
    let deep = place.file("a").join("b").join("c");
    let store = Store::open(&deep, place.options()).expect("made");
    assert!(store.recovery().created);
    hash(&store, "things").put("key", "value").expect("put");
    store.close().expect("closed");
    let store = Store::open(&deep, place.options()).expect("opened");
    assert!(!store.recovery().created);
    assert_eq!(
        hash(&store, "things").get("key").expect("read").as_deref(),
        Some(&b"value"[..])
    );
}

/// Lets nobody add, rename or remove files in the directory while `f` runs; false if this user may
/// do it all the same.
fn while_read_only(dir: &Path, f: impl FnOnce()) -> bool {
    let before = fs::metadata(dir).expect("there").permissions();
    let mut rights = before.clone();
    rights.set_readonly(true);
    fs::set_permissions(dir, rights).expect("set");
    let probe = dir.join("probe");
    let binds = fs::write(&probe, "").is_err();
    if binds {
        f();
    }
    fs::set_permissions(dir, before).expect("set back");
    if !binds {
        fs::remove_file(probe).expect("removed");
    }
    binds
}

#[test]
fn a_read_only_directory_is_refused_by_name() {
    let place = three_segments();
    fs::remove_file(place.file("LOCK")).expect("removed");
    let before = place.image();
    let shown = place.path().display().to_string();
    let binds = while_read_only(place.path(), || {
        let opened = Store::open(place.path(), place.options());
        refused(opened, ErrorKind::Io, &[&shown, "LOCK", "writ"]);
        let inside = place.file("new");
        let opened = Store::open(&inside, place.options());
        refused(opened, ErrorKind::Io, &[&inside.display().to_string()]);
    });
    if !binds {
        skipped("a read-only directory", "this user may write to one");
    }
    assert_eq!(place.image(), before);
    assert_eq!(contents(&place.open()).len(), 30);
}

/// The lock can be taken, and nothing has to be written to read.
#[test]
fn a_directory_that_becomes_read_only_is_read_on_and_the_first_write_is_refused() {
    let place = three_segments();
    let binds = while_read_only(place.path(), || {
        let store = place.open();
        assert_eq!(contents(&store).len(), 30);
        let space = hash(&store, "things");
        let error = refused(space.put("key", "value"), ErrorKind::Io, &["seg-"]);
        assert!(error.file().is_some(), "{error}");
        assert_eq!(space.get("key").expect("read"), None, "not applied");
        refused(
            store.drop_keyspace("things"),
            ErrorKind::Io,
            &["manifest-a"],
        );
        assert_eq!(contents(&store).len(), 30);
    });
    if !binds {
        skipped("a read-only directory", "this user may write to one");
    }
    let store = place.open();
    assert_eq!(store.recovery().damage, []);
    assert_eq!(contents(&store).len(), 30);
}

// ---- segments gone, cut, exchanged, added

#[test]
fn a_missing_segment_is_refused_by_name_until_the_caller_accepts_the_loss() {
    let place = three_segments();
    let gone = segments(place.path()).remove(1);
    fs::remove_file(place.file(&gone)).expect("removed");
    let before = place.image();
    let parts = [gone.as_str(), "missing", "10 records", "Missing::Accept"];
    let opened = Store::open(place.path(), place.options());
    let error = refused(opened, ErrorKind::Corrupted, &parts);
    assert_eq!(error.file(), Some(gone.as_str()));
    let mut after = place.image();
    after.insert("LOCK".to_owned(), before["LOCK"].clone());
    assert_eq!(after, before, "a refused open changes nothing");

    let store = place.open_with(place.options().missing_segments(Missing::Accept));
    let damage = &store.recovery().damage;
    assert!(
        damage.iter().any(|damage| damage.file == gone),
        "{damage:?}"
    );
    let left = contents(&store);
    assert_eq!(left.len(), 20, "the rest is there");
    assert!(left.keys().all(|(_, key)| key[0] != 1));
    store.close().expect("closed");

    let store = place.open();
    assert_eq!(
        contents(&store),
        left,
        "accepted once, it is no longer missed"
    );
    assert_eq!(store.recovery().damage, []);
}

#[test]
fn a_segment_cut_short_is_refused_by_name_until_the_caller_accepts_the_loss() {
    for hints_too in [true, false] {
        let place = three_segments();
        let cut = segments(place.path()).remove(1);
        if !hints_too {
            delete_hints(place.path());
        }
        set_len(&place.file(&cut), 300);
        let opened = Store::open(place.path(), place.options());
        let parts = [cut.as_str(), "cut short", "300 bytes", "Missing::Accept"];
        refused(opened, ErrorKind::Corrupted, &parts);
        assert_eq!(fs::metadata(place.file(&cut)).expect("there").len(), 300);

        let store = place.open_with(place.options().missing_segments(Missing::Accept));
        let damage = &store.recovery().damage;
        assert!(damage.iter().any(|damage| damage.file == cut), "{damage:?}");
        let space = hash(&store, "things");
        for key in 0..10_u8 {
            for round in [0, 2] {
                let value = space.get([round, key]).expect("the others are whole");
                assert_eq!(
                    value.expect("there"),
                    format!("value {round} {key}").as_bytes()
                );
            }
            match space.get([1, key]) {
                Ok(None) => {}
                Ok(Some(value)) => assert_eq!(value, format!("value 1 {key}").as_bytes()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}"),
            }
        }
    }
}

#[test]
fn a_segment_under_another_ones_name_is_refused_by_name() {
    let place = three_segments();
    let names = segments(place.path());
    let (first, third) = (place.file(&names[0]), place.file(&names[2]));
    fs::copy(&first, &third).expect("a wrong backup was brought back");
    let opened = Store::open(place.path(), place.options());
    refused(
        opened,
        ErrorKind::Corrupted,
        &[&names[2], "Missing::Accept"],
    );
}

#[test]
fn another_stores_segment_is_left_alone_and_listed() {
    let (place, other) = (three_segments(), three_segments());
    let before = {
        let store = place.open();
        contents(&store)
    };
    let stray = "seg-00000000000000ff.cask";
    let from = segments(other.path()).remove(0);
    let bytes = fs::read(other.file(&from)).expect("read");
    fs::write(place.file(stray), &bytes).expect("written");
    for _ in 0..2 {
        let store = place.open();
        assert_eq!(contents(&store), before);
        let foreign = &store.recovery().foreign_files;
        assert!(foreign.iter().any(|name| name == stray), "{foreign:?}");
        hash(&store, "things").put([9], "new").expect("put");
        hash(&store, "things").delete([9]).expect("deleted");
        store.close().expect("closed");
        assert_eq!(fs::read(place.file(stray)).expect("still there"), bytes);
    }
}

#[test]
fn foreign_files_are_left_alone_and_listed() {
    let place = three_segments();
    let foreign = [
        "README",
        "manifest-c",
        "notes.tmp",
        "seg-1.cask",
        "hint-000000000000000G.cask",
    ];
    for name in foreign {
        fs::write(place.file(name), name).expect("written");
    }
    fs::create_dir(place.file("attic")).expect("made");
    let store = place.open();
    let mut listed = store.recovery().foreign_files.clone();
    listed.sort();
    let mut expected: Vec<&str> = foreign.into_iter().chain(["attic"]).collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(contents(&store).len(), 30);
    store.merge(peercask::Merge::Full).expect("merged");
    store.close().expect("closed");
    for name in foreign {
        assert_eq!(
            fs::read(place.file(name)).expect("still there"),
            name.as_bytes()
        );
    }
    assert!(place.file("attic").is_dir());
}

#[test]
fn temporary_files_and_hints_without_a_segment_are_removed_and_listed() {
    let place = three_segments();
    let leftovers = [
        "manifest-a.tmp",
        "seg-00000000000000aa.cask.tmp",
        "hint-0000000000000001.cask.tmp",
        "hint-00000000000000aa.cask",
    ];
    for name in leftovers {
        fs::write(place.file(name), "half of it").expect("written");
    }
    let store = place.open();
    let mut removed = store.recovery().removed_files.clone();
    removed.sort();
    let mut expected = leftovers.to_vec();
    expected.sort_unstable();
    assert_eq!(removed, expected);
    assert_eq!(contents(&store).len(), 30);
    for name in leftovers {
        assert!(!place.file(name).exists(), "{name}");
    }
}

// ---- newer versions

/// Writes `version` where all versions have it, with the checksum that goes with it.
fn set_version(path: &Path, version: u32) {
    let mut bytes = fs::read(path).expect("read");
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, bytes).expect("written");
}

/// CRC-32 bit by bit, as docs/format.md names it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[test]
fn a_newer_manifest_is_refused_with_both_versions() {
    for copies in [
        &["manifest-a", "manifest-b"][..],
        &["manifest-a"],
        &["manifest-b"],
    ] {
        let place = three_segments();
        for copy in copies {
            set_version(&place.file(copy), 7);
        }
        let parts = [copies[0], "version 7", "version 1", "newer release"];
        let opened = Store::open(place.path(), place.options());
        refused(opened, ErrorKind::UnsupportedFormat, &parts);
    }
}

#[test]
fn a_newer_segment_is_refused_with_both_versions() {
    let place = three_segments();
    let name = segments(place.path()).remove(1);
    set_version(&place.file(&name), 2);
    let parts = [name.as_str(), "version 2", "version 1", "newer release"];
    let opened = Store::open(place.path(), place.options());
    refused(opened, ErrorKind::UnsupportedFormat, &parts);
    delete_manifests(place.path());
    let opened = Store::open(place.path(), place.options());
    refused(opened, ErrorKind::UnsupportedFormat, &parts);
    assert_eq!(segments(place.path()).len(), 3, "nothing was removed");
}

#[test]
fn a_newer_hint_file_is_only_a_hint() {
    let place = three_segments();
    set_version(&place.file(&hints(place.path())[0]), 2);
    let store = place.open();
    assert_eq!(contents(&store).len(), 30);
    assert_eq!(store.recovery().hints_used, 2);
}

// ---- creation that broke off

#[test]
fn a_creation_that_broke_off_anywhere_is_begun_again_or_goes_on() {
    let made = Place::new();
    drop(made.open_with(Options::default().background(false)));
    let names = files(made.path());
    for expected in ["LOCK", "RESERVE", "manifest-a", "manifest-b"] {
        assert!(names.iter().any(|name| name == expected), "{names:?}");
    }
    let steps: [&[&str]; 6] = [
        &[],
        &["LOCK"],
        &["LOCK", "RESERVE"],
        &["LOCK", "RESERVE", "manifest-a.tmp"],
        &["LOCK", "RESERVE", "manifest-a"],
        &["LOCK", "RESERVE", "manifest-a", "manifest-b.tmp"],
    ];
    for step in steps {
        let place = Place::new();
        for name in step {
            let whole = fs::read(made.file(name.trim_end_matches(".tmp"))).expect("read");
            let half = if name.ends_with(".tmp") {
                whole.len() / 2
            } else {
                whole.len()
            };
            fs::write(place.file(name), &whole[..half]).expect("written");
        }
        let store = place.open();
        assert_eq!(store.recovery().damage, [], "{step:?}");
        hash(&store, "things").put("key", "value").expect("put");
        store.close().expect("closed");
        let store = place.open();
        assert!(store.recovery().clean, "{step:?}: {:?}", store.recovery());
        assert_eq!(contents(&store).len(), 1, "{step:?}");
    }
}

#[test]
fn a_store_opens_wherever_it_was_copied() {
    let (place, elsewhere) = (three_segments(), Place::new());
    copy_files(place.path(), elsewhere.path());
    let (here, there) = (place.open(), elsewhere.open());
    assert_eq!(contents(&here), contents(&there));
}
