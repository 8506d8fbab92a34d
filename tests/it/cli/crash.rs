//! `crash --process`: a bounded run survives, says what it measured, and a run that measured nothing is
//! no pass. With bounded budgets; `peercask crash` by hand takes as long as it is given.

use std::fs;

use serde_json::json;

use super::{Room, peercask};
use crate::support::skipped;

#[test]
fn killed_children_lose_nothing_and_the_run_says_what_it_measured() {
    let ran = peercask([
        "crash",
        "--process",
        "--rounds",
        "24",
        "--seed",
        "7",
        "--json",
    ]);
    let report = ran.json();
    let ran = ran.ends_with(0);
    assert_eq!(
        (&report["verdict"], &report["ok"]),
        (&json!("survived"), &json!(true))
    );
    assert_eq!(
        (&report["rounds"], &report["seed"]),
        (&json!(24), &json!(7))
    );
    assert_eq!(
        (&report["failures"], &report["violations"]),
        (&json!(0), &json!([]))
    );
    for field in ["acknowledged", "writes", "verified"] {
        assert!(report[field].as_u64() > Some(0), "{field}: {report}");
    }
    let kills = &report["kills"];
    let of = |kind: &str| kills[kind].as_u64().expect("a number");
    assert!(of("opening") > 0 && of("writing") > 0, "{report}");
    if report["traced"] == json!(true) {
        assert!(of("at_call") > 0, "{report}");
    } else {
        assert!(ran.err.contains("skipped"), "{}", ran.err);
        skipped("kills at the n-th system call", ran.err.trim());
    }
}

#[test]
fn a_given_directory_is_kept_and_must_be_empty() {
    let room = Room::new();
    let dir = room.path("here");
    let shown = dir.to_str().expect("text");
    let line = [
        "crash",
        "--process",
        "--rounds",
        "6",
        "--seed",
        "3",
        "--dir",
        shown,
    ];
    let ran = peercask(line).ends_with(0);
    for part in ["survived: nothing acknowledged was lost", "seed 3", shown] {
        assert!(ran.text().contains(part), "`{part}` in {}", ran.text());
    }
    assert!(fs::exists(dir.join("store/manifest-a")).expect("looked"));
    peercask(line).fails_with(2, "is not empty");
}

#[test]
fn a_run_that_measured_nothing_is_no_pass() {
    // One kill at the very start: nothing can have been acknowledged.
    let seeds = (0..40_u32).map(|seed| {
        let seed = seed.to_string();
        peercask([
            "crash",
            "--process",
            "--rounds",
            "1",
            "--json",
            "--seed",
            &seed,
        ])
    });
    let mut seen = 0;
    for ran in seeds {
        let report = ran.json();
        let measured = report["acknowledged"].as_u64() > Some(0);
        let (verdict, code) = match measured {
            true => ("survived", 0),
            false => ("not measured", 1),
        };
        assert_eq!(
            (report["verdict"].as_str(), ran.code),
            (Some(verdict), Some(code)),
            "{report}"
        );
        seen += u32::from(!measured);
        if seen > 0 && measured {
            break;
        }
    }
    assert!(
        seen > 0,
        "some run was killed before it acknowledged anything"
    );
}
