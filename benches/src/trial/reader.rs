//! The child that opens what a crash or a flipped bit left and tells what it reads, twice; and how it is
//! started. Whatever happens to it, panic, abort or endless loop, is its answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::writes::{self, Content, KEYS, key_bytes};
use crate::Outcome;
use crate::backend::{Backend, Entry};

/// The words behind this program that make it the child which reads, and the one which writes.
pub const READ: &str = "trial-read";
/// As [`READ`].
pub const WRITE: &str = "trial-write";
/// What is not open and read after so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What reading a store once came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Read {
    /// What was found.
    pub found: Content,
    /// Keys whose reading was an error, which named no value.
    pub errors: BTreeMap<u8, String>,
    /// Damage of which the store told when it opened.
    pub told: u64,
}

/// What became of the child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The store opened and was read, closed, opened and read again.
    Read {
        /// The first time.
        first: Read,
        /// The second, or why it did not open then.
        second: Result<Read, String>,
    },
    /// The store did not open, and said why.
    Refused(String),
    /// The child panicked or was killed by a signal of its own doing.
    Panicked(String),
    /// It was not done in time.
    Hung,
}

/// The child: lines of what it found. It ends well also if the store does not open.
///
/// # Errors
/// Of the pipe.
pub fn read(entry: &Entry, dir: &Path) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    for _ in 0..2 {
        match writes::open(entry, dir) {
            Err(error) => {
                let words = error.to_string().replace('\n', " ");
                writeln!(out, "refused {words}")?;
                break;
            }
            Ok(store) => {
                writeln!(out, "opened {}", store.told_of_damage())?;
                read_all(&*store, &mut out)?;
                // What it says now was not asked.
                drop(store.close());
                writeln!(out, "done")?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn read_all(store: &dyn Backend, out: &mut impl std::io::Write) -> Outcome<()> {
    let mut value = Vec::new();
    for key in 0..KEYS {
        match store.get(&key_bytes(key), &mut value) {
            Ok(true) => {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(out, "key {key} {hex}")?;
            }
            Ok(false) => {}
            Err(error) => writeln!(out, "error {key} {}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}

/// Starts children of one program for one store.
pub struct Reader {
    /// This program.
    pub program: PathBuf,
    /// The name of the store's entry.
    pub backend: &'static str,
}

impl Reader {
    /// Lets a child read what is in `dir`.
    ///
    /// # Errors
    /// If none can be started.
    pub fn ask(&self, dir: &Path) -> Outcome<Answer> {
        let mut child = Command::new(&self.program)
            .args([READ, self.backend])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let (tell, told) = mpsc::sync_channel(1);
        let listener = thread::spawn(move || {
            let (mut text, mut complaints) = (String::new(), Vec::new());
            if let Some(out) = &mut out {
                // What was said before the end counts.
                let _ = out.read_to_string(&mut text);
            }
            if let Some(err) = &mut err {
                let _ = err.read_to_end(&mut complaints);
            }
            let complaints = String::from_utf8_lossy(&complaints).into_owned();
            // Nobody listens any more if it came too late.
            let _ = tell.send((text, complaints));
        });
        let Ok((text, complaints)) = told.recv_timeout(PATIENCE) else {
            child.kill()?;
            child.wait()?;
            drop(listener.join());
            return Ok(Answer::Hung);
        };
        let status = child.wait()?;
        drop(listener.join());
        match status.success() {
            true => answer(&text),
            false => Ok(Answer::Panicked(format!(
                "{status}: {}",
                first_line(&complaints)
            ))),
        }
    }
}

fn first_line(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or("without a word")
}

fn answer(text: &str) -> Outcome<Answer> {
    let mut reads: Vec<Result<Read, String>> = Vec::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "refused" {
            reads.push(Err(rest.to_owned()));
            continue;
        }
        if word == "opened" {
            reads.push(Ok(Read {
                told: rest.parse()?,
                ..Read::default()
            }));
            continue;
        }
        let Some(Ok(read)) = reads.last_mut() else {
            continue;
        };
        match (word, rest.split_once(' ')) {
            ("key", Some((key, hex))) => {
                read.found.insert(key.parse()?, unhex(hex)?);
            }
            ("error", Some((key, words))) => {
                read.errors.insert(key.parse()?, words.to_owned());
            }
            // Other lines are the store's own.
            _ => {}
        }
    }
    let mut reads = reads.into_iter();
    match (reads.next(), reads.next()) {
        (Some(Err(why)), _) => Ok(Answer::Refused(why)),
        (Some(Ok(first)), Some(second)) => Ok(Answer::Read { first, second }),
        _ => Err(format!("a child that ended well said too little: {text}").into()),
    }
}

fn unhex(text: &str) -> Outcome<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_understood() {
        let text = "opened 0\nkey 2 6869\nerror 3 it is damaged\ndone\nopened 1\ndone\n";
        let Answer::Read { first, second } = answer(text).expect("said enough") else {
            panic!("it was read");
        };
        assert_eq!(first.found, Content::from([(2, b"hi".to_vec())]));
        assert_eq!(first.errors.len(), 1);
        assert_eq!(second.expect("it opened again").told, 1);
        assert_eq!(
            answer("refused no such thing\n").expect("said enough"),
            Answer::Refused("no such thing".to_owned())
        );
        assert!(answer("opened 0\nkey 1 68\n").is_err(), "it was not done");
    }
}
