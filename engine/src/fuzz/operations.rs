//! Operation sequences on a faulty disk: the fuzzer says what is written, which calls of the disk
//! fail and how, when the power is cut and what a cut takes. Each key holds a version that may stand,
//! a batch is whole or absent, nothing acknowledged at `Device` is lost, and the store opens.

use std::collections::BTreeMap;

use super::script::Script;
use crate::crash::{Failure, Fault, Operation, SimDisk};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{Durability, KeyspaceOptions, Options, Write};
use crate::store::Store;

/// Keys written one at a time, and keys that only batches write, all of them in each.
const SINGLE: u8 = 5;
const TOGETHER: [u8; 3] = [100, 101, 102];

/// The versions that a key may hold; version 0 stands for none.
#[derive(Default)]
struct Model {
    may: BTreeMap<(bool, u8), Vec<u32>>,
    count: u32,
}

impl Model {
    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn may(&mut self, space: bool, key: u8) -> &mut Vec<u32> {
        self.may.entry((space, key)).or_insert_with(|| vec![0])
    }

    /// All earlier writes are on the device: only the last of each key may stand.
    fn settle(&mut self) {
        for may in self.may.values_mut() {
            let last = may.last().copied().unwrap_or(0);
            *may = vec![last];
        }
    }
}

fn options() -> Options {
    Options::default()
        .segment_bytes(4_096)
        .buffer_bytes(4_096)
        .reserve_bytes(0)
}

fn spaces(store: &Store) -> Result<[Keyspace; 2]> {
    Ok([
        store.keyspace("flat", KeyspaceOptions::hash())?,
        store.keyspace("sorted", KeyspaceOptions::ordered())?,
    ])
}

fn value(version: u32, len: usize) -> Vec<u8> {
    let mut value = version.to_le_bytes().to_vec();
    value.resize(4 + len, 0xA7);
    value
}

fn version_of(found: Option<&[u8]>) -> u32 {
    let Some(found) = found else { return 0 };
    let (version, rest) = found.split_at(4);
    assert!(rest.iter().all(|byte| *byte == 0xA7), "bytes of one write");
    u32::from_le_bytes(version.try_into().expect("four bytes"))
}

/// What the store holds must be allowed, and is then what stands.
fn agree(store: &Store, model: &mut Model) {
    for (at, name) in ["flat", "sorted"].into_iter().enumerate() {
        let space = store.existing_keyspace(name).ok();
        let read = |key: u8| {
            let found = space
                .as_ref()
                .map(|space| space.get([key]).expect("no damage"));
            version_of(found.flatten().as_deref())
        };
        let sorted = at == 1;
        for key in (0..SINGLE).chain(TOGETHER) {
            let found = read(key);
            let may = model.may(sorted, key);
            assert!(
                may.contains(&found),
                "{name} {key}: {found}, not one of {may:?}"
            );
            *may = vec![found];
        }
        let together = TOGETHER.map(read);
        let whole = together.iter().all(|version| *version == together[0]);
        assert!(whole, "{name}: half a batch: {together:?}");
    }
}

struct Run<'a> {
    script: Script<'a>,
    model: Model,
    disk: SimDisk,
    store: Option<Store>,
    /// A write failed whose fate is unknown until the next open.
    doubtful: bool,
}

impl Run<'_> {
    fn write(&mut self, store: &Store) -> Result<()> {
        let [flat, sorted] = spaces(store)?;
        let in_sorted = self.script.byte() % 2 == 1;
        let space = if in_sorted { &sorted } else { &flat };
        let how =
            [Durability::Buffered, Durability::Kernel, Durability::Device][self.script.below(3)];
        let len = self.script.below(900);
        let delete = self.script.byte().is_multiple_of(4);
        let batch = self.script.byte().is_multiple_of(3);
        let version = if delete { 0 } else { self.model.next() };
        let keys: &[u8] = if batch {
            &TOGETHER
        } else {
            &[self.script.byte() % SINGLE]
        };
        for key in keys {
            self.model.may(in_sorted, *key).push(version);
        }
        let mut writes = store.batch();
        for key in keys {
            match delete {
                true => writes.delete(space, [*key]),
                false => writes.put_with(space, [*key], value(version, len), Write::new()),
            }
        }
        let done = writes.commit_with(how).and_then(|commit| commit.wait());
        match done {
            Ok(_) if how == Durability::Device => {
                if !self.doubtful {
                    self.model.settle();
                }
                for key in keys {
                    *self.model.may(in_sorted, *key) = vec![version];
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.doubtful = true;
                Err(error)
            }
        }
    }

    fn fault(&mut self) {
        let operation = Operation::ALL[self.script.below(Operation::ALL.len())];
        let failure = Failure::ALL[self.script.below(Failure::ALL.len())];
        // What is interrupted for good never ends, as with a real kernel.
        let for_good = self.script.byte().is_multiple_of(3) && failure != Failure::Interrupted;
        let fault = Fault::new(operation, failure)
            .after(u64::from(self.script.byte() % 6))
            .for_good(for_good);
        self.disk.set_faults(&[fault]);
    }

    /// A disk without faults must be opened, whatever went before.
    fn reopen(&mut self) {
        self.disk.set_faults(&[]);
        let store = Store::open_on(&self.disk, options()).expect("opens");
        assert_eq!(store.recovery().damage, [], "a crash is no damage");
        agree(&store, &mut self.model);
        self.doubtful = false;
        self.store = Some(store);
    }

    fn step(&mut self) {
        let Some(store) = self.store.clone() else {
            self.reopen();
            return;
        };
        match self.script.byte() % 16 {
            0..=8 => drop(self.write(&store)),
            9 => {
                if store.sync().is_ok() && !self.doubtful {
                    self.model.settle();
                }
            }
            10 => drop(store.merge(Merge::Needed)),
            11 => drop(store.merge(Merge::Full)),
            12 => self.fault(),
            13 => self.disk.set_faults(&[]),
            14 => {
                // The power goes.
                self.disk = self.disk.crash_by_dice(u64::from(self.script.byte()));
                self.store = None;
            }
            _ => {
                let closed = store.close();
                if closed.is_ok() && !self.doubtful {
                    self.model.settle();
                }
                self.store = None;
            }
        }
    }
}

/// Any bytes as operations on a faulty disk.
pub fn fuzz_operations(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let disk = SimDisk::new(u64::from(script.byte()));
    let mut run = Run {
        script,
        model: Model::default(),
        disk,
        store: None,
        doubtful: false,
    };
    for _ in 0..120 {
        if run.script.is_over() {
            break;
        }
        run.step();
    }
    run.store = None;
    run.disk = run.disk.crash_losing_all();
    run.reopen();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fuzz::seeded;

    #[test]
    fn seeded_operations() {
        seeded(300, 500, fuzz_operations);
    }
}
