//! How long an open takes: after a clean close, and after the process that wrote was killed. The
//! page cache is warm: the files were written a moment ago.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Context;
use crate::Outcome;
use crate::backend::Settings;
use crate::line::Line;
use crate::load::{Load, Random};
use crate::measure::Timing;
use crate::process;

/// Opens after a clean close; the median counts.
const OPENS: usize = 3;
/// Keys that are looked up after an open, lest it opened nothing.
const LOOKED_UP: u64 = 1_000;
/// What the process to be killed says when all is written.
const READY: &str = "ready";
/// One in so many keys is written again before the kill, without a sync.
const UNSYNCED_SHARE: u64 = 100;

pub(super) fn clean(context: &Context<'_>) -> Outcome<Vec<Line>> {
    context.filled()?.close()?;
    let mut times = Vec::new();
    for _ in 0..OPENS {
        times.push(open(context)?);
    }
    times.sort_unstable();
    Ok(vec![line(
        context,
        times.get(OPENS / 2).copied().unwrap_or_default(),
    )])
}

pub(super) fn kill(context: &Context<'_>) -> Outcome<Vec<Line>> {
    let (program, arguments) = context
        .child
        .split_first()
        .ok_or("no program for a child")?;
    let mut child = Command::new(program)
        .args(arguments)
        .args(crate::child::arguments(
            context.entry.name,
            crate::child::FILL_AND_WAIT,
            &context.load,
            context.home,
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut said)?;
    }
    child.kill()?;
    child.wait()?;
    if said.trim() != READY {
        return Err("the process to be killed ended by itself".into());
    }
    Ok(vec![line(context, open(context)?)])
}

/// The part of [`kill`] that is killed: fills the store, syncs, writes some keys again, and waits.
///
/// # Errors
/// The store's.
pub(crate) fn fill_and_wait(context: &Context<'_>) -> Outcome<()> {
    let store = context.filled()?;
    let some = Context {
        load: Load {
            n: context.load.n / UNSYNCED_SHARE,
            ..context.load
        },
        ..*context
    };
    some.put_all(&*store, super::OTHER, 1, Timing::Sampled)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{READY}")?;
    out.flush()?;
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// Opens, looks some keys up, and closes; tells how long the open took.
fn open(context: &Context<'_>) -> Outcome<Duration> {
    let dir = context.dir("store")?;
    let settings = Settings {
        durability: context.entry.weakest(),
        ..Settings::default()
    };
    let watch = Instant::now();
    let store = (context.entry.open)(&dir, &settings)?;
    let took = watch.elapsed();
    let (mut random, mut key, mut value) = (Random::new(5), Vec::new(), Vec::new());
    for _ in 0..LOOKED_UP.min(context.load.n) {
        let number = random.below(context.load.n);
        context.load.key(number, &mut key);
        if !store.get(&key, &mut value)? {
            return Err(format!("key {number} is not there after the open").into());
        }
    }
    store.close()?;
    Ok(took)
}

fn line(context: &Context<'_>, took: Duration) -> Line {
    let mut line = context.line();
    line.threads = 1;
    line.open_ms = Some((took.as_secs_f64() * 1e6).round() / 1e3);
    line.disk_bytes = Some(process::disk_bytes(context.home));
    line
}
