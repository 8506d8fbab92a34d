//! Saving the keydirs: an image of them, with what it says of the log. Writers and readers go on;
//! no merge runs meanwhile. It is never the only copy of anything, and a failure to write it is
//! not one of the store.
//!
//! In this order, so that no image points at a record that a crash could take: where the log
//! stands is noted; the keydirs are written out, which may pick up later writes too; the log is
//! brought to the device; header and trailer are written, the file synced, the older of the two
//! generations replaced.

use std::sync::Arc;

use crate::disk::{DiskFile, How, write_all_at};
use crate::error::{Error, Result};
use crate::keydir::space::Spaces;
use crate::mutant::{self, Mutant};
use crate::segment::data_file::Segment;
use crate::segment::format::{IMAGE_HEADER_LEN, RECORDS_START, wide};
use crate::segment::image_file::{Image, ImageSegment, ImageSpace, frame};
use crate::segment::key_hash::secret_id;
use crate::segment::live::Live;
use crate::segment::log::Log;
use crate::segment::names::{self, ImageCopy};

/// Written at once.
const WRITE_LEN: usize = 1 << 20;

/// Writes an image of all keydirs; answers how many bytes. The caller holds the merge turn.
///
/// # Errors
/// `Io`, `StorageFull`, `Poisoned`: the images that were there still count.
pub(crate) fn save(log: &Log, spaces: &Spaces) -> Result<u64> {
    let span = tracing::info_span!("keydir image");
    let _entered = span.enter();
    let generation = log.next_image();
    let name = names::image(ImageCopy::of(generation));
    let temporary = names::temporary(name);
    let saved = write(log, spaces, generation, &temporary).and_then(|bytes| {
        let named = match mutant::is_on(Mutant::ImageRenameSkipped) {
            true => Ok(()),
            false => log.disk.rename(&temporary, name),
        };
        named.map_err(|e| Error::io("rename into place", name, e))?;
        Ok(bytes)
    });
    match saved {
        // Without its name on the device the generation before it still counts: no directory sync.
        Ok(bytes) => log.counters.written_bytes.add(bytes),
        Err(_) => {
            // What stays is removed at the next open; the first error is what matters.
            let _first_error_counts = log.disk.remove(&temporary);
        }
    }
    saved
}

fn write(log: &Log, spaces: &Spaces, generation: u64, temporary: &str) -> Result<u64> {
    let file = log.disk.open(temporary, How::Replace);
    let file = file.map_err(|e| Error::io("create a keydir image", temporary, e))?;
    let mut out = Out {
        file,
        name: temporary,
        at: wide(IMAGE_HEADER_LEN),
        buffer: Vec::new(),
    };
    let noted = note(log);
    let mut written = Vec::new();
    let mut all = spaces.all();
    all.sort_by_key(|space| space.id());
    for space in all {
        let offset = out.end();
        let entries = space.keydir.save(&mut |body| out.block(body))?;
        written.push(ImageSpace {
            id: space.id(),
            kind: space.entry.kind,
            entries,
            offset,
            len: out.end() - offset,
        });
    }
    out.flush()?;
    let last_seq = log.writer_for_close().last_seq();
    // A log that is found shorter than this refuses the image.
    log.sync_until(last_seq)?;
    let image = Image {
        generation,
        store_id: log.store_id,
        secret_id: secret_id(&log.secret),
        manifest_generation: log.manifest_generation(),
        last_seq,
        segments: segments(log, noted),
        spaces: written,
    };
    let (header, trailer) = image.encode(out.at);
    let failed = |e| Error::io("write the keydir image", temporary, e);
    write_all_at(&*out.file, &trailer, out.at).map_err(failed)?;
    write_all_at(&*out.file, &header, 0).map_err(failed)?;
    if !mutant::is_on(Mutant::ImageNotSynced) {
        // Not for the content, which the hints give too: with header and trailer on the device and a
        // block between them lost, an open could not tell the crash from damage.
        let synced = out.file.sync_data();
        synced.map_err(|e| Error::io("sync the keydir image", temporary, e))?;
        log.counters.syncs.add(1);
    }
    Ok(out.at + wide(trailer.len()))
}

/// Each segment, where its records end now and what is live in it. All records up to there are
/// in the keydirs, since publishing happens under the log lock.
fn note(log: &Log) -> Vec<(Arc<Segment>, u64, Live)> {
    let _no_append = log.writer_for_close();
    let end = |segment: &Segment| wide(RECORDS_START) + segment.record_bytes();
    let noted = log.table.by_id().into_iter();
    noted
        .map(|segment| {
            let (end, live) = (end(&segment), segment.live());
            (segment, end, live)
        })
        .collect()
}

/// The segments noted, and those begun since: of these the image may hold records, none for sure.
fn segments(log: &Log, noted: Vec<(Arc<Segment>, u64, Live)>) -> Vec<ImageSegment> {
    let of = |segment: &Segment, covered, live| ImageSegment {
        id: segment.header.id,
        salt: segment.header.salt,
        covered,
        slot: segment.slot,
        live,
    };
    let known: Vec<_> = noted
        .iter()
        .map(|(segment, ..)| segment.header.id)
        .collect();
    let mut all: Vec<ImageSegment> = noted
        .into_iter()
        .map(|(segment, covered, live)| of(&segment, covered, live))
        .collect();
    for segment in log.segments_that_count() {
        if !known.contains(&segment.header.id) {
            all.push(of(&segment, wide(RECORDS_START), Live::default()));
        }
    }
    all.sort_by_key(|segment| segment.id);
    all
}

/// Blocks on their way to the file.
struct Out<'a> {
    file: Arc<dyn DiskFile>,
    name: &'a str,
    /// Where `buffer` goes.
    at: u64,
    buffer: Vec<u8>,
}

impl Out<'_> {
    fn end(&self) -> u64 {
        self.at + wide(self.buffer.len())
    }

    fn block(&mut self, body: &[u8]) -> Result<()> {
        frame(body, &mut self.buffer);
        if self.buffer.len() >= WRITE_LEN {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        write_all_at(&*self.file, &self.buffer, self.at)
            .map_err(|e| Error::io("write the keydir image", self.name, e))?;
        self.at = self.end();
        self.buffer.clear();
        Ok(())
    }
}
