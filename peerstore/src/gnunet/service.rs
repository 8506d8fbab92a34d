//! The service: one peerstore for all processes of a host, over a socket of the local system. This
//! file owns the socket and the threads; what one client may do is in `service_client.rs`.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{Error, ErrorKind, Result};
use super::peerstore::Peerstore;
use super::record::NAME_LEN_MAX;
use super::service_client;

/// How a service treats its socket and its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    pub(crate) socket_mode: u32,
    pub(crate) connections_max: usize,
    pub(crate) streams_max: usize,
    pub(crate) backlog_max: usize,
    pub(crate) greeting_timeout: Duration,
}

impl Default for ServiceOptions {
    fn default() -> ServiceOptions {
        ServiceOptions {
            socket_mode: 0o600,
            connections_max: 256,
            streams_max: 4_096,
            backlog_max: 1 << 20,
            greeting_timeout: Duration::from_secs(5),
        }
    }
}

impl ServiceOptions {
    /// Permissions of the socket: who may connect may do everything. Default: 0o600, the user
    /// alone. They are set before anyone can connect.
    #[must_use]
    pub fn socket_mode(mut self, mode: u32) -> ServiceOptions {
        self.socket_mode = mode;
        self
    }

    /// The most clients at once. Default: 256; each takes a thread.
    #[must_use]
    pub fn connections_max(mut self, connections: usize) -> ServiceOptions {
        self.connections_max = connections;
        self
    }

    /// The most iterations and watches of one client at once. Default: 4,096. A watch that goes
    /// through what was there before holds up to 64 KiB of records, an iteration that waits for
    /// credit none.
    #[must_use]
    pub fn streams_max(mut self, streams: usize) -> ServiceOptions {
        self.streams_max = streams;
        self
    }

    /// The most bytes that wait for one slow client, and one answer more. Default: 1 MiB. Beyond,
    /// it gets and is read no further, and nothing more is carried out for it; nobody else waits
    /// for it.
    #[must_use]
    pub fn backlog_max(mut self, bytes: usize) -> ServiceOptions {
        self.backlog_max = bytes;
        self
    }

    /// How long a client may take to greet, all in all. Default: 5 s.
    #[must_use]
    pub fn greeting_timeout(mut self, timeout: Duration) -> ServiceOptions {
        self.greeting_timeout = timeout;
        self
    }

    fn check(&self) -> Result<()> {
        if self.socket_mode & !0o777 != 0 {
            let what = format!("{:o} is no mode of a socket", self.socket_mode);
            return Err(Error::invalid(what));
        }
        if self.connections_max == 0 || self.streams_max == 0 || self.backlog_max == 0 {
            return Err(Error::invalid("the limits of a service are at least 1"));
        }
        if self.greeting_timeout.is_zero() {
            return Err(Error::invalid("greeting_timeout must be above 0"));
        }
        Ok(())
    }
}

/// A running service. Stopped by [`Service::stop`], or when dropped; clients see their connection
/// end and try again.
///
/// ```
/// use peercask_peerstore::gnunet::{
///     Acknowledge, ClientOptions, Connection, Filter, Options, PeerIdentity, Peerstore, Record,
///     Service, ServiceOptions, StoreOption,
/// };
///
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let (store, socket) = (dir.path().join("store"), dir.path().join("socket"));
/// let peers = Peerstore::open(&store, Options::default())?;
/// let service = Service::start(&peers, &socket, ServiceOptions::default())?;
///
/// let client = Connection::to_service(&socket, ClientOptions::default())?;
/// let record = Record::new("fs", PeerIdentity([1; 32]), "respect", "17");
/// client.store(&record, StoreOption::Replace, Acknowledge::Kernel)?;
/// assert_eq!(client.iterate(Filter::subsystem("fs"))?.count(), 1);
///
/// service.stop();
/// peers.close()?;
/// # Ok::<(), peercask_peerstore::gnunet::Error>(())
/// ```
pub struct Service {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// Wakes the thread that accepts.
    bell: UnixStream,
    socket: PathBuf,
    /// Device and inode of the socket: another one in its place is not ours to remove.
    identity: (u64, u64),
    /// Held as long as the socket is ours.
    _lock: File,
}

pub(crate) struct Shared {
    pub(crate) peerstore: Peerstore,
    pub(crate) options: ServiceOptions,
    pub(crate) frame_len_max: usize,
    pub(crate) stopping: AtomicBool,
    clients: Mutex<HashMap<u64, Client>>,
}

struct Client {
    stream: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Serves `peerstore` at `socket`. A socket that a killed service left is replaced; beside it
    /// lies a lock file, `socket` with `.lock` behind it, which stays.
    ///
    /// # Errors
    /// `Locked` if a service lives at the socket; `InvalidArgument` if something that is no socket
    /// is there; `Io`; `Closed`.
    pub fn start(
        peerstore: &Peerstore,
        socket: impl AsRef<Path>,
        options: ServiceOptions,
    ) -> Result<Service> {
        options.check()?;
        peerstore.handle.core.check_open()?;
        let socket = socket.as_ref().to_path_buf();
        let lock = lock_of(&socket)?;
        let listener = bind(&socket, options.socket_mode)?;
        let failed = |error| Error::io(format_args!("serve at {}", socket.display()), &error);
        let about = fs::symlink_metadata(&socket).map_err(failed)?;
        let (bell, far) = UnixStream::pair().map_err(failed)?;
        let shared = Arc::new(Shared::new(peerstore, options));
        let for_thread = shared.clone();
        let accepting = std::thread::Builder::new()
            .name("peercask-accept".into())
            .spawn(move || accept_all(&for_thread, &listener, &far))
            .map_err(failed)?;
        Ok(Service {
            shared,
            accepting: Some(accepting),
            bell,
            identity: (about.dev(), about.ino()),
            socket,
            _lock: lock,
        })
    }

    /// Where it serves.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.clients().len()
    }

    /// Takes no more clients, answers what it has read, ends all connections and threads, and
    /// removes the socket. The peerstore stays open.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.shared.stopping.store(true, Ordering::Release);
        // Gone is the far end only with its thread.
        let _ = self.bell.shutdown(std::net::Shutdown::Both);
        if accepting.join().is_err() {
            tracing::error!("the accepting thread of a peerstore service died of a panic");
        }
        let clients: Vec<Client> = self
            .shared
            .clients()
            .drain()
            .map(|(_, client)| client)
            .collect();
        for client in &clients {
            // Its thread sees the end, answers, and goes.
            let _ = client.stream.shutdown(std::net::Shutdown::Read);
        }
        for client in clients {
            join(client);
        }
        let same = |about: fs::Metadata| (about.dev(), about.ino()) == self.identity;
        if fs::symlink_metadata(&self.socket).is_ok_and(same)
            && let Err(error) = fs::remove_file(&self.socket)
        {
            tracing::warn!(%error, socket = %self.socket.display(), "the socket stays behind");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("socket", &self.socket)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(peerstore: &Peerstore, options: ServiceOptions) -> Shared {
        let value_len_max = peerstore.handle.core.options.value_len_max;
        Shared {
            peerstore: peerstore.clone(),
            frame_len_max: value_len_max + 2 * NAME_LEN_MAX + 256,
            options,
            stopping: AtomicBool::new(false),
            clients: Mutex::new(HashMap::new()),
        }
    }

    // A map of handles is whole between any two of its calls.
    fn clients(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a client whose thread ends out of the list.
    fn forget(&self, number: u64) {
        self.clients().remove(&number);
    }
}

fn join(mut client: Client) {
    if let Some(thread) = client.thread.take()
        && thread.join().is_err()
    {
        tracing::error!("the thread of a client of a peerstore service died of a panic");
    }
}

/// One service at a time has the lock file beside a socket.
fn lock_of(socket: &Path) -> Result<File> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |error| Error::io(format_args!("open {}", path.display()), &error);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = options.open(&path).map_err(failed)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let what = format!("another service lives at {}", socket.display());
        Error::new(ErrorKind::Locked, what)
    })?;
    Ok(file)
}

fn bind(socket: &Path, mode: u32) -> Result<UnixListener> {
    let shown = socket.display();
    let failed = |error: io::Error| Error::io(format_args!("bind the socket {shown}"), &error);
    match fs::symlink_metadata(socket) {
        Ok(about) if !about.file_type().is_socket() => {
            let what = format!("{shown} exists and is no socket");
            return Err(Error::invalid(what));
        }
        Ok(_) if UnixStream::connect(socket).is_ok() => {
            let what = format!("another program serves at {shown}");
            return Err(Error::new(ErrorKind::Locked, what));
        }
        // A killed service left it: we have the lock.
        Ok(_) => fs::remove_file(socket).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let address = SocketAddrUnix::new(socket).map_err(|error| failed(error.into()))?;
    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
        .map_err(|error| failed(error.into()))?;
    rustix::net::bind(&fd, &address).map_err(|error| failed(error.into()))?;
    // Nobody can connect before `listen`, so the permissions are never too wide.
    fs::set_permissions(socket, fs::Permissions::from_mode(mode)).map_err(failed)?;
    rustix::net::listen(&fd, 128).map_err(|error| failed(error.into()))?;
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn accept_all(shared: &Arc<Shared>, listener: &UnixListener, bell: &UnixStream) {
    let mut number = 0;
    while !shared.stopping.load(Ordering::Acquire) {
        if let Err(error) = wait_for_client(listener, bell) {
            tracing::error!(%error, "a peerstore service cannot wait for clients and takes no more");
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                number += 1;
                if let Err(error) = take(shared, number, stream) {
                    tracing::warn!(%error, "a client could not be taken");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                // Out of descriptors, most likely: others end, then it goes on.
                tracing::warn!(%error, "accepting a client failed");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn wait_for_client(listener: &UnixListener, bell: &UnixStream) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut waited = [
        PollFd::new(listener, PollFlags::IN),
        PollFd::new(bell, PollFlags::IN),
    ];
    match poll(&mut waited, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn take(shared: &Arc<Shared>, number: u64, stream: UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    if shared.clients().len() >= shared.options.connections_max {
        let what = format!("{} clients are the limit", shared.options.connections_max);
        return service_client::refuse(stream, &Error::new(ErrorKind::LimitReached, what));
    }
    let ours = stream.try_clone()?;
    // In the list before its thread starts, or the thread could be gone before it is.
    let client = Client {
        stream: ours,
        thread: None,
    };
    shared.clients().insert(number, client);
    let for_thread = shared.clone();
    let thread = std::thread::Builder::new()
        .name(format!("peercask-client-{number}"))
        .spawn(move || {
            if let Err(error) = service_client::serve(&for_thread, stream) {
                tracing::debug!(%error, number, "a client's connection ended");
            }
            for_thread.forget(number);
        });
    match thread {
        Ok(thread) => {
            if let Some(client) = shared.clients().get_mut(&number) {
                client.thread = Some(thread);
            }
            Ok(())
        }
        Err(error) => {
            shared.forget(number);
            Err(error)
        }
    }
}
