//! What a libp2p node knows about its peers, kept across restarts: the address book with lives and signed
//! records, the key book, the protocol book, metadata, latencies and tags.
//!
//! - [`Peerstore`] is the store: each call is one atomic change of one peer, [`Peerstore::update`] changes
//!   several books at once, [`Peerstore::update_many`] several peers.
//! - [`Datastore`] is what it stands on: Peercask by default ([`Peerstore::open`]), memory
//!   ([`Peerstore::in_memory`]), SQLite (feature `sqlite`), or one of your own ([`Peerstore::with`]).
//! - [`Options`] holds every choice, with presets that do as go's and js's stores do.

mod address;
mod address_book;
mod addresses;
mod backend;
mod cache;
mod change;
mod codec;
mod core;
mod counters;
mod datastore;
mod directory;
mod editor;
mod error;
mod event;
mod feed;
mod gc;
mod keeper;
mod keys;
mod metadata;
mod open;
mod options;
mod peer;
mod peer_data;
mod peers;
mod peerstore;
mod profile;
mod protocols;
mod query;
mod reach;
mod recent;
mod records;
mod speakers;
mod stored_keys;
mod tags;
mod time;
mod ttl;
mod whole;

pub use address::{ADDRESS_LEN_MAX, Address, AddressOrder, normal_form, parse_address};
pub use address_book::Identified;
pub use addresses::{Dial, IDENTIFY_ADDRESSES_MAX, KEPT_AFTER_DISCONNECT, Origin};
#[cfg(feature = "sqlite")]
pub use backend::SqliteDatastore;
pub use backend::{MemoryDatastore, PeercaskDatastore};
pub use counters::Stats;
pub use datastore::{Acknowledge, Batch, Datastore, DatastoreStats, Entries};
pub use editor::PeerEditor;
pub use error::{Error, ErrorKind, Result};
pub use event::{Changed, Event, EventKind, Next, PeerRemovalReason, RemovalReason};
pub use feed::Stream;
pub use gc::GcReport;
pub use keys::KEY_BYTES_MAX;
pub use metadata::METADATA_KEY_LEN_MAX;
pub use options::{AddressCap, AddressFilter, EqualSeq, GcMode, Options, PrivateKeys};
pub use peer::{PEER_LEN_MAX, Peer};
pub use peer_data::PeerData;
pub use peers::{Peers, Position};
pub use peerstore::Peerstore;
pub use profile::{MetadataValue, Tag};
pub use query::{Candidate, Order, Query};
pub use records::Consumed;
pub use stored_keys::Secret;
pub use tags::{KEEP_ALIVE, LATENCY_SMOOTHING, TAG_LEN_MAX};
pub use ttl::{Confidence, Source, Ttl};
pub use whole::PeerPatch;
