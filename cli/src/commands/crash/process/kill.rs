//! How a child dies: at which moment, and what it had acknowledged by then.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::child::{Life, Said};
use super::strace;
use crate::exit::{Exit, Failure};

/// A child that nobody kills ends by itself after so many writes.
pub(super) const WRITES_MAX: u64 = 400;
/// A child that says nothing for so long hangs, and that is a violation.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time waited for the kill after a line of the child.
const DELAY_US_MAX: u64 = 1_500;
/// And after its start, when it is to die while it opens and recovers.
const OPENING_US_MAX: u64 = 15_000;
/// And in a merge.
const MERGE_US_MAX: u64 = 4_000;
/// A child that waits for a merge to die in is killed after so many lines at the latest.
const LINES_MAX: u64 = 120;
/// More lines than these wait in the pipe, and the child with them.
const LINES_WAITING_MAX: usize = 1_024;
/// System calls of a child that is to die at one of them; a small number falls into its open.
const CALLS_MAX: u64 = 400;

/// When a child is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// So many microseconds after its start: it loads, opens or recovers.
    Opening { after_us: u64 },
    /// So many microseconds after it has said so many lines.
    Writing { lines: u64, after_us: u64 },
    /// So many microseconds after it began a merge.
    Merging { after_us: u64 },
    /// When it makes its n-th system call that concerns files.
    Call { number: u64 },
}

impl Moment {
    pub(super) fn choose(rng: &mut Rng, traced: bool) -> Moment {
        match rng.u32(..if traced { 8 } else { 6 }) {
            0 | 1 => Moment::Opening {
                after_us: rng.u64(..OPENING_US_MAX),
            },
            2..=4 => Moment::Writing {
                lines: rng.u64(1..LINES_MAX),
                after_us: rng.u64(..DELAY_US_MAX),
            },
            5 => Moment::Merging {
                after_us: rng.u64(..MERGE_US_MAX),
            },
            // Half of them early: opening makes few calls, and each is worth a visit.
            6 => Moment::Call {
                number: rng.u64(1..40),
            },
            _ => Moment::Call {
                number: rng.u64(1..CALLS_MAX),
            },
        }
    }
}

/// What is known about a child after its death.
pub(super) struct Death {
    pub(super) acknowledged: Option<u64>,
    /// How many acknowledgements it gave.
    pub(super) acknowledgements: u64,
    /// It had opened the store before it died.
    pub(super) opened: bool,
    /// It was in a merge that it had announced.
    pub(super) merging: bool,
    /// It did not end by itself before the kill came.
    pub(super) ended_by_kill: bool,
    /// It failed by itself, which a crash must never make it do.
    pub(super) failed: Option<String>,
}

/// A child from its first to its last moment.
pub(super) fn child(
    store: &Path,
    life: Life,
    moment: Moment,
    rng: &mut Rng,
) -> Result<Death, Failure> {
    let mut child = Living::start(store, life, moment)?;
    let mut death = Death {
        acknowledged: None,
        acknowledgements: 0,
        opened: false,
        merging: false,
        ended_by_kill: false,
        failed: None,
    };
    let heard = match moment {
        Moment::Opening { after_us } => {
            wait(Duration::from_micros(after_us));
            Ok(())
        }
        Moment::Writing { lines, after_us } => {
            let heard = child.hear(&mut death, |_, heard| heard >= lines);
            wait(Duration::from_micros(after_us));
            heard
        }
        Moment::Merging { after_us } => {
            let heard = child.hear(&mut death, |said, heard| {
                said == Said::Merging || heard >= LINES_MAX
            });
            wait(Duration::from_micros(
                after_us.min(1 + rng.u64(..=after_us)),
            ));
            heard
        }
        // strace kills it.
        Moment::Call { .. } => child.hear(&mut death, |_, _| false),
    };
    if !matches!(moment, Moment::Call { .. }) || heard.is_err() {
        child.kill()?;
    }
    heard.or_else(|silence| match silence {
        Silence::Ended => Ok(()),
        Silence::Hangs => {
            death.failed = Some(format!("it said nothing for {} s", PATIENCE.as_secs()));
            Ok::<(), Failure>(())
        }
    })?;
    // Lines that were in the pipe before the kill are acknowledgements like the others.
    let _ended = child.hear(&mut death, |_, _| false);
    let (status, complaint) = child.bury()?;
    death.ended_by_kill = died_of_a_kill(status);
    if !death.ended_by_kill && !status.success() && death.failed.is_none() {
        if status.code().and_then(Exit::of_code) == Some(Exit::Io) {
            return Err(Failure::new(Exit::Io, format!("the child: {complaint}")));
        }
        death.failed = Some(format!("{status}: {complaint}"));
    }
    Ok(death)
}

/// Why a child is not heard any more.
enum Silence {
    Ended,
    Hangs,
}

struct Living {
    child: Child,
    lines: Receiver<String>,
    complaints: thread::JoinHandle<String>,
}

impl Living {
    fn start(store: &Path, life: Life, moment: Moment) -> Result<Living, Failure> {
        let program =
            env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
        let mut command = match moment {
            Moment::Call { number } => strace::killing_at(number, &program),
            _ => Command::new(program),
        };
        command.arg("crash-child");
        for (name, value) in [
            ("--seed", life.seed),
            ("--from", life.from),
            ("--until", life.until),
            ("--round", life.round),
        ] {
            command.arg(name).arg(value.to_string());
        }
        let mut child = command
            .arg("--")
            .arg(store)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::io("start the child", &error))?;
        let out = child.stdout.take().expect("its output is piped");
        let mut complaints = child.stderr.take().expect("its errors are piped");
        let (send, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            // A line that the child's death cut short has no end, and says nothing.
            while out.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                line.pop();
                if send.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        let complaints = thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not told; the exit status is what counts.
            let _ = complaints.read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Living {
            child,
            lines,
            complaints,
        })
    }

    /// Hears lines until `enough`, which is told how many there were.
    fn hear(
        &self,
        death: &mut Death,
        mut enough: impl FnMut(Said, u64) -> bool,
    ) -> Result<(), Silence> {
        for heard in 1.. {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.map_err(|error| match error {
                RecvTimeoutError::Disconnected => Silence::Ended,
                RecvTimeoutError::Timeout => Silence::Hangs,
            })?;
            let Some(said) = Said::parse(&line) else {
                continue;
            };
            match said {
                Said::Opened => death.opened = true,
                Said::Acknowledged(number) => {
                    death.acknowledged = Some(number);
                    death.acknowledgements += 1;
                }
                Said::Merging => death.merging = true,
                Said::Merged => death.merging = false,
                Said::Done => {}
            }
            if enough(said, heard) {
                break;
            }
        }
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .map_err(|error| Failure::io("kill the child", &error))
    }

    /// Waits for its end; answers with its status and what it complained of.
    fn bury(mut self) -> Result<(ExitStatus, String), Failure> {
        let status = self.child.wait();
        let status = status.map_err(|error| Failure::io("wait for the child", &error))?;
        Ok((status, self.complaints.join().unwrap_or_default()))
    }
}

/// Waits exactly: a sleep alone may be longer than what it should hit.
fn wait(time: Duration) {
    let start = Instant::now();
    if let Some(long) = time.checked_sub(Duration::from_micros(500)) {
        thread::sleep(long);
    }
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn died_of_a_kill(status: ExitStatus) -> bool {
    // 9 is SIGKILL on every Unix; strace dies of the signal that its child died of.
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    !status.success()
}
