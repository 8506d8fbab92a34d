//! Readers of crashed stores: on every disk that a cut may leave, one who only reads sees what
//! recovery would leave, and not one operation of it changes the disk. And readers of living ones.

use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{Loss, after, content_of, open, write};
use super::times;
use crate::core::Core;
use crate::crash::SimDisk;
use crate::crash::machine::options;
use crate::crash::trace::lock;
use crate::disk::Disk;
use crate::disk::sim::{Dice, State};
use crate::error::ErrorKind;
use crate::handle::Handle;
use crate::merge::Merge;
use crate::options::Options;
use crate::store::Store;
use crate::sync::Mutex;

pub(super) fn read(disk: &SimDisk) -> Option<Store> {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let options: Options = options().clock(disk.clock());
    match Core::open_read_only(PathBuf::from("simulated"), &shared, options) {
        Ok(core) => Some(Store::of(Handle::new(core))),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            None
        }
    }
}

fn judge(state: &State, dice: &mut Dice) -> u64 {
    for loss in [Loss::Everything, Loss::Nothing, Loss::Some] {
        let what = format!("number {} ({loss:?})", state.operations);
        let disk = after(state, dice, loss);
        let before = disk.operations();
        let found = read(&disk).map(|store| {
            assert_eq!(store.recovery().damage, [], "{what}: a cut is no damage");
            let found = content_of(&store);
            store.close().expect("closed");
            found
        });
        assert_eq!(disk.operations(), before, "{what}: something was written");
        let recovered = content_of(&open(&disk).expect("opened"));
        assert_eq!(found.unwrap_or_default(), recovered, "{what}");
    }
    3
}

#[test]
fn who_only_reads_a_crashed_store_sees_what_recovery_leaves_and_writes_nothing() {
    let mut judged = 0;
    for seed in 1..=6 * times() {
        let (disk, mut dice) = (SimDisk::new(seed), Dice::new(seed ^ 0x0EAD));
        let states = Arc::new(Mutex::new(Vec::new()));
        let keep = states.clone();
        disk.set_hook(Some(Box::new(move |state| lock(&keep).push(state.clone()))));
        let store = open(&disk).expect("opened");
        for _ in 0..3 {
            write(&store, &mut dice, 7);
            store
                .merge([Merge::Full, Merge::Needed][dice.below(2)])
                .expect("merged");
        }
        store.close().expect("closed");
        disk.set_hook(None);
        for state in std::mem::take(&mut *lock(&states)) {
            judged += judge(&state, &mut dice);
        }
    }
    assert!(
        judged > 1_000,
        "a run that judged little is no proof: {judged}"
    );
    println!("{judged} crash states read");
}

/// A reader that is refreshed after every disk operation of a writer never fails, and ends up
/// with what the writer has.
#[test]
fn a_reader_that_looks_after_every_operation_of_its_writer_never_fails() {
    let mut looks = 0;
    for seed in 1..=6 * times() {
        let disk = SimDisk::new(seed);
        let store = open(&disk).expect("opened");
        let reader = read(&disk).expect("there is a store");
        let (follower, count) = (reader.clone(), Arc::new(Mutex::new(0_u64)));
        let counted = count.clone();
        disk.set_hook(Some(Box::new(move |_| {
            follower.refresh().expect("refreshed");
            let _readable = content_of(&follower);
            *lock(&counted) += 1;
        })));
        let mut dice = Dice::new(seed);
        for _ in 0..4 {
            write(&store, &mut dice, 6);
            store
                .merge([Merge::Full, Merge::Needed][dice.below(2)])
                .expect("merged");
        }
        let expected = content_of(&store);
        store.close().expect("closed");
        disk.set_hook(None);
        reader.refresh().expect("refreshed");
        assert_eq!(content_of(&reader), expected, "seed {seed}");
        looks += *lock(&count);
    }
    assert!(looks > 300, "a run that looked seldom is no proof: {looks}");
}
