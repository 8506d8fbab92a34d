//! The hint of a segment, wherever it is: already parsed, in its file, or to be built by a scan
//! and written. Hints are caches: a bad one is replaced, never believed.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use crate::disk::How;
use crate::disk::bytes::FileBytes;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::base::Base;
use crate::segment::catalog;
use crate::segment::data_file::Segment;
use crate::segment::format::wide;
use crate::segment::hint_file::{Hint, HintBinding};
use crate::segment::hinting;
use crate::segment::names;

/// A parsed hint.
pub(crate) type SegmentHint = Hint<FileBytes>;

/// The hint of a sealed segment; built and written if there is no valid one.
///
/// # Errors
/// `InvalidArgument` if the segment is not sealed; `Io` if it cannot be read. A hint that cannot
/// be written is still returned.
pub(crate) fn of(base: &Base, segment: &Segment) -> Result<Arc<SegmentHint>> {
    if let Some(hint) = segment.hint.get() {
        return Ok(hint.clone());
    }
    let sealed = segment
        .sealed()
        .ok_or_else(|| Error::invalid(format!("{} is not sealed", segment.name)))?;
    let binding = hinting::binding(&segment.header, &sealed.summary, &base.secret);
    let hint = match read(base, segment, &binding) {
        Some(hint) => hint,
        None => {
            let built = build(base, segment, sealed.summary.data_len, &binding)?;
            // Mapped from its file it costs no memory of ours.
            read(base, segment, &binding).unwrap_or(built)
        }
    };
    // Without maps it lies in our own memory: read anew for each merge rather than kept.
    if !hint.bytes().is_mapped() {
        return Ok(Arc::new(hint));
    }
    Ok(segment.hint.get_or_init(|| Arc::new(hint)).clone())
}

fn read(base: &Base, segment: &Segment, binding: &HintBinding) -> Option<SegmentHint> {
    if !segment.hinted.load(Ordering::Acquire) {
        return None;
    }
    let file = base
        .disk
        .open(&names::hint(segment.header.id), How::Read)
        .ok()?;
    let len = file.len().ok()?;
    Hint::open(FileBytes::of(&*file, len).ok()?, binding).ok()
}

fn build(
    base: &Base,
    segment: &Segment,
    data_len: u64,
    binding: &HintBinding,
) -> Result<SegmentHint> {
    let keyspaces = base.keyspace_entries();
    let bytes = segment.readable_bytes()?;
    let built = hinting::build(
        bytes.as_ref(),
        data_len,
        &segment.header,
        &keyspaces,
        &base.secret,
    );
    if !built.gaps.is_empty() {
        segment.mark_damaged();
    }
    // One that was made of a damaged segment would not be found valid again: not worth a write.
    if hinting::binding(&segment.header, &built.summary, &base.secret) == *binding {
        match write_file(base, segment, &built.bytes) {
            Ok(()) => segment.hinted.store(true, Ordering::Release),
            // A full disk is no reason to fail who only wants to know.
            Err(e) if e.kind() == ErrorKind::StorageFull => {}
            Err(e) => return Err(e),
        }
    }
    let (_, hint) = Hint::parse_unbound(FileBytes::Read(built.bytes))
        .map_err(|fault| Error::corrupted(&segment.name, 0, fault))?;
    Ok(hint)
}

/// Puts `bytes` in place as the hint file of `segment`.
fn write_file(base: &Base, segment: &Segment, bytes: &[u8]) -> Result<()> {
    base.admit_spare(wide(bytes.len()))?;
    catalog::replace_file(&*base.disk, &names::hint(segment.header.id), bytes)?;
    base.counters.written_bytes.add(wide(bytes.len()));
    Ok(())
}
