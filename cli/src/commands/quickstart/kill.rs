//! The parent's side of the child: starts it, notes what it acknowledges, and kills it with SIGKILL at a
//! random moment around the middle.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::writer::{self, Said};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::progress::{Count, Progress};

/// After the file that decides the moment, the parent waits up to the time of this many files more, so
/// that the kill hits any point of a write.
const DELAY_FILES_MAX: f64 = 4.0;

/// The child may go on this many files beyond that one, at least.
const HEADROOM_FILES: usize = 16;

/// A content that the child acknowledged.
#[derive(Clone, Copy)]
pub(super) struct Ack {
    pub(super) len: u64,
    pub(super) digest: u64,
}

/// What is known about the child after its death.
pub(super) struct Killed {
    /// By index in the plan.
    pub(super) acks: Vec<Option<Ack>>,
    pub(super) acknowledged: u64,
    pub(super) bytes: u64,
    /// From the first acknowledgement to the kill.
    pub(super) elapsed: Duration,
}

pub(super) fn import_until_killed(
    store: &Path,
    list: &Path,
    files: usize,
    rng: &mut Rng,
) -> Result<Killed, Failure> {
    let target = rng.usize(files * 2 / 5..=files * 3 / 5).max(1);
    let until = files.min(target + (files / 4).max(HEADROOM_FILES));
    let delay_files = rng.f64() * DELAY_FILES_MAX;
    let (mut child, mut said) = start(store, list, until)?;
    let mut killed = Killed {
        acks: vec![None; files],
        acknowledged: 0,
        bytes: 0,
        elapsed: Duration::ZERO,
    };
    let mut progress = Progress::new(
        "a child imports",
        Count::Things,
        u64::try_from(target).unwrap_or(0),
    );
    let (mut heard, mut is_killed, mut started) = (0_u32, false, None);
    let mut line = String::new();
    loop {
        line.clear();
        let len = said
            .read_line(&mut line)
            .map_err(|error| Failure::io("hear from the child", &error))?;
        if len == 0 {
            break;
        }
        let started = *started.get_or_insert_with(Instant::now);
        killed.note(&line);
        heard += 1;
        progress.add(1);
        // Lines that were in the pipe before the kill are acknowledgements like the others.
        if !is_killed && (usize::try_from(heard) == Ok(target) || interrupt::requested()) {
            let per_file = started.elapsed().as_secs_f64() / f64::from(heard);
            thread::sleep(Duration::from_secs_f64(per_file * delay_files));
            child.kill()?;
            is_killed = true;
            killed.elapsed = started.elapsed();
        }
    }
    let status = child.0.wait();
    let status = status.map_err(|error| Failure::io("wait for the child", &error))?;
    interrupt::check()?;
    if !is_killed || !died_of_the_kill(status) {
        return Err(ended_by_itself(status));
    }
    Ok(killed)
}

/// Whether it was our signal, and not a fault of the child a moment before.
fn died_of_the_kill(status: ExitStatus) -> bool {
    // 9 is SIGKILL on every Unix.
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    !status.success()
}

/// The child has said why on standard error; its exit code is ours.
fn ended_by_itself(status: ExitStatus) -> Failure {
    let exit = status
        .code()
        .and_then(Exit::of_code)
        .filter(|exit| *exit != Exit::Done);
    let advice = match exit {
        Some(Exit::Io) => "; if there is no room, name a directory with more, or lower --max-bytes",
        _ => "",
    };
    let message = format!("the importing child ended before it could be killed ({status}){advice}");
    Failure::new(exit.unwrap_or(Exit::Other), message)
}

impl Killed {
    fn note(&mut self, line: &str) {
        let Some(Said::Acknowledged { index, len, digest }) = writer::parse(line) else {
            return;
        };
        if let Some(place) = self.acks.get_mut(index) {
            *place = Some(Ack { len, digest });
            self.acknowledged += 1;
            self.bytes += len;
        }
    }
}

/// A child that does not outlive a failure of ours.
struct Guarded(Child);

impl Guarded {
    fn kill(&mut self) -> Result<(), Failure> {
        self.0
            .kill()
            .map_err(|error| Failure::io("kill the child", &error))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A child that is dead already is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Voice = BufReader<ChildStdout>;

/// The child, and the end of its standard output.
fn start(store: &Path, list: &Path, until: usize) -> Result<(Guarded, Voice), Failure> {
    let program = env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
    let mut child = Command::new(program)
        .arg("quickstart-writer")
        .arg("--until")
        .arg(until.to_string())
        .arg("--")
        .arg(store)
        .arg(list)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::io("start the importing child", &error))?;
    let said = child
        .stdout
        .take()
        .expect("it was started with its output piped");
    Ok((Guarded(child), BufReader::new(said)))
}
