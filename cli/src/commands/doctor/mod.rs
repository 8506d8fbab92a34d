//! `doctor`: what the files of a store prove, said so that each sentence is a checked fact, and what
//! to do next. Reads only.
//!
//! It must never interpret bytes itself; `peercask::doctor` does.

mod advice;
mod json;

use std::path::PathBuf;

use clap::Args;
use peercask::Cost;
use peercask::doctor::{
    self, Examination, HintState, ManifestWorth, SegmentState, Standing, Verdict,
};

use crate::exit::{Exit, Failure};
use crate::human::{self, Table};
use crate::output::Output;
use crate::progress::{Count, Progress};
use crate::units::{bytes, count, counted, wide};

/// Lost keys and damaged places told one by one; `--json` has all.
const TOLD_MAX: usize = 20;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// The store's directory
    dir: PathBuf,
}

pub(crate) fn run(args: &DoctorArgs, output: &mut Output) -> Result<Exit, Failure> {
    let mut progress = Progress::new("examining", Count::Bytes, 0);
    let found = doctor::examine(&args.dir, &mut |done| progress.follow(&done))?;
    drop(progress);
    let advice = advice::for_what_was(&found, &args.dir);
    let printed = match output.is_json() {
        true => output.object(&json::of(&found, &advice)),
        false => print(&found, &advice, output),
    };
    match printed {
        Err(failure) if !failure.is_reader_gone() => Err(failure),
        // The verdict does not depend on somebody reading the report to its end.
        _ => Ok(exit_of(&found)),
    }
}

/// An unfinished tail is what crashes leave, and no fault; damage, loss and a refusal are.
fn exit_of(found: &Examination) -> Exit {
    let whole = found.verdict != Verdict::Lost && found.damage.is_empty();
    match whole && found.refused.is_none() {
        true => Exit::Done,
        false => Exit::NotFoundOrWrong,
    }
}

fn print(found: &Examination, advice: &[String], output: &mut Output) -> Result<(), Failure> {
    output.line(store_line(found))?;
    output.line(opening_line(found))?;
    output.line(manifest_line(found))?;
    output.line("")?;
    for line in segment_table(&found.segments) {
        output.line(line)?;
    }
    print_places(found, output)?;
    output.line("")?;
    output.line(verdict_line(found.verdict))?;
    for reason in &found.reasons {
        output.line(format_args!("  - {reason}"))?;
    }
    for next in advice {
        output.line(format_args!("next: {next}"))?;
    }
    Ok(())
}

fn store_line(found: &Examination) -> String {
    format!(
        "store {}: {}, {}, {}{}",
        hex::encode(found.store_id),
        counted(wide(found.segments.len()), "segment"),
        counted(found.records, "record"),
        counted(found.keys, "key"),
        if found.in_use {
            "; a process has it open, and what it writes meanwhile shows in parts"
        } else {
            "; no process has it open"
        }
    )
}

fn opening_line(found: &Examination) -> String {
    match &found.refused {
        Some(why) => format!("open: refused: {why}; below is what would be left"),
        None if found.clean => "open: clean, nothing to repair".to_owned(),
        None => {
            let cut: u64 = found.cut.iter().map(|cut| cut.bytes).sum();
            let cut = match cut {
                0 => "cuts nothing".to_owned(),
                cut => format!("cuts {}", counted(cut, "byte")),
            };
            let removes = match wide(found.leftovers.len()) {
                0 => String::new(),
                number => format!(", removes {}", counted(number, "leftover")),
            };
            format!("open: recovers after an unclean stop, {cut}{removes}")
        }
    }
}

fn manifest_line(found: &Examination) -> String {
    let states: Vec<String> = found
        .manifests
        .iter()
        .map(|copy| match &copy.state {
            ManifestWorth::Valid(generation) => format!("{} generation {generation}", copy.file),
            ManifestWorth::Missing => format!("{} missing", copy.file),
            ManifestWorth::Damaged(why) => format!("{} damaged: {why}", copy.file),
        })
        .collect();
    let rebuilt = match found.manifest_rebuilt {
        true => "; no copy holds, open rebuilds it from the segments",
        false => "",
    };
    format!("manifest: {}{rebuilt}", states.join(", "))
}

fn segment_table(segments: &[SegmentState]) -> Vec<String> {
    let heads = [
        "segment",
        "kind",
        "state",
        "hint file",
        "records",
        "seqs",
        "proven durable",
        "reserved",
        "damaged",
    ];
    let mut table = Table::headed(4, &heads);
    let dash = || "-".to_owned();
    for segment in segments {
        table.row(vec![
            segment.file.clone(),
            segment.kind.to_owned(),
            standing_word(segment.standing).to_owned(),
            hint_word(&segment.hint).to_owned(),
            count(segment.records),
            match segment.records {
                0 => dash(),
                _ => format!("{}-{}", segment.first_seq, segment.last_seq),
            },
            match (segment.standing, segment.durable_records) {
                (Standing::Empty | Standing::Missing, _) => dash(),
                (_, durable) if durable == segment.records => "all".to_owned(),
                (_, durable) => format!(
                    "{} of {} to offset {}",
                    count(durable),
                    count(segment.records),
                    segment.durable_len
                ),
            },
            match segment.reserved_len {
                0 => dash(),
                len => bytes(len),
            },
            match segment.damaged_places {
                0 => dash(),
                places => count(places),
            },
        ]);
    }
    table.lines()
}

fn print_places(found: &Examination, output: &mut Output) -> Result<(), Failure> {
    for cut in &found.cut {
        output.line(format_args!(
            "cut: {} at offset {} of {}, {} among them; above the last proven sync",
            counted(cut.bytes, "byte"),
            cut.offset,
            cut.file,
            counted(cut.records, "whole record"),
        ))?;
    }
    for damage in found.damage.iter().take(TOLD_MAX) {
        let cost = match damage.cost {
            Cost::Records => "",
            Cost::Unknown => " (whether records were lost cannot be told)",
            Cost::Nothing => " (costs no record)",
        };
        output.line(format_args!("damaged: {damage}{cost}"))?;
    }
    for lost in found.lost_keys.iter().take(TOLD_MAX) {
        let key = lost.key.as_deref().map_or_else(
            || "a key that cannot be read any more".to_owned(),
            |key| format!("`{}`", human::printable(key)),
        );
        output.line(format_args!(
            "lost: {key} of keyspace `{}`, its record at offset {} of {}",
            human::printable(lost.keyspace.as_bytes()),
            lost.offset,
            lost.file
        ))?;
    }
    let (damaged, lost) = (wide(found.damage.len()), found.lost_keys_total);
    for (number, what) in [(damaged, "damaged place"), (lost, "lost key")] {
        if let Some(more) = number.checked_sub(wide(TOLD_MAX)).filter(|more| *more > 0) {
            output.line(format_args!(
                "and {}; --json has them",
                counted(more, &format!("more {what}"))
            ))?;
        }
    }
    for name in &found.leftovers {
        output.line(format_args!("leftover of a crash, removed by open: {name}"))?;
    }
    for name in &found.foreign_files {
        let name = human::printable(name.as_bytes());
        output.line(format_args!("not the store's, left alone: {name}"))?;
    }
    Ok(())
}

fn verdict_line(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "no acknowledged data was lost: PROVEN",
        Verdict::NotProvable => {
            "no acknowledged data was lost: NOT PROVABLE from the files; nothing known to have been on the device is missing"
        }
        Verdict::Lost => "acknowledged data was LOST",
    }
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "proven",
        Verdict::NotProvable => "not-provable",
        Verdict::Lost => "lost",
    }
}

fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Sealed => "sealed",
        Standing::Unsealed => "unsealed",
        Standing::Empty => "empty",
        Standing::Missing => "missing",
    }
}

fn hint_word(hint: &HintState) -> &'static str {
    match hint {
        HintState::Valid => "valid",
        HintState::Missing => "missing",
        HintState::Damaged(_) => "damaged",
        HintState::None => "-",
    }
}
