//! The store against a plain map: random sequences of everything a caller can do, with an
//! injected clock, both index kinds, comparisons, transactions, snapshots, merges, clean reopens and
//! kills after which the kernel has what was written. Seeds come from proptest, which shrinks what
//! fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use peercask::{
    Durability, ErrorKind, Expected, IndexKind, Keyspace, KeyspaceOptions, ManualClock, Merge,
    Options, Snapshot, Store, Swap, Transaction, Write,
};
use proptest::prelude::*;

/// One thing a caller does.
#[derive(Clone, Debug)]
enum Step {
    Put {
        space: u8,
        key: u8,
        len: u16,
        ttl_s: Option<u16>,
        how: u8,
    },
    Delete {
        space: u8,
        key: u8,
    },
    Batch(Vec<(u8, u8, Option<u16>)>),
    /// Write if the version is what the model has, or something else.
    Swap {
        space: u8,
        key: u8,
        len: Option<u16>,
        right: bool,
        by: u8,
    },
    /// Reads and writes in a transaction, and how it ends.
    Transact(Vec<(u8, u8, Option<u16>)>, End),
    DeletePrefix(u8),
    Snapshot,
    DropSnapshot(u8),
    Pass {
        seconds: u16,
    },
    MoveWall {
        seconds: i32,
    },
    Merge,
    MergeFull,
    Reopen,
    ReopenWithoutHints,
    Kill,
    Drop {
        space: u8,
    },
    Sync,
    Check,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Rollback,
    /// A plain write of one of its keys comes between.
    Conflict,
    /// And one that has nothing to do with it.
    Bystander,
}

fn step() -> impl Strategy<Value = Step> {
    let space = 0..3_u8;
    let key = 0..24_u8;
    let value = (space.clone(), key.clone(), proptest::option::of(0..600_u16));
    prop_oneof![
        12 => (space.clone(), key.clone(), 0..900_u16, proptest::option::of(1..400_u16), 0..3_u8)
            .prop_map(|(space, key, len, ttl_s, how)| Step::Put { space, key, len, ttl_s, how }),
        5 => (space.clone(), key).prop_map(|(space, key)| Step::Delete { space, key }),
        3 => proptest::collection::vec(value.clone(), 1..8).prop_map(Step::Batch),
        3 => (space.clone(), 0..24_u8, proptest::option::of(0..600_u16), any::<bool>(), 0..3_u8)
            .prop_map(|(space, key, len, right, by)| Step::Swap { space, key, len, right, by }),
        4 => (proptest::collection::vec(value, 1..8), end())
            .prop_map(|(items, end)| Step::Transact(items, end)),
        1 => (0..24_u8).prop_map(Step::DeletePrefix),
        2 => Just(Step::Snapshot),
        1 => (0..4_u8).prop_map(Step::DropSnapshot),
        2 => (0..300_u16).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-4_000..3_000_i32).prop_map(|seconds| Step::MoveWall { seconds }),
        2 => Just(Step::Merge),
        1 => Just(Step::MergeFull),
        1 => Just(Step::Reopen),
        1 => Just(Step::ReopenWithoutHints),
        1 => Just(Step::Kill),
        1 => space.prop_map(|space| Step::Drop { space }),
        1 => Just(Step::Sync),
        2 => Just(Step::Check),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Commit),
        1 => Just(End::Rollback),
        1 => Just(End::Conflict),
        1 => Just(End::Bystander),
    ]
}

/// A value and when it expires.
type Model = BTreeMap<(u8, Vec<u8>), (Vec<u8>, Option<u64>)>;

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Option<Store>,
    spaces: Vec<Keyspace>,
    model: Model,
    count: u64,
    /// Snapshots with the keyspaces, the content and the time at which they were taken.
    snapshots: Vec<(Snapshot, Vec<Keyspace>, Model, u64)>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            dir: tempfile::tempdir().expect("a temporary directory"),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            store: None,
            spaces: Vec::new(),
            model: Model::new(),
            count: 0,
            snapshots: Vec::new(),
        };
        world.open();
        world
    }

    fn options(&self) -> Options {
        Options::default()
            .segment_bytes(4_096)
            .buffer_bytes(4_096)
            .reserve_bytes(0)
            .durability(Durability::Kernel)
            .background(false)
            .clock(self.clock.clone())
    }

    fn open(&mut self) {
        let store = Store::open(self.dir.path(), self.options()).expect("opens");
        assert_eq!(store.recovery().damage, [], "nothing was damaged");
        self.spaces = (0..3).map(|space| open_space(&store, space)).collect();
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between steps")
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Put {
                space,
                key,
                len,
                ttl_s,
                how,
            } => self.put(*space, *key, *len, *ttl_s, *how),
            Step::Delete { space, key } => self.delete(*space, *key),
            Step::Batch(items) => self.batch(items),
            Step::Swap {
                space,
                key,
                len,
                right,
                by,
            } => self.swap(*space, *key, *len, *right, *by),
            Step::Transact(items, end) => self.transact(items, *end),
            Step::DeletePrefix(key) => self.delete_prefix(*key),
            Step::Snapshot => self.snapshot(),
            Step::DropSnapshot(at) => {
                let at = usize::from(*at);
                if at < self.snapshots.len() {
                    self.snapshots.swap_remove(at);
                }
            }
            Step::Pass { seconds } => self.clock.advance(Duration::from_secs((*seconds).into())),
            Step::MoveWall { seconds } => self.clock.step_wall_ms(i64::from(*seconds) * 1_000),
            Step::Merge => drop(self.store().merge(Merge::Needed).expect("merges")),
            Step::MergeFull => self.merge_full(),
            Step::Reopen => self.reopen(false),
            Step::ReopenWithoutHints => self.reopen(true),
            Step::Kill => self.kill(),
            Step::Drop { space } => self.drop_space(*space),
            Step::Sync => self.store().sync().expect("syncs"),
            Step::Check => self.check(),
        }
    }

    fn put(&mut self, space: u8, key: u8, len: u16, ttl_s: Option<u16>, how: u8) {
        self.count += 1;
        let value = value(self.count, len);
        let how = [Durability::Buffered, Durability::Kernel, Durability::Device][usize::from(how)];
        let mut write = Write::new().durability(how);
        let expires = ttl_s.map(|ttl| self.store().now_ms() + u64::from(ttl) * 1_000);
        if let Some(at) = expires {
            write = write.expires_at_ms(at);
        }
        let commit = self.spaces[usize::from(space)].put_with(key_of(key), &value, write);
        commit.expect("put").wait().expect("durable");
        self.model.insert((space, key_of(key)), (value, expires));
    }

    fn delete(&mut self, space: u8, key: u8) {
        let existed = self.spaces[usize::from(space)]
            .delete(key_of(key))
            .expect("deleted");
        let was = self.live(space, &key_of(key)).is_some();
        assert_eq!(existed, was, "delete tells whether there was a live value");
        self.model.remove(&(space, key_of(key)));
    }

    fn batch(&mut self, items: &[(u8, u8, Option<u16>)]) {
        let mut batch = self.store().batch();
        let mut changes = Vec::new();
        for (space, key, len) in items {
            self.count += 1;
            let keyspace = &self.spaces[usize::from(*space)];
            match len {
                Some(len) => {
                    let value = value(self.count, *len);
                    batch.put(keyspace, key_of(*key), &value);
                    changes.push((*space, *key, Some(value)));
                }
                None => {
                    batch.delete(keyspace, key_of(*key));
                    changes.push((*space, *key, None));
                }
            }
        }
        batch.commit().expect("committed");
        for (space, key, value) in changes {
            match value {
                Some(value) => {
                    self.model.insert((space, key_of(key)), (value, None));
                }
                None => {
                    self.model.remove(&(space, key_of(key)));
                }
            }
        }
    }

    /// By `by`: expects absence, the seq or the value; what stands there, or something else.
    fn swap(&mut self, space: u8, key: u8, len: Option<u16>, right: bool, by: u8) {
        self.count += 1;
        let keyspace = self.spaces[usize::from(space)].clone();
        let (key, current) = (key_of(key), self.live(space, &key_of(key)).cloned());
        let entry = keyspace.entry(&key).expect("readable");
        assert_eq!(entry.as_ref().map(|entry| entry.value.to_vec()), current);
        let other = b"something else".to_vec();
        let (expected, holds) = match (by, &entry) {
            (0, _) => (Expected::Absent, entry.is_none()),
            (1, Some(entry)) => {
                let seq = peercask::Seq(entry.seq.0 - u64::from(!right));
                (Expected::Seq(seq), right)
            }
            (_, Some(entry)) if right => (Expected::Value(&entry.value), true),
            _ => (Expected::Value(&other), false),
        };
        let value = value(self.count, len.unwrap_or(0));
        let swapped = match len {
            Some(_) => keyspace.put_if(&key, &value, expected, Write::new()),
            None => keyspace.delete_if(&key, expected, Durability::Kernel),
        };
        match swapped.expect("no error") {
            Swap::Applied(commit) => {
                assert!(holds, "{expected:?} of {entry:?}");
                commit.wait().expect("durable");
                if len.is_some() {
                    self.model.insert((space, key), (value, None));
                } else {
                    self.model.remove(&(space, key));
                }
            }
            Swap::Refused(found) => {
                assert!(!holds, "{expected:?} of {entry:?}");
                let seen = |entry: peercask::Entry| (entry.seq, entry.value.to_vec());
                assert_eq!(found.map(seen), entry.map(seen));
            }
        }
    }

    fn delete_prefix(&mut self, key: u8) {
        let (prefix, now) = (key_of(key), self.store().now_ms());
        let live = visible(&self.model, 1, now);
        let live = live.keys().filter(|key| key.starts_with(&prefix)).count();
        let removed = self.spaces[1].delete_prefix(&prefix).expect("deleted");
        assert_eq!(removed, live as u64);
        let hit = |space: u8, key: &[u8]| space == 1 && key.starts_with(&prefix);
        self.model.retain(|(space, key), _| !hit(*space, key));
    }

    fn transact(&mut self, items: &[(u8, u8, Option<u16>)], end: End) {
        let (store, before) = (self.store().clone(), self.model.clone());
        let mut tx = store.begin().expect("its turn");
        for (space, key, len) in items {
            self.count += 1;
            let keyspace = self.spaces[usize::from(*space)].clone();
            let place = (*space, key_of(*key));
            match len {
                Some(len) => {
                    let value = value(self.count, *len);
                    tx.put(&keyspace, &place.1, &value).expect("put");
                    self.model.insert(place, (value, None));
                }
                None => {
                    let existed = tx.delete(&keyspace, &place.1).expect("deleted");
                    assert_eq!(existed, self.live(place.0, &place.1).is_some());
                    self.model.remove(&place);
                }
            }
        }
        self.check_inside(&tx);
        let (space, key, _) = items[0];
        match end {
            End::Commit => drop(tx.commit().expect("nothing came between")),
            End::Rollback => {
                drop(tx);
                self.model = before;
            }
            End::Conflict => {
                self.model = before;
                self.put(space, key, 20, None, 1);
                let refused = tx.commit().expect_err("one of its keys was written");
                assert_eq!(refused.kind(), ErrorKind::Conflict);
            }
            // Having read everything, it conflicts with every plain write.
            End::Bystander => {
                self.model = before;
                self.put(1, 23, 20, None, 1);
                let refused = tx.commit().expect_err("it has read all keys");
                assert_eq!(refused.kind(), ErrorKind::Conflict);
            }
        }
    }

    /// The transaction sees the model, point by point and in both directions.
    fn check_inside(&self, tx: &Transaction) {
        let now = self.store().now_ms();
        for (at, keyspace) in (0_u8..).zip(&self.spaces) {
            let expected = visible(&self.model, at, now);
            for key in 0..24 {
                let got = tx.get(keyspace, key_of(key)).expect("readable");
                let want = expected.get(&key_of(key));
                assert_eq!(
                    got.as_deref(),
                    want.map(Vec::as_slice),
                    "keyspace {at} key {key}"
                );
            }
            if keyspace.kind() == IndexKind::Ordered {
                let pair = |pair: peercask::Result<(peercask::Value, peercask::Value)>| {
                    let (key, value) = pair.expect("readable");
                    (key.to_vec(), value.to_vec())
                };
                let forth = tx.iter(keyspace).expect("ordered").map(pair);
                assert!(forth.eq(expected.clone()), "forth in a transaction");
                let back = tx.iter(keyspace).expect("ordered").rev().map(pair);
                assert!(back.eq(expected.into_iter().rev()), "back in a transaction");
            }
        }
    }

    fn snapshot(&mut self) {
        if self.snapshots.len() == 4 {
            self.snapshots.remove(0);
        }
        let snapshot = self.store().snapshot().expect("open");
        let now = self.store().now_ms();
        assert_eq!(snapshot.time_ms(), now);
        let (spaces, model) = (self.spaces.clone(), self.model.clone());
        self.snapshots.push((snapshot, spaces, model, now));
    }

    /// Each snapshot shows what was there when it was taken.
    fn check_snapshots(&self) {
        for (snapshot, spaces, model, now) in &self.snapshots {
            for (at, keyspace) in (0_u8..).zip(spaces) {
                if keyspace.info().is_err() {
                    let refused = snapshot
                        .walk(keyspace)
                        .map(drop)
                        .expect_err("dropped since");
                    assert_eq!(refused.kind(), ErrorKind::NotFound);
                    continue;
                }
                let expected = visible(model, at, *now);
                let pair = |entry: peercask::Result<peercask::Entry>| {
                    let entry = entry.expect("readable");
                    (entry.key.to_vec(), entry.value.to_vec())
                };
                let walked: Vec<_> = snapshot.walk(keyspace).expect("walk").map(pair).collect();
                assert_eq!(walked.len(), expected.len(), "no key twice");
                let walked: BTreeMap<_, _> = walked.into_iter().collect();
                assert_eq!(walked, expected, "keyspace {at} in a snapshot");
                for key in 0..24 {
                    let got = snapshot.get(keyspace, key_of(key)).expect("readable");
                    let want = expected.get(&key_of(key));
                    assert_eq!(got.as_deref(), want.map(Vec::as_slice), "key {key}");
                }
                if keyspace.kind() == IndexKind::Ordered {
                    let back = snapshot.iter(keyspace).expect("ordered").rev().map(pair);
                    assert!(back.eq(expected.into_iter().rev()), "back in a snapshot");
                }
            }
        }
    }

    /// The process dies: its directory as the kernel has it is opened by the next one.
    fn kill(&mut self) {
        // What is buffered would be lost, and the model does not know how much of it.
        self.store().sync().expect("synced");
        let next = tempfile::tempdir().expect("a temporary directory");
        for entry in std::fs::read_dir(self.dir.path()).expect("listed") {
            let path = entry.expect("entry").path();
            let name = path.file_name().expect("a file");
            std::fs::copy(&path, next.path().join(name)).expect("copied");
        }
        self.snapshots.clear();
        self.spaces.clear();
        drop(self.store.take());
        self.dir = next;
        self.open();
        self.check();
    }

    fn merge_full(&mut self) {
        self.store().merge(Merge::Full).expect("merges");
        let stats = self.store().stats();
        assert_eq!(
            (stats.dead_bytes, stats.tombstone_bytes),
            (0, 0),
            "{stats:?}"
        );
    }

    fn drop_space(&mut self, space: u8) {
        let name = self.spaces[usize::from(space)].name().to_owned();
        assert!(self.store().drop_keyspace(&name).expect("dropped"));
        self.spaces[usize::from(space)] = open_space(self.store(), space);
        self.model.retain(|(of, _), _| *of != space);
    }

    fn reopen(&mut self, without_hints: bool) {
        self.check_snapshots();
        self.snapshots.clear();
        self.spaces.clear();
        self.store.take().expect("open").close().expect("closes");
        if without_hints {
            for entry in std::fs::read_dir(self.dir.path()).expect("listed") {
                let path = entry.expect("entry").path();
                if path
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with("hint-"))
                {
                    std::fs::remove_file(path).expect("removed");
                }
            }
        }
        self.open();
        let clean = self.store().recovery().clean;
        assert!(clean, "{:?}", self.store().recovery());
        self.check();
    }

    fn live(&self, space: u8, key: &[u8]) -> Option<&Vec<u8>> {
        let now = self.store().now_ms();
        let (value, expires) = self.model.get(&(space, key.to_vec()))?;
        expires.is_none_or(|at| at > now).then_some(value)
    }

    fn check(&self) {
        self.check_snapshots();
        let now = self.store().now_ms();
        for (at, keyspace) in (0_u8..).zip(&self.spaces) {
            let expected = visible(&self.model, at, now);
            let walked: BTreeMap<Vec<u8>, Vec<u8>> = keyspace
                .walk()
                .map(|entry| entry.expect("readable"))
                .map(|entry| (entry.key.to_vec(), entry.value.to_vec()))
                .collect();
            assert_eq!(walked, expected, "keyspace {at} as walked");
            for key in 0..24 {
                let got = keyspace.get(key_of(key)).expect("readable");
                let want = expected.get(&key_of(key));
                assert_eq!(
                    got.as_deref(),
                    want.map(Vec::as_slice),
                    "keyspace {at} key {key}"
                );
                assert_eq!(
                    keyspace.contains(key_of(key)).expect("readable"),
                    want.is_some()
                );
            }
            if keyspace.kind() == IndexKind::Ordered {
                let back: Vec<Vec<u8>> = keyspace
                    .iter()
                    .expect("ordered")
                    .rev()
                    .map(|entry| entry.expect("readable").key.to_vec())
                    .collect();
                assert!(back.iter().eq(expected.keys().rev()));
                let count = keyspace.count::<&[u8], _>(..).expect("counted");
                assert_eq!(count, expected.len() as u64);
            }
        }
        let stats = self.store().stats();
        assert_eq!(
            stats.keys,
            self.spaces.iter().map(Keyspace::keys_estimate).sum::<u64>(),
            "{stats:?}"
        );
    }
}

/// What of the model is live in a keyspace.
fn visible(model: &Model, space: u8, now: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    model
        .iter()
        .filter(|((of, _), (_, expires))| *of == space && expires.is_none_or(|at| at > now))
        .map(|((_, key), (value, _))| (key.clone(), value.clone()))
        .collect()
}

fn open_space(store: &Store, space: u8) -> Keyspace {
    let options = if space == 1 {
        KeyspaceOptions::ordered()
    } else {
        KeyspaceOptions::hash()
    };
    store
        .keyspace(&format!("space-{space}"), options)
        .expect("keyspace")
}

fn key_of(key: u8) -> Vec<u8> {
    // Keys of several lengths, the empty one among them.
    vec![b'k'; usize::from(key / 3)]
        .into_iter()
        .chain(vec![key % 3; usize::from(key > 0)])
        .collect()
}

fn value(count: u64, len: u16) -> Vec<u8> {
    let mut value = count.to_le_bytes().to_vec();
    value.resize(usize::from(len), 0xA5);
    value
}

fn cases() -> u32 {
    std::env::var("PEERCASK_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(), max_shrink_iters: 2_000, failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_behaves_like_a_map_through_merges_and_reopens(
        steps in proptest::collection::vec(step(), 1..160)
    ) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
        world.check();
        world.reopen(true);
        let report = world.store().verify(&mut |_| {}).expect("verified");
        prop_assert!(report.is_clean(), "{:?}", report.damage);
    }
}
