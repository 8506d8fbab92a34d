//! The report of a quickstart: one JSON object, or a short table at the end of what was said on the way.
//!
//! Field names are a public promise (docs/cli.md). It must never measure anything itself.

use serde::Serialize;

use super::checks::{AfterKill, Checks};
use super::floors::{Compared, Floors};
use super::kill::Killed;
use super::rework::Written;
use super::source::Chosen;
use crate::exit::Failure;
use crate::human::Table;
use crate::output::Output;
use crate::reports::MergeJson;
use crate::units::{self, count, counted};

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    pub(super) seed: u64,
    pub(super) dir: String,
    pub(super) sources: Vec<SourceJson>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) left_out_by_limits: u64,
    pub(super) killed_child: Rate,
    pub(super) recovery: serde_json::Value,
    pub(super) after_kill: AfterKill,
    pub(super) resumed: Rate,
    pub(super) vanished_before_import: u64,
    pub(super) overwritten: u64,
    pub(super) deleted: u64,
    pub(super) space: Space,
    pub(super) merge: MergeJson,
    pub(super) opens: Opens,
    pub(super) index: Index,
    pub(super) verify: serde_json::Value,
    /// Places that `verify` or recovery found damaged.
    pub(super) damaged: u64,
    pub(super) floors: Floors,
    pub(super) checks: Checks,
    pub(super) elapsed_ms: u64,
}

#[derive(Serialize)]
pub(super) struct SourceJson {
    label: &'static str,
    path: String,
}

/// Files, each one batch over two keyspaces, acknowledged at `Kernel`.
#[derive(Serialize)]
pub(super) struct Rate {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) files_per_s: f64,
    pub(super) bytes_per_s: f64,
}

/// Bytes of the store's segments at three moments.
#[derive(Default, Serialize)]
pub(super) struct Space {
    pub(super) imported: u64,
    pub(super) overwritten_and_deleted: u64,
    pub(super) merged: u64,
    pub(super) live_after_merge: u64,
    pub(super) reclaimed: u64,
    /// Of all files in the store's directory after the last close.
    pub(super) all_files_closed: u64,
}

#[derive(Default, Serialize)]
pub(super) struct Opens {
    pub(super) after_kill_ms: f64,
    pub(super) after_import_ms: f64,
    pub(super) after_merge_ms: f64,
    /// Keys of both keyspaces in the last of these.
    pub(super) keys_after_merge: u64,
}

#[derive(Default, Serialize)]
pub(super) struct Index {
    pub(super) hash_bytes_per_key: f64,
    pub(super) ordered_bytes_per_key: f64,
    /// Of these, the key itself.
    pub(super) mean_key_bytes: f64,
}

pub(super) fn sources(chosen: &Chosen) -> Vec<SourceJson> {
    let sources = chosen.sources.iter();
    sources
        .map(|source| SourceJson {
            label: source.label,
            path: source.root.display().to_string(),
        })
        .collect()
}

impl From<&Killed> for Rate {
    fn from(killed: &Killed) -> Rate {
        Rate {
            files: killed.acknowledged,
            bytes: killed.bytes,
            files_per_s: units::per_second(killed.acknowledged, killed.elapsed),
            bytes_per_s: units::per_second(killed.bytes, killed.elapsed),
        }
    }
}

impl From<&Written> for Rate {
    fn from(written: &Written) -> Rate {
        Rate {
            files: written.files,
            bytes: written.bytes,
            files_per_s: units::per_second(written.files, written.in_store),
            bytes_per_s: units::per_second(written.bytes, written.in_store),
        }
    }
}

impl Report {
    /// The part of the report that is a summary; the phases have spoken for themselves.
    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.object(self);
        }
        output.line("")?;
        self.print_speed(output)?;
        output.line("")?;
        let mut table = Table::new(1);
        let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
        row(
            "on disk after the import",
            units::bytes(self.space.imported),
        );
        row(
            "with a quarter overwritten, a quarter deleted",
            units::bytes(self.space.overwritten_and_deleted),
        );
        row("merged", units::bytes(self.space.merged));
        row("live in it", units::bytes(self.space.live_after_merge));
        row("reclaimed", units::bytes(self.space.reclaimed));
        row(
            "all files of the closed store",
            units::bytes(self.space.all_files_closed),
        );
        row(
            "index bytes per key, hash keyspace",
            format!("{:.1} B", self.index.hash_bytes_per_key),
        );
        row(
            "index bytes per key, ordered keyspace",
            format!("{:.1} B", self.index.ordered_bytes_per_key),
        );
        row(
            "  of these, the key itself",
            format!("{:.1} B", self.index.mean_key_bytes),
        );
        row(
            "open after the kill",
            format!("{:.1} ms", self.opens.after_kill_ms),
        );
        row(
            "open after a clean close",
            format!("{:.1} ms", self.opens.after_import_ms),
        );
        row(
            "open after the merge",
            format!("{:.1} ms", self.opens.after_merge_ms),
        );
        for line in table.lines() {
            output.line(line)?;
        }
        output.line("")?;
        self.print_verdict(output)
    }

    fn print_speed(&self, output: &mut Output) -> Result<(), Failure> {
        let floors = &self.floors;
        output.line(format_args!(
            "{}, {}, store and floors in turns, median of {} rounds:",
            counted(floors.records, "record"),
            units::bytes(floors.bytes),
            floors.rounds
        ))?;
        let mut table = Table::headed(
            1,
            &[
                "records per second",
                "store",
                "raw log",
                "HashMap",
                "store : log",
                "store : map",
            ],
        );
        let mut row = |name: &str, compared: &Compared| {
            table.row(vec![
                name.to_owned(),
                rate(compared.store_per_s),
                rate(compared.log_per_s),
                rate(compared.map_per_s),
                format!("{:.2}", compared.store_to_log),
                format!("{:.3}", compared.store_to_map),
            ]);
        };
        row("put, Kernel", &floors.put_kernel);
        row("put, Buffered", &floors.put_buffered);
        row("get", &floors.get);
        row("open", &floors.open);
        for line in table.lines() {
            output.line(line)?;
        }
        Ok(())
    }

    fn print_verdict(&self, output: &mut Output) -> Result<(), Failure> {
        let checks = &self.checks;
        output.line(format_args!(
            "{}: {} equal to their file, {} whose file changed and {} whose file vanished meanwhile are as imported",
            counted(checks.verified, "check"),
            count(checks.equal_to_file),
            count(checks.file_changed),
            count(checks.file_vanished)
        ))?;
        for mismatch in &checks.mismatches_told {
            output.line(format_args!("MISMATCH {mismatch}"))?;
        }
        if self.ok {
            output.line("nothing lost, nothing wrong, nothing revived")
        } else {
            let mismatches = count(checks.mismatches);
            output.line(format_args!(
                "FAILED, mismatches: {mismatches}; damaged places: {}",
                self.damaged
            ))
        }
    }
}

/// "1,234", with a decimal place below ten.
fn rate(per_second: f64) -> String {
    if per_second < 10.0 {
        return format!("{per_second:.1}");
    }
    let text = format!("{per_second:.0}");
    text.parse().map_or(text, count)
}
