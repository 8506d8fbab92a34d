//! `dump`: the files of a store as they are: manifest and segments, or one segment record by record.
//!
//! It reads without a lock and writes nothing, so it also works beside a running process and on a store
//! that does not open. It must never interpret bytes itself; `peercask::inspect` does.

use std::path::PathBuf;

use clap::Args;
use peercask::inspect::{self, DumpItem, DumpRecord, ManifestInfo, SegmentInfo};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::human::{self, Table};
use crate::json::BytesOut;
use crate::output::{self, Output};
use crate::units::{self, count};

/// Bytes of a key shown on a record's line; `--hex` and `--json` show all of it.
const KEY_SHOWN_LEN_MAX: usize = 120;

#[derive(Args)]
pub(crate) struct DumpArgs {
    /// The store's directory
    dir: PathBuf,
    /// The number of a segment, or its file name; left out, the manifest and all segments are listed
    segment: Option<String>,
    /// Show each record's bytes too (header, key, and at most 64 KiB of the value)
    #[arg(long)]
    hex: bool,
}

pub(crate) fn run(args: &DumpArgs, output: &mut Output) -> Result<Exit, Failure> {
    match &args.segment {
        Some(segment) => dump_segment(args, number_of(segment, args)?, output)?,
        None => list_segments(args, output)?,
    }
    Ok(Exit::Done)
}

/// A segment's number from its number or its file name; names count in hexadecimal, so only the files
/// themselves tell.
fn number_of(segment: &str, args: &DumpArgs) -> Result<u64, Failure> {
    if let Ok(number) = segment.parse() {
        return Ok(number);
    }
    let segments = inspect::segments(&args.dir)?;
    let named = segments.iter().find(|known| known.file == segment);
    named.map(|known| known.id).ok_or_else(|| {
        let message = format!("`{segment}` is neither a number nor the file of a segment");
        Failure::usage(message)
    })
}

fn dump_segment(args: &DumpArgs, segment: u64, output: &mut Output) -> Result<(), Failure> {
    let mut printed = Ok(());
    inspect::dump(&args.dir, segment, &mut |item| {
        printed = match output.is_json() {
            true => output.object(&item_json(&item, args.hex)),
            false => print_item(&item, args.hex, output),
        };
        printed.is_ok()
    })?;
    printed
}

#[derive(Serialize)]
#[serde(tag = "item", rename_all = "snake_case")]
enum ItemJson<'a> {
    Record {
        offset: u64,
        len: u64,
        kind: &'static str,
        keyspace_id: u32,
        seq: u64,
        expires_at_ms: Option<u64>,
        covers_until_ms: Option<u64>,
        batch_follow: u32,
        synced_mark: Option<u64>,
        key: BytesOut<'a>,
        value_len: u64,
        value_ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        raw_hex: Option<String>,
    },
    Gap {
        offset: u64,
        len: u64,
    },
    ZeroTail {
        offset: u64,
        len: u64,
    },
    Footer {
        offset: u64,
        len: u64,
        records: u64,
    },
}

fn item_json(item: &DumpItem, with_raw: bool) -> ItemJson<'_> {
    match item {
        DumpItem::Record(record) => ItemJson::Record {
            offset: record.offset,
            len: record.len,
            kind: record.kind,
            keyspace_id: record.keyspace_id,
            seq: record.seq,
            expires_at_ms: record.expires_at_ms,
            covers_until_ms: record.covers_until_ms,
            batch_follow: record.batch_follow,
            synced_mark: record.synced_mark,
            key: BytesOut(&record.key),
            value_len: record.value_len,
            value_ok: record.value_ok,
            raw_hex: with_raw.then(|| hex::encode(&record.raw)),
        },
        &DumpItem::Gap { offset, len } => ItemJson::Gap { offset, len },
        &DumpItem::ZeroTail { offset, len } => ItemJson::ZeroTail { offset, len },
        &DumpItem::Footer {
            offset,
            len,
            records,
        } => ItemJson::Footer {
            offset,
            len,
            records,
        },
    }
}

fn print_item(item: &DumpItem, with_raw: bool, output: &mut Output) -> Result<(), Failure> {
    match item {
        DumpItem::Record(record) => {
            output.line(record_line(record))?;
            if with_raw {
                print_raw(record, output)?;
            }
            Ok(())
        }
        DumpItem::Gap { offset, len } => {
            output.line(format_args!("{offset:>10}  {len:>8}  unreadable"))
        }
        DumpItem::ZeroTail { offset, len } => {
            output.line(format_args!("{offset:>10}  {len:>8}  zeroes to the end"))
        }
        DumpItem::Footer {
            offset,
            len,
            records,
        } => {
            let records = units::counted(*records, "record");
            output.line(format_args!("{offset:>10}  {len:>8}  footer     {records}"))
        }
    }
}

/// "    offset       len  kind       seq ... keyspace ... key -> value", then what is not ordinary.
fn record_line(record: &DumpRecord) -> String {
    let mut line = format!(
        "{:>10}  {:>8}  {:<9}  seq {}  keyspace {}  {}",
        record.offset,
        record.len,
        record.kind,
        record.seq,
        record.keyspace_id,
        human::printable_start(&record.key, KEY_SHOWN_LEN_MAX),
    );
    let mut also = |text: String| line.push_str(&text);
    if record.kind == "put" {
        also(format!("  -> {}", units::counted(record.value_len, "byte")));
    }
    if let Some(at_ms) = record.expires_at_ms {
        also(format!("  expires at {at_ms} ms"));
    }
    match record.covers_until_ms {
        Some(u64::MAX) => also("  covers for ever".to_owned()),
        Some(until_ms) => also(format!("  covers until {until_ms} ms")),
        None => {}
    }
    if record.batch_follow > 0 {
        also(format!("  {} more in the batch", record.batch_follow));
    }
    if let Some(seq) = record.synced_mark {
        also(format!("  synced up to seq {seq}"));
    }
    if !record.value_ok {
        also("  VALUE DAMAGED".to_owned());
    }
    line
}

/// Sixteen bytes a line: offset in the file, hexadecimal, text.
fn print_raw(record: &DumpRecord, output: &mut Output) -> Result<(), Failure> {
    let mut offset = record.offset;
    for row in record.raw.chunks(16) {
        let mut hex = String::with_capacity(48);
        let mut text = String::with_capacity(16);
        for &byte in row {
            hex.push_str(&format!("{byte:02x} "));
            text.push(if byte.is_ascii_graphic() || byte == b' ' {
                byte.into()
            } else {
                '.'
            });
        }
        output.line(format_args!("      {offset:010x}  {hex:<48} |{text}|"))?;
        offset += 16;
    }
    Ok(())
}

#[derive(Serialize)]
struct ManifestJson<'a> {
    generation: u64,
    next_segment: u64,
    seq_high: u64,
    synced_seq: u64,
    time_ms: u64,
    keyspaces: Vec<ManifestKeyspaceJson<'a>>,
}

#[derive(Serialize)]
struct ManifestKeyspaceJson<'a> {
    id: u32,
    name: &'a str,
    index: String,
    default_ttl_ms: Option<u64>,
}

#[derive(Serialize)]
struct SegmentJson<'a> {
    id: u64,
    file: &'a str,
    file_len: u64,
    kind: &'static str,
    sealed: bool,
    life_class: u8,
    created_ms: u64,
    base_seq: u64,
    prior_seq: u64,
    hint: &'static str,
}

#[derive(Serialize)]
struct StoreFilesJson<'a> {
    manifest: Option<ManifestJson<'a>>,
    segments: Vec<SegmentJson<'a>>,
}

fn list_segments(args: &DumpArgs, output: &mut Output) -> Result<(), Failure> {
    let segments = inspect::segments(&args.dir)?;
    // An unreadable manifest must not hide the segments: they are what it is rebuilt from.
    let manifest = match inspect::manifest(&args.dir) {
        Ok(manifest) => Some(manifest),
        Err(error) if segments.is_empty() => return Err(error.into()),
        Err(error) => {
            output::note(error);
            None
        }
    };
    if output.is_json() {
        return output.object(&StoreFilesJson {
            manifest: manifest.as_ref().map(manifest_json),
            segments: segments.iter().map(segment_json).collect(),
        });
    }
    if let Some(manifest) = &manifest {
        print_manifest(manifest, output)?;
    }
    let mut table = Table::headed(
        1,
        &[
            "file",
            "segment",
            "bytes",
            "kind",
            "state",
            "base seq",
            "hint file",
        ],
    );
    for segment in &segments {
        table.row(vec![
            segment.file.clone(),
            segment.id.to_string(),
            count(segment.file_len),
            segment.kind.to_owned(),
            if segment.sealed { "sealed" } else { "open" }.to_owned(),
            segment.base_seq.to_string(),
            segment.hint.to_owned(),
        ]);
    }
    for line in table.lines() {
        output.line(line)?;
    }
    Ok(())
}

fn print_manifest(manifest: &ManifestInfo, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!(
        "manifest generation {}, next segment {}, seq up to {}, synced up to {}, store time {} ms",
        manifest.generation,
        manifest.next_segment,
        manifest.seq_high,
        manifest.synced_seq,
        manifest.time_ms
    ))?;
    for (id, name, index, default_ttl) in &manifest.keyspaces {
        let name = human::printable(name.as_bytes());
        let ttl = default_ttl.map_or_else(String::new, |ttl| {
            format!(", default ttl {}", units::duration(ttl))
        });
        output.line(format_args!("keyspace {id} `{name}`, {index}{ttl}"))?;
    }
    Ok(())
}

fn manifest_json(manifest: &ManifestInfo) -> ManifestJson<'_> {
    let keyspaces = manifest.keyspaces.iter();
    ManifestJson {
        generation: manifest.generation,
        next_segment: manifest.next_segment,
        seq_high: manifest.seq_high,
        synced_seq: manifest.synced_seq,
        time_ms: manifest.time_ms,
        keyspaces: keyspaces
            .map(|(id, name, index, default_ttl)| ManifestKeyspaceJson {
                id: *id,
                name,
                index: index.to_string(),
                default_ttl_ms: default_ttl.map(units::whole_ms),
            })
            .collect(),
    }
}

fn segment_json(segment: &SegmentInfo) -> SegmentJson<'_> {
    SegmentJson {
        id: segment.id,
        file: &segment.file,
        file_len: segment.file_len,
        kind: segment.kind,
        sealed: segment.sealed,
        life_class: segment.life_class,
        created_ms: segment.created_ms,
        base_seq: segment.base_seq,
        prior_seq: segment.prior_seq,
        hint: segment.hint,
    }
}
