//! The description of a keyspace as the manifest and every footer hold it.
//!
//! A leaf under both, so that neither needs the other. Knows nothing of the records of a keyspace.
//! The bytes are described in docs/format.md, "Keyspace list".

use crate::options::IndexKind;
use crate::segment::cursor::Cursor;
use crate::segment::format::{
    INDEX_HASH, INDEX_ORDERED, KEYSPACE_ENTRY_LEN_MIN, KEYSPACE_NAME_LEN_MAX, KEYSPACES_MAX,
    put_u16, put_u32, put_u64,
};
use crate::segment::location::KeyspaceId;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyspaceEntry {
    pub(crate) id: KeyspaceId,
    pub(crate) kind: IndexKind,
    /// Lifetime of records written without one of their own; 0 means that they never expire.
    pub(crate) default_ttl_ms: u64,
    pub(crate) created_ms: u64,
    pub(crate) name: String,
}

impl KeyspaceEntry {
    /// Writes a count, then the entries.
    pub(crate) fn encode_list(entries: &[KeyspaceEntry], out: &mut Vec<u8>) {
        assert!(
            entries.len() <= KEYSPACES_MAX,
            "the number of keyspaces is checked when one is created"
        );
        let count = u32::try_from(entries.len()).expect("checked on the line above");
        put_u32(out, count);
        for entry in entries {
            entry.encode(out);
        }
    }

    /// Reads a count and the entries; the answer on failure says what was wrong.
    pub(crate) fn decode_list(cursor: &mut Cursor<'_>) -> Result<Vec<KeyspaceEntry>, &'static str> {
        let count = cursor
            .count(KEYSPACE_ENTRY_LEN_MIN)
            .ok_or("the number of keyspaces exceeds the bytes")?;
        if count > KEYSPACES_MAX {
            return Err("there are more keyspaces than the limit");
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(KeyspaceEntry::decode(cursor)?);
        }
        let mut ids: Vec<KeyspaceId> = entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        if ids.first() == Some(&KeyspaceId(0)) {
            return Err("a keyspace has the id 0");
        }
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err("two keyspaces have the same id");
        }
        Ok(entries)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.name.len() <= KEYSPACE_NAME_LEN_MAX,
            "names are checked when a keyspace is created"
        );
        put_u32(out, self.id.0);
        out.push(match self.kind {
            IndexKind::Hash => INDEX_HASH,
            IndexKind::Ordered => INDEX_ORDERED,
        });
        out.extend_from_slice(&[0; 3]);
        put_u64(out, self.default_ttl_ms);
        put_u64(out, self.created_ms);
        put_u16(
            out,
            u16::try_from(self.name.len()).expect("checked at the top"),
        );
        out.extend_from_slice(self.name.as_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<KeyspaceEntry, &'static str> {
        const SHORT: &str = "a keyspace entry is cut short";
        let id = KeyspaceId(cursor.u32().ok_or(SHORT)?);
        let kind = match cursor.u8().ok_or(SHORT)? {
            INDEX_HASH => IndexKind::Hash,
            INDEX_ORDERED => IndexKind::Ordered,
            _ => return Err("a keyspace has an unknown index kind"),
        };
        cursor
            .zeros::<3>()
            .ok_or("reserved bytes of a keyspace entry are set")?;
        let default_ttl_ms = cursor.u64().ok_or(SHORT)?;
        let created_ms = cursor.u64().ok_or(SHORT)?;
        let name_len = usize::from(cursor.u16().ok_or(SHORT)?);
        if name_len > KEYSPACE_NAME_LEN_MAX {
            return Err("the name of a keyspace is longer than the limit");
        }
        let name = cursor.take(name_len).ok_or(SHORT)?;
        let name = str::from_utf8(name).map_err(|_| "the name of a keyspace is not UTF-8")?;
        Ok(KeyspaceEntry {
            id,
            kind,
            default_ttl_ms,
            created_ms,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::format::tests::hex;

    fn peers() -> KeyspaceEntry {
        KeyspaceEntry {
            id: KeyspaceId(3),
            kind: IndexKind::Ordered,
            default_ttl_ms: 60_000,
            created_ms: 0x0102,
            name: "peers".to_owned(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Vec<KeyspaceEntry>, &'static str> {
        let mut cursor = Cursor::new(bytes);
        let entries = KeyspaceEntry::decode_list(&mut cursor)?;
        if cursor.is_empty() {
            Ok(entries)
        } else {
            Err("left over")
        }
    }

    #[test]
    fn a_list_has_these_bytes() {
        let mut out = Vec::new();
        KeyspaceEntry::encode_list(&[peers()], &mut out);
        assert_eq!(
            hex(&out),
            [
                "01000000",
                "03000000",
                "02",
                "000000",
                "60ea000000000000",
                "0201000000000000",
                "0500",
                "7065657273"
            ]
            .concat()
        );
        assert_eq!(decode(&out), Ok(vec![peers()]));
        for len in 0..out.len() {
            assert!(decode(&out[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_list_that_no_writer_writes_is_refused() {
        let encoded = |entries: &[KeyspaceEntry]| {
            let mut out = Vec::new();
            KeyspaceEntry::encode_list(entries, &mut out);
            out
        };
        let other = KeyspaceEntry {
            id: KeyspaceId(1),
            ..peers()
        };
        assert_eq!(
            decode(&encoded(&[peers(), other.clone()])),
            Ok(vec![peers(), other])
        );
        assert!(
            decode(&encoded(&[peers(), peers()])).is_err(),
            "the same id twice"
        );
        assert!(
            decode(&encoded(&[KeyspaceEntry {
                id: KeyspaceId(0),
                ..peers()
            }]))
            .is_err()
        );
        for (at, value) in [(8, 0), (8, 3), (9, 1), (11, 1), (30, 0xFF)] {
            let mut bytes = encoded(&[peers()]);
            bytes[at] = value;
            assert!(decode(&bytes).is_err(), "byte {at} is {value}");
        }
        let mut many = encoded(&[peers()]);
        many[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&many).is_err(), "a count that the bytes cannot hold");
    }
}
