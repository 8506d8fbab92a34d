//! Kills: a replace cut at every byte of the log is old or new, and after kill -9 of a writer or of
//! the service everything acknowledged is there, in the same order.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use peercask_peerstore::gnunet::{
    Acknowledge, ClientOptions, Connection, Filter, Options, Peerstore, Query, Record, Service,
    ServiceOptions, Stored,
};

use crate::common::seeds;
use crate::support::{Multiple, PATIENCE, Replace, all, peer, record, values};

const DIR: &str = "PEERCASK_TEST_PEERSTORE_DIR";
const ROLE: &str = "PEERCASK_TEST_PEERSTORE_ROLE";

fn quiet() -> Options {
    let store = peercask::Options::default()
        .background(false)
        .sync_interval(None)
        .reserve_bytes(0)
        .segment_bytes(1 << 20);
    Options::native().background(false).store(store)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// The one file that differs between two copies, and from where to where.
fn difference(before: &Path, after: &Path) -> (PathBuf, usize, usize) {
    let mut found = None;
    for entry in fs::read_dir(after).expect("listed") {
        let name = entry.expect("listed").file_name();
        let new = fs::read(after.join(&name)).expect("read");
        let mut old = fs::read(before.join(&name)).unwrap_or_default();
        old.resize(new.len(), 0);
        let differs = |at: &usize| old[*at] != new[*at];
        if let Some(from) = (0..new.len()).find(differs) {
            let to = (0..new.len())
                .rev()
                .find(differs)
                .map_or(from, |last| last + 1);
            assert!(found.is_none(), "one file at a time: {found:?}");
            found = Some((PathBuf::from(name), from, to));
        }
    }
    found.expect("something was written")
}

/// What stands under the triple after each change of a little story.
fn story() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("one", vec!["one"]),
        ("two", vec!["one", "two"]),
        ("three", vec!["one", "two", "three"]),
        ("REPLACE", vec!["REPLACE"]),
        ("REPLACE AGAIN, LONGER", vec!["REPLACE AGAIN, LONGER"]),
        ("four", vec!["REPLACE AGAIN, LONGER", "four"]),
        ("LAST", vec!["LAST"]),
    ]
}

/// The story is told, and the log cut at every byte of each change, short and zero-filled: what
/// opens is the state before or the state after, never neither, never both.
#[test]
fn cut_at_any_byte_a_replace_is_old_or_new() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (live, before, after) = (
        root.path().join("live"),
        root.path().join("before"),
        root.path().join("after"),
    );
    let peers = Peerstore::open(&live, quiet()).expect("opened");
    peers
        .store(&record("s", 2, "k", "neighbour"), Multiple)
        .expect("stored");
    let mut old: Vec<&str> = Vec::new();
    let mut cuts = 0;
    for (value, new) in story() {
        let _ = fs::remove_dir_all(&before);
        copy(&live, &before);
        let option = if value.contains(char::is_uppercase) {
            Replace
        } else {
            Multiple
        };
        peers
            .store(&record("s", 1, "k", value), option)
            .expect("stored");
        let _ = fs::remove_dir_all(&after);
        copy(&live, &after);
        let (file, from, to) = difference(&before, &after);
        for cut in from..=to {
            for zeroed in [false, true] {
                let dir = root.path().join("cut");
                let _ = fs::remove_dir_all(&dir);
                copy(&after, &dir);
                let mut bytes = fs::read(dir.join(&file)).expect("read");
                let len = bytes.len();
                bytes.truncate(cut);
                if zeroed {
                    bytes.resize(len, 0);
                }
                fs::write(dir.join(&file), bytes).expect("written");
                let reopened = Peerstore::open(&dir, quiet()).expect("open always succeeds");
                let connection = reopened.connect();
                let found = values(&connection, record("s", 1, "k", "").triple());
                let expected = if cut == to { &new } else { &old };
                assert!(
                    found == *expected || found == new,
                    "{value} cut at {cut}: {found:?}"
                );
                assert_eq!(values(&connection, all("s").peer(peer(2))), ["neighbour"]);
                cuts += 1;
            }
        }
        old = new;
    }
    assert!(cuts > 500, "{cuts} cuts");
}

// ---- children

fn child(role: &str, dir: &Path) -> Child {
    let exe = std::env::current_exe().expect("this test is a file");
    let mut command = Command::new(exe);
    command
        .args([
            "crash::helper_of_a_child",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, dir)
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.spawn().expect("a child starts")
}

/// Not a test of its own: what the children do.
#[test]
fn helper_of_a_child() {
    let (Ok(role), Some(dir)) = (std::env::var(ROLE), std::env::var_os(DIR)) else {
        return;
    };
    let dir = PathBuf::from(dir);
    match role.as_str() {
        "writer" => {
            let peers = Peerstore::open(dir.join("store"), quiet()).expect("opened");
            write_for_ever(&peers.connect());
        }
        "service" => {
            let peers = Peerstore::open(dir.join("store"), quiet()).expect("opened");
            let options = ServiceOptions::default();
            let _service = Service::start(&peers, dir.join("socket"), options).expect("serves");
            say("ready");
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
        }
        "client" => {
            let socket = dir.join("socket");
            let client = Connection::to_service(socket, ClientOptions::default());
            write_for_ever(&client.expect("good options"));
        }
        other => panic!("unknown role {other}"),
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout(), "\n{line}").expect("the parent listens");
}

/// Three MULTIPLE and one REPLACE in turns over a few triples; a line for each that is done.
fn write_for_ever(connection: &Connection) {
    let start = values(connection, all("s")).len();
    for number in start.. {
        let who = u8::try_from(number % 5).expect("small");
        let value = format!("{}-{number}", std::process::id());
        let option = if number % 4 == 3 { Replace } else { Multiple };
        let stored = record("s", who, "k", &value);
        let seq = connection
            .store(&stored, option, Acknowledge::Kernel)
            .expect("stored");
        say(&format!(
            "done {seq} {who} {} {value}",
            u8::from(option == Replace)
        ));
    }
}

/// One acknowledged store, as a child told it.
struct Done {
    seq: u64,
    record: Record,
    replaces: bool,
}

/// Reads until `count` stores are told, kills the child, and reads what it had still said.
fn kill_after(mut child: Child, count: usize) -> Vec<Done> {
    let output = child.stdout.take().expect("piped");
    let mut done = Vec::new();
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split(' ').collect();
        if let ["done", seq, who, replaces, value] = words[..] {
            done.push(Done {
                seq: seq.parse().expect("a number"),
                record: record("s", who.parse().expect("a number"), "k", value),
                replaces: replaces == "1",
            });
        }
        if done.len() == count {
            child.kill().expect("killed");
        }
    }
    child.wait().expect("gone");
    done
}

/// What must be there: all that was told, in its order; one store more may be there, whole. True
/// if it is.
fn check(found: &[Stored], expected: &mut Vec<Stored>, done: Vec<Done>) -> bool {
    for Done {
        seq,
        record,
        replaces,
    } in done
    {
        assert!(
            expected.iter().all(|stored| stored.seq < seq),
            "a number was given twice"
        );
        if replaces {
            expected.retain(|stored| stored.record.peer != record.peer);
        }
        expected.push(Stored { seq, record });
    }
    if found == *expected {
        return false;
    }
    let unanswered = found.last().expect("more than nothing").clone();
    let mut with_it = expected.clone();
    with_it.push(unanswered.clone());
    if found != with_it {
        with_it
            .retain(|stored| stored.record.peer != unanswered.record.peer || *stored == unanswered);
    }
    assert_eq!(found, with_it, "at most one store more, and that one whole");
    *expected = with_it;
    true
}

fn everything(connection: &Connection) -> Vec<Stored> {
    let walk = connection
        .iterate(Query::new(Filter::subsystem("s")))
        .expect("a walk");
    walk.map(|stored| stored.expect("readable")).collect()
}

#[test]
fn after_kill_9_of_a_writer_everything_acknowledged_is_there_in_its_order() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut expected = Vec::new();
    for round in seeds(4) {
        let count = 7 + usize::try_from(round).expect("small") * 31 % 90;
        let done = kill_after(child("writer", root.path()), count);
        assert!(done.len() >= count);
        let peers = Peerstore::open(root.path().join("store"), quiet()).expect("opened");
        check(&everything(&peers.connect()), &mut expected, done);
        assert!(peers.engine().recovery().damage.is_empty());
        peers.close().expect("closed");
    }
}

/// A client of another process dies in the middle; then the service does; a client that was there
/// all the time goes on by itself.
#[test]
fn after_kill_9_of_a_client_or_of_the_service_everything_acknowledged_is_there() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let started = |mut service: Child| {
        let output = service.stdout.take().expect("piped");
        let mut lines = BufReader::new(output).lines();
        let ready = |line: std::io::Result<String>| line.is_ok_and(|line| line == "ready");
        assert!(lines.any(ready), "the service starts");
        service
    };
    let mut service = started(child("service", root.path()));
    let options = ClientOptions::default().patience(PATIENCE);
    let connection = Connection::to_service(root.path().join("socket"), options).expect("good");
    let mut expected = Vec::new();
    for round in 0..3 {
        let done = kill_after(child("client", root.path()), 20 + round * 13);
        let one_more = check(&everything(&connection), &mut expected, done);
        let ours = record("t", 1, "k", &round.to_string());
        connection
            .store(&ours, Replace, Acknowledge::Kernel)
            .expect("stored");
        service.kill().expect("killed");
        service.wait().expect("gone");
        service = started(child("service", root.path()));
        // The connection has healed. What the dead client had sent last may have reached the service
        // after the look before.
        let late = check(&everything(&connection), &mut expected, Vec::new());
        assert!(!(one_more && late), "a client has one store on its way");
        assert_eq!(values(&connection, all("t")), [round.to_string()]);
    }
    service.kill().expect("killed");
    service.wait().expect("gone");
}
