//! Where a subcommand finds its peerstore: the socket of a service, or a directory that this process
//! opens itself. It must never know what is done there.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use peercask_peerstore::gnunet::{
    ClientOptions, Connection, Error, ErrorKind, Filter, Options, PeerIdentity, Peerstore,
};

use super::quota::{self, QuotaArg};
use crate::bytes_arg;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::units::{self, Lifetime};

/// Which peerstore.
#[derive(Args)]
pub(super) struct TargetArgs {
    /// The socket of a service (`peercask peerstore serve`)
    #[arg(long, value_name = "PATH", required_unless_present = "dir")]
    socket: Option<PathBuf>,
    /// The peerstore's directory, when no service has it
    #[arg(long, value_name = "DIR", conflicts_with = "socket")]
    dir: Option<PathBuf>,
    /// How long to wait for a service that is not there or does not answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = units::parse_lifetime)]
    patience: Lifetime,
    /// With --dir: upstream's rules, see `peercask peerstore serve --help`
    #[arg(long, conflicts_with = "socket")]
    compatible: bool,
}

/// The rules of a peerstore that is opened here.
#[derive(Args)]
pub(super) struct RulesArgs {
    /// Upstream's rules: expired records are returned until they are swept, records of more than
    /// 65,479 bytes and names with a NUL are refused, order is by peer and key
    #[arg(long)]
    compatible: bool,
    /// How often expired records are removed, or never
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = units::parse_lifetime)]
    sweep_interval: Lifetime,
    /// What a subsystem may keep: NAME=RECORDS, NAME=RECORDS,BYTES, with `,evict` behind it if the
    /// oldest records go instead of new ones being refused; without NAME= for all others
    #[arg(long, value_name = "QUOTA", value_parser = quota::parse_quota)]
    quota: Vec<QuotaArg>,
}

impl RulesArgs {
    pub(super) fn options(&self) -> Options {
        let mut options = options(self.compatible).sweep_interval(match self.sweep_interval {
            Lifetime::For(interval) => Some(interval),
            Lifetime::Never => None,
        });
        for quota in &self.quota {
            options = match &quota.subsystem {
                Some(name) => options.quota(name, quota.quota),
                None => options.default_quota(Some(quota.quota)),
            };
        }
        options
    }
}

/// A peer as given on the command line.
pub(super) fn peer_parser(text: &str) -> Result<PeerIdentity, String> {
    text.parse::<PeerIdentity>()
        .map_err(|error| error.to_string())
}

/// Which records: the arguments that several subcommands share.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// The subsystem
    subsystem: std::ffi::OsString,
    /// Only this peer: 52 characters of GNUnet's base32, or 64 hexadecimal digits
    #[arg(long, value_parser = peer_parser)]
    peer: Option<PeerIdentity>,
    /// Only this key
    #[arg(long)]
    key: Option<std::ffi::OsString>,
    /// Keys and values are hexadecimal, as given and as printed
    #[arg(long)]
    pub(super) hex: bool,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let mut filter = Filter::subsystem(self.subsystem.as_encoded_bytes());
        if let Some(peer) = self.peer {
            filter = filter.peer(peer);
        }
        if let Some(key) = &self.key {
            filter = filter.key(bytes_arg::parse(key, self.hex)?);
        }
        Ok(filter)
    }
}

/// A connection, and the peerstore behind it if it is ours to close.
pub(super) struct Target {
    pub(super) connection: Connection,
    own: Option<Peerstore>,
}

impl Target {
    /// A peerstore that is there.
    pub(super) fn existing(args: &TargetArgs) -> Result<Target, Failure> {
        Target::open(args, false)
    }

    /// A peerstore that is there, or a new one in the directory.
    pub(super) fn or_create(args: &TargetArgs) -> Result<Target, Failure> {
        Target::open(args, true)
    }

    fn open(args: &TargetArgs, create: bool) -> Result<Target, Failure> {
        if let Some(socket) = &args.socket {
            let patience = match args.patience {
                Lifetime::For(patience) => patience,
                Lifetime::Never => Duration::MAX,
            };
            let options = ClientOptions::default().patience(patience);
            let connection = Connection::to_service(socket, options).map_err(failure)?;
            // Whether somebody is there is told before anything is asked.
            connection.stats().map_err(|error| {
                let shown = socket.display();
                if error.kind() != ErrorKind::NoService {
                    return failure(error).within(shown);
                }
                let what = format!(
                    "no service answers at {shown}; `peercask peerstore serve DIR --socket {shown}` starts one"
                );
                Failure::new(Exit::NotFoundOrWrong, what)
            })?;
            return Ok(Target {
                connection,
                own: None,
            });
        }
        let Some(dir) = &args.dir else {
            return Err(Failure::usage("give --socket or --dir"));
        };
        let store = peercask::Options::default()
            .create(create)
            .background(false);
        let options = options(args.compatible).background(false).store(store);
        let peerstore = Peerstore::open(dir, options).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let what = format!(
                    "no peerstore in {}; `peercask peerstore store --dir` makes one",
                    dir.display()
                );
                Failure::new(Exit::NotFoundOrWrong, what)
            }
            _ => failure(error),
        })?;
        tell_damage(&peerstore);
        Ok(Target {
            connection: peerstore.connect(),
            own: Some(peerstore),
        })
    }

    /// Ends the visit; a peerstore of our own is closed, and says how that went.
    pub(super) fn close(self) -> Result<(), Failure> {
        self.connection.disconnect(true).map_err(failure)?;
        drop(self.connection);
        self.own.map_or(Ok(()), |own| own.close().map_err(failure))
    }
}

pub(super) fn tell_damage(peerstore: &Peerstore) {
    for damage in peerstore.damaged() {
        output::note(format_args!("damaged: {damage}"));
    }
}

fn options(compatible: bool) -> Options {
    match compatible {
        true => Options::compatible(),
        false => Options::native(),
    }
}

/// An error of the peerstore with the exit code that is documented for it.
pub(super) fn failure(error: Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NoService => Exit::NotFoundOrWrong,
        ErrorKind::InvalidArgument | ErrorKind::InvalidRecord | ErrorKind::TooLarge => Exit::Usage,
        ErrorKind::Locked => Exit::Locked,
        ErrorKind::Corrupted => Exit::Corrupted,
        ErrorKind::Io | ErrorKind::StorageFull | ErrorKind::ConnectionLost => Exit::Io,
        ErrorKind::UnsupportedVersion => Exit::Format,
        // Quotas, limits, poisoned, closed, and kinds that do not exist yet.
        _ => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}
