//! Linearizable, peer by peer: eight threads change and read a few peers while others expire and are removed, and
//! the history that comes of it has an order that respects time. `PEERCASK_STRESS_SECONDS` makes it last; ten
//! minutes are 600.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use peercask_peerstore::libp2p::{MetadataValue, Options, Peer, PeerData, Peerstore, Ttl};

use crate::support::{Backend, Place, addr, addrs, peer};

const THREADS: u64 = 8;
const PEERS: u8 = 3;

/// One call: when it began and ended, by a counter that all threads share, and the number that it wrote or read.
#[derive(Clone, Copy, Debug)]
struct Call {
    began: u64,
    ended: u64,
    number: u64,
    wrote: bool,
}

/// Counts a peer up by one, in every book: what it answers is this write's own number.
fn count_up(peers: &Peerstore, who: Peer) -> u64 {
    let counted = peers.update(who, |peer| {
        let number = match peer.metadata("number")? {
            Some(MetadataValue::U64(number)) => number + 1,
            _ => 1,
        };
        peer.put_metadata("number", number)?;
        peer.set_protocols(&[format!("/{number}")])?;
        let old: Vec<_> = peer.addresses().iter().map(|a| a.addr.clone()).collect();
        peer.set_addrs(&old, Ttl::NONE);
        let at = usize::try_from(number % 60_000).expect("small");
        peer.set_addrs(&[addr(at)], Ttl::PERMANENT);
        Ok(number)
    });
    counted.expect("counted")
}

/// The number that all books agree on; 0 for a peer that is not known yet.
fn number_of(data: Option<&PeerData>) -> u64 {
    let Some(data) = data else { return 0 };
    let Some(MetadataValue::U64(number)) = data.metadata.get("number") else {
        panic!("half of a peer: {data:?}");
    };
    let at = usize::try_from(number % 60_000).expect("small");
    assert!(
        data.protocols.contains(&format!("/{number}")),
        "mixed: {data:?}"
    );
    assert_eq!(data.addrs().collect::<Vec<_>>(), [&addr(at)], "mixed");
    *number
}

/// Each write took the next number, so the numbers are the order of the writes. It is one that time allows if each
/// call comes after all that had ended before it began.
fn check(mut calls: Vec<Call>) {
    let mut written: Vec<u64> = calls.iter().filter(|c| c.wrote).map(|c| c.number).collect();
    written.sort_unstable();
    let expected: Vec<u64> = (1..=written.len() as u64).collect();
    assert_eq!(
        written, expected,
        "every write took a number of its own, and none is missing"
    );
    // In the order of their ends; the greatest number of those that ended before a call began is what it must see.
    let mut by_end = calls.clone();
    by_end.sort_unstable_by_key(|call| call.ended);
    calls.sort_unstable_by_key(|call| call.began);
    let mut begun: Vec<(u64, u64)> = calls
        .iter()
        .filter(|c| c.wrote)
        .map(|c| (c.number, c.began))
        .collect();
    begun.sort_unstable();
    let (mut ended, mut least) = (by_end.iter().peekable(), 0);
    for call in &calls {
        while let Some(before) = ended.next_if(|before| before.ended < call.began) {
            least = least.max(before.number);
        }
        let enough = if call.wrote {
            call.number > least
        } else {
            call.number >= least
        };
        assert!(enough, "{call:?} comes after {least}");
        // And nobody reads what is not being written yet.
        if !call.wrote && call.number > 0 {
            let at = usize::try_from(call.number - 1).expect("small");
            assert!(begun[at].1 < call.ended, "{call:?} read of the future");
        }
    }
}

/// Strangers come and expire until it is over, in the same shards.
fn strangers(place: &Place, over: &AtomicBool) {
    let peers = place.peers();
    for number in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let stranger = Peer::from_bytes(&number.to_le_bytes()).expect("short");
        let life = Ttl::from_millis(1);
        peers
            .add_addrs(stranger, &addrs(0..2), life)
            .expect("added");
        if number % 16 == 0 {
            place.clock.advance(Duration::from_millis(2));
            peers.gc().expect("removed");
        }
    }
}

/// The calls of one thread, of the peers that they were about.
fn calls(
    peers: &Peerstore,
    seed: u64,
    time: &AtomicU64,
    goes_on: impl Fn(u32) -> bool,
) -> Vec<(u8, Call)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut calls = Vec::new();
    for round in 0_u32.. {
        if !goes_on(round) {
            break;
        }
        let (who, wrote) = (rng.u8(1..=PEERS), rng.u8(..3) == 0);
        let began = time.fetch_add(1, Ordering::SeqCst);
        let number = match wrote {
            true => count_up(peers, peer(who)),
            false => number_of(peers.get(peer(who)).expect("readable").as_ref()),
        };
        let ended = time.fetch_add(1, Ordering::SeqCst);
        let call = Call {
            began,
            ended,
            number,
            wrote,
        };
        calls.push((who, call));
    }
    calls
}

fn stress(backend: Backend, cache_bytes: usize, rounds: u32, until: Option<Instant>) {
    let options = Options::default().cache_bytes(cache_bytes);
    let mut place = Place::with(backend, options.disconnect_grace(None));
    let (time, over) = (&AtomicU64::new(0), &AtomicBool::new(false));
    let goes_on = move |round: u32| match until {
        Some(until) => Instant::now() < until,
        None => round < rounds,
    };
    let done: Vec<(u8, Call)> = std::thread::scope(|scope| {
        let (place, peers) = (&place, place.peers());
        let others = scope.spawn(move || strangers(place, over));
        let start = |seed| scope.spawn(move || calls(peers, seed, time, goes_on));
        let workers: Vec<_> = (0..THREADS).map(start).collect();
        let ended: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
        // Also when one failed: else the others go on for ever.
        over.store(true, Ordering::Relaxed);
        others.join().expect("joined");
        let calls = ended
            .into_iter()
            .flat_map(|calls| calls.expect("no call failed"));
        calls.collect()
    });
    for who in 1..=PEERS {
        let of_peer = done
            .iter()
            .filter(|(named, _)| *named == who)
            .map(|(_, call)| *call);
        let of_peer: Vec<Call> = of_peer.collect();
        let last = of_peer.iter().filter(|call| call.wrote).count() as u64;
        assert!(last > 0 && of_peer.iter().any(|call| !call.wrote));
        check(of_peer);
        let found = place.peers().get(peer(who)).expect("readable");
        assert_eq!(number_of(found.as_ref()), last);
        if place.lasts() {
            place.reopen();
            let found = place.peers().get(peer(who)).expect("readable");
            assert_eq!(number_of(found.as_ref()), last, "after a restart");
        }
    }
}

#[test]
fn eight_threads_see_each_peer_as_if_one_call_came_after_the_other() {
    let long = std::env::var("PEERCASK_STRESS_SECONDS").ok();
    let seconds: Option<u64> = long.and_then(|text| text.parse().ok());
    let kinds = [
        (Backend::Peercask, 16 << 20),
        (Backend::Peercask, 1_024),
        (Backend::Peercask, 0),
        (Backend::Memory, 0),
    ];
    for (backend, cache_bytes) in kinds {
        let share = |seconds: u64| Duration::from_millis(seconds * 1_000 / kinds.len() as u64);
        let until = seconds.map(|seconds| Instant::now() + share(seconds));
        stress(backend, cache_bytes, 300, until);
    }
}

/// The judge itself: orders that time does not allow are told.
#[test]
fn histories_that_no_order_explains_are_told() {
    let call = |began, ended, number, wrote| Call {
        began,
        ended,
        number,
        wrote,
    };
    check(vec![
        call(0, 5, 1, true),
        call(1, 2, 0, false),
        call(3, 4, 1, false),
        call(6, 9, 2, true),
    ]);
    for wrong in [
        // A stale read, a read of the future, two reads that go back, a lost write, a write before its time.
        vec![call(0, 1, 1, true), call(2, 3, 0, false)],
        vec![call(0, 1, 1, false), call(2, 3, 1, true)],
        vec![
            call(0, 9, 1, true),
            call(1, 2, 1, false),
            call(3, 4, 0, false),
        ],
        vec![call(0, 1, 1, true), call(2, 3, 1, true)],
        vec![call(0, 1, 2, true), call(2, 3, 1, true)],
    ] {
        let shown = format!("{wrong:?}");
        assert!(
            std::panic::catch_unwind(|| check(wrong)).is_err(),
            "{shown}"
        );
    }
}
