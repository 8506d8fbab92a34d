//! One section of a hint file: the rows of one keyspace, which columns they have and how wide.
//!
//! Knows the shape of rows, not what is in them. The bytes are described in docs/format.md,
//! "Hint file".

use crate::segment::cursor::Cursor;
use crate::segment::format::{
    COVERS_LEN, EXPIRY_LEN, HINT_COLUMN_COVERS, HINT_COLUMN_EXPIRY, HINT_COLUMN_KEY, HINT_HASH_LEN,
    HINT_KEY_REF_LEN, HINT_LENGTH_WIDTHS, HINT_OFFSET_LEN, HINT_ROW_LEN_MIN,
    HINT_SECTION_HEADER_LEN, HINT_SEQ_WIDTHS,
};
use crate::segment::location::KeyspaceId;

/// The rows of one keyspace: where they lie and how wide they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HintSection {
    keyspace: KeyspaceId,
    columns: u8,
    seq_width: u8,
    length_width: u8,
    row_len: u8,
    row_count: usize,
    pub(super) rows_at: usize,
    pub(super) heap_at: usize,
    heap_len: usize,
}

// Bounds the memory that a hint file can make its reader allocate by the length of the file.
const _: () = assert!(size_of::<HintSection>() <= HINT_SECTION_HEADER_LEN + HINT_ROW_LEN_MIN);

impl HintSection {
    /// A section of this shape whose place in a file is not known yet.
    pub(crate) fn shaped(
        keyspace: KeyspaceId,
        columns: u8,
        seq_width: usize,
        length_width: usize,
        row_count: usize,
        heap_len: usize,
    ) -> HintSection {
        let column = |flag: u8, len: usize| if columns & flag != 0 { len } else { 0 };
        let row_len = HINT_HASH_LEN
            + size_of::<u8>()
            + seq_width
            + HINT_OFFSET_LEN
            + length_width
            + column(HINT_COLUMN_EXPIRY, EXPIRY_LEN)
            + column(HINT_COLUMN_COVERS, COVERS_LEN)
            + column(HINT_COLUMN_KEY, HINT_KEY_REF_LEN);
        let byte = |len: usize| u8::try_from(len).expect("rows are at most HINT_ROW_LEN_MAX long");
        HintSection {
            keyspace,
            columns,
            seq_width: byte(seq_width),
            length_width: byte(length_width),
            row_len: byte(row_len),
            row_count,
            rows_at: 0,
            heap_at: 0,
            heap_len,
        }
    }

    pub(crate) fn keyspace(&self) -> KeyspaceId {
        self.keyspace
    }

    pub(crate) fn row_count(&self) -> usize {
        self.row_count
    }

    /// The length of all keys together; 0 without key columns.
    pub(crate) fn heap_len(&self) -> usize {
        self.heap_len
    }

    pub(crate) fn has_expiries(&self) -> bool {
        self.columns & HINT_COLUMN_EXPIRY != 0
    }

    pub(crate) fn has_covers(&self) -> bool {
        self.columns & HINT_COLUMN_COVERS != 0
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.columns & HINT_COLUMN_KEY != 0
    }

    pub(crate) fn row_len(&self) -> usize {
        usize::from(self.row_len)
    }

    pub(crate) fn columns(&self) -> u8 {
        self.columns
    }

    pub(crate) fn seq_width(&self) -> usize {
        usize::from(self.seq_width)
    }

    pub(crate) fn length_width(&self) -> usize {
        usize::from(self.length_width)
    }

    pub(crate) fn encoded_len(&self) -> usize {
        HINT_SECTION_HEADER_LEN + self.row_count * self.row_len() + self.heap_len
    }

    /// Reads the header of a section and passes over what it describes. `file_len` is where the
    /// cursor's bytes end.
    pub(super) fn decode(
        cursor: &mut Cursor<'_>,
        file_len: usize,
    ) -> Result<HintSection, &'static str> {
        const SHORT: &str = "a section header is cut short";
        let keyspace = KeyspaceId(cursor.u32().ok_or(SHORT)?);
        let columns = cursor.u8().ok_or(SHORT)?;
        let seq_width = usize::from(cursor.u8().ok_or(SHORT)?);
        let length_width = usize::from(cursor.u8().ok_or(SHORT)?);
        cursor
            .zeros::<1>()
            .ok_or("a reserved byte of a section is set")?;
        let row_count = cursor.u64().ok_or(SHORT)?;
        let heap_len = cursor.u64().ok_or(SHORT)?;
        if columns & !(HINT_COLUMN_EXPIRY | HINT_COLUMN_COVERS | HINT_COLUMN_KEY) != 0 {
            return Err("a section has unknown columns");
        }
        if !HINT_SEQ_WIDTHS.contains(&seq_width) || !HINT_LENGTH_WIDTHS.contains(&length_width) {
            return Err("a section has columns of unknown widths");
        }
        if row_count == 0 {
            return Err("a section has no rows");
        }
        const LONG: &str = "a section is longer than the file";
        let row_count = usize::try_from(row_count).map_err(|_| LONG)?;
        let heap_len = usize::try_from(heap_len).map_err(|_| LONG)?;
        let shape = HintSection::shaped(
            keyspace,
            columns,
            seq_width,
            length_width,
            row_count,
            heap_len,
        );
        if heap_len != 0 && !shape.has_keys() {
            return Err("a section without key columns has keys");
        }
        let rows_at = file_len - cursor.len();
        cursor
            .take(row_count.checked_mul(shape.row_len()).ok_or(LONG)?)
            .ok_or(LONG)?;
        let heap_at = file_len - cursor.len();
        cursor.take(heap_len).ok_or(LONG)?;
        Ok(HintSection {
            rows_at,
            heap_at,
            ..shape
        })
    }
}
