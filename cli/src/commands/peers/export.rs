//! `peers export`: all peers as JSON lines, or their addresses as a plain list.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use peercask_peerstore::libp2p::{ExportOptions, Peerstore, PrivateKeys};
use serde::Serialize;

use super::BESIDE_A_NODE;
use super::target::{SecretArgs, failure, read, verdict};
use crate::commands::export::lines as lines_out;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::units::count;

/// What an export writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// JSON lines with everything that is known, as `import` reads them
    Lines,
    /// Addresses that end with /p2p and the peer, one a line
    Addrs,
}

#[derive(Args)]
#[command(after_help = BESIDE_A_NODE)]
pub(super) struct ExportArgs {
    /// The store's directory
    dir: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value = "lines")]
    format: Format,
    /// Write to a new file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite a file that exists
    #[arg(long)]
    force: bool,
    /// Write private keys too, in clear; sealed ones need --secret-file
    #[arg(long)]
    private_keys: bool,
    #[command(flatten)]
    secret: SecretArgs,
}

#[derive(Serialize)]
struct ExportedJson {
    /// Peers, or addresses.
    lines: u64,
    unreadable: u64,
    interrupted: bool,
}

pub(super) fn run(args: &ExportArgs, output: &mut Output) -> Result<Exit, Failure> {
    let policy = match args.secret.secret()? {
        Some(secret) => PrivateKeys::Sealed(secret),
        None => PrivateKeys::Refuse,
    };
    let peers = read(&args.dir, policy)?;
    interrupt::watch()?;
    let written = match &args.output {
        None => {
            let mut out = Followed::new(Standard(output), peers.count());
            let written = export(&peers, args, &mut out);
            out.outcome(written)?
        }
        Some(path) => {
            let file = lines_out::create(path, args.force)?;
            let out = BufWriter::with_capacity(1 << 20, file);
            let mut out = Followed::new(out, peers.count());
            let written = export(&peers, args, &mut out);
            let written = out.outcome(written);
            let flushed = out.inner.flush();
            flushed.map_err(|e| Failure::io(format_args!("write {}", path.display()), &e))?;
            written?
        }
    };
    let told = ExportedJson {
        lines: written.unwrap_or(0),
        unreadable: peers.stats().unreadable,
        interrupted: written.is_none(),
    };
    let exit = verdict(&peers);
    peers.close().map_err(failure)?;
    // Standard output carries the lines, so nothing else is said there.
    if args.output.is_some() {
        match (output.is_json(), args.format) {
            (true, _) => output.object(&told)?,
            (false, _) if told.interrupted => output.line("interrupted")?,
            (false, Format::Lines) => {
                output.line(format_args!("exported {} peers", count(told.lines)))?;
            }
            (false, Format::Addrs) => {
                output.line(format_args!("exported {} addresses", count(told.lines)))?;
            }
        }
    }
    Ok(match told.interrupted {
        true => Exit::Interrupted,
        false => exit,
    })
}

fn export(
    peers: &Peerstore,
    args: &ExportArgs,
    out: &mut impl Write,
) -> peercask_peerstore::libp2p::Result<u64> {
    let options = ExportOptions {
        private_keys: args.private_keys,
    };
    match args.format {
        Format::Lines => peers.export(out, options),
        Format::Addrs => peers.export_addrs(out),
    }
}

/// Standard output as a writer; remembers why it failed.
struct Standard<'a>(&'a mut Output);

impl Write for Standard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.raw(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(failure) if failure.is_reader_gone() => Err(io::ErrorKind::BrokenPipe.into()),
            Err(failure) => Err(io::Error::other(failure.message.unwrap_or_default())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer whose lines are counted for the progress bar, and that ends at a line when Ctrl-C was pressed.
struct Followed<W> {
    inner: W,
    progress: Progress,
    reader_gone: bool,
    stopped: bool,
    at_line_start: bool,
}

impl<W: Write> Followed<W> {
    fn new(inner: W, peers: u64) -> Followed<W> {
        Followed {
            inner,
            progress: Progress::new("exporting", Count::Things, peers),
            reader_gone: false,
            stopped: false,
            at_line_start: true,
        }
    }

    /// How many were written; nothing if the user interrupted it.
    fn outcome(
        &mut self,
        written: peercask_peerstore::libp2p::Result<u64>,
    ) -> Result<Option<u64>, Failure> {
        match written {
            Ok(written) => Ok(Some(written)),
            Err(_) if self.stopped => Ok(None),
            Err(_) if self.reader_gone => Err(Failure::reader_gone()),
            Err(error) => Err(failure(error)),
        }
    }
}

impl<W: Write> Write for Followed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at_line_start && interrupt::requested() {
            self.stopped = true;
            return Err(io::Error::other("interrupted"));
        }
        let written = self.inner.write(bytes).inspect_err(|error| {
            self.reader_gone |= error.kind() == io::ErrorKind::BrokenPipe;
        })?;
        let done = bytes.get(..written).unwrap_or(bytes);
        self.at_line_start = done.last() == Some(&b'\n');
        if self.at_line_start {
            self.progress.add(1);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
