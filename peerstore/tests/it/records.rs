//! What a record is and how it is stored: round trips, MULTIPLE and REPLACE, limits, completions.

use bytes::Bytes;
use peercask_peerstore::gnunet::{
    Acknowledge, Connection, ErrorKind, FOREVER, Filter, NAME_LEN_MAX, Options, Order, Query,
    Record, WIRE_BYTES_MAX, hello,
};

use crate::support::{
    Multiple, NOW_US, Notes, Place, Replace, all, both, found, peer, put, record, turn_until,
    values,
};

both! {
    fn a_record_comes_back_with_every_byte_of_its_value(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let every: Vec<u8> = (0..=255).collect();
        let full = Record::new("s", peer(1), "k", every.clone()).expires_at_us(NOW_US + 5);
        let empty = Record::new("s", peer(1), "empty", Bytes::new());
        put(&connection, &full, Multiple);
        put(&connection, &empty, Multiple);
        let back = found(&connection, all("s"));
        assert_eq!(back[0].record, full);
        assert_eq!(back[0].record.value, every);
        assert_eq!(back[1].record, empty);
        assert_eq!(back[1].record.expiry_us, FOREVER);
    }

    fn multiple_keeps_identical_values_in_the_order_of_insertion(via) {
        let place = Place::native(via);
        let connection = place.connect();
        for value in ["b", "a", "b"] {
            put(&connection, &record("s", 1, "k", value), Multiple);
        }
        for order in [Order::Insertion, Order::Peer] {
            let query = Query::new(record("s", 1, "k", "").triple()).order(order);
            assert_eq!(values(&connection, query), ["b", "a", "b"]);
        }
    }

    fn replace_removes_its_triple_and_nothing_else(via) {
        let place = Place::native(via);
        let connection = place.connect();
        put(&connection, &record("s", 1, "absent", "first"), Replace);
        for value in ["1", "2", "3"] {
            put(&connection, &record("s", 1, "k", value), Multiple);
        }
        for (subsystem, who, key) in [("t", 1, "k"), ("s", 2, "k"), ("s", 1, "K")] {
            put(&connection, &record(subsystem, who, key, "other"), Multiple);
        }
        put(&connection, &record("s", 1, "k", "new"), Replace);
        assert_eq!(values(&connection, record("s", 1, "k", "").triple()), ["new"]);
        assert_eq!(values(&connection, all("s")), ["first", "other", "other", "new"]);
        assert_eq!(values(&connection, all("t")), ["other"]);
        // And once more over what replaced.
        put(&connection, &record("s", 1, "k", "newer"), Replace);
        assert_eq!(values(&connection, record("s", 1, "k", "").triple()), ["newer"]);
    }

    fn edge_values_of_expiry_read_back_exactly(via) {
        let mut place = Place::native(via);
        let edges = [FOREVER, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, FOREVER - 1];
        let connection = place.connect();
        for expiry_us in edges {
            let edge = record("s", 1, "k", "v").expires_at_us(expiry_us);
            put(&connection, &edge, Multiple);
        }
        let expiries = |place: &Place| -> Vec<u64> {
            let connection = place.connect();
            let found = found(&connection, all("s"));
            found.iter().map(|stored| stored.record.expiry_us).collect()
        };
        assert_eq!(expiries(&place), edges);
        drop(connection);
        place.reopen();
        assert_eq!(expiries(&place), edges);
    }

    fn one_byte_over_the_wire_limit_is_an_error_value(via) {
        let place = Place::new(via, Options::compatible());
        let connection = place.connect();
        let sized = |total: usize| {
            let value = vec![7_u8; total - "ss".len() - "key".len() - 2];
            Record::new("ss", peer(1), "key", value)
        };
        assert_eq!(sized(WIRE_BYTES_MAX).wire_bytes(), 65_479);
        put(&connection, &sized(WIRE_BYTES_MAX), Multiple);
        let refused = connection.store(&sized(65_480), Multiple, Acknowledge::Accepted);
        assert_eq!(refused.expect_err("too large").kind(), ErrorKind::TooLarge);
        // The connection lives, and only the good one is there.
        assert_eq!(found(&connection, all("ss")).len(), 1);
    }

    fn native_values_may_be_larger_up_to_their_own_limit(via) {
        let place = Place::new(via, Options::native().value_len_max(3 << 20));
        let connection = place.connect();
        let large = Record::new("s", peer(1), "k", vec![5_u8; 3 << 20]);
        put(&connection, &large, Multiple);
        assert_eq!(found(&connection, all("s"))[0].record.value, large.value);
        let larger = Record::new("s", peer(1), "k", vec![5_u8; (3 << 20) + 1]);
        let refused = connection.store(&larger, Multiple, Acknowledge::Accepted);
        assert_eq!(refused.expect_err("too large").kind(), ErrorKind::TooLarge);
        let huge = Record::new("s", peer(1), "k", vec![5_u8; 9 << 20]);
        let refused = connection.store(&huge, Multiple, Acknowledge::Accepted);
        assert_eq!(refused.expect_err("too large").kind(), ErrorKind::TooLarge);
        assert_eq!(found(&connection, all("s")).len(), 1);
    }

    fn names_may_be_empty_or_not_utf8_and_hold_a_nul_in_native_mode_alone(via) {
        for options in [Options::native(), Options::compatible()] {
            let place = Place::new(via, options.clone());
            let connection = place.connect();
            for (subsystem, key) in [(&b""[..], &b""[..]), (b"", b"\xff\xfe"), (b"\x80", b"k")] {
                let odd = Record::new(subsystem, peer(1), key, "v");
                put(&connection, &odd, Multiple);
                assert_eq!(found(&connection, odd.triple())[0].record, odd);
            }
            // Keys tell case apart.
            assert!(found(&connection, Filter::subsystem("").key("K")).is_empty());
        }
        let nul = [Record::new("a\0b", peer(1), "k", "v"), Record::new("a", peer(1), "k\0", "v")];
        Place::native(via).connect_and(|connection| {
            for record in &nul {
                put(connection, record, Multiple);
                assert_eq!(found(connection, record.triple())[0].record, *record);
            }
        });
        Place::new(via, Options::compatible()).connect_and(|connection| {
            for record in &nul {
                let refused = connection.store(record, Multiple, Acknowledge::Accepted);
                let error = refused.expect_err("a NUL");
                assert_eq!(error.kind(), ErrorKind::InvalidRecord);
            }
            assert!(found(connection, all("a")).is_empty());
        });
    }

    fn names_over_their_length_are_refused(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let long = "n".repeat(NAME_LEN_MAX);
        put(&connection, &record(&long, 1, &long, "v"), Multiple);
        assert_eq!(values(&connection, all(&long)), ["v"]);
        let longer = "n".repeat(NAME_LEN_MAX + 1);
        for bad in [record(&longer, 1, "k", "v"), record("s", 1, &longer, "v")] {
            let refused = connection.store(&bad, Multiple, Acknowledge::Accepted);
            assert_eq!(refused.expect_err("too long").kind(), ErrorKind::InvalidRecord);
        }
    }

    /// The continuation comes once, after the record is there, at each meaning of "done".
    fn a_store_is_told_exactly_once_at_each_level(via) {
        let place = Place::native(via);
        let notes = Notes::default();
        let connection = place.connect();
        for level in [Acknowledge::Accepted, Acknowledge::Kernel, Acknowledge::Device] {
            let told = notes.clone();
            let stored = record("s", 1, &format!("{level:?}"), "v");
            let triple = stored.triple();
            connection
                .store_then(stored, Replace, level, move |connection, done| {
                    let seq = done.expect("stored");
                    assert_eq!(found(connection, triple)[0].seq, seq);
                    told.add(format!("{level:?}"));
                })
                .expect("queued");
        }
        assert_eq!(notes.len(), 0, "never out of the call itself");
        turn_until(&connection, || notes.len() >= 3);
        connection.turn(std::time::Duration::ZERO).expect("idle");
        assert_eq!(notes.take(), ["Accepted", "Kernel", "Device"]);
    }

    fn a_refused_store_is_told_as_refused(via) {
        let place = Place::new(via, Options::compatible());
        let connection = place.connect();
        let notes = Notes::default();
        let told = notes.clone();
        let bad = record("s", 1, "nul\0", "v");
        connection
            .store_then(bad, Multiple, Acknowledge::Device, move |_, done| {
                told.add(format!("{:?}", done.expect_err("a NUL").kind()));
            })
            .expect("queued");
        turn_until(&connection, || notes.len() > 0);
        assert_eq!(notes.take(), ["InvalidRecord"]);
    }

    /// GNUnet's `hello_add`: the one that expires later stays, otherwise the new one replaces.
    fn of_two_hellos_the_one_that_lives_longer_stays(via) {
        let place = Place::native(via);
        let connection = place.connect();
        let at = |value: &str, expiry_us| hello(peer(1), value.to_owned(), expiry_us);
        let newest = |record: &Record| {
            let stored = connection.store_newest(record, Acknowledge::Kernel);
            stored.expect("answered").is_some()
        };
        assert!(newest(&at("first", NOW_US + 10)));
        assert!(!newest(&at("older", NOW_US + 9)));
        assert!(newest(&at("same age", NOW_US + 10)));
        assert!(newest(&at("newer", NOW_US + 11)));
        put(&connection, &at("multiple", NOW_US + 5), Multiple);
        assert!(newest(&at("newest", NOW_US + 12)));
        let key = Filter::subsystem("peerstore").key("peerstore-peer-hello-uri");
        assert_eq!(values(&connection, key), ["newest"]);
    }
}

impl Place {
    fn connect_and(self, look: impl FnOnce(&Connection)) {
        look(&self.connect());
    }
}
