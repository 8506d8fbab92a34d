//! Frames over a socket that never blocks, for both sides: what waits to go out, what came in in
//! part, and one wait for either. It knows lengths and no fields.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::{Error, ErrorKind, Result};
use super::wire::FRAME_HEAD_LEN;

const READ_LEN: usize = 64 << 10;

pub(crate) struct FrameStream {
    stream: UnixStream,
    incoming: BytesMut,
    outgoing: Vec<u8>,
    /// How much of `outgoing` is out.
    sent: usize,
    /// Bytes that went out before those in `outgoing`.
    sent_before: u64,
    frame_len_max: usize,
}

impl FrameStream {
    pub(crate) fn new(stream: UnixStream, frame_len_max: usize) -> io::Result<FrameStream> {
        stream.set_nonblocking(true)?;
        Ok(FrameStream {
            stream,
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
            sent: 0,
            sent_before: 0,
            frame_len_max,
        })
    }

    /// Where whole frames are added that are to go out.
    pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Bytes of this connection that went out.
    pub(crate) fn sent(&self) -> u64 {
        self.sent_before + u64::try_from(self.sent).unwrap_or(0)
    }

    /// Bytes of this connection that went out or wait to.
    pub(crate) fn queued(&self) -> u64 {
        self.sent_before + u64::try_from(self.outgoing.len()).unwrap_or(0)
    }

    /// Bytes that have not gone out.
    pub(crate) fn backlog(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Sends what goes without waiting.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        while self.backlog() > 0 {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.sent_before = self.sent();
        self.outgoing.clear();
        self.outgoing.shrink_to(READ_LEN);
        self.sent = 0;
        Ok(())
    }

    /// Takes in what is there, at most a few frames' worth. `UnexpectedEof` when the other side
    /// is gone.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; READ_LEN];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.incoming.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next whole frame, without its length.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>> {
        let Some(len) = self.incoming.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes(*len)).expect("32 bits fit");
        if len > self.frame_len_max {
            let what = format!(
                "a frame of {len} bytes is over the limit of {} bytes",
                self.frame_len_max
            );
            return Err(Error::new(ErrorKind::LimitReached, what));
        }
        if len < FRAME_HEAD_LEN {
            return Err(Error::protocol(format!("a frame of {len} bytes")));
        }
        if self.incoming.len() < 4 + len {
            return Ok(None);
        }
        self.incoming.advance(4);
        Ok(Some(self.incoming.split_to(len).freeze()))
    }

    /// Waits until there is something to read (if wanted), room to send what waits, or a ring of
    /// the waker's socket.
    pub(crate) fn wait(
        &self,
        read: bool,
        waker: Option<&UnixStream>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, self.backlog() > 0);
        let mut waited = vec![PollFd::new(&self.stream, flags)];
        if let Some(waker) = waker {
            waited.push(PollFd::new(waker, PollFlags::IN));
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends both directions.
    pub(crate) fn shut_down(&self) {
        // Fails only if the other side was first.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
