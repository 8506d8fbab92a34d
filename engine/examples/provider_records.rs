//! Soft state of a DHT: many small records that expire, in a hash keyspace that keeps no keys in
//! memory. Shows what merge gives back once they have expired, without a call.
//!
//! `cargo run --release -p peercask --example provider_records`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use peercask::{Durability, KeyspaceOptions, ManualClock, Merge, Options, Store, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    // A clock of our own, so that a day passes at once.
    let clock = Arc::new(ManualClock::new(1_800_000_000_000));
    let options = Options::default()
        .segment_bytes(4 << 20)
        .clock(clock.clone());
    let store = Store::open(dir.path(), options)?;
    let providers = store.keyspace("providers", KeyspaceOptions::hash())?;

    let day = Write::new()
        .ttl(Duration::from_secs(86_400))
        .durability(Durability::Buffered);
    for i in 0..200_000_u64 {
        let key = i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        providers.put_with(key, [7; 40], day)?.wait()?;
    }
    store.sync()?;
    let full = store.stats();
    println!("{} keys, {} bytes on disk", full.keys, full.disk_bytes);
    println!(
        "{:.1} bytes of memory a key",
        full.index_bytes_per_key().unwrap_or(0.0)
    );

    // Half a step an hour, as a store may doubt a larger one.
    for _ in 0..50 {
        clock.advance(Duration::from_secs(1_800));
    }
    store.merge(Merge::Needed)?;
    let after = store.stats();
    println!(
        "a day later: {} keys, {} bytes on disk",
        after.keys, after.disk_bytes
    );
    store.close()?;
    Ok(())
}
