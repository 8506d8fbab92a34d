//! `peercask peers` from its words to what it prints, in this process: the integration tests run the command as
//! it is built by default, without this feature. Also that docs/cli.md tells of it what is so.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use clap::{CommandFactory as _, Parser as _};
use libp2p_core::PeerRecord;
use libp2p_identity::Keypair;
use peercask_peerstore::libp2p::{Options, Peer, Peerstore, PrivateKeys, Source, Ttl};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `peers` with these words: how it ended, and what it printed.
fn run(words: &[&str]) -> (Result<Exit, Failure>, String) {
    let words = ["peercask", "peers"].iter().chain(words);
    let args = match Arguments::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return (Err(Failure::usage(error.to_string())), String::new()),
    };
    let Command::Peers(peers) = args.command else {
        panic!("another command")
    };
    let page = Page::default();
    let mut output = Output::to_writer(args.json, page.clone());
    let ended = super::run(&peers, &mut output);
    output.flush().expect("a page takes everything");
    drop(output);
    let printed = String::from_utf8(page.0.borrow().clone()).expect("text");
    (ended, printed)
}

#[track_caller]
fn done(words: &[&str]) -> String {
    let (ended, printed) = run(words);
    assert_eq!(ended.expect("it ends well"), Exit::Done, "{words:?}");
    printed
}

#[track_caller]
fn fails(words: &[&str], exit: Exit, part: &str) {
    let failure = run(words).0.expect_err("it fails");
    let message = failure.message.unwrap_or_default();
    assert_eq!(failure.exit, exit, "{words:?}: {message}");
    assert!(message.contains(part), "`{part}` is not in: {message}");
}

struct Room(TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).expect("a small file");
        self.text(name)
    }

    /// A store with three peers, the first with something in every book; its name.
    fn store(&self, name: &str) -> String {
        let options = options().private_keys(PrivateKeys::Plain);
        let peers = Peerstore::open(self.path(name), options).expect("opened");
        fill(&peers);
        peers.close().expect("closed");
        self.text(name)
    }
}

fn options() -> Options {
    Options::default().background(false)
}

fn key(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).expect("32 bytes are a key")
}

fn peer(number: u8) -> Peer {
    Peer::from(key(number).public().to_peer_id())
}

fn addr(number: u8) -> libp2p_core::Multiaddr {
    let text = format!("/ip4/192.0.2.{number}/tcp/4001");
    text.parse().expect("an address")
}

fn fill(peers: &Peerstore) {
    let record = PeerRecord::new_interop(&key(1), vec![addr(1)]).expect("signed");
    let envelope = record.to_signed_envelope().into_protobuf_encoding();
    peers
        .consume_record(&envelope, Ttl::ADDRESS)
        .expect("holds");
    peers
        .update(peer(1), |peer| {
            peer.add_addrs_from(&[addr(2)], Ttl::PERMANENT, Source::Mdns);
            peer.set_protocols(&["/ipfs/kad/1.0.0", "/evil/\u{1b}[31m"])?;
            peer.put_metadata("AgentVersion", "test/1\n2")?;
            peer.set_tag("keep-alive", 7, Ttl::PERMANENT)?;
            let private = key(1).to_protobuf_encoding().expect("encoded");
            peer.add_private_key(&private)
        })
        .expect("filled");
    peers
        .add_addrs(peer(2), &[addr(3)], Ttl::ADDRESS)
        .expect("added");
    peers
        .set_protocols(Peer::EMPTY, &["/only/a/protocol"])
        .expect("set");
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect()
}

#[test]
fn list_chooses_orders_and_pages_and_prints_nothing_that_harms_a_terminal() {
    let room = Room::new();
    let store = room.store("store");
    let all = done(&["list", &store, "--order", "id"]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 3);
    let first = lines
        .iter()
        .find(|line| line.starts_with(&peer(1).to_string()));
    let cells: Vec<&str> = first.expect("listed").split('\t').collect();
    assert_eq!(cells[2..], ["2 addresses", "2 protocols", "never reached"]);
    assert!(!all.contains('\u{1b}'));
    let reachable = done(&["list", &store, "--reachable"]);
    assert_eq!(reachable.lines().count(), 2);
    let spoken = done(&["list", &store, "--protocol", "/ipfs/kad/1.0.0", "--json"]);
    let spoken = json_lines(&spoken);
    assert_eq!(spoken.len(), 1);
    assert_eq!(spoken[0]["id"], peer(1).to_string());
    assert_eq!(
        done(&["list", &store, "--tag", "keep-alive"])
            .lines()
            .count(),
        1
    );
    assert_eq!(done(&["list", &store, "--tag", "other"]), "");
    let page = done(&[
        "list", &store, "--order", "id", "--offset", "1", "--limit", "1",
    ]);
    assert_eq!(page.lines().collect::<Vec<_>>(), lines[1..2]);
    fails(
        &["list", &store, "--order", "beauty"],
        Exit::Usage,
        "beauty",
    );
}

#[test]
fn show_prints_one_peer_by_any_of_its_names() {
    let room = Room::new();
    let store = room.store("store");
    let name = peer(1).to_string();
    let shown = done(&["show", &store, &name]);
    for part in [
        "address       /ip4/192.0.2.2/tcp/4001, permanent, from mdns",
        "/ip4/192.0.2.1/tcp/4001, for ",
        "signed\n",
        "protocol      /evil/\\u{1b}[31m\n",
        "metadata      AgentVersion = test/1\\n2\n",
        "tag           keep-alive = 7, for ever\n",
        "private key   stored\n",
    ] {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
    let digits: String = peer(1)
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(done(&["show", &store, &format!("0x{digits}")]), shown);
    assert!(done(&["show", &store, "0x"]).contains("/only/a/protocol"));
    let json = done(&["show", &store, &name, "--json"]);
    let json = json_lines(&json).remove(0);
    assert_eq!(json["addresses"].as_array().map(Vec::len), Some(2));
    assert_eq!(json.get("private_key"), None);
    fails(
        &["show", &store, &peer(9).to_string()],
        Exit::NotFoundOrWrong,
        "nothing is known",
    );
    fails(&["show", &store, "no peer!"], Exit::Usage, "no peer id");
}

/// Peers come in no order that is promised, the head first.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1..].sort_unstable();
    lines
}

#[test]
fn what_is_exported_can_be_imported_and_is_the_same() {
    let room = Room::new();
    let store = room.store("store");
    let lines = done(&["export", &store]);
    assert_eq!(lines.lines().count(), 4, "a head and three peers");
    assert!(!lines.contains("private_key"));
    let file = room.write("peers.jsonl", &lines);
    let copy = room.text("copy");
    let told = done(&["import", &copy, &file]);
    assert!(
        told.starts_with("imported 3 peers: addresses 3, 1 signed record, 0 keys, in "),
        "{told}"
    );
    let times = ["created_ms", "updated_ms"];
    let plain = |text: &str| {
        let mut peers = json_lines(text);
        peers.iter_mut().for_each(|peer| {
            let object = peer.as_object_mut().expect("an object");
            times.iter().for_each(|time| drop(object.remove(*time)));
        });
        peers
    };
    let all = ["--order", "id", "--json"];
    let list = |store: &str| plain(&done(&[&["list", store][..], &all].concat()));
    assert_eq!(list(&copy), list(&store));
    // Again it changes nothing; in the place of what was there too.
    let again = done(&["import", &copy, &file, "--replace", "--json"]);
    assert_eq!(json_lines(&again)[0]["peers"], 3);
    assert_eq!(list(&copy), list(&store));

    let target = room.text("out.jsonl");
    let told = done(&["export", &store, "--output", &target]);
    assert_eq!(told, "exported 3 peers\n");
    let written = std::fs::read_to_string(&target).expect("written");
    assert_eq!(sorted(&written), sorted(&lines));
    fails(
        &["export", &store, "--output", &target],
        Exit::Usage,
        "--force",
    );
    done(&["export", &store, "--output", &target, "--force"]);

    let addresses = done(&["export", &store, "--format", "addrs"]);
    assert_eq!(addresses.lines().count(), 3);
    let file = room.write("addrs.txt", &format!("{addresses}no address\n"));
    let told = done(&[
        "import",
        &room.text("plain"),
        &file,
        "--from",
        "addrs",
        "--ttl",
        "never",
        "--json",
    ]);
    let told = &json_lines(&told)[0];
    assert_eq!(
        (&told["peers"], &told["addresses"], &told["skipped"]),
        (&2.into(), &3.into(), &1.into())
    );
    assert!(
        done(&["show", &room.text("plain"), &peer(2).to_string()])
            .contains("permanent, from import")
    );
}

#[test]
fn private_keys_go_out_and_come_in_only_if_that_is_said() {
    let room = Room::new();
    let store = room.store("store");
    let lines = done(&["export", &store, "--private-keys"]);
    let file = room.write("peers.jsonl", &lines);
    let has = |store: &str| done(&["show", store, &peer(1).to_string()]).contains("private key");
    for (name, more, keeps) in [
        ("without", &[][..], false),
        ("plain", &["--plain-private-keys"][..], true),
        (
            "sealed",
            &["--secret-file", &room.write("secret", &"07".repeat(32))][..],
            true,
        ),
    ] {
        let copy = room.text(name);
        done(&[&["import", &copy, &file][..], more].concat());
        assert_eq!(has(&copy), keeps, "{name}");
    }
    // A sealed one needs its secret, and the right one.
    let sealed = room.text("sealed");
    fails(
        &["export", &sealed, "--private-keys"],
        Exit::Usage,
        "secret",
    );
    let wrong = room.write("wrong", &"08".repeat(32));
    fails(
        &["export", &sealed, "--private-keys", "--secret-file", &wrong],
        Exit::Usage,
        "secret",
    );
    let right = room.text("secret");
    let back = done(&["export", &sealed, "--private-keys", "--secret-file", &right]);
    let private = |text: &str| {
        let peers = json_lines(text);
        peers
            .iter()
            .find_map(|peer| peer.get("private_key").cloned())
    };
    assert!(private(&lines).is_some());
    assert_eq!(private(&back), private(&lines));
    let short = room.write("short", "0708");
    fails(
        &["export", &sealed, "--secret-file", &short],
        Exit::Usage,
        "32 bytes",
    );
}

#[test]
fn stores_of_others_come_in_as_keys_and_values() {
    let room = Room::new();
    // What go wrote of the peer `AB`: an address of an hour that is over, a permanent one, a connected one.
    let record = "0a02414212170a0804010203040600011090fecfaa061880c0e285e368121a0a0804010203040600021084dcd5d82818ffffffffffffffff7f121a0a0804010203040600031084dcd5d82818feffffffffffffff7f";
    let lines = [
        format!(r#"{{"key":"/peers/addrs/IFBA","value":{{"hex":"{record}"}}}}"#),
        r#"{"key":"/peers/metadata/IFBA/AgentVersion","value":{"hex":"15100006737472696e670c0a00086b75626f2f302e31"}}"#.to_owned(),
        String::new(),
        r#"{"key":"/other/thing","value":"1"}"#.to_owned(),
    ];
    let file = room.write("go.jsonl", &lines.join("\n"));
    let store = room.text("go");
    let told = done(&["import", &store, &file, "--from", "go", "--json"]);
    let told = &json_lines(&told)[0];
    assert_eq!(
        (&told["peers"], &told["addresses"], &told["expired"]),
        (&1.into(), &2.into(), &1.into())
    );
    let shown = done(&["show", &store, "0x4142"]);
    assert!(
        shown.contains("AgentVersion = kubo/0.1") && shown.contains("permanent"),
        "{shown}"
    );
    // js and py from the same kind of lines, with what they do not say from the options.
    let mut value = vec![10, 8];
    value.extend(addr(1).to_vec());
    let digits = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let name = [b"addr:", peer(1).as_bytes()].concat();
    let line = format!(
        r#"{{"key":{{"hex":"{}"}},"value":{{"hex":"{}"}}}}"#,
        digits(&name),
        digits(&value)
    );
    let file = room.write("py.jsonl", &line);
    done(&[
        "import",
        &room.text("py"),
        &file,
        "--from",
        "py",
        "--ttl",
        "never",
    ]);
    assert!(done(&["show", &room.text("py"), &peer(1).to_string()]).contains("permanent"));
    done(&[
        "import",
        &room.text("js"),
        &file,
        "--from",
        "js",
        "--address-age",
        "2h",
    ]);
    assert_eq!(
        done(&["list", &room.text("js")]),
        "",
        "its keys are no js keys"
    );
}

#[test]
fn bad_input_is_a_clear_error_and_leaves_nothing_behind() {
    let room = Room::new();
    let new = room.text("new");
    let bad = room.write("bad", "no export\n");
    fails(&["import", &new, &room.text("none")], Exit::Io, "none");
    assert!(
        !std::path::Path::new(&new).exists(),
        "a source that is not there makes no store"
    );
    fails(&["import", &new, &bad], Exit::Usage, "no export");
    fails(
        &["import", &new, &bad, "--from", "go"],
        Exit::Usage,
        "line 1",
    );
    fails(
        &["import", &new, &bad, "--from", "go", "--replace"],
        Exit::Usage,
        "--replace",
    );
    fails(
        &["import", &new, &bad, "--ttl", "10"],
        Exit::Usage,
        "lifetime",
    );
    let newer = room.write(
        "newer",
        "{\"format\":\"peercask-libp2p-peers\",\"version\":2}\n",
    );
    fails(&["import", &new, &newer], Exit::Format, "version");
    fails(&["import", &new, &room.text(".")], Exit::Usage, "directory");
    fails(
        &["list", &room.text("nowhere")],
        Exit::NotFoundOrWrong,
        "no peers",
    );
    assert!(!room.path("nowhere").exists(), "looking makes nothing");
    // A store of something else.
    let other =
        peercask::Store::open(room.path("other"), peercask::Options::default()).expect("opened");
    other.close().expect("closed");
    fails(
        &["list", &room.text("other")],
        Exit::NotFoundOrWrong,
        "no peers",
    );
    #[cfg(not(feature = "leveldb"))]
    fails(
        &["import", &new, &room.text("."), "--from", "go"],
        Exit::Usage,
        "leveldb",
    );
    #[cfg(not(feature = "sqlite"))]
    {
        let database = room.write("py.db", "SQLite format 3\0...");
        fails(
            &["import", &new, &database, "--from", "py"],
            Exit::Usage,
            "sqlite",
        );
    }
}

#[test]
fn beside_a_node_it_reads_and_does_not_write() {
    let room = Room::new();
    let store = room.store("store");
    let node = Peerstore::open(&store, options()).expect("opened");
    assert_eq!(done(&["list", &store]).lines().count(), 3);
    node.add_addrs(peer(3), &[addr(9)], Ttl::ADDRESS)
        .expect("added");
    assert_eq!(
        done(&["list", &store]).lines().count(),
        4,
        "what the node wrote is seen"
    );
    let stats = done(&["stats", &store, "--json"]);
    let stats = &json_lines(&stats)[0];
    assert_eq!(
        (&stats["peers"], &stats["peers_reachable"]),
        (&4.into(), &3.into())
    );
    assert!(done(&["stats", &store]).contains("with a live address"));
    done(&["export", &store]);
    let file = room.write("addrs", "");
    fails(
        &["import", &store, &file, "--from", "addrs"],
        Exit::Locked,
        "",
    );
    node.close().expect("closed");
}

#[test]
fn damage_is_told_and_the_rest_is_listed() {
    let room = Room::new();
    let store = room.store("store");
    let engine = peercask::Store::open(&store, peercask::Options::default()).expect("opened");
    let addresses = engine.existing_keyspace("libp2p-addresses").expect("there");
    addresses.put(peer(2).as_bytes(), [1, 255, 7]).expect("put");
    engine.close().expect("closed");
    let (ended, printed) = run(&["list", &store]);
    assert_eq!(
        (ended.expect("it ends"), printed.lines().count()),
        (Exit::Corrupted, 2)
    );
    let (ended, printed) = run(&["export", &store]);
    assert_eq!(
        (ended.expect("it ends"), printed.lines().count()),
        (Exit::Corrupted, 3)
    );
}

/// What a line says whenever it is printed: how long ago or how long something was, and bytes, are left out.
fn lasting(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is = |at: usize, any: &[&str]| words.get(at).is_some_and(|word| any.contains(word));
    let unit = |at: usize| is(at, &["ago", "B", "KiB", "us", "ms", "s"]);
    let varies = |at: usize| unit(at) || unit(at + 1) || is(at + 2, &["ago"]);
    let kept = (0..words.len()).filter(|at| !varies(*at));
    kept.map(|at| words[at]).collect::<Vec<_>>().join(" ")
}

/// The session on the page is run: what it shows is what is printed, but for moments and sizes of files.
#[test]
fn the_page_shows_what_a_run_prints() {
    let (room, section) = (Room::new(), section());
    let session = section.split("```console\n").nth(1).expect("a session");
    let session = session.split("```").next().expect("it ends");
    let mut commands = 0;
    for part in session.split("$ ").skip(1) {
        let (command, shown) = part.split_once('\n').expect("a line");
        let words: Vec<&str> = command.split(' ').collect();
        let files = ["node-peers", "copy", "bootstrap.txt", "peers.jsonl"];
        if let ["cat", file] = words[..] {
            room.write(file, shown);
            continue;
        }
        assert_eq!(words[..2], ["peercask", "peers"], "{command}");
        let words: Vec<String> = words[2..]
            .iter()
            .map(|word| match files.contains(word) {
                true => room.text(word),
                false => (*word).to_owned(),
            })
            .collect();
        let printed = done(&words.iter().map(String::as_str).collect::<Vec<_>>());
        // An export is in no order.
        let of = |text: &str| text.lines().map(lasting).collect::<BTreeSet<_>>();
        let printed = printed.replace(&format!("{}/", room.0.path().display()), "");
        assert_eq!(of(&printed), of(shown), "{command}");
        commands += 1;
    }
    assert!(commands >= 6, "{commands} commands");
}

/// The section of docs/cli.md about this command.
fn section() -> &'static str {
    let page = include_str!("../../../../docs/cli.md");
    let title = "\n## Peers of a libp2p node: `peers`";
    let section = page.split(title).nth(1).expect("its section");
    section.split("\n## ").next().expect("ends")
}

/// The section of docs/cli.md and the command name the same commands and options.
#[test]
fn the_page_tells_what_the_command_takes() {
    let section = section();
    let words = section.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let told: BTreeSet<String> = words
        .filter(|word| word.len() > 3 && word.starts_with("--"))
        .map(|word| word.trim_start_matches('-').to_owned())
        .filter(|word| !["path", "features", "json", "full"].contains(&word.as_str()))
        .collect();
    let command = Arguments::command();
    let peers = command.find_subcommand("peers").expect("it is built in");
    let mut known = BTreeSet::new();
    for below in peers.get_subcommands() {
        let line = format!("`{} DIR", below.get_name());
        assert!(section.contains(&line), "{line} is not on the page");
        known.extend(
            below
                .get_arguments()
                .filter_map(|arg| arg.get_long().map(str::to_owned)),
        );
    }
    assert_eq!(told, known);
}
