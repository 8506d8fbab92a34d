//! Connections as handles: cancel, disconnect with and without pending stores, drop, re-entry.

use std::time::Duration;

use peercask_peerstore::gnunet::{Acknowledge, ErrorKind, Event, Filter, From, MonitorSpec};

use crate::support::{
    Multiple, Notes, Place, Replace, all, both, found, put, record, turn_idle, turn_until, values,
};

both! {
    fn a_store_cancelled_before_its_turn_is_not_stored_and_not_told(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let queue = |value: &str| {
            let told = notes.clone();
            let value = value.to_owned();
            let stored = record("s", 1, "k", &value);
            connection
                .store_then(stored, Multiple, Acknowledge::Kernel, move |_, _| told.add(value))
                .expect("queued")
        };
        let (first, second, third) = (queue("1"), queue("2"), queue("3"));
        assert!(connection.cancel(second));
        assert!(!connection.cancel(second), "only once");
        turn_until(&connection, || notes.len() == 2);
        turn_idle(&connection);
        assert_eq!(notes.take(), ["1", "3"]);
        assert_eq!(values(&connection, all("s")), ["1", "3"]);
        // Too late is not done half: it says so.
        assert!(!connection.cancel(first));
        assert!(!connection.cancel(third));
    }

    fn a_callback_may_cancel_another_store(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let other = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (told, known) = (notes.clone(), other.clone());
        connection
            .store_then(record("s", 1, "a", "1"), Multiple, Acknowledge::Kernel, move |connection, _| {
                let id = known.lock().expect("whole").expect("known by now");
                // It was handed over in the same turn: the truth comes by its own callback.
                told.add(format!("cancelled {}", connection.cancel(id)));
            })
            .expect("queued");
        let told = notes.clone();
        let second = connection
            .store_then(record("s", 1, "b", "2"), Multiple, Acknowledge::Kernel, move |_, done| {
                told.add(format!("stored {}", done.is_ok()));
            })
            .expect("queued");
        *other.lock().expect("whole") = Some(second);
        turn_until(&connection, || notes.len() == 2);
        assert_eq!(notes.take(), ["cancelled false", "stored true"]);
        assert_eq!(found(&connection, all("s")).len(), 2);
    }

    fn disconnecting_with_sync_runs_what_is_pending(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let told = notes.clone();
        connection
            .watch_then(all("s"), u64::MAX, move |_, _| told.add("watch"))
            .expect("a watch");
        let told = notes.clone();
        connection
            .iterate_then(all("s"), u64::MAX, move |_, _| told.add("walk"))
            .expect("a walk");
        for at in 0..5 {
            let told = notes.clone();
            let pending = record("s", 1, "k", &at.to_string());
            connection
                .store_then(pending, Multiple, Acknowledge::Device, move |_, done| {
                    done.expect("stored");
                    told.add(format!("done {at}"));
                })
                .expect("queued");
        }
        connection.disconnect(true).expect("all were stored");
        assert_eq!(notes.take(), ["done 0", "done 1", "done 2", "done 3", "done 4"]);
        let closed = connection.turn(Duration::ZERO).expect_err("closed");
        assert_eq!(closed.kind(), ErrorKind::Closed);
        connection.disconnect(true).expect("nothing left");
        assert_eq!(values(&place.connect(), all("s")), ["0", "1", "2", "3", "4"]);
    }

    fn disconnecting_without_sync_and_dropping_drop_what_is_pending(via) {
        let place = Place::native(via);
        let notes = Notes::default();
        for drop_it in [false, true] {
            let connection = place.connect();
            for at in 0..5 {
                let told = notes.clone();
                let pending = record("s", 1, "k", &at.to_string());
                connection
                    .store_then(pending, Multiple, Acknowledge::Kernel, move |_, _| told.add("done"))
                    .expect("queued");
            }
            let told = notes.clone();
            let spec = MonitorSpec::new(all("s")).from(From::Existing);
            connection.watch_then(spec, u64::MAX, move |_, _| told.add("watch")).expect("a watch");
            match drop_it {
                true => drop(connection),
                false => connection.disconnect(false).expect("closed"),
            }
        }
        assert_eq!(notes.take(), Vec::<String>::new());
        assert_eq!(found(&place.connect(), all("s")), []);
    }

    /// What upstream got wrong once, and its own tests do: disconnecting in a callback.
    fn a_callback_may_disconnect_its_own_connection(via) {
        let place = Place::native(via);
        put(&place.connect(), &record("s", 1, "k", "v"), Multiple);
        for sync_first in [false, true] {
            let connection = place.connect();
            let notes = Notes::default();
            let told = notes.clone();
            connection
                .iterate_then(all("s"), u64::MAX, move |connection, found| {
                    found.expect("readable");
                    let inner = told.clone();
                    connection
                        .store_then(record("t", 1, "k", "v"), Replace, Acknowledge::Kernel, move |_, _| {
                            inner.add("stored");
                        })
                        .expect("queued");
                    connection.disconnect(sync_first).expect("closed");
                    told.add("disconnected");
                })
                .expect("queued");
            while connection.turn(Duration::from_millis(20)).is_ok() {}
            let expected: &[&str] = if sync_first { &["stored", "disconnected"] } else { &["disconnected"] };
            assert_eq!(notes.take(), expected);
            assert_eq!(connection.turn(Duration::ZERO).expect_err("closed").kind(), ErrorKind::Closed);
        }
    }

    /// `turn` inside a callback runs others, and never the one that is running.
    fn a_callback_may_take_a_turn_itself(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let depth = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (told, deep) = (notes.clone(), depth.clone());
        connection
            .watch_then(Filter::subsystem("s"), u64::MAX, move |connection, event| {
                let running = deep.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                assert_eq!(running, 0, "it is not entered twice");
                if let Event::Stored { .. } = event.expect("works") {
                    connection.turn(Duration::ZERO).expect("a nested turn");
                    told.add("event");
                }
                deep.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            })
            .expect("a watch");
        for at in 0..20 {
            let told = notes.clone();
            connection
                .store_then(record("s", 1, "k", &at.to_string()), Multiple, Acknowledge::Accepted, move |connection, done| {
                    done.expect("stored");
                    connection.turn(Duration::ZERO).expect("a nested turn");
                    told.add("done");
                })
                .expect("queued");
        }
        turn_until(&connection, || notes.len() == 40);
        turn_idle(&connection);
        assert_eq!(notes.take().iter().filter(|note| *note == "event").count(), 20);
    }
}
