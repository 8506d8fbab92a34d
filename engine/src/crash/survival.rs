//! What must hold of the store that a crash left: its content is a prefix of history at or past the last
//! acknowledged write, twice; it lives on under other options, and survives another power cut there.

use std::error::Error;
use std::sync::Arc;

use super::history::{Content, History};
use super::machine::{
    COPY, KEYS, OTHER_KEY, SPACES, keyspace, name_of, options, other_options, told,
};
use super::program::{Crashed, Outcome};
use crate::clock::Clock;
use crate::disk::sim::SimDisk;
use crate::error::ErrorKind;
use crate::merge::Merge;
use crate::options::{Durability, Write};
use crate::store::Store;

/// All that the store holds; walk and get must agree on it.
pub(super) fn content(store: &Store) -> Result<Content, Box<dyn Error>> {
    let mut content = Content::new();
    for info in store.keyspaces() {
        let space = SPACES.iter().position(|name| *name == info.name);
        let space = u8::try_from(space.ok_or("a keyspace that nobody made")?)?;
        let keyspace = store.existing_keyspace(&info.name)?;
        for entry in keyspace.walk() {
            let entry = entry?;
            let key = *entry.key.first().ok_or("a key that nobody wrote")?;
            content.insert((space, key), entry.value.to_vec());
        }
        let others = content
            .keys()
            .filter(|(of, key)| *of == space && *key >= KEYS);
        let keys: Vec<u8> = (0..KEYS).chain(others.map(|(_, key)| *key)).collect();
        for key in keys {
            let got = keyspace.get([key])?;
            let walked = content.get(&(space, key)).map(Vec::as_slice);
            if got.as_deref() != walked {
                return Err(format!("get and walk disagree on key {key} of {}", info.name).into());
            }
        }
    }
    Ok(content)
}

/// Opens what a crash left, and lives on with it.
pub(super) fn check(crashed: &Crashed<'_, Arc<History>>) -> Outcome {
    let store = crashed.open(options()).map_err(|e| format!("open: {e}"))?;
    let recovery = store.recovery();
    if let Some(damage) = recovery.damage.first() {
        return Err(format!("a crash is no damage, but recovery says: {damage:?}").into());
    }
    if let Some(name) = recovery.foreign_files.first() {
        return Err(format!("recovery left {name} behind as a foreign file").into());
    }
    let found = content(&store)?;
    let now_ms = crashed.disk().clock().wall_ms();
    let nothing = History::new();
    let history = crashed
        .notes()
        .last()
        .map_or(&nothing, |history| &**history);
    let killed = crashed.was_killed();
    if !history.allows(&found, now_ms, killed) {
        let allowed = history.told(now_ms, killed).join(" or ");
        return Err(format!("found {}, allowed {allowed}", told(&found)).into());
    }
    drop(store);
    crashed.live_on(&found, || second_life(crashed, &found))?;
    check_copy(crashed, history)
}

/// A checkpoint is the old one, the new one, or refused as unfinished if there was none before.
fn check_copy(crashed: &Crashed<'_, Arc<History>>, history: &History) -> Outcome {
    let disk = crashed.disk().in_directory(COPY);
    if !history.has_copy() && disk.files().is_empty() {
        return Ok(());
    }
    let now_ms = crashed.disk().clock().wall_ms();
    let found = match Store::open_on(&disk, options()) {
        Ok(store) if store.recovery().created => None,
        Ok(store) => match store.recovery().damage.first() {
            Some(damage) => return Err(format!("the checkpoint: {damage:?}").into()),
            None => Some(content(&store)?),
        },
        Err(error) if error.kind() == ErrorKind::InvalidArgument => None,
        Err(error) => return Err(format!("open the checkpoint: {error}").into()),
    };
    match history.allows_copy(found.as_ref(), now_ms) {
        true => Ok(()),
        false => Err(format!("the checkpoint holds {:?}", found.as_ref().map(told)).into()),
    }
}

/// The recovered store is opened with other options, written to, merged, closed and opened once more.
fn second_life(crashed: &Crashed<'_, Arc<History>>, found: &Content) -> Outcome {
    let before = crashed.disk().state().changed;
    let store = crashed
        .open(other_options())
        .map_err(|e| format!("open again: {e}"))?;
    let again = content(&store)?;
    if again != *found {
        return Err(format!(
            "the second open found {}, the first {}",
            told(&again),
            told(found)
        )
        .into());
    }
    if crashed.disk().state().changed != before {
        return Err("opening a store that was closed well changed the disk".into());
    }
    let keyspace = keyspace(&store, 0)?;
    let write = Write::new().durability(Durability::Device);
    keyspace
        .put_with(OTHER_KEY, b"second life", write)?
        .wait()?;
    store.merge(Merge::Needed)?;
    if store.stats().damaged_segments > 0 {
        return Err("a crash is no damage, but merge leaves a segment alone".into());
    }
    cut_in_second_life(crashed.disk(), found)?;
    drop(keyspace);
    store.close().map_err(|e| format!("close: {e}"))?;
    let store = crashed
        .open(options())
        .map_err(|e| format!("open a third time: {e}"))?;
    let keyspace = store.existing_keyspace(name_of(0))?;
    if keyspace.get(OTHER_KEY)?.as_deref() != Some(b"second life") {
        return Err("what the second life wrote is gone".into());
    }
    keyspace.delete(OTHER_KEY)?;
    let last = content(&store)?;
    if last != *found {
        return Err(format!("the second life changed {} to {}", told(found), told(&last)).into());
    }
    Ok(())
}

/// The power goes in the second life too, after a `Device` write: it takes all that was not synced, or what the
/// dice say.
fn cut_in_second_life(disk: &SimDisk, found: &Content) -> Outcome {
    let mut expected = found.clone();
    let [key] = OTHER_KEY;
    expected.insert((0, key), b"second life".to_vec());
    let digest = disk.digest();
    // One of both, for the time it takes: there are many second lives.
    let after = match digest.is_multiple_of(2) {
        true => disk.crash_losing_all(),
        false => disk.crash_by_dice(digest),
    };
    let store = Store::open_on(&after, options());
    let store = store.map_err(|e| format!("open after a second power cut: {e}"))?;
    if let Some(damage) = store.recovery().damage.first() {
        return Err(format!("a second power cut is no damage, but: {damage:?}").into());
    }
    let left = content(&store)?;
    if left != expected {
        let (left, expected) = (told(&left), told(&expected));
        return Err(format!("a second power cut left {left} of {expected}").into());
    }
    Ok(())
}
