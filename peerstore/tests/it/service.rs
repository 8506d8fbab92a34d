//! The service: greeting, permissions, limits, clients that misbehave or die, and coming back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peercask_peerstore::gnunet::{
    Acknowledge, ClientOptions, Connection, ErrorKind, Event, From, MonitorSpec, Options,
    Peerstore, Service, ServiceOptions,
};

use crate::support::{
    Multiple, Notes, PATIENCE, Place, Replace, Via, all, event, found, put, record, told,
    turn_until, values,
};

const MAGIC: &[u8; 8] = b"PKPEERS\n";

fn greeted(place: &Place) -> UnixStream {
    let mut stream = UnixStream::connect(place.socket()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(MAGIC).expect("sent");
    stream.write_all(&1_u16.to_le_bytes()).expect("sent");
    let mut answer = [0; 17];
    stream.read_exact(&mut answer).expect("greeted");
    assert_eq!((&answer[..8], answer[8]), (&MAGIC[..], 1));
    stream
}

fn gone(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // The end, or a reset when bytes of ours were still unread.
    let _ = stream.read_to_end(&mut rest);
}

fn until(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < PATIENCE, "it never happens");
        std::thread::yield_now();
    }
}

fn still_serves(place: &Place) {
    let connection = place.connect();
    put(&connection, &record("alive", 1, "k", "v"), Replace);
    assert_eq!(values(&connection, all("alive")), ["v"]);
}

fn service_of(place: &Place, options: ServiceOptions) -> Service {
    Service::start(place.peerstore(), place.socket(), options).expect("serves")
}

#[test]
fn the_socket_is_for_its_owner_alone_unless_said_otherwise_and_goes_with_the_service() {
    let place = Place::native(Via::Process);
    for mode in [0o600, 0o660] {
        let service = service_of(&place, ServiceOptions::default().socket_mode(mode));
        let about = fs::metadata(place.socket()).expect("it is there");
        assert_eq!(about.permissions().mode() & 0o777, mode);
        service.stop();
        assert!(!place.socket().exists());
    }
    for bad in [
        ServiceOptions::default().socket_mode(0o4777),
        ServiceOptions::default().connections_max(0),
        ServiceOptions::default().greeting_timeout(Duration::ZERO),
    ] {
        let refused = Service::start(place.peerstore(), place.socket(), bad);
        assert_eq!(refused.expect_err("bad").kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn one_service_lives_at_a_socket_and_a_dead_ones_is_replaced() {
    let place = Place::native(Via::Service);
    let other = Place::native(Via::Process);
    let second = Service::start(other.peerstore(), place.socket(), ServiceOptions::default());
    assert_eq!(second.expect_err("taken").kind(), ErrorKind::Locked);
    still_serves(&place);
    // What a killed one leaves: a socket that nobody listens at.
    drop(UnixListener::bind(other.socket()).expect("bound"));
    assert!(other.socket().exists());
    let service = service_of(&other, ServiceOptions::default());
    let client = Connection::to_service(other.socket(), ClientOptions::default()).expect("good");
    client.stats().expect("served");
    service.stop();
    fs::write(other.socket(), "a file of somebody").expect("written");
    let refused = Service::start(other.peerstore(), other.socket(), ServiceOptions::default());
    assert_eq!(
        refused.expect_err("no socket").kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        fs::read(other.socket()).expect("untouched"),
        b"a file of somebody"
    );
}

#[test]
fn another_version_is_refused_in_words_and_a_stranger_without() {
    let place = Place::native(Via::Service);
    let mut stream = UnixStream::connect(place.socket()).expect("connected");
    stream.write_all(MAGIC).expect("sent");
    stream.write_all(&9_u16.to_le_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    assert_eq!(answer[8..10], [0, 0], "no version");
    assert!(String::from_utf8_lossy(&answer[17..]).contains("version 9"));
    let mut stranger = UnixStream::connect(place.socket()).expect("connected");
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    gone(stranger);
    still_serves(&place);
}

#[test]
fn a_client_tells_a_service_of_another_kind_from_none() {
    let place = Place::native(Via::Process);
    let listener = UnixListener::bind(place.socket()).expect("bound");
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let _ = stream.write_all(&[b'?'; 64]);
        let mut greeting = [0; 10];
        stream.read_exact(&mut greeting).expect("greeted");
    });
    let client = Connection::to_service(place.socket(), ClientOptions::default()).expect("good");
    let error = client.stats().expect_err("no peerstore");
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    other.join().expect("no panic");
    let nobody = place.dir.path().join("nobody");
    let patience = ClientOptions::default().patience(Duration::from_millis(60));
    let client = Connection::to_service(nobody, patience).expect("it does not wait");
    assert_eq!(
        client.stats().expect_err("nobody").kind(),
        ErrorKind::NoService
    );
}

/// Its process is stopped, say: the socket takes a client and nobody greets it. Who turns waits as long as it
/// wanted to, and is served when the service wakes.
#[test]
fn a_service_that_does_not_greet_holds_up_nobody() {
    let place = Place::native(Via::Process);
    let listener = UnixListener::bind(place.socket()).expect("bound");
    let client = Connection::to_service(place.socket(), ClientOptions::default()).expect("good");
    let notes = Notes::default();
    let heard = notes.clone();
    client
        .store_then(
            record("s", 1, "k", "v"),
            Replace,
            Acknowledge::Kernel,
            move |_, done| heard.add(format!("{done:?}")),
        )
        .expect("queued");
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(client.turn(Duration::ZERO).expect("no error"), 0);
    }
    // The greeting has five seconds.
    assert!(started.elapsed() < Duration::from_secs(4));
    let (mut stream, _) = listener.accept().expect("one client, once");
    let mut greeting = [0; 10];
    stream.read_exact(&mut greeting).expect("greeted");
    let mut answer = MAGIC.to_vec();
    answer.extend_from_slice(&1_u16.to_le_bytes());
    answer.extend_from_slice(&(1_u32 << 20).to_le_bytes());
    answer.extend_from_slice(&[0, 0, 0]);
    // In three parts, and a turn between.
    for part in answer.chunks(7) {
        stream.write_all(part).expect("answered");
        client.turn(Duration::ZERO).expect("no error");
    }
    // One turn hands the store over and takes the answer in.
    let service = std::thread::spawn(move || {
        let mut frame = [0; 4 + 9];
        stream.read_exact(&mut frame).expect("a store");
        let mut reply = 17_u32.to_le_bytes().to_vec();
        reply.extend_from_slice(&frame[4..12]);
        reply.push(65);
        reply.extend_from_slice(&77_u64.to_le_bytes());
        stream.write_all(&reply).expect("answered");
        stream
    });
    assert_eq!(client.turn(PATIENCE).expect("answered"), 1);
    assert_eq!(notes.take(), ["Ok(77)"]);
    drop(service.join().expect("no panic"));
}

/// A byte now and then is no reason to wait for the next.
#[test]
fn a_client_that_greets_byte_by_byte_has_the_time_of_one_greeting() {
    let place = Place::native(Via::Process);
    let time = Duration::from_millis(120);
    let _service = service_of(&place, ServiceOptions::default().greeting_timeout(time));
    let mut slow = UnixStream::connect(place.socket()).expect("connected");
    slow.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for byte in MAGIC.iter().chain(&1_u16.to_le_bytes()) {
        // Each within the time, all of them not.
        std::thread::sleep(time / 4);
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer);
    assert!(answer.is_empty(), "it was given up");
    still_serves(&place);
}

#[test]
fn frames_of_any_bytes_end_their_own_connection_and_no_other() {
    let place = Place::native(Via::Service);
    let neighbour = place.connect();
    put(&neighbour, &record("s", 1, "k", "v"), Multiple);
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut stream = greeted(&place);
        let len = rng.usize(1..200);
        let mut frame: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
        if rng.bool() && frame.len() >= 9 {
            // A kind that exists, with fields of noise.
            frame[8] = rng.u8(1..12);
        }
        let told = match rng.u8(..4) {
            0 => u32::MAX,
            1 => 3,
            _ => u32::try_from(frame.len()).expect("small"),
        };
        let _ = stream.write_all(&told.to_le_bytes());
        let _ = stream.write_all(&frame);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        gone(stream);
    }
    assert_eq!(values(&neighbour, all("s")), ["v"]);
    still_serves(&place);
}

#[test]
fn a_client_that_dies_in_the_middle_of_anything_leaves_nothing_behind() {
    let place = Place::native(Via::Service);
    let own = place.connect();
    for at in 0..2_000 {
        put(&own, &record("s", 1, "k", &at.to_string()), Multiple);
    }
    let before = own.stats().expect("stats");
    for round in 0..12 {
        let dying = place.connect();
        let notes = Notes::default();
        let heard = notes.clone();
        dying
            .iterate_then(all("s"), u64::MAX, move |_, _| heard.add("found"))
            .expect("queued");
        let heard = notes.clone();
        let spec = MonitorSpec::new(all("s")).from(From::Existing);
        dying
            .watch_then(spec, u64::MAX, move |_, _| heard.add("told"))
            .expect("queued");
        turn_until(&dying, || notes.len() > round);
        drop(dying);
        // And one that dies within a frame.
        let mut cut = greeted(&place);
        cut.write_all(&[200, 0, 0, 0, 1, 0, 0, 0]).expect("sent");
    }
    until(|| {
        let now = own.stats().expect("stats");
        (now.monitors, now.iterations) == (before.monitors, before.iterations)
    });
    assert_eq!(own.stats().expect("stats").records, 2_000);
}

/// It asks for everything and takes nothing: it waits alone.
#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let place = Place::native(Via::Service);
    let own = place.connect();
    for at in 0..200 {
        let large = record("s", 1, &at.to_string(), &"x".repeat(10_000));
        put(&own, &large, Multiple);
    }
    let mut stuck = greeted(&place);
    for number in 1..50_u64 {
        // Iterate over `s`, all credit.
        let mut frame = number.to_le_bytes().to_vec();
        frame.push(3);
        frame.push(0);
        frame.extend_from_slice(&0_u64.to_le_bytes());
        frame.extend_from_slice(&u64::MAX.to_le_bytes());
        frame.extend_from_slice(&[0, 1, 0, b's']);
        let len = u32::try_from(frame.len()).expect("small");
        stuck.write_all(&len.to_le_bytes()).expect("sent");
        stuck.write_all(&frame).expect("sent");
    }
    let started = Instant::now();
    for at in 0..100 {
        put(&own, &record("t", 1, "k", &at.to_string()), Replace);
        assert_eq!(values(&own, all("t")), [at.to_string()]);
    }
    assert!(started.elapsed() < PATIENCE);
    drop(stuck);
    until(|| own.stats().expect("stats").iterations == 0);
}

#[test]
fn limits_of_connections_and_streams_are_told() {
    let place = Place::native(Via::Process);
    let limits = ServiceOptions::default().connections_max(2).streams_max(3);
    let service = service_of(&place, limits);
    let patience = ClientOptions::default().patience(Duration::from_millis(200));
    let connect = || Connection::to_service(place.socket(), patience.clone()).expect("good");
    let (first, second) = (connect(), connect());
    first.stats().expect("served");
    second.stats().expect("served");
    let third = connect();
    assert_eq!(
        third.stats().expect_err("too many").kind(),
        ErrorKind::NoService
    );
    let mut raw = UnixStream::connect(place.socket()).expect("connected");
    let mut answer = Vec::new();
    let _ = raw.read_to_end(&mut answer);
    assert!(String::from_utf8_lossy(&answer).contains("2 clients are the limit"));
    let watches: Vec<_> = (0..3)
        .map(|_| first.watch(all("s")).expect("queued"))
        .collect();
    let mut fourth = first.watch(all("s")).expect("queued");
    let error = fourth.next_timeout(PATIENCE).expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    drop(watches);
    let mut fifth = first.watch(all("s")).expect("queued");
    assert!(matches!(
        fifth.next_timeout(PATIENCE),
        Ok(Some(Event::Synced { .. }))
    ));
    // A place that is free again is taken by who waited.
    drop(second);
    until(|| service.connections() == 1);
    until(|| third.stats().is_ok());
}

#[test]
fn a_client_heals_after_a_restart_without_gap_or_double() {
    let mut place = Place::native(Via::Service);
    let connection = place.connect();
    put(&connection, &record("s", 1, "k", "before"), Multiple);
    let mut watch = connection
        .watch(MonitorSpec::new(all("s")).from(From::Existing))
        .expect("ok");
    assert_eq!(told(&event(&mut watch)), "before");
    assert!(matches!(event(&mut watch), Event::Synced { .. }));
    for round in 0..3 {
        place.stop_service();
        // Stored by others while the client is alone.
        let meanwhile = record("s", 2, "k", &format!("meanwhile {round}"));
        place
            .peerstore()
            .store(&meanwhile, Multiple)
            .expect("stored");
        let notes = Notes::default();
        let heard = notes.clone();
        let pending = record("s", 3, "k", &format!("pending {round}"));
        connection
            .store_then(pending, Multiple, Acknowledge::Kernel, move |_, done| {
                done.expect("delivered after the restart");
                heard.add("done");
            })
            .expect("queued");
        connection
            .turn(Duration::ZERO)
            .expect("no service is no error");
        place.start_service();
        turn_until(&connection, || notes.len() == 1);
        let mut heard = Vec::new();
        while heard.len() < 2 {
            match event(&mut watch) {
                Event::Synced { .. } => {}
                stored => heard.push(told(&stored)),
            }
        }
        assert_eq!(
            heard,
            [format!("meanwhile {round}"), format!("pending {round}")]
        );
    }
    assert_eq!(found(&connection, all("s")).len(), 7);
}

#[test]
fn a_walk_that_had_begun_ends_with_the_truth_when_the_service_goes() {
    let mut place = Place::native(Via::Service);
    let connection = place.connect();
    for at in 0..3_000 {
        put(
            &connection,
            &record("s", 1, "k", &format!("{at} {}", "x".repeat(100))),
            Multiple,
        );
    }
    let mut walk = connection.iterate(all("s")).expect("a walk");
    assert!(walk.next().expect("one").is_ok());
    place.stop_service();
    place.start_service();
    let rest: Vec<_> = walk.by_ref().collect();
    let last = rest
        .last()
        .expect("an end")
        .as_ref()
        .expect_err("cut short");
    assert_eq!(last.kind(), ErrorKind::ConnectionLost);
    assert!(rest.len() < 2_999);
    drop(walk);
    assert_eq!(connection.iterate(all("s")).expect("a walk").count(), 3_000);
}

/// A service that greets one client, takes `count` requests, and dies before it answers any of them:
/// its socket is gone then, and the next one can take its place.
fn dying(place: &Place, count: usize, then: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let listener = UnixListener::bind(place.socket()).expect("bound");
    let socket = place.socket();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut greeting = [0; 10];
        stream.read_exact(&mut greeting).expect("greeted");
        let mut answer = MAGIC.to_vec();
        answer.extend_from_slice(&1_u16.to_le_bytes());
        answer.extend_from_slice(&(1_u32 << 20).to_le_bytes());
        answer.extend_from_slice(&[0, 0, 0]);
        stream.write_all(&answer).expect("answered");
        for _ in 0..count {
            let mut len = [0; 4];
            stream.read_exact(&mut len).expect("a frame");
            let len = usize::try_from(u32::from_le_bytes(len)).expect("small");
            stream.read_exact(&mut vec![0; len]).expect("all of it");
        }
        fs::remove_file(socket).expect("its socket goes with it");
        then();
    })
}

/// It carries out two stores and dies before it answers; others store before the client is back. Sent
/// again, the REPLACE would take away what they were told is there.
#[test]
fn a_store_without_an_answer_is_not_repeated_and_its_caller_is_told() {
    let place = Place::native(Via::Process);
    let peers = place.peerstore().clone();
    let dying = dying(&place, 2, move || {
        for (key, option, value) in [
            ("multiple", Multiple, "v1"),
            ("replace", Replace, "v1"),
            ("replace", Replace, "v2"),
        ] {
            let stored = peers.store(&record("s", 1, key, value), option);
            stored.expect("stored");
        }
    });
    let client = Connection::to_service(place.socket(), ClientOptions::default()).expect("good");
    let notes = Notes::default();
    for (key, option) in [("multiple", Multiple), ("replace", Replace)] {
        let heard = notes.clone();
        client
            .store_then(
                record("s", 1, key, "v1"),
                option,
                Acknowledge::Kernel,
                move |_, done| {
                    let outcome = done.map(|_| ()).map_err(|error| error.kind());
                    heard.add(format!("{key} {outcome:?}"));
                },
            )
            .expect("queued");
    }
    turn_until(&client, || notes.len() >= 1);
    dying.join().expect("no panic");
    let _service = service_of(&place, ServiceOptions::default());
    turn_until(&client, || notes.len() == 2);
    let lost = ["multiple", "replace"].map(|key| format!("{key} Err(ConnectionLost)"));
    assert_eq!(notes.take(), lost);
    assert_eq!(values(&client, all("s").key("replace")), ["v2"]);
    assert_eq!(values(&client, all("s").key("multiple")), ["v1"]);
}

#[test]
fn a_newest_and_a_sweep_without_an_answer_are_not_repeated_either() {
    let place = Place::native(Via::Process);
    let patience = ClientOptions::default().patience(Duration::from_secs(5));
    let client = Connection::to_service(place.socket(), patience).expect("good");
    let newest = || client.store_newest(&record("s", 1, "k", "v"), Acknowledge::Kernel);
    let service = dying(&place, 1, || {});
    assert_eq!(
        newest().expect_err("nobody knows").kind(),
        ErrorKind::ConnectionLost
    );
    service.join().expect("no panic");
    let service = dying(&place, 1, || {});
    let swept = client.expire(Some(9)).expect_err("nobody knows");
    assert_eq!(swept.kind(), ErrorKind::ConnectionLost);
    service.join().expect("no panic");
    // By the service's own time a second sweep does no harm.
    let service = dying(&place, 1, || {});
    std::thread::scope(|scope| {
        scope.spawn(|| {
            service.join().expect("no panic");
            let service = service_of(&place, ServiceOptions::default());
            until(|| service.connections() == 1);
            until(|| service.connections() == 0);
        });
        assert_eq!(client.expire(None).expect("answered"), 0);
        drop(client);
    });
}

#[test]
fn stopping_answers_what_was_read_and_joins_every_thread() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("socket");
    for _ in 0..20 {
        let peers = Peerstore::open(dir.path().join("store"), Options::native()).expect("opened");
        let service = Service::start(&peers, &socket, ServiceOptions::default()).expect("serves");
        let client = Connection::to_service(&socket, ClientOptions::default()).expect("good");
        put(&client, &record("s", 1, "k", "v"), Replace);
        service.stop();
        // Nobody else holds the peerstore now: its store closes, and opens again in the next round.
        peers.close().expect("closed");
    }
}

/// The tool of a backup is an export from a service in use: each subsystem as it was at one moment.
#[test]
fn a_backup_is_taken_while_others_store() {
    let place = Place::native(Via::Service);
    let writer = place.connect();
    for at in 0..500 {
        put(&writer, &record("s", 1, "k", &at.to_string()), Multiple);
    }
    let copy = Place::native(Via::Process);
    let reader = place.connect();
    let mut walk = reader.iterate(all("s")).expect("a walk");
    for stored in walk.by_ref() {
        let stored = stored.expect("readable");
        put(&writer, &record("s", 1, "k", "later"), Multiple);
        copy.peerstore()
            .store(&stored.record, Multiple)
            .expect("stored");
    }
    let expected: Vec<String> = (0..500).map(|at| at.to_string()).collect();
    assert_eq!(values(&copy.connect(), all("s")), expected);
    assert!(
        copy.peerstore()
            .engine()
            .verify(&mut |_| {})
            .expect("read")
            .is_clean()
    );
}
