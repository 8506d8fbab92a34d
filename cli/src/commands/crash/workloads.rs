//! Workloads for the explorer: built-in mixes by name, and files of steps.
//!
//! The language of steps is the engine's (`peercask::crash::Step`); here are only comments, blanks and
//! names.

use std::fs;
use std::path::Path;

use peercask::crash::{Step, Workload};

use crate::exit::Failure;
use crate::human::Table;
use crate::output::Output;

/// Name, what it is about, steps.
const MIXES: [(&str, &str, &str); 12] = [
    (
        "small",
        "a little of everything, in twelve steps",
        "p0.1.30d p1.1.30k d0.1d b+0.1-1.1+1.2d p1.3.700b s r p0.2.200d m p0.1.30d o p1.2.40k",
    ),
    (
        "puts",
        "one durable put after another",
        "p0.1.30d p0.2.30d p0.3.700d p0.1.30d p1.1.30d p1.2.700d p0.2.30d p1.1.30d",
    ),
    (
        "weak",
        "writes that wait for no device, then a sync, then more",
        "p0.1.30b p0.2.30k p1.1.400b f p0.3.30k i p0.1.30b p1.2.30k s p0.2.30b p1.3.500k p0.4.30b",
    ),
    (
        "batches",
        "batches over two keyspaces, across a rotation",
        "b+0.1+1.1d b+0.2-1.1+1.2k r b+0.1+0.2+0.3+1.3d b-0.1-0.2k b+0.4+1.4b s b+0.5+1.5d",
    ),
    (
        "transactions",
        "transactions that commit and that do not, and a snapshot that must not move",
        "p0.1.30d t+0.1+1.1d T+0.2-1.1k n t-0.1+0.3+1.2k r p0.3.30d t+1.3b s M t+0.4d o",
    ),
    (
        "merges",
        "overwrites and deletes over several segments, merged twice, reopened",
        "p0.1.700d p0.2.700d r p0.1.700d d0.2d r p0.3.700k m W p0.1.30d d0.3d r M W o p0.2.30d M",
    ),
    (
        "deletes",
        "what was deleted must not come back, by no merge and no lost hint",
        "p0.1.300d p1.1.300d r d0.1d r d1.1k m W o M W p0.1.30b r d0.1d M o",
    ),
    (
        "expiry",
        "records that expire, also under others, and time that passes",
        "p0.1.300t50d p0.1.30t5d p1.1.300t5k r w10 W p0.2.300t5d r w10 m W o p0.1.30d M",
    ),
    (
        "keyspaces",
        "keyspaces dropped and made again",
        "p2.1.30d p0.1.30d x2 p2.1.40d r x2 p2.2.30k m o p2.1.30d x0 p0.1.30d M",
    ),
    (
        "prefixes",
        "whole prefixes deleted at once, between puts, merges and a snapshot",
        "p1.1.30d p1.2.300k p0.1.30d D1.2k p1.2.30d n r p1.3.30b D1d M p1.1.40d D1k o p1.2.30d W",
    ),
    (
        "swaps",
        "writes that happen only if the key is as expected, and copies of the store",
        "e+0.1d E+0.1d e+0.1k c r e-0.1d E-0.1k e+1.1b p1.1.30t5d w10 e+1.1d M c o e-1.1d",
    ),
    (
        "far",
        "large segments: places far behind their beginning, found by keydir image after each reopen",
        "S256 p0.1.70000d p0.2.30d p0.3.70000k p1.1.30d p0.4.30d o d0.2d p0.5.30d r p0.2.90000d p0.6.30d m o d0.5k p0.1.30d M o p1.1.30d",
    ),
];

/// The language, for `--list-workloads`.
const LANGUAGE: &str = "\
Steps, with blanks, commas or new lines between them; `#` begins a comment. Keyspaces are 0 (hash), 1
(ordered) and 2 (one that comes and goes), keys are numbers up to 255; a write ends in what it is to
survive: b (buffered), k (kernel) or d (device).
  p0.1.700d     put 700 bytes under key 1 of keyspace 0, device; p0.1.700t5d expires after 5 s
  d0.1d         delete
  b+0.1-1.1d    a batch: put key 1 of keyspace 0, delete key 1 of keyspace 1
  t+0.1-1.1d    the same in a transaction; with T it is rolled back
  e+0.1d e-0.1d put or delete if the key is as it was found; with E the expectation is wrong
  D1d D1.2d     delete everything in keyspace 1 by the empty prefix, or what the prefix 2 has
  n             take a snapshot, which must show the same after every later step
  s r f i W     sync; seal the active segment; flusher; sync interval; one step of the worker
  m M           merge what is due; merge everything
  x2 o w10 c    drop keyspace 2; close and open again; 10 s pass; checkpoint
  S256          close and open again, with segments of 256 KiB from then on (4 to 65,536)";

/// The built-in mix of that name, or the steps in the file of that name.
pub(super) fn named(name: &str) -> Result<Workload, Failure> {
    if let Some((_, _, steps)) = MIXES.iter().find(|(known, ..)| *known == name) {
        return parse(steps).map_err(Failure::usage);
    }
    let path = Path::new(name);
    if !path.exists() {
        let names: Vec<&str> = MIXES.iter().map(|(name, ..)| *name).collect();
        return Err(Failure::usage(format!(
            "`{name}` is neither a file nor one of the built-in workloads: {}",
            names.join(", ")
        )));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::io(format_args!("read {name}"), &error))?;
    parse(&text).map_err(|what| Failure::usage(format!("{name}: {what}")))
}

/// Steps as a file has them.
fn parse(text: &str) -> Result<Workload, String> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        for word in words {
            let step = word.parse::<Step>();
            steps.push(step.map_err(|what| format!("line {}: {what}", number + 1))?);
        }
    }
    match steps.is_empty() {
        true => Err("there is no step in it".to_owned()),
        false => Ok(Workload { steps }),
    }
}

pub(super) fn list(output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        for (name, about, _) in MIXES {
            let workload = named(name)?;
            output.object(&serde_json::json!({
                "name": name, "about": about, "steps": workload.to_string(),
            }))?;
        }
        return Ok(());
    }
    let mut table = Table::new(3);
    for (name, about, steps) in MIXES {
        table.row(vec![name.to_owned(), about.to_owned(), steps.to_owned()]);
    }
    for line in table.lines() {
        output.line(line)?;
    }
    output.line("")?;
    output.line(LANGUAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_workload_is_well_formed() {
        for (name, ..) in MIXES {
            let workload = named(name).expect("well formed");
            assert!(workload.steps.len() > 5, "{name}");
        }
    }

    #[test]
    fn the_language_tells_of_every_kind_of_step() {
        let told: Vec<Step> = LANGUAGE
            .lines()
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.parse().ok())
            .collect();
        let letter = |step: &Step| step.to_string().chars().next();
        let is_told = |step: &Step| told.iter().any(|one| letter(one) == letter(step));
        // T and E, told in words, are as t and e but for what comes of them.
        let other_half = |step: &Step| matches!(letter(step), Some('T' | 'E'));
        for seed in 0..40 {
            for step in Workload::random(seed, 24).steps {
                assert!(is_told(&step) || other_half(&step), "{step}");
            }
        }
        for step in Workload::menu() {
            assert!(is_told(&step), "{step}");
        }
    }

    #[test]
    fn a_file_of_steps_may_have_comments_and_says_which_line_is_wrong() {
        let workload = parse("# two puts\np0.1.30d, p0.2.30k # and\n\n s\n").expect("good");
        assert_eq!(workload.to_string(), "p0.1.30d,p0.2.30k,s");
        let wrong = parse("s\n p0.1.30x").expect_err("wrong");
        assert!(wrong.starts_with("line 2: "), "{wrong}");
        assert!(parse("# nothing").is_err());
        assert!(named("no such mix").is_err());
    }
}
