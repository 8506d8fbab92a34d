//! E5: peers that flood a node with keys, with addresses, with identities.

use std::path::Path;
use std::time::Duration;

use crate::common::child::NodeProcess;
use crate::common::node::Config;
use crate::{LONG, ask, beside_others, config, start, until};

/// A peer floods keys until the node is full, with as many bytes of addresses as a packet
/// holds; then the node itself wants to provide.
fn flooded(dir: Option<&Path>) -> NodeProcess {
    let mut node = start(&Config {
        keys_max: 40,
        disk_mib: 32,
        ..config(1, dir)
    });
    let mut flooder = start(&config(2, None));
    flooder
        .ask("boast 19", "boasted", LONG)
        .expect("it says so");
    flooder.dial(&node.address).expect("dialled");
    ask(&mut flooder, "provide flood 0 80 0");
    until("as many as may be", || {
        node.held("flood", 0, 80).expect("told").keys == 40
    });
    ask(&mut node, "provide own 0 20 0");
    node
}

#[test]
fn e5_a_flooded_node_still_provides_its_own_keys() {
    let _turn = beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    let mut node = flooded(Some(dir.path()));
    assert_eq!(node.stat("own").expect("told"), 20);
    let disk = node.stat("disk").expect("told");
    assert!(disk < 33 << 20, "{disk} bytes");
    // It was flooded with more than 15 KiB a record, of which a kilobyte at most is kept.
    assert!(node.stat("trimmed").expect("told") >= 40);
    assert!(node.stat("refused").expect("told") >= 1);
    node.wait_stat("queue", |n| n == 0, LONG).expect("written");
    let held = peercask_kad::inspect::look(dir.path().join("node-1")).expect("looked");
    let sizes: Vec<usize> = held
        .records
        .iter()
        .filter(|listed| listed.keyspace == "kad.providers")
        .map(|listed| listed.addresses.iter().map(|one| one.len()).sum())
        .collect();
    assert_eq!(sizes.len(), 40);
    assert!(
        sizes.iter().all(|bytes| (1..=1_024).contains(bytes)),
        "{sizes:?}"
    );
    let mut control = flooded(None);
    let own = control.stat("own").expect("told");
    assert_eq!(own, 0, "the control has to fail");
}

/// Whom a client that knows one node is told as providers of a key.
fn named(at: &NodeProcess, number: u64) -> Vec<String> {
    let mut client = start(&config(number, None));
    client.dial(&at.address).expect("dialled");
    ask(&mut client, "providers popular 0 1").who
}

/// One key is filled with as many identities as it may have; these expire; an honest peer provides the
/// key; it is filled again; the node itself provides it. `MemoryStore` beside it keeps honest peer and
/// node out.
#[test]
fn e5_a_crowd_on_a_popular_key_keeps_neither_an_honest_peer_nor_the_node_out() {
    const LIFE: Duration = Duration::from_secs(4);
    let _turn = beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    let node = |number, dir| {
        start(&Config {
            ttl: LIFE,
            disk_mib: 32,
            ..config(number, dir)
        })
    };
    let mut nodes = [node(1, Some(dir.path())), node(2, None)];
    let addresses = format!("{} {}", nodes[0].address, nodes[1].address);
    let fill = |nodes: &mut [NodeProcess], crowd: &mut NodeProcess, from: u64| {
        crowd
            .ask(
                &format!("crowd {from} 24 popular {addresses}"),
                "crowd ",
                LONG,
            )
            .expect("begun");
        for node in nodes {
            until("the key is full", || {
                node.held("popular", 0, 1).expect("told").records == 20
            });
        }
    };
    let mut crowd = start(&config(3, None));
    fill(&mut nodes, &mut crowd, 5_000);
    // Over, and nobody has asked: the key looks full.
    std::thread::sleep(LIFE + Duration::from_secs(1));
    let mut honest = start(&config(4, None));
    for node in &nodes {
        honest.dial(&node.address).expect("dialled");
    }
    ask(&mut honest, "provide popular 0 1 0");
    until("the honest one is held", || {
        nodes[0].held("popular", 0, 1).expect("told").records == 1
    });
    // Gone, so that nobody is asked but the nodes that it told.
    let honest_id = honest.peer().to_owned();
    honest.kill().expect("killed");
    assert!(named(&nodes[0], 20).contains(&honest_id));
    let held = nodes[1].held("popular", 0, 1).expect("told");
    assert!(!held.who.contains(&honest_id), "the control has to fail");
    assert_eq!(held.records, 20, "those that are over keep it out");

    fill(&mut nodes, &mut crowd, 6_000);
    for node in &mut nodes {
        ask(node, "provide popular 0 1 0");
    }
    let own: Vec<u64> = nodes
        .iter_mut()
        .map(|node| node.stat("own").expect("told"))
        .collect();
    assert_eq!(own, [1, 0], "the control has to fail");
    // Not only kept: told to who asks, among the twenty that kad tells.
    assert!(named(&nodes[0], 22).contains(&nodes[0].peer().to_owned()));
    let disk = nodes[0].stat("disk").expect("told");
    assert!(disk < 33 << 20, "{disk} bytes");
}
