//! Lists, verifies and dumps a record store without its lock and without a change, also while a node runs on it:
//! `cargo run -p peercask-kad --example inspect -- DIR [--list | --dump]`.
//!
//! `--list` prints a line for each record, `--dump` all of it as lines of JSON (see
//! `peercask_kad::inspect::Found::dump`) and nothing else on standard output. It ends with 1 if
//! anything is damaged or says nothing.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use peercask_kad::inspect::{self, Found, Listed};

const USAGE: &str = "usage: inspect DIR [--list | --dump]";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or(USAGE)?;
    let how = args.next();
    let found = inspect::look(&dir)?;
    match how.as_deref() {
        None => {}
        Some("--list") => found.records.iter().for_each(list),
        Some("--dump") => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            found.dump(&mut out)?;
            out.flush()?;
        }
        Some(_) => return Err(USAGE.into()),
    }
    sum_up(&found);
    Ok(match found.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn list(record: &Listed) {
    let key = record.key.iter().map(|byte| format!("{byte:02x}"));
    let key: String = key.collect();
    let peer = record.peer.map_or("-".to_owned(), |peer| peer.to_string());
    let until = record
        .deadline_unix_ns
        .map_or("never".to_owned(), |ns| format!("{}", ns / 1_000_000_000));
    println!("{} {} {key} {peer} {until}", record.keyspace, record.slot);
}

/// Beside what `--dump` prints, so on the other way out.
fn sum_up(found: &Found) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for record in &found.records {
        *counts.entry(&record.keyspace).or_default() += 1;
    }
    for (keyspace, count) in counts {
        eprintln!("{keyspace}: {count} records");
    }
    eprintln!(
        "{} records say nothing, {} are damaged, {} bytes cannot be read",
        found.undecodable.len(),
        found.damaged.len(),
        found.gap_bytes
    );
}
