//! Segments that may still grow, for one who only reads: what is behind that which is known of them,
//! whole batches at a time, also where a batch goes on in the next segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{DiskFile, How, read_full_at};
use crate::error::{Error, ErrorKind, Result};
use crate::segment::data_file::Segment;
use crate::segment::format::RECORD_HEADER_LEN_MIN;
use crate::segment::header::SegmentHeader;
use crate::segment::location::{KeyspaceId, SegmentId};
use crate::segment::record::{self, RecordFault};

/// Read at first of what may have been appended; doubled while it is not enough.
const FIRST_READ_LEN: usize = 64 << 10;

/// A segment that may still grow. It is read by position: what is behind its records may go.
#[derive(Clone)]
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    /// Up to where its records are known.
    pub(super) at: u64,
    /// The last seq among these.
    pub(super) last_seq: Option<u64>,
}

/// A record that the reader does not have yet.
pub(super) struct Fresh {
    pub(super) seq: u64,
    pub(super) segment: Arc<Segment>,
    pub(super) offset: u64,
}

/// Reads on where the log goes on after `log_end`, which rises with it; a tail that does not join on
/// waits for the one before it. The first may, whatever came before it up to `vouched`.
///
/// # Errors
/// `Conflict` if a segment begins with what was `seen` elsewhere; `Io`.
pub(super) fn read_on(
    tails: &mut BTreeMap<SegmentId, Tail>,
    log_end: &mut u64,
    mut vouched: u64,
    seen: u64,
) -> Result<Vec<(KeyspaceId, Fresh)>> {
    // Of a batch over several segments: what was read, while its end was not met.
    let mut open: Vec<Stretch> = Vec::new();
    let mut whole: Vec<Stretch> = Vec::new();
    let behind = behind_each(tails);
    for ((id, tail), behind) in tails.iter().zip(behind) {
        let header = &tail.segment.header;
        let is_begun_anew = tail.last_seq.is_none() && header.base_seq >= behind.lowest_base;
        if header.prior_seq > behind.lowest_prior || is_begun_anew {
            continue;
        }
        let joins = tail.last_seq.is_none() && open.last().is_some_and(|part| part.joins(header));
        if !joins {
            open.clear();
        }
        if tail.last_seq.is_none() && !joins {
            if header.prior_seq <= vouched {
                *log_end = (*log_end).max(header.prior_seq);
            }
            if header.prior_seq > *log_end {
                break;
            }
        }
        if tail.last_seq.is_none() && header.base_seq <= seen {
            return Err(taken_back());
        }
        vouched = 0;
        let (done, rest) = read_tail(*id, tail)?;
        if let Some(done) = done {
            *log_end = (*log_end).max(done.last_seq.unwrap_or(0));
            whole.append(&mut open);
            whole.push(done);
        }
        open.extend(rest);
    }
    let mut records = Vec::new();
    for stretch in whole {
        if let Some(tail) = tails.get_mut(&stretch.id) {
            (tail.at, tail.last_seq) = (stretch.at, stretch.last_seq);
        }
        records.extend(stretch.records);
    }
    Ok(records)
}

/// What the tails behind one say of it.
#[derive(Clone, Copy)]
struct Behind {
    /// What goes on from more than this was given up.
    lowest_prior: u64,
    /// Where one behind begins with the same seq or an earlier one, nothing in this one counts.
    lowest_base: u64,
}

fn behind_each(tails: &BTreeMap<SegmentId, Tail>) -> Vec<Behind> {
    let mut behind = Behind {
        lowest_prior: u64::MAX,
        lowest_base: u64::MAX,
    };
    let mut all = Vec::with_capacity(tails.len());
    for tail in tails.values().rev() {
        all.push(behind);
        let header = &tail.segment.header;
        behind = Behind {
            lowest_prior: behind.lowest_prior.min(header.prior_seq),
            lowest_base: behind.lowest_base.min(header.base_seq),
        };
    }
    all.reverse();
    all
}

/// Records that follow each other in a tail.
struct Stretch {
    id: SegmentId,
    records: Vec<(KeyspaceId, Fresh)>,
    /// Where they end.
    at: u64,
    last_seq: Option<u64>,
}

impl Stretch {
    /// Whether a batch that is open here goes on in a segment with this header.
    fn joins(&self, header: &SegmentHeader) -> bool {
        self.last_seq == Some(header.prior_seq)
            && header.base_seq.checked_sub(1) == Some(header.prior_seq)
    }
}

/// The records behind what is known of a tail: those up to the end of a batch, and what there is
/// of one that has not ended.
fn read_tail(id: SegmentId, tail: &Tail) -> Result<(Option<Stretch>, Option<Stretch>)> {
    let segment = tail.segment.clone();
    let failed = |e| Error::io("read the segment", &segment.name, e);
    let file = segment.open_file(How::Read)?;
    let place = segment.header.place();
    let (mut at, mut last_seq) = (tail.at, tail.last_seq);
    let (mut done, mut records) = (None, Vec::new());
    let mut buffer = Vec::new();
    let mut start = at;
    let mut want = FIRST_READ_LEN;
    loop {
        let skip = usize::try_from(at - start).unwrap_or(usize::MAX);
        let bytes = buffer.get(skip..).unwrap_or_default();
        let due = last_seq.map_or(segment.header.base_seq, |last| last + 1);
        match whole_record(bytes, place, at) {
            Ok(header) if header.fields.seq == due => {
                let fields = &header.fields;
                let fresh = Fresh {
                    seq: due,
                    segment: segment.clone(),
                    offset: at,
                };
                records.push((fields.keyspace, fresh));
                at += header.record_len();
                last_seq = Some(due);
                if fields.batch_follow == 0 {
                    let ended = done.get_or_insert_with(|| Stretch {
                        id,
                        records: Vec::new(),
                        at,
                        last_seq,
                    });
                    ended.records.append(&mut records);
                    (ended.at, ended.last_seq) = (at, last_seq);
                }
            }
            Err(RecordFault::End) if bytes.len() >= RECORD_HEADER_LEN_MIN => break,
            // Not whole yet, or not in the buffer yet.
            _ => {
                if bytes.len() >= want {
                    want = want.saturating_mul(2);
                }
                let more = read_from(&*file, at, want).map_err(failed)?;
                if more.len() <= bytes.len() {
                    break;
                }
                (buffer, start) = (more, at);
            }
        }
    }
    let rest = (!records.is_empty()).then_some(Stretch {
        id,
        records,
        at,
        last_seq,
    });
    Ok((done, rest))
}

fn whole_record(
    bytes: &[u8],
    place: record::Place,
    at: u64,
) -> std::result::Result<record::RecordHeader, RecordFault> {
    let header = record::decode(bytes, place, at)?;
    let record = bytes.get(..header.value_range().end);
    let record = record.ok_or(RecordFault::Truncated)?;
    if record::value_holds(record, &header, place, at) {
        Ok(header)
    } else {
        Err(RecordFault::Damaged)
    }
}

fn read_from(file: &dyn DiskFile, at: u64, len: usize) -> std::io::Result<Vec<u8>> {
    let rest = usize::try_from(file.len()?.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.min(rest)];
    let n = read_full_at(file, &mut bytes, at)?;
    bytes.truncate(n);
    Ok(bytes)
}

pub(super) fn taken_back() -> Error {
    let what = "records that were read are not in the log any more, since their writer failed or \
                recovered from a crash; open the store again";
    Error::new(ErrorKind::Conflict, what)
}
