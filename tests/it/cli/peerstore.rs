//! `peercask peerstore`: the service, its tools from other processes, and the same tools on a
//! directory. Unix only, as the command.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Ran, Room, binary, peercask, peercask_fed};

const PEER: &str = "0000000000000000000000000000000000000000000000000000000000000007";
/// The same in GNUnet's own writing: 256 bits, five a character.
const PEER_52: &str = "000000000000000000000000000000000000000000000000003G";

/// A child whose lines are read; killed at the end, whatever happens.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut child = Command::new(binary())
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let output = child.stdout.take().expect("its output is piped");
        Running {
            child,
            lines: BufReader::new(output).lines(),
        }
    }

    fn line(&mut self) -> String {
        let line = self.lines.next().expect("one more line");
        line.expect("the output is text")
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("every line is JSON")
    }

    /// Asks it to end, and waits: its exit code.
    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        assert!(asked.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Over already in a test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(room: &Room, name: &str) -> String {
    room.path(name).display().to_string()
}

fn serve(room: &Room, more: &[&str]) -> Running {
    let (store, socket) = (text(room, "peers"), text(room, "socket"));
    let start = ["peerstore", "serve", &store, "--socket", &socket, "--json"];
    let mut running = Running::start(&[&start[..], more].concat());
    assert_eq!(running.json()["serving"], json!(socket));
    running
}

/// `peercask peerstore COMMAND --socket SOCKET ARGS...`
fn at_service(room: &Room, command: &str, args: &[&str]) -> Ran {
    let socket = text(room, "socket");
    let start = ["peerstore", command, "--socket", &socket];
    peercask([&start[..], args].concat())
}

/// `peercask peerstore COMMAND --dir DIR ARGS...`
fn in_directory(room: &Room, command: &str, args: &[&str]) -> Ran {
    let dir = text(room, "peers");
    let start = ["peerstore", command, "--dir", &dir];
    peercask([&start[..], args].concat())
}

/// The README's quick start: a service, a watch in one terminal, a store in another.
#[test]
fn a_watch_in_one_terminal_hears_of_a_store_in_another() {
    let room = Room::new();
    let service = serve(&room, &[]);
    let socket = text(&room, "socket");
    let triple = ["fs", PEER, "respect"];
    let watch = [
        "peerstore",
        "watch",
        "--json",
        "--count",
        "2",
        "--socket",
        &socket,
    ];
    let mut watch = Running::start(&[&watch[..], &triple].concat());
    assert_eq!(watch.json()["event"], "synced");
    at_service(
        &room,
        "store",
        &[&triple[..], &["17", "--replace"]].concat(),
    )
    .ends_with(0);
    let heard = watch.json();
    assert_eq!(
        (&heard["event"], &heard["value"]),
        (&json!("stored"), &json!("17"))
    );
    assert_eq!(
        (&heard["peer"], &heard["replaces"]),
        (&json!(PEER_52), &json!(false))
    );
    at_service(
        &room,
        "store",
        &["fs", PEER_52, "respect", "18", "--replace"],
    )
    .ends_with(0);
    let heard = watch.json();
    assert_eq!(
        (&heard["value"], &heard["replaces"]),
        (&json!("18"), &json!(true))
    );
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    assert_eq!(service.end(), Some(0));
    assert!(!room.path("socket").exists());
    // What the service stored is in the directory.
    let left = in_directory(&room, "iterate", &["fs", "--json"])
        .ends_with(0)
        .json();
    assert_eq!(left["value"], "18");
}

#[test]
fn records_are_stored_listed_counted_and_removed_through_a_service_and_in_a_directory() {
    for served in [true, false] {
        let room = Room::new();
        let service = served.then(|| serve(&room, &["--quota", "small=2"]));
        let run = |command: &str, args: &[&str]| match served {
            true => at_service(&room, command, args),
            false => in_directory(&room, command, args),
        };
        for (peer, key, value) in [("2", "b", "one"), ("1", "b", "two"), ("2", "a", "three")] {
            let peer = peer.repeat(64);
            run("store", &["s", &peer, key, value]).ends_with(0);
        }
        run(
            "store",
            &["s", PEER, "--hex", "00ff", "c3", "--expires-at-us", "5"],
        )
        .ends_with(0);
        let values = |args: &[&str]| -> Vec<String> {
            let listed = run("iterate", &[&["s"], args].concat()).ends_with(0);
            let column = |line: &str| line.split('\t').nth(3).expect("a value").to_owned();
            listed.lines().into_iter().map(column).collect()
        };
        assert_eq!(values(&[]), ["one", "two", "three"], "expired is hidden");
        assert_eq!(values(&["--order", "peer"]), ["two", "three", "one"]);
        assert_eq!(values(&["--key", "b", "--limit", "1"]), ["one"]);
        assert_eq!(values(&["--peer", &"1".repeat(64)]), ["two"]);
        let first = run("iterate", &["s", "--json", "--limit", "1"])
            .ends_with(0)
            .json();
        let seq = first["seq"].to_string();
        assert_eq!(values(&["--after", &seq]), ["two", "three"]);
        let stats = run("stats", &["--json"]).ends_with(0).json();
        assert_eq!(stats["subsystems"][0]["subsystem"], "s");
        assert!(run("stats", &[]).ends_with(0).text().contains("subsystem"));
        run("expire", &["--json", "--before-us", "6"]).ends_with(0);
        assert_eq!(
            run("delete", &["s", "--key", "a", "--json"])
                .ends_with(0)
                .json()["records"],
            1
        );
        run("delete", &["s", "--key", "a"]).ends_with(1);
        assert_eq!(
            run("forget", &[&"2".repeat(64)]).ends_with(0).text(),
            "removed 1 record\n"
        );
        assert_eq!(values(&[]), ["two"]);
        if served {
            for _ in 0..2 {
                run("store", &["small", PEER, "k", "v"]).ends_with(0);
            }
            run("store", &["small", PEER, "k", "v"]).fails_with(7, "may keep 2 records");
            in_directory(&room, "stats", &[]).fails_with(3, "");
        }
        drop(service);
    }
}

#[test]
fn a_monitor_tells_what_is_there_what_is_new_and_what_goes() {
    let room = Room::new();
    let service = serve(&room, &[]);
    at_service(&room, "store", &["s", PEER, "k", "before"]).ends_with(0);
    let socket = text(&room, "socket");
    let start = [
        "peerstore",
        "monitor",
        "s",
        "--existing",
        "--removals",
        "--count",
        "3",
        "--socket",
    ];
    let mut monitor = Running::start(&[&start[..], &[&socket]].concat());
    let line = monitor.line();
    assert!(
        line.starts_with("stored\t") && line.contains("before"),
        "{line}"
    );
    assert!(monitor.line().starts_with("synced\t"));
    at_service(&room, "store", &["s", PEER, "k", "after"]).ends_with(0);
    let line = monitor.line();
    assert!(
        line.starts_with("stored\t") && line.contains("after"),
        "{line}"
    );
    let seq = line.split('\t').nth(1).expect("a number").to_owned();
    at_service(&room, "delete", &["s"]).ends_with(0);
    assert!(monitor.line().starts_with("deleted\t"));
    // Behind the last store there are two removals; the first of them comes first.
    let again = ["--removals", "--count", "2", "--after", &seq, "--json"];
    let heard = at_service(&room, "monitor", &[&["s"][..], &again].concat()).ends_with(0);
    let words: Vec<Value> = heard
        .json_lines()
        .into_iter()
        .map(|e| e["cause"].clone())
        .collect();
    assert_eq!(words, ["deleted", "deleted"]);
    assert_eq!(service.end(), Some(0));
}

#[test]
fn what_export_writes_import_reads_back() {
    let room = Room::new();
    in_directory(&room, "store", &["a", PEER, "--hex", "00", "ff"]).ends_with(0);
    in_directory(&room, "store", &["b", PEER, "k", "v", "--ttl", "1d"]).ends_with(0);
    let mut lines = in_directory(&room, "export", &[])
        .ends_with(0)
        .text()
        .to_owned();
    assert_eq!(lines.lines().count(), 2);
    // Many, so that an import has more on the way than its window.
    for at in 0..1_500 {
        let more = json!({"subsystem": "c", "peer": PEER, "key": format!("k{at}"), "value": "v"});
        lines.push_str(&format!("{more}\n"));
    }
    let copy = Room::new();
    let dir = text(&copy, "peers");
    let import = ["peerstore", "import", "--dir", &dir, "-", "--json"];
    let done = peercask_fed(import, lines.as_bytes()).ends_with(0).json();
    assert_eq!(done["records"], 1_502);
    let file = text(&copy, "all.jsonl");
    in_directory(&copy, "export", &["--output", &file]).ends_with(0);
    in_directory(&copy, "export", &["--output", &file]).fails_with(2, "--force");
    let only = in_directory(&copy, "export", &["--subsystem", "a"])
        .ends_with(0)
        .json();
    assert_eq!(
        (&only["key"], &only["value"]),
        (&json!("\u{0}"), &json!({"hex": "ff"}))
    );
    // Through a service, over what is there, replacing: nothing is doubled.
    let service = serve(&copy, &[]);
    at_service(&copy, "import", &[&file, "--replace"]).ends_with(0);
    let stats = at_service(&copy, "stats", &["--json"]).ends_with(0).json();
    assert_eq!(stats["records"], 1_502);
    drop(service);

    let bad = format!(
        "{}\n{{\"subsystem\": \"a\"}}\n",
        lines.lines().next().expect("a line")
    );
    peercask_fed(import, bad.as_bytes()).fails_with(2, "line 2");
    let skipping = [&import[..], &["--skip-bad"]].concat();
    let done = peercask_fed(skipping, bad.as_bytes()).ends_with(0).json();
    assert_eq!(
        (&done["records"], &done["skipped_bad"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn what_is_not_there_or_not_right_is_said_with_its_exit_code() {
    let room = Room::new();
    let nobody = ["--patience", "50ms"];
    at_service(&room, "stats", &nobody).fails_with(1, "peerstore serve");
    in_directory(&room, "iterate", &["s"]).fails_with(1, "no peerstore");
    assert!(!room.path("peers").exists());
    peercask(["peerstore", "stats"]).fails_with(2, "--socket");
    in_directory(&room, "store", &["s", "not a peer", "k", "v"]).fails_with(2, "base32");
    let bad = ["s", PEER, "k", "v", "--compatible", "--value-file", "x"];
    in_directory(&room, "store", &bad).fails_with(2, "--value-file");
    let file = room.write("file", "no database, no lines");
    let file = file.display().to_string();
    in_directory(&room, "import", &[&file]).fails_with(2, "line 1");
    let database = room.write("database", b"SQLite format 3\0 and nothing more");
    let database = database.display().to_string();
    in_directory(&room, "import", &[&database]).fails_with(2, "--features sqlite");
    let service = serve(&room, &["--compatible", "--socket-mode", "660"]);
    let long = "x".repeat(65_479);
    let long = room.write("long", long).display().to_string();
    at_service(&room, "store", &["s", PEER, "k", "--value-file", &long]).fails_with(2, "65479");
    let (store, socket) = (text(&room, "other"), text(&room, "socket"));
    peercask(["peerstore", "serve", &store, "--socket", &socket]).fails_with(3, "another service");
    assert_eq!(service.end(), Some(0));
}
