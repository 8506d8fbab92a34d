//! What every backend that is built in must do, whichever they are.

use std::collections::BTreeMap;

use super::*;
use crate::load::{Load, PREFIX_LEN};

const LOAD: Load = Load {
    n: 300,
    key_len: 24,
    value_len: 40,
    threads: 1,
    limit: Duration::from_secs(60),
};

fn check(entry: &Entry) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let store = (entry.open)(dir.path(), &Settings::default())?;
    let (pool, mut key) = (LOAD.pool(), Vec::new());
    let mut model = BTreeMap::new();
    for i in 0..LOAD.n {
        LOAD.key(i, &mut key);
        let level = entry
            .levels
            .get(crate::narrow(i) % entry.levels.len())
            .copied();
        store.put(&key, pool.value(i, 0), level.unwrap_or_default())?;
        model.insert(key.clone(), pool.value(i, 0).to_vec());
    }
    let pairs: Vec<Pair> = (250..350)
        .map(|i| {
            LOAD.key(i, &mut key);
            (key.clone(), pool.value(i, 1).to_vec())
        })
        .collect();
    store.batch(&pairs, entry.weakest())?;
    model.extend(pairs);
    for i in 0..50 {
        LOAD.key(i, &mut key);
        store.delete(&key)?;
        model.remove(&key);
    }
    agrees(entry, &*store, &model)?;
    store.sync()?;
    store.close()?;
    if entry.persistent {
        let store = (entry.open)(dir.path(), &Settings::default())?;
        agrees(entry, &*store, &model)?;
        store.close()?;
    }
    Ok(())
}

fn agrees(entry: &Entry, store: &dyn Backend, model: &BTreeMap<Vec<u8>, Vec<u8>>) -> Outcome<()> {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut reader = store.reader()?;
    for i in 0..400 {
        LOAD.key(i, &mut key);
        let found = store.get(&key, &mut value)?;
        assert_eq!(
            found.then_some(&value),
            model.get(&key),
            "{} key {i}",
            entry.name
        );
        if let Some(reader) = &mut reader {
            let found = reader.get(&key, &mut value)?;
            assert_eq!(
                found.then_some(&value),
                model.get(&key),
                "{} reader, key {i}",
                entry.name
            );
        }
    }
    drop(reader);
    if !entry.ordered {
        assert!(store.scan(&[], &mut |_, _| true).is_err(), "{}", entry.name);
        return Ok(());
    }
    let mut met = BTreeMap::new();
    let mut last = Vec::new();
    store.scan(&[], &mut |key, value| {
        assert!(*key > *last, "{}: keys rise", entry.name);
        last = key.to_vec();
        met.insert(key.to_vec(), value.to_vec());
        true
    })?;
    assert_eq!(met, *model, "{}", entry.name);
    let group = LOAD.prefix(2);
    let mut members = 0;
    store.prefix(&group, &mut |key, _| {
        assert!(key.get(..PREFIX_LEN) == Some(&group[..]));
        members += 1;
    })?;
    assert_eq!(members, 64, "{}", entry.name);
    let mut met = 0;
    store.scan(&group, &mut |_, _| {
        met += 1;
        met < 10
    })?;
    assert_eq!(met, 10, "{}: a scan ends when it is told to", entry.name);
    Ok(())
}

#[test]
fn every_backend_keeps_what_it_is_given() {
    for entry in all() {
        if let Err(error) = check(entry) {
            panic!("{}: {error}", entry.name);
        }
    }
}

#[test]
fn every_backend_has_a_name_of_its_own_and_a_version() {
    for entry in all() {
        assert_eq!(
            all()
                .iter()
                .filter(|other| other.name == entry.name)
                .count(),
            1
        );
        assert!(entry.version().is_some(), "{}", entry.name);
        assert!(
            !entry.levels.is_empty() && entry.levels.is_sorted(),
            "{}",
            entry.name
        );
    }
}
