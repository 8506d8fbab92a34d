//! Every checksum of every file compared, and every hint with its segment. Reads only; goes on
//! after damage, so that one call tells all of it.

use crate::disk::Disk;
use crate::disk::How;
use crate::disk::bytes::FileBytes;
use crate::error::{Error, Result};
use crate::keydir::space::Spaces;
use crate::report::Progress;
use crate::report::{Cost, Damage, VerifyReport};
use crate::segment::base::Base;
use crate::segment::catalog;
use crate::segment::data_file::Segment;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::header::{Footer, SegmentHeader};
use crate::segment::hint_file::Hint;
use crate::segment::hinting;
use crate::segment::location::KeyspaceId;
use crate::segment::names::{self, ManifestCopy};
use crate::segment::scan::{Scan, ScanItem, ScanOptions};

/// Verifies the manifest and all segments that are in the table now.
pub(crate) fn verify(
    base: &Base,
    spaces: &Spaces,
    progress: &mut dyn FnMut(Progress),
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    manifests(&*base.disk, &mut report)?;
    let segments = base.table.by_id();
    let total_bytes = segments.iter().map(|segment| segment.file_bytes()).sum();
    let mut done_bytes = 0;
    for segment in &segments {
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

fn one(base: &Base, spaces: &Spaces, segment: &Segment, report: &mut VerifyReport) -> Result<()> {
    let bytes = segment.all_bytes()?;
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
    let data_end = segment
        .sealed()
        .map_or(wide(bytes.len()), |sealed| sealed.summary.data_len);
    let options = ScanOptions { check_values: true };
    for item in Scan::new(bytes, data_end, &segment.header, options) {
        match item {
            ScanItem::Record {
                offset,
                header,
                record,
                value_ok,
            } => {
                report.records += 1;
                if !value_ok {
                    let what = "the value's checksum does not hold";
                    report.damage.push(Damage {
                        key: Some(header.key(record).to_vec()),
                        keyspace: name_of(spaces, header.fields.keyspace),
                        ..Damage::at(&segment.name, offset, header.record_len(), what)
                    });
                }
            }
            ScanItem::Gap { offset, len } => {
                let what = "no record can be read here; what it held is lost";
                report
                    .damage
                    .push(Damage::at(&segment.name, offset, len, what));
            }
            ScanItem::ZeroTail { offset } if segment.sealed().is_some() => {
                let what = "zeros where records should be";
                let len = data_end.saturating_sub(offset);
                report
                    .damage
                    .push(Damage::at(&segment.name, offset, len, what));
            }
            ScanItem::ZeroTail { .. } => {}
        }
    }
    footer(base, segment, report)?;
    hint(base, segment, bytes, report)
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
    let bytes = FileBytes::of(&*file, sealed.file_len).map_err(failed)?;
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

/// The hint file against a hint made of the segment's own records.
fn hint(base: &Base, segment: &Segment, bytes: &[u8], report: &mut VerifyReport) -> Result<()> {
    let Some(sealed) = segment.sealed() else {
        return Ok(());
    };
    let name = names::hint(segment.header.id);
    let file = match base.disk.open(&name, How::Read) {
        Ok(file) => file,
        // A hint may be missing at any time; it is made again.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read the hint file", &name, e)),
    };
    let failed = |e| Error::io("read the hint file", &name, e);
    let len = file.len().map_err(failed)?;
    let found = FileBytes::of(&*file, len).map_err(failed)?;
    report.hints += 1;
    report.bytes += len;
    let expect = hinting::binding(&segment.header, &sealed.summary, &base.secret);
    if let Err(fault) = Hint::open(FileBytes::Read(found.as_ref().to_vec()), &expect) {
        report
            .damage
            .push(Damage::at(&name, 0, len, fault.to_string()).costing(Cost::Nothing));
        return Ok(());
    }
    let keyspaces = base.keyspace_entries();
    let data_len = sealed.summary.data_len;
    let own = hinting::build(bytes, data_len, &segment.header, &keyspaces, &base.secret);
    if own.gaps.is_empty() && own.bytes != found.as_ref() && !mentions_dropped(&own.bytes, base) {
        let what = "the hint file does not agree with its segment";
        let damage = Damage::at(&name, 0, len, what).costing(Cost::Nothing);
        report.damage.push(damage);
    }
    Ok(())
}

/// A keyspace that was dropped since may have had its keys in the hint file.
fn mentions_dropped(hint: &[u8], base: &Base) -> bool {
    let keyspaces = base.keyspace_entries();
    Hint::parse_unbound(hint).is_ok_and(|(_, hint)| {
        let known = |id: KeyspaceId| keyspaces.iter().any(|entry| entry.id == id);
        hint.sections()
            .iter()
            .any(|section| !known(section.keyspace()))
    })
}

fn name_of(spaces: &Spaces, id: KeyspaceId) -> Option<String> {
    spaces.by_id(id).map(|space| space.entry.name.clone())
}
