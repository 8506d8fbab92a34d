//! The floor on disk: an append log that only appends, a length header, key and value in one write a
//! record. No checksum, no index, no recovery: what the hardware and the kernel charge anybody.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::floors::Record;

/// Two 32-bit lengths.
const HEADER_LEN: usize = 8;

/// Where a value lies in the log.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: usize,
}

/// Appends all records, with one `write` each to the kernel.
pub(super) fn append_each(path: &Path, records: &[Record]) -> io::Result<Vec<Place>> {
    append(&mut File::create(path)?, records)
}

/// Appends all records through a buffer.
pub(super) fn append_buffered(path: &Path, records: &[Record]) -> io::Result<Vec<Place>> {
    let mut out = BufWriter::with_capacity(256 * 1024, File::create(path)?);
    let places = append(&mut out, records)?;
    out.flush()?;
    Ok(places)
}

fn append(out: &mut impl Write, records: &[Record]) -> io::Result<Vec<Place>> {
    let mut places = Vec::with_capacity(records.len());
    let mut frame = Vec::new();
    let mut offset: u64 = 0;
    for record in records {
        frame.clear();
        frame.extend_from_slice(&len_bytes(&record.key)?);
        frame.extend_from_slice(&len_bytes(&record.value)?);
        frame.extend_from_slice(&record.key);
        frame.extend_from_slice(&record.value);
        out.write_all(&frame)?;
        let value_start = u64_of(HEADER_LEN + record.key.len())?;
        places.push(Place {
            offset: offset + value_start,
            len: record.value.len(),
        });
        offset += u64_of(frame.len())?;
    }
    Ok(places)
}

/// Reads one value into `buffer`.
pub(super) fn read_at(log: &mut File, place: Place, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(place.len, 0);
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(log, buffer, place.offset);
    #[cfg(not(unix))]
    {
        io::Seek::seek(log, io::SeekFrom::Start(place.offset))?;
        log.read_exact(buffer)
    }
}

/// What opening such a log costs: reading it through to learn where everything is.
pub(super) fn scan(path: &Path) -> io::Result<HashMap<Vec<u8>, Place>> {
    let mut log = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let mut index = HashMap::new();
    let mut header = [0; HEADER_LEN];
    let (mut offset, mut value) = (0, Vec::new());
    loop {
        match log.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(index),
            result => result?,
        }
        let [a, b, c, d, e, f, g, h] = header;
        let mut key = vec![0; usize_of(u32::from_le_bytes([a, b, c, d]))?];
        value.resize(usize_of(u32::from_le_bytes([e, f, g, h]))?, 0);
        log.read_exact(&mut key)?;
        log.read_exact(&mut value)?;
        offset += u64_of(HEADER_LEN + key.len())?;
        let place = Place {
            offset,
            len: value.len(),
        };
        offset += u64_of(value.len())?;
        index.insert(key, place);
    }
}

fn len_bytes(bytes: &[u8]) -> io::Result<[u8; 4]> {
    u32::try_from(bytes.len())
        .map(u32::to_le_bytes)
        .map_err(io::Error::other)
}

fn u64_of(len: usize) -> io::Result<u64> {
    u64::try_from(len).map_err(io::Error::other)
}

fn usize_of(len: u32) -> io::Result<usize> {
    usize::try_from(len).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_finds_what_was_appended() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let records: Vec<Record> = (0..100_u8)
            .map(|number| Record {
                key: vec![b'k', number],
                value: vec![number; usize::from(number) * 3],
            })
            .collect();
        for (name, append) in [
            ("each", append_each as fn(&Path, &[Record]) -> _),
            ("buffered", append_buffered),
        ] {
            let path = dir.path().join(name);
            append(&path, &records).expect("the log is written");
            let index = scan(&path).expect("the log is read");
            let mut log = File::open(&path).expect("the log opens");
            let mut buffer = Vec::new();
            for record in &records {
                read_at(&mut log, index[&record.key], &mut buffer).expect("the value is there");
                assert_eq!(buffer, record.value);
            }
        }
    }
}
