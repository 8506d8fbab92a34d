//! How a client meets a service: connects and exchanges greetings, without ever waiting longer than its caller
//! wants. A service that is stopped, or busy, or none at all, costs whoever turns a connection nothing but the try.
//!
//! It knows the greeting's bytes (PROTOCOL.md) and no frame.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::error::{Error, ErrorKind};
use super::wire;

/// How long the service may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Magic, version, frame limit, error, length of its text.
const HEAD_LEN: usize = 8 + 2 + 4 + 1 + 2;

pub(crate) enum Refusal {
    /// Nobody there; perhaps later.
    Gone(io::Error),
    /// Somebody there who says no.
    Told(Error),
}

/// A service that has greeted.
pub(crate) struct Greeted {
    pub(crate) stream: UnixStream,
    pub(crate) frame_len_max: usize,
}

/// A greeting under way.
pub(crate) struct Greeting {
    stream: UnixStream,
    came: Vec<u8>,
    started: Instant,
}

impl Greeting {
    /// Connects and greets; does not wait for the answer.
    pub(crate) fn begin(socket: &Path) -> io::Result<Greeting> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // A service that does not take its clients refuses more of them: it is tried again.
        rustix::net::connect(&fd, &SocketAddrUnix::new(socket)?)?;
        let mut stream = UnixStream::from(fd);
        let mut greeting = wire::MAGIC.to_vec();
        greeting.extend_from_slice(&wire::VERSION.to_le_bytes());
        stream.write_all(&greeting)?;
        Ok(Greeting {
            stream,
            came: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Takes in what has come, waiting up to `timeout` for all of it; true if it is all there.
    pub(crate) fn step(&mut self, timeout: Duration) -> Result<bool, Refusal> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let wanted = self.wanted();
            if wanted == 0 {
                return Ok(true);
            }
            if self.came.len() >= wire::MAGIC.len() && !self.came.starts_with(&wire::MAGIC) {
                let what = "what listens at the socket is no service of a peercask peerstore";
                return Err(Refusal::Told(Error::protocol(what)));
            }
            if self.read(wanted).map_err(Refusal::Gone)? {
                continue;
            }
            let Some(left) = GREETING_TIMEOUT.checked_sub(self.started.elapsed()) else {
                return Err(Refusal::Gone(io::ErrorKind::TimedOut.into()));
            };
            let now = Instant::now();
            let left = until.map_or(left, |until| left.min(until.saturating_duration_since(now)));
            if left.is_zero() {
                return Ok(false);
            }
            self.wait(left).map_err(Refusal::Gone)?;
        }
    }

    /// What the service said, once all of it is there.
    pub(crate) fn end(self) -> Result<Greeted, Refusal> {
        let head: [u8; HEAD_LEN] = self.came[..HEAD_LEN].try_into().expect("all is there");
        let number = |from: usize| u16::from_le_bytes([head[from], head[from + 1]]);
        let frame_len_max = u32::from_le_bytes(head[10..14].try_into().expect("four bytes"));
        if number(8) == 0 {
            let message = String::from_utf8_lossy(&self.came[HEAD_LEN..]);
            let error = Error::of_number(head[14], message);
            return Err(match error.kind() {
                // It has too much to do, or is about to end: it may take us later.
                ErrorKind::LimitReached | ErrorKind::Closed => {
                    Refusal::Gone(io::Error::other(error.to_string()))
                }
                _ => Refusal::Told(error),
            });
        }
        Ok(Greeted {
            stream: self.stream,
            frame_len_max: usize::try_from(frame_len_max).expect("32 bits fit"),
        })
    }

    /// How many bytes are due, as far as it is known: what follows them is not the greeting's.
    fn wanted(&self) -> usize {
        let len = match self.came.get(HEAD_LEN - 2..HEAD_LEN) {
            Some(text_len) => {
                HEAD_LEN + usize::from(u16::from_le_bytes([text_len[0], text_len[1]]))
            }
            // A stranger may say less than a head: its first bytes are looked at before the rest.
            None if self.came.len() < wire::MAGIC.len() => wire::MAGIC.len(),
            None => HEAD_LEN,
        };
        len - self.came.len()
    }

    /// Reads up to `wanted` bytes; false if there are none yet.
    fn read(&mut self, wanted: usize) -> io::Result<bool> {
        let start = self.came.len();
        self.came.resize(start + wanted, 0);
        let came = self.stream.read(&mut self.came[start..]);
        self.came
            .truncate(start + came.as_ref().map_or(0, |came| *came));
        match came {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).ok();
        match poll(
            &mut [PollFd::new(&self.stream, PollFlags::IN)],
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
