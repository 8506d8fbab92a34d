//! What each segment holds, several at a time: the hint file where it is valid, a scan where not.
//! A segment that was not sealed is scanned with its values, for the decision where the log ends.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::io::ErrorKind;
use std::sync::Arc;

use super::files::Source;
use crate::disk::bytes::FileBytes;
use crate::disk::tolerant::{Unreadable, read_patiently};
use crate::disk::{Disk, DiskFile, How};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::parallel::in_parallel;
use crate::report::Progress;
use crate::report::{Cost, Damage, RecoveryReport};
use crate::segment::data_file::{Parts, Sealed, Segment};
use crate::segment::format::SECRET_LEN;
use crate::segment::header::{SegmentHeader, Summary};
use crate::segment::hint_file::Hint;
use crate::segment::hinting::{self, Hinted};
use crate::segment::keyspace_entry::KeyspaceEntry;
use crate::segment::manifest::Manifest;
use crate::segment::names;
use crate::segment::scan::{Scan, ScanItem, ScanOptions};
use crate::segment::sealed_end::footer_of;
use crate::segment::table::Table;

/// A segment as far as recovery has got with it.
pub(super) struct Loaded {
    pub(super) header: SegmentHeader,
    pub(super) name: String,
    pub(super) listed_sealed: bool,
    /// Known at once for a listed one, after the repair of the log's end for the others.
    pub(super) summary: Summary,
    pub(super) file_len: u64,
    pub(super) hint: Option<Hint<HintBytes>>,
    /// Whether the hint came from its file, or lies there unread.
    pub(super) hint_from_file: bool,
    /// A keydir image covers it: nobody asks for its hint.
    pub(super) by_image: bool,
    /// What the scan of an unsealed segment met, in file order.
    pub(super) steps: Vec<Step>,
    /// A valid footer that the manifest does not know of yet.
    pub(super) has_footer: bool,
    /// The highest synced mark in its records, and the store time beside it.
    pub(super) mark_seq: u64,
    pub(super) mark_time_ms: u64,
    pub(super) damage: Vec<Damage>,
    /// Bytes of an unsealed one that the device cannot read: they may be damage, but not its end.
    pub(super) unreadable: Option<Unreadable>,
}

impl Loaded {
    /// A segment of which only the header is known yet.
    pub(super) fn unsealed(header: SegmentHeader) -> Loaded {
        Loaded {
            name: names::segment(header.id),
            header,
            listed_sealed: false,
            summary: Summary::empty(),
            file_len: 0,
            hint: None,
            hint_from_file: false,
            by_image: false,
            steps: Vec::new(),
            has_footer: false,
            mark_seq: 0,
            mark_time_ms: 0,
            damage: Vec::new(),
            unreadable: None,
        }
    }

    /// Whether the log is thought to end before bytes that cannot be read: it would be cut for good at what
    /// may be read another time, or elsewhere.
    ///
    /// # Errors
    /// `Io` if so.
    pub(super) fn check_end(&mut self) -> Result<()> {
        let end = self.summary.data_len;
        match self.unreadable.take().filter(|lost| lost.end > end) {
            None => Ok(()),
            Some(lost) => Err(Error::io(
                "read the end of the log; nothing was changed, and `repair` saves what can be read",
                &self.name,
                lost.error,
            )),
        }
    }
}

/// One thing met in a scan.
pub(super) enum Step {
    Record {
        offset: u64,
        len: u64,
        seq: u64,
        batch_follow: u32,
        value_ok: bool,
    },
    Gap {
        offset: u64,
        len: u64,
    },
}

pub(super) type HintBytes = FileBytes;

/// A segment, with its hint where that was read.
pub(super) type Opened = (Arc<Segment>, Option<Hint<HintBytes>>);

/// Loads all sources, in their order; of those that a keydir image covers not even the hints.
pub(super) fn all(
    disk: &dyn Disk,
    manifest: &Manifest,
    sources: &[Source],
    is_covered: &(dyn Fn(&Source) -> bool + Sync),
    options: &Options,
    only_reads: bool,
    report: &mut RecoveryReport,
) -> Result<Vec<Loaded>> {
    let progress = OpenProgress::new(disk, sources, options);
    let loaded = in_parallel(sources, options.threads(), |source| {
        let loaded = match &source.entry {
            Some(entry) if is_covered(source) => Ok(Loaded {
                listed_sealed: true,
                summary: entry.summary,
                file_len: entry.file_len,
                hint_from_file: source.has_hint,
                by_image: true,
                ..Loaded::unsealed(source.header.clone())
            }),
            _ => one(disk, manifest, source, only_reads),
        };
        progress.add(disk, source);
        loaded
    });
    let mut loaded: Vec<Loaded> = loaded.into_iter().collect::<Result<_>>()?;
    for segment in &mut loaded {
        report.damage.append(&mut segment.damage);
        if segment.by_image {
            continue;
        }
        if segment.hint_from_file {
            report.hints_used += 1;
        } else {
            report.segments_scanned += 1;
        }
    }
    Ok(loaded)
}

/// The hint of a segment that an image was to cover, after all, and whether it is from its file.
pub(super) fn late(
    disk: &dyn Disk,
    manifest: &Manifest,
    source: &Source,
    report: &mut RecoveryReport,
) -> Result<(Option<Hint<HintBytes>>, bool)> {
    // Only a writer opens by images.
    let mut loaded = one(disk, manifest, source, false)?;
    report.damage.append(&mut loaded.damage);
    if loaded.hint_from_file {
        report.hints_used += 1;
    } else {
        report.segments_scanned += 1;
    }
    Ok((loaded.hint, loaded.hint_from_file))
}

/// Tells the caller how much of what must be read has been read.
struct OpenProgress<'a> {
    tell: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
    total_bytes: u64,
    done_bytes: AtomicU64,
}

impl<'a> OpenProgress<'a> {
    fn new(disk: &dyn Disk, sources: &[Source], options: &'a Options) -> OpenProgress<'a> {
        let tell = options.open_progress.as_deref();
        // Asking each file for its length is only worth it when somebody listens.
        let total_bytes = match tell {
            Some(_) => sources.iter().map(|source| cost(disk, source)).sum(),
            None => 0,
        };
        OpenProgress {
            tell,
            total_bytes,
            done_bytes: AtomicU64::new(0),
        }
    }

    fn add(&self, disk: &dyn Disk, source: &Source) {
        if let Some(tell) = self.tell {
            let more = cost(disk, source);
            let done = self.done_bytes.fetch_add(more, Ordering::Relaxed) + more;
            tell(Progress {
                done_bytes: done.min(self.total_bytes),
                total_bytes: self.total_bytes,
            });
        }
    }
}

/// Bytes to be read for a segment: its hint, or all of it.
fn cost(disk: &dyn Disk, source: &Source) -> u64 {
    let len = |name: &str| disk.open(name, How::Read).and_then(|file| file.len()).ok();
    let id = source.header.id;
    let hint = source.has_hint.then(|| len(&names::hint(id))).flatten();
    hint.or_else(|| len(&names::segment(id))).unwrap_or(0)
}

/// One of them; with `only_reads` its file is not even synced.
pub(super) fn one(
    disk: &dyn Disk,
    manifest: &Manifest,
    source: &Source,
    only_reads: bool,
) -> Result<Loaded> {
    let mut loaded = Loaded::unsealed(source.header.clone());
    loaded.listed_sealed = source.entry.is_some();
    match &source.entry {
        Some(entry) => {
            loaded.summary = entry.summary;
            loaded.file_len = entry.file_len;
            if source.has_hint {
                loaded.hint = read_hint(disk, manifest, &mut loaded)?;
                loaded.hint_from_file = loaded.hint.is_some();
            }
            if loaded.hint.is_none() {
                let data_len = loaded.summary.data_len;
                build_hint(
                    disk,
                    &manifest.secret,
                    &manifest.keyspaces,
                    &mut loaded,
                    data_len,
                )?;
            }
        }
        None => scan_unsealed(disk, &mut loaded, only_reads)?,
    }
    Ok(loaded)
}

/// The hint from its file, if that holds and belongs to this state of the segment.
fn read_hint(
    disk: &dyn Disk,
    manifest: &Manifest,
    loaded: &mut Loaded,
) -> Result<Option<Hint<HintBytes>>> {
    let name = names::hint(loaded.header.id);
    let failed = |e| Error::io("read the hint file", &name, e);
    let file = disk.open(&name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let (bytes, _unreadable_is_wrong) = FileBytes::patiently(&*file, len).map_err(failed)?;
    let expect = hinting::binding(&loaded.header, &loaded.summary, &manifest.secret);
    match Hint::open(bytes, &expect) {
        Ok(hint) if hinting::has_all_keys(&hint, &manifest.keyspaces) => Ok(Some(hint)),
        // Made while a keyspace was dropped, and met by a manifest from before that: a checkpoint's.
        Ok(_) => Ok(None),
        Err(fault) => {
            // A hint is never the only copy of anything: told, and the segment is scanned.
            let what = format!("the hint file is not used: {fault}");
            loaded
                .damage
                .push(Damage::at(&name, 0, len, what).costing(Cost::Nothing));
            Ok(None)
        }
    }
}

/// Scans the records up to `data_end` and takes the hint built from them.
pub(super) fn build_hint(
    disk: &dyn Disk,
    secret: &[u8; SECRET_LEN],
    keyspaces: &[KeyspaceEntry],
    loaded: &mut Loaded,
    data_end: u64,
) -> Result<()> {
    let bytes = match loaded.listed_sealed {
        true => read_segment(disk, &loaded.name)?.bytes,
        // Its end may be cut off by a living writer while it is read.
        false => read_unmapped(disk, &loaded.name)?.bytes,
    };
    let Hinted {
        bytes: hint,
        summary,
        gaps,
    } = hinting::build(bytes.as_ref(), data_end, &loaded.header, keyspaces, secret);
    if loaded.listed_sealed {
        for (offset, len) in gaps {
            let what = "no record can be read here; what it held is lost";
            loaded
                .damage
                .push(Damage::at(&loaded.name, offset, len, what));
        }
    } else {
        loaded.summary = summary;
    }
    let (_, hint) = Hint::parse_unbound(FileBytes::Read(hint))
        .map_err(|fault| Error::corrupted(&loaded.name, 0, fault))?;
    loaded.hint = Some(hint);
    Ok(())
}

/// Scans a segment that may end anywhere. What counts is the device's copy, not what a failed
/// sync may have left in the cache: so the file is synced and the cache dropped first.
///
/// One that is only read may belong to a living writer, whose cache is the truth. It is read by
/// position, since what is behind its records may be cut off while it is looked at.
fn scan_unsealed(disk: &dyn Disk, loaded: &mut Loaded, only_reads: bool) -> Result<()> {
    let read = if only_reads {
        read_unmapped(disk, &loaded.name)?
    } else {
        let failed = |e| Error::io("sync the segment", &loaded.name, e);
        let file = disk.open(&loaded.name, How::Write).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        file.drop_cache();
        read_segment(disk, &loaded.name)?
    };
    let file_len = read.file.len();
    loaded.file_len = file_len.map_err(|e| Error::io("read the length of", &loaded.name, e))?;
    loaded.unreadable = read.unreadable;
    let bytes = read.bytes.as_ref();
    let footer = footer_of(bytes, &loaded.header);
    loaded.has_footer = footer.is_some();
    let data_end = footer.map_or(loaded.file_len, |footer| footer.summary.data_len);
    let options = ScanOptions { check_values: true };
    for item in Scan::new(bytes, data_end, &loaded.header, options) {
        match item {
            ScanItem::Record {
                offset,
                header,
                value_ok,
                ..
            } => {
                if let Some(mark) = header.fields.mark {
                    loaded.mark_seq = loaded.mark_seq.max(mark.synced_seq);
                    loaded.mark_time_ms = loaded.mark_time_ms.max(mark.time_ms);
                }
                loaded.steps.push(Step::Record {
                    offset,
                    len: header.record_len(),
                    seq: header.fields.seq,
                    batch_follow: header.fields.batch_follow,
                    value_ok,
                });
            }
            ScanItem::Gap { offset, len } => loaded.steps.push(Step::Gap { offset, len }),
            ScanItem::ZeroTail { .. } => {}
        }
    }
    Ok(())
}

/// A file and all its bytes, with zeros where the device cannot read them.
struct ReadFile {
    file: Arc<dyn DiskFile>,
    bytes: FileBytes,
    unreadable: Option<Unreadable>,
}

fn read_segment(disk: &dyn Disk, name: &str) -> Result<ReadFile> {
    let failed = |e| Error::io("read the segment", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let (bytes, unreadable) = FileBytes::patiently(&*file, len).map_err(failed)?;
    Ok(ReadFile {
        file,
        bytes,
        unreadable,
    })
}

/// The same, copied.
fn read_unmapped(disk: &dyn Disk, name: &str) -> Result<ReadFile> {
    let failed = |e| Error::io("read the segment", name, e);
    let file = disk.open(name, How::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let len = usize::try_from(len).map_err(|_| failed(ErrorKind::OutOfMemory.into()))?;
    let (bytes, unreadable) = read_patiently(&*file, 0, len).map_err(failed)?;
    Ok(ReadFile {
        file,
        bytes: FileBytes::Read(bytes),
        unreadable,
    })
}

/// Opens every loaded segment and puts it into the table, with its hint beside it. With
/// `only_reads` what is not listed as sealed may still grow.
pub(super) fn into_table(
    disk: &Arc<dyn Disk>,
    table: &Table,
    loaded: Vec<Loaded>,
    only_reads: bool,
) -> Result<Vec<Opened>> {
    let mut segments = Vec::with_capacity(loaded.len());
    for loaded in loaded {
        if loaded.hint.is_none() && !loaded.by_image {
            continue;
        }
        let file = disk.open(&loaded.name, How::Read);
        let file = file.map_err(|e| Error::io("open the segment", &loaded.name, e))?;
        let data_len = loaded.summary.data_len;
        let is_tail = only_reads && !loaded.listed_sealed;
        let sealed = Sealed {
            summary: loaded.summary,
            file_len: loaded.file_len,
        };
        let segment = table.add(|slot| {
            Segment::new(Parts {
                header: loaded.header,
                slot,
                disk: disk.clone(),
                file,
                map_len: (!is_tail).then_some(data_len),
                written: data_len,
                sealed: (!is_tail).then_some(sealed),
            })
        })?;
        segment
            .hinted
            .store(loaded.hint_from_file, Ordering::Release);
        segment.release_file();
        segments.push((segment, loaded.hint));
    }
    Ok(segments)
}
