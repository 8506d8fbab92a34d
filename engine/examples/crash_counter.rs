//! A small program with a bug that no ordinary test finds, under the crash lab: it keeps a counter
//! in two keys, `total` and `today`, and forgot that two puts are not one. The lab cuts the power
//! between them, tells the story, and finds nothing once the two go into one batch.
//!
//! Run with `cargo run -p peercask --features sim --example crash_counter`.

#![expect(clippy::print_stdout, reason = "an example tells what it found")]

use peercask::crash::{Crashed, Explorer, Outcome, Report, Run, Verdict};
use peercask::{KeyspaceOptions, Options, Result, Store};

/// The program: counts up in both keys.
fn count_up(store: &Store, careful: bool) -> Result<u8> {
    let counters = store.keyspace("counters", KeyspaceOptions::hash())?;
    let next = counters.get("total")?.map_or(0, |value| value[0]) + 1;
    if careful {
        let mut batch = store.batch();
        batch.put(&counters, "total", [next]);
        batch.put(&counters, "today", [next]);
        batch.commit()?;
    } else {
        counters.put("total", [next])?;
        counters.put("today", [next])?;
    }
    Ok(next)
}

/// What the program does with a disk, and what it promised so far.
fn program(run: &Run<u8>, careful: bool) -> Outcome {
    let store = run.open(Options::default())?;
    for _ in 0..3 {
        let counted = count_up(&store, careful)?;
        run.note(counted);
    }
    Ok(())
}

/// What must be true after any crash: both keys agree, and nothing that was promised is lost.
fn check(crashed: &Crashed<'_, u8>) -> Outcome {
    let store = crashed.open(Options::default())?;
    let counters = store.keyspace("counters", KeyspaceOptions::hash())?;
    let read = |key: &str| {
        counters
            .get(key)
            .map(|value| value.map_or(0, |value| value[0]))
    };
    let (total, today) = (read("total")?, read("today")?);
    if total != today {
        return Err(format!("total is {total}, today is {today}").into());
    }
    let promised = crashed.notes().last().copied().unwrap_or(0);
    if total < promised {
        return Err(format!("{promised} was promised, {total} is there").into());
    }
    Ok(())
}

fn explore(careful: bool) -> Report {
    let mut explorer = Explorer::new().seed(7).states(2_000);
    explorer.explore(|run| program(run, careful), check)
}

fn main() {
    let broken = explore(false);
    let first = broken.violations.first();
    let first = first.expect("two puts are not one: the lab finds the crash in between");
    println!("{}\n\n{}\n", first.story, first.test);

    let repaired = explore(true);
    assert_eq!(repaired.verdict(), Verdict::Survived);
    println!("with a batch: {repaired}");
}
