//! E6: a disk that is full.
#![cfg(target_os = "linux")]

use crate::common::child::NodeProcess;
use crate::common::node::Config;
use crate::skip::skipped;
use crate::{AS_NODE, LONG, ask, beside_others, config, start, until};

/// E6: the file system under a node fills up, and is freed again. A small one of the node's own, in a
/// mount namespace.
#[test]
fn e6_a_node_on_a_full_disk_answers_shows_red_and_recovers() {
    const MOUNT: &str = r#"mount -t tmpfs -o size=6m,mode=700 none "$0" && exec "$@""#;
    let _turn = beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().to_string_lossy().into_owned();
    let within = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        MOUNT,
        &place,
    ];
    let can = std::process::Command::new(within[0])
        .args(&within[1..])
        .arg("true")
        .status();
    if !can.is_ok_and(|status| status.success()) {
        skipped(
            "a node on a full disk",
            "this system gives no mount namespace",
        );
        return;
    }
    let config_of_node = Config {
        disk_mib: 64,
        ..config(1, Some(dir.path()))
    };
    let mut node = NodeProcess::start_within(&config_of_node, &within, &AS_NODE).expect("started");
    let address = node.address.clone();
    let mut other = start(&config(2, None));
    other.dial(&address).expect("dialled");
    ask(&mut other, "put e6 0 20 600");
    node.wait_stat("records", |n| n == 20, LONG).expect("held");

    node.ask(&format!("hog {place}/hog"), "hogged", LONG)
        .expect("hogged");
    // More than what was reserved ahead holds.
    let refused = ask(&mut node, "put own 0 30000 600");
    assert!(refused.found < 30_000, "a full disk takes no more");
    let state = |node: &mut NodeProcess| node.ask("stats", "stats ", LONG).expect("it answers");
    assert!(
        state(&mut node).contains("state Red"),
        "{}",
        state(&mut node)
    );
    let mut client = start(&config(3, None));
    client.dial(&address).expect("dialled");
    assert_eq!(
        ask(&mut client, "records e6 0 20").found,
        20,
        "it serves what it has"
    );

    node.ask(&format!("unhog {place}/hog"), "unhogged", LONG)
        .expect("freed");
    ask(&mut other, "put later 0 10 600");
    until("it recovers by itself", || {
        state(&mut node).contains("state Green")
    });
    assert!(ask(&mut node, "put again 0 5 600").found > 0);
}
