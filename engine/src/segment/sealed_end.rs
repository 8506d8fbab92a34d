//! The footer at the end of a segment's bytes, if the segment was sealed. Pure.

use crate::segment::format::{FOOTER_TAIL_LEN, RECORDS_START, wide};
use crate::segment::header::{Footer, SegmentHeader};

/// The footer at the end of `bytes`, a whole file, if it is valid and of this segment.
pub(crate) fn footer_of(bytes: &[u8], header: &SegmentHeader) -> Option<Footer> {
    let tail = bytes.get(bytes.len().checked_sub(FOOTER_TAIL_LEN)?..)?;
    let len = usize::try_from(Footer::tail_len(tail)?).ok()?;
    let start = bytes
        .len()
        .checked_sub(len)
        .filter(|start| *start >= RECORDS_START)?;
    let footer = Footer::decode(bytes.get(start..)?).ok()?;
    let fits = footer.header == *header && footer.summary.data_len == wide(start);
    fits.then_some(footer)
}
