//! Looking after a store: `keyspaces`, `stat`, `dump`, `verify`, `merge` and `quickstart`.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use peercask::{Durability, KeyspaceOptions, Options, Store};
use serde_json::{Value, json};

use super::{FRUIT, Room, peercask};

#[test]
fn keyspaces_and_stat_tell_what_a_store_holds() {
    let room = Room::with_records(&FRUIT);
    room.run("put", &["k", "v", "--keyspace", "seen", "--index", "hash"])
        .ends_with(0);
    let keyspaces = room.run("keyspaces", &["--json"]).ends_with(0).json_lines();
    let summary: Vec<_> = keyspaces
        .iter()
        .map(|k| (&k["name"], &k["index"], &k["keys"]))
        .collect();
    assert_eq!(
        summary,
        [
            (&json!("default"), &json!("ordered"), &json!(4)),
            (&json!("seen"), &json!("hash"), &json!(1)),
        ]
    );
    let text = room.run("keyspaces", &[]).ends_with(0);
    assert!(
        text.lines()[1].starts_with("default   ordered"),
        "{}",
        text.text()
    );

    let stat = room.run("stat", &["--json"]).ends_with(0).json();
    assert_eq!(stat["keys"], json!(5));
    assert_eq!(stat["keyspaces"].as_array().map(Vec::len), Some(2));
    assert_eq!(stat["recovery"]["damage"], json!([]));
    for field in [
        "live_bytes",
        "disk_bytes",
        "segments",
        "index_bytes",
        "last_seq",
    ] {
        assert!(stat[field].as_u64() > Some(0), "{field} in {stat}");
    }
    let text = room.run("stat", &[]).ends_with(0);
    for part in [
        "space amplification",
        "index bytes per key",
        "expired",
        "seen",
    ] {
        assert!(text.text().contains(part), "{part} in {}", text.text());
    }
}

/// The file of the only segment with user records, and the records in it.
fn dumped(room: &Room) -> (PathBuf, Vec<Value>) {
    let files = room.run("dump", &["--json"]).ends_with(0).json();
    for segment in files["segments"].as_array().expect("a list of segments") {
        let items = room
            .run("dump", &["--json", "--hex", &segment["id"].to_string()])
            .ends_with(0)
            .json_lines();
        let records: Vec<Value> = items
            .into_iter()
            .filter(|item| item["item"] == "record")
            .collect();
        if !records.is_empty() {
            let file = segment["file"].as_str().expect("a file name");
            return (room.path("store").join(file), records);
        }
    }
    panic!("no segment holds records: {files}");
}

#[test]
fn dump_shows_files_and_records_even_of_a_store_in_use() {
    let room = Room::with_records(&FRUIT);
    let _in_use = Store::open(room.path("store"), Options::default()).expect("the store opens");
    let (_, records) = dumped(&room);
    let keys: Vec<_> = records
        .iter()
        .map(|record| record["key"].as_str())
        .collect();
    assert_eq!(keys, FRUIT.map(|(key, _)| Some(key)));
    assert_eq!(records[0]["kind"], json!("put"));
    assert_eq!(records[0]["value_ok"], json!(true));
    assert!(
        records[0]["raw_hex"]
            .as_str()
            .is_some_and(|raw| raw.contains(&hex_of("apple")))
    );

    let files = room.run("dump", &[]).ends_with(0);
    assert!(
        files.text().contains("manifest generation"),
        "{}",
        files.text()
    );
    assert!(
        files.text().contains("keyspace 1 `default`, ordered"),
        "{}",
        files.text()
    );
    let id = room.run("dump", &["--json"]).ends_with(0).json()["segments"][0]["id"].to_string();
    let text = room.run("dump", &[&id]).ends_with(0);
    assert!(text.text().contains("apple  -> 3 bytes"), "{}", text.text());
    let text = room.run("dump", &[&id, "--hex"]).ends_with(0);
    assert!(text.text().contains("|"), "{}", text.text());
    assert_ne!(room.run("dump", &["999999"]).code, Some(0));
}

fn hex_of(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn verify_is_quiet_about_a_good_store_and_names_damage() {
    let room = Room::with_records(&FRUIT);
    let clean = room.run("verify", &["--json"]).ends_with(0).json();
    assert_eq!(
        (&clean["clean"], &clean["damage"]),
        (&json!(true), &json!([]))
    );
    assert!(
        room.run("verify", &[])
            .ends_with(0)
            .text()
            .contains("no damage")
    );

    // The last byte of the first record belongs to its value.
    let (file, records) = dumped(&room);
    let mut bytes = fs::read(&file).expect("the segment");
    let end = records[0]["offset"]
        .as_u64()
        .zip(records[0]["len"].as_u64())
        .map(|(offset, len)| offset + len);
    let last = usize::try_from(end.expect("numbers") - 1).expect("a small file");
    bytes[last] ^= 0x40;
    fs::write(&file, bytes).expect("the segment is written");

    let damaged = room.run("verify", &["--json"]).ends_with(1).json();
    assert_eq!(damaged["clean"], json!(false));
    let name = file.file_name().and_then(OsStr::to_str);
    assert!(
        damaged["damage"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["file"].as_str() == name))
    );
    assert!(
        room.run("verify", &[])
            .ends_with(1)
            .text()
            .contains("damaged: ")
    );
    room.run("get", &["apple"]).fails_with(4, "");
    assert_eq!(
        room.run("get", &["banana"]).ends_with(0).out,
        b"yellow",
        "damage costs the record hit"
    );
    for command in ["list", "export"] {
        let ran = room.run(command, &[]).ends_with(4);
        assert!(ran.err.contains("damaged record"), "{}", ran.err);
        assert_eq!(ran.lines().len(), 3, "the others are there: {}", ran.text());
    }
}

#[test]
fn merge_gives_dead_bytes_back() {
    // Written here, without background threads: they would merge before the command can.
    let room = Room::new();
    let value = "x".repeat(10_000);
    let options = Options::default()
        .background(false)
        .durability(Durability::Kernel);
    let store = Store::open(room.path("store"), options).expect("a new store");
    let keyspace = store
        .keyspace("default", KeyspaceOptions::ordered())
        .expect("a keyspace");
    for round in 0..5 {
        for number in 0..100 {
            let (key, value) = (format!("key {number}"), format!("{round} {value}"));
            keyspace.put(key, value).expect("a put");
        }
    }
    store.close().expect("the store closes");

    let merged = room.run("merge", &["--full", "--json"]).ends_with(0).json();
    let bytes = |field: &str| merged[field].as_u64().expect("a number");
    assert!(bytes("disk_bytes_before") > 5_000_000, "{merged}");
    assert!(bytes("disk_bytes_after") < 1_200_000, "{merged}");
    assert_eq!(
        (bytes("records_copied"), bytes("records_dropped")),
        (100, 400)
    );
    let again = room.run("merge", &[]).ends_with(0);
    assert!(
        again.text().starts_with("nothing to merge\non disk"),
        "{}",
        again.text()
    );
    let got = room.run("get", &["key 7"]).ends_with(0);
    assert_eq!(got.text(), format!("4 {value}"));
    room.run("verify", &[]).ends_with(0);
}

#[test]
fn quickstart_survives_its_kill_on_a_small_tree() {
    let room = Room::new();
    for number in 0..300 {
        room.write(
            &format!("tree/{}/{number}", number % 7),
            format!("{number} ").repeat(number),
        );
    }
    let (tree, dir) = (room.path("tree"), room.path("work"));
    let (tree, dir) = (
        tree.to_str().expect("a plain path"),
        dir.to_str().expect("a plain path"),
    );
    let report = peercask(["quickstart", dir, "--source", tree, "--seed", "7", "--json"])
        .ends_with(0)
        .json();
    assert_eq!(
        (&report["ok"], &report["files"]),
        (&json!(true), &json!(300))
    );
    assert_eq!(
        report["after_kill"]["acknowledged"],
        report["after_kill"]["acknowledged_and_right"]
    );
    assert!(report["after_kill"]["acknowledged"].as_u64() > Some(0));
    assert_eq!(
        (&report["checks"]["mismatches"], &report["deleted"]),
        (&json!(0), &json!(75))
    );
    assert!(report["floors"]["put_kernel"]["store_to_log"].as_f64() > Some(0.0));

    let store = room.path("work/store");
    let store = store.to_str().expect("a plain path");
    let stat = peercask(["stat", store, "--json"]).ends_with(0).json();
    assert_eq!(
        stat["keys"],
        json!(450),
        "three quarters of 300, in two keyspaces"
    );
    peercask(["quickstart", dir]).fails_with(2, "is not empty");
    let text = peercask(["quickstart", "--source", tree, "--max-files", "50"]).ends_with(0);
    assert!(
        text.text()
            .contains("nothing lost, nothing wrong, nothing revived"),
        "{}",
        text.text()
    );
    peercask(["quickstart", "--source", "/nowhere/at/all"]).fails_with(5, "/nowhere/at/all");
}

#[test]
fn stat_watch_looks_from_outside_at_a_store_in_use_and_leaves_it_alone() {
    let room = Room::with_records(&FRUIT);
    let store = Store::open(room.path("store"), Options::default()).expect("the store opens");
    let before = crate::support::image(&room.path("store"));
    let text = room.run("stat", &["--watch", "--times", "2"]).ends_with(0);
    for word in ["on disk", "segments", "growth", "synced seq", "process"] {
        assert!(text.text().contains(word), "{word}: {}", text.text());
    }
    assert!(
        !text.text().contains('\u{1b}'),
        "no command for a terminal where there is none"
    );
    let looks = room
        .run("stat", &["--json", "--watch=1", "--times", "2"])
        .ends_with(0);
    let looks = looks.json_lines();
    assert_eq!(looks.len(), 2);
    assert_eq!(looks[0]["grown_bytes_per_second"], Value::Null);
    assert_eq!(looks[1]["grown_bytes_per_second"], json!(0.0));
    assert_eq!(looks[1]["process"], json!(std::process::id()));
    let sizes = before.iter().filter(|(name, _)| name.starts_with("seg-"));
    let bytes: usize = sizes.map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(looks[1]["segment_bytes"], json!(bytes));
    assert_eq!(crate::support::image(&room.path("store")), before);
    drop(store);
    room.run("stat", &["--times", "2"]).ends_with(2);
}
