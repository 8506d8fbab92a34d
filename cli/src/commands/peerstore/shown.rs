//! Records and events as they are printed, as text and as JSON. The field names are a public
//! promise (docs/cli.md); `import` reads what `iterate` and `export` print.

use peercask_peerstore::gnunet::{Cause, Event, FOREVER, Record, Stored};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::human;
use crate::json::{BytesIn, BytesOut};
use crate::output::Output;

#[derive(Serialize)]
pub(super) struct RecordJson<'a> {
    seq: u64,
    subsystem: BytesOut<'a>,
    peer: String,
    key: BytesOut<'a>,
    value: BytesOut<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
}

impl<'a> RecordJson<'a> {
    pub(super) fn of(seq: u64, record: &'a Record) -> RecordJson<'a> {
        RecordJson {
            seq,
            subsystem: BytesOut(&record.subsystem),
            peer: record.peer.to_string(),
            key: BytesOut(&record.key),
            value: BytesOut(&record.value),
            expires_at_us: (record.expiry_us != FOREVER).then_some(record.expiry_us),
        }
    }
}

/// A record as `import` reads it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordLine {
    subsystem: BytesIn,
    peer: String,
    key: BytesIn,
    value: BytesIn,
    expires_at_us: Option<u64>,
    /// An import gives every record a new one.
    #[serde(default, rename = "seq")]
    _seq: Option<u64>,
}

impl RecordLine {
    pub(super) fn record(self) -> Result<Record, String> {
        let peer = super::target::peer_parser(&self.peer)?;
        let record = Record::new(self.subsystem.0, peer, self.key.0, self.value.0);
        Ok(record.expires_at_us(self.expires_at_us.unwrap_or(FOREVER)))
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum EventJson<'a> {
    Stored {
        #[serde(flatten)]
        record: RecordJson<'a>,
        replaces: bool,
    },
    Removed {
        seq: u64,
        of: u64,
        subsystem: BytesOut<'a>,
        peer: String,
        key: BytesOut<'a>,
        cause: &'static str,
    },
    Synced {
        seq: u64,
    },
    Missed {
        after: u64,
    },
}

/// One record: seq, peer, key, value and expiry.
pub(super) fn print_record(output: &mut Output, stored: &Stored, hex: bool) -> Result<(), Failure> {
    if output.is_json() {
        return output.object(&RecordJson::of(stored.seq, &stored.record));
    }
    output.line(record_line(stored.seq, &stored.record, hex))
}

/// One event, at once: whoever follows is told while it happens.
pub(super) fn print_event(output: &mut Output, event: &Event, hex: bool) -> Result<(), Failure> {
    match output.is_json() {
        true => print_event_json(output, event)?,
        false => output.line(event_line(event, hex))?,
    }
    output.flush()
}

fn print_event_json(output: &mut Output, event: &Event) -> Result<(), Failure> {
    let event = match event {
        Event::Stored {
            seq,
            record,
            replaces,
        } => EventJson::Stored {
            record: RecordJson::of(*seq, record),
            replaces: *replaces,
        },
        Event::Removed {
            seq,
            of,
            subsystem,
            peer,
            key,
            cause,
        } => EventJson::Removed {
            seq: *seq,
            of: *of,
            subsystem: BytesOut(subsystem),
            peer: peer.to_string(),
            key: BytesOut(key),
            cause: cause_word(*cause),
        },
        Event::Synced { seq } => EventJson::Synced { seq: *seq },
        Event::Missed { after } => EventJson::Missed { after: *after },
        // A later library may tell more.
        _ => return Ok(()),
    };
    output.object(&event)
}

fn event_line(event: &Event, hex: bool) -> String {
    match event {
        Event::Stored {
            seq,
            record,
            replaces,
        } => {
            let word = if *replaces { "replaced" } else { "stored" };
            format!("{word}\t{}", record_line(*seq, record, hex))
        }
        Event::Removed {
            seq,
            of,
            peer,
            key,
            cause,
            ..
        } => {
            let (word, key) = (cause_word(*cause), text(key, hex));
            format!("{word}\t{seq}\t{peer}\t{key}\trecord {of}")
        }
        Event::Synced { seq } => format!("synced\t{seq}"),
        Event::Missed { after } => format!("missed\t{after}"),
        other => format!("{other:?}"),
    }
}

fn record_line(seq: u64, record: &Record, hex: bool) -> String {
    let (key, value) = (text(&record.key, hex), text(&record.value, hex));
    let expiry = match record.expiry_us {
        FOREVER => "never".to_owned(),
        at_us => at_us.to_string(),
    };
    format!("{seq}\t{}\t{key}\t{value}\t{expiry}", record.peer)
}

fn text(bytes: &[u8], hex: bool) -> String {
    match hex {
        true => hex::encode(bytes),
        false => human::printable(bytes),
    }
}

fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Deleted => "deleted",
        Cause::Expired => "expired",
        Cause::Evicted => "evicted",
    }
}
