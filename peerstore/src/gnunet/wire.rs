//! The bytes between a client and the service; this file is their definition, PROTOCOL.md their
//! description. A frame is its length (u32, what follows it), a request's number (u64), a kind
//! (u8), and the fields of the kind. Numbers are little end first; names have a length of two
//! bytes, values and texts one of four.
//!
//! It knows no socket. What it decodes may be anything: every length is checked against what is
//! there, nothing is allocated on the word of the other side.

use std::sync::Arc;

use bytes::Bytes;

use super::error::{Error, Result};
use super::event::{Cause, Event};
use super::link::{Reply, Request};
use super::monitor::{From, MonitorSpec};
use super::options::{Acknowledge, Order, Query, StoreOption};
use super::peerstore::{PeerstoreStats, SubsystemStats};
use super::record::{Filter, PeerIdentity, Record, Stored};

/// Opens both greetings.
pub(crate) const MAGIC: [u8; 8] = *b"PKPEERS\n";
/// The version of this file; a service speaks every version from 1 on.
pub(crate) const VERSION: u16 = 1;
/// Number and kind.
pub(crate) const FRAME_HEAD_LEN: usize = 9;

/// Values from this length on are slices of their frame.
const SLICE_LEN_MIN: usize = 64 << 10;

const STORE: u8 = 1;
const STORE_NEWEST: u8 = 2;
const ITERATE: u8 = 3;
const MONITOR: u8 = 4;
const MORE: u8 = 5;
const STOP: u8 = 6;
const REMOVE: u8 = 7;
const FORGET_PEER: u8 = 8;
const EXPIRE: u8 = 9;
const STATS: u8 = 10;

const STORED: u8 = 65;
const RECORD: u8 = 66;
const END: u8 = 67;
const EVENT_STORED: u8 = 68;
const EVENT_REMOVED: u8 = 69;
const EVENT_SYNCED: u8 = 70;
const EVENT_MISSED: u8 = 71;
const COUNT: u8 = 72;
const STATISTICS: u8 = 73;
const FAILED: u8 = 74;
const TROUBLE: u8 = 75;

/// Adds a request as a whole frame.
pub(crate) fn encode_request(number: u64, request: &Request, out: &mut Vec<u8>) {
    let mut frame = Encoder::begin(out, number);
    match request {
        Request::Store {
            record,
            option,
            acknowledge,
        } => {
            frame.byte(STORE);
            frame.byte(u8::from(*option == StoreOption::Replace));
            frame.byte(*acknowledge as u8);
            frame.record(record);
        }
        Request::StoreNewest {
            record,
            acknowledge,
        } => {
            frame.byte(STORE_NEWEST);
            frame.byte(*acknowledge as u8);
            frame.record(record);
        }
        Request::Iterate { query, credit } => {
            frame.byte(ITERATE);
            frame.byte(match query.order {
                None => 0,
                Some(Order::Insertion) => 1,
                Some(Order::Peer) => 2,
            });
            frame.number(query.after);
            frame.number(*credit);
            frame.filter(&query.filter);
        }
        Request::Monitor { spec, credit } => {
            frame.byte(MONITOR);
            let (from, after) = match spec.from {
                From::Now => (0, 0),
                From::Existing => (1, 0),
                From::After(seq) => (2, seq),
            };
            frame.byte(from);
            frame.byte(u8::from(spec.removals));
            frame.number(after);
            frame.number(*credit);
            frame.filter(&spec.filter);
        }
        Request::More { credit } => {
            frame.byte(MORE);
            frame.number(*credit);
        }
        Request::Stop => frame.byte(STOP),
        Request::Remove { filter } => {
            frame.byte(REMOVE);
            frame.filter(filter);
        }
        Request::ForgetPeer { peer } => {
            frame.byte(FORGET_PEER);
            frame.raw(&peer.0);
        }
        Request::Expire { now_us } => {
            frame.byte(EXPIRE);
            frame.byte(u8::from(now_us.is_some()));
            frame.number(now_us.unwrap_or(0));
        }
        Request::Stats => frame.byte(STATS),
    }
    frame.end();
}

/// Reads a request from a frame without its length.
pub(crate) fn decode_request(frame: &Bytes) -> Result<(u64, Request)> {
    let mut from = Decoder::of(frame);
    let number = from.number()?;
    let request = match from.byte()? {
        STORE => Request::Store {
            option: match from.flag()? {
                true => StoreOption::Replace,
                false => StoreOption::Multiple,
            },
            acknowledge: from.acknowledge()?,
            record: from.record()?,
        },
        STORE_NEWEST => Request::StoreNewest {
            acknowledge: from.acknowledge()?,
            record: from.record()?,
        },
        ITERATE => {
            let order = match from.byte()? {
                0 => None,
                1 => Some(Order::Insertion),
                2 => Some(Order::Peer),
                other => return Err(Error::protocol(format!("unknown order {other}"))),
            };
            let (after, credit) = (from.number()?, from.number()?);
            let filter = from.filter()?;
            let query = Query {
                filter,
                order,
                after,
            };
            Request::Iterate { query, credit }
        }
        MONITOR => from.monitor()?,
        MORE => Request::More {
            credit: from.number()?,
        },
        STOP => Request::Stop,
        REMOVE => Request::Remove {
            filter: from.filter()?,
        },
        FORGET_PEER => Request::ForgetPeer { peer: from.peer()? },
        EXPIRE => {
            let given = from.flag()?;
            let at = from.number()?;
            Request::Expire {
                now_us: given.then_some(at),
            }
        }
        STATS => Request::Stats,
        other => return Err(Error::protocol(format!("unknown request {other}"))),
    };
    from.end()?;
    Ok((number, request))
}

/// Adds a reply as a whole frame.
pub(crate) fn encode_reply(number: u64, reply: &Reply, out: &mut Vec<u8>) {
    let mut frame = Encoder::begin(out, number);
    match reply {
        Reply::Stored(seq) => {
            frame.byte(STORED);
            frame.number(seq.unwrap_or(0));
        }
        Reply::Record(stored) => {
            frame.byte(RECORD);
            frame.number(stored.seq);
            frame.record(&stored.record);
        }
        Reply::End => frame.byte(END),
        Reply::Event(event) => frame.event(event),
        Reply::Count(count) => {
            frame.byte(COUNT);
            frame.number(*count);
        }
        Reply::Stats(stats) => frame.stats(stats),
        Reply::Failed(error) => {
            frame.byte(FAILED);
            frame.byte(error.number());
            frame.long(error.to_string().as_bytes());
        }
        Reply::Trouble(error) => {
            frame.byte(TROUBLE);
            frame.byte(error.number());
            frame.long(error.to_string().as_bytes());
        }
    }
    frame.end();
}

/// Reads a reply from a frame without its length.
pub(crate) fn decode_reply(frame: &Bytes) -> Result<(u64, Reply)> {
    let mut from = Decoder::of(frame);
    let number = from.number()?;
    let reply = match from.byte()? {
        STORED => {
            let seq = from.number()?;
            Reply::Stored((seq > 0).then_some(seq))
        }
        RECORD => Reply::Record(Stored {
            seq: from.number()?,
            record: from.record()?,
        }),
        END => Reply::End,
        EVENT_STORED => from.told(|from| {
            Ok(Event::Stored {
                seq: from.number()?,
                replaces: from.flag()?,
                record: from.record()?,
            })
        })?,
        EVENT_REMOVED => from.told(Decoder::removed)?,
        EVENT_SYNCED => from.told(|from| {
            Ok(Event::Synced {
                seq: from.number()?,
            })
        })?,
        EVENT_MISSED => from.told(|from| {
            Ok(Event::Missed {
                after: from.number()?,
            })
        })?,
        COUNT => Reply::Count(from.number()?),
        STATISTICS => Reply::Stats(from.stats()?),
        FAILED => Reply::Failed(from.error()?),
        TROUBLE => Reply::Trouble(from.error()?),
        other => return Err(Error::protocol(format!("unknown reply {other}"))),
    };
    from.end()?;
    Ok((number, reply))
}

struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Encoder<'a> {
    fn begin(out: &'a mut Vec<u8>, number: u64) -> Encoder<'a> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_le_bytes());
        Encoder { out, start }
    }

    fn end(self) {
        let len = self.out.len() - self.start - 4;
        let len = u32::try_from(len).expect("records are limited to 1 GiB");
        self.out[self.start..self.start + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(&number.to_le_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A name that is too long for its length goes out cut, and is refused by its own length:
    /// connections check names before they ask.
    fn name(&mut self, name: &[u8]) {
        let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.raw(&len.to_le_bytes());
        self.raw(&name[..usize::from(len)]);
    }

    fn long(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).expect("records are limited to 1 GiB");
        self.raw(&len.to_le_bytes());
        self.raw(bytes);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.subsystem);
        self.raw(&record.peer.0);
        self.name(&record.key);
        self.number(record.expiry_us);
        self.long(&record.value);
    }

    fn filter(&mut self, filter: &Filter) {
        self.byte(u8::from(filter.peer.is_some()) | u8::from(filter.key.is_some()) << 1);
        self.name(&filter.subsystem);
        if let Some(peer) = &filter.peer {
            self.raw(&peer.0);
        }
        if let Some(key) = &filter.key {
            self.name(key);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Stored {
                seq,
                record,
                replaces,
            } => {
                self.byte(EVENT_STORED);
                self.number(*seq);
                self.byte(u8::from(*replaces));
                self.record(record);
            }
            Event::Removed {
                seq,
                of,
                subsystem,
                peer,
                key,
                cause,
            } => {
                self.byte(EVENT_REMOVED);
                self.number(*seq);
                self.number(*of);
                self.byte(*cause as u8);
                self.name(subsystem);
                self.raw(&peer.0);
                self.name(key);
            }
            Event::Synced { seq } => {
                self.byte(EVENT_SYNCED);
                self.number(*seq);
            }
            Event::Missed { after } => {
                self.byte(EVENT_MISSED);
                self.number(*after);
            }
        }
    }

    fn stats(&mut self, stats: &PeerstoreStats) {
        self.byte(STATISTICS);
        for number in [
            stats.records,
            stats.last_seq,
            stats.disk_bytes,
            stats.monitors,
            stats.iterations,
            stats.kept_for_iterations,
            stats.damaged,
        ] {
            self.number(number);
        }
        self.long(stats.last_sweep_error.as_deref().unwrap_or("").as_bytes());
        self.number(u64::try_from(stats.subsystems.len()).unwrap_or(0));
        for (name, subsystem) in &stats.subsystems {
            self.name(name);
            self.number(subsystem.records);
            self.number(subsystem.bytes);
        }
    }
}

/// Reads fields off a frame; values are slices of it.
struct Decoder<'a> {
    frame: &'a Bytes,
    at: usize,
}

impl<'a> Decoder<'a> {
    fn of(frame: &'a Bytes) -> Decoder<'a> {
        Decoder { frame, at: 0 }
    }

    fn end(&self) -> Result<()> {
        match self.frame.len() - self.at {
            0 => Ok(()),
            more => Err(Error::protocol(format!("{more} bytes too many in a frame"))),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len);
        let bytes = end.and_then(|end| self.frame.get(self.at..end));
        let bytes = bytes.ok_or_else(|| Error::protocol("a frame ends before its fields do"))?;
        self.at += len;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::protocol(format!("{other} where 0 or 1 is due"))),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn name(&mut self) -> Result<Arc<[u8]>> {
        let len = self.take(2)?;
        let len = u16::from_le_bytes([len[0], len[1]]);
        Ok(self.take(usize::from(len))?.into())
    }

    fn long(&mut self) -> Result<Bytes> {
        let len = self.take(4)?;
        let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
        let len = usize::try_from(len).expect("32 bits fit");
        let start = self.at;
        self.take(len)?;
        Ok(self.frame.slice(start..start + len))
    }

    /// A value that may be kept for long: a small one is copied, for as a slice it would keep
    /// everything that was read together with it.
    fn value(&mut self) -> Result<Bytes> {
        let value = self.long()?;
        Ok(match value.len() < SLICE_LEN_MIN {
            true => Bytes::copy_from_slice(&value),
            false => value,
        })
    }

    fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.long()?).into_owned())
    }

    fn peer(&mut self) -> Result<PeerIdentity> {
        let bytes = self.take(32)?;
        Ok(PeerIdentity(bytes.try_into().expect("32 bytes")))
    }

    fn acknowledge(&mut self) -> Result<Acknowledge> {
        match self.byte()? {
            0 => Ok(Acknowledge::Accepted),
            1 => Ok(Acknowledge::Kernel),
            2 => Ok(Acknowledge::Device),
            other => Err(Error::protocol(format!("unknown acknowledgement {other}"))),
        }
    }

    fn record(&mut self) -> Result<Record> {
        Ok(Record {
            subsystem: self.name()?,
            peer: self.peer()?,
            key: self.name()?,
            expiry_us: self.number()?,
            value: self.value()?,
        })
    }

    fn filter(&mut self) -> Result<Filter> {
        let parts = self.byte()?;
        if parts > 3 {
            return Err(Error::protocol(format!(
                "unknown parts {parts} of a filter"
            )));
        }
        Ok(Filter {
            subsystem: self.name()?,
            peer: (parts & 1 != 0).then(|| self.peer()).transpose()?,
            key: (parts & 2 != 0).then(|| self.name()).transpose()?,
        })
    }

    fn monitor(&mut self) -> Result<Request> {
        let from = self.byte()?;
        let removals = self.flag()?;
        let (after, credit) = (self.number()?, self.number()?);
        let spec = MonitorSpec {
            filter: self.filter()?,
            from: match from {
                0 => From::Now,
                1 => From::Existing,
                2 => From::After(after),
                other => return Err(Error::protocol(format!("unknown start {other}"))),
            },
            removals,
        };
        Ok(Request::Monitor { spec, credit })
    }

    fn told(&mut self, event: impl FnOnce(&mut Decoder<'a>) -> Result<Event>) -> Result<Reply> {
        Ok(Reply::Event(Arc::new(event(self)?)))
    }

    fn removed(&mut self) -> Result<Event> {
        let (seq, of) = (self.number()?, self.number()?);
        let cause = match self.byte()? {
            0 => Cause::Deleted,
            1 => Cause::Expired,
            2 => Cause::Evicted,
            other => return Err(Error::protocol(format!("unknown cause {other}"))),
        };
        Ok(Event::Removed {
            seq,
            of,
            subsystem: self.name()?,
            peer: self.peer()?,
            key: self.name()?,
            cause,
        })
    }

    fn error(&mut self) -> Result<Error> {
        let number = self.byte()?;
        Ok(Error::of_number(number, self.text()?))
    }

    fn stats(&mut self) -> Result<PeerstoreStats> {
        let mut stats = PeerstoreStats {
            records: self.number()?,
            last_seq: self.number()?,
            disk_bytes: self.number()?,
            monitors: self.number()?,
            iterations: self.number()?,
            kept_for_iterations: self.number()?,
            damaged: self.number()?,
            last_sweep_error: Some(self.text()?).filter(|text| !text.is_empty()),
            ..PeerstoreStats::default()
        };
        for _ in 0..self.number()? {
            let name = self.name()?.to_vec();
            let subsystem = SubsystemStats {
                records: self.number()?,
                bytes: self.number()?,
            };
            stats.subsystems.insert(name, subsystem);
        }
        Ok(stats)
    }
}
