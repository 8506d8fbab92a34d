//! A Kademlia record store for rust-libp2p nodes that survives restarts and never holds up the
//! swarm: [`PersistentStore`] takes the place of `MemoryStore` in a `kad::Behaviour`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use libp2p_identity::PeerId;
//! use libp2p_kad::{Behaviour, Config, PROTOCOL_NAME};
//! use peercask_kad::{Options, PersistentStore, Republisher};
//!
//! let dir = tempfile::tempdir()?;
//! let local = PeerId::random(); // the node's own, the same at every start
//! let store = PersistentStore::open(dir.path(), local, Options::default())?;
//! let handle = store.handle(); // taken before the store moves into the behaviour
//! let mut republisher = Republisher::new(handle.clone());
//!
//! let mut config = Config::new(PROTOCOL_NAME);
//! Republisher::configure(&mut config);
//! let mut kad = Behaviour::with_config(local, store, config);
//! kad.start_providing(b"a key".to_vec().into())?;
//!
//! // Every second or so, and `republisher.on_event(&event)` for every kad event:
//! republisher.tick(&mut kad)?;
//! assert_eq!(handle.stats().own_keys, 1);
//! # Ok(()) }
//! ```
//!
//! # What a crash leaves
//!
//! | written by | acknowledged when it is | killed process loses | power cut loses |
//! |---|---|---|---|
//! | `put`, own or foreign | with the kernel | nothing | at most the engine's `sync_interval`, 1 s |
//! | `add_provider` for this node | with the kernel | nothing | the same |
//! | every removal of a live record | with the kernel | nothing; of a record younger than the window: that window | the same |
//! | `add_provider` for others | in a bounded queue | at most [`Options::write_window`], 5 ms, and the batch under way | the same |
//! | `mark_published` | in the same queue | the same; the record is published once more | the same |
//!
//! No call of the trait syncs, merges or walks. A queue that is full refuses at once. Errors go to the
//! nearest of the trait's three words, to a counter by [`Refusal`], and to [`Handle::health`].
//!
//! # Time
//!
//! A deadline is stored as wall-clock nanoseconds with the granted life, and comes back to the
//! nanosecond within a process. After a restart a record lives until its deadline, and never longer
//! than it was granted. The wall clock may step: time is the engine's, which never runs backwards
//! and doubts a leap; see [`Health::clock_warning`].
//!
//! # What each item of the checklist is tested by
//!
//! Tests are in `tests/it` unless another binary is named: `e2e` or `memory`; `bench` is the program
//! in `kad-adapter/bench`.
//!
//! | item | named test |
//! |---|---|
//! | 1 `MemoryStore`'s own tests | all of `upstream`, one each, on `MemoryStore` too and with a reopen between steps; `parity::what_the_node_provides_is_yielded_and_updated_over_a_reopen_too`, `a_full_key_takes_no_more_and_says_ok_as_memory_store_does` |
//! | 2 model | `model::a_hundred_thousand_random_operations_agree_with_memory_store` |
//! | 3 to the nanosecond | `time::a_deadline_stays_where_it_is_while_time_passes_and_over_a_stop` |
//! | 4 limits | `parity::limits_bind_at_their_number_and_replacing_is_allowed_at_capacity`, all of `tiny` |
//! | 5 stable order | `parity::two_calls_without_a_change_yield_the_same_order_and_hold_nothing` |
//! | 6 `retain` | `parity::retain_keeps_what_it_says_with_the_changes_made` |
//! | 7 no runtime | `parity::it_is_send_and_needs_no_runtime` |
//! | 8, E8 kad's behaviour and jobs | all of `behaviour` and `upstream_queries`, `upstream::upstream_jobs_publish_what_lives_and_nothing_else`; see below |
//! | 9 clean end | `durability::after_a_clean_end_everything_is_back_with_or_without_the_saved_index` |
//! | 10 200 kills | `kill::two_hundred_kills_lose_no_value_no_intent_and_no_removal` |
//! | 9-12 every crash | `crash::every_crash_of_a_store_leaves_what_was_acknowledged`, `a_disk_that_fails_is_told_and_loses_nothing_acknowledged` |
//! | 11 damage | `damage::a_flipped_byte_costs_at_most_the_record_that_it_hits`, `a_torn_or_zeroed_tail_costs_what_lay_in_it` |
//! | 12, E6 full disk, EIO | `crash::a_failing_write_is_refused_in_the_traits_words_and_shown_by_health`, `full::on_a_full_disk_it_refuses_reads_on_shows_red_and_recovers_by_itself` |
//! | 13 second open | `durability::a_second_open_fails_at_once_and_says_why`, `crash_open::a_disk_is_open_once_and_free_again_after_any_crash` |
//! | 14 other identity | `durability::another_identity_neither_yields_nor_serves_the_own_records_of_the_one_before`, `crash_open::no_crash_mixes_up_the_intents_of_two_identities` |
//! | 15 newer format | `durability::a_newer_format_is_refused_and_left_as_it_is`, `crash_open::no_crash_opens_a_newer_format_or_cuts_it` |
//! | 16 deadlines over a stop | `time::a_deadline_stays_where_it_is_while_time_passes_and_over_a_stop`, `after_a_stop_beyond_its_life_a_record_is_not_served_not_counted_and_its_space_comes_back`, E1 |
//! | 17 rewrites | `time::merges_and_rewrites_move_no_deadline_by_a_nanosecond` |
//! | 18 clock steps, suspend | `time::a_clock_set_back_ten_years_lets_nothing_live_longer_than_granted`, `a_leap_forward_is_reported_and_expires_nothing_until_it_is_confirmed`, `a_record_written_after_a_suspend_has_its_whole_life_on_disk` |
//! | 19 never | `time::what_never_expires_never_does` |
//! | 20 the sweep's work | `time::the_sweep_takes_out_what_expired_and_looks_at_nothing_else` |
//! | 21 full of expired | `time::a_store_full_of_expired_entries_takes_a_fresh_one_at_the_first_try`, `a_key_full_of_expired_providers_takes_a_fresh_one` |
//! | 22 intent | `time::an_own_provide_is_not_ended_by_publishing_it_again_with_a_deadline` |
//! | 23 separate quotas | `quotas::foreign_flooding_never_makes_the_nodes_own_provide_fail`, E5 |
//! | 24 local fits | `quotas::the_local_provider_fits_on_a_full_key_and_is_never_displaced`, E5 |
//! | 25 caps | `quotas::keys_addresses_and_records_over_their_caps_are_refused_or_trimmed_and_counted`, E5 |
//! | 26 per provider | `quotas::one_provider_has_a_quota_of_its_own` |
//! | 27 disk budget | `churn::a_day_of_churn_meets_the_disk_budget_and_stays_within_it`, `a_day_of_churn_fits_a_file_system_of_its_budget`, `tiny::the_smallest_disk_budget_refuses_what_is_foreign_and_gives_room_again` |
//! | 28 cheap refusals | `quotas::a_refusal_costs_the_same_whatever_the_store_holds` |
//! | 29 system calls | `swarm_thread::without_background_threads_no_call_syncs_merges_or_walks`, `the_kernel_sees_no_sync_rename_unlink_or_directory_read_from_the_swarms_thread`, `closing::a_sync_that_takes_long_holds_up_no_call` |
//! | 30 latency when full | `bench`, which tells the merges and sweeps that fell into it; figures in the README |
//! | 31 syncs by time | `swarm_thread::syncs_are_bounded_by_time_not_by_records` |
//! | 32 full queue | `swarm_thread::a_full_queue_refuses_and_never_waits`, `tiny::a_queue_of_one_record_takes_one_at_a_time` |
//! | 33 growth | `memory::a_provider_record_takes_at_most_a_hundred_bytes_and_no_call_moves_the_index`: foreign provides, puts, own provides |
//! | 34 memory, open time | the same at 200,000 records; `bench` at 10 million |
//! | 35 windows | `due::windows_meet_each_entry_once_a_cycle_in_order_and_over_restarts`, `tiny::a_window_of_one_record_meets_all_of_them` |
//! | 36 near expiry | `time::what_is_close_to_its_deadline_is_not_yielded_and_a_refreshed_entry_survives` |
//! | 37 due | `due::what_is_due_goes_on_where_a_restart_left_it`, `publishing_times_survive_a_kill_and_not_their_records_end`, `behaviour::the_driver_publishes_after_a_restart_without_a_call_of_the_application`, E3 |
//! | 38 handle | `operating::a_handle_is_shared_and_works_on_when_the_store_has_moved` |
//! | 39 statistics | `operating::statistics_add_up`, `statistics_are_registered_as_metrics` |
//! | 40 drop, close | `operating::dropping_the_store_brings_everything_out_within_its_time`, `closing_is_done_once_and_fences_later_calls`, `closing::a_close_that_waits_for_a_merge_holds_up_no_call`, `a_drop_waits_no_longer_than_it_may_and_closing_goes_on_behind_it` |
//! | 41 offline look | `operating::a_read_only_look_lists_and_verifies_what_a_node_left`, `a_dump_has_all_that_is_stored_in_lines_that_others_can_read`; `examples/inspect.rs` |
//! | E1 | `e2e::restart::e1_what_a_killed_holder_held_is_found_when_it_is_back` |
//! | E2 | `e2e::restart::e2_what_ended_during_a_stop_is_neither_served_nor_kept` |
//! | E3 | `e2e::restart::e3_intents_survive_a_kill_and_are_published_without_the_application`, `e3_a_node_that_never_lives_as_long_as_the_interval_publishes_all_the_same` |
//! | E4 | `e2e::bystander::e4_a_bystander_does_not_wait_for_the_store`, `e4_a_bystander_does_not_wait_for_a_slow_disk`; figures by `examples/flood.rs` |
//! | E5 | `e2e::hostile::e5_a_flooded_node_still_provides_its_own_keys`, `e5_a_crowd_on_a_popular_key_keeps_neither_an_honest_peer_nor_the_node_out` |
//! | E6 | `e2e::full_disk::e6_a_node_on_a_full_disk_answers_shows_red_and_recovers` |
//! | E7 rejoin | `e2e::rejoin::e7_a_node_finds_its_way_back_without_its_bootstrap_nodes`, `e7_nine_of_ten_stale_addresses_do_not_keep_a_node_out` |
//! | E9 soak | all of `churn`; `PEERCASK_SEEDS=30` is a month |
//! | bad input | all of `bad_input` |
//! | migration | `parity::a_store_is_filled_from_any_other` |
//!
//! What these do not show. E8: the jobs' own types are private to libp2p-kad, so its three tests of
//! them run through `kad::Behaviour`, whose queries end in no particular order; of its twenty tests of
//! the behaviour those are here in which a store takes part. E6 fills a file system that is really
//! full; a device that fails (EIO), at any call, is the crash lab's simulated disk under item 12, and no
//! test breaks a real one. E9: the clock is in the test's hand, so a day takes seconds; what only real
//! hours would show, a slow leak outside the index and the files, it does not see.

#![forbid(unsafe_code)]

mod bell;
mod codec;
mod due;
mod error;
mod handle;
mod image;
mod index;
pub mod inspect;
#[cfg(feature = "prometheus-client")]
mod metrics;
mod open;
mod options;
mod pending;
mod providers;
mod report;
mod republish;
mod shared;
mod stats;
mod store;
mod time;
mod values;
mod windows;
mod writer;

pub use due::{Due, DueRecord, Published};
pub use error::{Error, Result};
pub use handle::Handle;
pub use options::{Limits, Options};
pub use report::OpenReport;
pub use republish::Republisher;
pub use stats::{Health, Histogram, LastError, Refusal, Refused, State, Stats};
pub use store::{Filled, PersistentStore};
pub use time::{ManualTime, SystemTime, Time};
pub use windows::{ProvidedIter, RecordsIter};

/// The lines by which a node remembers its peers, compiled; the README of the peer store shows the same.
#[cfg(doctest)]
#[doc = include_str!("remember.md")]
struct Remember;
