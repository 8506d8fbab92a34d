//! What the books say to whoever collects events of `tracing`: their options once, and of strangers nothing.

use std::sync::{Arc, Mutex};

use peercask_peerstore::libp2p::{Options, Peer, Peerstore, PrivateKeys, Secret, Ttl};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{addrs, peer};

/// Keeps every event of this crate as text.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Listener {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.target().starts_with("peercask_peerstore")
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().expect("nobody panics").push(text.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Listener {
    fn heard(&self) -> Vec<String> {
        self.0.lock().expect("nobody panics").clone()
    }
}

#[test]
fn options_are_told_once_and_of_strangers_nothing_is() {
    let listener = Listener::default();
    // Other tests meet the same places without a listener; whoever asked first must not decide for all.
    let _kept = tracing::Dispatch::new(listener.clone());
    tracing::subscriber::with_default(listener.clone(), || {
        tracing::callsite::rebuild_interest_cache();
        let dir = tempfile::tempdir().expect("a temporary directory");
        let options = Options::default()
            .background(false)
            .cache_bytes(4_321)
            .private_keys(PrivateKeys::Sealed(Secret::new([0x5a; 32])));
        let peers = Peerstore::open(dir.path().join("store"), options).expect("opened");
        let told = listener.heard();
        let about: Vec<&String> = told
            .iter()
            .filter(|event| event.contains("opening a peer store"))
            .collect();
        assert_eq!(about.len(), 1, "{told:?}");
        assert!(about[0].contains("cache_bytes: 4321"), "{about:?}");
        for form in ["5a5a", "5A5A", "90, 90", "ZZZZ"] {
            assert!(
                !about[0].contains(form),
                "the secret is not told: {about:?}"
            );
        }
        peers
            .add_addrs(peer(1), &addrs(0..1), Ttl::ADDRESS)
            .expect("added");
        for number in 0..1_000_u32 {
            let stranger = Peer::from_bytes(&number.to_le_bytes()).expect("short");
            assert!(peers.addrs(stranger).expect("readable").is_empty());
            assert!(peers.get(stranger).expect("readable").is_none());
            assert!(peers.metadata(stranger, "a").is_err());
            assert!(!peers.forget_peer(stranger).expect("nothing to forget"));
        }
        peers.close().expect("closed");
        assert_eq!(listener.heard(), told, "a thousand strangers are no line");
    });
}
