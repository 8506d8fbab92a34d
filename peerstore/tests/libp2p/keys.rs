//! The key book: what belongs to whom, what is refused, sealed, wiped and gone.

use std::sync::atomic::{AtomicBool, Ordering};

use libp2p_identity::{Keypair, PeerId};
use peercask_peerstore::libp2p::{
    Error, ErrorKind, MemoryDatastore, Options, Peer, PeerPatch, Peerstore, PrivateKeys, Secret,
    Ttl,
};

use crate::support::{Backend, Hooked, Place, addrs, each_backend, key, peer};

/// A key of the kind whose public part does not stand in the peer id.
pub(crate) fn ecdsa() -> Keypair {
    Keypair::generate_ecdsa()
}

fn sealed(byte: u8) -> Options {
    Options::default().private_keys(PrivateKeys::Sealed(Secret::new([byte; 32])))
}

each_backend! {
    fn a_public_key_that_is_not_the_peers_is_refused(backend) {
        let place = Place::new(backend);
        let refused = place.peers().add_public_key(peer(1), &key(2).public());
        assert_eq!(refused.expect_err("another's").kind(), ErrorKind::InvalidKey);
        assert_eq!(place.peers().add_public_key_bytes(peer(1), &[]).expect_err("none").kind(), ErrorKind::InvalidKey);
        assert_eq!(place.peers().count(), 0);
    }

    fn a_private_key_that_is_none_or_not_the_peers_is_refused(backend) {
        let place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        let refused = place.peers().add_private_key(peer(1), &key(2));
        assert_eq!(refused.expect_err("another's").kind(), ErrorKind::InvalidKey);
        for bytes in [&[][..], &[1, 2, 3], &[8, 1, 18, 64]] {
            let refused = place.peers().add_private_key_bytes(peer(1), bytes);
            assert_eq!(refused.expect_err("no key").kind(), ErrorKind::InvalidKey);
        }
        assert_eq!(place.peers().count(), 0);
    }

    fn a_key_that_stands_in_the_id_is_derived_without_a_write(backend) {
        let place = Place::new(backend);
        let before = place.peers().stats();
        assert_eq!(place.peers().public_key(peer(1)).expect("readable"), Some(key(1).public()));
        let after = place.peers().stats();
        assert_eq!((after.writes, after.datastore.writes), (before.writes, before.datastore.writes));
        assert_eq!(place.peers().count(), 0);
    }

    fn the_key_of_an_id_that_does_not_hold_it_is_unknown(backend) {
        let place = Place::new(backend);
        let unknown = ecdsa().public().to_peer_id();
        assert_eq!(place.peers().public_key(unknown).expect("readable"), None);
    }

    fn keys_of_every_kind_come_back_byte_for_byte(backend) {
        let mut place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        let pairs = [key(1), ecdsa(), Keypair::generate_secp256k1(), rsa()];
        for pair in &pairs {
            let who = pair.public().to_peer_id();
            place.peers().add_public_key(who, &pair.public()).expect("added");
            // RSA pairs cannot be written out again by libp2p-identity.
            if let Ok(encoded) = pair.to_protobuf_encoding() {
                place.peers().add_private_key_bytes(who, &encoded).expect("added");
            }
        }
        if place.lasts() {
            place.reopen();
        }
        for pair in &pairs {
            let who = pair.public().to_peer_id();
            let public = place.peers().public_key_bytes(who).expect("readable");
            assert_eq!(public.expect("there"), pair.public().encode_protobuf());
            if let Ok(encoded) = pair.to_protobuf_encoding() {
                let found = place.peers().private_key_bytes(who).expect("readable");
                assert_eq!(*found.expect("there"), encoded);
            }
        }
        assert_eq!(place.peers().peers_with_keys().count(), 4);
    }

    fn private_keys_are_refused_unless_the_caller_chose_otherwise(backend) {
        let place = Place::new(backend);
        let refused = place.peers().add_private_key(peer(1), &key(1)).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Refused);
        assert_eq!(place.peers().count(), 0);
    }

    fn a_sealed_key_needs_its_secret_and_without_it_the_other_books_work(backend) {
        let mut place = Place::with(backend, sealed(7));
        let peers = place.peers();
        peers.add_private_key(peer(1), &key(1)).expect("sealed");
        peers.add_addrs(peer(1), &addrs(0..1), Ttl::PERMANENT).expect("added");
        assert!(peers.private_key(peer(1)).expect("opens").is_some());
        if !place.lasts() {
            return;
        }
        let (clock, right) = (place.clock.clone(), place.options());
        let quiet = |options: Options| options.clock(clock.clone()).background(false);
        for wrong in [sealed(8), Options::default()] {
            place.reopen_with(quiet(wrong));
            let peers = place.peers();
            let refused = peers.private_key(peer(1)).expect_err("sealed");
            assert_eq!(refused.kind(), ErrorKind::WrongSecret);
            assert_eq!(peers.addrs(peer(1)).expect("readable"), addrs(0..1));
            peers.add_protocols(peer(1), &["/a"]).expect("added");
        }
        place.reopen_with(quiet(sealed(8)));
        let refused = place.peers().add_private_key(peer(2), &key(2)).expect_err("two secrets");
        assert_eq!(refused.kind(), ErrorKind::WrongSecret);
        place.reopen_with(right);
        assert!(place.peers().private_key(peer(1)).expect("opens").is_some());
    }

    fn cleared_keys_stay_cleared(backend) {
        let mut place = Place::with(backend, Options::default().private_keys(PrivateKeys::Plain));
        place.peers().add_private_key(peer(1), &key(1)).expect("added");
        place.peers().add_public_key(peer(1), &key(1).public()).expect("added");
        place.peers().clear_keys(peer(1)).expect("cleared");
        if place.lasts() {
            place.reopen();
        }
        assert!(place.peers().private_key(peer(1)).expect("readable").is_none());
        assert_eq!(place.peers().peers_with_keys().count(), 0);
    }
}

/// An RSA key of 2048 bits in PKCS#8, made for this test alone.
fn rsa() -> Keypair {
    let text = include_str!("rsa_pkcs8.hex");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits")
    };
    let mut bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    Keypair::rsa_from_pkcs8(&mut bytes).expect("a key of openssl")
}

/// What stands in the files of a directory, end to end.
fn files(dir: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).expect("listed") {
        bytes.extend(std::fs::read(entry.expect("listed").path()).expect("read"));
    }
    bytes
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn after_forgetting_and_a_merge_no_file_holds_a_byte_of_a_private_key() {
    let mut place = Place::with(
        Backend::Peercask,
        Options::default().private_keys(PrivateKeys::Plain),
    );
    let secret = [1; 32];
    let peers = place.peers();
    for who in [1, 2] {
        peers.add_private_key(peer(who), &key(who)).expect("added");
        peers
            .add_addrs(peer(who), &addrs(0..2), Ttl::PERMANENT)
            .expect("added");
    }
    peers.sync().expect("synced");
    let dir = place.dir.path().join("store");
    assert!(holds(&files(&dir), &secret), "plain is plain");
    assert!(peers.forget_peer(peer(1)).expect("forgotten"));
    peers.merge().expect("merged");
    assert!(!holds(&files(&dir), &secret));
    place.reopen();
    assert!(!holds(&files(&dir), &secret));
    assert!(
        place
            .peers()
            .private_key(peer(1))
            .expect("readable")
            .is_none()
    );
    assert!(
        place
            .peers()
            .private_key(peer(2))
            .expect("readable")
            .is_some(),
        "the other stays"
    );
}

#[test]
fn a_sealed_key_is_in_no_file_and_no_text_shows_a_key() {
    let place = Place::with(Backend::Peercask, sealed(7));
    let peers = place.peers();
    peers.add_private_key(peer(1), &key(1)).expect("sealed");
    peers.sync().expect("synced");
    assert!(!holds(&files(&place.dir.path().join("store")), &[1; 32]));
    let shown = format!(
        "{:?} {:?}",
        peers.get(peer(1)).expect("readable"),
        peers.options()
    );
    assert!(
        !shown.contains("1, 1, 1, 1") && !shown.contains("7, 7, 7, 7"),
        "{shown}"
    );
    assert!(shown.contains("has_private_key: true"));
}

/// Bytes of the keys of one peer are changed beneath the books.
#[test]
fn keys_that_cannot_be_read_cost_themselves_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = peercask::Store::open(dir.path(), peercask::Options::default()).expect("opened");
    let options = || {
        Options::default()
            .background(false)
            .private_keys(PrivateKeys::Plain)
    };
    let peers = Peerstore::on(&store, options()).expect("opened");
    let who = ecdsa();
    let id = who.public().to_peer_id();
    peers.add_public_key(id, &who.public()).expect("added");
    peers.add_private_key(id, &who).expect("added");
    peers
        .merge_peer(id, &PeerPatch::new().protocols(&["/a"]))
        .expect("merged");
    peers.close().expect("closed");
    let keys = store.existing_keyspace("libp2p-keys").expect("there");
    keys.put(id.to_bytes(), [1, 200]).expect("put");
    let peers = Peerstore::on(&store, options()).expect("opens");
    assert_eq!(
        peers.public_key(id).expect_err("cut").kind(),
        ErrorKind::Corrupted
    );
    assert_eq!(
        peers.private_key(id).expect_err("cut").kind(),
        ErrorKind::Corrupted
    );
    let rest = peers.get(id).expect("readable").expect("known");
    assert_eq!((rest.protocols.len(), rest.public_key), (1, None));
    peers
        .add_public_key(id, &who.public())
        .expect("written anew");
    assert_eq!(peers.public_key(id).expect("readable"), Some(who.public()));
}

#[test]
fn a_write_that_fails_is_an_error_and_leaves_no_trace_in_memory() {
    // All writes fail but the first, which is the store's own.
    let opened = AtomicBool::new(false);
    let data = Hooked::new(MemoryDatastore::new(), move |_| {
        match opened.swap(true, Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::StorageFull, "no space")),
            false => Ok(()),
        }
    });
    let options = Options::default()
        .background(false)
        .private_keys(PrivateKeys::Plain);
    let peers = Peerstore::with(data, options).expect("opened");
    let mut events = peers.events();
    let refused = peers
        .add_private_key(peer(1), &key(1))
        .expect_err("no space");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert!(peers.private_key(peer(1)).expect("readable").is_none());
    let hour = Ttl::ADDRESS;
    let refused = peers
        .add_addrs(peer(1), &addrs(0..1), hour)
        .expect_err("no space");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert!(peers.addrs(peer(1)).expect("readable").is_empty());
    assert_eq!((peers.count(), peers.has_peer(peer(1))), (0, false));
    assert!(events.try_next().is_none(), "nothing happened");
}

#[test]
fn a_peer_id_of_any_kind_is_a_name() {
    let ids = [key(1), ecdsa(), Keypair::generate_secp256k1()];
    for id in ids
        .map(|pair| pair.public().to_peer_id())
        .into_iter()
        .chain([PeerId::random()])
    {
        assert_eq!(Peer::from(id).to_peer_id(), Some(id));
        assert_eq!(Peer::from(id).to_string(), id.to_string());
    }
}
