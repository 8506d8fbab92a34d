//! `stat --watch`: a store from outside, again and again, while another process has it open. It
//! looks at names and sizes of files and at the manifest alone: it takes no lock and writes nothing.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use peercask::inspect;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::human::Table;
use crate::interrupt;
use crate::output::Output;
use crate::units::{self, count};

/// Rates that the line of bars shows.
const RATES_KEPT: usize = 40;
/// So often Ctrl-C is looked for while waiting.
const NAP: Duration = Duration::from_millis(50);
/// Cursor to the corner, and everything behind it away.
const CLEAR: &str = "\x1b[H\x1b[2J";
const BARS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// One look at a store.
#[derive(Serialize, Default)]
struct Look {
    segments: u64,
    segment_bytes: u64,
    hint_files: u64,
    hint_bytes: u64,
    in_the_making_bytes: u64,
    other_bytes: u64,
    /// The greatest number of a segment: it rises with each rotation and merge output.
    newest_segment: u64,
    generation: Option<u64>,
    synced_seq: Option<u64>,
    keyspaces: Option<u64>,
    process: Option<u64>,
    process_lives: Option<bool>,
    /// Since the look before, by the lengths of files; space reserved ahead counts when reserved.
    grown_bytes_per_second: Option<f64>,
}

impl Look {
    fn all_bytes(&self) -> u64 {
        self.segment_bytes + self.hint_bytes + self.in_the_making_bytes + self.other_bytes
    }
}

/// Looks every `seconds`, for ever or so many `times`.
pub(crate) fn run(
    dir: &Path,
    seconds: u64,
    times: Option<u64>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    interrupt::watch()?;
    let mut before: Option<(u64, Instant)> = None;
    let mut rates = VecDeque::new();
    let mut done = 0;
    loop {
        let mut look = look(dir)?;
        let now = Instant::now();
        if let Some((bytes, at)) = before {
            let seconds = now.duration_since(at).as_secs_f64();
            let rate = (look.all_bytes() as f64 - bytes as f64) / seconds.max(0.001);
            look.grown_bytes_per_second = Some(rate);
            rates.push_back(rate);
            if rates.len() > RATES_KEPT {
                rates.pop_front();
            }
        }
        before = Some((look.all_bytes(), now));
        show(dir, &look, &rates, output)?;
        done += 1;
        if times.is_some_and(|times| done >= times) || !wait(Duration::from_secs(seconds)) {
            return Ok(Exit::Done);
        }
    }
}

/// False when Ctrl-C was pressed meanwhile.
fn wait(time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if interrupt::requested() {
            return false;
        }
        std::thread::sleep(NAP);
    }
    !interrupt::requested()
}

fn look(dir: &Path) -> Result<Look, Failure> {
    let shown = dir.display();
    let entries = fs::read_dir(dir)
        .map_err(|error| Failure::new(Exit::Io, format!("cannot list {shown}: {error}")))?;
    let mut look = Look::default();
    for entry in entries.flatten() {
        // A file that went meanwhile has no size, and is not missed.
        let Ok(len) = entry.metadata().map(|meta| meta.len()) else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tmp") {
            look.in_the_making_bytes += len;
        } else if let Some(id) = name.strip_prefix("seg-") {
            look.segments += 1;
            look.segment_bytes += len;
            let id = u64::from_str_radix(id, 16).unwrap_or(0);
            look.newest_segment = look.newest_segment.max(id);
        } else if name.starts_with("hint-") {
            look.hint_files += 1;
            look.hint_bytes += len;
        } else {
            look.other_bytes += len;
        }
    }
    match inspect::manifest(dir) {
        Ok(manifest) => {
            look.generation = Some(manifest.generation);
            look.synced_seq = Some(manifest.synced_seq);
            look.keyspaces = Some(manifest.keyspaces.len() as u64);
        }
        Err(error) if error.kind() == peercask::ErrorKind::NotFound => return Err(error.into()),
        // It may be replaced just now; the next look finds it.
        Err(_) => {}
    }
    look.process = fs::read_to_string(dir.join("LOCK"))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if cfg!(target_os = "linux") {
        let lives = |process: u64| Path::new("/proc").join(process.to_string()).exists();
        look.process_lives = look.process.map(lives);
    }
    Ok(look)
}

fn show(
    dir: &Path,
    look: &Look,
    rates: &VecDeque<f64>,
    output: &mut Output,
) -> Result<(), Failure> {
    if output.is_json() {
        output.object(look)?;
        return output.flush();
    }
    let clear = if output.is_terminal() { CLEAR } else { "" };
    output.line(format_args!("{clear}{}", dir.display()))?;
    let unknown = || "-".to_owned();
    let mut table = Table::new(1);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("on disk", units::bytes(look.all_bytes()));
    row("segments", count(look.segments));
    row("in segments", units::bytes(look.segment_bytes));
    row("in hint files", units::bytes(look.hint_bytes));
    row("in the making", units::bytes(look.in_the_making_bytes));
    row("newest segment", count(look.newest_segment));
    row("keyspaces", look.keyspaces.map_or_else(unknown, count));
    row(
        "manifest generation",
        look.generation.map_or_else(unknown, count),
    );
    row(
        "synced seq, at least",
        look.synced_seq.map_or_else(unknown, count),
    );
    row(
        "growth",
        look.grown_bytes_per_second.map_or_else(unknown, rate),
    );
    for line in table.lines() {
        output.line(line)?;
    }
    if !rates.is_empty() && output.is_terminal() {
        output.line(bars(rates))?;
    }
    match (look.process, look.process_lives) {
        (Some(process), Some(true)) => {
            output.line(format_args!(
                "open in process {process}, or was when it last ran"
            ))?;
        }
        (Some(process), _) => output.line(format_args!("last opened by process {process}"))?,
        (None, _) => {}
    }
    output.flush()
}

fn rate(per_second: f64) -> String {
    let sign = if per_second < 0.0 { "-" } else { "+" };
    // Whole bytes, below 2^53.
    let bytes = format!("{:.0}", per_second.abs()).parse().unwrap_or(0);
    format!("{sign}{}/s", units::bytes(bytes))
}

/// The last rates, as high as they are beside the greatest; shrinking is the lowest.
fn bars(rates: &VecDeque<f64>) -> String {
    let most = rates.iter().copied().fold(1.0, f64::max);
    let bar = |rate: &f64| {
        let steps = (1..BARS.len()).filter(|step| rate / most * 8.0 > *step as f64);
        BARS.get(steps.count()).copied().unwrap_or(' ')
    };
    rates.iter().map(bar).collect()
}
