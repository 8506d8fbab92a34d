//! A read-only look at a record store's files, without its lock: for tools, and for what a node
//! left behind. What a running node changes meanwhile may show in parts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use peercask::inspect::{self, DumpItem, DumpRecord};

use crate::codec::{Stored, decode_addresses};
use crate::error::Result;

/// A stored record as it lies in the files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The keyspace: `kad.values`, `kad.providers`, and those of own records with a part of the
    /// identity's hash behind.
    pub keyspace: String,
    /// Its number there.
    pub slot: u32,
    /// Its place in the order of all writes.
    pub seq: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// Publisher of a value, provider of a key.
    pub peer: Option<PeerId>,
    /// When it is over, in nanoseconds since the Unix epoch.
    pub deadline_unix_ns: Option<u64>,
    /// The value; of a provider record nothing.
    pub value: Vec<u8>,
    /// The addresses of a provider record.
    pub addresses: Vec<Multiaddr>,
}

/// A stored record whose bytes say nothing to this version.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undecodable {
    /// The keyspace.
    pub keyspace: String,
    /// Its number there; `u32::MAX` if its key is none.
    pub slot: u32,
    /// Its place in the order of all writes.
    pub seq: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a look at all files found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Found {
    /// The newest version of each record, by keyspace and slot; removed ones are left out.
    pub records: Vec<Listed>,
    /// Records whose bytes say nothing.
    pub undecodable: Vec<Undecodable>,
    /// Places whose checksums do not hold: segment and offset.
    pub damaged: Vec<(u64, u64)>,
    /// Bytes of segments in which no record can be read.
    pub gap_bytes: u64,
}

impl Found {
    /// Nothing is damaged, nothing says nothing, and there is no gap.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undecodable.is_empty() && self.damaged.is_empty() && self.gap_bytes == 0
    }

    /// Writes all of it as lines of JSON, one for each record, then one for each record whose bytes
    /// say nothing and for each damaged place. Keys, values and bytes are hexadecimal; `deadline_unix_ns`
    /// and `peer` are `null` where there is none.
    ///
    /// ```text
    /// {"keyspace":"kad.values","slot":3,"seq":17,"key":"1220af","peer":null,"deadline_unix_ns":null,"value":"00ff"}
    /// {"keyspace":"kad.providers","slot":0,"seq":18,"key":"1220af","peer":"12D3","deadline_unix_ns":1,"addresses":["/ip4/10.0.0.1"]}
    /// {"keyspace":"kad.values","slot":4,"seq":19,"undecodable":"07"}
    /// {"segment":2,"offset":4096,"damaged":true}
    /// ```
    ///
    /// # Errors
    /// What `out` says.
    pub fn dump(&self, out: &mut impl Write) -> io::Result<()> {
        for record in &self.records {
            writeln!(out, "{}", record.to_line())?;
        }
        for record in &self.undecodable {
            let Undecodable {
                keyspace,
                slot,
                seq,
                bytes,
            } = record;
            let (keyspace, bytes) = (quoted(keyspace), hex(bytes));
            writeln!(
                out,
                r#"{{"keyspace":{keyspace},"slot":{slot},"seq":{seq},"undecodable":"{bytes}"}}"#
            )?;
        }
        for (segment, offset) in &self.damaged {
            writeln!(
                out,
                r#"{{"segment":{segment},"offset":{offset},"damaged":true}}"#
            )?;
        }
        Ok(())
    }
}

impl Listed {
    fn to_line(&self) -> String {
        let (keyspace, key) = (quoted(&self.keyspace), hex(&self.key));
        let null = || "null".to_owned();
        let peer = self
            .peer
            .map_or_else(null, |peer| quoted(&peer.to_string()));
        let until = self.deadline_unix_ns.map_or_else(null, |ns| ns.to_string());
        let body = if is_of_values(&self.keyspace) {
            format!(r#""value":"{}""#, hex(&self.value))
        } else {
            let addresses = self.addresses.iter();
            let quoted: Vec<String> = addresses.map(|one| quoted(&one.to_string())).collect();
            format!(r#""addresses":[{}]"#, quoted.join(","))
        };
        format!(
            r#"{{"keyspace":{keyspace},"slot":{},"seq":{},"key":"{key}","peer":{peer},"deadline_unix_ns":{until},{body}}}"#,
            self.slot, self.seq
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _never_fails = write!(text, "{byte:02x}");
    }
    text
}

/// As JSON has it: a name in an address may hold anything.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter < ' ' => {
                // Writing to a string cannot fail.
                let _never_fails = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads all records, checks all checksums, and answers with what is current. Memory follows what
/// the store holds.
///
/// # Errors
/// `Engine` if there is no store, or its files cannot be read at all.
pub fn look(dir: impl AsRef<Path>) -> Result<Found> {
    let dir = dir.as_ref();
    let names: HashMap<u32, String> = inspect::manifest(dir)?
        .keyspaces
        .into_iter()
        .filter(|(_, name, ..)| is_of_records(name))
        .map(|(id, name, ..)| (id, name))
        .collect();
    let mut found = Found::default();
    let mut newest: HashMap<(u32, Vec<u8>), DumpRecord> = HashMap::new();
    for segment in inspect::segments(dir)? {
        inspect::dump(dir, segment.id, &mut |item| {
            match item {
                DumpItem::Record(record) => {
                    if !record.value_ok {
                        found.damaged.push((segment.id, record.offset));
                    }
                    if names.contains_key(&record.keyspace_id) {
                        let place = (record.keyspace_id, record.key.clone());
                        let known = newest.get(&place).map_or(0, |known| known.seq);
                        if record.seq >= known {
                            newest.insert(place, record);
                        }
                    }
                }
                DumpItem::Gap { len, .. } => found.gap_bytes += len,
                DumpItem::ZeroTail { .. } | DumpItem::Footer { .. } => {}
            }
            true
        })?;
    }
    for ((id, key), record) in newest {
        if record.kind == "put" && record.value_ok {
            list(&mut found, &names[&id], &key, &record);
        }
    }
    found
        .records
        .sort_by(|a, b| (&a.keyspace, a.slot).cmp(&(&b.keyspace, b.slot)));
    found
        .undecodable
        .sort_by(|a, b| (&a.keyspace, a.slot, a.seq).cmp(&(&b.keyspace, b.slot, b.seq)));
    Ok(found)
}

/// Of the keyspaces of records, those that hold values and not provides.
fn is_of_values(name: &str) -> bool {
    name.contains("values")
}

/// Keyspaces whose entries are records, not notes.
fn is_of_records(name: &str) -> bool {
    [
        "kad.values",
        "kad.own-values.",
        "kad.providers",
        "kad.own-provides.",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

fn list(found: &mut Found, keyspace: &str, key: &[u8], record: &DumpRecord) {
    let slot = key.try_into().map_or(u32::MAX, u32::from_le_bytes);
    let value_at = usize::try_from(record.len - record.value_len).unwrap_or(usize::MAX);
    let bytes = record.raw.get(value_at..).unwrap_or_default();
    let listed = Stored::decode(bytes).and_then(|stored| {
        let is_value = is_of_values(keyspace);
        Some(Listed {
            keyspace: keyspace.to_owned(),
            slot,
            seq: record.seq,
            key: stored.key.to_vec(),
            peer: stored.peer_id().ok()?,
            deadline_unix_ns: stored.life.map(|life| life.deadline_unix_ns),
            value: if is_value {
                stored.body.to_vec()
            } else {
                Vec::new()
            },
            addresses: if is_value {
                Vec::new()
            } else {
                decode_addresses(stored.body)?
            },
        })
    });
    match listed {
        Some(listed) => found.records.push(listed),
        None => found.undecodable.push(Undecodable {
            keyspace: keyspace.to_owned(),
            slot,
            seq: record.seq,
            bytes: bytes.to_vec(),
        }),
    }
}
