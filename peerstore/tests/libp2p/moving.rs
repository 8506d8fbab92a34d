//! Export and import: our own lines, plain addresses, and the stores of go, js and py.

use std::time::Duration;

use bytes::Bytes;
use peercask_peerstore::libp2p::{
    Acknowledge, Batch, Datastore, Dial, ErrorKind, ExportOptions, Foreign, ImportMode,
    MemoryDatastore, MetadataValue, Options, Peer, PeerData, Peerstore, PrivateKeys, Source, Ttl,
};

use crate::common::seeds;
use crate::support::varint;
use crate::support::{
    Backend, Place, addr, addrs, assert_addrs, each_backend, field, key, peer, seconds, signed,
};

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// A store with something in every book.
fn fill(peers: &Peerstore) {
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
                ("f64", f64::NAN.into()),
                ("text", "\u{1f600}\0".into()),
                ("bytes", vec![0_u8, 255].into()),
            ] {
                peer.put_metadata(name, value)?;
            }
            peer.set_tag("t", 9, Ttl::from(seconds(500)))?;
            peer.set_tag("keep-alive", 1, Ttl::PERMANENT)?;
            peer.record_latency(seconds(1), 0.1);
            peer.record_dial(&addr(5), Dial::Failed);
            peer.add_public_key(&key(1).public().encode_protobuf())
        })
        .expect("filled");
    peers
        .add_addrs(Peer::EMPTY, &addrs(9..10), Ttl::ADDRESS)
        .expect("added");
}

fn lines(peers: &Peerstore, options: ExportOptions) -> Vec<u8> {
    let mut lines = Vec::new();
    peers.export(&mut lines, options).expect("written");
    lines
}

/// Without the times at which the copy was made.
fn plain(peers: &Peerstore, who: Peer) -> Option<PeerData> {
    let mut data = peers.get(who).expect("readable")?;
    (data.created_ms, data.updated_ms) = (0, 0);
    Some(data)
}

each_backend! {
    fn what_is_written_out_and_read_in_is_the_same(backend) {
        let from = Place::new(backend);
        fill(from.peers());
        let text = lines(from.peers(), ExportOptions::default());
        let to = Place::new(backend);
        // What was when is not what is when it is read.
        to.sleep(seconds(5));
        for _ in 0..2 {
            let report = to.peers().import(&text[..], ImportMode::Merge).expect("read");
            assert_eq!((report.peers, report.records, report.keys), (2, 1, 1));
            assert_eq!((report.addresses, report.skipped, report.expired), (5, 0, 0));
            for who in [peer(1), Peer::EMPTY] {
                assert_eq!(plain(to.peers(), who), plain(from.peers(), who));
            }
        }
    }

    fn what_expired_on_the_way_is_left_out(backend) {
        let from = Place::new(backend);
        fill(from.peers());
        let text = lines(from.peers(), ExportOptions::default());
        let to = Place::new(backend);
        to.sleep(seconds(500));
        let report = to.peers().import(&text[..], ImportMode::Merge).expect("read");
        assert_eq!(report.expired, 1);
        assert_addrs(to.peers(), peer(1), &[addr(0), addr(1), addr(5)]);
        assert_eq!(to.peers().tags(peer(1)).expect("readable").len(), 1);
        to.sleep(seconds(3_100));
        assert_addrs(to.peers(), peer(1), &addrs(5..6));
    }

    fn merging_follows_the_rules_of_adding_and_replacing_takes_the_place(backend) {
        let from = Place::new(backend);
        from.peers().add_addrs(peer(1), &addrs(0..1), Ttl::from(seconds(100))).expect("added");
        from.peers().set_protocols(peer(1), &["/from"]).expect("set");
        let text = lines(from.peers(), ExportOptions::default());
        let to = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        to.peers().add_addrs(peer(1), &addrs(0..2), Ttl::from(seconds(1_000))).expect("added");
        to.peers().set_protocols(peer(1), &["/to"]).expect("set");
        to.peers().add_private_key(peer(1), &key(1)).expect("added");
        to.peers().import(&text[..], ImportMode::Merge).expect("read");
        let found = to.peers().get(peer(1)).expect("readable").expect("known");
        assert_eq!((found.addresses.len(), found.protocols.len()), (2, 2));
        assert!(found.addresses.iter().all(|a| a.ttl == Ttl::from(seconds(1_000))));
        to.peers().import(&text[..], ImportMode::Replace).expect("read");
        let found = to.peers().get(peer(1)).expect("readable").expect("known");
        assert_eq!((found.addresses.len(), found.protocols.len()), (1, 1));
        assert_eq!(found.addresses[0].ttl, Ttl::from(seconds(100)));
        assert!(found.has_private_key, "what does not come does not take its place");
    }

    fn from_one_store_into_another_through_the_calls_alone(backend) {
        let from = Place::new(Backend::Memory);
        fill(from.peers());
        let to = Place::new(backend);
        for who in from.peers().all_peers() {
            let data = from.peers().get(who).expect("readable").expect("known");
            to.peers().update(who, |peer| {
                data.addresses.iter().for_each(|a| peer.add_addrs(std::slice::from_ref(&a.addr), a.ttl));
                let protocols: Vec<&String> = data.protocols.iter().collect();
                peer.set_protocols(&protocols)?;
                data.metadata.iter().try_for_each(|(key, value)| peer.put_metadata(key, value.clone()))
            }).expect("changed");
            let copy = to.peers().get(who).expect("readable").expect("known");
            assert_eq!((copy.protocols, copy.metadata), (data.protocols, data.metadata));
            assert_eq!(copy.addresses.len(), data.addresses.len());
        }
    }
}

#[test]
fn private_keys_are_written_only_if_asked_for() {
    let options = || Options::default().private_keys(PrivateKeys::Plain);
    let from = Place::with(Backend::Memory, options());
    from.peers()
        .add_private_key(peer(1), &key(1))
        .expect("added");
    let secret = "01".repeat(32);
    let text = lines(from.peers(), ExportOptions::default());
    assert!(!String::from_utf8(text).expect("text").contains(&secret));
    let text = lines(from.peers(), ExportOptions { private_keys: true });
    assert!(
        String::from_utf8(text.clone())
            .expect("text")
            .contains(&secret)
    );
    let to = Place::with(Backend::Memory, options());
    assert_eq!(
        to.peers()
            .import(&text[..], ImportMode::Merge)
            .expect("read")
            .keys,
        1
    );
    assert!(to.peers().private_key(peer(1)).expect("readable").is_some());
    let refusing = Place::new(Backend::Memory);
    assert_eq!(
        refusing
            .peers()
            .import(&text[..], ImportMode::Merge)
            .expect("read")
            .keys,
        0
    );
}

#[test]
fn lines_that_do_not_hold_are_counted_and_no_bytes_make_it_panic() {
    let from = Place::new(Backend::Memory);
    fill(from.peers());
    let good = lines(from.peers(), ExportOptions::default());
    for (head, kind) in [
        ("", ErrorKind::InvalidArgument),
        ("{\"format\":\"other\"}\n", ErrorKind::InvalidArgument),
        (
            "{\"format\":\"peercask-libp2p-peers\",\"version\":2}\n",
            ErrorKind::UnsupportedVersion,
        ),
    ] {
        let refused = from
            .peers()
            .import(head.as_bytes(), ImportMode::Merge)
            .expect_err("no export");
        assert_eq!(refused.kind(), kind);
    }
    let mut bad = good.clone();
    bad.extend_from_slice(b"no json\n{}\n{\"peer\":\"0\"}\n[1]\n");
    let to = Place::new(Backend::Memory);
    let report = to
        .peers()
        .import(&bad[..], ImportMode::Merge)
        .expect("read");
    assert_eq!((report.peers, report.skipped), (2, 4));
    for seed in seeds(200) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..10) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let to = Place::new(Backend::Memory);
        let _ = to.peers().import(&bytes[..], ImportMode::Merge);
        for who in to.peers().all_peers() {
            let found = to.peers().get(who).expect("readable").expect("known");
            assert!(
                found
                    .addresses
                    .iter()
                    .all(|a| !a.certified || found.record.is_some()),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_record_that_was_changed_in_the_file_is_not_taken() {
    let from = Place::new(Backend::Memory);
    fill(from.peers());
    let text = String::from_utf8(lines(from.peers(), ExportOptions::default())).expect("text");
    let record = from
        .peers()
        .record(peer(1))
        .expect("readable")
        .expect("there");
    let mut forged = record.to_vec();
    *forged.last_mut().expect("not empty") ^= 1;
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    let changed = text.replace(&base64(&record), &base64(&forged));
    assert_ne!(text, changed, "records stand there in base64");
    let to = Place::new(Backend::Memory);
    let report = to
        .peers()
        .import(changed.as_bytes(), ImportMode::Merge)
        .expect("read");
    assert_eq!((report.records, report.skipped), (0, 1));
    let found = to.peers().addresses(peer(1)).expect("readable");
    assert!(found.len() == 4 && found.iter().all(|a| !a.certified));
}

#[test]
fn plain_addresses_go_out_and_in() {
    let from = Place::new(Backend::Memory);
    for number in 1..4 {
        from.peers()
            .add_addrs(peer(number), &addrs(0..2), Ttl::ADDRESS)
            .expect("added");
    }
    let mut text = Vec::new();
    assert_eq!(from.peers().export_addrs(&mut text).expect("written"), 6);
    let text = String::from_utf8(text).expect("text");
    assert!(text.lines().all(|line| line.contains("/p2p/")));
    let list: Vec<String> = text.lines().map(|line| format!("{line:?}")).collect();
    for (text, skipped) in [
        (format!("{text}\nnonsense\n/ip4/1.2.3.4/tcp/1\n"), 2),
        (format!("[{}]", list.join(",")), 0),
    ] {
        let to = Place::new(Backend::Memory);
        let report = to
            .peers()
            .import_addrs(text.as_bytes(), Ttl::PERMANENT)
            .expect("read");
        assert_eq!(
            (report.peers, report.addresses, report.skipped),
            (3, 6, skipped)
        );
        assert_addrs(to.peers(), peer(2), &addrs(0..2));
        let found = to.peers().addresses(peer(2)).expect("readable");
        assert!(
            found
                .iter()
                .all(|a| a.source == Source::Import && a.ttl == Ttl::PERMANENT)
        );
    }
}

/// Lines of a mebibyte, most of it blank, so that more than an import holds at once are few peers.
#[test]
fn lists_of_any_length_go_in_by_lines_and_an_array_over_its_limit_is_refused() {
    let named = |number: u8| {
        let id = peer(number).to_peer_id().expect("of a key");
        addr(number.into()).with_p2p(id).expect("named").to_string()
    };
    let blank = " ".repeat(1 << 20);
    let lines: String = (1..=18)
        .map(|number| format!("{}{blank}\n\n", named(number)))
        .collect();
    let to = Place::new(Backend::Memory);
    let import = |text: &str| to.peers().import_addrs(text.as_bytes(), Ttl::PERMANENT);
    let report = import(&lines).expect("read");
    assert_eq!(
        (report.peers, report.addresses, report.skipped),
        (18, 18, 0)
    );
    assert_addrs(to.peers(), peer(18), &addrs(18..19));
    for (text, kind) in [
        (
            format!("\n [{:?}{}]", named(20), blank.repeat(16)),
            ErrorKind::TooLarge,
        ),
        (format!("[{:?},", named(20)), ErrorKind::InvalidArgument),
        (
            format!("{}\n{}", named(1), "x".repeat(16 << 20)),
            ErrorKind::TooLarge,
        ),
    ] {
        assert_eq!(import(&text).expect_err("no list").kind(), kind);
        assert_eq!(to.peers().count(), 18, "nothing of it was written");
    }
    let report = import(&format!("  [{:?}, 7, null]", named(20))).expect("read");
    assert_eq!((report.peers, report.skipped), (1, 2));
    let report = to
        .peers()
        .import_addrs(&b"\xff\xfe\n\n"[..], Ttl::PERMANENT);
    assert_eq!(report.expect("read").skipped, 1);
}

/// Three addresses as go's store wrote them: of an hour, permanent, connected.
const GO_RECORD: &str = "0a02414212170a0804010203040600011090fecfaa061880c0e285e368121a0a0804010203040600021084dcd5d82818ffffffffffffffff7f121a0a0804010203040600031084dcd5d82818feffffffffffffff7f";

/// The bytes of the research's golden vectors, that go's own store wrote at 1,700,000,000 s.
#[test]
fn a_dump_of_gos_store_is_read() {
    let clock = std::sync::Arc::new(peercask::ManualClock::new(1_700_000_000_000));
    let peers = Peerstore::in_memory(
        Options::default()
            .clock(clock)
            .background(false)
            .private_keys(PrivateKeys::Plain),
    )
    .expect("opened");
    let record = hex(GO_RECORD);
    let base32 = data_encoding::BASE32_NOPAD.encode(peer(1).as_bytes());
    let entries = [
        ("/peers/addrs/IFBA".to_owned(), record),
        (
            "/peers/metadata/IFBA/AgentVersion".to_owned(),
            hex("15100006737472696e670c0a00086b75626f2f302e31"),
        ),
        (
            "/peers/metadata/IFBA/n".to_owned(),
            hex("0a100003696e740402000e"),
        ),
        ("/peers/metadata/IFBA/strange".to_owned(), vec![1, 2, 3]),
        (
            format!("/peers/keys/{base32}/pub"),
            key(1).public().encode_protobuf(),
        ),
        (
            format!("/peers/keys/{base32}/priv"),
            key(1).to_protobuf_encoding().expect("encoded"),
        ),
        ("/peers/gc/addrs/1700003600/IFBA".to_owned(), Vec::new()),
        ("/peers/addrs/not base32".to_owned(), vec![1]),
        ("/other/thing".to_owned(), vec![1]),
    ];
    let entries = entries.map(|(key, value)| Ok((Bytes::from(key), Bytes::from(value))));
    let report = peers.import_foreign(Foreign::Go, entries).expect("read");
    assert_eq!(
        (report.peers, report.addresses, report.keys, report.skipped),
        (2, 3, 2, 2)
    );
    let who = Peer::from_bytes(b"AB").expect("short");
    let found = peers.addresses(who).expect("readable");
    let life = |port: u16| {
        let addr = format!("/ip4/1.2.3.4/tcp/{port}")
            .parse()
            .expect("an address");
        found
            .iter()
            .find(|a| a.addr == addr)
            .map(|a| (a.ttl, a.expiry_ms))
    };
    assert_eq!(life(1), Some((Ttl::ADDRESS, 1_700_003_600_000)));
    assert_eq!(life(2), Some((Ttl::PERMANENT, u64::MAX)));
    let soon = 1_700_000_000_000 + 900_000;
    assert_eq!(
        life(3),
        Some((Ttl::RECENTLY_CONNECTED, soon)),
        "nobody is connected here"
    );
    assert_eq!(
        peers.metadata(who, "AgentVersion").expect("there"),
        "kubo/0.1".into()
    );
    assert_eq!(
        peers.metadata(who, "n").expect("there"),
        MetadataValue::I64(7)
    );
    assert!(peers.private_key(peer(1)).expect("readable").is_some());
}

#[test]
fn a_dump_of_jss_store_is_read() {
    let place = Place::new(Backend::Memory);
    let peers = place.peers();
    let now_ms = peers.now_ms();
    let mut value = Vec::new();
    for (number, age_ms) in [(0, 1_000), (1, 3_599_000), (2, 3_600_000)] {
        let mut one = Vec::new();
        field(&mut one, 1, addr(number).as_ref());
        one.push(3 << 3);
        varint(&mut one, now_ms - age_ms);
        field(&mut value, 1, &one);
    }
    field(&mut value, 2, b"/a");
    let mut entry = Vec::new();
    field(&mut entry, 1, b"AgentVersion");
    field(&mut entry, 2, b"js/1");
    field(&mut value, 6, &entry);
    let (mut tag, mut entry) = (vec![1 << 3, 50], Vec::new());
    tag.push(2 << 3);
    varint(&mut tag, now_ms + 10_000);
    field(&mut entry, 1, b"keep-alive");
    field(&mut entry, 2, &tag);
    field(&mut value, 7, &entry);
    let cid = [&[1, 0x72][..], peer(1).as_bytes()].concat();
    let name = format!(
        "/peers/b{}",
        data_encoding::BASE32_NOPAD.encode(&cid).to_lowercase()
    );
    let entries = [
        (name.clone(), value.clone()),
        ("/peers/zzz".to_owned(), vec![]),
        (name.replace("/peers/b", "/peers/B"), value),
    ];
    let entries = entries.map(|(key, value)| Ok((Bytes::from(key), Bytes::from(value))));
    let js = Foreign::Js {
        address_age: Duration::from_secs(3_600),
    };
    let report = peers.import_foreign(js, entries).expect("read");
    assert_eq!(
        (
            report.peers,
            report.addresses,
            report.expired,
            report.skipped
        ),
        (1, 2, 1, 2)
    );
    let found = peers.get(peer(1)).expect("readable").expect("known");
    assert_addrs(peers, peer(1), &addrs(0..2));
    assert_eq!(found.metadata["AgentVersion"], b"js/1".to_vec().into());
    assert_eq!(
        (found.tags["keep-alive"].value, found.protocols.len()),
        (50, 1)
    );
    place.sleep(seconds(1));
    assert_addrs(peers, peer(1), &addrs(0..1));
}

/// What py-libp2p keeps under its keys, in a datastore as it stands there.
fn py_store(data: &impl Datastore) {
    let name = |prefix: &str| [prefix.as_bytes(), peer(1).as_bytes()].concat();
    let mut addresses = Vec::new();
    field(&mut addresses, 1, addr(0).as_ref());
    field(&mut addresses, 1, addr(1).as_ref());
    field(&mut addresses, 1, b"no address");
    let mut protocols = Vec::new();
    field(&mut protocols, 1, b"/a");
    field(&mut protocols, 1, b"/a");
    let map = |entries: &[(&[u8], &[u8])]| {
        let mut bytes = Vec::new();
        for (key, value) in entries {
            let mut entry = Vec::new();
            field(&mut entry, 1, key);
            field(&mut entry, 2, value);
            field(&mut bytes, 1, &entry);
        }
        bytes
    };
    let mut batch = Batch::new();
    batch.put(name("addr:"), addresses);
    batch.put(name("protocol:"), protocols);
    batch.put(name("metadata:"), map(&[(b"agent", b"py/1"), (b"n", b"5")]));
    batch.put(
        name("key:"),
        map(&[(b"pubkey", &key(1).public().encode_protobuf())]),
    );
    batch.put(name("latency:"), vec![8, 0x80, 0x94, 0xeb, 0xdc, 3]);
    batch.put(name("peer_record:"), vec![8, 1]);
    batch.put("local_record", vec![1, 2, 3]);
    data.commit(batch, Acknowledge::Kernel).expect("written");
}

fn read_py(data: &impl Datastore) {
    let peers = Place::new(Backend::Memory);
    let entries = data.query(b"").expect("open");
    let report = peers
        .peers()
        .import_foreign(Foreign::Py { ttl: Ttl::ADDRESS }, entries)
        .expect("read");
    assert_eq!(
        (report.peers, report.addresses, report.keys, report.skipped),
        (1, 2, 1, 1)
    );
    let found = peers
        .peers()
        .get(peer(1))
        .expect("readable")
        .expect("known");
    assert_addrs(peers.peers(), peer(1), &addrs(0..2));
    assert!(found.addresses.iter().all(|a| a.ttl == Ttl::ADDRESS));
    assert_eq!(
        (found.protocols.len(), found.latency_ns),
        (1, Some(1_000_000_000))
    );
    assert_eq!(found.metadata["n"], "5".into(), "py keeps text");
    assert_eq!(found.record, None, "its records are dummies");
}

#[test]
fn a_store_of_pys_is_read() {
    let data = MemoryDatastore::new();
    py_store(&data);
    read_py(&data);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_file_of_pys_sqlite_store_is_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("py.db");
    let data = peercask_peerstore::libp2p::SqliteDatastore::open(&path).expect("opened");
    py_store(&data);
    data.close().expect("closed");
    read_py(&peercask_peerstore::libp2p::SqliteDatastore::open_read_only(&path).expect("opened"));
}

#[test]
fn a_thousand_peers_come_in_in_chunks_and_again_without_harm() {
    let from = Place::new(Backend::Memory);
    for number in 0..1_000_u32 {
        let who = Peer::from_bytes(&number.to_le_bytes()).expect("short");
        from.peers()
            .add_addrs(who, &addrs(0..2), Ttl::ADDRESS)
            .expect("added");
    }
    let text = lines(from.peers(), ExportOptions::default());
    let to = Place::new(Backend::Peercask);
    let report = to
        .peers()
        .import(&text[..], ImportMode::Merge)
        .expect("read");
    assert_eq!((report.peers, report.addresses), (1_000, 2_000));
    assert!(
        to.peers().stats().writes < 10,
        "{} writes",
        to.peers().stats().writes
    );
    to.peers()
        .import(&text[..], ImportMode::Merge)
        .expect("read");
    assert_eq!(
        (to.peers().count(), to.peers().stats().addresses),
        (1_000, 2_000)
    );
}
