//! P13: data of the program's own.

use libp2p_identity::PeerId;
use libp2p_peer_store::Store;
use peercask_peerstore::swarm::CustomData;

use crate::support::{Place, addr, close, heard, known};

/// A number that newer versions write in another way.
struct Score(u32);

impl CustomData for Score {
    fn encode(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Score> {
        Some(Score(u32::from_le_bytes(bytes.try_into().ok()?)))
    }
}

#[test]
fn data_is_kept_replaced_and_taken_and_keeps_its_peer() {
    let place = Place::new();
    let mut store = place.open_with::<String>(place.config());
    let peer = PeerId::random();
    assert_eq!(store.custom_data(&peer).expect("readable"), None);
    for data in ["a", "b"] {
        store
            .insert_custom_data(&peer, &data.to_owned())
            .expect("stored");
    }
    assert!(
        store
            .addresses_of_peer(&peer)
            .is_some_and(|mut addrs| addrs.next().is_none())
    );
    assert_eq!(
        store.take_custom_data(&peer).expect("readable"),
        Some("b".to_owned())
    );
    assert_eq!(store.take_custom_data(&peer).expect("readable"), None);
    close(store);
}

#[test]
fn data_that_says_nothing_to_this_version_is_dropped_and_counted_and_the_peer_stays() {
    let place = Place::new();
    let peer = PeerId::random();
    let mut store = place.open_with::<String>(place.config());
    heard(&mut store, &peer, &addr(1));
    store
        .insert_custom_data(&peer, &"a newer score".to_owned())
        .expect("stored");
    close(store);
    let mut store = place.open_with::<Score>(place.config());
    for _ in 0..2 {
        assert!(store.custom_data(&peer).expect("readable").is_none());
    }
    assert_eq!(store.health().custom_dropped, 1);
    assert_eq!(known(&store, &peer), [addr(1)]);
    store.insert_custom_data(&peer, &Score(7)).expect("stored");
    assert_eq!(
        store
            .custom_data(&peer)
            .expect("readable")
            .map(|score| score.0),
        Some(7)
    );
    close(store);
}
