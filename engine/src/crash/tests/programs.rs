//! Programs for lines that no workload of steps comes to: a repair, a torn segment with a second
//! name, a damaged store with keydir images, an image of several sectors, checkpoints by copies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::crash::machine::options;
use crate::crash::program::{Crashed, Outcome, Run};
use crate::crash::{Background, Failure, Fault, Operation, SimDisk};
use crate::disk::{Disk, How};
use crate::error::{ErrorKind, Result};
use crate::keyspace::Keyspace;
use crate::options::{Durability, KeyspaceOptions, Write};
use crate::repair::{fill, open_damaged};
use crate::report::{Cost, Damage};
use crate::segment::names::{self, FileName, ImageCopy, ManifestCopy};
use crate::store::Store;

/// A program, and what must be true after any crash of it. Notes are keys that were promised.
#[derive(Clone, Copy)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) run: fn(&Run<u8>) -> Outcome,
    pub(super) check: fn(&Crashed<'_, u8>) -> Outcome,
    /// For [`Explorer::whole_up_to`](crate::crash::Explorer::whole_up_to).
    pub(super) whole_up_to: u64,
    /// Crashes at other points.
    pub(super) samples: u64,
}

pub(super) const ALL: [Program; 7] = [
    Program {
        name: "a repair",
        run: repair,
        check: is_repaired_or_marked,
        whole_up_to: 16,
        samples: 6,
    },
    LINKED,
    Program {
        name: "a damaged store with keydir images",
        run: lose_the_manifests,
        check: damage_costs_no_record,
        whole_up_to: 16,
        samples: 6,
    },
    Program {
        name: "a checkpoint where no links can be made",
        run: copy_segments,
        check: the_copy_is_whole_or_unfinished,
        whole_up_to: 16,
        samples: 6,
    },
    Program {
        name: "a checkpoint that becomes a store",
        run: live_on_in_a_checkpoint,
        check: the_copy_holds_what_was_promised,
        whole_up_to: 64,
        samples: 6,
    },
    Program {
        name: "a first append that fails and is done all the same",
        run: fail_the_first_append,
        check: every_promised_key_is_there,
        whole_up_to: 16,
        samples: 60,
    },
    MANY_KEYS,
];

pub(super) const LINKED: Program = Program {
    name: "a torn segment that somebody linked",
    run: link_the_active_segment,
    check: the_link_is_left_alone,
    whole_up_to: 16,
    samples: 6,
};

pub(super) const MANY_KEYS: Program = Program {
    name: "a keydir image of several sectors",
    run: close_with_many_keys,
    check: every_promised_key_is_there,
    whole_up_to: 256,
    samples: 6,
};

/// Where a repair or checkpoint is written to, or a link leads.
const ELSEWHERE: &str = "elsewhere";
/// Noted when a repair or checkpoint has returned.
const RETURNED: u8 = 200;

fn space(store: &Store) -> Result<Keyspace> {
    store.keyspace("k", KeyspaceOptions::ordered())
}

fn keys(store: &Store) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    let space = match store.existing_keyspace("k") {
        Ok(space) => space,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut keys = Vec::new();
    for entry in space.iter()? {
        let entry = entry?;
        let key = *entry.key.first().ok_or("a key that nobody wrote")?;
        if entry.value.iter().any(|byte| *byte != key) {
            return Err(format!("key {key} has another's value").into());
        }
        keys.push(key);
    }
    Ok(keys)
}

fn every_promised_key_is_there(crashed: &Crashed<'_, u8>) -> Outcome {
    holds_what_was_promised(crashed, |_| false)
}

/// The program itself takes the manifests away: that is told, and so are hints of another secret.
fn damage_costs_no_record(crashed: &Crashed<'_, u8>) -> Outcome {
    holds_what_was_promised(crashed, |damage| damage.cost != Cost::Records)
}

fn holds_what_was_promised(crashed: &Crashed<'_, u8>, excused: fn(&Damage) -> bool) -> Outcome {
    let store = crashed.open(options())?;
    if let Some(damage) = store
        .recovery()
        .damage
        .iter()
        .find(|damage| !excused(damage))
    {
        return Err(format!("a crash is no damage, but recovery says: {damage:?}").into());
    }
    if let Some(name) = store.recovery().foreign_files.first() {
        return Err(format!("recovery takes {name} for a foreign file").into());
    }
    let found = keys(&store)?;
    match crashed.notes().iter().find(|key| !found.contains(key)) {
        Some(key) => Err(format!("{key} was promised, {found:?} are there").into()),
        None => Ok(()),
    }
}

fn repair(run: &Run<u8>) -> Outcome {
    let store = run.open(options())?;
    for key in 0..4 {
        space(&store)?.put([key], [key; 300])?;
    }
    store.close()?;
    let clock = run.disk().clock();
    let source = Arc::new(run.disk().clone());
    let damaged = open_damaged(source, Path::new("simulated"), &options().clock(clock))?;
    let target = run.disk().in_directory(ELSEWHERE);
    let make = || Store::open_on(&target, options().durability(Durability::Buffered));
    fill(&damaged, &target, make, &mut |_| {})?;
    run.note(RETURNED);
    // A crash after it has returned.
    go_on(run)
}

/// The new store is whole, marked as unfinished, or not yet there.
fn is_repaired_or_marked(crashed: &Crashed<'_, u8>) -> Outcome {
    let target = crashed.disk().in_directory(ELSEWHERE);
    let done = crashed.notes().contains(&RETURNED);
    if target
        .files()
        .iter()
        .any(|(name, _)| name == names::UNFINISHED)
    {
        return match done {
            true => Err("a repair that had returned is marked as unfinished".into()),
            false => Ok(()),
        };
    }
    let found = match Store::open_on(&target, options().create(false)) {
        Ok(store) => keys(&store)?,
        Err(error) if error.kind() == ErrorKind::NotFound && !done => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match found == [0, 1, 2, 3] {
        true => Ok(()),
        false => Err(format!("a part is taken for the whole: {found:?}").into()),
    }
}

fn segment_of(run: &Run<u8>) -> Option<String> {
    let is_segment = |name: &String| matches!(names::parse(name), FileName::Segment(_));
    let mut files = run.disk().files().into_iter().map(|(name, _)| name);
    files.find(is_segment)
}

fn link_the_active_segment(run: &Run<u8>) -> Outcome {
    let store = run.open(options())?;
    let space = space(&store)?;
    space.put([0], [0; 300])?;
    run.note(0);
    let name = segment_of(run).ok_or("no segment")?;
    let elsewhere = run.disk().in_directory(ELSEWHERE);
    let disk: &dyn Disk = run.disk();
    disk.link_to(&name, &elsewhere, &name)?;
    let elsewhere: &dyn Disk = &elsewhere;
    elsewhere.sync_dir()?;
    let kernel = Write::new().durability(Durability::Kernel);
    for key in 1..3 {
        space.put_with([key], [key; 300], kernel)?.wait()?;
    }
    Ok(())
}

fn the_link_is_left_alone(crashed: &Crashed<'_, u8>) -> Outcome {
    let elsewhere = crashed.disk().in_directory(ELSEWHERE);
    let before = files_with_bytes(&elsewhere)?;
    every_promised_key_is_there(crashed)?;
    match files_with_bytes(&elsewhere)? == before {
        true => Ok(()),
        false => Err("recovery changed a file that somebody else had linked".into()),
    }
}

fn files_with_bytes(disk: &SimDisk) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for (name, _) in disk.files() {
        let bytes = disk.bytes_of(&name)?;
        all.insert(name, bytes);
    }
    Ok(all)
}

fn lose_the_manifests(run: &Run<u8>) -> Outcome {
    let store = run.open(options())?;
    for key in 0..4 {
        space(&store)?.put([key], [key; 300])?;
        run.note(key);
    }
    store.close()?;
    for copy in [ManifestCopy::A, ManifestCopy::B] {
        run.disk().vanish(names::manifest(copy))?;
    }
    let images = || {
        let files = run.disk().files().into_iter();
        files.filter(|(name, _)| {
            [ImageCopy::A, ImageCopy::B]
                .map(names::image)
                .contains(&&**name)
        })
    };
    if images().count() == 0 {
        return Err("there is no image to remove".into());
    }
    let store = run.open(options())?;
    match images().count() {
        0 => Ok(store.close()?),
        _ => Err("a damaged store keeps its images".into()),
    }
}

fn copy_segments(run: &Run<u8>) -> Outcome {
    let no_links = Fault::new(Operation::Link, Failure::PermissionDenied);
    run.disk().set_faults(&[no_links.for_good(true)]);
    let store = run.open(options())?;
    for key in 0..4 {
        space(&store)?.put([key], [key; 300])?;
    }
    store.checkpoint_to(ELSEWHERE)?;
    run.note(RETURNED);
    go_on(run)
}

fn the_copy_is_whole_or_unfinished(crashed: &Crashed<'_, u8>) -> Outcome {
    let copy = crashed.disk().in_directory(ELSEWHERE);
    let done = crashed.notes().contains(&RETURNED);
    let unfinished = [ErrorKind::NotFound, ErrorKind::InvalidArgument];
    let store = match Store::open_on(&copy, options().create(false)) {
        Err(error) if unfinished.contains(&error.kind()) && !done => return Ok(()),
        opened => opened?,
    };
    if let Some(damage) = store.recovery().damage.first() {
        return Err(format!("the copy is damaged: {damage:?}").into());
    }
    match keys(&store)? {
        found if found == [0, 1, 2, 3] => Ok(()),
        found => Err(format!("the copy holds {found:?}").into()),
    }
}

/// Notes the keys that were promised in the copy.
fn live_on_in_a_checkpoint(run: &Run<u8>) -> Outcome {
    let store = run.open(options())?;
    space(&store)?.put([0], [0; 300])?;
    store.checkpoint_to(ELSEWHERE)?;
    run.note(0);
    store.close()?;
    let copy = run.disk().in_directory(ELSEWHERE);
    for key in 1..3 {
        let store = Store::open_on(&copy, options())?;
        space(&store)?.put([key], [key; 300])?;
        run.note(key);
        go_on(run)?;
        store.close()?;
    }
    Ok(())
}

fn the_copy_holds_what_was_promised(crashed: &Crashed<'_, u8>) -> Outcome {
    if crashed.notes().is_empty() {
        return Ok(());
    }
    let store = Store::open_on(&crashed.disk().in_directory(ELSEWHERE), options())?;
    let found = keys(&store)?;
    match crashed.notes().iter().find(|key| !found.contains(key)) {
        Some(key) => Err(format!("{key} was promised, {found:?} are there").into()),
        None => Ok(()),
    }
}

fn fail_the_first_append(run: &Run<u8>) -> Outcome {
    let store = run.open(options())?;
    let space = space(&store)?;
    let fails = |fault: Fault| {
        run.disk().set_faults(&[fault]);
        let put = space.put([0], [0; 30]);
        run.disk().set_faults(&[]);
        match put {
            Ok(()) => Err("the append did not fail"),
            Err(_) => Ok(()),
        }
    };
    let done = Fault::new(Operation::Write, Failure::Io).done(true);
    // The segment's header is written, then its first record; no manifest lists it yet.
    fails(done.after(1))?;
    // Now one does, before a record is written.
    fails(Fault::new(Operation::Reserve, Failure::StorageFull).for_good(true))?;
    store.background_step(Background::Work)?;
    fails(done)?;
    for key in 1..3 {
        space.put([key], [key; 30])?;
        run.note(key);
    }
    store.close()?;
    go_on(run)
}

/// So many keys that the image has a sector which holds neither its header nor its trailer.
fn close_with_many_keys(run: &Run<u8>) -> Outcome {
    let store = run.open(options().segment_bytes(16_384))?;
    let space = space(&store)?;
    let mut batch = store.batch();
    for key in 0..100 {
        batch.put(&space, long_key(key), [key; 9]);
    }
    batch.commit()?;
    for key in 0..100 {
        run.note(key);
    }
    store.close()?;
    go_on(run)
}

/// The program does something else on the same disk: what was not synced before is still not.
fn go_on(run: &Run<u8>) -> Outcome {
    let disk: &dyn Disk = &run.disk().in_directory("later");
    disk.open("something else", How::Replace)?;
    Ok(())
}

/// Its first byte is the key.
fn long_key(key: u8) -> [u8; 16] {
    let mut long = [key.wrapping_mul(151); 16];
    long[0] = key;
    long
}
