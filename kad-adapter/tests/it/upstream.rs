//! What libp2p-kad 0.49's own tests of `MemoryStore` and of its background jobs ask of a store, one
//! test each, in our words. Each runs on `MemoryStore` too, so that a wrong port shows, and on ours
//! a second time with a close and an open between any two steps where no deadline forbids it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libp2p_identity::PeerId;
use libp2p_kad::store::{Error, MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p_kad::{Event, ProviderRecord, QueryResult, Record, RecordKey};
use libp2p_swarm::SwarmEvent;
use peercask_kad::{Limits, Options, PersistentStore};

use crate::common::any_store::AnyStore;
use crate::common::swarm::{NodeEvent, PROTOCOL, build, numbered_identity};
use crate::support::*;

/// A store under trial.
struct Trial {
    name: &'static str,
    store: Option<AnyStore>,
    dir: Option<tempfile::TempDir>,
    reopens: bool,
}

impl Trial {
    /// The store for the next step, opened again if this trial does so.
    fn next(&mut self) -> &mut AnyStore {
        if let Some(dir) = self.dir.as_ref().filter(|_| self.reopens) {
            drop(self.store.take());
            self.store = Some(AnyStore::Disk(opened(dir)));
        }
        self.store.as_mut().expect("it is put back above")
    }

    fn providers(&mut self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.next().providers(key)
    }

    fn provided(&mut self) -> Vec<ProviderRecord> {
        self.next().provided().map(Cow::into_owned).collect()
    }
}

/// With the limits that `MemoryStore` has by default.
fn opened(dir: &tempfile::TempDir) -> PersistentStore {
    let limits = Limits::from(&MemoryStoreConfig::default());
    open_with(dir.path(), quiet().limits(limits))
}

fn on_each(reopens: bool, behaviour: impl Fn(&mut Trial)) {
    let memory = Trial {
        name: "MemoryStore",
        store: Some(AnyStore::Memory(MemoryStore::new(local()))),
        dir: None,
        reopens: false,
    };
    let ours = |name, reopens| {
        let dir = dir();
        Trial {
            name,
            store: Some(AnyStore::Disk(opened(&dir))),
            dir: Some(dir),
            reopens,
        }
    };
    let mut trials = vec![memory, ours("ours", false)];
    if reopens {
        trials.push(ours("ours, opened again each time", true));
    }
    trials.iter_mut().for_each(behaviour);
}

/// A record with everything that may be there or not; what has a deadline has up to a minute.
fn any_record(rng: &mut Rng, may_expire: bool) -> Record {
    let len = rng.below(300);
    let expires = may_expire && rng.below(2) == 0;
    Record {
        key: key(rng.next()),
        value: (0..len).map(|_| rng.next() as u8).collect(),
        publisher: (rng.below(2) == 0).then(|| peer(rng.next())),
        expires: expires.then(|| Instant::now() + seconds(rng.below(60))),
    }
}

fn any_provide(rng: &mut Rng, may_expire: bool) -> ProviderRecord {
    let expires = may_expire && rng.below(2) == 0;
    ProviderRecord {
        key: key(rng.next()),
        provider: peer(rng.next()),
        expires: expires.then(|| Instant::now() + seconds(rng.below(60))),
        addresses: (0..rng.below(4)).map(address).collect(),
    }
}

/// `put_get_remove_record`
#[test]
fn upstream_put_get_remove_record() {
    for (may_expire, times) in [(true, 100), (false, 15)] {
        on_each(!may_expire, |trial| {
            let mut rng = Rng::new(1);
            for _ in 0..times {
                let record = any_record(&mut rng, may_expire);
                trial.next().put(record.clone()).expect(trial.name);
                let found = trial.next().get(&record.key).map(Cow::into_owned);
                assert_eq!(found, Some(record.clone()), "{}", trial.name);
                trial.next().remove(&record.key);
                assert!(trial.next().get(&record.key).is_none(), "{}", trial.name);
            }
        });
    }
}

/// `add_get_remove_provider`
#[test]
fn upstream_add_get_remove_provider() {
    for (may_expire, times) in [(true, 100), (false, 15)] {
        on_each(!may_expire, |trial| {
            let mut rng = Rng::new(2);
            for _ in 0..times {
                let provide = any_provide(&mut rng, may_expire);
                trial.next().add_provider(provide.clone()).expect("added");
                let found = trial.providers(&provide.key);
                assert!(found.contains(&provide), "{}", trial.name);
                assert_eq!(found[0].addresses, provide.addresses, "{}", trial.name);
                assert_eq!(found[0].expires, provide.expires, "{}", trial.name);
                let store = trial.next();
                store.remove_provider(&provide.key, &provide.provider);
                assert!(!trial.providers(&provide.key).contains(&provide));
            }
        });
    }
}

/// `provided`
#[test]
fn upstream_provided() {
    on_each(true, |trial| {
        let provide = own_provide(1);
        trial.next().add_provider(provide.clone()).expect("added");
        assert_eq!(
            trial.provided(),
            std::slice::from_ref(&provide),
            "{}",
            trial.name
        );
        trial.next().remove_provider(&provide.key, &local());
        assert_eq!(trial.provided(), [], "{}", trial.name);
    });
}

/// `update_provider`: one whose deadline is now is listed still.
#[test]
fn upstream_update_provider() {
    on_each(false, |trial| {
        let mut provide = ProviderRecord::new(key(1), peer(1), Vec::new());
        trial.next().add_provider(provide.clone()).expect("added");
        assert_eq!(trial.providers(&key(1)), [provide.clone()]);
        provide.expires = Some(Instant::now());
        trial.next().add_provider(provide.clone()).expect("updated");
        let found = trial.providers(&key(1));
        assert_eq!(found, [provide.clone()], "{}", trial.name);
        assert_eq!(found[0].expires, provide.expires, "{}", trial.name);
    });
}

/// `update_provided`: a second add is one record still. (What it says of the deadline differs: an
/// intent without an end keeps none here.)
#[test]
fn upstream_update_provided() {
    on_each(false, |trial| {
        let mut provide = own_provide(1);
        trial.next().add_provider(provide.clone()).expect("added");
        assert_eq!(trial.provided(), [provide.clone()], "{}", trial.name);
        provide.expires = Some(Instant::now());
        trial.next().add_provider(provide.clone()).expect("updated");
        assert_eq!(trial.provided(), [provide], "{}", trial.name);
    });
}

/// `max_providers_per_key`
#[test]
fn upstream_max_providers_per_key() {
    on_each(true, |trial| {
        for who in 0..20 {
            trial.next().add_provider(provider(1, who)).expect("added");
        }
        let one_more = provider(1, 99);
        trial.next().add_provider(one_more.clone()).expect("Ok");
        let found = trial.providers(&key(1));
        assert!(!found.contains(&one_more), "{}", trial.name);
        let first: Vec<_> = (0..20).map(|who| provider(1, who)).collect();
        assert_eq!(found, first, "{}", trial.name);
    });
}

/// `max_provided_keys`
#[test]
fn upstream_max_provided_keys() {
    on_each(false, |trial| {
        let max = MemoryStoreConfig::default().max_provided_keys as u64;
        for number in 0..max {
            let provide = provider(number, number);
            trial.next().add_provider(provide).expect("added");
        }
        let reopens = trial.dir.is_some();
        trial.reopens = reopens;
        assert!(matches!(
            trial.next().add_provider(provider(max, max)),
            Err(Error::MaxProvidedKeys)
        ));
    });
}

/// `run_put_record_job` and `run_add_provider_job`, through kad's own jobs: every own record that
/// lives is published, in the order of `records()` and `provided()` which is the same at each call;
/// what is over is not, and goes.
#[tokio::test]
async fn upstream_jobs_publish_what_lives_and_nothing_else() {
    let dir = dir();
    let keypair = numbered_identity(70).expect("a key pair");
    let local = keypair.public().to_peer_id();
    let options = Options::default().grace(Duration::ZERO);
    let mut store = PersistentStore::open(dir.path(), local, options).expect("opened");
    let handle = store.handle();
    fill_for_jobs(&mut store, local);
    let order = |store: &PersistentStore| -> (Vec<_>, Vec<_>) {
        let records = store.records().map(|one| one.key.clone());
        let provided = store.provided().map(|one| one.key.clone());
        (records.collect(), provided.collect())
    };
    assert_eq!(order(&store), order(&store));
    let mut config = libp2p_kad::Config::new(PROTOCOL);
    config
        .set_replication_interval(Some(Duration::from_millis(150)))
        .set_publication_interval(Some(Duration::from_millis(150)))
        .set_provider_publication_interval(Some(Duration::from_millis(150)));
    let mut swarm = build(&keypair, store, config, None).expect("built");
    let wanted: BTreeSet<Vec<u8>> = (0..30).map(|number| key(number).to_vec()).collect();
    let (mut records, mut provides) = (BTreeSet::new(), BTreeSet::new());
    let end = Instant::now() + Duration::from_secs(60);
    // Published once and again; by then what was over is gone.
    let (mut events, is_gone) = (0, || handle.stats().swept == 10);
    while (&records, &provides) != (&wanted, &wanted) || events < 180 || !is_gone() {
        assert!(Instant::now() < end, "{records:?} {provides:?} {events}");
        let pause = tokio::time::timeout(Duration::from_millis(50), swarm.select_next_some());
        let Ok(SwarmEvent::Behaviour(NodeEvent::Kad(Event::OutboundQueryProgressed {
            result,
            ..
        }))) = pause.await
        else {
            continue;
        };
        events += 1;
        match result {
            // Nobody is there to take it; it was tried.
            QueryResult::RepublishRecord(Err(error)) => drop(records.insert(error.key().to_vec())),
            QueryResult::RepublishProvider(Ok(done)) => drop(provides.insert(done.key.to_vec())),
            other => panic!("{other:?}"),
        }
    }
    let stats = handle.stats();
    assert_eq!((stats.own_records, stats.own_keys), (30, 30));
    assert_eq!(stats.records, 40, "with those of others");
}

/// 30 own values and provides that live, 5 of each that are over, and 10 values of others.
fn fill_for_jobs(store: &mut PersistentStore, local: PeerId) {
    let now = Instant::now();
    for number in 0..35 {
        let expires = match number {
            30.. => Some(now),
            _ if number % 2 == 0 => Some(now + seconds(600)),
            _ => None,
        };
        let provide = ProviderRecord {
            expires,
            ..ProviderRecord::new(key(number), local, vec![])
        };
        store.add_provider(provide).expect("added");
        let value = Record {
            expires,
            publisher: Some(local),
            ..record(number, b"mine")
        };
        store.put(value).expect("put");
    }
    for number in 100..110 {
        store.put(record(number, b"theirs")).expect("put");
    }
}
