//! The books as the peer store of a rust-libp2p swarm: [`PersistentStore`] is a `Store` for the
//! `libp2p-peer-store` crate, in the place of its `MemoryStore`. It learns from what the swarm
//! tells, gives the swarm the addresses to dial, and has both again after a restart.
//!
//! ```
//! use peercask_peerstore::swarm::{Behaviour, Config, PersistentStore};
//!
//! # fn main() -> peercask_peerstore::libp2p::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let dir = dir.path().join("peers");
//! let store: PersistentStore = PersistentStore::open(&dir, Config::default())?;
//! let books = store.books().clone(); // usable from anywhere when the store has moved
//! for candidate in store.bootstrap_candidates(8)? {
//!     println!("{} was last reached at {}", candidate.peer, candidate.last_success_ms);
//! }
//! let behaviour = Behaviour::new(store); // one of the node's behaviours
//! # assert_eq!(books.count(), 0);
//! # let _ = behaviour;
//! # Ok(()) }
//! ```
//!
//! # What differs from `MemoryStore`, and why
//!
//! - An address is kept without the peer's own `/p2p` at its end, so that it takes one place and a
//!   failed dial finds it; one that ends with another peer's name is refused.
//! - A failed dial counts; the [`Config::dial_failures_max`]th in a row removes the address. None
//!   counts while this node reaches nobody at all: a start without a network forgets nothing.
//! - Addresses that were only heard of live for [`Config::heard_life`], those that led to the peer
//!   for [`Config::proven_life`] after the last time. The order is by the last success.
//! - Capacities are exact, and each address that goes for a newer one is told. Peers that this node
//!   was connected to are not displaced by those that it only heard of.
//! - Events wait in a bounded queue; one that is not polled is told how many it missed.
//! - Custom data is given by value: it is on disk, not in memory.
//!
//! # What a crash leaves
//!
//! What was learned up to the crash of the process; a power cut takes at most the last second. No
//! call waits for the device.

//! # Checklist
//!
//! What the research on `libp2p-peer-store` asks for, and the test in `tests/swarm/` that shows it.
//!
//! | item | test |
//! |---|---|
//! | P1 upstream's tests and `MemoryStore` as a model | `parity::what_was_heard_of_last_comes_first`, `parity::connecting_as_dialler_proves_an_address_and_as_listener_says_nothing`, `parity::random_events_leave_what_memory_store_has` |
//! | P2 restart and kill | `restart::after_a_restart_or_a_kill_everything_is_as_it_was_and_nothing_is_told_as_new` |
//! | P3 references to what is not in memory | `parity::addresses_are_lent_for_peers_that_are_not_in_memory_within_a_bound` |
//! | P4 names at the end | `parity::a_peers_own_name_at_the_end_makes_no_second_address_and_anothers_is_refused`, `parity::the_address_of_a_wrong_peer_becomes_the_one_that_answered` |
//! | P5 capacities, evictions, this node itself | `limits::capacities_are_exact_and_each_address_that_goes_is_told`, `parity::a_peer_that_turns_out_to_be_this_node_is_forgotten` |
//! | P6 what each address keeps, order, lives | `dials::each_address_keeps_when_it_was_seen_reached_and_failed_and_the_last_success_comes_first`, `dials::an_address_that_was_only_heard_of_goes_sooner_than_one_that_led_to_its_peer` |
//! | P7 a start without a network | `dials::a_start_without_a_network_forgets_nothing_and_with_one_failures_count_again`, `dials::contact_is_over_some_time_after_the_last_connection` |
//! | P8 candidates | `limits::candidates_were_reached_last_and_are_spread_over_networks` |
//! | P9 floods | `limits::a_flood_of_strangers_displaces_nobody_who_was_connected` |
//! | P10 repetition | `limits::hearing_the_same_again_writes_nothing` |
//! | P11 damage | `restart::a_damaged_store_opens_with_what_is_left_or_empty_and_says_so`, `restart::a_second_process_is_told_that_the_store_is_taken` |
//! | P12 events | `parity::a_poll_without_an_event_is_woken_by_the_next_and_the_queue_is_bounded` |
//! | P13 custom data | `customs::data_is_kept_replaced_and_taken_and_keeps_its_peer`, `customs::data_that_says_nothing_to_this_version_is_dropped_and_counted_and_the_peer_stays` |
//! | P14 signed records | `restart::a_signed_record_takes_the_place_of_an_older_one_and_a_forged_one_changes_nothing` |

mod config;
mod custom;
mod scratch;
mod store;

pub use config::Config;
pub use custom::CustomData;
pub use store::{Event, Health, PersistentStore};

/// The behaviour of `libp2p-peer-store` with this store in it.
pub type Behaviour<T = ()> = libp2p_peer_store::Behaviour<PersistentStore<T>>;
