//! What kad's own behaviour and jobs do with the store, in our words: real behaviours in one
//! process over TCP on 127.0.0.1.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::{Either, select};
use libp2p_identity::{Keypair, PeerId};
use libp2p_kad as kad;
use libp2p_kad::store::RecordStore;
use libp2p_kad::{QueryResult, Quorum, Record, StoreInserts};
use libp2p_swarm::{Swarm, SwarmEvent};
use peercask_kad::{Options, PersistentStore, Republisher};

use crate::common::swarm::{Node, NodeEvent, PROTOCOL, build, numbered_identity};
use crate::support::*;

const LONG: Duration = Duration::from_secs(60);

/// A node with a store on disk, listening.
pub(crate) struct Peer {
    pub(crate) swarm: Swarm<Node<PersistentStore>>,
    pub(crate) id: PeerId,
    _dir: tempfile::TempDir,
}

pub(crate) fn config() -> kad::Config {
    let mut config = kad::Config::new(PROTOCOL);
    config
        .set_query_timeout(Duration::from_secs(10))
        .set_periodic_bootstrap_interval(None)
        .set_replication_factor(NonZeroUsize::new(20).expect("not zero"));
    config
}

pub(crate) async fn peer_with(number: u64, config: kad::Config, options: Options) -> Peer {
    let keypair: Keypair = numbered_identity(number).expect("a key pair");
    let id = keypair.public().to_peer_id();
    let dir = dir();
    let store = PersistentStore::open(dir.path(), id, options).expect("opened");
    let mut swarm = build(&keypair, store, config, None).expect("built");
    let any = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    swarm.listen_on(any).expect("listening");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            swarm.add_external_address(address);
            break;
        }
    }
    Peer {
        swarm,
        id,
        _dir: dir,
    }
}

/// Lets the first of them know the others, and all of them the first.
pub(crate) fn acquaint(peers: &mut [Peer]) {
    let known: Vec<_> = peers
        .iter()
        .map(|peer| {
            let address = peer.swarm.external_addresses().next().expect("it listens");
            (peer.id, address.clone())
        })
        .collect();
    for peer in peers.iter_mut() {
        for (id, address) in known.iter().filter(|(id, _)| *id != peer.id) {
            peer.swarm
                .behaviour_mut()
                .kad
                .add_address(id, address.clone());
        }
    }
}

/// Runs all swarms until `seen` says of an event of one of them that it is the last.
pub(crate) async fn drive(peers: &mut [Peer], mut seen: impl FnMut(usize, &kad::Event) -> bool) {
    let end = Instant::now() + LONG;
    loop {
        assert!(Instant::now() < end, "it takes too long");
        let next =
            futures::future::select_all(peers.iter_mut().enumerate().map(|(at, peer)| {
                Box::pin(async move { (at, peer.swarm.select_next_some().await) })
            }));
        let (at, event) = next.await.0;
        if let SwarmEvent::Behaviour(NodeEvent::Kad(event)) = event
            && seen(at, &event)
        {
            return;
        }
    }
}

/// Runs all swarms until a look at the stores is content.
pub(crate) async fn drive_until(peers: &mut [Peer], mut content: impl FnMut(&mut [Peer]) -> bool) {
    let end = Instant::now() + LONG;
    while !content(peers) {
        assert!(Instant::now() < end, "it takes too long");
        let pause = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        let events = Box::pin(drive(peers, |_, _| false));
        if let Either::Left(_) = select(pause, events).await {}
    }
}

pub(crate) fn store(peer: &mut Peer) -> &mut PersistentStore {
    peer.swarm.behaviour_mut().kad.store_mut()
}

/// Upstream's put_record, with and without a filter.
#[tokio::test]
async fn a_record_that_is_put_reaches_the_others_with_its_deadline() {
    for filtering in [StoreInserts::Unfiltered, StoreInserts::FilterBoth] {
        let mut peers = Vec::new();
        for number in 0..4 {
            let mut config = config();
            config.set_record_filtering(filtering);
            peers.push(peer_with(number, config, Options::default()).await);
        }
        acquaint(&mut peers);
        let record = Record {
            expires: Some(Instant::now() + Duration::from_secs(1_000)),
            ..record(1, b"value")
        };
        let kad = &mut peers[0].swarm.behaviour_mut().kad;
        let three = Quorum::N(NonZeroUsize::new(3).expect("not zero"));
        kad.put_record(record.clone(), three).expect("put here");
        let mut received = 0;
        drive(&mut peers, |_, event| {
            if let kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { record, .. },
            } = event
            {
                assert_eq!(record.is_some(), filtering == StoreInserts::FilterBoth);
                received += 1;
            }
            matches!(
                event,
                kad::Event::OutboundQueryProgressed {
                    result: QueryResult::PutRecord(Ok(_)),
                    ..
                }
            )
        })
        .await;
        assert_eq!(received, 3);
        let own = store(&mut peers[0])
            .get(&key(1))
            .expect("kept here")
            .into_owned();
        assert_eq!(own.expires, record.expires, "to the nanosecond");
        for peer in &mut peers[1..] {
            let found = store(peer).get(&key(1)).map(std::borrow::Cow::into_owned);
            match filtering {
                StoreInserts::FilterBoth => assert_eq!(found, None, "the application decides"),
                StoreInserts::Unfiltered => {
                    let expires = found.expect("stored").expires.expect("it expires");
                    let wanted = record.expires.expect("set above");
                    let off = expires.max(wanted) - expires.min(wanted);
                    assert!(
                        off < Duration::from_secs(3),
                        "whole seconds on the wire: {off:?}"
                    );
                }
            }
            let count = usize::from(filtering == StoreInserts::Unfiltered);
            assert_eq!(store(peer).records().count(), count);
        }
        let kad = &mut peers[0].swarm.behaviour_mut().kad;
        kad.remove_record(&key(1));
        assert_eq!(store(&mut peers[0]).records().count(), 0);
    }
}

/// Upstream's get_record and get_record_many.
#[tokio::test]
async fn a_record_is_found_at_another_node() {
    let mut peers = Vec::new();
    for number in 10..13 {
        peers.push(peer_with(number, config(), Options::default()).await);
    }
    acquaint(&mut peers);
    store(&mut peers[2])
        .put(record(5, b"elsewhere"))
        .expect("put");
    peers[0].swarm.behaviour_mut().kad.get_record(key(5));
    drive(&mut peers, |_, event| {
        let kad::Event::OutboundQueryProgressed {
            result: QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))),
            ..
        } = event
        else {
            return false;
        };
        assert_eq!(found.record.value, b"elsewhere");
        true
    })
    .await;
}

/// Upstream's add_provider and get_providers, the end of providing included.
#[tokio::test]
async fn a_provider_is_announced_found_and_withdrawn() {
    let mut peers = Vec::new();
    for number in 20..24 {
        peers.push(peer_with(number, config(), Options::default()).await);
    }
    acquaint(&mut peers);
    let provider = peers[0].id;
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    kad.start_providing(key(1)).expect("an intent");
    // The holders' stores, not the sender's word.
    drive_until(&mut peers, |peers| {
        peers[1..].iter_mut().all(|peer| {
            let found = store(peer).providers(&key(1));
            found.len() == 1 && found[0].provider == provider && !found[0].addresses.is_empty()
        })
    })
    .await;
    peers[3].swarm.behaviour_mut().kad.get_providers(key(1));
    drive(&mut peers, |at, event| {
        let kad::Event::OutboundQueryProgressed {
            result:
                QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
                    providers, ..
                })),
            ..
        } = event
        else {
            return false;
        };
        assert_eq!(at, 3);
        assert!(providers.contains(&provider));
        true
    })
    .await;
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    kad.stop_providing(&key(1));
    assert_eq!(store(&mut peers[0]).provided().count(), 0);
}

/// Upstream's jobs: kad's own timers, short, yield what lives and remove what is over.
#[tokio::test]
async fn kads_own_jobs_replicate_from_the_store() {
    let mut quick = config();
    quick
        .set_replication_interval(Some(Duration::from_millis(300)))
        .set_publication_interval(Some(Duration::from_millis(600)))
        .set_provider_publication_interval(Some(Duration::from_millis(300)));
    let mut peers = vec![
        peer_with(30, quick, Options::default()).await,
        peer_with(31, config(), Options::default()).await,
    ];
    acquaint(&mut peers);
    let local = peers[0].id;
    for number in 0..20 {
        let provide = kad::ProviderRecord::new(key(number), local, vec![]);
        store(&mut peers[0]).add_provider(provide).expect("added");
        store(&mut peers[0])
            .put(record(number, b"replicated"))
            .expect("put");
    }
    drive_until(&mut peers, |peers| {
        let values = store(&mut peers[1]).records().count();
        let provides = store(&mut peers[1]).handle().stats().provider_records;
        values == 20 && provides == 20
    })
    .await;
    assert_eq!(store(&mut peers[0]).records().count(), 20);
}

/// Lets the driver of the first node work until that many records were published.
async fn publish_all(peers: &mut [Peer], driver: &mut Republisher, wanted: u64) {
    let end = Instant::now() + LONG;
    while driver.published() < wanted {
        assert!(Instant::now() < end, "{} published", driver.published());
        driver
            .tick(&mut peers[0].swarm.behaviour_mut().kad)
            .expect("open");
        let pause = Box::pin(tokio::time::sleep(Duration::from_millis(50)));
        let mut events = Vec::new();
        let running = Box::pin(drive(peers, |at, event| {
            if at == 0 {
                events.push(event.clone());
            }
            false
        }));
        if let Either::Left(_) = select(pause, running).await {}
        events.iter().for_each(|event| driver.on_event(event));
    }
}

/// The driver publishes what the store says is due, and says so to the store.
#[tokio::test]
async fn the_driver_publishes_after_a_restart_without_a_call_of_the_application() {
    let dir = dir();
    let keypair = numbered_identity(40).expect("a key pair");
    let local = keypair.public().to_peer_id();
    let options = Options::default().republish_interval(Duration::from_secs(3_600));
    {
        let mut store = PersistentStore::open(dir.path(), local, options.clone()).expect("opened");
        for number in 0..50 {
            let provide = kad::ProviderRecord::new(key(number), local, vec![]);
            store.add_provider(provide).expect("added");
            let mine = Record {
                publisher: Some(local),
                ..record(number, b"mine")
            };
            store.put(mine).expect("put");
        }
    }
    let store_again = PersistentStore::open(dir.path(), local, options).expect("opened");
    let handle = store_again.handle();
    let mut config = config();
    Republisher::configure(&mut config);
    let swarm = build(&keypair, store_again, config, None).expect("built");
    let mut peers = vec![
        Peer {
            swarm,
            id: local,
            _dir: dir,
        },
        peer_with(41, self::config(), Options::default()).await,
    ];
    let any = "/ip4/127.0.0.1/tcp/0".parse().expect("an address");
    peers[0].swarm.listen_on(any).expect("listening");
    let mut driver = Republisher::new(handle.clone()).queries_max(8);
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    assert_eq!(driver.tick(kad).expect("open").total, 100);
    assert_eq!(driver.published(), 0, "nobody is known yet");
    let other = peers[1]
        .swarm
        .external_addresses()
        .next()
        .expect("it listens")
        .clone();
    let id = peers[1].id;
    peers[0].swarm.behaviour_mut().kad.add_address(&id, other);
    publish_all(&mut peers, &mut driver, 100).await;
    assert_eq!(
        handle
            .due(Duration::from_secs(3_600), 10)
            .expect("open")
            .total,
        0
    );
    drive_until(&mut peers, |peers| {
        let stats = store(&mut peers[1]).handle().stats();
        (stats.records, stats.provider_records) == (50, 50)
    })
    .await;
    assert_eq!(driver.failures(), 0);
}
