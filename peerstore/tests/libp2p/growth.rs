//! How the log grows while nothing new is heard.

use std::time::Duration;

use peercask_peerstore::libp2p::{Options, Peer, Ttl};

use crate::support::{Backend, Place, addrs};

/// Twenty peers, heard of twenty thousand times in a quarter of an hour.
#[test]
fn identical_adds_grow_the_log_by_less_than_a_hundredth_of_what_each_would_write() {
    let written = |options: Options, calls: u32| {
        let place = Place::with(Backend::Peercask, options);
        let add = |number: u32| {
            let who = Peer::from_bytes(&(number % 20).to_le_bytes()).expect("short");
            place
                .peers()
                .add_addrs(who, &addrs(0..5), Ttl::ADDRESS)
                .expect("added");
        };
        (0..20).for_each(add);
        let before = place.peers().stats().datastore.written_bytes;
        for number in 0..calls {
            place.sleep(Duration::from_millis(50));
            add(number);
        }
        place.peers().stats().datastore.written_bytes - before
    };
    let ours = written(Options::default(), 20_000);
    let each = written(Options::default().refresh_slack(Duration::ZERO), 2_000) * 10;
    assert!(ours > 0, "beyond the slack it is written");
    assert!(ours * 100 < each, "{ours} bytes, {each} if each is written");
}
