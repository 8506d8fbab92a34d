//! The copying: each surviving record is verified, sealed anew for its new place with its seq
//! kept, and appended to the output of its life class. Outputs stand under temporary names until
//! all of them are synced; then they get their names, and the directory is synced.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::context::Merger;
use super::decide::{Decided, Decision, Fate};
use crate::disk::{DiskFile, How, write_all_at};
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::options::IndexKind;
use crate::pieces::Pieces;
use crate::segment::catalog;
use crate::segment::data_file::Segment;
use crate::segment::format::{NEVER, RECORD_HEADER_LEN_MAX, wide};
use crate::segment::header::{Footer, MergeGroup, SegmentHeader, SegmentKind, Summary};
use crate::segment::hint_builder::HintBuilder;
use crate::segment::hint_file::HintRow;
use crate::segment::hinting;
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::live::Live;
use crate::segment::location::{KeyspaceId, Location};
use crate::segment::names;
use crate::segment::record::{self, RecordFields, RecordKind};

/// Written at once.
const WRITE_LEN: usize = 1 << 20;

/// A record's keydir entry to change once the outputs count.
pub(super) struct Move {
    pub(super) keyspace: KeyspaceId,
    pub(super) hash: u128,
    /// For an ordered keyspace; empty for a hash keyspace.
    pub(super) key: Box<[u8]>,
    pub(super) from: Location,
    pub(super) seq: u64,
    pub(super) expiry: u64,
    /// Offset in the output; `None` removes the entry.
    pub(super) to: Option<u32>,
}

/// A finished output under its own name.
pub(super) struct Output {
    pub(super) header: SegmentHeader,
    pub(super) summary: Summary,
    pub(super) file_len: u64,
    pub(super) live: Live,
    pub(super) moves: Pieces<Move>,
    pub(super) hinted: bool,
}

/// All that a merge wrote.
pub(super) struct Copied {
    pub(super) outputs: Vec<Output>,
    /// Entries of expired records that were left out or became tombstones.
    pub(super) removals: Pieces<Move>,
    pub(super) records: u64,
}

impl Copied {
    /// Whether expired puts were left out.
    pub(super) fn forgets(&self) -> bool {
        !self.removals.is_empty()
    }
}

pub(super) enum Failed {
    /// The record of the input with this index cannot be read.
    Unreadable(usize, Error),
    Other(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Other(error)
    }
}

/// An output while it is written.
struct Open {
    header: SegmentHeader,
    temporary: String,
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Where `buffer` goes.
    written: u64,
    summary: Summary,
    hint: HintBuilder,
    live: Live,
    moves: Pieces<Move>,
}

struct Copier<'a> {
    merger: &'a Merger<'a>,
    inputs: &'a [Arc<Segment>],
    keyspaces: Arc<Vec<KeyspaceEntry>>,
    now_ms: u64,
    base_seq: u64,
    open: BTreeMap<u8, Open>,
    full: Vec<Open>,
    removals: Pieces<Move>,
    records: u64,
}

/// Copies what was decided; `None` if the merge was told to stop. After an error or a stop
/// nothing is left behind.
pub(super) fn copy(
    merger: &Merger<'_>,
    inputs: &[Arc<Segment>],
    decided: &Decided,
    now_ms: u64,
) -> std::result::Result<Option<Copied>, Failed> {
    let min_seq = |input: &Arc<Segment>| input.sealed().map_or(0, |sealed| sealed.summary.min_seq);
    let mut copier = Copier {
        merger,
        inputs,
        keyspaces: merger.log.keyspace_entries(),
        now_ms,
        base_seq: inputs.iter().map(min_seq).min().unwrap_or(0),
        open: BTreeMap::new(),
        full: Vec::new(),
        removals: Pieces::default(),
        records: 0,
    };
    let result = copier.all(&decided.decisions).and_then(|go_on| {
        if go_on {
            Ok(Some(copier.finish()?))
        } else {
            Ok(None)
        }
    });
    if !matches!(result, Ok(Some(_))) {
        copier.discard();
    }
    result
}

impl Copier<'_> {
    fn all(&mut self, decisions: &[Vec<Decision>]) -> std::result::Result<bool, Failed> {
        let done = &self.merger.log.counters.merging_done;
        let mut before = 0;
        for of_input in decisions {
            for decision in of_input {
                done.set(before + u64::from(decision.offset));
                let bytes = self.one(decision)?;
                if !(self.merger.pace)(bytes) {
                    return Ok(false);
                }
            }
            before += of_input
                .first()
                .map_or(0, |first| self.input_bytes(first.input));
        }
        Ok(true)
    }

    fn input_bytes(&self, index: u32) -> u64 {
        let input = self.inputs.get(index as usize);
        input.map_or(0, |input| input.record_bytes())
    }

    /// Copies one record; returns how many bytes were read and written for it.
    fn one(&mut self, decision: &Decision) -> std::result::Result<u64, Failed> {
        let index = decision.input as usize;
        let Some(input) = self.inputs.get(index) else {
            return Ok(0);
        };
        let from = Location {
            slot: input.slot,
            offset: decision.offset,
        };
        let offset = u64::from(decision.offset);
        let unreadable = |error| Failed::Unreadable(index, error);
        let with_value = matches!(decision.fate, Fate::Copy { .. });
        let record = input.read(offset, with_value).map_err(unreadable)?;
        let (old, bytes) = (&record.header, record.bytes.as_slice());
        let key = old.key(bytes);
        if !with_value {
            self.removals.push(Move {
                keyspace: old.fields.keyspace,
                hash: decision.hash,
                key: self.kept_key(old.fields.keyspace, key),
                from,
                seq: old.fields.seq,
                expiry: old.fields.expiry,
                to: None,
            });
        }
        let fields = match decision.fate {
            Fate::Forget => return Ok(old.record_len()),
            Fate::Copy { covers } => RecordFields {
                covers: if covers { old.fields.covers } else { 0 },
                // The batch is complete and synced: its members stand alone from here on.
                batch_follow: 0,
                mark: None,
                ..old.fields
            },
            Fate::Tombstone => RecordFields {
                kind: RecordKind::Tombstone,
                expiry: NEVER,
                batch_follow: 0,
                mark: None,
                ..old.fields
            },
        };
        let fields = if mutant::is_on(Mutant::SeqNotKept) {
            RecordFields {
                seq: fields.seq + 1_000_000,
                ..fields
            }
        } else {
            fields
        };
        let value = match decision.fate {
            Fate::Copy { .. } => bytes.get(old.value_range()).unwrap_or_default(),
            Fate::Tombstone | Fate::Forget => &[],
        };
        let written = self.append(&fields, key, value, decision.hash, from)?;
        self.records += 1;
        Ok(old.record_len() + written)
    }

    fn append(
        &mut self,
        fields: &RecordFields,
        key: &[u8],
        value: &[u8],
        hash: u128,
        from: Location,
    ) -> Result<u64> {
        let until = match fields.kind {
            RecordKind::Put => fields.expiry,
            RecordKind::Tombstone => fields.covers,
        };
        let class = life_class(until.max(fields.covers), self.now_ms);
        let len_max = wide(RECORD_HEADER_LEN_MAX) + wide(key.len()) + wide(value.len());
        let mut output = self.output(class, len_max)?;
        let offset = output.end();
        let place = output.header.place();
        let header = record::encode(&mut output.buffer, place, offset, fields, key, value);
        let len = header.record_len();
        let at = u32::try_from(offset).expect("an output is rotated below 4 GiB");
        let row = HintRow {
            hash,
            kind: fields.kind,
            seq: fields.seq,
            offset: at,
            len,
            expiry: fields.expiry,
            covers: header.fields.covers,
        };
        let ordered = self.is_ordered(fields.keyspace);
        output
            .hint
            .push(fields.keyspace, row, ordered.then_some(key));
        output.summary.add(&header);
        match fields.kind {
            RecordKind::Put => {
                output
                    .live
                    .add(fields.keyspace, len, fields.expiry, self.now_ms);
                let to = Some(at);
                let key = self.kept_key(fields.keyspace, key);
                output.moves.push(Move {
                    keyspace: fields.keyspace,
                    hash,
                    key,
                    from,
                    seq: fields.seq,
                    expiry: fields.expiry,
                    to,
                });
            }
            RecordKind::Tombstone => output.live.tombstone_bytes += len,
        }
        if output.buffer.len() >= WRITE_LEN {
            output.write_buffer()?;
        }
        self.open.insert(class, output);
        Ok(len)
    }

    fn is_ordered(&self, keyspace: KeyspaceId) -> bool {
        self.keyspaces
            .iter()
            .any(|k| k.id == keyspace && k.kind == IndexKind::Ordered)
    }

    /// The key, for a keydir that asks for it.
    fn kept_key(&self, keyspace: KeyspaceId, key: &[u8]) -> Box<[u8]> {
        if self.is_ordered(keyspace) {
            key.into()
        } else {
            Box::default()
        }
    }

    /// The output for a class with room for `len_max` bytes, taken out of the map.
    fn output(&mut self, class: u8, len_max: u64) -> Result<Open> {
        if let Some(output) = self.open.remove(&class) {
            let empty = output.summary.records == 0;
            if empty || output.end() + len_max <= self.merger.log.segment_bytes {
                return Ok(output);
            }
            self.full.push(output);
        }
        let log = self.merger.log;
        let header = SegmentHeader {
            store_id: log.store_id,
            id: log.new_segment_id()?,
            salt: log.random_u64()?,
            base_seq: self.base_seq,
            prior_seq: 0,
            created_ms: self.now_ms,
            kind: SegmentKind::Merged,
            life_class: class,
        };
        let temporary = names::temporary(&names::segment(header.id));
        let file = log.disk.open(&temporary, How::Replace);
        let file = file.map_err(|e| Error::io("create a merge output", &temporary, e))?;
        let buffer = header.encode_file_start().to_vec();
        Ok(Open {
            header,
            temporary,
            file,
            buffer,
            written: 0,
            summary: Summary::empty(),
            hint: HintBuilder::new(),
            live: Live::default(),
            moves: Pieces::default(),
        })
    }

    fn finish(&mut self) -> Result<Copied> {
        let mut open = std::mem::take(&mut self.full);
        open.extend(std::mem::take(&mut self.open).into_values());
        open.sort_by_key(|output| output.header.id);
        let first = open.first().map_or(0, |output| output.header.id.0);
        let size = u32::try_from(open.len()).expect("a merge has few outputs");
        let mut group = MergeGroup {
            id: first,
            size,
            index: 0,
            inputs: self.inputs.iter().map(|input| input.header.id).collect(),
        };
        let finished = self.name_all(&mut open, &mut group);
        if let Err(error) = finished {
            self.full = open;
            return Err(error);
        }
        let mut outputs = Vec::new();
        for output in open {
            outputs.push(self.with_hint(output)?);
        }
        Ok(Copied {
            outputs,
            removals: std::mem::take(&mut self.removals),
            records: self.records,
        })
    }

    /// Footers, syncs, then names.
    fn name_all(&self, open: &mut [Open], group: &mut MergeGroup) -> Result<()> {
        let log = self.merger.log;
        for output in open.iter_mut() {
            let footer = Footer {
                header: output.header.clone(),
                summary: output.summary,
                group: Some(group.clone()),
                keyspaces: self.keyspaces.as_ref().clone(),
            };
            output.buffer.extend_from_slice(&footer.encode());
            output.write_buffer()?;
            if mutant::is_on(Mutant::OutputNotSynced) {
                continue;
            }
            let synced = output.file.sync_data();
            synced.map_err(|e| Error::io("sync a merge output", &output.temporary, e))?;
            log.counters.syncs.add(1);
            group.index += 1;
        }
        for output in open.iter() {
            let name = names::segment(output.header.id);
            if mutant::is_on(Mutant::OutputRenameSkipped) {
                continue;
            }
            let named = log.disk.rename(&output.temporary, &name);
            named.map_err(|e| Error::io("rename into place", &name, e))?;
        }
        // The manifest that declares them syncs the directory before it is written.
        Ok(())
    }

    fn with_hint(&self, output: Open) -> Result<Output> {
        let log = self.merger.log;
        let binding = hinting::binding(&output.header, &output.summary, &log.secret);
        let bytes = output.hint.finish(&binding);
        let name = names::hint(output.header.id);
        // Without its hint file the output is scanned at the next open; that is no reason to fail.
        let written = log
            .admit_spare(wide(bytes.len()))
            .and_then(|()| catalog::replace_file(&*log.disk, &name, &bytes));
        let hinted = match written {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a merge output goes without its hint file");
                false
            }
        };
        let written = output.written + if hinted { wide(bytes.len()) } else { 0 };
        log.counters.written_bytes.add(written);
        log.counters.merge_written_bytes.add(written);
        Ok(Output {
            header: output.header,
            summary: output.summary,
            file_len: output.written,
            live: output.live,
            moves: output.moves,
            hinted,
        })
    }

    /// Takes back what was written; a leftover is removed at the next open.
    fn discard(&mut self) {
        let open = std::mem::take(&mut self.open);
        for output in self.full.drain(..).chain(open.into_values()) {
            let _may_be_named = self.merger.log.disk.remove(&output.temporary);
            let _may_not_be = self
                .merger
                .log
                .disk
                .remove(&names::segment(output.header.id));
        }
    }
}

impl Open {
    fn end(&self) -> u64 {
        self.written + wide(self.buffer.len())
    }

    fn write_buffer(&mut self) -> Result<()> {
        let written = write_all_at(&*self.file, &self.buffer, self.written);
        written.map_err(|e| Error::io("write a merge output", &self.temporary, e))?;
        self.written += wide(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }
}

/// Records that expire at about the same time go together, so that their segment can be dropped
/// whole: 0 for never, else one more than the logarithm of the remaining life in minutes.
fn life_class(until_ms: u64, now_ms: u64) -> u8 {
    const MINUTE_MS: u64 = 60_000;
    if until_ms == NEVER {
        return 0;
    }
    let minutes = until_ms.saturating_sub(now_ms) / MINUTE_MS;
    let log = minutes.checked_ilog2().map_or(0, |log| log + 1);
    u8::try_from(log + 1).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_classes_double_and_never_stands_apart() {
        assert_eq!(life_class(NEVER, 0), 0);
        assert_eq!(life_class(5, 10), 1);
        assert_eq!(life_class(59_999, 0), 1);
        assert_eq!(life_class(60_000, 0), 2);
        assert_eq!(life_class(3_600_000, 0), 7);
        assert!(life_class(NEVER - 1, 0) > life_class(365 * 86_400_000, 0));
    }
}
