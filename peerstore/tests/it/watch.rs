//! Watches on one triple, as upstream's old interface has them, and what they get wrong there.

use std::time::Duration;

use peercask_peerstore::gnunet::{Acknowledge, Event, Filter};

use crate::support::{
    Multiple, NOW_US, Notes, Place, Replace, all, both, event, peer, put, record, told, turn_idle,
    turn_until,
};

fn synced(event: &Event) -> bool {
    matches!(event, Event::Synced { .. })
}

both! {
    fn a_watch_tells_each_later_store_of_its_triple_and_nothing_else(via) {
        let place = Place::native(via);
        let connection = place.connect();
        put(&connection, &record("s", 1, "k", "before"), Multiple);
        let triple = Filter::triple("s", peer(1), "k");
        let mut watch = connection.watch(triple).expect("a watch");
        assert!(synced(&event(&mut watch)), "no initial value");
        // The writer's own connection is told too, of identical values too.
        put(&connection, &record("s", 1, "k", "same"), Multiple);
        put(&connection, &record("s", 1, "k", "same"), Multiple);
        put(&connection, &record("s", 2, "k", "other peer"), Multiple);
        put(&connection, &record("s", 1, "K", "other key"), Multiple);
        put(&connection, &record("t", 1, "k", "other subsystem"), Multiple);
        put(&connection, &record("s", 1, "k", "new").expires_at_us(NOW_US + 1), Replace);
        place.clock.advance(Duration::from_secs(1));
        connection.expire(None).expect("swept");
        connection.remove(&all("s")).expect("removed");
        put(&connection, &record("s", 1, "k", "last"), Multiple);
        let heard: Vec<String> = (0..4).map(|_| told(&event(&mut watch))).collect();
        assert_eq!(heard, ["same", "same", "new", "last"]);
        assert_eq!(watch.next_timeout(Duration::from_millis(30)).expect("works"), None);
    }

    /// Upstream's old service gives both events to the newest watch.
    fn several_watches_on_one_triple_each_get_each_event_once(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let triple = Filter::triple("s", peer(1), "k");
        let notes = Notes::default();
        let watch = |name: &'static str| {
            let notes = notes.clone();
            connection
                .watch_then(triple.clone(), u64::MAX, move |_, event| {
                    let event = event.expect("works");
                    if !synced(&event) {
                        notes.add(format!("{name} {}", told(&event)));
                    }
                })
                .expect("a watch")
        };
        let ids = ["a", "b", "c"].map(watch);
        put(&connection, &record("s", 1, "k", "1"), Multiple);
        turn_until(&connection, || notes.len() >= 3);
        turn_idle(&connection);
        let mut heard = notes.take();
        heard.sort();
        assert_eq!(heard, ["a 1", "b 1", "c 1"]);
        assert!(connection.cancel(ids[0]));
        put(&connection, &record("s", 1, "k", "2"), Multiple);
        turn_until(&connection, || notes.len() >= 2);
        turn_idle(&connection);
        let mut heard = notes.take();
        heard.sort();
        assert_eq!(heard, ["b 2", "c 2"]);
    }

    fn no_event_comes_after_cancel_also_inside_the_callback(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let own = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (told_notes, known) = (notes.clone(), own.clone());
        let id = connection
            .watch_then(Filter::triple("s", peer(1), "k"), u64::MAX, move |connection, event| {
                if synced(&event.expect("works")) {
                    return;
                }
                told_notes.add("called");
                let id = known.lock().expect("whole").expect("known by now");
                assert!(connection.cancel(id));
            })
            .expect("a watch");
        *own.lock().expect("whole") = Some(id);
        turn_idle(&connection);
        for value in ["1", "2", "3"] {
            put(&connection, &record("s", 1, "k", value), Multiple);
        }
        turn_until(&connection, || notes.len() > 0);
        turn_idle(&connection);
        assert_eq!(notes.take().len(), 1);
        assert!(!connection.cancel(id));
    }

    /// With stores queued, all continuations come first, then the events, in the order of commit.
    fn events_come_in_the_order_of_commit_behind_the_continuations(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let notes = Notes::default();
        let told_notes = notes.clone();
        connection
            .watch_then(Filter::triple("s", peer(1), "k"), u64::MAX, move |_, event| {
                let event = event.expect("works");
                if !synced(&event) {
                    told_notes.add(format!("event {}", told(&event)));
                }
            })
            .expect("a watch");
        turn_idle(&connection);
        for at in 0..6 {
            let notes = notes.clone();
            connection
                .store_then(
                    record("s", 1, "k", &at.to_string()),
                    Multiple,
                    Acknowledge::Accepted,
                    move |_, done| {
                        done.expect("stored");
                        notes.add(format!("done {at}"));
                    },
                )
                .expect("queued");
        }
        turn_until(&connection, || notes.len() == 12);
        let heard = notes.take();
        let of = |kind: &str| -> Vec<String> {
            heard.iter().filter(|note| note.starts_with(kind)).cloned().collect()
        };
        let numbered = |kind: &str| (0..6).map(|at| format!("{kind} {at}")).collect::<Vec<_>>();
        assert_eq!(of("done"), numbered("done"));
        assert_eq!(of("event"), numbered("event"));
    }

    /// The shape of upstream's performance test: store and event take turns on one key.
    fn store_and_event_take_turns(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let mut watch = connection.watch(Filter::triple("s", peer(1), "k")).expect("a watch");
        assert!(synced(&event(&mut watch)));
        for at in 0..500 {
            let option = if at == 0 { Replace } else { Multiple };
            put(&connection, &record("s", 1, "k", &at.to_string()), option);
            assert_eq!(told(&event(&mut watch)), at.to_string());
        }
    }
}
