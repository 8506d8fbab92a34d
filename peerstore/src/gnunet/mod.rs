//! GNUnet's PEERSTORE: records of subsystem, peer identity, key, binary value and expiry, that the
//! subsystems of a node keep about its peers.
//!
//! - [`Peerstore`] is the store itself, to be used directly, from any thread.
//! - [`Connection`] is a handle with GNUnet's semantics: stores wait in it until its turn, answers
//!   come as callbacks on the host's own thread, cancelling and disconnecting mean what they say.
//!   It is the same whether it leads to a peerstore of this process ([`Peerstore::connect`]) or to
//!   a service ([`Connection::to_service`]).
//! - [`Service`] serves one peerstore to all processes of a host.
//!
//! # Two modes
//!
//! [`Options::native`], the default, hides a record as soon as it has expired, takes values up to
//! 16 MiB and any byte in names, and walks in the order of insertion. [`Options::compatible`] does as
//! upstream's service up to 0.20: expired records are returned until they are swept, records of more
//! than [`WIRE_BYTES_MAX`] bytes and names with a NUL are an error value, the order is by peer and
//! key. Either way the other order is had for the asking, in every one of the four ways to ask.
//!
//! # What a store promises
//!
//! A REPLACE is one atomic step: whatever kills the process, the old records are there, or the new
//! one. A completion says what really happened: [`Acknowledge::Accepted`], [`Acknowledge::Kernel`]
//! (the default, it survives kill -9) or [`Acknowledge::Device`] (power loss). An error means that
//! nothing was changed, except where the documentation of the call says otherwise.
//!
//! Sequence numbers rise in the order of commit, also over reopens and crashes, and are never given
//! twice, so a walk in insertion order and a monitor can be taken up behind any of them.
//!
//! # Snapshots, and what they cost
//!
//! A walk sees the records as they were when it started. The index keeps what is removed meanwhile
//! for as long as such a walk lives, and so do the files beneath: a walk that is never ended keeps
//! space from coming back. Values are read without any lock, a page of 64 KiB at a time (or of one
//! larger value); a delete reads none. One delete of many records is one step of the index too, for
//! which others wait: its time is in proportion to their number, and not to their bytes. The other orders and the counts come from an index in memory, about
//! 360 bytes for each record with the store beneath, built at open from one pass over the records; see
//! `docs/decisions/` for why.
//!
//! # Threads
//!
//! A peerstore has one background thread of its own, the sweeper ([`Options::background`]), beside
//! the two of the store beneath ([`Options::store`]); all are joined by [`Peerstore::close`]. With
//! both off it has none, and [`Peerstore::maintain`] is called by the host. A connection has no
//! thread. No callback runs while a lock or borrow is held, so callbacks may do anything.
//!
//! # Checklist
//!
//! What the research on upstream's behaviour asks for, and the test that shows it. Tests marked *
//! run over both kinds of connection.
//!
//! | item | test in `tests/it/` |
//! |---|---|
//! | 1 every field and every byte comes back | `records::a_record_comes_back_with_every_byte_of_its_value` * |
//! | 2 MULTIPLE keeps identical values, in order | `records::multiple_keeps_identical_values_in_the_order_of_insertion` * |
//! | 3 REPLACE takes its triple and nothing else | `records::replace_removes_its_triple_and_nothing_else` * |
//! | 4, 41 REPLACE is atomic at any byte of the log | `crash::cut_at_any_byte_a_replace_is_old_or_new`, `lab::after_any_legal_crash_each_change_is_whole_or_absent`, `random::threads_meet_only_whole_states` |
//! | 5 edge values of expiry | `records::edge_values_of_expiry_read_back_exactly` * |
//! | 6 the limit of the wire is an error value | `records::one_byte_over_the_wire_limit_is_an_error_value` *, `records::native_values_may_be_larger_up_to_their_own_limit` * |
//! | 7 NUL, empty and other bytes in names | `records::names_may_be_empty_or_not_utf8_and_hold_a_nul_in_native_mode_alone` *, `records::names_over_their_length_are_refused` * |
//! | 8, 41 told exactly once, at each level | `records::a_store_is_told_exactly_once_at_each_level` * |
//! | 9 a cancelled store is not stored | `handles::a_store_cancelled_before_its_turn_is_not_stored_and_not_told` *, `handles::a_callback_may_cancel_another_store` * |
//! | 10 a failing disk is an error, never a false "done" | `disk::on_a_full_disk_stores_fail_truly_deletes_go_on_and_stores_resume`, `records::a_refused_store_is_told_as_refused` * |
//! | 11, 12 four ways to ask, one end | `iterate::the_four_ways_to_ask_find_exactly_what_matches_and_then_one_end` * |
//! | 13 two orders, stable | `iterate::both_orders_are_stable_across_reopen_and_merge` *, `iterate::the_compatible_mode_goes_by_peer_and_the_native_one_by_insertion` * |
//! | 14 snapshot, re-entry | `iterate::a_walk_sees_its_snapshot` *, `iterate::callbacks_may_store_replace_and_walk_again` *, `iterate::a_direct_walk_may_store_while_it_holds_a_record`, `iterate::walks_beside_large_deletes_find_every_record_as_it_was` |
//! | 15 cancel a walk at any moment | `iterate::cancelling_silences_a_walk_and_nothing_else` * |
//! | 16 two walks on a handle, and after stores | `iterate::two_walks_on_one_connection_both_complete` *, `iterate::a_walk_after_stores_on_one_connection_sees_them_all` * |
//! | 17 what a sweep takes | `expiry::a_sweep_removes_what_expires_before_and_keeps_what_expires_then` * |
//! | 18 hidden at once or returned until swept | `expiry::an_expired_record_is_hidden_at_once_or_returned_until_swept` * |
//! | 19 sweep at open, at an interval, at its cost | `expiry::the_sweep_comes_at_open_and_at_its_interval_by_the_clock_of_the_store`, `expiry::the_background_thread_sweeps_and_is_joined_at_close`, `expiry::an_empty_sweep_and_a_small_one_look_at_no_more_than_what_expired` |
//! | 20 space comes back, nothing is revived | `expiry::swept_and_replaced_space_comes_back_and_nothing_is_revived` |
//! | 21 what a watch tells | `watch::a_watch_tells_each_later_store_of_its_triple_and_nothing_else` * |
//! | 22 several watches on one triple | `watch::several_watches_on_one_triple_each_get_each_event_once` * |
//! | 23 cancel a watch in its callback | `watch::no_event_comes_after_cancel_also_inside_the_callback` * |
//! | 24 events in the order of commit | `watch::events_come_in_the_order_of_commit_behind_the_continuations` *, `watch::store_and_event_take_turns` * |
//! | 25 monitor: wildcards, first pass, seam, paging, slow | `monitors::wildcards_choose_by_peer_by_key_or_everything` *, `monitors::what_is_there_comes_first_then_one_sync_then_what_is_new` *, `monitors::a_store_at_the_seam_is_told_exactly_once` *, `monitors::the_initial_pass_goes_no_further_than_its_credit` *, `monitors::a_slow_monitor_never_makes_a_store_wait` * |
//! | 26 paging, more than 65,536 requests | `iterate::paging_delivers_no_more_than_was_asked_for` *, `iterate::without_credit_nothing_is_delivered` *, `iterate::a_connection_takes_more_than_65536_requests` * |
//! | 27 disconnect with and without pending stores, drop | `handles::disconnecting_with_sync_runs_what_is_pending` *, `handles::disconnecting_without_sync_and_dropping_drop_what_is_pending` *, `handles::a_callback_may_disconnect_its_own_connection` * |
//! | 28 reopen, also after kill -9 | `crash::after_kill_9_of_a_writer_everything_acknowledged_is_there_in_its_order`, `iterate::both_orders_are_stable_across_reopen_and_merge` * |
//! | 29 the newer of two HELLOs | `records::of_two_hellos_the_one_that_lives_longer_stays` * |
//! | 42 delete, forget, count, quota | `quota::deletes_take_any_combination_and_forgetting_goes_everywhere` *, `quota::counts_and_bytes_follow_every_change` *, `quota::a_quota_refuses_or_evicts_the_oldest` *, `quota::a_quota_holds_over_a_reopen`, `quota::what_has_expired_goes_first_when_a_quota_is_full`, `quota::a_large_delete_reads_nothing_of_what_goes` |
//! | 43 removals, coming back without a gap | `monitors::removals_are_told_with_their_cause_to_those_who_ask` *, `monitors::a_monitor_that_comes_back_misses_nothing` *, `monitors::a_monitor_that_was_away_too_long_is_told_and_gets_the_records` *, `service::a_client_heals_after_a_restart_without_gap_or_double`, `service::a_store_without_an_answer_is_not_repeated_and_its_caller_is_told`, `service::a_newest_and_a_sweep_without_an_answer_are_not_repeated_either` |
//! | 44 both of upstream's schemas, in and out | `sqlite::both_of_upstreams_schemas_are_read_in_the_order_of_insertion`, `sqlite::a_database_goes_through_a_peerstore_into_the_other_schema` (feature `sqlite`) |
//! | 46 the command, in `tests/it/cli/peerstore.rs` of the workspace; `peercask verify` checks any store | `cli::records_are_stored_listed_counted_and_removed_through_a_service_and_in_a_directory`, `cli::a_watch_in_one_terminal_hears_of_a_store_in_another`, `cli::a_monitor_tells_what_is_there_what_is_new_and_what_goes`, `cli::what_export_writes_import_reads_back`, `cli::what_is_not_there_or_not_right_is_said_with_its_exit_code` |
//! | 47 large values, checksums, backup | `records::native_values_may_be_larger_up_to_their_own_limit` *, `disk::a_damaged_record_costs_only_itself` *, `disk::damage_met_by_a_walk_is_told_and_the_walk_goes_on` *, `service::a_backup_is_taken_while_others_store` |
//! | engine: sequence numbers are never reused | `iterate::a_sequence_number_is_never_reused_also_not_by_replace_or_after_reopen` * |
//! | engine: resume behind any sequence number | `iterate::a_walk_is_taken_up_behind_any_sequence_number` * |
//! | everything at once, against a plain list | `random::random_operations_match_a_plain_list` * |
//! | a second process, strangers, dying clients | `disk::a_second_opener_of_a_store_is_told_that_it_is_taken`, `service::frames_of_any_bytes_end_their_own_connection_and_no_other`, `service::a_client_that_dies_in_the_middle_of_anything_leaves_nothing_behind`, `service::a_client_that_does_not_read_holds_up_nobody`, `service::a_service_that_does_not_greet_holds_up_nobody`, `service::a_client_that_greets_byte_by_byte_has_the_time_of_one_greeting`, `crash::after_kill_9_of_a_client_or_of_the_service_everything_acknowledged_is_there` |

mod answers;
mod change;
mod client;
mod codec;
mod connection;
mod core;
mod error;
mod event;
mod expiries;
mod feed;
mod frame_stream;
mod greeting;
mod hello;
mod index;
mod iteration;
mod link;
mod local_link;
mod monitor;
mod numbers;
mod options;
mod peerstore;
mod record;
mod requests;
mod service;
mod service_client;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod sweeper;
mod waker;
mod wire;

pub use answers::{Records, Watch};
pub use client::ClientOptions;
pub use connection::{Connection, Found, RequestId};
pub use error::{Error, ErrorKind, Result};
pub use event::{Cause, Event};
pub use hello::{HELLO_KEY, HELLO_SUBSYSTEM, hello};
pub use iteration::Iteration;
pub use monitor::{From, Monitor, MonitorSpec};
pub use options::{Acknowledge, Options, Order, Query, Quota, QuotaRule, StoreOption};
pub use peerstore::{Peerstore, PeerstoreStats, SubsystemStats};
pub use record::{FOREVER, Filter, NAME_LEN_MAX, PeerIdentity, Record, Stored, WIRE_BYTES_MAX};
pub use service::{Service, ServiceOptions};
