//! E1 to E3: what outlives a kill, what ends meanwhile, and what is published again.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::child::{Done, NodeProcess};
use crate::common::node::Config;
use crate::{
    LONG, ask, beside_others, config, found_by_a_client, is_full, records, restart, start, until,
};

/// What values are granted in E1.
const LIFE: Duration = Duration::from_secs(600);
/// As much passes at least between the grant and the client: whole seconds go over the wire.
const PASSED_LEAST: Duration = Duration::from_secs(4);

/// What a client found after the holder was killed and came back.
struct Served {
    records: Done,
    provides: Done,
    /// Since all values were granted, when the client had found them; and since the first was, when
    /// it began to ask.
    since_last_grant: Duration,
    since_first_grant: Duration,
    publisher: String,
}

/// E1: a publisher and the holder of its records are killed; the holder comes back.
fn kill_and_serve(dir: Option<&Path>) -> Served {
    let wanted = records();
    let holder_config = config(1, dir);
    let mut holder = start(&holder_config);
    let address = holder.address.clone();
    let mut publisher = start(&config(2, dir));
    publisher.dial(&address).expect("dialled");
    let first_grant = Instant::now();
    ask(
        &mut publisher,
        &format!("put e1 0 {wanted} {}", LIFE.as_secs()),
    );
    let last_grant = Instant::now();
    ask(&mut publisher, &format!("provide e1 0 {wanted} 0"));
    // The holder's own word: the sender reports success before delivery.
    holder
        .wait_stat("records", |n| n == wanted, LONG)
        .expect("held");
    until("all provides are held", || {
        holder.held("e1", 0, wanted).expect("told").keys == wanted
    });
    if dir.is_some() {
        holder
            .wait_stat("queue", |n| n == 0, LONG)
            .expect("handed to the kernel");
    }
    holder.kill().expect("killed");
    let publisher_id = publisher.peer().to_owned();
    publisher.kill().expect("killed");
    let _holder = restart(&holder_config, &address);
    if dir.is_some() {
        std::thread::sleep(PASSED_LEAST.saturating_sub(last_grant.elapsed()));
    }
    let since_last_grant = last_grant.elapsed();
    let records = found_by_a_client(&address, "records", "e1", 3);
    let since_first_grant = first_grant.elapsed();
    let provides = found_by_a_client(&address, "providers", "e1", 4);
    Served {
        records,
        provides,
        since_last_grant,
        since_first_grant,
        publisher: publisher_id,
    }
}

#[test]
fn e1_what_a_killed_holder_held_is_found_when_it_is_back() {
    let _turn = beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    let served = kill_and_serve(Some(dir.path()));
    let found = (served.records.found, served.provides.found);
    assert_eq!(found, (records(), records()));
    assert_eq!(served.provides.who, [served.publisher.as_str()]);
    // What was left when it was asked for, and no more: the time of the stop counts. The wire's
    // seconds are rounded, by one on the way here and one on the way there.
    let (most, least) = (served.records.ttl_ms, served.records.least_ms);
    let ms = |time: Duration| u64::try_from(time.as_millis()).expect("minutes");
    let passed = ms(served.since_last_grant);
    assert!(
        most <= ms(LIFE) - passed + 1_000,
        "{most} ms left of {LIFE:?} after {passed} ms"
    );
    assert!(most < ms(LIFE) - 2_000, "the stop counts: {most} ms left");
    let passed = ms(served.since_first_grant);
    assert!(
        least + passed + 3_000 >= ms(LIFE),
        "{least} ms left of {LIFE:?} after {passed} ms: none lives shorter"
    );
    let held = peercask_kad::inspect::look(dir.path().join("node-1")).expect("looked");
    let with_address = held
        .records
        .iter()
        .filter(|listed| !listed.addresses.is_empty());
    assert_eq!(
        with_address.count() as u64,
        records(),
        "each provider with its addresses"
    );
    let served = kill_and_serve(None);
    let found = (served.records.found, served.provides.found);
    assert_eq!(found, (0, 0), "the control has to fail");
}

/// E2: records end while their holder is down.
#[test]
fn e2_what_ended_during_a_stop_is_neither_served_nor_kept() {
    let _turn = beside_others();
    let wanted = records();
    let dir = tempfile::tempdir().expect("a directory");
    let ttl = Duration::from_secs(if is_full() { 20 } else { 5 });
    let with_ttl = |number, dir| Config {
        ttl,
        ..config(number, dir)
    };
    let holder_config = with_ttl(1, Some(dir.path()));
    let mut holder = start(&holder_config);
    let address = holder.address.clone();
    let mut control = start(&with_ttl(5, None));
    let mut publisher = start(&config(2, None));
    publisher.dial(&address).expect("dialled");
    let control_address = control.address.clone();
    publisher.dial(&control_address).expect("dialled");
    ask(&mut publisher, &format!("provide e2 0 {wanted} 0"));
    ask(
        &mut publisher,
        &format!("put e2 0 {wanted} {}", ttl.as_secs()),
    );
    holder
        .wait_stat("records", |n| n == wanted, LONG)
        .expect("held");
    for node in [&mut holder, &mut control] {
        until("all provides are held", || {
            node.held("e2", 0, wanted).expect("told").keys == wanted
        });
    }
    holder
        .wait_stat("queue", |n| n == 0, LONG)
        .expect("handed to the kernel");
    holder.kill().expect("killed");
    drop(publisher);
    std::thread::sleep(ttl + Duration::from_secs(1));
    let mut holder = restart(&holder_config, &address);
    // By itself: nobody has asked for any of them.
    holder
        .wait_stat("records", |n| n == 0, LONG)
        .expect("shrinks by itself");
    holder
        .wait_stat("provides", |n| n == 0, LONG)
        .expect("shrinks by itself");
    assert_eq!(holder.held("e2", 0, wanted).expect("told").records, 0);
    let kept = control.stat("records").expect("told");
    assert!(kept > 0, "the control keeps values that are over: {kept}");
    let kept = control.held("e2", 0, wanted).expect("told");
    assert_eq!(
        kept.keys, wanted,
        "the control keeps providers that are over"
    );
    for (kind, number) in [("records", 3), ("providers", 4)] {
        let found = found_by_a_client(&address, kind, "e2", number).found;
        assert_eq!(found, 0, "{kind}");
    }
}

/// E3: a publisher is killed, and comes back without a word of its application.
fn intent(dir: Option<&Path>) -> u64 {
    let wanted = records();
    let publisher_config = config(1, dir);
    let mut publisher = start(&publisher_config);
    let address = publisher.address.clone();
    ask(&mut publisher, &format!("provide e3 0 {wanted} 0"));
    publisher.kill().expect("killed");
    let publisher = restart(&publisher_config, &address);
    let holder_dir = tempfile::tempdir().expect("a directory");
    let mut holder = start(&config(2, Some(holder_dir.path())));
    holder.dial(&publisher.address).expect("dialled");
    let time = Duration::from_secs(if dir.is_some() { 60 } else { 4 });
    match holder.wait_stat("provides", |n| n == wanted, time) {
        Ok(found) => found,
        Err(_) => holder.stat("provides").expect("told"),
    }
}

#[test]
fn e3_intents_survive_a_kill_and_are_published_without_the_application() {
    let _turn = beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(intent(Some(dir.path())), records());
    assert_eq!(intent(None), 0, "the control has to fail");
}

/// How long an intent goes without being published, and how long a node lives in the loop.
const INTERVAL: Duration = Duration::from_secs(4);
const ONE_LIFE: Duration = Duration::from_millis(1_200);

/// Starts a node again where it was, and acquaints it.
fn again(node: NodeProcess, config: &Config, with: &str) -> NodeProcess {
    let address = node.address.clone();
    node.kill().expect("killed");
    let mut node = restart(config, &address);
    node.dial(with).expect("dialled");
    node
}

/// E3: nodes that never live as long as the interval, killed again and again: the one that
/// remembers when it published last does so in time. The control has the same store and kad's own
/// timer, which begins anew with every life: it never publishes.
#[test]
fn e3_a_node_that_never_lives_as_long_as_the_interval_publishes_all_the_same() {
    let _turn = beside_others();
    let wanted = records();
    let dir = tempfile::tempdir().expect("a directory");
    let publisher = |number, timer| Config {
        republish: INTERVAL,
        timer,
        ..config(number, Some(dir.path()))
    };
    let configs = [publisher(1, false), publisher(2, true)];
    let mut first = start(&config(10, None));
    let mut nodes: Vec<NodeProcess> = Vec::new();
    for (config, prefix) in configs.iter().zip(["driver", "timer"]) {
        let mut node = start(config);
        node.dial(&first.address).expect("dialled");
        ask(&mut node, &format!("provide {prefix} 0 {wanted} 0"));
        until("published once", || {
            first.held(prefix, 0, wanted).expect("told").keys == wanted
        });
        node.wait_stat("queue", |n| n == 0, LONG).expect("noted");
        nodes.push(node);
    }
    // Joins later: what it gets was published again.
    let mut later = start(&config(11, None));
    let mut lives = 0;
    while later.held("driver", 0, wanted).expect("told").keys < wanted {
        lives += 1;
        assert!(lives < 60, "not all were published in {lives} lives");
        let restarted = nodes.into_iter().zip(&configs);
        nodes = restarted
            .map(|(node, config)| again(node, config, &later.address))
            .collect();
        std::thread::sleep(ONE_LIFE);
    }
    assert!(lives > 1, "not in the first life: it was published before");
    let by_timer = later.held("timer", 0, wanted).expect("told").keys;
    assert_eq!(by_timer, 0, "the control has to fail");
}
