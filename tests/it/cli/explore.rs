//! `crash`, the explorer: bounded budgets, the same seed the same numbers, one state seen again and kept,
//! a page that needs nothing else, and nothing measured is no pass.

use std::fs;

use serde_json::{Value, json};

use super::{Room, peercask};

/// A case that loses everything unsynced after the twelfth call of two steps.
const CASE: &str = "v1:7:p0.1.700d,d0.1d:none:12.p";

#[track_caller]
fn explored(args: &[&str]) -> Value {
    let line = ["crash", "--json"].into_iter().chain(args.iter().copied());
    let report = peercask(line).ends_with(0).json();
    assert_eq!(
        (&report["verdict"], &report["ok"]),
        (&json!("survived"), &json!(true))
    );
    assert_eq!(
        (&report["failures"], &report["violations"]),
        (&json!(0), &json!([]))
    );
    for field in [
        "states",
        "distinct",
        "states_per_s",
        "points",
        "runs",
        "sites_crashed",
    ] {
        assert!(report[field].as_f64() > Some(0.0), "{field}: {report}");
    }
    report
}

#[test]
fn the_same_seed_gives_the_same_states() {
    let run = || {
        let mut report = explored(&["--states", "300", "--seed", "11", "--ops", "10"]);
        for timed in ["states_per_s", "elapsed_ms"] {
            report[timed] = json!(null);
        }
        report
    };
    let (one, other) = (run(), run());
    assert_eq!(one, other);
    assert_eq!(one["seed"], json!(11));
    assert!(one["states"].as_u64() >= Some(300), "{one}");
}

#[test]
fn short_workloads_all_of_them_and_workloads_by_name_or_file() {
    let all = explored(&["--exhaustive", "1", "--states", "300"]);
    assert!(all["points_whole"].as_u64() > Some(0), "{all}");
    explored(&["--workload", "small", "--states", "200", "--depth", "1"]);
    let room = Room::new();
    let file = room.write(
        "steps",
        "# two writes and a crash\np0.1.30d, p0.2.30k\nm o\n",
    );
    let file = file.to_str().expect("text");
    let of_file = explored(&["--workload", file, "--states", "120"]);
    assert!(of_file["runs"].as_u64() >= Some(1));
    let wrong = room.write("wrong", "p0.1.30d\nq7\n");
    let line = ["crash", "--workload", wrong.to_str().expect("text")];
    peercask(line).fails_with(2, "line 2");
    peercask(["crash", "--workload", "no-such-mix"]).fails_with(2, "built-in workloads: small");
    let listed = peercask(["crash", "--list-workloads"]).ends_with(0);
    assert!(listed.text().contains("merges"), "{}", listed.text());
}

#[test]
fn faults_are_met_and_counted_by_kind() {
    let report = explored(&[
        "--states", "2500", "--seed", "3", "--ops", "12", "--faults", "all",
    ]);
    let met: u64 = report["faults"]
        .as_object()
        .expect("by kind")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(met > 0, "{report}");
    peercask(["crash", "--faults", "eio,nonsense"]).fails_with(2, "nonsense");
}

#[test]
fn one_state_is_seen_again_and_kept_to_be_looked_at() {
    let room = Room::new();
    let state = room.path("store");
    let shown = state.to_str().expect("text");
    let ran = peercask(["crash", "--replay", CASE, "--keep", shown]).ends_with(0);
    for part in ["survived", "steps p0.1.700d,d0.1d", shown] {
        assert!(ran.text().contains(part), "`{part}` in {}", ran.text());
    }
    let doctor = room.run("doctor", &["--json"]).ends_with(0).json();
    assert_ne!(doctor["verdict"], json!("lost"));
    peercask(["crash", "--replay", CASE, "--keep", shown]).fails_with(2, "exists");
    peercask(["crash", "--replay", "v1:7:q:none:1.p"]).fails_with(2, "no case");
}

#[test]
fn a_replay_that_reaches_no_state_is_no_pass() {
    let case = "v1:7:p0.1.700d:none:999999.p";
    let ran = peercask(["crash", "--replay", case]).ends_with(1);
    assert!(ran.text().contains("NOT MEASURED"), "{}", ran.text());
    let json = peercask(["crash", "--replay", case, "--json"])
        .ends_with(1)
        .json();
    assert_eq!(
        (&json["verdict"], &json["ok"]),
        (&json!("not measured"), &json!(false))
    );
}

#[test]
fn the_page_stands_alone_and_shows_the_run() {
    let room = Room::new();
    let page = room.path("report.html");
    let path = page.to_str().expect("text");
    let line = [
        "crash", "--states", "150", "--seed", "5", "--ops", "8", "--report", path,
    ];
    peercask(line).ends_with(0);
    let page = fs::read_to_string(page).expect("written");
    for part in [
        "<!doctype html>",
        "<svg",
        "prefers-color-scheme: dark",
        "badge survived",
        "peercask crash --seed 5",
        "</html>",
    ] {
        assert!(page.contains(part), "`{part}` is not in the page");
    }
    for outside in [
        "http:", "https:", "src=", "@import", "url(", "<script", "<link",
    ] {
        assert!(!page.contains(outside), "`{outside}` loads something");
    }
    let points = page.matches("<g class=\"point\">").count();
    assert!(points > 10, "{points} points are drawn");
}

/// A store counts on sectors of 512 bytes: smaller ones would show harm that no disk does.
#[test]
fn sectors_that_no_disk_has_are_refused() {
    for small in ["1", "256", "511"] {
        peercask(["crash", "--sector", small, "--states", "10"]).fails_with(2, "512..=4096");
    }
    explored(&["--sector", "4096", "--states", "200", "--depth", "0"]);
}
