//! All printing of the command: data to standard output, as text or as JSON lines; everything else to
//! standard error.
//!
//! It must never know what is printed. A reader that goes away (`| head`) is no error: the first failed
//! write ends the command quietly, unless its work is worth more than its report.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Standard output, and the choice between text and JSON.
pub(crate) struct Output {
    json: bool,
    to_terminal: bool,
    out: BufWriter<Box<dyn Write>>,
}

impl Output {
    pub(crate) fn to_stdout(json: bool) -> Output {
        let stdout = io::stdout();
        Output {
            json,
            to_terminal: stdout.is_terminal(),
            out: BufWriter::with_capacity(64 * 1024, Box::new(stdout.lock())),
        }
    }

    /// Where a test reads what a command prints.
    #[cfg(all(test, unix, feature = "p2p"))]
    pub(crate) fn to_writer(json: bool, out: impl Write + 'static) -> Output {
        Output {
            json,
            to_terminal: false,
            out: BufWriter::new(Box::new(out)),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.to_terminal
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(|error| lost(&error))
    }

    /// One line of text now, for reports that grow while work goes on; nothing in JSON mode. The work
    /// and its verdict matter more than the report: it goes on when the reader has gone.
    pub(crate) fn say(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        match self.line(text).and_then(|()| self.flush()) {
            Err(failure) if failure.is_reader_gone() => Ok(()),
            said => said,
        }
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|error| lost(&error))
    }

    /// One JSON value on one line.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        write_json_line(&mut self.out, value).map_err(|error| lost(&error))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| lost(&error))
    }
}

/// One JSON value on one line, to any writer.
pub(crate) fn write_json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A note on standard error that is no failure.
pub(crate) fn note(text: impl fmt::Display) {
    // When standard error is gone there is nowhere left to say so.
    let _ = writeln!(io::stderr().lock(), "peercask: {text}");
}

/// The last words of a failed command.
pub(crate) fn complain_of(failure: &Failure) {
    if let Some(message) = &failure.message {
        note(message);
    }
}

fn lost(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::reader_gone();
    }
    Failure::io("write to standard output", error)
}
