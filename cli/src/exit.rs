//! How a command ends: the documented exit codes, and the one failure type that carries a code and
//! a message to `main`.
//!
//! It must never know a command. The codes are a public promise, written in docs/cli.md and in
//! `peercask --help`; a code is never given a second meaning.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use peercask::ErrorKind;

/// The exit codes, in the words of the help text.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    done
  1    not found; or a check found something wrong (verify, doctor, crash, export,
       quickstart)
  2    wrong usage or bad input
  3    the store is locked by another process
  4    the store is corrupted
  5    input/output error, or the storage is full
  6    the store's format is not supported by this version
  7    the store is poisoned, or any other error
  130  interrupted; what was written before is kept";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// The key, keyspace or store is not there, or a check found something wrong.
    NotFoundOrWrong,
    Usage,
    Locked,
    Corrupted,
    Io,
    Format,
    Other,
    Interrupted,
}

const CODES: [(Exit, u8); 9] = [
    (Exit::Done, 0),
    (Exit::NotFoundOrWrong, 1),
    (Exit::Usage, 2),
    (Exit::Locked, 3),
    (Exit::Corrupted, 4),
    (Exit::Io, 5),
    (Exit::Format, 6),
    (Exit::Other, 7),
    (Exit::Interrupted, 130),
];

impl Exit {
    /// What another process of this program meant by its code.
    pub(crate) fn of_code(code: i32) -> Option<Exit> {
        let meant = CODES.iter().find(|(_, known)| i32::from(*known) == code);
        meant.map(|(exit, _)| *exit)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        let known = CODES.iter().find(|(known, _)| *known == exit);
        ExitCode::from(known.map_or(7, |(_, code)| *code))
    }
}

/// Why a command ended early. Without a message it ends silently.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: Some(message.into()),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// An error of the operating system, with what was being done: "read notes.txt".
    pub(crate) fn io(doing: impl Display, error: &io::Error) -> Failure {
        Failure::new(Exit::Io, format!("cannot {doing}: {error}"))
    }

    /// Whoever read our output has gone (`| head`): nothing is wrong, and there is nobody to tell.
    pub(crate) fn reader_gone() -> Failure {
        Failure {
            exit: Exit::Done,
            message: None,
        }
    }

    pub(crate) fn is_reader_gone(&self) -> bool {
        self.exit == Exit::Done
    }

    /// The same failure, its message led in by where it happened.
    pub(crate) fn within(mut self, place: impl Display) -> Failure {
        self.message = self.message.map(|message| format!("{place}: {message}"));
        self
    }
}

impl From<peercask::Error> for Failure {
    fn from(error: peercask::Error) -> Failure {
        let exit = match error.kind() {
            ErrorKind::NotFound => Exit::NotFoundOrWrong,
            ErrorKind::InvalidArgument => Exit::Usage,
            ErrorKind::Locked => Exit::Locked,
            ErrorKind::Corrupted => Exit::Corrupted,
            ErrorKind::Io | ErrorKind::StorageFull => Exit::Io,
            ErrorKind::UnsupportedFormat => Exit::Format,
            // Poisoned, closed, conflict, and kinds that do not exist yet.
            _ => Exit::Other,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_has_one_meaning_and_stands_in_the_help() {
        for (exit, code) in CODES {
            assert_eq!(Exit::of_code(code.into()), Some(exit));
            let line = EXIT_CODES_HELP.lines().filter(|line| {
                let number = line.split_whitespace().next();
                number == Some(code.to_string().as_str())
            });
            assert_eq!(line.count(), 1, "{code}");
        }
        assert_eq!(Exit::of_code(101), None, "a panic is no exit of ours");
    }
}
