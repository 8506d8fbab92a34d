//! Every checksum of every file compared, images included, and every hint with its segment. Reads only; goes on
//! after damage, so that one call tells all of it.

use std::sync::Arc;

use crate::disk::Disk;
use crate::disk::How;
use crate::disk::bytes::FileBytes;
use crate::error::{Error, Result};
use crate::keydir::space::{Space, Spaces};
use crate::report::Progress;
use crate::report::{Cost, Damage, VerifyReport};
use crate::segment::base::Base;
use crate::segment::catalog;
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, SECRET_LEN, wide};
use crate::segment::header::{Footer, SegmentHeader, SegmentKind};
use crate::segment::hint_file::Hint;
use crate::segment::hinting;
use crate::segment::image_file::{self, Image};
use crate::segment::key_hash::key_hash;
use crate::segment::location::Location;
use crate::segment::names::{self, ImageCopy, ManifestCopy};
use crate::segment::record::{self, RecordHeader, RecordKind};
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// Verifies the manifests, the images and `segments`.
pub(crate) fn verify(
    base: &Base,
    spaces: &Spaces,
    segments: &[Arc<Segment>],
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    manifests(&*base.disk, &mut report)?;
    images(base, &mut report)?;
    let total_bytes = segments.iter().map(|segment| segment.file_bytes()).sum();
    let mut done_bytes = 0;
    for segment in segments {
        one(base, spaces, segment, &mut report)?;
        done_bytes += segment.file_bytes();
        progress(Progress {
            done_bytes,
            total_bytes,
        });
    }
    Ok(report)
}

fn manifests(disk: &dyn Disk, report: &mut VerifyReport) -> Result<()> {
    let copies = [ManifestCopy::A, ManifestCopy::B].map(|copy| names::manifest(copy).to_owned());
    let present = disk
        .list()
        .map_err(|e| Error::io("list the directory of", names::LOCK, e))?;
    for copy in &copies {
        if !present.contains(copy) {
            let what = "this copy of the manifest is missing";
            report
                .damage
                .push(Damage::at(copy, 0, 0, what).costing(Cost::Nothing));
        }
    }
    let there: Vec<String> = copies
        .into_iter()
        .filter(|copy| present.contains(copy))
        .collect();
    for (file, fault) in catalog::read(disk, &there)?.damaged {
        report
            .damage
            .push(Damage::at(file, 0, 0, fault.to_string()).costing(Cost::Nothing));
    }
    Ok(())
}

/// Keydir images, block by block. A bad one costs nothing but the time that it would have saved.
fn images(base: &Base, report: &mut VerifyReport) -> Result<()> {
    for copy in [ImageCopy::A, ImageCopy::B] {
        let name = names::image(copy);
        let failed = |e| Error::io("read the keydir image", name, e);
        let file = match base.disk.open(name, How::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        let len = file.len().map_err(failed)?;
        let (bytes, _unreadable_is_wrong) = FileBytes::patiently(&*file, len).map_err(failed)?;
        if let Err(what) = image(base, bytes.as_ref()) {
            let damage = Damage::at(name, 0, len, what).costing(Cost::Nothing);
            report.damage.push(damage);
        }
    }
    Ok(())
}

fn image(base: &Base, bytes: &[u8]) -> std::result::Result<(), String> {
    let image = Image::decode(bytes).map_err(|fault| fault.to_string())?;
    if image.store_id != base.store_id {
        return Ok(());
    }
    for space in &image.spaces {
        let blocks = image_file::blocks(bytes, space);
        let blocks = blocks.ok_or("the blocks of a keyspace do not fill their place")?;
        if let Some(at) = blocks.iter().position(|block| block.body().is_none()) {
            return Err(format!(
                "the checksum of block {at} of keyspace {} does not hold",
                space.id.0
            ));
        }
    }
    Ok(())
}

/// What a scan met in one segment.
#[derive(Default)]
struct Scanned {
    /// Bytes in which no record can be read.
    gaps: Vec<Gap>,
    records: u64,
}

struct Gap {
    offset: u64,
    len: u64,
    /// How many records are missing here, told by the seqs around it; 0 if they do not tell.
    lost: u64,
}

impl Scanned {
    fn has_gap_at(&self, offset: u64) -> bool {
        let around = |gap: &Gap| (gap.offset..gap.offset + gap.len).contains(&offset);
        self.gaps.iter().any(around)
    }
}

fn one(base: &Base, spaces: &Spaces, segment: &Segment, report: &mut VerifyReport) -> Result<()> {
    let bytes = segment.readable_bytes()?;
    let bytes = bytes.as_ref();
    report.segments += 1;
    report.bytes += wide(bytes.len());
    let start = SegmentHeader::decode_file_start(bytes.get(..RECORDS_START).unwrap_or(bytes));
    let header_fault = match start {
        Ok((_, note)) => note.map(str::to_owned),
        Err(fault) => Some(fault.to_string()),
    };
    if let Some(what) = header_fault {
        // The segment was found all the same: footer or manifest repeat the header.
        let damage = Damage::at(&segment.name, 0, 0, what).costing(Cost::Nothing);
        report.damage.push(damage);
    }
    let scanned = scan(spaces, segment, bytes, report);
    report.records += scanned.records;
    footer(base, segment, report)?;
    let hint = hint(base, segment, &scanned, bytes, report)?;
    for gap in &scanned.gaps {
        tell_gap(spaces, segment, gap, hint.as_ref(), report);
    }
    Ok(())
}

/// Walks over all records; a value that does not hold is told at once, with its key.
fn scan(spaces: &Spaces, segment: &Segment, bytes: &[u8], report: &mut VerifyReport) -> Scanned {
    let mut scanned = Scanned::default();
    let sealed = segment.sealed();
    let data_end = sealed.map_or(wide(bytes.len()), |sealed| sealed.summary.data_len);
    let user = segment.header.kind == SegmentKind::User;
    let mut due = segment.header.base_seq;
    let options = ScanOptions { check_values: true };
    for item in Scan::new(bytes, data_end, &segment.header, options) {
        match item {
            ScanItem::Record {
                offset,
                header,
                record,
                value_ok,
            } => {
                scanned.records += 1;
                let seq = header.fields.seq;
                if let Some(gap) = scanned.gaps.last_mut().filter(|_| user && seq > due) {
                    gap.lost = seq - due;
                }
                due = seq.saturating_add(1);
                if !value_ok {
                    damaged_value(spaces, segment, offset, &header, record, report);
                }
            }
            ScanItem::Gap { offset, len } => scanned.gaps.push(Gap {
                offset,
                len,
                lost: 0,
            }),
            ScanItem::ZeroTail { offset } if sealed.is_some() => scanned.gaps.push(Gap {
                offset,
                len: data_end.saturating_sub(offset),
                lost: 0,
            }),
            ScanItem::ZeroTail { .. } => {}
        }
    }
    // Behind the last record that was found, the summary tells how many there should be.
    let total = sealed.map_or(0, |sealed| sealed.summary.records);
    let told: u64 = scanned.gaps.iter().map(|gap| gap.lost).sum();
    let untold = total.saturating_sub(scanned.records + told);
    if let Some(gap) = scanned.gaps.last_mut().filter(|gap| gap.lost == 0) {
        gap.lost = untold;
    }
    scanned
}

fn damaged_value(
    spaces: &Spaces,
    segment: &Segment,
    offset: u64,
    header: &RecordHeader,
    record: &[u8],
    report: &mut VerifyReport,
) {
    let key = header.key(record);
    let space = spaces.by_id(header.fields.keyspace);
    let hash = |space: &Arc<Space>| space.hash(key);
    let current = space
        .as_ref()
        .is_some_and(|space| is_current(space, segment, hash(space), key, offset));
    report.lost += u64::from(current);
    let what = format!("the value's checksum does not hold; {}", cost(current));
    report.damage.push(Damage {
        key: Some(key.to_vec()),
        keyspace: space.map(|space| space.entry.name.clone()),
        ..Damage::at(&segment.name, offset, header.record_len(), what)
    });
}

fn cost(current: bool) -> &'static str {
    if current {
        "the key's current value is lost"
    } else {
        "it is no current value, nothing is lost"
    }
}

/// Whether readers are led to this place for the key.
fn is_current(space: &Space, segment: &Segment, hash: u128, key: &[u8], offset: u64) -> bool {
    u32::try_from(offset).is_ok_and(|offset| {
        let location = Location {
            slot: segment.slot,
            offset,
        };
        space.keydir.candidates(hash, key).contains(location)
    })
}

/// A place where nothing can be read; the hint still tells of each record that was there.
fn tell_gap(
    spaces: &Spaces,
    segment: &Segment,
    gap: &Gap,
    hint: Option<&Hint<FileBytes>>,
    report: &mut VerifyReport,
) {
    let what = match gap.lost {
        0 => "no record can be read here; what it held is lost".to_owned(),
        lost => format!("no record can be read here; records lost: {lost}"),
    };
    report
        .damage
        .push(Damage::at(&segment.name, gap.offset, gap.len, what));
    let Some(hint) = hint else { return };
    for (section, shape) in hint.sections().iter().enumerate() {
        let space = spaces.by_id(shape.keyspace());
        for (row, key) in hint.rows_with_keys(section) {
            let offset = u64::from(row.offset);
            if !(gap.offset..gap.offset + gap.len).contains(&offset) {
                continue;
            }
            let current = row.kind == RecordKind::Put
                && space.as_ref().is_some_and(|space| {
                    is_current(space, segment, row.hash, key.unwrap_or_default(), offset)
                });
            report.lost += u64::from(current);
            let what = format!("this record cannot be read; {}", cost(current));
            report.damage.push(Damage {
                key: key.map(<[u8]>::to_vec),
                keyspace: space.as_ref().map(|space| space.entry.name.clone()),
                ..Damage::at(&segment.name, offset, row.len, what)
            });
        }
    }
}

/// The footer, if the segment was sealed with one.
fn footer(base: &Base, segment: &Segment, report: &mut VerifyReport) -> Result<()> {
    let Some(sealed) = segment.sealed() else {
        return Ok(());
    };
    let at = sealed.summary.data_len;
    if sealed.file_len <= at {
        return Ok(());
    }
    let failed = |e| Error::io("read the footer of", &segment.name, e);
    let file = match base.disk.open(&segment.name, How::Read) {
        // Merge has removed it meanwhile; what it held was verified through the map.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !is_listed(base, segment) => {
            return Ok(());
        }
        file => file.map_err(failed)?,
    };
    let (bytes, _) = FileBytes::patiently(&*file, sealed.file_len).map_err(failed)?;
    let from = usize::try_from(at).unwrap_or(usize::MAX);
    let what = match Footer::decode(bytes.as_ref().get(from..).unwrap_or_default()) {
        Ok(footer) if footer.header != segment.header => "the footer is another segment's",
        Ok(footer) if footer.summary != sealed.summary => {
            "the footer does not agree with the manifest"
        }
        Ok(_) => return Ok(()),
        Err(_) => "the footer does not hold; no record is concerned",
    };
    let len = sealed.file_len - at;
    let damage = Damage::at(&segment.name, at, len, what).costing(Cost::Nothing);
    report.damage.push(damage);
    Ok(())
}

fn is_listed(base: &Base, segment: &Segment) -> bool {
    base.table
        .load()
        .iter()
        .any(|listed| listed.header.id == segment.header.id)
}

/// The hint file, held row by row against the records; it is answered if it can be used.
fn hint(
    base: &Base,
    segment: &Segment,
    scanned: &Scanned,
    bytes: &[u8],
    report: &mut VerifyReport,
) -> Result<Option<Hint<FileBytes>>> {
    let Some(sealed) = segment.sealed() else {
        return Ok(None);
    };
    let name = names::hint(segment.header.id);
    let file = match base.disk.open(&name, How::Read) {
        Ok(file) => file,
        // A hint may be missing at any time; it is made again.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read the hint file", &name, e)),
    };
    let failed = |e| Error::io("read the hint file", &name, e);
    let len = file.len().map_err(failed)?;
    let (found, _unreadable_is_wrong) = FileBytes::patiently(&*file, len).map_err(failed)?;
    report.hints += 1;
    report.bytes += len;
    let expect = hinting::binding(&segment.header, &sealed.summary, &base.secret);
    let what = match Hint::open(found, &expect) {
        Ok(hint) if agrees(&hint, segment, scanned, bytes, &base.secret) => {
            return Ok(Some(hint));
        }
        Ok(_) => "the hint file does not agree with its segment".to_owned(),
        Err(fault) => fault.to_string(),
    };
    let damage = Damage::at(&name, 0, len, what).costing(Cost::Nothing);
    report.damage.push(damage);
    Ok(None)
}

/// Whether each row tells of the record at its place. As many different rows as the binding counts
/// records, each of them right, are all of them.
fn agrees(
    hint: &Hint<FileBytes>,
    segment: &Segment,
    scanned: &Scanned,
    bytes: &[u8],
    secret: &[u8; SECRET_LEN],
) -> bool {
    let place = segment.header.place();
    for (section, shape) in hint.sections().iter().enumerate() {
        let mut before = None;
        for (row, key) in hint.rows_with_keys(section) {
            let this = Some((row.hash, row.seq));
            if std::mem::replace(&mut before, this) == this {
                return false;
            }
            let offset = u64::from(row.offset);
            if scanned.has_gap_at(offset) {
                continue;
            }
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = bytes.get(from..).unwrap_or_default();
            let Ok(header) = record::decode(rest, place, offset) else {
                return false;
            };
            let fields = &header.fields;
            let own_key = header.key(rest);
            let put = fields.kind == RecordKind::Put;
            let same = fields.keyspace == shape.keyspace()
                && (fields.kind, fields.seq) == (row.kind, row.seq)
                && header.record_len() == row.len
                && (!put || fields.expiry == row.expiry)
                && fields.covers == row.covers
                && key.is_none_or(|key| key == own_key)
                && key_hash(secret, fields.keyspace, own_key) == row.hash;
            if !same {
                return false;
            }
        }
    }
    true
}
