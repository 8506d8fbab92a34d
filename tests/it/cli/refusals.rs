//! What the command refuses: wrong usage, paths that are no store, unknown keyspaces, locked stores;
//! each with its own exit code and without leaving a trace.

use std::ffi::OsStr;
use std::fs;

use peercask::{KeyspaceOptions, Options, Store};

use super::{FRUIT, Room, peercask};

#[test]
fn reading_commands_create_neither_stores_nor_keyspaces() {
    let room = Room::new();
    let reading: [(&str, &[&str]); 8] = [
        ("get", &["k"]),
        ("del", &["k"]),
        ("list", &[]),
        ("keyspaces", &[]),
        ("export", &[]),
        ("stat", &[]),
        ("verify", &[]),
        ("merge", &[]),
    ];
    for (command, args) in reading {
        room.run(command, args).fails_with(1, "store");
        assert!(!room.path("store").exists(), "{command} created a store");
    }
    room.run("put", &["k", "v"]).ends_with(0);
    for (command, args) in [
        ("get", &["k"][..]),
        ("del", &["k"]),
        ("list", &[]),
        ("export", &[]),
    ] {
        let args = [args, &["--keyspace", "unknown"]].concat();
        room.run(command, &args).fails_with(1, "unknown");
    }
    assert_eq!(
        room.run("keyspaces", &["--json"])
            .ends_with(0)
            .json_lines()
            .len(),
        1
    );
}

#[test]
fn a_directory_that_is_no_store_and_a_path_that_is_a_file_are_refused() {
    let room = Room::new();
    room.write("store/notes.txt", "not a store");
    for (command, args) in [("get", &["k"][..]), ("put", &["k", "v"]), ("stat", &[])] {
        let ran = room.run(command, args);
        assert!(
            matches!(ran.code, Some(1 | 2)),
            "{command}: {:?} {}",
            ran.code,
            ran.err
        );
        assert!(ran.err.contains("store"), "{command}: {}", ran.err);
    }
    assert_eq!(
        fs::read_dir(room.path("store"))
            .expect("the directory")
            .count(),
        1,
        "nothing was added"
    );

    let file = room.write("file", "not a directory");
    for (command, args) in [("get", &["k"][..]), ("put", &["k", "v"]), ("stat", &[])] {
        let line = [OsStr::new(command), file.as_os_str()]
            .into_iter()
            .chain(args.iter().map(OsStr::new));
        let ran = peercask(line);
        assert!(
            matches!(ran.code, Some(1 | 2 | 5)),
            "{command}: {:?} {}",
            ran.code,
            ran.err
        );
        assert!(ran.err.contains("file"), "{command}: {}", ran.err);
    }
    assert_eq!(fs::read(&file).expect("the file"), b"not a directory");
}

#[test]
fn a_locked_store_is_told_apart_by_its_exit_code() {
    let room = Room::with_records(&FRUIT);
    let store = Store::open(room.path("store"), Options::default()).expect("the store opens");
    store
        .keyspace("default", KeyspaceOptions::ordered())
        .expect("the keyspace is there");
    for (command, args) in [
        ("put", &["k", "v"][..]),
        ("del", &["apple"]),
        ("merge", &[]),
        ("checkpoint", &["nowhere"]),
    ] {
        room.run(command, args).fails_with(3, "");
    }
    store.close().expect("the store closes");
    room.run("put", &["k", "v"]).ends_with(0);
}

#[test]
fn reading_commands_read_beside_a_writer_and_write_nothing() {
    let room = Room::with_records(&FRUIT);
    // Without threads: what is written meanwhile would be the readers'.
    let quiet = Options::default().background(false);
    let store = Store::open(room.path("store"), quiet).expect("the store opens");
    let default = store.existing_keyspace("default").expect("there");
    default.put("damson", "blue").expect("put");
    let before = crate::support::image(&room.path("store"));
    assert_eq!(room.run("get", &["damson"]).ends_with(0).out, b"blue");
    assert_eq!(room.run("list", &[]).ends_with(0).lines().len(), 5);
    assert_eq!(room.run("export", &[]).ends_with(0).lines().len(), 5);
    for command in ["keyspaces", "stat", "verify", "dump"] {
        room.run(command, &[]).ends_with(0);
    }
    let after = crate::support::image(&room.path("store"));
    assert!(before == after, "something was written");
    store.close().expect("the store closes");
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let room = Room::with_records(&FRUIT);
    room.run("get", &["--hex", "xyz"])
        .fails_with(2, "`xyz` is not hexadecimal");
    room.run("get", &["--hex", "123"])
        .fails_with(2, "not hexadecimal");
    room.run("put", &["only-a-key"]).fails_with(2, "VALUE");
    room.run("import", &[]).fails_with(2, "FILE");
    room.run("frobnicate", &[]).fails_with(2, "frobnicate");
    room.run("get", &["@/nowhere/at/all"])
        .fails_with(5, "/nowhere/at/all");
    let help = peercask(["--help"]).ends_with(0);
    assert!(help.text().contains("Exit codes:"), "{}", help.text());
}
