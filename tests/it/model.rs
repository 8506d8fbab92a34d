//! The store against a plain map: random sequences of everything a caller can do, with an
//! injected clock, both index kinds, merges, clean reopens and power cuts that keep what the
//! kernel had. Seeds come from proptest, which shrinks what fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use peercask::{
    Durability, IndexKind, Keyspace, KeyspaceOptions, ManualClock, Merge, Options, Store, Write,
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
    Drop {
        space: u8,
    },
    Sync,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let space = 0..3_u8;
    let key = 0..24_u8;
    let value = (space.clone(), key.clone(), proptest::option::of(0..600_u16));
    prop_oneof![
        12 => (space.clone(), key.clone(), 0..900_u16, proptest::option::of(1..400_u16), 0..3_u8)
            .prop_map(|(space, key, len, ttl_s, how)| Step::Put { space, key, len, ttl_s, how }),
        5 => (space.clone(), key).prop_map(|(space, key)| Step::Delete { space, key }),
        3 => proptest::collection::vec(value, 1..8).prop_map(Step::Batch),
        2 => (0..300_u16).prop_map(|seconds| Step::Pass { seconds }),
        1 => (-4_000..3_000_i32).prop_map(|seconds| Step::MoveWall { seconds }),
        2 => Just(Step::Merge),
        1 => Just(Step::MergeFull),
        1 => Just(Step::Reopen),
        1 => Just(Step::ReopenWithoutHints),
        1 => space.prop_map(|space| Step::Drop { space }),
        1 => Just(Step::Sync),
        2 => Just(Step::Check),
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
            Step::Pass { seconds } => self.clock.advance(Duration::from_secs((*seconds).into())),
            Step::MoveWall { seconds } => self.clock.step_wall_ms(i64::from(*seconds) * 1_000),
            Step::Merge => drop(self.store().merge(Merge::Needed).expect("merges")),
            Step::MergeFull => self.merge_full(),
            Step::Reopen => self.reopen(false),
            Step::ReopenWithoutHints => self.reopen(true),
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
        let now = self.store().now_ms();
        for (at, keyspace) in (0_u8..).zip(&self.spaces) {
            let expected: BTreeMap<Vec<u8>, Vec<u8>> = self
                .model
                .iter()
                .filter(|((of, _), (_, expires))| *of == at && expires.is_none_or(|e| e > now))
                .map(|((_, key), (value, _))| (key.clone(), value.clone()))
                .collect();
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
