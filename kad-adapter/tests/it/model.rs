//! Random operations on a `MemoryStore` and on ours, with the same limits: the same answers.

use std::borrow::Cow;
use std::collections::HashSet;

use libp2p_kad::store::{MemoryStore, MemoryStoreConfig, RecordStore};
use libp2p_kad::{ProviderRecord, Record};
use peercask_kad::{Limits, PersistentStore};

use crate::support::*;

struct Pair {
    memory: MemoryStore,
    ours: PersistentStore,
    keys: u64,
    peers: u64,
    own: bool,
}

impl Pair {
    fn step(&mut self, rng: &mut Rng) {
        let number = rng.below(self.keys);
        let some_peer = match rng.below(8) {
            0 if self.own => local(),
            _ => peer(rng.below(self.peers)),
        };
        match rng.below(10) {
            0..=2 => {
                let record = Record {
                    value: vec![7; rng.below(120) as usize],
                    publisher: (rng.below(3) == 0).then_some(some_peer),
                    ..record(number, b"")
                };
                let (a, b) = (self.memory.put(record.clone()), self.ours.put(record));
                assert_eq!(format!("{a:?}"), format!("{b:?}"));
            }
            3 => {
                self.memory.remove(&key(number));
                self.ours.remove(&key(number));
            }
            4..=7 => {
                let addresses = (0..rng.below(3)).map(address).collect();
                let record = ProviderRecord::new(key(number), some_peer, addresses);
                let a = self.memory.add_provider(record.clone());
                let b = self.ours.add_provider(record);
                assert_eq!(format!("{a:?}"), format!("{b:?}"));
            }
            _ => {
                self.memory.remove_provider(&key(number), &some_peer);
                self.ours.remove_provider(&key(number), &some_peer);
            }
        }
        self.agree_on(number);
    }

    fn agree_on(&self, number: u64) {
        let key = key(number);
        assert_eq!(self.memory.get(&key), self.ours.get(&key));
        let (a, b) = (self.memory.providers(&key), self.ours.providers(&key));
        assert_eq!(a, b, "order included");
        for (a, b) in a.iter().zip(&b) {
            assert_eq!(a.addresses, b.addresses);
        }
    }

    fn agree_on_all(&self) {
        let a: HashSet<_> = self.memory.provided().map(Cow::into_owned).collect();
        let b: HashSet<_> = self.ours.provided().map(Cow::into_owned).collect();
        assert_eq!(a, b);
        let sorted = |mut records: Vec<Record>| {
            records.sort_by_key(|record| record.key.to_vec());
            records
        };
        let a: Vec<Record> = self.memory.records().map(Cow::into_owned).collect();
        let b: Vec<Record> = self.ours.records().map(Cow::into_owned).collect();
        assert_eq!(sorted(a), sorted(b));
    }
}

fn run(seed: u64, operations: u64, own: bool, config: MemoryStoreConfig) {
    let dir = dir();
    let limits = Limits::from(&config);
    let options = quiet().limits(limits).window_records(100_000);
    let mut pair = Pair {
        memory: MemoryStore::with_config(local(), config),
        ours: open_with(dir.path(), options.clone()),
        keys: 60,
        peers: 12,
        own,
    };
    let mut rng = Rng::new(seed);
    for number in 0..operations {
        pair.step(&mut rng);
        match rng.below(2_000) {
            0 => {
                let Pair { ours, .. } = &mut pair;
                ours.handle().close().expect("closed");
                *ours = open_with(dir.path(), options.clone());
            }
            1..=20 => pair.ours.handle().step().expect("stepped"),
            _ => {}
        }
        if number % 500 == 0 {
            pair.agree_on_all();
        }
    }
    pair.agree_on_all();
    assert_eq!(pair.ours.handle().stats().undecodable, 0);
}

/// Own provides have quotas of their own here, so the limits are for foreign records only.
#[test]
fn a_hundred_thousand_random_operations_agree_with_memory_store() {
    let tight = MemoryStoreConfig {
        max_records: 30,
        max_value_bytes: 100,
        max_providers_per_key: 4,
        max_provided_keys: 35,
    };
    let wide = MemoryStoreConfig {
        max_providers_per_key: 100,
        ..MemoryStoreConfig::default()
    };
    for seed in 0..rounds(1) {
        run(seed, 50_000, false, tight.clone());
        run(seed, 50_000, true, wide.clone());
    }
}
