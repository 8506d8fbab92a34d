//! Addresses that are lent by reference although they are not kept in memory: a chain that only
//! grows while it is shared, and is dropped when nobody can hold a reference into it any more. It
//! knows neither books nor swarms.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libp2p_core::Multiaddr;

use crate::libp2p::Peer;

/// What an address costs beside its bytes, roughly.
const ADDRESS_OVERHEAD: usize = 48;
/// How many chains there are, so that none is long.
const CHAINS: usize = 64;

/// Addresses that are lent. `&mut` access to it proves that no reference is left.
#[derive(Debug)]
pub(crate) struct Scratch {
    chains: [Link; CHAINS],
    bytes: AtomicUsize,
}

type Link = OnceLock<Box<Lent>>;

#[derive(Debug)]
struct Lent {
    peer: Peer,
    addrs: Vec<Multiaddr>,
    next: Link,
}

impl Scratch {
    /// Keeps addresses and lends them. The same as were lent last for this peer take no space again;
    /// `None` if there is none left of `bytes_max`.
    pub(crate) fn lend(
        &self,
        peer: Peer,
        addrs: Vec<Multiaddr>,
        bytes_max: usize,
    ) -> Option<&[Multiaddr]> {
        let mut place = self.chain(&peer);
        let mut same = None;
        while let Some(lent) = place.get() {
            if lent.peer == peer {
                same = Some(lent);
            }
            place = &lent.next;
        }
        if let Some(lent) = same
            && lent.addrs == addrs
        {
            return Some(&lent.addrs);
        }
        let bytes = addrs
            .iter()
            .map(|addr| addr.len() + ADDRESS_OVERHEAD)
            .sum::<usize>()
            + size_of::<Lent>();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > bytes_max {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        let mut lent = Box::new(Lent {
            peer,
            addrs,
            next: OnceLock::new(),
        });
        loop {
            match place.set(lent) {
                Ok(()) => return place.get().map(|lent| lent.addrs.as_slice()),
                // Another thread was quicker: behind its.
                Err(again) => {
                    lent = again;
                    place = &place.get()?.next;
                }
            }
        }
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(self.bytes.get_mut()) == 0 {
            return;
        }
        for chain in &mut self.chains {
            // Link by link: a long chain must not be dropped by recursion.
            let mut next = chain.take();
            while let Some(mut lent) = next {
                next = lent.next.take();
            }
        }
    }

    /// The chain of a peer, by the last byte of its id, which is one of a digest.
    fn chain(&self, peer: &Peer) -> &Link {
        let byte = peer.as_bytes().last().copied().unwrap_or(0);
        &self.chains[usize::from(byte) % CHAINS]
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            chains: std::array::from_fn(|_| OnceLock::new()),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{number}")
            .parse()
            .expect("an address")
    }

    #[test]
    fn what_is_lent_stays_while_more_is_lent_and_the_bound_holds() {
        let peer = |number: u8| Peer::from_bytes(&[number]).expect("a name");
        let mut scratch = Scratch::default();
        let first = scratch.lend(peer(1), vec![addr(1)], 1_000).expect("room");
        let second = scratch.lend(peer(2), vec![addr(2)], 1_000).expect("room");
        let again = scratch.lend(peer(1), vec![addr(1)], 1_000).expect("room");
        assert!(std::ptr::eq(first, again), "the same takes no space again");
        let changed = scratch.lend(peer(1), vec![addr(3)], 1_000).expect("room");
        assert_eq!((first, second), (&[addr(1)][..], &[addr(2)][..]));
        assert_eq!(changed, [addr(3)]);
        let taken = (4..200).filter(|number| {
            let lent = scratch.lend(peer(9), vec![addr(*number)], 1_000);
            lent.is_some()
        });
        assert!((1..9).contains(&taken.count()));
        scratch.clear();
        assert!(scratch.lend(peer(9), vec![addr(9)], 1_000).is_some());
    }

    #[test]
    fn a_long_chain_is_dropped_without_a_deep_stack() {
        let scratch = Scratch::default();
        scratch.bytes.store(1, Ordering::Relaxed);
        let mut place = &scratch.chains[0];
        for _ in 0..200_000 {
            let lent = Lent {
                peer: Peer::EMPTY,
                addrs: Vec::new(),
                next: OnceLock::new(),
            };
            assert!(place.set(Box::new(lent)).is_ok());
            place = &place.get().expect("just set").next;
        }
        drop(scratch);
    }
}
