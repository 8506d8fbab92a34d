//! JSON lines as a source of records. Errors name the line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::batches::{Importer, Trouble};
use super::{ImportArgs, Skipped};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::json::RecordIn;
use crate::output;
use crate::progress::{Count, Progress};
use crate::units::count;

/// The longest line that is read, a bound on memory: the largest value of a line in hexadecimal is half
/// of it.
const LINE_LEN_MAX: u64 = 1 << 30;

/// Where lines come from.
pub(crate) struct Source {
    name: String,
    len: u64,
    reader: Box<dyn BufRead>,
}

impl Source {
    /// What it is called, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes, as far as they are known.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn open(path: &Path) -> Result<Source, Failure> {
        if path == Path::new("-") {
            return Ok(Source {
                name: "standard input".into(),
                len: 0,
                reader: Box::new(io::stdin().lock()),
            });
        }
        let failed = |error| Failure::io(format_args!("read {}", path.display()), &error);
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            let path = path.display();
            return Err(Failure::usage(format!(
                "{path} is a directory; import it with --tree {path}"
            )));
        }
        Ok(Source {
            name: path.display().to_string(),
            len: about.len(),
            reader: Box::new(BufReader::with_capacity(1 << 20, file)),
        })
    }

    /// The next line with its line feed into `line`; false at the end.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>) -> Result<bool, Failure> {
        line.clear();
        let mut bounded = (&mut self.reader).take(LINE_LEN_MAX);
        let len = bounded
            .read_until(b'\n', line)
            .map_err(|error| Failure::io(format_args!("read {}", self.name), &error))?;
        if bounded.limit() == 0 && line.last() != Some(&b'\n') {
            return Err(Failure::usage(format!(
                "the line is longer than {LINE_LEN_MAX} bytes"
            )));
        }
        Ok(len > 0)
    }
}

pub(super) fn import(
    mut source: Source,
    args: &ImportArgs,
    importer: &mut Importer<'_>,
) -> Result<Skipped, Failure> {
    let mut skipped = Skipped::default();
    let mut progress = Progress::new("importing lines", Count::Bytes, source.len);
    let mut line = Vec::new();
    let mut number: u64 = 0;
    while !interrupt::requested() {
        number += 1;
        let name = source.name.clone();
        let place = move || format!("{name}, line {number}");
        if !source
            .next_line(&mut line)
            .map_err(|failure| failure.within(place()))?
        {
            break;
        }
        match import_line(&line, args, importer) {
            Ok(()) => {}
            Err(Trouble::Failed(failure)) => return Err(failure.within(place())),
            Err(Trouble::Bad(why)) if args.skip_bad => {
                output::note(format_args!("skipped {}: {why}", place()));
                skipped.bad += 1;
            }
            Err(Trouble::Bad(why)) => {
                let before = count(importer.finish()?.records);
                let message = format!(
                    "{}: {why} ({before} records before it are imported; --skip-bad skips such lines)",
                    place()
                );
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        progress.add(u64::try_from(line.len()).unwrap_or(0));
    }
    Ok(skipped)
}

fn import_line(line: &[u8], args: &ImportArgs, importer: &mut Importer<'_>) -> Result<(), Trouble> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let record: RecordIn =
        serde_json::from_slice(line).map_err(|error| Trouble::Bad(describe(&error)))?;
    let keyspace = record.keyspace.as_deref().unwrap_or(&args.keyspace);
    importer.put(
        keyspace,
        &record.key.0,
        &record.value.0,
        record.expires_at_ms,
    )
}

/// The parser counts lines too, but sees only one at a time: "line 1" would be wrong.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&position) {
        Some(what) if error.column() > 0 => format!("{what} at column {}", error.column()),
        _ => text,
    }
}
