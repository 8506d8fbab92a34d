//! Waiting for the turn, losing it, wrong uses, and kills.

use super::*;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Count>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_future_waits_for_the_turn_without_a_runtime_and_in_line_with_threads() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let first = store.begin().expect("its turn");
    assert!(store.try_begin().expect("open").is_none());
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let mut context = Context::from_waker(&waker);
    let mut second = pin!(store.begin_async());
    let mut dropped = Box::pin(store.begin_async());
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert!(dropped.as_mut().poll(&mut context).is_pending());
    let third = thread::spawn({
        let (store, space) = (store.clone(), space.clone());
        move || {
            store.transaction(|tx| {
                assert_eq!(tx.get(&space, "second")?.expect("before it"), b"was here");
                Ok(())
            })
        }
    });
    drop(dropped);
    drop(first);
    assert_eq!(
        count.0.load(Ordering::SeqCst),
        1,
        "woken once, by the end of the first"
    );
    let Poll::Ready(Ok(mut tx)) = second.as_mut().poll(&mut context) else {
        panic!("it is its turn");
    };
    tx.put(&space, "second", "was here").expect("put");
    // From another thread than it began in.
    thread::spawn(move || tx.commit())
        .join()
        .expect("joined")
        .expect("committed");
    third.join().expect("joined").expect("committed");
    drop(store.try_begin().expect("open").expect("free"));
}

#[test]
fn closing_the_store_lets_those_who_wait_go() {
    let place = Place::new();
    let store = place.open();
    let space = hash(&store, "things");
    let mut tx = store.begin().expect("its turn");
    tx.put(&space, "key", "value").expect("put");
    let waiting = thread::spawn({
        let store = store.clone();
        move || store.begin().map(drop)
    });
    let again = store.clone();
    store.close().expect("closed");
    refused(waiting.join().expect("joined"), ErrorKind::Closed, &[]);
    refused(tx.get(&space, "other"), ErrorKind::Closed, &[]);
    refused(tx.put(&space, "other", "value"), ErrorKind::Closed, &[]);
    refused(tx.commit(), ErrorKind::Closed, &["the store is closed"]);
    refused(again.begin(), ErrorKind::Closed, &[]);
    refused(again.try_begin(), ErrorKind::Closed, &[]);
    drop(again);
    wait_until("the directory is free", || {
        Store::open(place.path(), place.options()).is_ok()
    });
    assert_eq!(contents(&place.open()).len(), 0);
}

#[test]
fn wrong_uses_of_a_transaction_are_refused_and_leave_it_as_it_was() {
    let (place, other) = (Place::new(), Place::new());
    let (store, elsewhere) = (place.open(), other.open());
    let [flat, sorted] = both(&store);
    let foreign = hash(&elsewhere, "flat");
    let mut tx = store.begin().expect("its turn");
    tx.put(&flat, "key", "value").expect("put");
    let invalid = ErrorKind::InvalidArgument;
    refused(
        tx.get(&foreign, "key"),
        invalid,
        &["belongs to another store"],
    );
    refused(
        tx.put(&foreign, "key", "value"),
        invalid,
        &["belongs to another store"],
    );
    refused(
        tx.put(&flat, vec![0; peercask::KEY_LEN_MAX + 1], ""),
        invalid,
        &["65535 bytes"],
    );
    refused(tx.iter(&flat), invalid, &["needs an ordered keyspace"]);
    tx.put(&flat, "key", "value 2").expect("it stands");
    tx.commit().expect("committed");
    assert_eq!(flat.get("key").expect("read").expect("there"), b"value 2");

    let mut tx = store.begin().expect("its turn");
    tx.put(&flat, "key", "3").expect("put");
    tx.put(&sorted, "key", "3").expect("put");
    store.drop_keyspace("flat").expect("dropped");
    refused(
        tx.get(&flat, "key"),
        ErrorKind::NotFound,
        &["'flat' was dropped"],
    );
    refused(
        tx.delete(&flat, "key"),
        ErrorKind::NotFound,
        &["'flat' was dropped"],
    );
    refused(tx.commit(), ErrorKind::NotFound, &["'flat' was dropped"]);
    assert_eq!(sorted.get("key").expect("read"), None, "all or nothing");
    drop(store.try_begin().expect("open").expect("the turn is free"));
}

#[test]
fn a_transaction_survives_a_kill_whole_or_not_at_all() {
    let place = Place::new();
    let store = place.open();
    let [flat, sorted] = both(&store);
    let len = usize::try_from(SMALL_SEGMENT).expect("small") / 10;
    for round in 0..30_u32 {
        let mut tx = store.begin().expect("its turn");
        for key in 0..10_u8 {
            tx.put(
                &flat,
                [key],
                [&round.to_le_bytes()[..], &vec![7; len]].concat(),
            )
            .expect("put");
            tx.put(&sorted, [key], round.to_le_bytes()).expect("put");
        }
        let open = Place::copy_of(place.path());
        let durability = [Durability::Buffered, Durability::Kernel][round as usize % 2];
        drop(tx.commit_with(durability).expect("committed"));
        let done = Place::copy_of(place.path());
        for (copy, least) in [
            (open, round.saturating_sub(2)),
            (done, round.saturating_sub(1)),
        ] {
            let found = contents(&copy.open());
            let numbers: std::collections::BTreeSet<&[u8]> =
                found.values().map(|v| &v[..4]).collect();
            assert!(found.is_empty() || found.len() == 20);
            assert!(numbers.len() <= 1, "of one transaction: {numbers:?}");
            if let Some(number) = numbers.first() {
                let number = u32::from_le_bytes((*number).try_into().expect("four"));
                assert!(
                    number >= least && number <= round,
                    "{number} in round {round}"
                );
            }
        }
    }
}
