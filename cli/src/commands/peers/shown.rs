//! Peers as text: one a line, and one in full. What peers say of themselves comes from strangers, and is
//! printed so that it harms no terminal.

use peercask_peerstore::libp2p::{Address, MetadataValue, PeerData, Ttl};

use crate::human::printable;
use crate::units::counted;

/// One line of a list.
pub(super) fn line(peer: &PeerData, now_ms: u64) -> String {
    let best = peer.addresses.first();
    let best = best.map_or_else(|| "-".to_owned(), |address| address.addr.to_string());
    let contact = match last_contact_ms(peer) {
        0 => "never reached".to_owned(),
        at_ms => format!("reached {}", ago(at_ms, now_ms)),
    };
    let (addresses, protocols) = (peer.addresses.len() as u64, peer.protocols.len() as u64);
    let addresses = match addresses {
        1 => "1 address".to_owned(),
        many => format!("{} addresses", crate::units::count(many)),
    };
    let protocols = counted(protocols, "protocol");
    format!("{}\t{best}\t{addresses}\t{protocols}\t{contact}", peer.peer)
}

/// When it was last connected or dialled with success; 0 for never.
fn last_contact_ms(peer: &PeerData) -> u64 {
    let dials = peer.addresses.iter().map(|address| address.last_success_ms);
    dials.chain([peer.last_connected_ms]).max().unwrap_or(0)
}

/// Everything of a peer, as lines.
pub(super) fn whole(peer: &PeerData, now_ms: u64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<13} {value}"));
    row("peer", peer.peer.to_string());
    row("first heard", ago(peer.created_ms, now_ms));
    row("changed", ago(peer.updated_ms, now_ms));
    row(
        "reached",
        match last_contact_ms(peer) {
            0 => "never".to_owned(),
            at_ms => ago(at_ms, now_ms),
        },
    );
    if let Some(latency_ns) = peer.latency_ns {
        let latency = std::time::Duration::from_nanos(latency_ns);
        row("latency", crate::units::duration(latency));
    }
    if let (Some(record), seq) = (&peer.record, peer.record_seq.unwrap_or(0)) {
        row(
            "signed record",
            format!("seq {seq}, {} bytes", record.len()),
        );
    }
    if let Some(key) = &peer.public_key {
        row("public key", hex::encode(key));
    }
    if peer.has_private_key {
        row("private key", "stored".to_owned());
    }
    for address in &peer.addresses {
        row("address", address_line(address, now_ms));
    }
    for protocol in &peer.protocols {
        row("protocol", printable(protocol.as_bytes()));
    }
    for (key, value) in &peer.metadata {
        let key = printable(key.as_bytes());
        row("metadata", format!("{key} = {}", value_text(value)));
    }
    for (name, tag) in &peer.tags {
        let end = match tag.expiry_ms {
            None => "for ever".to_owned(),
            Some(at_ms) => format!("for {}", span(at_ms.saturating_sub(now_ms))),
        };
        let name = printable(name.as_bytes());
        row("tag", format!("{name} = {}, {end}", tag.value));
    }
    lines
}

fn address_line(address: &Address, now_ms: u64) -> String {
    let mut line = address.addr.to_string();
    line.push_str(&match address.ttl {
        Ttl::PERMANENT => ", permanent".to_owned(),
        Ttl::CONNECTED => ", connected".to_owned(),
        _ => format!(", for {}", span(address.expiry_ms.saturating_sub(now_ms))),
    });
    let source = format!("{:?}", address.source).to_lowercase();
    line.push_str(&format!(", from {source}"));
    if address.certified {
        line.push_str(", signed");
    }
    if address.last_success_ms != 0 {
        line.push_str(&format!(
            ", reached {}",
            ago(address.last_success_ms, now_ms)
        ));
    }
    if address.half_failures > 0 {
        let failures = u64::from(address.half_failures.div_ceil(2));
        line.push_str(&format!(", {}", counted(failures, "failure")));
    }
    line
}

fn value_text(value: &MetadataValue) -> String {
    match value {
        MetadataValue::Text(text) => printable(text.as_bytes()),
        MetadataValue::Bytes(bytes) => format!("0x{}", hex::encode(bytes)),
        plain => format!("{plain:?}"),
    }
}

fn ago(at_ms: u64, now_ms: u64) -> String {
    format!("{} ago", span(now_ms.saturating_sub(at_ms)))
}

/// A length of time, in its greatest unit.
fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => "moments".to_owned(),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
