//! The child of `crash --process`: opens the store, writes, merges and syncs, and says on its standard
//! output what is acknowledged, until it is killed.
//!
//! The order is the point: commit, and only after the acknowledgement the line `ack NUMBER`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use peercask::{Durability, Keyspace, KeyspaceOptions, Merge, Options, Store};

use super::changes::{self, SPACES};
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct ChildArgs {
    /// The store's directory
    dir: PathBuf,
    #[command(flatten)]
    life: Life,
}

/// Which part of the history a child writes, and with which options.
#[derive(Args, Clone, Copy)]
pub(super) struct Life {
    /// Decides what each write changes
    #[arg(long)]
    pub(super) seed: u64,
    /// The number of its first write
    #[arg(long)]
    pub(super) from: u64,
    /// It ends by itself after this one
    #[arg(long)]
    pub(super) until: u64,
    /// Decides the options of the store
    #[arg(long)]
    pub(super) round: u64,
}

/// What one line of the child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Opened,
    Acknowledged(u64),
    Merging,
    Merged,
    Done,
}

impl Said {
    /// None if the line is none of ours.
    pub(super) fn parse(line: &str) -> Option<Said> {
        match line {
            "opened" => Some(Said::Opened),
            "merging" => Some(Said::Merging),
            "merged" => Some(Said::Merged),
            "done" => Some(Said::Done),
            _ => line
                .strip_prefix("ack ")
                .and_then(|number| number.parse().ok())
                .map(Said::Acknowledged),
        }
    }
}

/// By turns other sizes and intervals, so that each life also meets what other options left.
pub(super) fn options(round: u64) -> Options {
    let segment_bytes = [4_096, 4_096, 16_384, 65_536];
    let at = usize::try_from(round % 4).unwrap_or(0);
    Options::default()
        .segment_bytes(segment_bytes.get(at).copied().unwrap_or(4_096))
        .reserve_bytes(if round.is_multiple_of(3) { 65_536 } else { 0 })
        .merge_rate(None)
        .merge_dead_share(0.3)
        .sync_interval(Some(Duration::from_millis(20)))
}

pub(super) fn keyspace(store: &Store, space: usize) -> peercask::Result<Keyspace> {
    let name = SPACES.get(space).copied().unwrap_or_default();
    let options = match space {
        0 => KeyspaceOptions::hash(),
        _ => KeyspaceOptions::ordered(),
    };
    store.keyspace(name, options)
}

pub(crate) fn run(args: &ChildArgs, output: &mut Output) -> Result<Exit, Failure> {
    let life = args.life;
    let store = open(&args.dir, life)?;
    let spaces = [keyspace(&store, 0)?, keyspace(&store, 1)?];
    say(output, "opened")?;
    for number in life.from..=life.until {
        write(&store, &spaces, life.seed, number)?;
        if changes::durability(number) >= Durability::Kernel {
            say(output, &format!("ack {number}"))?;
        }
        match number % 61 {
            33 => {
                say(output, "merging")?;
                store.merge(Merge::Full)?;
                say(output, "merged")?;
            }
            15 | 50 => drop(store.merge(Merge::Needed)?),
            41 => store.sync()?,
            _ => {}
        }
    }
    say(output, "done")?;
    store.close()?;
    Ok(Exit::Done)
}

/// A crash is no damage: what recovery finds damaged was lost by the engine.
fn open(dir: &Path, life: Life) -> Result<Store, Failure> {
    let store = Store::open(dir, options(life.round))?;
    match store.recovery().damage.first() {
        None => Ok(store),
        Some(damage) => Err(Failure::new(
            Exit::Corrupted,
            format!("after a kill recovery reports damage: {damage}"),
        )),
    }
}

fn write(
    store: &Store,
    spaces: &[Keyspace; 2],
    seed: u64,
    number: u64,
) -> Result<(), peercask::Error> {
    let mut batch = store.batch();
    for change in changes::of_write(seed, number) {
        let [flat, sorted] = spaces;
        let space = if change.space == 0 { flat } else { sorted };
        match change.value {
            Some(value) => batch.put(space, change.key, value),
            None => batch.delete(space, change.key),
        }
    }
    batch.commit_with(changes::durability(number))?.wait()?;
    Ok(())
}

fn say(output: &mut Output, line: &str) -> Result<(), Failure> {
    output.line(line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_say_something() {
        assert_eq!(Said::parse("ack 17"), Some(Said::Acknowledged(17)));
        assert_eq!(Said::parse("opened"), Some(Said::Opened));
        for line in ["", "ack", "ack x", "ack 1 2", "open"] {
            assert_eq!(Said::parse(line), None, "{line:?}");
        }
    }
}
