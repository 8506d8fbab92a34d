//! One client of the service, on a thread of its own: its greeting, its frames, its limits. It is
//! served through a local link, so a request means here what it means in process.
//!
//! Whatever a client does or fails to do, only its own connection ends.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::error::{Error, ErrorKind, Result};
use super::frame_stream::FrameStream;
use super::link::{Link as _, Reply, Request};
use super::local_link::LocalLink;
use super::service::Shared;
use super::waker::Waker;
use super::wire;

/// How long a client that ends may take for its last answers.
const FAREWELL: Duration = Duration::from_secs(1);
/// Magic and version.
const GREETING_LEN: usize = 10;

/// Says no, and why.
pub(crate) fn refuse(mut stream: UnixStream, error: &Error) -> io::Result<()> {
    stream.set_write_timeout(Some(FAREWELL))?;
    stream.write_all(&greeting(0, 0, error.number(), &error.to_string()))
}

/// Serves a client to its end.
pub(crate) fn serve(shared: &Shared, mut stream: UnixStream) -> Result<()> {
    let failed = |error: io::Error| Error::io("serve a client", &error);
    stream
        .set_write_timeout(Some(shared.options.greeting_timeout))
        .map_err(failed)?;
    let hello = read_greeting(&mut stream, shared.options.greeting_timeout).map_err(failed)?;
    if hello[..8] != wire::MAGIC {
        return Err(Error::protocol("a client does not greet as one of ours"));
    }
    let version = u16::from_le_bytes([hello[8], hello[9]]);
    if version != wire::VERSION {
        let what = format!(
            "the client speaks version {version} of the protocol, this service version {}",
            wire::VERSION
        );
        let error = Error::new(ErrorKind::UnsupportedVersion, what);
        refuse(stream, &error).map_err(failed)?;
        return Err(error);
    }
    let frame_len_max = u32::try_from(shared.frame_len_max).unwrap_or(u32::MAX);
    stream
        .write_all(&greeting(version, frame_len_max, 0, ""))
        .map_err(failed)?;
    let (waker, rung) = Waker::with_pipe().map_err(failed)?;
    let mut client = ServedClient {
        shared,
        link: LocalLink::new(&shared.peerstore, waker),
        frames: FrameStream::new(stream, shared.frame_len_max).map_err(failed)?,
    };
    let result = client.run(&rung);
    client.farewell();
    result
}

/// What a client says first, all of it within `timeout`: byte by byte takes no longer.
fn read_greeting(stream: &mut UnixStream, timeout: Duration) -> io::Result<[u8; GREETING_LEN]> {
    let started = Instant::now();
    let mut hello = [0; GREETING_LEN];
    let mut len = 0;
    while len < GREETING_LEN {
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut hello[len..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hello)
}

fn greeting(version: u16, frame_len_max: u32, error: u8, message: &str) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = wire::MAGIC.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&frame_len_max.to_le_bytes());
    bytes.push(error);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&message.as_bytes()[..usize::from(len)]);
    bytes
}

struct ServedClient<'a> {
    shared: &'a Shared,
    link: LocalLink,
    frames: FrameStream,
}

impl ServedClient<'_> {
    fn run(&mut self, rung: &UnixStream) -> Result<()> {
        let backlog_max = self.shared.options.backlog_max;
        loop {
            let waiting = self.take_requests()?;
            let idle = self.give_answers(backlog_max)?;
            self.frames.send().map_err(|error| ended(&error))?;
            let has_room = self.frames.backlog() < backlog_max;
            let timeout = ((!idle || waiting) && has_room).then_some(Duration::ZERO);
            self.frames
                .wait(has_room, Some(rung), timeout)
                .map_err(|error| ended(&error))?;
            Waker::drain(rung);
            if has_room {
                self.frames.fill().map_err(|error| ended(&error))?;
            }
        }
    }

    /// Carries out the requests that have come; true if some wait for the client to take its
    /// answers. An answer is put down as soon as it is there, so that a thousand small requests
    /// cannot make a thousand large answers at once.
    fn take_requests(&mut self) -> Result<bool> {
        while self.frames.backlog() < self.shared.options.backlog_max {
            let Some(frame) = self
                .frames
                .next_frame()
                .inspect_err(|error| self.link_tell(error))?
            else {
                return Ok(false);
            };
            let (number, request) = wire::decode_request(&frame)?;
            let opens = matches!(request, Request::Iterate { .. } | Request::Monitor { .. });
            if opens && self.link.streams() >= self.shared.options.streams_max {
                let max = self.shared.options.streams_max;
                let what = format!("{max} iterations and watches of one client are the limit");
                let error = Error::new(ErrorKind::LimitReached, what);
                wire::encode_reply(number, &Reply::Failed(error), self.frames.outgoing());
                continue;
            }
            self.link.submit(number, request)?;
            while let Some((number, reply)) = self.link.take_settled() {
                wire::encode_reply(number, &reply, self.frames.outgoing());
            }
        }
        Ok(true)
    }

    /// Adds answers while there is room; true if there are no more now.
    fn give_answers(&mut self, backlog_max: usize) -> Result<bool> {
        while self.frames.backlog() < backlog_max {
            let Some((number, reply)) = self.link.receive(Duration::ZERO)? else {
                return Ok(true);
            };
            wire::encode_reply(number, &reply, self.frames.outgoing());
        }
        Ok(false)
    }

    fn link_tell(&self, error: &Error) {
        tracing::warn!(%error, "a client of the peerstore service breaks the protocol");
    }

    /// What was carried out is answered, if the client still listens.
    fn farewell(&mut self) {
        let started = Instant::now();
        while let Some((number, reply)) = self.link.take_ready() {
            wire::encode_reply(number, &reply, self.frames.outgoing());
        }
        while self.frames.backlog() > 0 && started.elapsed() < FAREWELL {
            let left = FAREWELL.saturating_sub(started.elapsed());
            let sent = self
                .frames
                .wait(false, None, Some(left))
                .and_then(|()| self.frames.send());
            if sent.is_err() {
                break;
            }
        }
        self.frames.shut_down();
    }
}

fn ended(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::ConnectionLost,
        format!("the client is gone: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gnunet::{
        Acknowledge, Options, PeerIdentity, Peerstore, Record, ServiceOptions, StoreOption,
    };

    /// A client sends a thousand requests whose answers are large, and reads none of them.
    #[test]
    fn small_requests_with_large_answers_wait_for_the_client_to_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options::native().background(false);
        let peers = Peerstore::open(dir.path(), options).expect("opened");
        for at in 0..200 {
            let subsystem = format!("a subsystem with a long name {at}");
            let record = Record::new(subsystem, PeerIdentity([1; 32]), "k", "v");
            peers
                .store_with(&record, StoreOption::Replace, Acknowledge::Accepted)
                .expect("stored");
        }
        let backlog_max = 100_000;
        let options = ServiceOptions::default().backlog_max(backlog_max);
        let shared = Shared::new(&peers, options);
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let (waker, rung) = Waker::with_pipe().expect("a pipe");
        let mut client = ServedClient {
            shared: &shared,
            link: LocalLink::new(&shared.peerstore, waker),
            frames: FrameStream::new(near, shared.frame_len_max).expect("frames"),
        };
        let mut requests = Vec::new();
        for number in 1..=1_000 {
            wire::encode_request(number, &Request::Stats, &mut requests);
        }
        let writer = std::thread::spawn(move || {
            // Cut off in the end, if they do not fit into the socket.
            let _ = far.write_all(&requests);
            far
        });
        let mut answer = Vec::new();
        let stats = Reply::Stats(peers.stats().expect("stats"));
        wire::encode_reply(1, &stats, &mut answer);
        let mut waits = false;
        while !waits {
            client
                .frames
                .wait(true, Some(&rung), Some(FAREWELL))
                .expect("it comes");
            client.frames.fill().expect("read");
            waits = client.take_requests().expect("good frames");
            assert!(
                client.frames.backlog() < backlog_max + answer.len(),
                "{} bytes wait",
                client.frames.backlog()
            );
            assert!(
                client.link.take_ready().is_none(),
                "nothing waits elsewhere"
            );
        }
        drop(client);
        drop(writer.join().expect("no panic"));
    }
}
