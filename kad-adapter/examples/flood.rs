//! What a real node takes, and what others wait for meanwhile: nodes of separate processes on
//! 127.0.0.1 send ADD_PROVIDER to one as fast as it takes them, while a bystander asks it for values
//! and connects to it. Once with this crate's store, once with `MemoryStore`.
//!
//! `cargo run --release -p peercask-kad --example flood -- --records 1000000 --seconds 20`
#![expect(clippy::print_stdout, reason = "it is a measurement")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::child::{Done, NODE, NodeProcess};
use common::node::{self, Config};
use common::swarm::Failure;

/// Nobody's machine has to hold more.
const FLOODERS_MAX: u64 = 60;
/// What the bystander asks for in a second: it measures, it does not flood.
const ASKED_A_SECOND: u64 = 100;
const CONNECTIONS: u64 = 50;
const LONG: Duration = Duration::from_secs(3_600);
const USAGE: &str =
    "usage: flood --records N --seconds N --flooders N --rate N --stores ours,memory";

struct Args {
    /// Provider records that the node holds before.
    records: u64,
    seconds: u64,
    flooders: u64,
    /// Provides a second and flooder; 0 for as many as it takes, 30 of each at a time.
    rate: u64,
    stores: Vec<String>,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        records: 100_000,
        seconds: 20,
        flooders: 3,
        rate: 0,
        stores: vec!["ours".to_owned(), "memory".to_owned()],
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(USAGE)?;
        match word.as_str() {
            "--records" => args.records = value.parse()?,
            "--seconds" => args.seconds = value.parse()?,
            "--flooders" => args.flooders = value.parse()?,
            "--rate" => args.rate = value.parse()?,
            "--stores" => args.stores = value.split(',').map(str::to_owned).collect(),
            _ => return Err(USAGE.into()),
        }
    }
    args.flooders = args.flooders.clamp(1, FLOODERS_MAX);
    args.seconds = args.seconds.clamp(1, 3_600);
    Ok(args)
}

fn main() -> Result<(), Failure> {
    if let Ok(text) = std::env::var(NODE) {
        return node::run(Config::of_text(&text)?);
    }
    let args = args()?;
    for store in &args.stores {
        let dir = tempfile::tempdir()?;
        let dir = match store.as_str() {
            "ours" => Some(dir.path()),
            "memory" => None,
            _ => return Err(USAGE.into()),
        };
        println!(
            "\n== {store}, {} provider records held before",
            args.records
        );
        measure(&args, dir)?;
    }
    Ok(())
}

fn config(number: u64, dir: Option<&Path>) -> Config {
    Config {
        number,
        dir: dir.map(|dir| dir.join(format!("node-{number}"))),
        port: 0,
        ttl: Duration::from_secs(48 * 3_600),
        republish: Duration::from_secs(12 * 3_600),
        keys_max: 50_000_000,
        disk_mib: 0,
        peers: false,
        timer: false,
    }
}

fn started(number: u64, at: &str) -> Result<NodeProcess, Failure> {
    let mut node = NodeProcess::start(&config(number, None), &[])?;
    node.dial(at)?;
    Ok(node)
}

fn measure(args: &Args, dir: Option<&Path>) -> Result<(), Failure> {
    let mut node = NodeProcess::start(&config(1, dir), &[])?;
    let address = node.address.clone();
    node.ask(&format!("fill {}", args.records), "filled", LONG)?;
    let asked = args.seconds * ASKED_A_SECOND;
    let mut publisher = started(2, &address)?;
    publisher.queries(&format!("put by 0 {asked} 36000"), LONG)?;
    node.wait_stat("records", |held| held == asked, LONG)?;
    drop(publisher);
    let mut bystander = started(3, &address)?;
    let ask = format!("records by 0 {asked} {ASKED_A_SECOND}");
    tell("idle: GET_RECORD", asked, &bystander.queries(&ask, LONG)?);

    let mut flooders = Vec::new();
    for number in 0..args.flooders {
        let mut flooder = started(100 + number, &address)?;
        flooder.tell(&format!("provide flood{number} 0 1000000 {}", args.rate))?;
        flooders.push(flooder);
    }
    std::thread::sleep(Duration::from_secs(1));
    let (before, start) = (node.stat("adds")?, Instant::now());
    let records = bystander.queries(&ask, LONG)?;
    let taken = node.stat("adds")? - before;
    println!(
        "flooded by {} nodes: {:.0} provides a second taken, {} refused in all",
        args.flooders,
        taken as f64 / start.elapsed().as_secs_f64(),
        node.stat("refused")?
    );
    tell("  GET_RECORD", asked, &records);
    let connects = bystander.queries(&format!("connect {CONNECTIONS} {address}"), LONG)?;
    tell("  new connection", CONNECTIONS, &connects);
    Ok(())
}

fn tell(what: &str, asked: u64, done: &Done) {
    let ms = |us: u64| us as f64 / 1e3;
    println!(
        "{what}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms; {} of {asked}",
        ms(done.p50_us),
        ms(done.p90_us),
        ms(done.p99_us),
        ms(done.max_us),
        done.found
    );
}
