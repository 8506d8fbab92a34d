//! The repair of the log's end on disk: what `tail` decided is made so. A torn segment is never
//! appended to again; it is cut, synced and from then on sealed. A file with more than one name
//! belongs to a checkpoint too: it is copied, not cut.

use super::load::Loaded;
use crate::disk::{Disk, How, read_full_at, write_all_at};
use crate::error::{Error, Result};
use crate::mutant::{self, Mutant};
use crate::report::RecoveryReport;
use crate::segment::format::{RECORDS_START, wide};
use crate::segment::location::SegmentId;
use crate::segment::names;

/// Copied at once.
const COPY_LEN: u64 = 1 << 20;

/// Cuts the segments that are torn. The name of a copy is durable with the next manifest, which syncs
/// the directory first; until then the torn file is as good. Answers with those that hold
/// nothing: the manifest is to declare them dead before their files go.
pub(super) fn end_of_log(
    disk: &dyn Disk,
    loaded: &mut Vec<Loaded>,
    report: &RecoveryReport,
) -> Result<Vec<SegmentId>> {
    let mut empty = Vec::new();
    for segment in loaded
        .iter_mut()
        .rev()
        .filter(|segment| !segment.listed_sealed)
    {
        let data_end = segment.summary.data_len;
        let whole = segment.has_footer && !report.cut.iter().any(|cut| cut.file == segment.name);
        if data_end <= wide(RECORDS_START) {
            empty.push(segment.header.id);
        } else if !whole && data_end < segment.file_len {
            if mutant::is_on(Mutant::TornTailAccepted) {
                segment.summary.data_len = segment.file_len;
                continue;
            }
            cut(disk, segment, data_end)?;
        }
    }
    loaded.retain(|segment| !empty.contains(&segment.header.id));
    Ok(empty)
}

/// As `end_of_log` for one who only reads: what holds nothing is left out, and stays.
pub(super) fn leave_out_empty(loaded: &mut Vec<Loaded>) -> Vec<SegmentId> {
    loaded
        .retain(|segment| segment.listed_sealed || segment.summary.data_len > wide(RECORDS_START));
    Vec::new()
}

/// Ends the file at `data_end`.
fn cut(disk: &dyn Disk, segment: &mut Loaded, data_end: u64) -> Result<()> {
    let failed = |e| Error::io("cut the torn tail of", &segment.name, e);
    let file = disk.open(&segment.name, How::Write).map_err(failed)?;
    if file.links().map_err(failed)? == 1 {
        file.set_len(data_end).map_err(failed)?;
        file.sync_data().map_err(failed)?;
    } else {
        let temporary = names::temporary(&segment.name);
        let copy = disk.open(&temporary, How::Replace).map_err(failed)?;
        let mut at = 0;
        while at < data_end {
            let len = usize::try_from((data_end - at).min(COPY_LEN)).unwrap_or(0);
            let mut bytes = vec![0; len];
            let n = read_full_at(&*file, &mut bytes, at).map_err(failed)?;
            if n == 0 {
                return Err(failed(std::io::Error::from(
                    std::io::ErrorKind::UnexpectedEof,
                )));
            }
            bytes.truncate(n);
            write_all_at(&*copy, &bytes, at).map_err(failed)?;
            at += wide(n);
        }
        copy.sync_data().map_err(failed)?;
        if !mutant::is_on(Mutant::TornCopyRenameSkipped) {
            disk.rename(&temporary, &segment.name).map_err(failed)?;
        }
    }
    segment.file_len = data_end;
    Ok(())
}
