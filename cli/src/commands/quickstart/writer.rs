//! The child of a quickstart: imports the planned files one by one and says on its standard output which
//! are acknowledged, until it is killed.
//!
//! The order is the point: read the file, commit with `Kernel`, and only after the acknowledgement the
//! line `ack INDEX LEN DIGEST`. It never ends by itself while its parent lives.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;
use peercask::{Durability, Options, Store};

use super::content;
use super::plan;
use super::shelf::Shelf;
use crate::exit::{Exit, Failure};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct WriterArgs {
    /// The store's directory
    pub(super) dir: PathBuf,
    /// The list of files
    pub(super) list: PathBuf,
    /// Stop and wait to be killed after this many files
    #[arg(long)]
    pub(super) until: usize,
}

pub(crate) fn run(args: &WriterArgs, output: &mut Output) -> Result<Exit, Failure> {
    let files = plan::read(&args.list)?;
    let shelf = Shelf::open(Store::open(&args.dir, Options::default())?)?;
    for (index, file) in files.iter().enumerate().take(args.until) {
        match fs::read(&file.path) {
            Ok(content) => {
                shelf.put(&file.key, &content, Durability::Kernel)?;
                let digest = content::digest(&content);
                output.line(format_args!("ack {index} {} {digest:x}", content.len()))?;
            }
            // Gone since the plan was made, or not ours to read.
            Err(_) => output.line(format_args!("gone {index}"))?,
        }
        output.flush()?;
    }
    wait_for_the_end()
}

/// Ends when the parent does: its end of our standard input closes.
fn wait_for_the_end() -> Result<Exit, Failure> {
    let mut rest = Vec::new();
    io::stdin()
        .read_to_end(&mut rest)
        .map_err(|error| Failure::io("read standard input", &error))?;
    Ok(Exit::Done)
}

/// What one line of the child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Acknowledged { index: usize, len: u64, digest: u64 },
    Gone { index: usize },
}

/// Reads a line of the child; None if it is none, or was cut short by the kill.
pub(super) fn parse(line: &str) -> Option<Said> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let said = match words.next()? {
        "ack" => Said::Acknowledged {
            index: words.next()?.parse().ok()?,
            len: words.next()?.parse().ok()?,
            digest: u64::from_str_radix(words.next()?, 16).ok()?,
        },
        "gone" => Said::Gone {
            index: words.next()?.parse().ok()?,
        },
        _ => return None,
    };
    words.next().is_none().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_acknowledgements() {
        let ack = Said::Acknowledged {
            index: 7,
            len: 30,
            digest: 0xff,
        };
        assert_eq!(parse("ack 7 30 ff\n"), Some(ack));
        assert_eq!(parse("gone 7\n"), Some(Said::Gone { index: 7 }));
        for line in [
            "ack 7 30 ff",
            "ack 7 30\n",
            "ack 7 30 ff 1\n",
            "ack x 30 ff\n",
            "",
            "\n",
            "hello\n",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
