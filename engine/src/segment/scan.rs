//! The walk over the bytes of a segment: each record at its place, and past damage the next record
//! that holds.
//!
//! Pure: knows no file, no store and no repair; it only tells what lies where. What a reader makes
//! of a gap is written in docs/format.md, "Damage" and "After an unclean stop".

use crate::segment::format::{RECORD_HEADER_LEN_MIN, RECORDS_START, SEGMENT_BYTES_MAX, wide};
use crate::segment::header::{SegmentHeader, SegmentKind};
use crate::segment::record::{self, Place, RecordFault, RecordHeader};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ScanOptions {
    /// Verify each value too; costs a pass over all bytes.
    pub(crate) check_values: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScanItem<'a> {
    Record {
        offset: u64,
        header: RecordHeader,
        /// Header, key and value.
        record: &'a [u8],
        /// False if the value, and it alone, is damaged; true unchecked when values are not
        /// checked.
        value_ok: bool,
    },
    /// Bytes in which no record could be found.
    Gap { offset: u64, len: u64 },
    /// From here on there are only zeros.
    ZeroTail { offset: u64 },
}

/// Iterates over a segment; the items lie back to back from the start of the scan to its end.
pub(crate) struct Scan<'a> {
    /// The file from its first byte to the end of its data.
    bytes: &'a [u8],
    at: usize,
    place: Place,
    /// In a user segment seqs have no gaps; that is held against what is found.
    user: bool,
    last_seq: Option<u64>,
    check_values: bool,
    /// Found behind the gap that was answered last.
    pending: Option<Found<'a>>,
}

#[derive(Clone, Copy)]
struct Found<'a> {
    at: usize,
    header: RecordHeader,
    record: &'a [u8],
    value_ok: bool,
}

impl<'a> Scan<'a> {
    /// Scans from the first record on; `bytes` are the file from offset 0, of which the records end
    /// at `data_end`.
    pub(crate) fn new(
        bytes: &'a [u8],
        data_end: u64,
        header: &SegmentHeader,
        options: ScanOptions,
    ) -> Scan<'a> {
        Scan::resume(bytes, data_end, header, options, wide(RECORDS_START), None)
    }

    /// Scans on from `offset`, where a record starts, after one with `last_seq`.
    pub(crate) fn resume(
        bytes: &'a [u8],
        data_end: u64,
        header: &SegmentHeader,
        options: ScanOptions,
        offset: u64,
        last_seq: Option<u64>,
    ) -> Scan<'a> {
        let end = usize::try_from(data_end)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        Scan {
            bytes: bytes.get(..end).unwrap_or_default(),
            at: usize::try_from(offset).unwrap_or(usize::MAX).min(end),
            place: header.place(),
            user: header.kind == SegmentKind::User,
            last_seq,
            check_values: options.check_values,
            pending: None,
        }
    }

    fn rest(&self, at: usize) -> &'a [u8] {
        self.bytes.get(at..).unwrap_or_default()
    }

    /// The record that starts where the last one ended.
    fn expected(&self) -> Result<Found<'a>, RecordFault> {
        if wide(self.at) > SEGMENT_BYTES_MAX {
            return Err(RecordFault::Damaged);
        }
        let rest = self.rest(self.at);
        let header = record::decode(rest, self.place, wide(self.at))?;
        let seq = header.fields.seq;
        let follows = self
            .last_seq
            .is_none_or(|last| last.checked_add(1) == Some(seq));
        if self.user && !follows {
            return Err(RecordFault::Damaged);
        }
        let record = whole(rest, &header);
        let value_ok =
            !self.check_values || record::value_holds(record, &header, self.place, wide(self.at));
        Ok(Found {
            at: self.at,
            header,
            record,
            value_ok,
        })
    }

    /// The first record behind `self.at` that can be told from chance: both its checksums hold, and
    /// in a user segment its seq is one that the skipped bytes leave room for.
    fn search(&self) -> Option<Found<'a>> {
        let first = self.at + 1;
        self.rest(first)
            .windows(RECORD_HEADER_LEN_MIN)
            .zip(first..)
            .take_while(|(_, at)| wide(*at) <= SEGMENT_BYTES_MAX)
            .filter(|(start, _)| record::may_start(start))
            .find_map(|(_, at)| self.candidate(at))
    }

    fn candidate(&self, at: usize) -> Option<Found<'a>> {
        let rest = self.rest(at);
        let available = wide(rest.len());
        let parsed = record::parse(rest, available, self.place).ok()?;
        // The cheap questions come first: nearly every byte fails one of them, so few checksums are
        // spent.
        if !parsed.acceptable(available)
            || !self.seq_is_near(parsed.header.fields.seq, at - self.at)
        {
            return None;
        }
        if !record::header_holds(rest, &parsed.header, self.place, wide(at)) {
            return None;
        }
        let header = parsed.accept(available).ok()?;
        let record = whole(rest, &header);
        record::value_holds(record, &header, self.place, wide(at)).then_some(Found {
            at,
            header,
            record,
            value_ok: true,
        })
    }

    /// Whether a record with this seq can follow after `skipped` bytes, which held at most so many
    /// of the shortest.
    fn seq_is_near(&self, seq: u64, skipped: usize) -> bool {
        if !self.user {
            return true;
        }
        let next = match self.last_seq {
            Some(last) => last.checked_add(1),
            None => Some(self.place.base_seq),
        };
        next.and_then(|next| seq.checked_sub(next))
            .is_some_and(|ahead| ahead <= wide(skipped / RECORD_HEADER_LEN_MIN))
    }

    fn pass(&mut self, found: Found<'a>) -> ScanItem<'a> {
        self.at = found.at + found.record.len();
        self.last_seq = Some(found.header.fields.seq);
        ScanItem::Record {
            offset: wide(found.at),
            header: found.header,
            record: found.record,
            value_ok: found.value_ok,
        }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = ScanItem<'a>;

    fn next(&mut self) -> Option<ScanItem<'a>> {
        if let Some(found) = self.pending.take() {
            return Some(self.pass(found));
        }
        let rest = self.rest(self.at);
        if rest.is_empty() {
            return None;
        }
        if let Ok(found) = self.expected() {
            return Some(self.pass(found));
        }
        let start = self.at;
        if record::is_all_zero(rest) {
            self.at = self.bytes.len();
            return Some(ScanItem::ZeroTail {
                offset: wide(start),
            });
        }
        self.pending = self.search();
        self.at = self.pending.map_or(self.bytes.len(), |found| found.at);
        Some(ScanItem::Gap {
            offset: wide(start),
            len: wide(self.at - start),
        })
    }
}

/// The bytes of a record that is known to fit.
fn whole<'a>(rest: &'a [u8], header: &RecordHeader) -> &'a [u8] {
    rest.get(..header.value_range().end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fuzz;
    use crate::segment::header::Summary;
    use crate::segment::header::tests::example_header;
    use crate::segment::record::encode;
    use crate::segment::record::tests::plain;

    const CHECKED: ScanOptions = ScanOptions { check_values: true };

    /// A segment with records of these seqs, each with its key and a value; and where each starts.
    fn segment(header: &SegmentHeader, seqs: &[u64]) -> (Vec<u8>, Vec<usize>) {
        let mut file = header.encode_file_start().to_vec();
        let mut starts = Vec::new();
        let mut summary = Summary::empty();
        for seq in seqs {
            let at = summary.data_len;
            starts.push(file.len());
            let key = format!("key-{seq}");
            let value = format!("the value of {seq}");
            let fields = plain(*seq);
            summary.add(&encode(
                &mut file,
                header.place(),
                at,
                &fields,
                key.as_bytes(),
                value.as_bytes(),
            ));
        }
        (file, starts)
    }

    fn merged() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Merged,
            prior_seq: 0,
            ..example_header()
        }
    }

    /// A scan in short: `1000` a record, `-1000` one with a damaged value, `gap 3` and `zeros`.
    fn story(file: &[u8], header: &SegmentHeader) -> Vec<String> {
        Scan::new(file, wide(file.len()), header, CHECKED)
            .map(|item| match item {
                ScanItem::Record {
                    header,
                    value_ok: true,
                    ..
                } => header.fields.seq.to_string(),
                ScanItem::Record { header, .. } => format!("-{}", header.fields.seq),
                ScanItem::Gap { len, .. } => format!("gap {len}"),
                ScanItem::ZeroTail { .. } => "zeros".to_owned(),
            })
            .collect()
    }

    #[test]
    fn a_whole_segment_is_walked_record_by_record() {
        let (file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        assert_eq!(story(&file, &example_header()), ["1000", "1001", "1002"]);
        let mut ends = starts.into_iter().skip(1).chain([file.len()]);
        for item in Scan::new(&file, wide(file.len()), &example_header(), CHECKED) {
            let ScanItem::Record {
                offset,
                header,
                record,
                ..
            } = item
            else {
                panic!("only records")
            };
            assert_eq!(
                Some(usize::try_from(offset).expect("small") + record.len()),
                ends.next()
            );
            assert_eq!(
                header.key(record),
                format!("key-{}", header.fields.seq).as_bytes()
            );
        }
        assert_eq!(story(&file[..RECORDS_START], &example_header()), [""; 0]);
        assert_eq!(story(&[], &example_header()), [""; 0]);
    }

    #[test]
    fn the_scan_ends_where_the_data_ends_and_resumes_where_it_is_told() {
        let (mut file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        let data_end = wide(file.len());
        file.extend_from_slice(b"a footer, say");
        let seqs = |scan: Scan<'_>| -> Vec<u64> {
            scan.map(|item| match item {
                ScanItem::Record { header, .. } => header.fields.seq,
                _ => 0,
            })
            .collect()
        };
        assert_eq!(
            seqs(Scan::new(&file, data_end, &example_header(), CHECKED)),
            [1000, 1001, 1002]
        );
        let resume = |at: usize, last| {
            seqs(Scan::resume(
                &file,
                data_end,
                &example_header(),
                CHECKED,
                wide(at),
                last,
            ))
        };
        assert_eq!(resume(starts[1], Some(1000)), [1001, 1002]);
        assert_eq!(resume(starts[1], None), [1001, 1002]);
        assert_eq!(resume(file.len() + 5, None), [0; 0]);
    }

    #[test]
    fn a_gap_in_the_middle_costs_only_the_records_it_hit() {
        let (file, starts) = segment(&example_header(), &[1000, 1001, 1002, 1003]);
        let mut bad = file.clone();
        bad[starts[1]] ^= 1;
        let lost = starts[2] - starts[1];
        let gap = format!("gap {lost}");
        assert_eq!(
            story(&bad, &example_header()),
            ["1000", &gap, "1002", "1003"]
        );
        assert_eq!(story(&bad, &merged()), ["1000", &gap, "1002", "1003"]);

        bad[starts[2] - 5..starts[2] + 5].fill(0xFF);
        let gap = format!("gap {}", starts[3] - starts[1]);
        assert_eq!(story(&bad, &example_header()), ["1000", &gap, "1003"]);

        let mut first = file.clone();
        first[starts[0] + 4] ^= 0x40;
        let gap = format!("gap {}", starts[1] - starts[0]);
        assert_eq!(
            story(&first, &example_header()),
            [&gap, "1001", "1002", "1003"]
        );
    }

    #[test]
    fn a_damaged_value_is_told_and_the_scan_goes_on_behind_it() {
        let (mut file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        file[starts[2] - 1] ^= 0x80;
        assert_eq!(story(&file, &example_header()), ["1000", "-1001", "1002"]);
        let unchecked = ScanOptions {
            check_values: false,
        };
        for item in Scan::new(&file, wide(file.len()), &example_header(), unchecked) {
            assert!(matches!(item, ScanItem::Record { value_ok: true, .. }));
        }
    }

    #[test]
    fn zeros_to_the_end_are_a_tail_and_zeros_before_records_are_a_gap() {
        let (file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        for zeros in [1, 5, 11, 4096] {
            let tail = [file.clone(), vec![0; zeros]].concat();
            assert_eq!(
                story(&tail, &example_header()),
                ["1000", "1001", "1002", "zeros"]
            );
        }
        let mut hole = file.clone();
        hole[starts[1]..starts[2]].fill(0);
        let gap = format!("gap {}", starts[2] - starts[1]);
        assert_eq!(story(&hole, &example_header()), ["1000", &gap, "1002"]);
    }

    #[test]
    fn a_tail_torn_at_any_byte_is_a_gap() {
        let (file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        for end in starts[2] + 1..file.len() {
            let gap = format!("gap {}", end - starts[2]);
            assert_eq!(
                story(&file[..end], &example_header()),
                ["1000", "1001", &gap],
                "cut at {end}"
            );
            // The same, with space that was reserved behind it. The value may be all that is
            // missing.
            let mut reserved = file.clone();
            reserved[end..].fill(0);
            reserved.resize(file.len() + 100, 0);
            let told = story(&reserved, &example_header());
            assert_eq!(told[..2], ["1000", "1001"]);
            assert!(
                ["zeros", "-1002"].contains(&told[2].as_str()) || told[2].starts_with("gap"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn a_whole_stale_record_of_another_salt_is_no_record() {
        let header = example_header();
        let (mut file, starts) = segment(&header, &[1000, 1001, 1002]);
        let stale = SegmentHeader {
            salt: header.salt ^ 0xDEAD_BEEF_0000_0001,
            ..header.clone()
        };
        let (other, _) = segment(&stale, &[1000, 1001, 1002]);
        file[starts[2]..].copy_from_slice(&other[starts[2]..]);
        let gap = format!("gap {}", file.len() - starts[2]);
        assert_eq!(story(&file, &header), ["1000", "1001", &gap]);
        assert_eq!(
            story(
                &file,
                &SegmentHeader {
                    kind: SegmentKind::Merged,
                    ..header
                }
            ),
            ["1000", "1001", &gap]
        );
    }

    #[test]
    fn records_of_another_offset_are_no_records() {
        let (file, starts) = segment(&example_header(), &[1000, 1001, 1002]);
        let mut moved = file[..starts[1]].to_vec();
        moved.extend_from_slice(b"???");
        moved.extend_from_slice(&file[starts[1]..]);
        let gap = format!("gap {}", moved.len() - starts[1]);
        assert_eq!(story(&moved, &example_header()), ["1000", &gap]);
    }

    #[test]
    fn a_seq_out_of_turn_ends_what_is_known_of_a_user_segment_but_not_of_a_merge_output() {
        let seqs = [1000, 1001, 1001, 1003];
        let (file, starts) = segment(&example_header(), &seqs);
        // The third is no successor; the fourth may follow it, as one record may lie in between.
        let gap = format!("gap {}", starts[3] - starts[2]);
        assert_eq!(
            story(&file, &example_header()),
            ["1000", "1001", &gap, "1003"]
        );
        assert_eq!(story(&file, &merged()), ["1000", "1001", "1001", "1003"]);

        let (file, starts) = segment(&example_header(), &[1000, 1100, 1101]);
        let gap = format!("gap {}", file.len() - starts[1]);
        assert_eq!(
            story(&file, &example_header()),
            ["1000", &gap],
            "too few bytes for what is missing"
        );
        let (backward, _) = segment(&merged(), &[1100, 1000, 1050]);
        assert_eq!(story(&backward, &merged()), ["1100", "1000", "1050"]);
    }

    #[test]
    fn every_flipped_bit_costs_one_record_at_most_and_never_shows_a_wrong_one() {
        for header in [example_header(), merged()] {
            let (file, starts) = segment(&header, &[1000, 1001, 1002]);
            for bit in RECORDS_START * 8..file.len() * 8 {
                let mut bad = file.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let mut whole = 0;
                for item in Scan::new(&bad, wide(bad.len()), &header, CHECKED) {
                    if let ScanItem::Record {
                        offset,
                        record,
                        value_ok: true,
                        ..
                    } = item
                    {
                        let at = usize::try_from(offset).expect("small");
                        assert!(
                            starts.contains(&at),
                            "bit {bit}: a record where none was written"
                        );
                        assert_eq!(record, &file[at..at + record.len()], "bit {bit}");
                        whole += 1;
                    }
                }
                assert_eq!(whole, 2, "bit {bit}");
            }
        }
    }

    #[test]
    fn arbitrary_and_damaged_segments_never_panic_or_mislead() {
        fuzz::seeded(2_000, 400, fuzz::fuzz_segment);
    }
}
