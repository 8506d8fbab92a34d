//! docs/cli.md against the command: every command and every option of the page exists, every command is on
//! the page, the exit codes are the command's, and the fields it promises of `crash` and `doctor` are there.
//! The command is the default build; the section of `peers` is held by a test of the command's own crate, which
//! is built with the feature `p2p` there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Room, peercask};

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    fs::read_to_string(root.join("docs/cli.md")).expect("the page is there")
}

/// The page without what the default build leaves out.
fn page_of_the_default_build() -> String {
    let page = page();
    let (before, rest) = page
        .split_once("\n## Peers of a libp2p node: `peers`\n")
        .expect("its section is there");
    let (_, after) = rest.split_once("\n## ").expect("others follow");
    format!("{before}\n## {after}")
}

/// Long options in a text.
fn options(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    let long =
        words.filter(|word| word.len() > 3 && word.starts_with("--") && !word.ends_with('-'));
    long.map(str::to_owned).collect()
}

/// The commands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let Some(list) = help.split("Commands:").nth(1) else {
        return Vec::new();
    };
    let list = list.split("Options:").next().expect("ends");
    let own = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = list
        .lines()
        .filter(own)
        .filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The options of a command and of those below it.
fn options_of(command: &[&str]) -> BTreeSet<String> {
    let help = peercask(command.iter().copied().chain(["--help"])).ends_with(0);
    let mut found = options(help.text());
    for below in listed(help.text()) {
        let line: Vec<&str> = command.iter().copied().chain([below.as_str()]).collect();
        found.extend(options_of(&line));
    }
    found
}

#[test]
fn every_command_is_on_the_page_and_every_option_of_the_page_exists() {
    let page = page_of_the_default_build();
    let commands = listed(peercask(["--help"]).ends_with(0).text());
    assert!(commands.len() > 12, "{commands:?}");
    let mut known = BTreeSet::new();
    for command in &commands {
        let on_page =
            page.contains(&format!("`{command}")) || page.contains(&format!("peercask {command}"));
        assert!(on_page, "`{command}` is not on the page");
        known.extend(options_of(&[command.as_str()]));
    }
    known.extend(["--version", "--path", "--release", "--features"].map(str::to_owned));
    let unknown: Vec<String> = options(&page).difference(&known).cloned().collect();
    assert!(
        unknown.is_empty(),
        "the page names options that no command has: {unknown:?}"
    );
}

#[test]
fn every_option_of_bench_crash_and_doctor_is_on_the_page() {
    let page = options(&page());
    for command in ["bench", "crash", "doctor"] {
        let help = peercask([command, "--help"]).ends_with(0);
        let missing: Vec<String> = options(help.text()).difference(&page).cloned().collect();
        assert!(
            missing.iter().all(|option| option == "--help"),
            "{command}: {missing:?}"
        );
    }
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let page = page();
    let help = peercask(["--help"]).ends_with(0);
    let codes = help
        .text()
        .split("Exit codes:")
        .nth(1)
        .expect("they are told");
    let mut told = 0;
    for code in codes
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok())
    {
        assert!(
            page.contains(&format!("\n| {code} | ")),
            "{code} is not on the page"
        );
        told += 1;
    }
    assert_eq!(told, 9);
}

/// Words in backticks from `from` on, up to the next blank line.
fn promised(page: &str, section: &str, from: &str) -> Vec<String> {
    let section = page.split(section).nth(1).expect("the section is there");
    let start = section.find(from).expect("the fields are told");
    let fields = section[start + from.len()..]
        .split("\n\n")
        .next()
        .expect("a paragraph");
    let words = fields.split('`').skip(1).step_by(2);
    let names = words.filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    names.map(str::to_owned).collect()
}

fn assert_fields(report: &Value, fields: &[String], others: &[&str]) {
    assert!(fields.len() > 6, "{fields:?}");
    for field in fields {
        let there = report.get(field).is_some() || others.contains(&field.as_str());
        assert!(there, "`{field}` is on the page and not in {report}");
    }
}

#[test]
fn the_fields_that_the_page_promises_are_there() {
    let page = page();
    let line = [
        "crash",
        "--states",
        "60",
        "--ops",
        "4",
        "--sync-coverage",
        "--json",
    ];
    let report = peercask(line).ends_with(0).json();
    let fields = promised(
        &page,
        "## Exploring crash states",
        "`--json` prints one line:",
    );
    assert_fields(&report, &fields, &["case", "what", "story", "test"]);

    let line = [
        "crash",
        "--process",
        "--rounds",
        "6",
        "--seed",
        "2",
        "--json",
    ];
    let report = peercask(line).ends_with(0).json();
    let fields = promised(
        &page,
        "## Killing a real child",
        "`--json` prints one line:",
    );
    assert_fields(&report, &fields, &[]);

    let room = Room::with_records(&[("key", "value")]);
    let report = room.run("doctor", &["--json"]).ends_with(0).json();
    let fields = promised(
        &page,
        "## After a crash or a bad disk",
        "everything is one object:",
    );
    assert_fields(
        &report,
        &fields,
        &["cost", "records", "unknown", "nothing", "proven", "lost"],
    );
}
