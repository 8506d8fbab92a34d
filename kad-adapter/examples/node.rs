//! A node that keeps what it holds, what it provides and whom it met: tcp, noise, yamux, identify and
//! kad, with its identity, its records and its peers in one directory.
//!
//! ```sh
//! cargo run --release -p peercask-kad --example node -- --dir node-a
//! cargo run --release -p peercask-kad --example node -- --dir node-b --dial <address that node-a printed>
//! ```
//!
//! Then one command a line: `provide KEY`, `stop KEY`, `find KEY`, `put KEY VALUE`, `get KEY`, `stats`, `quit`.
//! End it in any way and start it again, without `--dial`: it finds its way back to the network, and
//! goes on providing what it provided.
#![expect(clippy::print_stdout, reason = "it is a command")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::swarm::{self, Failure, Node, NodeEvent};
use futures::StreamExt as _;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_kad as kad;
use libp2p_kad::{QueryResult, Quorum, Record, RecordKey};
use libp2p_swarm::{Swarm, SwarmEvent};
use peercask_kad::{Handle, Options, PersistentStore, Republisher};
use peercask_peerstore::swarm::{Config as PeerConfig, PersistentStore as PeerStore, Rejoin};
use tokio::io::{AsyncBufReadExt as _, BufReader};

struct Args {
    dir: PathBuf,
    listen: Multiaddr,
    dial: Vec<Multiaddr>,
}

fn args() -> Result<Args, Failure> {
    let mut args = Args {
        dir: PathBuf::from("peercask-node"),
        listen: "/ip4/127.0.0.1/tcp/0".parse()?,
        dial: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or("usage: node --dir DIR --listen ADDRESS --dial ADDRESS")?;
        match word.as_str() {
            "--dir" => args.dir = value.into(),
            "--listen" => args.listen = value.parse()?,
            "--dial" => args.dial.push(value.parse()?),
            other => return Err(format!("{other}? there are --dir, --listen and --dial").into()),
        }
    }
    Ok(args)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = args()?;
    std::fs::create_dir_all(&args.dir)?;
    let keypair = swarm::identity(&args.dir.join("identity"))?;
    let local = keypair.public().to_peer_id();

    let store = PersistentStore::open(args.dir.join("records"), local, Options::default())?;
    // Taken before the store moves into the behaviour: the only way back is through it.
    let handle = store.handle();
    let mut republisher = Republisher::new(handle.clone());
    let mut config = kad::Config::new(swarm::PROTOCOL);
    Republisher::configure(&mut config);
    let peers = PeerStore::open(args.dir.join("peers"), PeerConfig::default().own_id(local))?;
    let books = peers.books().clone();
    let mut swarm = swarm::build(&keypair, store, config, Some(peers))?;
    println!("{} peers are remembered", books.count());
    println!(
        "peer {local}; {} records came back in {:?}",
        handle.report().records,
        handle.report().elapsed
    );

    swarm.listen_on(args.listen)?;
    for mut address in args.dial {
        let Some(Protocol::P2p(peer)) = address.pop() else {
            return Err("an address to dial ends with /p2p/<peer>".into());
        };
        swarm.behaviour_mut().kad.add_address(&peer, address);
        let _queries_follow = swarm.behaviour_mut().kad.bootstrap();
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut rejoin = Rejoin::default();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if matches!(event, SwarmEvent::OutgoingConnectionError { .. }) {
                    rejoin.tick(&mut swarm, Node::peer_store);
                }
                on_event(&mut swarm, &mut republisher, event);
            }
            line = lines.next_line() => match line? {
                Some(line) if line.trim() != "quit" => on_line(&mut swarm, &handle, &line),
                _ => break,
            },
            _ = tick.tick() => {
                rejoin.tick(&mut swarm, Node::peer_store);
                republisher.tick(&mut swarm.behaviour_mut().kad)?;
            }
        }
    }
    drop(swarm);
    books.close()?;
    // Dropping the swarm closed the store; this tells how it went.
    Ok(handle.close()?)
}

fn on_line(swarm: &mut Swarm<Node<PersistentStore>>, handle: &Handle, line: &str) {
    let kad = &mut swarm.behaviour_mut().kad;
    let key = |key: &str| RecordKey::new(&key);
    let words: Vec<&str> = line.splitn(3, ' ').collect();
    let refused = match words.as_slice() {
        ["provide", name] => kad.start_providing(key(name)).err(),
        ["stop", name] => {
            kad.stop_providing(&key(name));
            None
        }
        ["put", name, value] => {
            let record = Record::new(key(name), value.as_bytes().to_vec());
            kad.put_record(record, Quorum::One).err()
        }
        ["find", name] => {
            kad.get_providers(key(name));
            None
        }
        ["get", name] => {
            kad.get_record(key(name));
            None
        }
        ["stats"] => {
            println!("{:#?}\n{:#?}", handle.stats(), handle.health());
            None
        }
        _ => {
            println!("provide KEY, stop KEY, find KEY, put KEY VALUE, get KEY, stats, quit");
            None
        }
    };
    if let Some(error) = refused {
        println!("{error}; the cause: {:?}", handle.health().last_error);
    }
}

fn on_event(
    swarm: &mut Swarm<Node<PersistentStore>>,
    republisher: &mut Republisher,
    event: SwarmEvent<NodeEvent<PersistentStore>>,
) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            swarm.add_external_address(address.clone());
            println!("listening on {address}/p2p/{}", swarm.local_peer_id());
        }
        SwarmEvent::Behaviour(NodeEvent::Identify(libp2p_identify::Event::Received {
            peer_id,
            info,
            ..
        })) => {
            swarm::identified(swarm, &peer_id, &info);
        }
        SwarmEvent::Behaviour(NodeEvent::Kad(event)) => {
            republisher.on_event(&event);
            show(event);
        }
        _ => {}
    }
}

fn show(event: kad::Event) {
    let kad::Event::OutboundQueryProgressed { result, .. } = event else {
        return;
    };
    match result {
        QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
            providers, ..
        })) => {
            providers
                .iter()
                .for_each(|peer| println!("provider {peer}"));
        }
        QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => {
            println!("value {}", String::from_utf8_lossy(&found.record.value));
        }
        QueryResult::StartProviding(Ok(done)) => println!("provided {:?}", done.key),
        QueryResult::PutRecord(Ok(done)) => println!("put {:?}", done.key),
        QueryResult::GetRecord(Err(error)) => println!("{error}"),
        QueryResult::PutRecord(Err(error)) => println!("{error}"),
        _ => {}
    }
}
