//! Peer stores of other implementations, read from their keys and values: go's datastore-backed one, js's, and
//! py's. What they do not say is taken as the caller says; what is not known here is counted and skipped.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};
use prost::Message as _;
use zeroize::Zeroizing;

use super::address::{Address, parse_address};
use super::error::Result;
use super::gob::{Gob, decode_gob};
use super::import::{ImportMode, ImportReport, Incoming};
use super::peer::Peer;
use super::peerstore::Peerstore;
use super::profile::MetadataValue;
use super::ttl::{Source, Ttl};

/// How many peers are gathered before they are written. Their entries may lie apart; a peer that comes
/// again later is added to.
const GATHERED_MAX: usize = 4_096;

/// Whose store is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Foreign {
    /// go-libp2p's `pstoreds`, in any datastore. Connected addresses live on for 15 minutes.
    Go,
    /// js-libp2p's peer store, in any datastore.
    Js {
        /// How long an address lives after it was observed: `maxAddressAge`, an hour by default.
        address_age: Duration,
    },
    /// py-libp2p's persistent peer store, in any datastore.
    Py {
        /// The life of all addresses from now on: py does not keep it.
        ttl: Ttl,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct GoRecord {
    #[prost(message, repeated, tag = "2")]
    addrs: Vec<GoAddress>,
    #[prost(message, optional, tag = "3")]
    certified: Option<GoCertified>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GoAddress {
    #[prost(bytes = "vec", tag = "1")]
    addr: Vec<u8>,
    /// Seconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    expiry: i64,
    /// Nanoseconds.
    #[prost(int64, tag = "3")]
    ttl: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GoCertified {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JsPeer {
    #[prost(message, repeated, tag = "1")]
    addresses: Vec<JsAddress>,
    #[prost(string, repeated, tag = "2")]
    protocols: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    envelope: Option<Vec<u8>>,
    #[prost(btree_map = "string, bytes", tag = "6")]
    metadata: BTreeMap<String, Vec<u8>>,
    #[prost(btree_map = "string, message", tag = "7")]
    tags: BTreeMap<String, JsTag>,
    #[prost(uint64, optional, tag = "8")]
    updated: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JsAddress {
    #[prost(bytes = "vec", tag = "1")]
    multiaddr: Vec<u8>,
    #[prost(bool, optional, tag = "2")]
    certified: Option<bool>,
    /// Milliseconds since the Unix epoch.
    #[prost(uint64, optional, tag = "3")]
    observed: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct JsTag {
    #[prost(uint32, tag = "1")]
    value: u32,
    /// Milliseconds since the Unix epoch.
    #[prost(uint64, optional, tag = "2")]
    expiry: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PyAddresses {
    #[prost(bytes = "vec", repeated, tag = "1")]
    addresses: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PyProtocols {
    #[prost(string, repeated, tag = "1")]
    protocols: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PyMetadata {
    #[prost(btree_map = "string, bytes", tag = "1")]
    metadata: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PyLatency {
    #[prost(int64, tag = "1")]
    latency_ns: i64,
}

impl Peerstore {
    /// Reads the keys and values of another implementation's store, in any order; those that are not of
    /// peers are passed over. Peers are added to what is there; every 256 are one atomic change, and
    /// reading the whole again does no harm. Signed records are verified again.
    ///
    /// From py-libp2p's SQLite file, with the feature `sqlite`:
    /// `peers.import_foreign(Foreign::Py { ttl }, SqliteDatastore::open_read_only(path)?.query(b"")?)`.
    /// From a LevelDB directory, with the feature `leveldb`:
    /// `peers.import_foreign(Foreign::Go, LevelDbEntries::open(dir)?)`.
    ///
    /// # Errors
    /// Those of the entries; as [`Peerstore::update`]. What does not hold, or is of a type that is not
    /// known here, is skipped and counted.
    pub fn import_foreign(
        &self,
        whose: Foreign,
        entries: impl IntoIterator<Item = Result<(Bytes, Bytes)>>,
    ) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        let mut peers = BTreeMap::<Peer, Incoming>::new();
        for entry in entries {
            let (key, value) = entry?;
            let now_ms = self.now_ms();
            let taken = match whose {
                Foreign::Go => take_go(&key, &value, &mut peers, now_ms, &mut report),
                Foreign::Js { address_age } => {
                    take_js(&key, &value, &mut peers, address_age, &mut report)
                }
                Foreign::Py { ttl } => take_py(&key, &value, &mut peers, ttl, now_ms, &mut report),
            };
            report.skipped += u64::from(taken.is_none());
            if peers.len() >= GATHERED_MAX {
                let gathered = std::mem::take(&mut peers);
                report.add(&self.take_in(gathered.into_iter().collect(), ImportMode::Merge)?);
            }
        }
        report.add(&self.take_in(peers.into_iter().collect(), ImportMode::Merge)?);
        Ok(report)
    }
}

type Peers = BTreeMap<Peer, Incoming>;

/// An address as it comes; what is none is counted.
fn address(bytes: &[u8], ttl: Ttl, report: &mut ImportReport) -> Option<Address> {
    let Ok(addr) = parse_address(bytes) else {
        report.skipped += 1;
        return None;
    };
    let mut address = Address::new(addr, ttl, 0);
    (address.source, address.uncertified) = (Source::Import, true);
    Some(address)
}

fn take_go(
    key: &[u8],
    value: &[u8],
    peers: &mut Peers,
    now_ms: u64,
    report: &mut ImportReport,
) -> Option<()> {
    let key = std::str::from_utf8(key).ok()?;
    let Some(path) = key.strip_prefix("/peers/") else {
        return Some(());
    };
    let mut parts = path.splitn(3, '/');
    let (kind, name, rest) = (parts.next()?, parts.next()?, parts.next());
    if kind == "gc" {
        return Some(());
    }
    let peer = Peer::from_bytes(&BASE32_NOPAD.decode(name.as_bytes()).ok()?).ok()?;
    match (kind, rest) {
        ("addrs", None) => {
            let record = GoRecord::decode(value).ok()?;
            let incoming = peers.entry(peer).or_default();
            for entry in record.addrs {
                let mut ttl = Ttl::from_go_nanos(entry.ttl);
                let mut expiry_ms = u64::try_from(entry.expiry)
                    .unwrap_or(0)
                    .saturating_mul(1_000);
                if ttl == Ttl::CONNECTED {
                    ttl = Ttl::RECENTLY_CONNECTED;
                    expiry_ms = ttl.expiry(now_ms);
                }
                let Some(mut address) = address(&entry.addr, ttl, report) else {
                    continue;
                };
                if !ttl.is_pinned() {
                    address.expiry_ms = expiry_ms;
                }
                incoming.addresses.push(address);
            }
            incoming.record = record
                .certified
                .map(|record| record.raw)
                .filter(|raw| !raw.is_empty());
        }
        ("keys", Some("pub")) => peers.entry(peer).or_default().public_key = Some(value.to_vec()),
        ("keys", Some("priv")) => {
            peers.entry(peer).or_default().private_key = Some(Zeroizing::new(value.to_vec()));
        }
        ("metadata", Some(key)) => match (key, decode_gob(value)?) {
            ("protocols", Gob::Set(names)) => peers.entry(peer).or_default().protocols = names,
            (key, Gob::Value(value)) => {
                peers
                    .entry(peer)
                    .or_default()
                    .metadata
                    .insert(key.to_owned(), value);
            }
            _ => return None,
        },
        _ => return None,
    }
    Some(())
}

fn take_js(
    key: &[u8],
    value: &[u8],
    peers: &mut Peers,
    age: Duration,
    report: &mut ImportReport,
) -> Option<()> {
    let key = std::str::from_utf8(key).ok()?;
    let Some(name) = key.strip_prefix("/peers/") else {
        return Some(());
    };
    // A CID of version 1 for a libp2p key, in lower-case base32.
    let cid = BASE32_NOPAD_NOCASE
        .decode(name.strip_prefix('b')?.as_bytes())
        .ok()?;
    let peer = Peer::from_bytes(cid.strip_prefix(&[0x01, 0x72])?).ok()?;
    let told = JsPeer::decode(value).ok()?;
    let incoming = peers.entry(peer).or_default();
    let ttl = Ttl::from(age);
    for entry in told.addresses {
        let Some(mut address) = address(&entry.multiaddr, ttl, report) else {
            continue;
        };
        let observed_ms = entry.observed.or(told.updated).unwrap_or(0);
        address.expiry_ms = ttl.expiry(observed_ms);
        (address.first_seen_ms, address.last_seen_ms) = (observed_ms, observed_ms);
        address.certified = entry.certified.unwrap_or(false);
        address.uncertified = !address.certified;
        incoming.addresses.push(address);
    }
    incoming.protocols = told.protocols;
    incoming.public_key = told.public_key;
    incoming.record = told.envelope;
    let metadata = told.metadata.into_iter();
    incoming.metadata = metadata
        .map(|(key, value)| (key, MetadataValue::Bytes(value)))
        .collect();
    for (name, tag) in told.tags {
        let value = u8::try_from(tag.value).unwrap_or(u8::MAX);
        incoming.tags.insert(name, (value, tag.expiry));
    }
    Some(())
}

fn take_py(
    key: &[u8],
    value: &[u8],
    peers: &mut Peers,
    ttl: Ttl,
    now_ms: u64,
    report: &mut ImportReport,
) -> Option<()> {
    let named = |prefix: &[u8]| key.strip_prefix(prefix).map(Peer::from_bytes);
    if let Some(peer) = named(b"addr:") {
        let incoming = peers.entry(peer.ok()?).or_default();
        for bytes in PyAddresses::decode(value).ok()?.addresses {
            if let Some(mut address) = address(&bytes, ttl, report) {
                address.expiry_ms = ttl.expiry(now_ms);
                incoming.addresses.push(address);
            }
        }
    } else if let Some(peer) = named(b"protocol:") {
        peers.entry(peer.ok()?).or_default().protocols = PyProtocols::decode(value).ok()?.protocols;
    } else if let Some(peer) = named(b"metadata:") {
        // py writes every value as text.
        let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) => MetadataValue::Text(text),
            Err(error) => MetadataValue::Bytes(error.into_bytes()),
        };
        let metadata = PyMetadata::decode(value).ok()?.metadata.into_iter();
        let metadata = metadata.map(|(key, value)| (key, text(value)));
        peers.entry(peer.ok()?).or_default().metadata = metadata.collect();
    } else if let Some(peer) = named(b"key:") {
        let mut keys = PyMetadata::decode(value).ok()?.metadata;
        let incoming = peers.entry(peer.ok()?).or_default();
        incoming.public_key = keys.remove("pubkey");
        incoming.private_key = keys.remove("privkey").map(Zeroizing::new);
    } else if let Some(peer) = named(b"latency:") {
        let latency_ns = PyLatency::decode(value).ok()?.latency_ns;
        peers.entry(peer.ok()?).or_default().latency_ns =
            u64::try_from(latency_ns).ok().filter(|ns| *ns > 0);
    }
    // A dummy stands under `peer_record:`, and whatever else is not of a peer.
    Some(())
}
