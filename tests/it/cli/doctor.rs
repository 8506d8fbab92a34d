//! `doctor`: every verdict, each with its facts, and that looking changes nothing.

use std::fs;
use std::path::PathBuf;

use peercask::{Durability, KeyspaceOptions, Options, Store, Write};
use serde_json::{Value, json};

use super::{Ran, Room, peercask};
use crate::support::{copy_files, image, segments, set_len};

/// Small segments, nothing in the background, no reserve.
fn options() -> Options {
    Options::default()
        .background(false)
        .reserve_bytes(0)
        .segment_bytes(4_096)
}

/// A closed store in `room` with `n` records of some hundred bytes in an ordered and a hash keyspace.
fn closed(n: u32) -> Room {
    let room = Room::new();
    let store = Store::open(room.path("store"), options()).expect("opened");
    fill(&store, n);
    store.close().expect("closed");
    room
}

fn fill(store: &Store, n: u32) {
    let sorted = store.keyspace("sorted", KeyspaceOptions::ordered());
    let flat = store.keyspace("flat", KeyspaceOptions::hash());
    let (sorted, flat) = (sorted.expect("made"), flat.expect("made"));
    for number in 0..n {
        let value = format!("{number:->200}");
        sorted.put(format!("key {number:03}"), &value).expect("put");
        flat.put(format!("key {number:03}"), &value).expect("put");
    }
}

/// A copy of a store that was never closed, as a power cut that lost nothing leaves it.
fn unclosed(write: impl FnOnce(&Store)) -> Room {
    let (living, room) = (Room::new(), Room::new());
    let store = Store::open(living.path("store"), options()).expect("opened");
    write(&store);
    fs::create_dir(room.path("store")).expect("made");
    copy_files(&living.path("store"), &room.path("store"));
    room
}

fn segment_path(room: &Room, index: usize) -> PathBuf {
    let store = room.path("store");
    store.join(&segments(&store)[index])
}

/// Doctor's report, which must leave every file as it was.
fn doctor(room: &Room, code: i32) -> Value {
    let before = image(&room.path("store"));
    let report = room.run("doctor", &["--json"]).ends_with(code).json();
    assert!(
        before == image(&room.path("store")),
        "doctor changed a file"
    );
    // The text says the same in words, with the same exit code.
    let text = room.run("doctor", &[]).ends_with(code);
    let verdict = match report["verdict"].as_str() {
        Some("proven") => "no acknowledged data was lost: PROVEN",
        Some("not-provable") => "no acknowledged data was lost: NOT PROVABLE",
        _ => "acknowledged data was LOST",
    };
    assert!(text.text().contains(verdict), "{}", text.text());
    assert!(text.text().contains("next: "), "{}", text.text());
    report
}

fn assert_text(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.text().contains(part), "`{part}` in {}", ran.text());
    }
}

#[track_caller]
fn list<'a>(report: &'a Value, field: &str) -> &'a Vec<Value> {
    report[field].as_array().expect("a list")
}

#[test]
fn a_closed_store_is_proven_whole() {
    let room = closed(30);
    let report = doctor(&room, 0);
    assert_eq!(report["verdict"], "proven");
    assert_eq!(report["clean"], json!(true));
    assert_eq!(report["in_use"], json!(false));
    assert_eq!(
        (&report["records"], &report["keys"]),
        (&json!(60), &json!(60))
    );
    for field in ["cut", "damage", "lost_keys", "leftovers", "foreign_files"] {
        assert_eq!(report[field], json!([]), "{field}");
    }
    assert!(list(&report, "segments").len() > 2);
    for segment in list(&report, "segments") {
        assert_eq!(
            (&segment["state"], &segment["hint"]),
            (&json!("sealed"), &json!("valid"))
        );
        assert_eq!(segment["durable_records"], segment["records"]);
    }
}

#[test]
fn a_store_in_use_is_examined_beside_its_writer() {
    let room = Room::new();
    let store = Store::open(room.path("store"), options()).expect("opened");
    fill(&store, 30);
    let report = room.run("doctor", &["--json"]).ends_with(0).json();
    assert_eq!(
        (&report["in_use"], &report["verdict"]),
        (&json!(true), &json!("proven"))
    );
    // The writer was not disturbed.
    store
        .keyspace("flat", KeyspaceOptions::hash())
        .expect("there")
        .put("more", "1")
        .expect("put");
    store.close().expect("closed");
    assert_eq!(doctor(&room, 0)["in_use"], json!(false));
}

#[test]
fn after_an_unclean_stop_the_preallocated_tail_is_no_loss() {
    let room = unclosed(|store| fill(store, 3));
    let report = doctor(&room, 0);
    assert_eq!(
        (&report["verdict"], &report["clean"]),
        (&json!("proven"), &json!(false))
    );
    let segment = list(&report, "segments").last().expect("one").clone();
    assert_eq!(segment["state"], "unsealed");
    assert!(segment["reserved_len"].as_u64() > Some(0), "{segment}");
    // The last record carries the mark of the one before: it is there, not proven.
    assert_eq!(
        report["synced_seq"].as_u64().map(|seq| seq + 1),
        report["last_seq"].as_u64()
    );
    assert_eq!(report["cut"], json!([]));
}

#[test]
fn a_torn_tail_is_told_as_cut_and_not_provable() {
    let room = unclosed(|store| fill(store, 3));
    let path = segment_path(&room, 0);
    let report = doctor(&room, 0);
    let end = list(&report, "segments")[0]["data_len"]
        .as_u64()
        .expect("a number");
    set_len(&path, end - 7);
    let report = doctor(&room, 0);
    assert_eq!(report["verdict"], "not-provable");
    assert_eq!(
        (&report["damage"], &report["lost_keys"]),
        (&json!([]), &json!([]))
    );
    let cut = &list(&report, "cut")[0];
    assert_eq!(cut["records"], json!(0));
    let from = cut["offset"].as_u64().expect("a number");
    assert_eq!(cut["bytes"].as_u64(), Some(end - 7 - from));
    // What doctor says is what open then does.
    let store = Store::open(room.path("store"), options()).expect("opened");
    let done = &store.recovery().cut[0];
    assert_eq!(
        (done.offset, Some(done.bytes)),
        (from, cut["bytes"].as_u64())
    );
}

#[test]
fn a_damaged_value_costs_its_key_which_is_named() {
    let room = closed(30);
    let store = room.path("store");
    let (path, at) = place_of(&room, b"key 011");
    let mut bytes = fs::read(&path).expect("read");
    // The value follows the key.
    bytes[at + 7 + 50] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "lost");
    assert_eq!(report["lost_keys_total"], json!(1));
    let lost = &list(&report, "lost_keys")[0];
    assert_eq!(
        (&lost["keyspace"], &lost["key"]),
        (&json!("sorted"), &json!("key 011"))
    );
    assert_eq!(
        lost["file"].as_str(),
        path.file_name().and_then(|name| name.to_str())
    );
    assert_eq!(list(&report, "damage").len(), 1);
    assert_eq!(list(&report, "damage")[0]["cost"], "records");
    let text = room.run("doctor", &[]).ends_with(1);
    assert_text(
        &text,
        &[
            "lost: `key 011` of keyspace `sorted`",
            "next: copy the directory",
        ],
    );
    // The fact holds: this key and no other is an error.
    let opened = Store::open(store, options()).expect("opened");
    let sorted = opened.existing_keyspace("sorted").expect("there");
    for number in 0..30 {
        let read = sorted.get(format!("key {number:03}"));
        assert_eq!(read.is_err(), number == 11, "{number}");
    }
}

/// The file and the offset at which these bytes first stand in a segment.
fn place_of(room: &Room, wanted: &[u8]) -> (PathBuf, usize) {
    let store = room.path("store");
    for name in segments(&store) {
        let path = store.join(name);
        let bytes = fs::read(&path).expect("read");
        let at = bytes
            .windows(wanted.len())
            .position(|window| window == wanted);
        if let Some(at) = at {
            return (path, at);
        }
    }
    panic!("nowhere")
}

#[test]
fn a_record_that_nothing_can_read_is_still_told_from_the_hint_file() {
    let room = closed(30);
    let (path, at) = place_of(&room, b"key 011");
    let mut bytes = fs::read(&path).expect("read");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(
        (&report["verdict"], &report["lost_keys_total"]),
        (&json!("lost"), &json!(1))
    );
    assert_eq!(
        list(&report, "lost_keys")[0]["key"],
        "key 011",
        "from the ordered keydir"
    );
}

#[test]
fn damage_to_a_replaced_version_is_told_and_costs_no_key() {
    let room = closed(4);
    let store = Store::open(room.path("store"), options()).expect("opened");
    let sorted = store.existing_keyspace("sorted").expect("there");
    sorted.put("key 001", "new").expect("put");
    store.close().expect("closed");
    let (path, at) = place_of(&room, b"key 001");
    let mut bytes = fs::read(&path).expect("read");
    bytes[at + 7 + 50] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(
        (&report["verdict"], &report["lost_keys_total"]),
        (&json!("proven"), &json!(0))
    );
    assert_eq!(list(&report, "damage").len(), 1);
    let reasons = report["reasons"].to_string();
    assert!(
        reasons.contains("no newest version of any key"),
        "{reasons}"
    );
}

#[test]
fn a_missing_sealed_segment_is_refused_by_name_and_lost() {
    let room = closed(30);
    let path = segment_path(&room, 1);
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
        .to_owned();
    fs::remove_file(path).expect("removed");
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "lost");
    let refused = report["refused"].as_str().expect("refused");
    assert!(refused.contains(&name), "{refused}");
    let segment = list(&report, "segments")
        .iter()
        .find(|s| s["file"] == json!(name));
    assert_eq!(segment.expect("listed")["state"], "missing");
    assert!(
        report["next"]
            .to_string()
            .contains("--accept-missing-segments")
    );
    room.run("stat", &[]).fails_with(4, &name);
}

#[test]
fn a_segment_cut_short_is_told_as_missing_data() {
    let room = closed(30);
    let path = segment_path(&room, 1);
    set_len(&path, 1_000);
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "lost");
    assert!(
        report["refused"]
            .as_str()
            .expect("refused")
            .contains("cut short"),
        "{report}"
    );
}

#[test]
fn a_missing_hint_is_no_fault_and_a_damaged_one_costs_no_record() {
    let room = closed(30);
    let store = room.path("store");
    let hints = crate::support::hints(&store);
    fs::remove_file(store.join(&hints[0])).expect("removed");
    let report = doctor(&room, 0);
    assert_eq!(
        (&report["verdict"], &report["damage"]),
        (&json!("proven"), &json!([]))
    );
    assert_eq!(list(&report, "segments")[0]["hint"], "missing");

    let path = store.join(&hints[1]);
    let mut bytes = fs::read(&path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "proven");
    assert_eq!(list(&report, "segments")[1]["hint"], "damaged");
    assert_eq!(list(&report, "damage")[0]["cost"], "nothing");
    assert_text(&room.run("doctor", &[]), &["costs no record"]);
}

#[test]
fn one_damaged_manifest_costs_nothing_and_without_any_the_proof_is_gone() {
    let room = closed(10);
    let store = room.path("store");
    let mut bytes = fs::read(store.join("manifest-a")).expect("read");
    bytes[30] ^= 1;
    fs::write(store.join("manifest-a"), bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "proven");
    assert_eq!(list(&report, "manifests")[0]["state"], "damaged");
    assert_eq!(list(&report, "manifests")[1]["state"], "valid");
    assert_text(
        &room.run("doctor", &[]),
        &["writes the damaged copy of the manifest anew"],
    );

    fs::write(store.join("manifest-b"), b"").expect("written");
    let report = doctor(&room, 1);
    assert_eq!(
        (&report["verdict"], &report["manifest_rebuilt"]),
        (&json!("not-provable"), &json!(true))
    );
    assert_eq!(report["keys"], json!(20), "every key is still there");
}

#[test]
fn leftovers_and_foreign_files_are_told_apart() {
    let room = closed(10);
    let store = room.path("store");
    fs::write(store.join("notes.txt"), "mine").expect("written");
    fs::write(store.join("manifest-a.tmp"), "half").expect("written");
    let report = doctor(&room, 0);
    assert_eq!(report["foreign_files"], json!(["notes.txt"]));
    assert_eq!(report["leftovers"], json!(["manifest-a.tmp"]));
    assert_eq!(report["verdict"], "proven");
    assert_text(
        &room.run("doctor", &[]),
        &["left alone: notes.txt", "removed by open: manifest-a.tmp"],
    );
}

#[test]
fn a_loss_below_the_mark_of_an_unclosed_store_is_never_taken_for_a_tail() {
    // Batches, so that marks lie behind the place that is harmed.
    let room = unclosed(|store| fill(store, 6));
    let (path, at) = place_of(&room, b"key 001");
    let mut bytes = fs::read(&path).expect("read");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 1);
    assert_eq!(report["verdict"], "lost");
    assert_eq!(report["cut"], json!([]));
    let why = report["reasons"].to_string();
    assert!(why.contains("lost"), "{why}");
}

#[test]
fn weak_writes_behind_the_mark_are_cut_without_blame() {
    let room = unclosed(|store| {
        fill(store, 2);
        let flat = store.existing_keyspace("flat").expect("there");
        for number in 0..3 {
            let weak = Write::new().durability(Durability::Kernel);
            flat.put_with(format!("weak {number}"), "w", weak)
                .expect("put")
                .wait()
                .expect("waited");
        }
    });
    let (path, at) = place_of(&room, b"weak 1");
    let mut bytes = fs::read(&path).expect("read");
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    let report = doctor(&room, 0);
    assert_eq!(report["verdict"], "not-provable");
    assert_eq!(list(&report, "cut")[0]["records"], json!(1), "{report}");
}

#[test]
fn what_is_no_store_is_refused() {
    let room = Room::new();
    room.run("doctor", &[]).fails_with(1, "there is no store");
    let file = room.write("store", "text");
    peercask(["doctor".as_ref(), file.as_os_str()]).fails_with(2, "not a directory");
    let other = room.write("dir/notes.txt", "text");
    let dir = other.parent().expect("a directory").as_os_str();
    peercask(["doctor".as_ref(), dir]).fails_with(1, "there is no store");
}
