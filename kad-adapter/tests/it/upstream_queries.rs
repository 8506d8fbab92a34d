//! What libp2p-kad 0.49's tests of its behaviour ask of a store, beyond what `behaviour.rs` has: in
//! our words, with real behaviours over TCP. A test is named after the one whose behaviour it has.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use libp2p_identity::PeerId;
use libp2p_kad as kad;
use libp2p_kad::store::RecordStore;
use libp2p_kad::{
    Event, GetProvidersOk, GetRecordError, GetRecordOk, KBucketKey, QueryResult, Quorum, Record,
    RecordKey, StoreInserts,
};
use peercask_kad::Options;

use crate::behaviour::{Peer, acquaint, config, drive, drive_until, peer_with, store};
use crate::support::*;

async fn peers(numbers: std::ops::Range<u64>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in numbers {
        peers.push(peer_with(number, config(), Options::default()).await);
    }
    peers
}

fn result_of(event: &Event) -> Option<(&QueryResult, bool)> {
    match event {
        Event::OutboundQueryProgressed { result, step, .. } => Some((result, step.last)),
        _ => None,
    }
}

/// The peers, but for the first, whose ids are closest to a key.
fn closest(peers: &[Peer], key: &RecordKey, count: usize) -> BTreeSet<PeerId> {
    let target = KBucketKey::new(key.clone());
    let mut ids: Vec<PeerId> = peers[1..].iter().map(|peer| peer.id).collect();
    ids.sort_by_key(|id| KBucketKey::from(*id).distance(&target));
    ids.into_iter().take(count).collect()
}

/// The peers, but for the first, in whose store there is something.
fn holders(peers: &mut [Peer], has: impl Fn(&mut Peer) -> bool) -> BTreeSet<PeerId> {
    let held = peers[1..].iter_mut().filter_map(|peer| {
        let id = peer.id;
        has(peer).then_some(id)
    });
    held.collect()
}

/// Replication factor 2; own values published again every so often.
fn closest_two() -> kad::Config {
    let mut two = config();
    two.set_replication_factor(NonZeroUsize::new(2).expect("not zero"))
        .set_publication_interval(Some(Duration::from_millis(400)))
        .set_replication_interval(None)
        .set_provider_publication_interval(Some(Duration::from_millis(400)));
    two
}

#[tokio::test]
async fn upstream_get_record_not_found() {
    let mut peers = peers(200..203).await;
    acquaint(&mut peers);
    peers[0].swarm.behaviour_mut().kad.get_record(key(1));
    drive(&mut peers, |_, event| match result_of(event) {
        Some((QueryResult::GetRecord(Err(GetRecordError::NotFound { key: of, .. })), _)) => {
            assert_eq!(*of, key(1));
            true
        }
        Some((other, _)) => panic!("{other:?}"),
        None => false,
    })
    .await;
}

#[tokio::test]
async fn upstream_get_record_many() {
    let mut peers = peers(210..216).await;
    acquaint(&mut peers);
    let kept = record(1, b"everywhere");
    for peer in &mut peers[1..] {
        store(peer).put(kept.clone()).expect("put");
    }
    peers[0].swarm.behaviour_mut().kad.get_record(key(1));
    let mut from = BTreeSet::new();
    drive(&mut peers, |_, event| {
        if let Some((QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))), _)) =
            result_of(event)
        {
            assert_eq!(found.record, kept);
            from.insert(found.peer);
        }
        from.len() == 4
    })
    .await;
}

/// What one path found is told at once, and the query goes on until all paths were walked.
#[tokio::test]
async fn upstream_disjoint_query_does_not_finish_before_all_paths_did() {
    let mut disjoint = config();
    disjoint
        .disjoint_query_paths(true)
        .set_parallelism(NonZeroUsize::new(2).expect("not zero"));
    let mut peers = vec![
        peer_with(220, disjoint, Options::default()).await,
        peer_with(221, config(), Options::default()).await,
        peer_with(222, config(), Options::default()).await,
    ];
    acquaint(&mut peers);
    store(&mut peers[1]).put(record(1, b"trudy")).expect("put");
    store(&mut peers[2]).put(record(1, b"bob")).expect("put");
    peers[0].swarm.behaviour_mut().kad.get_record(key(1));
    let mut values = Vec::new();
    let mut note = |at: usize, event: &Event| match result_of(event) {
        Some((QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))), last)) => {
            assert!(at == 0 && !last);
            values.push(found.record.value.clone());
            true
        }
        Some((other, _)) => panic!("{other:?}"),
        None => false,
    };
    // The third does not answer yet: its swarm stands still.
    drive(&mut peers[..2], &mut note).await;
    let rest = drive(&mut peers[..2], &mut note);
    let more = tokio::time::timeout(Duration::from_millis(300), rest).await;
    assert!(more.is_err(), "nothing more, and no end");
    drive(&mut peers, &mut note).await;
    assert_eq!(values, [b"trudy".to_vec(), b"bob".to_vec()]);
}

#[tokio::test]
async fn upstream_get_providers_single() {
    let mut peers = peers(230..231).await;
    let local = peers[0].id;
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    kad.start_providing(key(1)).expect("an intent");
    kad.get_providers(key(1));
    let mut found = Vec::new();
    drive(&mut peers, |_, event| match result_of(event) {
        Some((QueryResult::GetProviders(Ok(answer)), last)) => {
            if let GetProvidersOk::FoundProviders { providers, .. } = answer {
                found.extend(providers.iter().copied());
            }
            last
        }
        _ => false,
    })
    .await;
    assert_eq!(found, [local]);
}

/// `get_providers_limit_n_1`, `_n_2` and `_n_5`: two provide; who has enough ends the query.
#[tokio::test]
async fn upstream_get_providers_limit() {
    for wanted in [1, 2, 5_usize] {
        let mut peers = peers(240..243).await;
        acquaint(&mut peers);
        for peer in &mut peers[1..] {
            let kad = &mut peer.swarm.behaviour_mut().kad;
            kad.start_providing(key(1)).expect("an intent");
        }
        let id = peers[0].swarm.behaviour_mut().kad.get_providers(key(1));
        let mut found = BTreeSet::new();
        let mut ended = false;
        while !ended {
            drive(&mut peers, |at, event| match event {
                Event::OutboundQueryProgressed {
                    id: of,
                    result: QueryResult::GetProviders(Ok(answer)),
                    step,
                    ..
                } if at == 0 && *of == id => {
                    if let GetProvidersOk::FoundProviders { providers, .. } = answer {
                        found.extend(providers.iter().copied());
                    }
                    ended = step.last;
                    true
                }
                _ => false,
            })
            .await;
            if found.len() >= wanted
                && let Some(mut query) = peers[0].swarm.behaviour_mut().kad.query_mut(&id)
            {
                query.finish();
            }
        }
        assert!(!found.contains(&peers[0].id));
        assert!((wanted.min(2)..=2).contains(&found.len()), "{found:?}");
    }
}

/// A record goes to the closest nodes and no others, whether kad stores it there or the
/// application does, and is there again when its publisher publishes it again.
#[tokio::test]
async fn upstream_put_record() {
    for filtering in [StoreInserts::Unfiltered, StoreInserts::FilterBoth] {
        let mut peers = Vec::new();
        for number in 250..256 {
            let mut config = closest_two();
            config.set_record_filtering(filtering);
            peers.push(peer_with(number, config, Options::default()).await);
        }
        acquaint(&mut peers);
        let local = peers[0].id;
        let record = Record {
            expires: Some(std::time::Instant::now() + seconds(1_000)),
            ..record(1, b"value")
        };
        let kad = &mut peers[0].swarm.behaviour_mut().kad;
        kad.put_record(record.clone(), Quorum::All).expect("put");
        let expected = closest(&peers, &record.key, 2);
        until_held(&mut peers, &record.key, &expected).await;
        let own = store(&mut peers[0]).get(&record.key).expect("kept here");
        assert_eq!(own.expires, record.expires, "to the nanosecond");
        assert_eq!(own.publisher, Some(local));
        // Lost at its holders, it comes back by the job.
        for peer in &mut peers[1..] {
            store(peer).remove(&record.key);
        }
        until_held(&mut peers, &record.key, &expected).await;
        assert_eq!(store(&mut peers[0]).records().count(), 1);
        store(&mut peers[0]).remove(&record.key);
        assert_eq!(store(&mut peers[0]).records().count(), 0);
    }
}

/// Runs all, storing what kad hands to the application, until these hold the value and no others.
async fn until_held(peers: &mut [Peer], key: &RecordKey, expected: &BTreeSet<PeerId>) {
    loop {
        let mut handed = None;
        let step = drive(peers, |at, event| {
            if let Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { record, .. },
            } = event
            {
                handed = record.clone().map(|record| (at, record));
                return true;
            }
            false
        });
        // Without an event for so long there is none to come but by the next run of the job.
        let _quiet = tokio::time::timeout(Duration::from_millis(600), step).await;
        if let Some((at, record)) = handed {
            store(&mut peers[at]).put(record).expect("accepted");
        }
        let held = holders(peers, |peer| store(peer).get(key).is_some());
        assert!(held.is_subset(expected), "{held:?} of {expected:?}");
        if held == *expected {
            return;
        }
    }
}

#[tokio::test]
async fn upstream_add_provider() {
    let mut peers = Vec::new();
    for number in 260..266 {
        peers.push(peer_with(number, closest_two(), Options::default()).await);
    }
    acquaint(&mut peers);
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    for number in 0..3 {
        kad.start_providing(key(number)).expect("an intent");
    }
    for _round in 0..2 {
        for number in 0..3 {
            let expected = closest(&peers, &key(number), 2);
            drive_until(&mut peers, |peers| {
                let held = holders(peers, |peer| store(peer).providers(&key(number)).len() == 1);
                assert!(held.is_subset(&expected), "{held:?} of {expected:?}");
                held == expected
            })
            .await;
        }
        // Lost at its holders, each comes back by the job.
        let local = peers[0].id;
        for peer in &mut peers[1..] {
            (0..3).for_each(|number| store(peer).remove_provider(&key(number), &local));
        }
    }
    assert_eq!(store(&mut peers[0]).provided().count(), 3);
    let kad = &mut peers[0].swarm.behaviour_mut().kad;
    (0..3).for_each(|number| kad.stop_providing(&key(number)));
    assert_eq!(store(&mut peers[0]).provided().count(), 0);
}

/// More queries than kad's jobs may have at a time, while these jobs want to run: all of them end.
#[tokio::test]
async fn upstream_exceed_jobs_max_queries() {
    let mut peers = vec![peer_with(270, closest_two(), Options::default()).await];
    let local = peers[0].id;
    for number in 0..150 {
        let provide = kad::ProviderRecord::new(key(number), local, vec![]);
        store(&mut peers[0]).add_provider(provide).expect("added");
    }
    for number in 0..101 {
        let kad = &mut peers[0].swarm.behaviour_mut().kad;
        kad.get_closest_peers(peer(number));
    }
    let (mut asked, mut published) = (0, BTreeSet::new());
    drive(&mut peers, |_, event| {
        match result_of(event) {
            Some((QueryResult::GetClosestPeers(_), _)) => asked += 1,
            Some((QueryResult::RepublishProvider(Ok(done)), _)) => {
                published.insert(done.key.to_vec());
            }
            _ => {}
        }
        asked == 101 && published.len() == 150
    })
    .await;
}
