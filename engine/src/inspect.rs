//! A read-only look at the files of a store, for tools and for people who want to see the
//! format: no lock is taken and nothing is written. What a live writer changes meanwhile may
//! show in parts.

use std::path::Path;
use std::time::Duration;

use crate::disk::bytes::FileBytes;
use crate::disk::os::OsDisk;
use crate::disk::{Disk, How};
use crate::error::{Error, ErrorKind, Result};
use crate::options::IndexKind;
use crate::segment::catalog;
use crate::segment::format::{NEVER, RECORDS_START, wide};
use crate::segment::header::{HeaderFault, SegmentHeader, SegmentKind};
use crate::segment::hint_file::Hint;
use crate::segment::location::SegmentId;
use crate::segment::names::{self, FileName, ManifestCopy};
use crate::segment::record::RecordKind;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};
use crate::segment::sealed_end::footer_of;

/// Of a value, at most this much is copied into [`DumpRecord::raw`].
const RAW_VALUE_LEN_MAX: usize = 64 << 10;

/// A segment file as its header and footer describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub id: u64,
    /// Its file name.
    pub file: String,
    /// Its length in bytes.
    pub file_len: u64,
    /// `"user"` or `"merged"`.
    pub kind: &'static str,
    /// Whether it has a valid footer.
    pub sealed: bool,
    /// The class of remaining life of a merge output; 0 otherwise.
    pub life_class: u8,
    /// Store time at which it was begun.
    pub created_ms: u64,
    /// The first seq that it may hold.
    pub base_seq: u64,
    /// The last seq of the log before it; 0 for a merge output.
    pub prior_seq: u64,
    /// `"valid"`, `"missing"` or `"invalid"`.
    pub hint: &'static str,
}

/// A record as it lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpRecord {
    /// Where it begins.
    pub offset: u64,
    /// Header, key and value together.
    pub len: u64,
    /// `"put"` or `"tombstone"`.
    pub kind: &'static str,
    /// The number of its keyspace.
    pub keyspace_id: u32,
    /// Its place in the order of all writes.
    pub seq: u64,
    /// When it expires; `None` for never.
    pub expires_at_ms: Option<u64>,
    /// Until when the versions that it hides would live, if longer than itself; `u64::MAX` for
    /// ever.
    pub covers_until_ms: Option<u64>,
    /// How many members of its batch follow.
    pub batch_follow: u32,
    /// What it says was synced when it was written.
    pub synced_mark: Option<u64>,
    /// Its key.
    pub key: Vec<u8>,
    /// The length of its value.
    pub value_len: u64,
    /// Whether the value's checksum holds.
    pub value_ok: bool,
    /// Its bytes; of the value at most 64 KiB.
    pub raw: Vec<u8>,
}

/// One thing met in a segment, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpItem {
    /// A record.
    Record(DumpRecord),
    /// Bytes in which no record can be read.
    Gap {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Nothing but zeros to the end: space that was reserved and not used.
    ZeroTail {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// The footer of a sealed segment.
    Footer {
        /// Where it begins.
        offset: u64,
        /// Its length.
        len: u64,
        /// How many records it says there are.
        records: u64,
    },
}

/// The manifest, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    /// How often it was written.
    pub generation: u64,
    /// The number of the next segment.
    pub next_segment: u64,
    /// No seq above it had been given out.
    pub seq_high: u64,
    /// Everything up to it was on the device.
    pub synced_seq: u64,
    /// Store time when it was written.
    pub time_ms: u64,
    /// Number, name, kind and default life of each keyspace.
    pub keyspaces: Vec<(u32, String, IndexKind, Option<Duration>)>,
    /// The segments that it says are sealed.
    pub sealed_segments: Vec<u64>,
}

/// All segment files in `dir`, by number. Files without a readable header are left out.
///
/// # Errors
/// `Io`; `UnsupportedFormat` for files of a newer version.
pub fn segments(dir: &Path) -> Result<Vec<SegmentInfo>> {
    let disk = OsDisk::new(dir);
    let mut found = Vec::new();
    let shown = dir.display().to_string();
    for name in disk
        .list()
        .map_err(|e| Error::io("list the directory", &shown, e))?
    {
        if let FileName::Segment(id) = names::parse(&name)
            && let Some((header, bytes)) = read(&disk, id)?
        {
            found.push(info(&disk, &header, bytes.as_ref()));
        }
    }
    Ok(found)
}

/// Shows what lies in a segment, record by record, until `visit` returns false.
///
/// # Errors
/// `NotFound` if there is no such segment, `Corrupted` if its header does not hold, `Io`.
pub fn dump(dir: &Path, segment: u64, visit: &mut dyn FnMut(DumpItem) -> bool) -> Result<()> {
    let disk = OsDisk::new(dir);
    let name = names::segment(SegmentId(segment));
    let (header, bytes) = read(&disk, SegmentId(segment))?
        .ok_or_else(|| Error::corrupted(&name, 0, "both copies of the header are damaged"))?;
    let bytes = bytes.as_ref();
    let footer = footer_of(bytes, &header);
    let data_end = footer
        .as_ref()
        .map_or(wide(bytes.len()), |footer| footer.summary.data_len);
    let options = ScanOptions { check_values: true };
    for item in Scan::new(bytes, data_end, &header, options) {
        if !visit(shown(item, data_end)) {
            return Ok(());
        }
    }
    if let Some(footer) = footer {
        let len = wide(bytes.len()).saturating_sub(data_end);
        visit(DumpItem::Footer {
            offset: data_end,
            len,
            records: footer.summary.records,
        });
    }
    Ok(())
}

/// What the manifest says.
///
/// # Errors
/// `NotFound` if there is none, `Corrupted` if neither copy holds, `UnsupportedFormat`, `Io`.
pub fn manifest(dir: &Path) -> Result<ManifestInfo> {
    let disk = OsDisk::new(dir);
    let shown = dir.display().to_string();
    let mut listed = disk
        .list()
        .map_err(|e| Error::io("list the directory", &shown, e))?;
    listed.retain(|name| matches!(names::parse(name), FileName::Manifest(_)));
    if listed.is_empty() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no manifest in {shown}"),
        ));
    }
    let found = catalog::read(&disk, &listed)?;
    let manifest = found.manifest.ok_or_else(|| {
        Error::corrupted(
            names::manifest(ManifestCopy::A),
            0,
            "neither copy of the manifest holds",
        )
    })?;
    let ttl = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    Ok(ManifestInfo {
        generation: manifest.generation,
        next_segment: manifest.next_segment,
        seq_high: manifest.seq_high,
        synced_seq: manifest.synced_seq,
        time_ms: manifest.time_ms,
        keyspaces: manifest
            .keyspaces
            .into_iter()
            .map(|k| (k.id.0, k.name, k.kind, ttl(k.default_ttl_ms)))
            .collect(),
        sealed_segments: manifest
            .segments
            .iter()
            .filter(|entry| entry.sealed)
            .map(|entry| entry.header.id.0)
            .collect(),
    })
}

fn read(disk: &dyn Disk, id: SegmentId) -> Result<Option<(SegmentHeader, FileBytes)>> {
    let name = names::segment(id);
    let file = disk.open(&name, How::Read).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(
            ErrorKind::NotFound,
            format!("there is no segment {id} ({name})"),
        ),
        _ => Error::io("open the segment", &name, e),
    })?;
    let failed = |e| Error::io("read the segment", &name, e);
    let len = file.len().map_err(failed)?;
    let bytes = FileBytes::of(&*file, len).map_err(failed)?;
    let start = bytes
        .as_ref()
        .get(..RECORDS_START)
        .unwrap_or(bytes.as_ref());
    match SegmentHeader::decode_file_start(start) {
        Ok((header, _)) => Ok(Some((header, bytes))),
        Err(HeaderFault::Version(version)) => Err(catalog::newer(&name, version)),
        Err(_) => Ok(None),
    }
}

fn info(disk: &dyn Disk, header: &SegmentHeader, bytes: &[u8]) -> SegmentInfo {
    SegmentInfo {
        id: header.id.0,
        file: names::segment(header.id),
        file_len: wide(bytes.len()),
        kind: match header.kind {
            SegmentKind::User => "user",
            SegmentKind::Merged => "merged",
        },
        sealed: footer_of(bytes, header).is_some(),
        life_class: header.life_class,
        created_ms: header.created_ms,
        base_seq: header.base_seq,
        prior_seq: header.prior_seq,
        hint: hint_state(disk, header),
    }
}

fn hint_state(disk: &dyn Disk, header: &SegmentHeader) -> &'static str {
    let Ok(file) = disk.open(&names::hint(header.id), How::Read) else {
        return "missing";
    };
    let bytes = file.len().and_then(|len| FileBytes::of(&*file, len));
    let valid = bytes.is_ok_and(|bytes| {
        Hint::parse_unbound(bytes)
            .is_ok_and(|(binding, _)| binding.segment == header.id && binding.salt == header.salt)
    });
    if valid { "valid" } else { "invalid" }
}

fn shown(item: ScanItem<'_>, data_end: u64) -> DumpItem {
    match item {
        ScanItem::Gap { offset, len } => DumpItem::Gap { offset, len },
        ScanItem::ZeroTail { offset } => DumpItem::ZeroTail {
            offset,
            len: data_end.saturating_sub(offset),
        },
        ScanItem::Record {
            offset,
            header,
            record,
            value_ok,
        } => {
            let fields = &header.fields;
            let raw_len = header.header_len + header.key_len + RAW_VALUE_LEN_MAX;
            DumpItem::Record(DumpRecord {
                offset,
                len: header.record_len(),
                kind: match fields.kind {
                    RecordKind::Put => "put",
                    RecordKind::Tombstone => "tombstone",
                },
                keyspace_id: fields.keyspace.0,
                seq: fields.seq,
                expires_at_ms: (fields.expiry != NEVER).then_some(fields.expiry),
                covers_until_ms: (fields.covers != 0).then_some(fields.covers),
                batch_follow: fields.batch_follow,
                synced_mark: fields.mark.map(|mark| mark.synced_seq),
                key: header.key(record).to_vec(),
                value_len: wide(header.value_len),
                value_ok,
                raw: record.get(..raw_len).unwrap_or(record).to_vec(),
            })
        }
    }
}
