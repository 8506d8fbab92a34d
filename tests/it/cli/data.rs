//! Keys in and out, one at a time and listed: `put`, `get`, `del`, `list`, `keyspaces`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{FRUIT, Room, binary, peercask_fed};

#[test]
fn put_get_and_del_handle_text_hexadecimal_and_files() {
    let room = Room::new();
    let put = room.run("put", &["greeting", "hello"]).ends_with(0);
    assert_eq!(put.text(), "", "a successful put is silent");
    let got = room.run("get", &["greeting"]).ends_with(0);
    assert_eq!(got.out, b"hello", "the value's bytes and nothing else");

    let put = room
        .run("put", &["--json", "--hex", "00ff", "fffe"])
        .ends_with(0)
        .json();
    assert_eq!(
        (&put["key"], &put["value_bytes"]),
        (&json!({"hex": "00ff"}), &json!(2))
    );
    assert_eq!(
        room.run("get", &["--hex", "00FF"]).ends_with(0).text(),
        "fffe\n"
    );
    let got = room
        .run("get", &["--json", "--hex", "00ff"])
        .ends_with(0)
        .json();
    assert_eq!(
        (&got["value"], &got["expires_at_ms"]),
        (&json!({"hex": "fffe"}), &Value::Null)
    );

    let file = room.write("value", [7, 0, 255]);
    let file = file.to_str().expect("a plain path");
    room.run(
        "put",
        &["file", "--value-file", file, "--durability", "kernel"],
    )
    .ends_with(0);
    room.run(
        "put",
        &["at", &format!("@{file}"), "--durability", "buffered"],
    )
    .ends_with(0);
    peercask_fed(room.line("put", &["stdin", "@-"]), &[7, 0, 255]).ends_with(0);
    for key in ["file", "at", "stdin"] {
        assert_eq!(
            room.run("get", &[key]).ends_with(0).out,
            [7, 0, 255],
            "{key}"
        );
    }
    room.run("put", &["@@home", "@@text"]).ends_with(0);
    assert_eq!(room.run("get", &["@@home"]).ends_with(0).out, b"@text");

    let deleted = room.run("del", &["--json", "greeting"]).ends_with(0).json();
    assert_eq!(
        deleted,
        json!({"keyspace": "default", "key": "greeting", "deleted": true})
    );
    room.run("get", &["greeting"])
        .fails_with(1, "no key `greeting` in keyspace `default`");
    room.run("del", &["greeting"])
        .fails_with(1, "no key `greeting`");
}

#[test]
fn put_takes_a_lifetime_an_index_and_a_keyspace() {
    let room = Room::new();
    room.run("put", &["k", "v", "--ttl", "1h30m"]).ends_with(0);
    let got = room.run("get", &["k", "--json"]).ends_with(0).json();
    assert!(got["expires_at_ms"].as_u64() > Some(5_400_000), "{got}");
    room.run("put", &["k", "v", "--ttl", "never"]).ends_with(0);
    assert_eq!(
        room.run("get", &["k", "--json"]).ends_with(0).json()["expires_at_ms"],
        Value::Null
    );
    room.run("put", &["k", "v", "--ttl", "10"])
        .fails_with(2, "units");
    room.run("put", &["k", "v", "--durability", "soft"])
        .fails_with(2, "possible values");

    room.run("put", &["k", "v", "--keyspace", "seen", "--index", "hash"])
        .ends_with(0);
    room.run("put", &["k", "v2", "--keyspace", "seen"])
        .ends_with(0);
    room.run(
        "put",
        &["k", "v", "--keyspace", "seen", "--index", "ordered"],
    )
    .fails_with(2, "`hash`");
    assert_eq!(
        room.run("get", &["k", "--keyspace", "seen"])
            .ends_with(0)
            .out,
        b"v2"
    );
}

#[test]
fn list_prints_keys_in_order_and_by_range() {
    let room = Room::with_records(&FRUIT);
    let list = |args: &[&str]| -> Vec<String> {
        let ran = room.run("list", args).ends_with(0);
        ran.lines().into_iter().map(str::to_owned).collect()
    };
    assert_eq!(list(&[]), ["apple", "banana", "bilberry", "cherry"]);
    assert_eq!(list(&["--prefix", "b"]), ["banana", "bilberry"]);
    assert_eq!(
        list(&["--from", "banana", "--to", "cherry"]),
        ["banana", "bilberry"]
    );
    assert_eq!(list(&["--from", "z", "--to", "a"]), [""; 0]);
    assert_eq!(list(&["--reverse", "--limit", "2"]), ["cherry", "bilberry"]);
    assert_eq!(
        list(&["--prefix", "b", "--reverse", "--limit", "1"]),
        ["bilberry"]
    );
    assert_eq!(list(&["--values", "--limit", "1"]), ["apple\tred"]);
    assert_eq!(list(&["--hex", "--limit", "1"]), ["6170706c65"]);
    let listed = room
        .run("list", &["--json", "--values", "--prefix", "c"])
        .ends_with(0)
        .json();
    assert_eq!(
        (&listed["key"], &listed["value"]),
        (&json!("cherry"), &json!("dark"))
    );
    room.run("list", &["--prefix", "b", "--from", "a"])
        .fails_with(2, "cannot be used with");

    room.run("put", &["--hex", "0a5cff", "00"]).ends_with(0);
    assert_eq!(
        list(&["--limit", "1"]),
        ["\\n\\\\\\xff"],
        "one key is one line"
    );

    room.run(
        "put",
        &["k", "v", "--keyspace", "hashed", "--index", "hash"],
    )
    .ends_with(0);
    assert_eq!(list(&["--keyspace", "hashed"]), ["k"]);
    room.run("list", &["--keyspace", "hashed", "--prefix", "k"])
        .fails_with(2, "hash index");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // `peercask list ... | head -1`, with more keys than a pipe holds.
    let room = Room::new();
    let lines: String = (0..20_000)
        .map(|number| format!("{{\"key\":\"key {number:050}\",\"value\":\"\"}}\n"))
        .collect();
    peercask_fed(room.line("import", &["-"]), lines.as_bytes()).ends_with(0);
    let mut child = Command::new(binary())
        .args(room.line("list", &[]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output is piped"));
    out.read_line(&mut first).expect("a first line");
    assert!(first.starts_with("key 0"), "{first}");
    drop(out);
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
