//! What is done to a node, or by one, to make trouble: a full disk, addresses that lead nowhere,
//! addresses without end, a crowd of identities.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use libp2p_kad as kad;
use libp2p_kad::RecordKey;
use libp2p_kad::store::{MemoryStore, RecordStore};
use libp2p_swarm::Swarm;
use peercask_peerstore::libp2p::{Dial, Peerstore, Ttl};

use super::swarm::{self, Failure, Node};

/// Bytes of the name in an address that boasts: twenty of them are what a packet of kad holds.
const NAME_LEN: usize = 780;

/// Takes all room that is left on a file system, of which there is little.
pub(crate) fn hog(path: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    let mut written = 0_u64;
    while file.write_all(&[1; 512]).is_ok() {
        written += 512;
        if written > 1 << 30 {
            return Err("this is no small file system".into());
        }
    }
    Ok(())
}

/// Peers as good as any by the books, whose addresses lead nowhere any more.
pub(crate) fn remember_stale(books: &Peerstore, count: u64) -> Result<(), Failure> {
    for number in 0..count {
        let peer = PeerId::random();
        // Nobody listens on the discard port.
        let address: Multiaddr = format!("/ip4/127.0.{}.1/tcp/9", number % 200).parse()?;
        let life = Ttl::from(Duration::from_secs(3_600));
        books.add_addrs(peer, std::slice::from_ref(&address), life)?;
        books.record_dial(peer, &address, Dial::Succeeded)?;
    }
    Ok(())
}

/// From now on the node says of itself that it has as many addresses more, of nearly a kilobyte each.
pub(crate) fn boast<S: RecordStore + Send + 'static>(
    swarm: &mut Swarm<Node<S>>,
    count: u64,
) -> Result<(), Failure> {
    for number in 0..count {
        let name = format!("{number:0>NAME_LEN$}");
        swarm.add_external_address(format!("/dns4/{name}/tcp/4001").parse()?);
    }
    Ok(())
}

/// As many nodes, each of which provides the key at the nodes with these addresses.
pub(crate) fn crowd(
    mut numbers: std::ops::Range<u64>,
    key: &RecordKey,
    addresses: &[&str],
) -> Result<(), Failure> {
    numbers.try_for_each(|number| one_of_a_crowd(number, key.clone(), addresses))
}

/// A node of its own, in this process, that provides one key at the nodes with these addresses,
/// for as long as the process lives.
fn one_of_a_crowd(number: u64, key: RecordKey, addresses: &[&str]) -> Result<(), Failure> {
    let keypair = swarm::numbered_identity(number)?;
    let local = keypair.public().to_peer_id();
    let config = kad::Config::new(swarm::PROTOCOL);
    let mut swarm = swarm::build(&keypair, MemoryStore::new(local), config, None)?;
    for address in addresses {
        let mut address: Multiaddr = address.parse()?;
        let Some(Protocol::P2p(peer)) = address.pop() else {
            return Err("an address ends with /p2p/<peer>".into());
        };
        swarm.behaviour_mut().kad.add_address(&peer, address);
    }
    swarm.add_external_address(format!("/ip4/10.7.7.7/tcp/{}", number % 60_000).parse()?);
    swarm.behaviour_mut().kad.start_providing(key)?;
    tokio::spawn(async move {
        loop {
            let _whatever_happens = swarm.select_next_some().await;
        }
    });
    Ok(())
}
