//! The lines of an export, version 1: a head, then one JSON object for each peer. Signed records are base64, other
//! bytes hexadecimal, times milliseconds since the Unix epoch, and what may have several types names its type.
//! Reading trusts nothing.

use data_encoding::BASE64;
use libp2p_core::Multiaddr;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::error::{Error, ErrorKind, Result};
use super::import::{ImportReport, Incoming};
use super::peer::Peer;
use super::peer_data::PeerData;
use super::profile::MetadataValue;
use super::ttl::{Confidence, Source, Ttl};

const FORMAT: &str = "peercask-libp2p-peers";
const VERSION: u64 = 1;

/// The first line.
pub(crate) fn head() -> Value {
    json!({ "format": FORMAT, "version": VERSION })
}

/// Refuses what does not begin as an export does.
pub(crate) fn check_head(line: &[u8]) -> Result<()> {
    let head: Value = serde_json::from_slice(line).unwrap_or_default();
    if head.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(Error::invalid(
            "this is no export of peers: its first line does not say so",
        ));
    }
    if head.get("version").and_then(Value::as_u64) != Some(VERSION) {
        let what = format!("an export of a version that this program does not read: {head}");
        return Err(Error::new(ErrorKind::UnsupportedVersion, what));
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn of_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: &u8| {
        char::from(*digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    digits
        .chunks(2)
        .map(|pair| Some(value(pair.first()?)? << 4 | value(pair.last()?)?))
        .collect()
}

fn ttl_text(ttl: Ttl) -> Value {
    match ttl {
        Ttl::PERMANENT => "permanent".into(),
        Ttl::CONNECTED => "connected".into(),
        finite => finite.millis().into(),
    }
}

fn ttl_of(value: &Value) -> Option<Ttl> {
    match (value.as_str(), value.as_u64()) {
        (Some("permanent"), _) => Some(Ttl::PERMANENT),
        (Some("connected"), _) => Some(Ttl::CONNECTED),
        (_, Some(millis)) => Some(Ttl::from_millis(millis)).filter(|ttl| !ttl.is_pinned()),
        _ => None,
    }
}

/// A peer as an object.
pub(crate) fn object_of(data: &PeerData) -> Map<String, Value> {
    let address = |address: &Address| {
        json!({
            "addr": address.addr.to_string(),
            "ttl_ms": ttl_text(address.ttl),
            "expiry_ms": address.expiry_ms,
            "certified": address.certified,
            "uncertified": address.uncertified,
            "source": address.source.number(),
            "confidence": address.confidence.number(),
            "first_seen_ms": address.first_seen_ms,
            "last_seen_ms": address.last_seen_ms,
            "last_success_ms": address.last_success_ms,
            "last_failure_ms": address.last_failure_ms,
            "half_failures": address.half_failures,
        })
    };
    let metadata = |value: &MetadataValue| match value {
        MetadataValue::Null => json!({ "null": null }),
        MetadataValue::Bool(value) => json!({ "bool": value }),
        MetadataValue::I64(value) => json!({ "i64": value }),
        MetadataValue::U64(value) => json!({ "u64": value }),
        // JSON knows no number that is none.
        MetadataValue::F64(value) => json!({ "f64": hex(&value.to_bits().to_le_bytes()) }),
        MetadataValue::Text(value) => json!({ "text": value }),
        MetadataValue::Bytes(value) => json!({ "bytes": hex(value) }),
    };
    let addresses: Vec<Value> = data.addresses.iter().map(address).collect();
    let entries = data
        .metadata
        .iter()
        .map(|(key, value)| (key.clone(), metadata(value)));
    let tags = data.tags.iter().map(|(name, tag)| {
        (
            name.clone(),
            json!({ "value": tag.value, "expiry_ms": tag.expiry_ms }),
        )
    });
    let all = json!({
        "peer": hex(data.peer.as_bytes()),
        "id": data.peer.to_string(),
        "addresses": addresses,
        "protocols": data.protocols,
        "metadata": entries.collect::<Map<String, Value>>(),
        "tags": tags.collect::<Map<String, Value>>(),
        "public_key": data.public_key.as_deref().map(hex),
        "record": data.record.as_deref().map(|record| BASE64.encode(record)),
        "latency_ns": data.latency_ns,
        "created_ms": data.created_ms,
        "updated_ms": data.updated_ms,
        "last_connected_ms": data.last_connected_ms,
    });
    match all {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

impl PeerData {
    /// The peer as one line of JSON, without line feed: as [`Peerstore::export`](super::Peerstore::export)
    /// writes it, without its private key.
    ///
    /// ```
    /// use peercask_peerstore::libp2p::{Options, Peerstore, Ttl};
    /// # use libp2p_identity::PeerId;
    /// let peers = Peerstore::in_memory(Options::default())?;
    /// # let alice = PeerId::random();
    /// peers.add_protocols(alice, &["/ipfs/kad/1.0.0"])?;
    /// let line = peers.get(alice)?.expect("known").to_json();
    /// assert!(line.contains("\"protocols\":[\"/ipfs/kad/1.0.0\"]"));
    /// # Ok::<(), peercask_peerstore::libp2p::Error>(())
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(object_of(self)).to_string()
    }
}

/// A peer from its line; what of it does not hold is counted.
pub(crate) fn incoming_of(line: &[u8], report: &mut ImportReport) -> Option<(Peer, Incoming)> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let peer = Peer::from_bytes(&of_hex(value.get("peer")?.as_str()?)?).ok()?;
    let bytes = |name: &str| value.get(name).and_then(Value::as_str).and_then(of_hex);
    let list = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let map = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let mut incoming = Incoming {
        public_key: bytes("public_key"),
        private_key: bytes("private_key").map(zeroize::Zeroizing::new),
        record: value
            .get("record")
            .and_then(Value::as_str)
            .and_then(|text| BASE64.decode(text.as_bytes()).ok()),
        latency_ns: value.get("latency_ns").and_then(Value::as_u64),
        ..Incoming::default()
    };
    for value in list("addresses") {
        match address_of(&value) {
            Some(address) => incoming.addresses.push(address),
            None => report.skipped += 1,
        }
    }
    let protocols = list("protocols");
    incoming.protocols = protocols
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    for (key, value) in map("metadata") {
        match metadata_of(&value) {
            Some(value) => drop(incoming.metadata.insert(key, value)),
            None => report.skipped += 1,
        }
    }
    for (name, tag) in map("tags") {
        let value = tag
            .get("value")
            .and_then(Value::as_u64)
            .and_then(|value| u8::try_from(value).ok());
        match value {
            Some(value) => {
                let expiry_ms = tag.get("expiry_ms").and_then(Value::as_u64);
                incoming.tags.insert(name, (value, expiry_ms));
            }
            None => report.skipped += 1,
        }
    }
    Some((peer, incoming))
}

fn address_of(value: &Value) -> Option<Address> {
    let number = |name: &str| value.get(name).and_then(Value::as_u64);
    let small = |name: &str| number(name).and_then(|number| u8::try_from(number).ok());
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    let addr = value.get("addr")?.as_str()?.parse::<Multiaddr>().ok()?;
    let mut address = Address::new(addr, ttl_of(value.get("ttl_ms")?)?, 0);
    if !address.ttl.is_pinned() {
        address.expiry_ms = number("expiry_ms")?;
    }
    address.certified = flag("certified");
    address.uncertified = flag("uncertified");
    address.source = small("source")
        .and_then(Source::of_number)
        .unwrap_or_default();
    address.confidence = small("confidence")
        .and_then(Confidence::of_number)
        .unwrap_or_default();
    address.first_seen_ms = number("first_seen_ms").unwrap_or(0);
    address.last_seen_ms = number("last_seen_ms").unwrap_or(0);
    address.last_success_ms = number("last_success_ms").unwrap_or(0);
    address.last_failure_ms = number("last_failure_ms").unwrap_or(0);
    address.half_failures = small("half_failures").unwrap_or(0);
    Some(address)
}

fn metadata_of(value: &Value) -> Option<MetadataValue> {
    let (kind, value) = value.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "null" => MetadataValue::Null,
        "bool" => value.as_bool()?.into(),
        "i64" => value.as_i64()?.into(),
        "u64" => value.as_u64()?.into(),
        "f64" => {
            let bits = of_hex(value.as_str()?)?.try_into().ok()?;
            f64::from_bits(u64::from_le_bytes(bits)).into()
        }
        "text" => value.as_str()?.into(),
        "bytes" => of_hex(value.as_str()?)?.into(),
        _ => return None,
    })
}
