//! A network of separate processes on 127.0.0.1: stores records and provides through Kademlia,
//! kills a third of the nodes with SIGKILL, restarts them, and shows what a fresh client finds;
//! then the same with `MemoryStore`.
//!
//! `cargo run --release -p peercask-kad --example network -- --nodes 20`
#![expect(clippy::print_stdout, reason = "it is a demonstration")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::child::{NODE, NodeProcess};
use common::node::{self, Config};
use common::swarm::Failure;

/// Nobody's machine has to hold more.
const NODES_MAX: u64 = 60;
const RECORDS_MAX: u64 = 20_000;
const LONG: Duration = Duration::from_secs(300);

struct Args {
    nodes: u64,
    records: u64,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        nodes: 20,
        records: 500,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or("usage: network --nodes N --records N")?;
        match word.as_str() {
            "--nodes" => args.nodes = value.parse()?,
            "--records" => args.records = value.parse()?,
            other => return Err(format!("{other}? there are --nodes and --records").into()),
        }
    }
    args.nodes = args.nodes.clamp(3, NODES_MAX);
    args.records = args.records.clamp(1, RECORDS_MAX);
    Ok(args)
}

fn main() -> Result<(), Failure> {
    if let Ok(text) = std::env::var(NODE) {
        return node::run(Config::of_text(&text)?);
    }
    let args = args()?;
    println!(
        "{} nodes, {} values and {} provides",
        args.nodes, args.records, args.records
    );
    let dir = tempfile::tempdir()?;
    println!("\n== peercask-kad: every node keeps its store in a directory");
    run(&args, Some(dir.path()))?;
    println!("\n== the same with MemoryStore");
    run(&args, None)
}

fn config(number: u64, dir: Option<&Path>) -> Config {
    Config {
        number,
        dir: dir.map(|dir| dir.join(format!("node-{number}"))),
        port: 0,
        ttl: Duration::from_secs(3_600),
        republish: Duration::from_secs(12 * 3_600),
        keys_max: 1_000_000,
        disk_mib: 0,
        peers: false,
        timer: false,
    }
}

/// A third of the nodes, spread evenly; the first is the one that clients know.
fn is_killed(number: u64) -> bool {
    number % 3 == 1
}

fn run(args: &Args, dir: Option<&Path>) -> Result<(), Failure> {
    let start = Instant::now();
    let mut nodes = Vec::new();
    for number in 0..args.nodes {
        let mut node = NodeProcess::start(&config(number, dir), &[])?;
        if let Some(first) = nodes.first() {
            let first: &NodeProcess = first;
            node.dial(&first.address)?;
        }
        nodes.push(node);
    }
    std::thread::sleep(Duration::from_secs(3));
    println!(
        "{} nodes are up after {:.1} s",
        nodes.len(),
        start.elapsed().as_secs_f64()
    );

    // Every node publishes its share: what a killed node published is lost with it or not.
    let share = args.records.div_ceil(args.nodes);
    for (number, node) in nodes.iter_mut().enumerate() {
        let from = number as u64 * share;
        let count = share.min(args.records.saturating_sub(from));
        node.queries(&format!("put v {from} {count} 3600"), LONG)?;
        node.queries(&format!("provide p {from} {count} 0"), LONG)?;
    }
    println!(
        "stored and announced after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    tell_holdings(&mut nodes, args)?;
    tell_found("before", &nodes, args, 1_000)?;

    let mut addresses = Vec::new();
    let mut left = Vec::new();
    for (number, node) in (0_u64..).zip(nodes) {
        if is_killed(number) {
            addresses.push((number, node.address.clone()));
            node.kill()?;
        } else {
            left.push(node);
        }
    }
    println!("{} nodes were killed with SIGKILL", addresses.len());
    tell_found("while they are down", &left, args, 2_000)?;

    let entry = left[0].address.clone();
    for (number, address) in &addresses {
        let port = address.split('/').nth(4).ok_or("an address has a port")?;
        let config = Config {
            port: port.parse()?,
            ..config(*number, dir)
        };
        let mut node = NodeProcess::start(&config, &[])?;
        node.dial(&entry)?;
        left.push(node);
    }
    println!("they are back");
    std::thread::sleep(Duration::from_secs(5));
    let back = left.len() - addresses.len();
    tell_holdings(&mut left[back..], args)?;
    tell_found("after the restart", &left, args, 3_000)?;

    // Now all others are killed: what is found was kept by those that had been killed before.
    for node in left.drain(..back) {
        node.kill()?;
    }
    println!("the {back} others were killed too: the restarted third is all that is left");
    tell_found("from the restarted third alone", &left, args, 4_000)
}

fn tell_holdings(nodes: &mut [NodeProcess], args: &Args) -> Result<(), Failure> {
    let (mut records, mut provides, mut own, mut disk) = (0, 0, 0, 0);
    for node in nodes.iter_mut() {
        records += node.stat("records")?;
        provides += node.stat("provides")?;
        own += node.stat("own")?;
        disk += node.stat("disk")?;
    }
    let count = nodes.len() as u64;
    println!(
        "{count} nodes hold {records} values, {provides} provider records and {own} intents of \
         their own, {} values a node; {} KiB of files a node ({} of each were published)",
        records / count,
        disk / count / 1024,
        args.records
    );
    Ok(())
}

/// What a client finds that has just started and knows one node.
fn tell_found(when: &str, nodes: &[NodeProcess], args: &Args, number: u64) -> Result<(), Failure> {
    let mut found = Vec::new();
    for (kind, prefix) in [("records", "v"), ("providers", "p")] {
        let mut client = NodeProcess::start(&config(number, None), &[])?;
        client.dial(&nodes[0].address)?;
        std::thread::sleep(Duration::from_secs(1));
        let done = client.queries(&format!("{kind} {prefix} 0 {}", args.records), LONG)?;
        found.push(done);
    }
    let share = |found: u64| 100.0 * found as f64 / args.records as f64;
    println!(
        "{when}: a fresh client finds {:.1} % of the values (median {} ms) and {:.1} % of the \
         providers (median {} ms)",
        share(found[0].found),
        found[0].p50_us / 1_000,
        share(found[1].found),
        found[1].p50_us / 1_000
    );
    Ok(())
}
