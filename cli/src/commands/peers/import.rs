//! `peers import`: peers from an export, from a list of addresses, or from the store of another
//! implementation.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use peercask_peerstore::libp2p::{Foreign, ImportMode, ImportReport, Peerstore, PrivateKeys, Ttl};
use serde::Serialize;

use super::dump::Dump;
use super::target::{SecretArgs, failure, write};
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::units::{self, Lifetime, counted};

const ABOUT: &str = "\
Peers are added to those that are there: of an address that is known, the later expiry stays. What does not hold \
is skipped and counted: a signed record is verified again, a key must be that of its peer, what expired on the way \
is left out. Every 256 peers are one atomic change, and an import may be repeated.\n\n\
Needs the store for itself: a node that has it open must be stopped (exit code 3 says so).\n\n\
go, js and py: FILE has one {\"key\": .., \"value\": ..} a line, each a string or {\"hex\": \"..\"}, as `peercask \
export` writes; or it is the LevelDB directory that the store stands on (built with --features p2p,leveldb), or \
py-libp2p's SQLite file (--features p2p,sqlite). Neither is changed.";

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum From {
    /// What `peers export` writes
    Lines,
    /// Addresses that end with /p2p and the peer: one a line, or a JSON array of them
    Addrs,
    /// The keys and values of go-libp2p's pstoreds, whatever it stood on
    Go,
    /// The keys and values of js-libp2p's peer store, whatever it stood on
    Js,
    /// py-libp2p's SQLite file, or the keys and values of its store
    Py,
}

#[derive(Args)]
#[command(after_help = ABOUT)]
pub(super) struct ImportArgs {
    /// The store's directory; made if it is missing or empty
    dir: PathBuf,
    /// The file, or `-` for standard input; with --from go, js and py a LevelDB directory too
    file: PathBuf,
    /// What the file is
    #[arg(long, value_enum, default_value = "lines")]
    from: From,
    /// With --from addrs and py, which do not say it: how long the addresses live
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::parse_lifetime)]
    ttl: Lifetime,
    /// With --from js: how long an address lives after it was observed
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = units::parse_lifetime)]
    address_age: Lifetime,
    /// With --from lines: each peer that comes takes the place of what was known of it
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    secret: SecretArgs,
    /// Take private keys, and keep them in clear; without this and --secret-file they are left out
    #[arg(long, conflicts_with = "secret_file")]
    plain_private_keys: bool,
}

#[derive(Serialize)]
struct ImportedJson {
    peers: u64,
    addresses: u64,
    expired: u64,
    records: u64,
    keys: u64,
    skipped: u64,
    interrupted: bool,
    elapsed_ms: u64,
}

/// A source that was opened before anything was made.
enum Opened {
    Lines(Followed),
    Addrs(Followed),
    Dump(Dump, Foreign),
}

pub(super) fn run(args: &ImportArgs, output: &mut Output) -> Result<Exit, Failure> {
    if args.replace && args.from != From::Lines {
        return Err(Failure::usage("--replace goes with --from lines alone"));
    }
    let policy = match (args.secret.secret()?, args.plain_private_keys) {
        (Some(secret), _) => PrivateKeys::Sealed(secret),
        (None, true) => PrivateKeys::Plain,
        (None, false) => PrivateKeys::Refuse,
    };
    // A source that cannot be read must not leave a new, empty store behind.
    let opened = open(args)?;
    let peers = write(&args.dir, policy)?;
    interrupt::watch()?;
    let started = Instant::now();
    let imported = import(opened, args, &peers);
    // What came before an error stays, and is safe.
    let closed = peers.close().map_err(failure);
    let report = imported?;
    closed?;
    tell(&report, started.elapsed(), output)?;
    Ok(match interrupt::requested() {
        true => Exit::Interrupted,
        false => Exit::Done,
    })
}

fn open(args: &ImportArgs) -> Result<Opened, Failure> {
    Ok(match args.from {
        From::Lines => Opened::Lines(Followed::open(&args.file)?),
        From::Addrs => Opened::Addrs(Followed::open(&args.file)?),
        From::Go => Opened::Dump(Dump::open(&args.file)?, Foreign::Go),
        From::Js => {
            let address_age = match args.address_age {
                Lifetime::For(age) => age,
                Lifetime::Never => Duration::MAX,
            };
            Opened::Dump(Dump::open(&args.file)?, Foreign::Js { address_age })
        }
        From::Py => Opened::Dump(Dump::open(&args.file)?, Foreign::Py { ttl: ttl(args.ttl) }),
    })
}

fn import(opened: Opened, args: &ImportArgs, peers: &Peerstore) -> Result<ImportReport, Failure> {
    let mode = match args.replace {
        true => ImportMode::Replace,
        false => ImportMode::Merge,
    };
    match opened {
        Opened::Lines(lines) => peers.import(lines, mode).map_err(failure),
        Opened::Addrs(lines) => peers.import_addrs(lines, ttl(args.ttl)).map_err(failure),
        Opened::Dump(dump, whose) => dump.import(peers, whose),
    }
}

fn ttl(lifetime: Lifetime) -> Ttl {
    match lifetime {
        Lifetime::For(time) => Ttl::from(time),
        Lifetime::Never => Ttl::PERMANENT,
    }
}

fn tell(report: &ImportReport, took: Duration, output: &mut Output) -> Result<(), Failure> {
    let interrupted = interrupt::requested();
    if output.is_json() {
        return output.object(&ImportedJson {
            peers: report.peers,
            addresses: report.addresses,
            expired: report.expired,
            records: report.records,
            keys: report.keys,
            skipped: report.skipped,
            interrupted,
            elapsed_ms: units::whole_ms(took),
        });
    }
    let led = if interrupted { "interrupted; " } else { "" };
    let (peers, records) = (
        counted(report.peers, "peer"),
        counted(report.records, "signed record"),
    );
    let (addresses, keys) = (units::count(report.addresses), counted(report.keys, "key"));
    let took = units::duration(took);
    output.line(format_args!(
        "{led}imported {peers}: addresses {addresses}, {records}, {keys}, in {took}"
    ))?;
    if report.expired > 0 {
        let expired = units::count(report.expired);
        output.line(format_args!("addresses that had expired: {expired}"))?;
    }
    if report.skipped > 0 {
        let skipped = units::count(report.skipped);
        output.line(format_args!(
            "lines and parts that do not hold, left out: {skipped}"
        ))?;
    }
    Ok(())
}

/// Lines whose bytes are counted for the progress bar, and that end between two lines when Ctrl-C was pressed.
struct Followed {
    inner: Box<dyn BufRead>,
    progress: Progress,
    at_line_start: bool,
}

impl Followed {
    fn open(path: &Path) -> Result<Followed, Failure> {
        let failed = |error| Failure::io(format_args!("read {}", path.display()), &error);
        let (len, inner): (u64, Box<dyn BufRead>) = match path == Path::new("-") {
            true => (0, Box::new(io::stdin().lock())),
            false => {
                let file = std::fs::File::open(path).map_err(failed)?;
                let about = file.metadata().map_err(failed)?;
                if about.is_dir() {
                    let shown = path.display();
                    return Err(Failure::usage(format!("{shown} is a directory")));
                }
                (
                    about.len(),
                    Box::new(BufReader::with_capacity(1 << 20, file)),
                )
            }
        };
        Ok(Followed {
            inner,
            progress: Progress::new("importing peers", Count::Bytes, len),
            at_line_start: true,
        })
    }
}

impl Read for Followed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let read = there.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Followed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at_line_start && interrupt::requested() {
            return Ok(&[]);
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        if len > 0 {
            let there = self.inner.fill_buf().unwrap_or_default();
            self.at_line_start = there.get(len - 1) == Some(&b'\n');
        }
        self.inner.consume(len);
        self.progress.add(len as u64);
    }
}
