//! What version 1 wrote: the bytes of every record of the books as they were when it was made, still written so and
//! still read so. A later version that writes otherwise keeps this file and opens it.

use std::sync::Arc;

use peercask_peerstore::libp2p::{
    Datastore as _, Dial, MetadataValue, Options, Peer, PeerData, Peerstore, PrivateKeys, Source,
    Ttl,
};

use crate::slices::Watched;
use crate::support::{NOW_MS, addr, addrs, key, peer, seconds, signed};

/// A key and a value a line, in hexadecimal.
const VERSION_1: &str = include_str!("books_v1.hex");

fn opened(data: &Watched) -> Peerstore {
    let options = Options::default()
        .clock(Arc::new(peercask::ManualClock::new(NOW_MS)))
        .background(false)
        .private_keys(PrivateKeys::Plain);
    Peerstore::with(data.clone(), options).expect("opened")
}

/// Something in every book, and every kind of field.
fn fill(peers: &Peerstore) {
    peers
        .set_local_record(&signed(&key(9), 5, &addrs(0..1)))
        .expect("holds");
    peers
        .consume_record(&signed(&key(1), 3, &addrs(0..2)), Ttl::ADDRESS)
        .expect("holds");
    peers
        .update(peer(1), |peer| {
            peer.add_addrs(&addrs(5..6), Ttl::PERMANENT);
            peer.add_addrs_from(&addrs(6..7), Ttl::from(seconds(77)), Source::Mdns);
            peer.set_protocols(&["/a", "/b"])?;
            for (name, value) in [
                ("null", MetadataValue::Null),
                ("bool", true.into()),
                ("i64", i64::MIN.into()),
                ("u64", u64::MAX.into()),
                ("f64", 1.5.into()),
                ("text", "\u{1f600}\0".into()),
                ("bytes", vec![0_u8, 255].into()),
            ] {
                peer.put_metadata(name, value)?;
            }
            peer.put_metadata_with("soon gone", 1_u64, Ttl::from(seconds(60)))?;
            peer.set_tag("t", 9, Ttl::from(seconds(500)))?;
            peer.set_tag("keep-alive", 1, Ttl::PERMANENT)?;
            peer.record_latency(seconds(1), 0.1);
            peer.record_dial(&addr(5), Dial::Failed);
            peer.record_dial(&addr(6), Dial::Succeeded);
            peer.set_ttl_on_disconnect(Some(Ttl::ADDRESS));
            peer.add_public_key(&key(1).public().encode_protobuf())?;
            peer.add_private_key(&key(1).to_protobuf_encoding().expect("encoded"))
        })
        .expect("filled");
    peers
        .add_addrs(Peer::EMPTY, &addrs(9..10), Ttl::ADDRESS)
        .expect("added");
}

fn entries(data: &Watched) -> Vec<String> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let entries = data.query(b"").expect("readable");
    let lines = entries.map(|entry| {
        let (key, value) = entry.expect("readable");
        format!("{} {}", hex(&key), hex(&value))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

fn all(peers: &Peerstore) -> Vec<PeerData> {
    let mut all: Vec<PeerData> = peers
        .all_peers()
        .filter_map(|who| peers.get(who).expect("readable"))
        .collect();
    all.sort_by_key(|data| data.peer);
    all
}

#[test]
fn version_1_is_written_as_it_was() {
    let data = Watched::default();
    let peers = opened(&data);
    fill(&peers);
    peers.close().expect("closed");
    let lines = entries(&data);
    let expected: Vec<&str> = VERSION_1.lines().collect();
    assert_eq!(lines, expected, "now:\n{}\n", lines.join("\n"));
}

#[test]
fn what_version_1_wrote_is_read() {
    let bytes = |digits: &str| -> Vec<u8> {
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("digits");
        (0..digits.len()).step_by(2).map(pair).collect()
    };
    let data = Watched::default();
    for line in VERSION_1.lines() {
        let (key, value) = line.split_once(' ').expect("two words");
        data.put(&bytes(key), &bytes(value)).expect("put");
    }
    let before = entries(&data);
    let peers = opened(&data);
    assert!(peers.damaged().is_empty(), "{:?}", peers.damaged());
    let now = Watched::default();
    let filled = opened(&now);
    fill(&filled);
    assert_eq!(all(&peers), all(&filled));
    assert_eq!(
        peers.local_record().expect("readable"),
        filled.local_record().expect("readable")
    );
    let private = peers
        .private_key_bytes(peer(1))
        .expect("readable")
        .expect("there");
    assert_eq!(*private, key(1).to_protobuf_encoding().expect("encoded"));
    peers.close().expect("closed");
    assert_eq!(entries(&data), before, "reading changed nothing");
}
