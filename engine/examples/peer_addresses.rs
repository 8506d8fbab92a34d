//! A node's address book: addresses by peer, each with a life of its own, listed by prefix, and
//! still there after a restart.
//!
//! `cargo run -p peercask --example peer_addresses [DIR]`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use peercask::{Durability, KeyspaceOptions, Options, Store, Write};

fn main() -> peercask::Result<()> {
    let dir = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "peer-addresses".to_owned());
    let store = Store::open(&dir, Options::default())?;
    let addresses = store.keyspace("addresses", KeyspaceOptions::ordered())?;

    // Learned from strangers: cheap to write, gone in half an hour.
    let learned = Write::new()
        .ttl(Duration::from_secs(1_800))
        .durability(Durability::Buffered);
    for port in 4001..4004 {
        let key = format!("12D3KooWalice/ip4/192.0.2.7/tcp/{port}");
        addresses.put_with(key, "identify", learned)?.wait()?;
    }
    // Given by the operator: for ever, and on the device when this returns.
    addresses.put("12D3KooWboot/dns4/boot.example/tcp/443", "configured")?;

    for entry in addresses.prefix("12D3KooWalice/")? {
        let entry = entry?;
        let left = entry
            .expires_at_ms
            .map(|at| at.saturating_sub(store.now_ms()) / 1_000);
        println!("{:?} from {:?}, {left:?} s left", entry.key, entry.value);
    }
    println!("{} addresses in {dir}", addresses.count::<&str, _>(..)?);
    store.close()
}
