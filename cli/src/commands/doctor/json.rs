//! The examination as JSON; the field names are a public promise (docs/cli.md).

use peercask::doctor::{
    Examination, HintState, LostKey, ManifestState, ManifestWorth, SegmentState,
};
use serde::Serialize;

use super::{hint_word, standing_word, verdict_word};
use crate::json::BytesOut;
use crate::reports::{CutJson, DamageJson};

#[derive(Serialize)]
pub(super) struct DoctorJson<'a> {
    verdict: &'static str,
    reasons: &'a [String],
    next: &'a [String],
    in_use: bool,
    clean: bool,
    refused: Option<&'a str>,
    store_id: String,
    synced_seq: u64,
    last_seq: u64,
    records: u64,
    keys: u64,
    manifest_rebuilt: bool,
    manifests: Vec<ManifestJson<'a>>,
    segments: Vec<SegmentJson<'a>>,
    cut: Vec<CutJson<'a>>,
    damage: Vec<DamageJson<'a>>,
    lost_keys: Vec<LostKeyJson<'a>>,
    lost_keys_total: u64,
    leftovers: &'a [String],
    foreign_files: &'a [String],
}

#[derive(Serialize)]
struct ManifestJson<'a> {
    file: &'static str,
    state: &'static str,
    generation: Option<u64>,
    why: Option<&'a str>,
}

impl<'a> From<&'a ManifestState> for ManifestJson<'a> {
    fn from(copy: &'a ManifestState) -> Self {
        let (state, generation, why) = match &copy.state {
            ManifestWorth::Valid(generation) => ("valid", Some(*generation), None),
            ManifestWorth::Missing => ("missing", None, None),
            ManifestWorth::Damaged(why) => ("damaged", None, Some(why.as_str())),
        };
        ManifestJson {
            file: copy.file,
            state,
            generation,
            why,
        }
    }
}

#[derive(Serialize)]
struct SegmentJson<'a> {
    file: &'a str,
    segment: u64,
    file_len: u64,
    kind: &'static str,
    state: &'static str,
    records: u64,
    first_seq: u64,
    last_seq: u64,
    durable_records: u64,
    durable_len: u64,
    data_len: u64,
    reserved_len: u64,
    damaged_places: u64,
    hint: &'static str,
    hint_why: Option<&'a str>,
}

impl<'a> From<&'a SegmentState> for SegmentJson<'a> {
    fn from(segment: &'a SegmentState) -> Self {
        SegmentJson {
            file: &segment.file,
            segment: segment.id,
            file_len: segment.file_len,
            kind: segment.kind,
            state: standing_word(segment.standing),
            records: segment.records,
            first_seq: segment.first_seq,
            last_seq: segment.last_seq,
            durable_records: segment.durable_records,
            durable_len: segment.durable_len,
            data_len: segment.data_len,
            reserved_len: segment.reserved_len,
            damaged_places: segment.damaged_places,
            hint: match hint_word(&segment.hint) {
                "-" => "none",
                word => word,
            },
            hint_why: match &segment.hint {
                HintState::Damaged(why) => Some(why),
                _ => None,
            },
        }
    }
}

#[derive(Serialize)]
struct LostKeyJson<'a> {
    keyspace: &'a str,
    key: Option<BytesOut<'a>>,
    file: &'a str,
    offset: u64,
}

impl<'a> From<&'a LostKey> for LostKeyJson<'a> {
    fn from(lost: &'a LostKey) -> Self {
        LostKeyJson {
            keyspace: &lost.keyspace,
            key: lost.key.as_deref().map(BytesOut),
            file: &lost.file,
            offset: lost.offset,
        }
    }
}

pub(super) fn of<'a>(found: &'a Examination, next: &'a [String]) -> DoctorJson<'a> {
    DoctorJson {
        verdict: verdict_word(found.verdict),
        reasons: &found.reasons,
        next,
        in_use: found.in_use,
        clean: found.clean,
        refused: found.refused.as_deref(),
        store_id: hex::encode(found.store_id),
        synced_seq: found.synced_seq,
        last_seq: found.last_seq,
        records: found.records,
        keys: found.keys,
        manifest_rebuilt: found.manifest_rebuilt,
        manifests: found.manifests.iter().map(ManifestJson::from).collect(),
        segments: found.segments.iter().map(SegmentJson::from).collect(),
        cut: found.cut.iter().map(CutJson::from).collect(),
        damage: found.damage.iter().map(DamageJson::from).collect(),
        lost_keys: found.lost_keys.iter().map(LostKeyJson::from).collect(),
        lost_keys_total: found.lost_keys_total,
        leftovers: &found.leftovers,
        foreign_files: &found.foreign_files,
    }
}
