//! The `peercask` command from outside: each subcommand once as text and once as JSON, its exit codes,
//! and what it says to bad input. The promises are written in docs/cli.md.
//!
//! The command lives in another package, so its binary is built here, once, beside this test binary.

mod bench;
mod care;
mod copies;
mod crash;
mod data;
mod doctor;
mod exchange;
mod explore;
mod page;
mod peerstore;
mod refusals;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

/// What one run of the command did.
struct Ran {
    code: Option<i32>,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("the output is text")
    }

    fn lines(&self) -> Vec<&str> {
        self.text().lines().collect()
    }

    fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).expect("every line is JSON");
        self.text().lines().map(parse).collect()
    }

    fn json(&self) -> Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "one JSON value: {}", self.text());
        lines.remove(0)
    }

    #[track_caller]
    fn ends_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}{}", self.err, self.text());
        self
    }

    #[track_caller]
    fn fails_with(self, code: i32, part: &str) {
        let ran = self.ends_with(code);
        assert!(ran.err.contains(part), "`{part}` is not in: {}", ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
}

/// The command's binary beside this test's: target/PROFILE/deps/it-* -> target/PROFILE/peercask.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("this test is a file");
        let profile_dir = test
            .ancestors()
            .nth(2)
            .expect("tests lie in target/PROFILE/deps");
        let profile = profile_dir
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or("debug");
        // Always asked for, so that an old binary is never what is tested; cheap when it is fresh.
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--quiet",
            "-p",
            "peercask-cli",
        ]);
        cargo
            .arg("--target-dir")
            .arg(profile_dir.parent().expect("target is above it"));
        if profile != "debug" {
            cargo.args(["--profile", profile]);
        }
        let built = cargo.status().expect("cargo runs");
        assert!(built.success(), "the command builds");
        profile_dir.join(format!("peercask{}", std::env::consts::EXE_SUFFIX))
    })
}

fn peercask<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    peercask_fed(args, b"")
}

fn peercask_fed<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
    let mut child = Command::new(binary())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("the command ends");
    Ran {
        code: output.status.code(),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A temporary directory with room for a store and other files.
struct Room(TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a path below the room")).expect("directories");
        fs::write(&path, content).expect("a small file");
        path
    }

    /// Runs `peercask COMMAND STORE ARGS...` on the room's store.
    fn run(&self, command: &str, args: &[&str]) -> Ran {
        peercask(self.line(command, args))
    }

    fn line(&self, command: &str, args: &[&str]) -> Vec<OsString> {
        let store = self.path("store").into_os_string();
        let rest = args.iter().map(|arg| (*arg).into());
        [command.into(), store].into_iter().chain(rest).collect()
    }

    /// A store with an ordered keyspace `default` of these records.
    fn with_records(records: &[(&str, &str)]) -> Room {
        let room = Room::new();
        let lines: String = records
            .iter()
            .map(|(key, value)| format!("{}\n", json!({"key": key, "value": value})))
            .collect();
        peercask_fed(room.line("import", &["-"]), lines.as_bytes()).ends_with(0);
        room
    }
}

const FRUIT: [(&str, &str); 4] = [
    ("apple", "red"),
    ("banana", "yellow"),
    ("bilberry", "blue"),
    ("cherry", "dark"),
];
