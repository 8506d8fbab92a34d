//! Ids that are really at their end: the manifest of a closed store is given high-water marks just below the last
//! segment id, seq and keyspace id, and the store is used until each is refused. A clear error, nothing
//! lost, nothing given twice, whatever crash comes between.

use crate::crash::machine::options;
use crate::crash::program::{Crashed, Outcome, Run};
use crate::crash::{Explorer, SimDisk};
use crate::error::{Error, ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::merge::Merge;
use crate::options::{BATCH_BYTES_MAX, Durability, KeyspaceOptions};
use crate::segment::header::{SegmentHeader, SegmentKind};
use crate::segment::location::SegmentId;
use crate::segment::manifest::Manifest;
use crate::segment::names::{self, ManifestCopy};
use crate::store::Store;

/// Keys that the first life writes.
const FIRST: u8 = 6;

fn space(store: &Store) -> Result<Keyspace> {
    store.keyspace("k", KeyspaceOptions::hash())
}

/// Changes both copies of the manifest of a closed store.
fn change_manifest(disk: &SimDisk, change: impl Fn(&mut Manifest)) {
    for copy in [ManifestCopy::A, ManifestCopy::B] {
        let name = names::manifest(copy);
        let bytes = disk.bytes_of(name).expect("a closed store has both");
        let mut manifest = Manifest::decode(&bytes).expect("sound");
        change(&mut manifest);
        disk.put_file(name, &manifest.encode());
    }
}

/// Which ids are near their end.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Near {
    Segment,
    Seq,
    Keyspace,
}

impl Near {
    fn bring(self, disk: &SimDisk) {
        change_manifest(disk, |manifest| match self {
            Near::Segment => manifest.next_segment = u64::MAX - 4,
            // A batch of the largest kind must fit; a recovery after a crash leaves out 2^32 and is at the end.
            Near::Seq => manifest.seq_high = u64::MAX - BATCH_BYTES_MAX - 12,
            Near::Keyspace => manifest.next_keyspace = u32::MAX - 3,
        });
    }

    /// Whether this error says so.
    fn is_told(self, error: &Error) -> bool {
        let (kind, words) = match self {
            Near::Segment => (ErrorKind::StorageFull, "no segment id is left"),
            Near::Seq => (ErrorKind::StorageFull, "last seq"),
            Near::Keyspace => (ErrorKind::InvalidArgument, "there is no further id"),
        };
        error.kind() == kind && error.to_string().contains(words)
    }

    /// Writes one thing more under a number.
    fn write(self, store: &Store, number: u8) -> Result<()> {
        match self {
            Near::Segment | Near::Seq => space(store)?.put([number], [number; 900]),
            Near::Keyspace => {
                let made = store.keyspace(&number.to_string(), KeyspaceOptions::ordered())?;
                made.put([number], [number; 900])
            }
        }
    }

    fn holds(self, store: &Store, number: u8) -> Result<bool> {
        let space = match self {
            Near::Keyspace if number >= FIRST => match store.existing_keyspace(&number.to_string())
            {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                found => found?,
            },
            _ => space(store)?,
        };
        Ok(space
            .get([number])?
            .is_some_and(|value| *value == [number; 900]))
    }
}

/// Notes what was acknowledged; ends when nothing more is taken.
fn to_the_end(run: &Run<u8>, near: Near) -> Outcome {
    let store = run.open(options())?;
    for number in 0..FIRST {
        space(&store)?.put([number], [number; 900])?;
        run.note(number);
    }
    store.close()?;
    near.bring(run.disk());
    let store = run.open(options())?;
    let mut refused = 0;
    for number in FIRST.. {
        match near.write(&store, number) {
            Ok(()) => run.note(number),
            Err(error) if near.is_told(&error) => refused += 1,
            Err(error) => return Err(error.into()),
        }
        assert!(number < 120, "it has an end");
        if refused == 3 {
            break;
        }
    }
    is_at_its_end(&store, near)?;
    store.close()?;
    let store = run.open(options())?;
    let again = near.write(&store, 200).expect_err("still at its end");
    assert!(near.is_told(&again), "{again}");
    Ok(())
}

/// What else may be asked of a store without ids: nothing is lost, nothing is half done.
fn is_at_its_end(store: &Store, near: Near) -> Outcome {
    assert_eq!(store.stats().poisoned, None);
    let space = space(store)?;
    if near == Near::Keyspace {
        // A name that comes free frees no id.
        assert!(store.drop_keyspace(&FIRST.to_string())?);
        let refused = store.keyspace("another", KeyspaceOptions::hash());
        assert!(refused.is_err_and(|error| near.is_told(&error)));
        return Ok(space.put([0], [0; 900])?);
    }
    let deleted = space.delete([0]).expect_err("a delete is a write");
    assert!(near.is_told(&deleted), "{deleted}");
    assert!(space.get([0])?.is_some(), "it was not applied");
    let weak = crate::options::Write::new().durability(Durability::Buffered);
    let weak = space.put_with([0], "other", weak).expect_err("refused too");
    assert!(near.is_told(&weak), "{weak}");
    match store.merge(Merge::Full) {
        Ok(_) => {}
        Err(error) if near.is_told(&error) => {}
        Err(error) => return Err(error.into()),
    }
    store.sync()?;
    Ok(())
}

fn is_whole(crashed: &Crashed<'_, u8>, near: Near) -> Outcome {
    for life in 0..2 {
        let store = crashed.open(options())?;
        if let Some(damage) = store.recovery().damage.first() {
            return Err(format!("life {life}: {damage:?}").into());
        }
        let dropped = near == Near::Keyspace && crashed.notes().len() > usize::from(FIRST) + 1;
        for number in crashed.notes() {
            // The program drops that one at its end.
            let may_be_gone = dropped && *number == FIRST;
            if !near.holds(&store, *number)? && !may_be_gone {
                return Err(format!("life {life}: {number} was promised and is gone").into());
            }
        }
        match near.write(&store, 220 + life) {
            Ok(()) => assert!(near.holds(&store, 220 + life)?),
            Err(error) if near.is_told(&error) => assert!(!near.holds(&store, 220 + life)?),
            Err(error) => return Err(error.into()),
        }
        store.close()?;
    }
    Ok(())
}

fn survives(near: Near) {
    let mut explorer = Explorer::new()
        .states(1_200)
        .samples(3)
        .depth(1)
        .shrink(false);
    let report = explorer.explore(
        |run| to_the_end(run, near),
        |crashed| is_whole(crashed, near),
    );
    println!("{near:?}: {report}");
    report.assert_survived(200);
}

#[test]
fn the_last_segment_ids_are_used_and_then_refused_and_nothing_is_lost() {
    survives(Near::Segment);
}

#[test]
fn the_last_seqs_are_used_and_then_refused_and_nothing_is_lost() {
    survives(Near::Seq);
}

#[test]
fn the_last_keyspace_ids_are_used_and_then_refused_and_nothing_is_lost() {
    survives(Near::Keyspace);
}

/// Both manifests lost at the end of all ids: rebuilt from headers and footers, still at the end.
#[test]
fn a_manifest_rebuilt_at_the_end_of_the_ids_gives_none_twice() {
    for near in [Near::Segment, Near::Keyspace] {
        let disk = SimDisk::new(3);
        let store = Store::open_on(&disk, options()).expect("made");
        near.write(&store, 0).expect("written");
        store.close().expect("closed");
        near.bring(&disk);
        let store = Store::open_on(&disk, options()).expect("opens");
        let mut taken = Vec::new();
        for number in 1..100 {
            match near.write(&store, number) {
                Ok(()) => taken.push(number),
                Err(error) => assert!(near.is_told(&error), "{error}"),
            }
        }
        assert!(taken.len() > 2, "{near:?}: {taken:?}");
        store.close().expect("closed");
        for copy in [ManifestCopy::A, ManifestCopy::B] {
            disk.vanish(names::manifest(copy)).expect("there");
        }
        let store = Store::open_on(&disk, options()).expect("rebuilt");
        let refused = near.write(&store, 100).expect_err("still at the end");
        assert!(near.is_told(&refused), "{near:?}: {refused}");
        for number in taken {
            let held = match near {
                Near::Keyspace => store.existing_keyspace(&number.to_string()),
                _ => space(&store),
            };
            let held = held.expect("there").get([number]).expect("readable");
            assert!(held.is_some(), "{near:?}: {number}");
        }
        store.close().expect("closed");
        Store::open_on(&disk, options()).expect("opens again");
    }
}

/// The very last id is never given: a file that claims it, sound as it may look, is nobody's segment, and uses up
/// nothing, with manifests or without.
#[test]
fn a_file_that_claims_the_id_behind_the_last_is_left_alone() {
    for manifests_lost in [false, true] {
        let disk = SimDisk::new(3);
        let store = Store::open_on(&disk, options()).expect("made");
        space(&store)
            .and_then(|space| space.put([1], [1; 900]))
            .expect("written");
        store.close().expect("closed");
        change_manifest(&disk, |manifest| manifest.next_segment = u64::MAX - 9);
        let name = names::manifest(ManifestCopy::A);
        let manifest = Manifest::decode(&disk.bytes_of(name).expect("there")).expect("sound");
        let id = SegmentId(u64::MAX);
        let forged = SegmentHeader {
            store_id: manifest.store_id,
            id,
            salt: 1,
            base_seq: u64::MAX,
            prior_seq: u64::MAX,
            created_ms: 0,
            kind: SegmentKind::User,
            life_class: 0,
        };
        disk.put_file(&names::segment(id), &forged.encode_file_start());
        if manifests_lost {
            for copy in [ManifestCopy::A, ManifestCopy::B] {
                disk.vanish(names::manifest(copy)).expect("there");
            }
        }
        for life in 0..3_u8 {
            let store = Store::open_on(&disk, options()).expect("opens");
            let foreign = &store.recovery().foreign_files;
            assert_eq!(*foreign, [names::segment(id)], "life {life}");
            let space = space(&store).expect("there");
            assert!(space.get([1]).expect("readable").is_some());
            space.put([2], [life; 900]).expect("ids are left");
            drop(space);
            store.close().expect("closed");
        }
    }
}
