//! Lists and verifies a record store without its lock and without a change:
//! `cargo run -p peercask-kad --example inspect -- DIR [--list]`.
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: inspect DIR [--list]")?;
    let found = peercask_kad::inspect::look(&dir)?;
    if args.next().as_deref() == Some("--list") {
        for record in &found.records {
            let key: String = record
                .key
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let peer = record.peer.map_or("-".to_owned(), |peer| peer.to_string());
            let until = record
                .deadline_unix_ns
                .map_or("never".to_owned(), |ns| format!("{}", ns / 1_000_000_000));
            println!("{} {} {key} {peer} {until}", record.keyspace, record.slot);
        }
    }
    let mut keyspaces: Vec<&str> = found.records.iter().map(|r| r.keyspace.as_str()).collect();
    keyspaces.dedup();
    for keyspace in keyspaces {
        let count = found
            .records
            .iter()
            .filter(|r| r.keyspace == keyspace)
            .count();
        println!("{keyspace}: {count} records");
    }
    println!(
        "{} records say nothing, {} are damaged, {} bytes cannot be read",
        found.undecodable.len(),
        found.damaged.len(),
        found.gap_bytes
    );
    Ok(())
}
