//! Whole stores in and out: `import` and `export`, as JSON lines and as directory trees.
//! Keys come from strangers: nothing is ever written outside the tree.

use std::fs;

use serde_json::json;

use super::{FRUIT, Room, peercask_fed};

#[test]
fn what_export_writes_import_reads_back_to_the_same_bytes() {
    let room = Room::with_records(&FRUIT);
    room.run("put", &["--hex", "00ff", "c328"]).ends_with(0);
    room.run("put", &["soon", "gone", "--ttl", "2d"])
        .ends_with(0);
    room.run(
        "put",
        &[
            "q\"\\\u{1f980}",
            "line\nbreak",
            "--keyspace",
            "other",
            "--index",
            "hash",
        ],
    )
    .ends_with(0);
    let first = room.run("export", &[]).ends_with(0);
    assert_eq!(first.json_lines().len(), 7);

    let copy = Room::new();
    let done = peercask_fed(copy.line("import", &["-", "--json"]), &first.out)
        .ends_with(0)
        .json();
    assert_eq!(
        (&done["records"], &done["skipped_bad"]),
        (&json!(7), &json!(0))
    );
    assert_eq!(copy.run("export", &[]).ends_with(0).text(), first.text());

    let file = room.path("out.jsonl");
    let file = file.to_str().expect("a plain path");
    let done = room
        .run(
            "export",
            &["--output", file, "--keyspace", "other", "--json"],
        )
        .ends_with(0)
        .json();
    assert_eq!(done["records"], json!(1));
    room.run("export", &["--output", file])
        .fails_with(2, "--force");
    room.run("export", &["--output", file, "--force"])
        .ends_with(0);
    assert_eq!(fs::read_to_string(file).expect("the export"), first.text());
}

#[test]
fn a_bad_line_is_named_and_costs_only_itself() {
    let room = Room::new();
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\",\"value\":{\"hex\":\"0\"}}\n{\"key\":\"c\",\"value\":\"3\"}\n";
    let file = room.write("lines.jsonl", lines);
    let file = file.to_str().expect("a plain path");
    room.run("import", &[file]).fails_with(2, "line 3: bad hex");
    assert_eq!(
        room.run("list", &[]).ends_with(0).lines(),
        ["a"],
        "what came before is imported"
    );
    let done = room
        .run("import", &[file, "--skip-bad", "--json"])
        .ends_with(0);
    assert!(done.err.contains("line 3"), "{}", done.err);
    assert_eq!(
        (&done.json()["records"], &done.json()["skipped_bad"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(room.run("list", &[]).ends_with(0).lines(), ["a", "c"]);

    for (line, part) in [
        ("not json", "line 1"),
        ("{\"key\":\"a\"}", "value"),
        (
            "{\"key\":\"a\",\"value\":\"1\",\"keyspace\":\"\"}",
            "line 1",
        ),
        ("{\"key\":\"a\",\"value\":\"1\",\"ttl\":5}", "ttl"),
    ] {
        peercask_fed(room.line("import", &["-"]), line.as_bytes()).fails_with(2, part);
    }
    let long = json!({"key": "k".repeat(65_536), "value": ""}).to_string();
    peercask_fed(room.line("import", &["-"]), long.as_bytes()).fails_with(2, "65535");
    let fresh = Room::new();
    fresh
        .run("import", &["/nowhere/at/all.jsonl"])
        .fails_with(5, "/nowhere/at/all.jsonl");
    assert!(
        !fresh.path("store").exists(),
        "nothing to import makes no store"
    );
}

#[test]
fn a_directory_tree_goes_in_and_comes_out_the_same() {
    let room = Room::new();
    let files: [(&str, &[u8]); 4] = [
        ("a", b"1"),
        ("dir/b c", b""),
        ("dir/deep/\u{fc}", b"\xff\0"),
        ("z/big", &[7; 100_000]),
    ];
    for (name, content) in files {
        room.write(&format!("tree/{name}"), content);
    }
    let (tree, back) = (room.path("tree"), room.path("back"));
    let (tree, back) = (
        tree.to_str().expect("a plain path"),
        back.to_str().expect("a plain path"),
    );
    let done = room
        .run("import", &["--tree", tree, "--json"])
        .ends_with(0)
        .json();
    assert_eq!(done["records"], json!(4));
    let done = room
        .run("export", &["--tree", back, "--json"])
        .ends_with(0)
        .json();
    assert_eq!(done["records"], json!(4));
    for (name, content) in files {
        assert_eq!(
            fs::read(room.path("back").join(name)).expect(name),
            content,
            "{name}"
        );
    }

    // Existing files stay, until the user forces it.
    room.write("back/a", "mine");
    let again = room.run("export", &["--tree", back, "--json"]).ends_with(1);
    assert_eq!(
        (&again.json()["refused_existing"], &again.json()["records"]),
        (&json!(4), &json!(0))
    );
    assert_eq!(fs::read(room.path("back/a")).expect("the file"), b"mine");
    room.run("export", &["--tree", back, "--force"])
        .ends_with(0);
    assert_eq!(fs::read(room.path("back/a")).expect("the file"), b"1");

    // The store itself may lie in the tree; it is not imported into itself.
    let whole = room.0.path().to_str().expect("a plain path");
    room.run("import", &["--tree", whole, "--keyspace", "whole"])
        .ends_with(0);
    let keys = room.run("list", &["--keyspace", "whole"]).ends_with(0);
    assert!(keys.text().contains("tree/a"), "{}", keys.text());
    assert!(!keys.text().contains("store/"), "{}", keys.text());
}

#[test]
fn export_never_writes_outside_its_tree() {
    let room = Room::with_records(&[
        ("ok", "1"),
        ("../escape", "2"),
        ("/escape", "3"),
        ("a/../../escape", "4"),
        ("", "5"),
    ]);
    room.run("put", &["--hex", "6100", "00"]).ends_with(0);
    let back = room.path("out/tree");
    let ran = room
        .run(
            "export",
            &["--tree", back.to_str().expect("a plain path"), "--json"],
        )
        .ends_with(1);
    assert_eq!(
        (&ran.json()["records"], &ran.json()["refused_unsafe"]),
        (&json!(1), &json!(5))
    );
    for part in ["`../escape`", "`/escape`", "absolute", "NUL", "empty"] {
        assert!(ran.err.contains(part), "{part} in {}", ran.err);
    }
    let names: Vec<_> = fs::read_dir(room.path("out"))
        .expect("the directory")
        .collect();
    assert_eq!(names.len(), 1, "only the tree itself");
    assert_eq!(fs::read_dir(&back).expect("the tree").count(), 1);
}

#[cfg(unix)]
#[test]
fn export_follows_no_link_out_of_its_tree() {
    let room = Room::with_records(&[("link/x", "1"), ("plain", "2")]);
    let (outside, back) = (room.path("outside"), room.path("back"));
    fs::create_dir_all(&outside).expect("a directory");
    fs::create_dir_all(&back).expect("a directory");
    std::os::unix::fs::symlink(&outside, back.join("link")).expect("a link to a directory");
    let target = room.write("target", "mine");
    std::os::unix::fs::symlink(&target, back.join("plain")).expect("a link to a file");
    let ran = room.run(
        "export",
        &["--tree", back.to_str().expect("a plain path"), "--force"],
    );
    let ran = ran.ends_with(1);
    assert!(ran.err.contains("link"), "{}", ran.err);
    assert_eq!(fs::read_dir(&outside).expect("the directory").count(), 0);
    assert_eq!(
        fs::read(&target).expect("the file"),
        b"mine",
        "the link is replaced, not followed"
    );
    assert_eq!(fs::read(back.join("plain")).expect("the file"), b"2");
}
