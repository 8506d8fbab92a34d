//! The node as a process of its own: one command a line on its standard input, one answer a line
//! on its standard output. It ends with its input.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p_core::Multiaddr;
use libp2p_kad as kad;
use libp2p_kad::{GetProvidersOk, GetRecordOk, QueryResult, Quorum, Record, RecordKey};
use libp2p_swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p_swarm::{ConnectionId, Swarm, SwarmEvent};
use peercask_kad::{Handle, Republisher};
use peercask_peerstore::swarm::{Config as PeerConfig, PersistentStore as PeerStore, Rejoin};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::any_store::AnyStore;
pub use super::config::Config;
use super::config::open_store;
use super::job::{Connects, Job, told_times};
use super::swarm::{self, Failure, Node, NodeEvent};
use super::trouble;

/// Queries of one command that run at a time.
const QUERIES_MAX: usize = 30;

/// The key of a numbered record.
pub fn key_of(prefix: &str, number: u64) -> RecordKey {
    RecordKey::new(&format!("{prefix}/{number}"))
}

/// Runs a node until its input ends.
pub fn run(config: Config) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async move { Running::start(config)?.serve().await })
}

struct Running {
    config: Config,
    swarm: Swarm<Node<AnyStore>>,
    handle: Option<Handle>,
    republisher: Option<Republisher>,
    rejoin: Rejoin,
    job: Option<Job>,
    connects: Option<Connects>,
    /// Provider records of others that the store took.
    adds: u64,
}

impl Running {
    fn start(config: Config) -> Result<Running, Failure> {
        let keypair = swarm::numbered_identity(config.number)?;
        let local = keypair.public().to_peer_id();
        let mut kad_config = kad::Config::new(swarm::PROTOCOL);
        kad_config
            .set_query_timeout(Duration::from_secs(10))
            .set_record_ttl(Some(config.ttl))
            .set_provider_record_ttl(Some(config.ttl))
            .set_periodic_bootstrap_interval(Some(Duration::from_secs(10)));
        let (store, handle) = open_store(&config, local)?;
        let driven = handle.clone().filter(|_| !config.timer);
        let republisher = driven.map(Republisher::new);
        match &republisher {
            Some(_) => Republisher::configure(&mut kad_config),
            None => drop(kad_config.set_provider_publication_interval(Some(config.republish))),
        }
        let peers = match &config.dir {
            Some(dir) if config.peers => {
                let dir = dir.with_extension("peers");
                Some(PeerStore::open(dir, PeerConfig::default().own_id(local))?)
            }
            _ => None,
        };
        let mut swarm = swarm::build(&keypair, store, kad_config, peers)?;
        swarm.listen_on(format!("/ip4/127.0.0.1/tcp/{}", config.port).parse()?)?;
        say(&format!("peer {local}"));
        Ok(Running {
            config,
            swarm,
            handle,
            republisher,
            rejoin: Rejoin::default(),
            job: None,
            connects: None,
            adds: 0,
        })
    }

    async fn serve(mut self) -> Result<(), Failure> {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event)?,
                line = lines.next_line() => match line? {
                    Some(line) => self.on_command(&line)?,
                    None => return Ok(()),
                },
                _ = tick.tick() => self.on_tick(),
            }
            self.begin_queries();
        }
    }

    fn on_tick(&mut self) {
        self.rejoin.tick(&mut self.swarm, Node::peer_store);
        if let Some(republisher) = &mut self.republisher {
            // Closed: the node is about to end.
            let _closed = republisher.tick(&mut self.swarm.behaviour_mut().kad);
        }
    }

    fn on_command(&mut self, line: &str) -> Result<(), Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["dial", address] => self.dial(address)?,
            ["provide", prefix, from, count, rate] => {
                self.begin("provide", prefix, from, count, rate, "0")?;
            }
            ["put", prefix, from, count, life] => {
                self.begin("put", prefix, from, count, "0", life)?;
            }
            ["providers", prefix, from, count] => {
                self.begin("providers", prefix, from, count, "0", "0")?;
            }
            ["records", prefix, from, count] => {
                self.begin("records", prefix, from, count, "0", "0")?;
            }
            ["records", prefix, from, count, rate] => {
                self.begin("records", prefix, from, count, rate, "0")?;
            }
            ["stats"] => self.tell_stats(),
            ["sync"] => {
                self.handle.as_ref().map(Handle::sync).transpose()?;
                say("synced");
            }
            ["hog", path] => {
                trouble::hog(path)?;
                say("hogged");
            }
            ["unhog", path] => {
                std::fs::remove_file(path)?;
                say("unhogged");
            }
            ["fill", count] => self.fill(count.parse()?)?,
            ["connect", times, address] => {
                self.connects = Some(Connects::new(address.parse()?, times.parse()?));
                self.dial_once_more()?;
            }
            ["connected"] => {
                let count = self.swarm.connected_peers().count();
                say(&format!("connected {count} dials {}", self.rejoin.dials()));
            }
            ["remembered"] => {
                let peers = self.swarm.behaviour().peers.as_ref();
                let count = peers.map_or(0, |peers| peers.store().books().count());
                say(&format!("remembered {count}"));
            }
            ["stale", count] => {
                let peers = self.swarm.behaviour().peers.as_ref();
                let books = peers.ok_or("no peer store")?.store().books();
                trouble::remember_stale(books, count.parse()?)?;
                say(&format!("stale {count}"));
            }
            ["boast", count] => {
                trouble::boast(&mut self.swarm, count.parse()?)?;
                say("boasted");
            }
            ["crowd", from, count, prefix, addresses @ ..] => {
                let numbers = from.parse()?..from.parse::<u64>()? + count.parse::<u64>()?;
                trouble::crowd(numbers, &key_of(prefix, 0), addresses)?;
                say(&format!("crowd {count}"));
            }
            ["held", prefix, from, count] => self.tell_held(prefix, from.parse()?, count.parse()?),
            _ => say("what?"),
        }
        Ok(())
    }

    fn dial(&mut self, address: &str) -> Result<(), Failure> {
        let mut address: Multiaddr = address.parse()?;
        let Some(libp2p_core::multiaddr::Protocol::P2p(peer)) = address.pop() else {
            return Err("an address ends with /p2p/<peer>".into());
        };
        let kad = &mut self.swarm.behaviour_mut().kad;
        kad.add_address(&peer, address);
        let _has_a_peer = kad.bootstrap();
        say("dialled");
        Ok(())
    }

    /// Connects although there is a connection already; tells when it was the last time.
    fn dial_once_more(&mut self) -> Result<(), Failure> {
        let Some(connects) = &mut self.connects else {
            return Ok(());
        };
        if connects.left == 0 {
            let took = std::mem::take(&mut connects.took);
            let count = took.len();
            say(&format!(
                "done connect {count} found {count} {}",
                told_times(took)
            ));
            self.connects = None;
            return Ok(());
        }
        let mut to = connects.address.clone();
        let Some(libp2p_core::multiaddr::Protocol::P2p(peer)) = to.pop() else {
            return Err("an address ends with /p2p/<peer>".into());
        };
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(vec![to])
            .build();
        connects.left -= 1;
        connects.since = Instant::now();
        connects.under_way = Some(dial.connection_id());
        Ok(self.swarm.dial(dial)?)
    }

    /// A connection stands; if it is one that was to be timed, it goes again and the next one begins.
    fn on_connected(&mut self, which: ConnectionId) -> Result<(), Failure> {
        let Some(connects) = &mut self.connects else {
            return Ok(());
        };
        if connects.under_way != Some(which) {
            return Ok(());
        }
        connects.took.push(connects.since.elapsed());
        self.swarm.close_connection(which);
        self.dial_once_more()
    }

    fn begin(
        &mut self,
        kind: &'static str,
        prefix: &str,
        from: &str,
        count: &str,
        rate: &str,
        life: &str,
    ) -> Result<(), Failure> {
        let (from, count): (u64, u64) = (from.parse()?, count.parse()?);
        self.job = Some(Job {
            kind,
            prefix: prefix.to_owned(),
            waiting: (from..from + count).collect(),
            running: HashMap::new(),
            found: HashSet::new(),
            done: 0,
            who: HashSet::new(),
            ttl_least: Duration::MAX,
            ttl_most: Duration::ZERO,
            took: Vec::new(),
            rate: rate.parse()?,
            begun: 0,
            start: Instant::now(),
            life: Duration::from_secs(life.parse()?),
        });
        Ok(())
    }

    /// Begins queries of the command under way; tells when it is done.
    fn begin_queries(&mut self) {
        let Some(job) = &mut self.job else { return };
        let kad = &mut self.swarm.behaviour_mut().kad;
        while job.running.len() < QUERIES_MAX {
            let allowed = job.start.elapsed().as_secs_f64() * job.rate as f64 + 1.0;
            if job.rate > 0 && job.begun as f64 >= allowed {
                break;
            }
            let Some(number) = job.waiting.pop_front() else {
                break;
            };
            job.begun += 1;
            let key = key_of(&job.prefix, number);
            let begun = match job.kind {
                "provide" => kad.start_providing(key).ok(),
                "put" => {
                    let mut record = Record::new(key, format!("value {number}").into_bytes());
                    record.expires = Some(Instant::now() + job.life);
                    kad.put_record(record, Quorum::One).ok()
                }
                "providers" => Some(kad.get_providers(key)),
                _ => Some(kad.get_record(key)),
            };
            match begun {
                Some(id) => drop(job.running.insert(id, (number, Instant::now()))),
                None => job.done += 1,
            }
        }
        if job.running.is_empty() && job.waiting.is_empty() {
            self.tell_job();
        }
    }

    fn tell_job(&mut self) {
        if let Some(job) = self.job.take() {
            say(&job.told());
        }
    }

    /// How many keys have a provider in this node's own store, and who these are.
    fn tell_held(&mut self, prefix: &str, from: u64, count: u64) {
        use libp2p_kad::store::RecordStore as _;
        let store = self.swarm.behaviour_mut().kad.store_mut();
        let (mut keys, mut who) = (0, Vec::new());
        for number in from..from + count {
            let providers = store.providers(&key_of(prefix, number));
            keys += u64::from(!providers.is_empty());
            who.extend(providers.iter().map(|one| one.provider.to_string()));
        }
        let records = who.len();
        who.sort();
        who.dedup();
        say(&format!(
            "held {keys} records {records} who {}",
            who.join(",")
        ));
    }

    fn on_event(&mut self, event: SwarmEvent<NodeEvent<AnyStore>>) -> Result<(), Failure> {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                self.swarm.add_external_address(address.clone());
                let local = *self.swarm.local_peer_id();
                say(&format!("listening {address}/p2p/{local}"));
            }
            SwarmEvent::Behaviour(NodeEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(NodeEvent::Kad(event)) => {
                if let Some(republisher) = &mut self.republisher {
                    republisher.on_event(&event);
                }
                self.on_kad(event);
            }
            SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                self.on_connected(connection_id)?;
            }
            // The next ones at once.
            SwarmEvent::OutgoingConnectionError { .. } => {
                self.rejoin.tick(&mut self.swarm, Node::peer_store);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_identify(&mut self, event: libp2p_identify::Event) {
        if let libp2p_identify::Event::Received { peer_id, info, .. } = event {
            swarm::identified(&mut self.swarm, &peer_id, &info);
        }
    }

    fn on_kad(&mut self, event: kad::Event) {
        if let kad::Event::InboundRequest {
            request: kad::InboundRequest::AddProvider { .. },
        } = event
        {
            self.adds += 1;
        }
        let kad::Event::OutboundQueryProgressed {
            id, result, step, ..
        } = event
        else {
            return;
        };
        let Some(job) = &mut self.job else { return };
        let Some((number, since)) = job.running.get(&id).copied() else {
            return;
        };
        let found = match result {
            QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => {
                let expires = found.record.expires;
                let left = expires.map(|at| at.saturating_duration_since(Instant::now()));
                job.found_record(left.unwrap_or_default());
                true
            }
            QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })) => {
                job.who.extend(&providers);
                !providers.is_empty()
            }
            QueryResult::StartProviding(Ok(_)) | QueryResult::PutRecord(Ok(_)) => true,
            _ => false,
        };
        if found && job.found.insert(number) {
            job.took.push(since.elapsed());
        }
        if step.last {
            job.running.remove(&id);
            job.done += 1;
        } else if found && matches!(job.kind, "records" | "providers") {
            // One answer is enough: what the rest of the lookup finds is the same.
            if let Some(mut query) = self.swarm.behaviour_mut().kad.query_mut(&id) {
                query.finish();
            }
        }
    }

    fn tell_stats(&mut self) {
        use libp2p_kad::store::RecordStore as _;
        match &self.handle {
            Some(handle) => {
                let stats = handle.stats();
                say(&format!(
                    "stats records {} provides {} own {} queue {} disk {} refused {} trimmed {} adds {} state {:?} open_ms {}",
                    stats.records,
                    stats.provider_records,
                    stats.own_keys,
                    stats.queue_records,
                    stats.disk_bytes,
                    stats.refused.total(),
                    stats.trimmed,
                    self.adds,
                    handle.health().state,
                    handle.report().elapsed.as_millis()
                ));
            }
            None => {
                // `MemoryStore` counts nothing itself.
                let store = self.swarm.behaviour_mut().kad.store_mut();
                let (records, own) = (store.records().count(), store.provided().count());
                say(&format!(
                    "stats records {records} provides 0 own {own} queue 0 disk 0 refused 0 trimmed 0 adds {} state Memory open_ms 0",
                    self.adds
                ));
            }
        }
    }

    /// Puts provider records into the store directly, as earlier traffic would have.
    fn fill(&mut self, count: u64) -> Result<(), Failure> {
        use libp2p_kad::store::RecordStore as _;
        let peer = swarm::numbered_identity(u64::MAX)?.public().to_peer_id();
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse()?;
        for number in 0..count {
            let mut record =
                kad::ProviderRecord::new(key_of("fill", number), peer, vec![address.clone()]);
            record.expires = Some(Instant::now() + self.config.ttl);
            let store = self.swarm.behaviour_mut().kad.store_mut();
            while store.add_provider(record.clone()).is_err() {
                self.handle.as_ref().map(Handle::sync).transpose()?;
            }
        }
        say(&format!("filled {count}"));
        Ok(())
    }
}

/// One line to whoever started this node.
#[expect(clippy::print_stdout, reason = "this is how a node answers")]
fn say(line: &str) {
    use std::io::Write as _;
    println!("{line}");
    // A parent that is gone reads nothing; the node ends with its input.
    let _nobody_reads = std::io::stdout().flush();
}
