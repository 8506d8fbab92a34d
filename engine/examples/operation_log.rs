//! An append-only log of operations per author, with its heads kept beside it: one batch changes
//! both, so after any crash they agree.
//!
//! `cargo run -p peercask --example operation_log [DIR]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use peercask::{Keyspace, KeyspaceOptions, Options, Result, Store};

/// Author, then number in big-endian digits, so that the order of keys is the order of the log.
fn key(author: &str, number: u64) -> String {
    format!("{author}/{number:020}")
}

fn head(heads: &Keyspace, author: &str) -> Result<Option<u64>> {
    let head = heads.get(author)?;
    Ok(head.and_then(|bytes| Some(u64::from_le_bytes(bytes.first_chunk().copied()?))))
}

fn append(store: &Store, log: &Keyspace, heads: &Keyspace, author: &str, body: &str) -> Result<()> {
    let number = head(heads, author)?.map_or(0, |head| head + 1);
    let mut batch = store.batch();
    batch.put(log, key(author, number), body);
    batch.put(heads, author, number.to_le_bytes());
    batch.commit()?;
    Ok(())
}

fn main() -> Result<()> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "operation-log".to_owned());
    let store = Store::open(&dir, Options::default())?;
    let log = store.keyspace("log", KeyspaceOptions::ordered())?;
    let heads = store.keyspace("heads", KeyspaceOptions::hash())?;

    for body in ["create", "rename", "publish"] {
        append(&store, &log, &heads, "panda", body)?;
    }
    // The latest three, newest first.
    for entry in log.prefix("panda/")?.rev().take(3) {
        let entry = entry?;
        println!("{} {:?} {:?}", entry.seq, entry.key, entry.value);
    }
    println!("head of panda: {:?}", head(&heads, "panda")?);
    store.close()
}
