//! A link to a service behind a socket: connects, greets, and when the connection breaks connects
//! again and takes up what can be taken up without a gap, a double or a guess.
//!
//! It knows no callback. What it cannot know it says: a store that was sent and not answered.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{Error, ErrorKind, Result};
use super::event::Event;
use super::frame_stream::FrameStream;
use super::greeting::{Greeting, Refusal};
use super::link::{Link, Reply, Request};
use super::monitor::From;
use super::record::{NAME_LEN_MAX, Record};
use super::wire;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Requests wait in the connection while more than this waits to be sent.
const BACKLOG_MAX: usize = 1 << 20;
/// The longest frame that is taken from a service.
const FRAME_LEN_MAX: usize = (1 << 30) + (1 << 20);

/// A connection that was not looked at for so long is looked at before it is used.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How a client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    pub(crate) patience: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            patience: Duration::from_secs(30),
        }
    }
}

impl ClientOptions {
    /// How long a blocking call waits for its answer, reconnecting included. Default: 30 s.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> ClientOptions {
        self.patience = patience;
        self
    }
}

/// A request that was sent, and what is known of its answer.
struct InFlight {
    request: Request,
    /// Where its frame begins in the bytes of this connection.
    begins_at: u64,
    /// A record of an iteration came.
    begun: bool,
    /// The last seq that a monitor told, once it told one.
    last_seq: Option<u64>,
}

pub(crate) struct SocketLink {
    socket: PathBuf,
    stream: Option<FrameStream>,
    /// With whom there is no stream yet.
    greeting: Option<Greeting>,
    in_flight: BTreeMap<u64, InFlight>,
    ready: VecDeque<(u64, Reply)>,
    backoff: Duration,
    next_try: Instant,
    /// When the connection was last looked at.
    looked: Instant,
    /// Of the service, once it has greeted.
    frame_len_max: usize,
}

impl SocketLink {
    pub(crate) fn new(socket: &Path, options: ClientOptions) -> Result<SocketLink> {
        if options.patience.is_zero() {
            return Err(Error::invalid("patience must be above 0"));
        }
        Ok(SocketLink {
            socket: socket.to_path_buf(),
            stream: None,
            greeting: None,
            in_flight: BTreeMap::new(),
            ready: VecDeque::new(),
            backoff: BACKOFF_MIN,
            next_try: Instant::now(),
            looked: Instant::now(),
            frame_len_max: FRAME_LEN_MAX,
        })
    }

    /// Connects if it is time, waiting up to `timeout` for a service that is there to greet; false
    /// while there is none. A service that answers in another language is an error: waiting does
    /// not help.
    fn connect(&mut self, timeout: Duration) -> Result<bool> {
        if self.stream.is_some() {
            return Ok(true);
        }
        if self.greeting.is_none() && Instant::now() < self.next_try {
            return Ok(false);
        }
        match self.greet(timeout) {
            Ok(Some(stream)) => {
                self.stream = Some(stream);
                self.backoff = BACKOFF_MIN;
                self.looked = Instant::now();
                self.resume();
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(Refusal::Gone(error)) => {
                tracing::debug!(%error, socket = %self.socket.display(), "no service; tried again");
                self.next_try = Instant::now() + self.backoff;
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                Ok(false)
            }
            Err(Refusal::Told(error)) => {
                self.next_try = Instant::now() + BACKOFF_MAX;
                Err(error)
            }
        }
    }

    /// Goes on with the greeting, or begins one; `None` while the service has not answered.
    fn greet(&mut self, timeout: Duration) -> std::result::Result<Option<FrameStream>, Refusal> {
        let mut greeting = match self.greeting.take() {
            Some(greeting) => greeting,
            None => Greeting::begin(&self.socket).map_err(Refusal::Gone)?,
        };
        if !greeting.step(timeout)? {
            self.greeting = Some(greeting);
            return Ok(None);
        }
        let greeted = greeting.end()?;
        self.frame_len_max = greeted.frame_len_max;
        let stream = FrameStream::new(greeted.stream, FRAME_LEN_MAX);
        stream.map(Some).map_err(Refusal::Gone)
    }

    /// Sends again what was in flight.
    fn resume(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        for (number, flight) in &mut self.in_flight {
            flight.begins_at = stream.queued();
            wire::encode_request(*number, &flight.request, stream.outgoing());
        }
    }

    /// The connection broke. What can be asked again is kept for the next one; of the rest the
    /// caller is told that nobody knows.
    fn lose(&mut self, error: &io::Error) {
        let sent = self.stream.take().map_or(0, |stream| stream.sent());
        self.next_try = Instant::now();
        let what = "the connection to the service broke before the answer came";
        let lost = Error::new(ErrorKind::ConnectionLost, format!("{what}: {error}"));
        let mut kept = BTreeMap::new();
        for (number, mut flight) in std::mem::take(&mut self.in_flight) {
            // Of which not a byte went out, that cannot have been carried out.
            let unsent = flight.begins_at >= sent;
            let again = match &mut flight.request {
                // Carried out twice it would be one too many, or take away what others have
                // stored between the two, and have been told is there.
                Request::Store { .. }
                | Request::StoreNewest { .. }
                | Request::Remove { .. }
                | Request::ForgetPeer { .. }
                | Request::Expire { now_us: Some(_) } => unsent,
                // The rest of another snapshot would be a guess.
                Request::Iterate { .. } => !flight.begun,
                Request::Monitor { spec, .. } => {
                    if let Some(seq) = flight.last_seq {
                        spec.from = From::After(seq);
                    }
                    true
                }
                // What has expired by the service's own time goes anyway.
                Request::Expire { now_us: None } | Request::Stats => true,
                Request::More { .. } | Request::Stop => continue,
            };
            match again {
                true => {
                    kept.insert(number, flight);
                }
                false => self.ready.push_back((number, Reply::Failed(lost.clone()))),
            }
        }
        self.in_flight = kept;
    }

    fn take_in(&mut self) -> Result<()> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let frame = match stream.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.lose(&io::Error::other(error.to_string()));
                    return Err(error);
                }
            };
            let (number, reply) = match wire::decode_reply(&frame) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.lose(&io::Error::other(error.to_string()));
                    return Err(error);
                }
            };
            self.note(number, &reply);
            self.ready.push_back((number, reply));
        }
    }

    fn note(&mut self, number: u64, reply: &Reply) {
        if reply.is_last() {
            self.in_flight.remove(&number);
        } else if let Some(flight) = self.in_flight.get_mut(&number) {
            flight.begun = true;
            if let Reply::Event(event) = reply
                && !matches!(**event, Event::Missed { .. })
            {
                flight.last_seq = Some(event.seq());
            }
        }
    }

    /// One exchange with the service; false if there is none.
    fn exchange(&mut self, timeout: Duration) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        self.looked = Instant::now();
        let exchanged = stream
            .send()
            .and_then(|()| stream.wait(true, None, Some(timeout)))
            .and_then(|()| stream.send())
            .and_then(|()| stream.fill());
        match exchanged {
            Ok(()) => true,
            Err(error) => {
                // What had come before it broke is answered before the loss is told.
                if let Err(error) = self.take_in() {
                    tracing::warn!(%error, "the service's last words make no sense");
                }
                self.lose(&error);
                false
            }
        }
    }

    fn check(&self, record: &Record) -> Result<()> {
        if record.subsystem.len() > NAME_LEN_MAX || record.key.len() > NAME_LEN_MAX {
            let what = format!("subsystem and key are at most {NAME_LEN_MAX} bytes long");
            return Err(Error::new(ErrorKind::InvalidRecord, what));
        }
        let len = wire::FRAME_HEAD_LEN + 64 + record.wire_bytes();
        if len > self.frame_len_max {
            let what = format!(
                "a record of {} bytes does not fit into a frame of the service, {} bytes",
                record.wire_bytes(),
                self.frame_len_max
            );
            return Err(Error::new(ErrorKind::TooLarge, what));
        }
        Ok(())
    }
}

impl Link for SocketLink {
    fn is_ready(&mut self) -> Result<bool> {
        let mut connected = self.connect(Duration::ZERO)?;
        // Handed to a connection that broke a while ago, a request would be neither sent nor not.
        if connected && self.looked.elapsed() > LOOK_INTERVAL {
            if self.exchange(Duration::ZERO) {
                self.take_in()?;
            }
            connected = self.connect(Duration::ZERO)?;
        }
        let room = |stream: &FrameStream| stream.backlog() <= BACKLOG_MAX;
        Ok(connected && self.stream.as_ref().is_some_and(room))
    }

    fn submit(&mut self, number: u64, request: Request) -> Result<()> {
        if let Request::Store { record, .. } | Request::StoreNewest { record, .. } = &request
            && let Err(error) = self.check(record)
        {
            self.ready.push_back((number, Reply::Failed(error)));
            return Ok(());
        }
        match &request {
            Request::More { credit } => {
                // A request that is sent again has the whole of its credit.
                if let Some(flight) = self.in_flight.get_mut(&number)
                    && let Request::Iterate { credit: sum, .. }
                    | Request::Monitor { credit: sum, .. } = &mut flight.request
                {
                    *sum = sum.saturating_add(*credit);
                }
            }
            Request::Stop => {
                self.in_flight.remove(&number);
            }
            _ => {
                let flight = InFlight {
                    request: request.clone(),
                    begins_at: self.stream.as_ref().map_or(0, FrameStream::queued),
                    begun: false,
                    last_seq: None,
                };
                self.in_flight.insert(number, flight);
            }
        }
        if let Some(stream) = &mut self.stream {
            wire::encode_request(number, &request, stream.outgoing());
            if let Err(error) = stream.send() {
                self.lose(&error);
            }
        }
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<(u64, Reply)>> {
        let started = Instant::now();
        loop {
            if let Some(reply) = self.ready.pop_front() {
                return Ok(Some(reply));
            }
            let left = timeout.saturating_sub(started.elapsed());
            if self.stream.is_some() {
                if self.exchange(left) {
                    self.take_in()?;
                }
            } else if self.connect(left)? {
                // What waits for the connection can be handed over now, and be answered first.
                return Ok(None);
            } else if self.greeting.is_none() {
                let until = self.next_try.saturating_duration_since(Instant::now());
                std::thread::sleep(until.min(left));
            }
            if left.is_zero() && self.ready.is_empty() {
                return Ok(None);
            }
        }
    }
}
