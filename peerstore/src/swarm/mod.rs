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
//!   for [`Config::proven_life`] after the last time; while a connection lasts that this node dialled, its address
//!   does, as long as the swarm is polled. The order is by the last success.
//! - Who connected to this node is known by what identify tells of it, for as long as it goes on telling:
//!   [`PersistentStore::received`] takes each message, since the swarm's own event comes once for each address.
//! - Capacities are exact, and each address that goes for a newer one is told. Peers that this node dialled with
//!   success are not displaced by those that it only heard of, nor by those that connected to it: identities cost
//!   nothing. Addresses that the program added itself are not counted and not displaced.
//! - Events wait in a bounded queue; one that is not polled is told how many it missed.
//! - Custom data is given by value: it is on disk, not in memory. It keeps its peer, as there.
//!
//! While a node is connected to nobody, [`Rejoin`] dials the peers of its store until one answers.
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
//! | P1 upstream's tests and `MemoryStore` as a model | `upstream::recent_use_bubble_up`, `upstream::bounded_store`, `upstream::update_address_on_connect`, `upstream::identify_external_addr_report`, `parity::what_was_heard_of_last_comes_first`, `parity::connecting_as_dialler_proves_an_address_and_as_listener_says_nothing`, `parity::random_events_leave_what_memory_store_has`, `parity::random_events_beyond_capacities_leave_what_memory_store_has_in_its_order` |
//! | P2 restart and kill | `restart::after_a_restart_or_a_kill_everything_is_as_it_was_and_nothing_is_told_as_new` |
//! | P3 references to what is not in memory | `parity::addresses_are_lent_for_peers_that_are_not_in_memory_within_a_bound` |
//! | P4 names at the end | `parity::a_peers_own_name_at_the_end_makes_no_second_address_and_anothers_is_refused`, `parity::the_address_of_a_wrong_peer_becomes_the_one_that_answered` |
//! | P5 capacities, evictions, this node itself | `limits::capacities_are_exact_and_each_address_that_goes_is_told`, `parity::a_peer_that_turns_out_to_be_this_node_is_forgotten`, `lasting::an_address_where_this_node_answers_makes_it_no_peer_of_its_own` |
//! | P6 what each address keeps, order, lives | `dials::each_address_keeps_when_it_was_seen_reached_and_failed_and_the_last_success_comes_first`, `dials::an_address_that_was_only_heard_of_goes_sooner_than_one_that_led_to_its_peer`, `lasting::a_connection_longer_than_a_proven_life_is_remembered_until_a_life_after_its_end`, `lasting::an_address_that_expired_while_it_was_in_use_comes_back_at_the_end_and_one_that_was_removed_does_not`, `lasting::each_of_several_connections_to_a_peer_keeps_its_address`, `lasting::identify_again_keeps_the_addresses_of_who_connected_to_us`, `upstream::who_connected_to_a_real_swarm_is_known_for_as_long_as_it_identifies` |
//! | P7 a start without a network | `dials::a_start_without_a_network_forgets_nothing_and_with_one_failures_count_again`, `dials::contact_is_over_some_time_after_the_last_connection` |
//! | P8 candidates, and dialling them | `limits::candidates_were_reached_last_and_are_spread_over_networks`, `upstream::a_node_that_is_alone_dials_on_until_somebody_answers`, `upstream::a_node_whom_nobody_answers_rests_before_it_begins_anew` |
//! | P9 floods; memory and times are figures of `cargo bench --bench books -- 1000000 scale limited`, with five addresses | `limits::a_flood_of_strangers_displaces_nobody_who_was_connected`, `limits::a_stranger_that_tells_too_much_takes_nobodys_protection`, `limits::who_connects_to_us_displaces_nobody_whom_we_dialled` |
//! | P10 repetition | `limits::hearing_the_same_again_writes_nothing` |
//! | P11 damage | `restart::a_damaged_store_opens_with_what_is_left_or_empty_and_says_so`, `restart::a_second_process_is_told_that_the_store_is_taken` |
//! | P12 events | `parity::a_poll_without_an_event_is_woken_by_the_next_and_the_queue_is_bounded` |
//! | P13 custom data | `customs::data_is_kept_replaced_and_taken_and_keeps_its_peer`, `customs::data_that_says_nothing_to_this_version_is_dropped_and_counted_and_the_peer_stays`, `lasting::data_of_the_program_keeps_its_peer_for_ever_and_protects_it_from_nobody` |
//! | P14 signed records | `restart::a_signed_record_takes_the_place_of_an_older_one_and_a_forged_one_changes_nothing` |

mod config;
mod connections;
mod custom;
mod event;
mod health;
mod learn;
mod rejoin;
mod room;
mod scratch;
mod store;

pub use config::Config;
pub use custom::CustomData;
pub use event::Event;
pub use health::Health;
pub use rejoin::Rejoin;
pub use store::PersistentStore;

/// The behaviour of `libp2p-peer-store` with this store in it.
pub type Behaviour<T = ()> = libp2p_peer_store::Behaviour<PersistentStore<T>>;
