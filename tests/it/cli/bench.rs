//! `bench`: lines with the promised fields, tables with the goals behind them, a page that stands
//! alone, and what it says to bad input. Sizes are tiny: no figure here means anything.

use std::fs;

use serde_json::Value;

use super::{Room, peercask};

/// All that a line may have, by its promise; `details` only if asked for.
const FIELDS: &[&str] = &[
    "backend",
    "workload",
    "n",
    "key_len",
    "value_len",
    "threads",
    "ops_per_s",
    "ns_p50",
    "ns_p99",
    "ns_p999",
    "ns_max",
    "rss_bytes_per_key",
    "index_bytes_per_key",
    "disk_bytes",
    "user_bytes",
    "write_bytes",
    "syncs",
    "open_ms",
];
/// The fields that every line has.
const ALWAYS: usize = 6;

fn of<'a>(lines: &'a [Value], workload: &str, backend: &str) -> &'a Value {
    let found = lines
        .iter()
        .find(|line| line["workload"] == workload && line["backend"] == backend);
    found.unwrap_or_else(|| panic!("no line of {workload}, {backend}: {lines:?}"))
}

#[test]
fn lines_have_the_promised_fields_and_no_others() {
    let room = Room::new();
    // Each part of the runner once; `all` would take as many seconds as it has processes.
    let words = "bench fill device-1 device-8 read-hit ycsb-e expiring open-clean open-kill growth space \
                 framing merging-uniform --n 300 --key-len 20 --value-len 40 --threads 2 --json --dir";
    let mut line: Vec<_> = words.split_whitespace().map(Into::into).collect();
    line.push(room.path("").into_os_string());
    let lines = peercask(line).ends_with(0).json_lines();
    for line in &lines {
        let object = line.as_object().expect("an object");
        for (name, value) in object {
            assert!(FIELDS.contains(&name.as_str()), "{name} in {line}");
            assert!(
                !value.is_null(),
                "{name} in {line}: what does not apply is left out"
            );
        }
        for name in &FIELDS[..ALWAYS] {
            assert!(object.contains_key(*name), "{name} is not in {line}");
        }
    }
    for backend in [
        "peercask-hash",
        "peercask-ordered",
        "floor-map",
        "floor-log",
    ] {
        let read = of(&lines, "read-hit", backend);
        assert_eq!((&read["n"], &read["threads"]), (&300.into(), &2.into()));
        assert!(read["ops_per_s"].as_f64() > Some(0.0), "{read}");
        assert!(read["ns_p50"].as_u64() <= read["ns_max"].as_u64(), "{read}");
        let growth = of(&lines, "growth", backend);
        assert!(
            growth["index_bytes_per_key"].as_f64() > Some(1.0),
            "{growth}"
        );
        // The floors keep the values too.
        let least = if backend.starts_with("floor") {
            60.0
        } else {
            1.0
        };
        assert!(
            growth["index_bytes_per_key"].as_f64() >= Some(least),
            "{growth}"
        );
    }
    for workload in ["open-clean", "open-kill"] {
        let open = of(&lines, workload, "peercask-hash");
        assert!(open["open_ms"].as_f64() > Some(0.0), "{open}");
    }
    let device = of(&lines, "device-8", "peercask-hash");
    assert!(device["syncs"].as_u64() <= device["n"].as_u64(), "{device}");
    assert_eq!(device["threads"], 8);
    let raw = of(&lines, "device-1", "floor-raw-zero-filled");
    assert_eq!(
        raw["syncs"], raw["n"],
        "each of the raw loop's appends is synced"
    );
    let fill = of(&lines, "fill", "peercask-hash");
    assert_eq!(fill["user_bytes"], 300 * 60);
    if cfg!(target_os = "linux") {
        assert!(
            fill["write_bytes"].as_u64() >= fill["user_bytes"].as_u64(),
            "{fill}"
        );
    }
    let left = fs::read_dir(room.path("")).expect("listed").count();
    assert_eq!(left, 0, "every store was removed");
}

#[test]
fn people_get_tables_with_the_goals_behind_them() {
    let words = "bench read-hit put-buffered --n 500 --rounds 3 --backend peercask-hash,floor-map";
    let ran = peercask(words.split(' ')).ends_with(0);
    let text = ran.text();
    for part in [
        "read-hit: every key once",
        "put-buffered: ",
        "of floor",
        "rounds",
        "Goals:",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let named = |name: &str| {
        text.lines()
            .filter(|line| line.trim_start().starts_with(name))
            .count()
    };
    assert_eq!(
        (named("peercask-hash "), named("floor-map")),
        (2, 2),
        "{text}"
    );
    assert!(!text.contains("floor-log"), "{text}");
}

#[test]
fn earlier_lines_make_a_page_that_stands_alone() {
    let room = Room::new();
    let words =
        "bench read-hit growth open-clean space --n 500 --backend peercask-hash,floor-log --json";
    let plain = peercask(words.split(' ')).ends_with(0);
    let detailed = peercask(words.split(' ').chain(["--details"])).ends_with(0);
    assert!(
        plain
            .json_lines()
            .iter()
            .all(|line| line.get("details").is_none())
    );
    let lines = detailed.json_lines();
    let histogram = &of(&lines, "read-hit", "peercask-hash")["details"]["histogram"];
    assert!(
        histogram
            .as_array()
            .is_some_and(|buckets| !buckets.is_empty())
    );

    let earlier = room.write("lines.jsonl", &detailed.out);
    let page = room.path("page.html");
    let mut line = vec!["bench".into(), "--from".into(), earlier.into_os_string()];
    line.extend(["--report".into(), page.clone().into_os_string()]);
    let ran = peercask(line).ends_with(0);
    assert!(
        ran.text().contains("read-hit: every key once"),
        "{}",
        ran.text()
    );
    assert!(
        !ran.text().contains("ycsb"),
        "nothing is run beside earlier lines"
    );
    let page = fs::read_to_string(page).expect("written");
    for part in [
        "Throughput",
        "Latency",
        "Memory a key",
        "Open time against keys",
        "Space over time",
    ] {
        assert!(page.contains(&format!("<h2>{part}</h2>")), "{part}");
    }
    for outside in ["src=", "href=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
}

#[test]
fn workloads_and_backends_are_listed() {
    let listed = peercask(["bench", "--list"]).ends_with(0);
    let json = peercask(["bench", "--list", "--json"])
        .ends_with(0)
        .json_lines();
    for line in json {
        let name = line
            .get("workload")
            .or(line.get("backend"))
            .and_then(Value::as_str);
        assert!(
            name.is_some_and(|name| listed.text().contains(name)),
            "{line}"
        );
    }
}

#[test]
fn bad_input_is_refused_before_anything_is_measured() {
    let room = Room::new();
    let bad = room.write("bad.jsonl", "\n{\"backend\":\"x\"}\n");
    let bad = bad.to_str().expect("UTF-8");
    let nowhere = room.path("none/at-all");
    let nowhere = nowhere.to_str().expect("UTF-8");
    for (words, part) in [
        (&["bench", "read-hot"][..], "read-hit"),
        (&["bench", "--backend", "oracle"], "peercask-hash"),
        (&["bench", "--n", "99"], "100.."),
        (&["bench", "--n", "many"], "invalid"),
        (&["bench", "--key-len", "7"], "8.."),
        (&["bench", "--value-len", "0"], "1.."),
        (&["bench", "--threads", "0"], "1.."),
        (&["bench", "--rounds", "0"], "1.."),
        (&["bench", "--dir", nowhere], "is no directory"),
        (&["bench", "--report", nowhere], "cannot write"),
        (&["bench", "--from", nowhere], "cannot read"),
        (&["bench", "--from", bad], "line 2"),
    ] {
        peercask(words).fails_with(2, part);
    }
}
