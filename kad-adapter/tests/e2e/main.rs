//! End to end: separate processes on 127.0.0.1 over TCP, noise and yamux, killed with SIGKILL, each
//! test with a control that runs the same with `MemoryStore`, or without what is shown, and has to fail.
//!
//! `cargo test -p peercask-kad --test e2e` runs them small; with `PEERCASK_KAD_E2E=full` with a
//! thousand records each, and E4 with ten million and fifty flooders (add `--release` then) of 30 adds a second
//! each, or of `PEERCASK_KAD_E2E_RATE`: where fewer than some ten cores share all 53 nodes, the control fails too.
//!
//! E6 fills a file system that is really full, in a mount namespace, and is skipped where there is none. A
//! disk that fails (EIO) is the crash lab's: see `it::crash`. E8 and E9 run in `it`: `upstream`,
//! `upstream_queries`, `behaviour` and `churn`.

#[path = "../../examples/common/mod.rs"]
mod common;
#[path = "../skip.rs"]
mod skip;

mod bystander;
mod full_disk;
mod hostile;
mod rejoin;
mod restart;

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use common::child::NodeProcess;
use common::node::{self, Config};

/// Those that measure are alone; those that mostly wait go beside each other.
static TURN: RwLock<()> = RwLock::new(());

const LONG: Duration = Duration::from_secs(90);

fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

fn is_full() -> bool {
    std::env::var("PEERCASK_KAD_E2E").is_ok_and(|word| word == "full")
}

fn records() -> u64 {
    if is_full() { 1_000 } else { 60 }
}

/// Again and again until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What makes this very binary into a node.
const AS_NODE: [&str; 4] = [
    "helper_is_a_node",
    "--exact",
    "--nocapture",
    "--test-threads=1",
];

/// Not a test of its own: this binary as a node.
#[test]
fn helper_is_a_node() {
    if let Ok(text) = std::env::var(common::child::NODE) {
        let config = Config::of_text(&text).expect("the parent wrote it");
        node::run(config).expect("the node runs");
    }
}

fn config(number: u64, dir: Option<&Path>) -> Config {
    Config {
        number,
        dir: dir.map(|dir| dir.join(format!("node-{number}"))),
        port: 0,
        ttl: Duration::from_secs(600),
        republish: Duration::from_secs(3_600),
        keys_max: 100_000,
        disk_mib: 0,
        peers: false,
        timer: false,
    }
}

fn start(config: &Config) -> NodeProcess {
    NodeProcess::start(config, &AS_NODE).expect("the node starts")
}

/// Starts a node where it listened before.
fn restart(config: &Config, address: &str) -> NodeProcess {
    let port = address.split('/').nth(4).and_then(|port| port.parse().ok());
    start(&Config {
        port: port.expect("a port"),
        ..config.clone()
    })
}

fn ask(node: &mut NodeProcess, command: &str) -> common::child::Done {
    node.queries(command, LONG).expect(command)
}

/// How many a new client finds at the one node that it knows.
fn found_by_a_client(at: &str, kind: &str, prefix: &str, number: u64) -> common::child::Done {
    let mut client = start(&config(number, None));
    client.dial(at).expect("dialled");
    ask(&mut client, &format!("{kind} {prefix} 0 {}", records()))
}
