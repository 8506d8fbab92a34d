//! E7: the way back into the network of a node whose peers do not know where it listens now: by the
//! peers that it remembers, without any bootstrap node; beside it the same with nine stale addresses to
//! every good one, and the baseline: an empty peer store and a bootstrap node that lives.

use std::time::{Duration, Instant};

use crate::common::child::NodeProcess;
use crate::common::node::Config;
use crate::{LONG, alone, ask, config, is_full, records, start, until};

/// What the node has for its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    /// Its peers, and as many stale ones to each.
    Peers {
        stale: u64,
    },
    /// No peers, and the address of a bootstrap node that is up.
    Bootstrap,
    Nothing,
}

/// How it went.
#[derive(Debug)]
struct Way {
    /// Values of the others that it finds.
    found: u64,
    dials: u64,
    /// From the start of the process until it is connected to more than half of the network.
    ms: u128,
}

/// A network, a node in it that is killed with its bootstrap node, and the node again.
fn rejoin(with: With) -> Way {
    let others = if is_full() { 28 } else { 6 };
    let dir = tempfile::tempdir().expect("a directory");
    let bootstrap = start(&config(1, None));
    let address = bootstrap.address.clone();
    let mut network: Vec<NodeProcess> = (0..others)
        .map(|number| start(&config(20 + number, None)))
        .collect();
    for node in &mut network {
        node.dial(&address).expect("dialled");
    }
    let remembers = matches!(with, With::Peers { .. });
    let config_of_node = Config {
        peers: remembers,
        ..config(2, Some(dir.path()))
    };
    let mut node = start(&config_of_node);
    node.dial(&address).expect("dialled");
    wait_for(&mut node, "connected", |count| count > others / 2);
    if let With::Peers { stale } = with {
        wait_for(&mut node, "remembered", |count| count > others / 2);
        if stale > 0 {
            let count = stale * (others + 1);
            node.ask(&format!("stale {count}"), "stale ", LONG)
                .expect("remembered");
        }
    }
    ask(&mut network[0], &format!("put e7 0 {} 600", records()));
    node.kill().expect("killed");
    let _bootstrap_lives = if with == With::Bootstrap {
        Some(bootstrap)
    } else {
        bootstrap.kill().expect("killed");
        None
    };
    let start_time = Instant::now();
    let mut node = start(&config_of_node);
    match with {
        With::Nothing => {
            std::thread::sleep(Duration::from_secs(3));
            let found = number_of(&mut node, "connected").0;
            return Way {
                found,
                dials: 0,
                ms: 0,
            };
        }
        With::Bootstrap => node.dial(&address).expect("dialled"),
        With::Peers { .. } => {}
    }
    wait_for(&mut node, "connected", |count| count > others / 2);
    let ms = start_time.elapsed().as_millis();
    let (_, dials) = number_of(&mut node, "connected");
    let found = ask(&mut node, &format!("records e7 0 {}", records())).found;
    Way { found, dials, ms }
}

/// What `connected` and `remembered` tell: a number, and how many dials the way back took.
fn number_of(node: &mut NodeProcess, name: &str) -> (u64, u64) {
    let told = node.ask(name, &format!("{name} "), LONG).expect("told");
    let mut words = told.split(' ');
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
    (number(words.next()), number(words.nth(1)))
}

fn wait_for(node: &mut NodeProcess, name: &str, is_right: impl Fn(u64) -> bool) {
    until(name, || is_right(number_of(node, name).0));
}

#[test]
fn e7_a_node_finds_its_way_back_without_its_bootstrap_nodes() {
    let _turn = alone();
    let way = rejoin(With::Peers { stale: 0 });
    eprintln!("by its peers: {way:?}");
    assert_eq!(way.found, records(), "all values are found");
    assert!(way.dials > 0, "nobody dials it: it does");
    let alone = rejoin(With::Nothing);
    assert_eq!(alone.found, 0, "the control has to stay alone");
}

/// Nine of ten that it remembers lead nowhere. Old peers must not make it slower than none: allowed is what the
/// baseline took, and a second for what a busy machine adds.
#[test]
fn e7_nine_of_ten_stale_addresses_do_not_keep_a_node_out() {
    let _turn = alone();
    let stale = rejoin(With::Peers { stale: 9 });
    let baseline = rejoin(With::Bootstrap);
    eprintln!("nine of ten stale: {stale:?}; empty, with a bootstrap node: {baseline:?}");
    assert_eq!(stale.found, records(), "all values are found");
    assert_eq!(baseline.found, records(), "all values are found");
    assert!(stale.dials > 1, "stale ones were tried: {stale:?}");
    assert!(
        stale.ms <= baseline.ms + 1_000,
        "{stale:?} and {baseline:?}"
    );
}
