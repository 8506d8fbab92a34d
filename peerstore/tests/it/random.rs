//! Random operations against a plain list, in process and through the service: the same answers
//! after every step, over reopens and merges.

use std::time::Duration;

use peercask::Merge;
use peercask_peerstore::gnunet::{
    Acknowledge, Connection, FOREVER, Filter, Options, Order, Query, Record, Stored,
};

use crate::common::seeds;
use crate::support::{Multiple, NOW_US, Place, Replace, Via, both, peer};

/// What a peerstore is: records in the order of insertion.
#[derive(Default)]
struct Model {
    records: Vec<Stored>,
}

impl Model {
    fn remove(&mut self, gone: impl Fn(&Record) -> bool) -> u64 {
        let before = self.records.len();
        self.records.retain(|stored| !gone(&stored.record));
        u64::try_from(before - self.records.len()).expect("small")
    }

    fn found(&self, filter: &Filter, order: Order, after: u64, hide_before_us: u64) -> Vec<Stored> {
        let chosen = |stored: &&Stored| {
            let record = &stored.record;
            filter.matches(&record.subsystem, &record.peer, &record.key)
                && stored.seq > after
                && record.expiry_us >= hide_before_us
        };
        let mut found: Vec<Stored> = self.records.iter().filter(chosen).cloned().collect();
        if order == Order::Peer {
            found.sort_by(|a, b| {
                let place =
                    |stored: &Stored| (stored.record.peer, stored.record.key.clone(), stored.seq);
                place(a).cmp(&place(b))
            });
        }
        found
    }
}

fn name(rng: &mut fastrand::Rng) -> &'static str {
    ["", "a", "b", "ab", "\u{fc}"][rng.usize(..5)]
}

fn random_record(rng: &mut fastrand::Rng) -> Record {
    let len = [0, 1, 9, 300, 5_000][rng.usize(..5)];
    let value: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(len).collect();
    let (subsystem, key) = (name(rng), name(rng));
    let expiry_us = match rng.u8(..4) {
        0 => NOW_US + rng.u64(..40_000_000),
        _ => FOREVER,
    };
    Record::new(subsystem, peer(rng.u8(..4)), key, value).expires_at_us(expiry_us)
}

fn random_filter(rng: &mut fastrand::Rng) -> Filter {
    let mut filter = Filter::subsystem(name(rng));
    if rng.bool() {
        filter = filter.peer(peer(rng.u8(..4)));
    }
    if rng.bool() {
        filter = filter.key(name(rng));
    }
    filter
}

fn change(rng: &mut fastrand::Rng, connection: &Connection, model: &mut Model, now_us: u64) {
    match rng.u8(..20) {
        0 => {
            let filter = random_filter(rng);
            let gone =
                |record: &Record| filter.matches(&record.subsystem, &record.peer, &record.key);
            assert_eq!(
                connection.remove(&filter).expect("removed"),
                model.remove(gone)
            );
        }
        1 => {
            let who = peer(rng.u8(..4));
            let gone = |record: &Record| record.peer == who;
            assert_eq!(
                connection.forget_peer(who).expect("removed"),
                model.remove(gone)
            );
        }
        2 | 3 => {
            let gone = |record: &Record| record.expiry_us < now_us;
            assert_eq!(connection.expire(None).expect("swept"), model.remove(gone));
        }
        kind => {
            let record = random_record(rng);
            let option = if kind < 12 { Replace } else { Multiple };
            let level = [Acknowledge::Accepted, Acknowledge::Kernel][rng.usize(..2)];
            let seq = connection.store(&record, option, level).expect("stored");
            if option == Replace {
                let same = record.triple();
                model.remove(|old| same.matches(&old.subsystem, &old.peer, &old.key));
            }
            model.records.push(Stored { seq, record });
        }
    }
}

fn look(rng: &mut fastrand::Rng, connection: &Connection, model: &Model, hide_before_us: u64) {
    let filter = random_filter(rng);
    let order = [Order::Insertion, Order::Peer][rng.usize(..2)];
    let after = match rng.bool() {
        true => model
            .records
            .get(rng.usize(..20))
            .map_or(0, |stored| stored.seq),
        false => 0,
    };
    let query = Query::new(filter.clone()).order(order).after(after);
    let found = connection.iterate(query).expect("a walk");
    let found: Vec<Stored> = found.map(|stored| stored.expect("readable")).collect();
    assert_eq!(
        found,
        model.found(&filter, order, after, hide_before_us),
        "{filter:?} {order:?}"
    );
}

both! {
    fn random_operations_match_a_plain_list(via) {
        for seed in seeds(6) {
            let hide = seed % 2 == 0;
            let mut rng = fastrand::Rng::with_seed(seed);
            let store = |clock: &std::sync::Arc<peercask::ManualClock>| {
                peercask::Options::default()
                    .clock(clock.clone())
                    .background(false)
                    .segment_bytes(16 << 10)
            };
            let mut place = Place::new(via, Options::native().hide_expired(hide));
            let options = place.options().store(store(&place.clock)).sweep_interval(None);
            place.reopen_with(options);
            let mut model = Model::default();
            let mut now_us = NOW_US;
            // The sweep at open is the first of its life.
            for step in 0..6 {
                let connection = place.connect();
                for _ in 0..60 {
                    change(&mut rng, &connection, &mut model, now_us);
                    if rng.u8(..8) == 0 {
                        place.clock.advance(Duration::from_secs(1));
                        now_us += 1_000_000;
                    }
                    let hide_before_us = if hide { now_us } else { 0 };
                    look(&mut rng, &connection, &model, hide_before_us);
                }
                drop(connection);
                if step % 3 == 1 {
                    place.peerstore().engine().merge(Merge::Full).expect("merged");
                }
                place.reopen();
                model.remove(|record| record.expiry_us < now_us);
            }
        }
    }
}

/// Threads store, replace, remove and walk on one peerstore; whatever a walk meets is whole.
#[test]
fn threads_meet_only_whole_states() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore();
    std::thread::scope(|scope| {
        for thread in 0..2_u8 {
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(u64::from(thread));
                for at in 0..1_500_u32 {
                    // A replace never leaves its triple empty and never doubles it.
                    let key = format!("k{}", rng.u8(..3));
                    let one = Record::new("s", peer(thread), key, at.to_le_bytes().to_vec());
                    peers.store(&one, Replace).expect("stored");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = std::collections::HashMap::new();
                for round in 0..300 {
                    let order = [Order::Insertion, Order::Peer][round % 2];
                    let walk = peers.iterate(Query::new(Filter::subsystem("s")).order(order));
                    let mut triples = std::collections::HashSet::new();
                    for stored in walk.expect("a walk") {
                        let Stored { seq, record } = stored.expect("readable");
                        let triple = (record.peer, record.key.clone());
                        assert!(
                            triples.insert(triple.clone()),
                            "a replaced record beside the new one"
                        );
                        let before = last.insert(triple, seq);
                        assert!(
                            before.is_none_or(|before| before <= seq),
                            "time runs backwards"
                        );
                    }
                    assert!(
                        triples.len() >= last.len(),
                        "a replace left its triple empty"
                    );
                }
            });
        }
    });
    assert_eq!(peers.stats().expect("stats").kept_for_iterations, 0);
}
