//! Stores of what a node knows about its peers, on a [`peercask`] store.
//!
//! - [`gnunet`] (feature `gnunet`, on by default): GNUnet's PEERSTORE, records of subsystem, peer
//!   identity, key, binary value and expiry, for one process or as a service for all of a host.
//! - [`libp2p`] (feature `libp2p`, on by default): what a libp2p node knows about its peers, in the books of
//!   go-libp2p's peer store.
//! - `swarm` (feature `swarm`): the books as the peer store of a rust-libp2p swarm.
#![forbid(unsafe_code)]

#[cfg(any(all(feature = "gnunet", unix), feature = "libp2p"))]
pub mod error;
#[cfg(all(feature = "gnunet", unix))]
pub mod gnunet;
#[cfg(feature = "libp2p")]
pub mod libp2p;
#[cfg(feature = "swarm")]
pub mod swarm;

/// The README's programs are compiled and run with the other examples.
#[cfg(all(doctest, feature = "gnunet", unix))]
#[doc = include_str!("../README.md")]
struct Readme;
