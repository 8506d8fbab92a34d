//! P2, P11, P14: what is there after a restart, also when the files are not what they were.

use std::fs;

use libp2p_core::{PeerRecord, SignedEnvelope};
use libp2p_identity::{Keypair, PeerId};
use libp2p_peer_store::Store;
use peercask_peerstore::libp2p::{ErrorKind, Identified, Peer};
use peercask_peerstore::swarm::PersistentStore;

use crate::support::{Place, addr, close, connected, copied, dialler, events, heard, known};

#[test]
fn after_a_restart_or_a_kill_everything_is_as_it_was_and_nothing_is_told_as_new() {
    let place = Place::new();
    let mut store = place.open_with::<String>(place.config());
    let peers: Vec<PeerId> = (0..30).map(|_| PeerId::random()).collect();
    for (peer, number) in peers.iter().zip(1..) {
        heard(&mut store, peer, &addr(number));
        place.tick();
        store.add_address(peer, &addr(1_000)).expect("added");
        place.tick();
        connected(&mut store, peer, &dialler(&addr(2_000 + number)), &[]);
        store
            .insert_custom_data(peer, &format!("peer {number}"))
            .expect("stored");
    }
    let before: Vec<_> = peers.iter().map(|peer| known(&store, peer)).collect();
    // The files as a kill leaves them: taken from under the open store.
    let copy = copied(&place.path());
    close(store);
    for dir in [place.path(), copy.path().to_path_buf()] {
        let mut store: PersistentStore<String> =
            PersistentStore::open(&dir, place.config()).expect("it opens");
        assert_eq!(events(&mut store), []);
        for ((peer, before), number) in peers.iter().zip(&before).zip(1..) {
            assert_eq!(known(&store, peer), *before);
            let data = store.custom_data(peer).expect("readable");
            assert_eq!(data, Some(format!("peer {number}")));
            let permanent = store.books().addresses(peer).expect("readable");
            let permanent = permanent.iter().filter(|found| found.is_pinned());
            assert_eq!(
                permanent.map(|found| &found.addr).collect::<Vec<_>>(),
                [&addr(1_000)]
            );
        }
        close(store);
    }
}

#[test]
fn a_damaged_store_opens_with_what_is_left_or_empty_and_says_so() {
    let place = Place::new();
    let mut store = place.open();
    let peers: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
    for peer in &peers {
        heard(&mut store, peer, &addr(1));
    }
    close(store);
    let largest_segment = |dir: &std::path::Path| {
        let entries = fs::read_dir(dir).expect("there");
        let files = entries.map(|entry| entry.expect("listed").path());
        files
            .filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("seg-")
            })
            .max_by_key(|file| file.metadata().expect("a file").len())
            .expect("a file")
    };
    // One byte in the middle: its record is lost, the rest is served.
    let segment = largest_segment(&place.path());
    let mut bytes = fs::read(&segment).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    fs::write(&segment, &bytes).expect("written");
    let store = place.open();
    let there = peers
        .iter()
        .filter(|peer| known(&store, peer) == [addr(1)])
        .count();
    assert!((190..=200).contains(&there), "{there} of 200");
    close(store);
    // A segment is gone: nobody knows of what, so the store is set aside and begun anew.
    fs::remove_file(&segment).expect("removed");
    let mut store = place.open();
    let health = store.health();
    assert!(
        health
            .set_aside
            .as_ref()
            .is_some_and(|aside| aside.is_dir()),
        "{health:?}"
    );
    heard(&mut store, &peers[0], &addr(2));
    assert_eq!(known(&store, &peers[0]), [addr(2)]);
    close(store);
    let again = place.open();
    assert_eq!(
        (known(&again, &peers[0]), again.health().set_aside),
        (vec![addr(2)], None)
    );
    close(again);
}

#[test]
fn a_second_process_is_told_that_the_store_is_taken() {
    let place = Place::new();
    let store = place.open();
    let second = PersistentStore::<()>::open(place.path(), place.config());
    assert_eq!(
        second.map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::Locked)
    );
    close(store);
}

#[test]
fn a_signed_record_takes_the_place_of_an_older_one_and_a_forged_one_changes_nothing() {
    let place = Place::new();
    let mut store = place.open();
    let (key, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let peer = key.public().to_peer_id();
    let record = |key: &Keypair, numbers: &[u16]| {
        let addrs = numbers.iter().map(|number| addr(*number)).collect();
        let record = PeerRecord::new_interop(key, addrs).expect("signed");
        record.into_signed_envelope().into_protobuf_encoding()
    };
    let old = record(&key, &[1, 2]);
    let told = |record: &[u8], store: &mut PersistentStore| {
        let told = Identified {
            record: Some(record),
            agent_version: Some("test/1"),
            ..Identified::default()
        };
        store.identified(&peer, &told)
    };
    told(&old, &mut store).expect("it holds");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let new = record(&key, &[2, 3]);
    told(&new, &mut store).expect("it holds");
    let mut found = known(&store, &peer);
    found.sort();
    assert_eq!(found, [addr(2), addr(3)]);
    let mut forged = record(&key, &[4]);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let error = told(&forged, &mut store).expect_err("forged");
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    assert!(SignedEnvelope::from_protobuf_encoding(&old).is_ok());
    // Another peer's record is no better, although its signature holds; nor is anything told beside it taken.
    let others = record(&other, &[5]);
    let news = Identified {
        record: Some(&others),
        agent_version: Some("forger/1"),
        ..Identified::default()
    };
    let error = store.identified(&peer, &news).expect_err("another's");
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    found = known(&store, &peer);
    found.sort();
    assert_eq!(found, [addr(2), addr(3)]);
    assert!(
        store
            .addresses_of_peer(&other.public().to_peer_id())
            .is_none()
    );
    assert_eq!(
        store
            .books()
            .metadata(Peer::from(peer), "AgentVersion")
            .expect("there"),
        "test/1".into()
    );
    close(store);
}
