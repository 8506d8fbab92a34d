//! The engine's reports in JSON form and as text: mirrors of its structs with fixed field names.
//!
//! The field names are a public promise (docs/cli.md); a field of the engine is not renamed here when
//! the engine renames it. This file must never open a store.

use peercask::{
    CheckpointReport, Cost, Cut, Damage, KeyspaceInfo, MergeReport, RecoveryReport, RepairReport,
    VerifyReport,
};
use serde::Serialize;

use crate::human;
use crate::json::BytesOut;
use crate::units::{self, count, counted};

#[derive(Serialize)]
pub(crate) struct KeyspaceJson<'a> {
    pub(crate) name: &'a str,
    pub(crate) id: u32,
    pub(crate) index: String,
    pub(crate) default_ttl_ms: Option<u64>,
    pub(crate) keys: u64,
    pub(crate) live_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) index_bytes_per_key: Option<f64>,
}

impl<'a> From<&'a KeyspaceInfo> for KeyspaceJson<'a> {
    fn from(info: &'a KeyspaceInfo) -> Self {
        KeyspaceJson {
            name: &info.name,
            id: info.id,
            index: info.kind.to_string(),
            default_ttl_ms: info.default_ttl.map(units::whole_ms),
            keys: info.keys,
            live_bytes: info.live_bytes,
            index_bytes: info.index_bytes,
            index_bytes_per_key: (info.keys > 0).then(|| units::ratio(info.index_bytes, info.keys)),
        }
    }
}

/// The table of keyspaces that `keyspaces` and `stat` share.
pub(crate) fn keyspace_table(infos: &[KeyspaceInfo]) -> Vec<String> {
    let mut table = human::Table::headed(
        2,
        &[
            "keyspace",
            "index",
            "keys",
            "live",
            "index memory",
            "per key",
            "default ttl",
        ],
    );
    for info in infos {
        let per_key = match info.keys {
            0 => "-".to_owned(),
            keys => format!("{:.1} B", units::ratio(info.index_bytes, keys)),
        };
        table.row(vec![
            human::printable(info.name.as_bytes()),
            info.kind.to_string(),
            count(info.keys),
            units::bytes(info.live_bytes),
            units::bytes(info.index_bytes),
            per_key,
            info.default_ttl
                .map_or_else(|| "-".to_owned(), units::duration),
        ]);
    }
    table.lines()
}

#[derive(Serialize)]
pub(crate) struct DamageJson<'a> {
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) what: &'a str,
    pub(crate) cost: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keyspace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<BytesOut<'a>>,
}

impl<'a> From<&'a Damage> for DamageJson<'a> {
    fn from(damage: &'a Damage) -> Self {
        DamageJson {
            file: &damage.file,
            offset: damage.offset,
            len: damage.len,
            what: &damage.what,
            cost: match damage.cost {
                Cost::Records => "records",
                Cost::Unknown => "unknown",
                Cost::Nothing => "nothing",
            },
            keyspace: damage.keyspace.as_deref(),
            key: damage.key.as_deref().map(BytesOut),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct CutJson<'a> {
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) records: u64,
}

impl<'a> From<&'a Cut> for CutJson<'a> {
    fn from(cut: &'a Cut) -> Self {
        CutJson {
            file: &cut.file,
            offset: cut.offset,
            bytes: cut.bytes,
            records: cut.records,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RecoveryJson<'a> {
    pub(crate) created: bool,
    pub(crate) clean: bool,
    pub(crate) segments: u64,
    pub(crate) hints_used: u64,
    pub(crate) segments_scanned: u64,
    pub(crate) records: u64,
    pub(crate) synced_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) cut: Vec<CutJson<'a>>,
    pub(crate) damage: Vec<DamageJson<'a>>,
    pub(crate) removed_files: &'a [String],
    pub(crate) foreign_files: &'a [String],
    pub(crate) manifest_rebuilt: bool,
    pub(crate) elapsed_ms: f64,
}

impl<'a> From<&'a RecoveryReport> for RecoveryJson<'a> {
    fn from(report: &'a RecoveryReport) -> Self {
        RecoveryJson {
            created: report.created,
            clean: report.clean,
            segments: report.segments,
            hints_used: report.hints_used,
            segments_scanned: report.segments_scanned,
            records: report.records,
            synced_seq: report.synced_seq,
            last_seq: report.last_seq,
            cut: report.cut.iter().map(CutJson::from).collect(),
            damage: report.damage.iter().map(DamageJson::from).collect(),
            removed_files: &report.removed_files,
            foreign_files: &report.foreign_files,
            manifest_rebuilt: report.manifest_rebuilt,
            elapsed_ms: report.elapsed.as_secs_f64() * 1_000.0,
        }
    }
}

/// One line: how the store was found.
pub(crate) fn recovery_line(report: &RecoveryReport) -> String {
    format!(
        "{} in {}: {}, {} by hint file, {} scanned; {}",
        if report.clean {
            "opened clean"
        } else {
            "recovered"
        },
        units::duration(report.elapsed),
        counted(report.segments, "segment"),
        count(report.hints_used),
        count(report.segments_scanned),
        counted(report.records, "record"),
    )
}

pub(crate) fn cut_line(cut: &Cut) -> String {
    format!(
        "torn tail cut: {} at offset {} of {}, {}",
        counted(cut.bytes, "byte"),
        cut.offset,
        cut.file,
        counted(cut.records, "record"),
    )
}

#[derive(Serialize)]
pub(crate) struct VerifyJson<'a> {
    pub(crate) clean: bool,
    pub(crate) segments: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) hints: u64,
    pub(crate) lost: u64,
    pub(crate) damage: Vec<DamageJson<'a>>,
}

impl<'a> From<&'a VerifyReport> for VerifyJson<'a> {
    fn from(report: &'a VerifyReport) -> Self {
        VerifyJson {
            clean: report.is_clean(),
            segments: report.segments,
            records: report.records,
            bytes: report.bytes,
            hints: report.hints,
            lost: report.lost,
            damage: report.damage.iter().map(DamageJson::from).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RepairJson<'a> {
    pub(crate) complete: bool,
    pub(crate) keyspaces: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: Vec<DamageJson<'a>>,
    pub(crate) damage: Vec<DamageJson<'a>>,
    pub(crate) foreign_files: &'a [String],
    pub(crate) elapsed_ms: f64,
}

impl<'a> From<&'a RepairReport> for RepairJson<'a> {
    fn from(report: &'a RepairReport) -> Self {
        RepairJson {
            complete: report.is_complete(),
            keyspaces: report.keyspaces,
            records: report.records,
            bytes: report.bytes,
            lost: report.lost.iter().map(DamageJson::from).collect(),
            damage: report.damage.iter().map(DamageJson::from).collect(),
            foreign_files: &report.foreign_files,
            elapsed_ms: report.elapsed.as_secs_f64() * 1_000.0,
        }
    }
}

pub(crate) fn repair_line(report: &RepairReport) -> String {
    format!(
        "{} ({}) of {} saved in {}; {}",
        counted(report.records, "record"),
        units::bytes(report.bytes),
        counted(report.keyspaces, "keyspace"),
        units::duration(report.elapsed),
        match (report.lost.len(), report.damage.len()) {
            (0, 0) => "nothing was damaged".to_owned(),
            (lost, damaged) => format!("{lost} known to be lost, {damaged} damaged places"),
        }
    )
}

pub(crate) fn verify_line(report: &VerifyReport) -> String {
    format!(
        "{} and {} in {}, {} checked: {}",
        counted(report.records, "record"),
        counted(report.hints, "hint file"),
        counted(report.segments, "segment"),
        units::bytes(report.bytes),
        match report.damage.len() {
            0 => "no damage".to_owned(),
            number => format!("{number} damaged, current values lost: {}", report.lost),
        }
    )
}

#[derive(Serialize)]
pub(crate) struct CheckpointJson {
    pub(crate) last_seq: u64,
    pub(crate) segments: u64,
    pub(crate) segments_linked: u64,
    pub(crate) segments_copied: u64,
    pub(crate) bytes_copied: u64,
    pub(crate) segments_kept: u64,
    pub(crate) segments_removed: u64,
    pub(crate) elapsed_ms: f64,
}

impl From<&CheckpointReport> for CheckpointJson {
    fn from(report: &CheckpointReport) -> Self {
        CheckpointJson {
            last_seq: report.last_seq,
            segments: report.segments,
            segments_linked: report.segments_linked,
            segments_copied: report.segments_copied,
            bytes_copied: report.bytes_copied,
            segments_kept: report.segments_kept,
            segments_removed: report.segments_removed,
            elapsed_ms: report.elapsed.as_secs_f64() * 1_000.0,
        }
    }
}

pub(crate) fn checkpoint_line(report: &CheckpointReport) -> String {
    format!(
        "{} up to seq {} in {}: {} linked, {} copied ({}), {} kept, {} removed",
        counted(report.segments, "segment"),
        count(report.last_seq),
        units::duration(report.elapsed),
        count(report.segments_linked),
        count(report.segments_copied),
        units::bytes(report.bytes_copied),
        count(report.segments_kept),
        count(report.segments_removed),
    )
}

#[derive(Serialize)]
pub(crate) struct MergeJson {
    pub(crate) segments_in: u64,
    pub(crate) segments_out: u64,
    pub(crate) segments_dropped: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) records_copied: u64,
    pub(crate) records_dropped: u64,
    pub(crate) tombstones_kept: u64,
    pub(crate) segments_damaged: u64,
}

impl From<&MergeReport> for MergeJson {
    fn from(report: &MergeReport) -> Self {
        MergeJson {
            segments_in: report.segments_in,
            segments_out: report.segments_out,
            segments_dropped: report.segments_dropped,
            bytes_in: report.bytes_in,
            bytes_out: report.bytes_out,
            records_copied: report.records_copied,
            records_dropped: report.records_dropped,
            tombstones_kept: report.tombstones_kept,
            segments_damaged: report.segments_damaged,
        }
    }
}

pub(crate) fn merge_line(report: &MergeReport) -> String {
    format!(
        "{} ({}) into {} ({}), {} copied, {} dropped, {} kept, {} dropped whole",
        counted(report.segments_in, "segment"),
        units::bytes(report.bytes_in),
        count(report.segments_out),
        units::bytes(report.bytes_out),
        counted(report.records_copied, "record"),
        count(report.records_dropped),
        counted(report.tombstones_kept, "tombstone"),
        counted(report.segments_dropped, "segment"),
    )
}
