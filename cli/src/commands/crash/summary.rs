//! A run in one line of JSON; the field names are a public promise (docs/cli.md).

use std::collections::BTreeMap;
use std::path::Path;

use peercask::crash::{Case, Report, Violation};
use serde::Serialize;

use super::explore::Plan;
use crate::units;

#[derive(Serialize)]
pub(super) struct SummaryJson<'a> {
    verdict: String,
    ok: bool,
    mode: &'static str,
    seed: u64,
    states: u64,
    distinct: u64,
    states_per_s: f64,
    recovery_states: u64,
    repeated: u64,
    runs: u64,
    points: u64,
    points_whole: u64,
    /// Text: there may be more than a number in JSON can count.
    legal_states: String,
    failures: usize,
    /// How often calls failed, by kind of failure.
    faults: BTreeMap<&'static str, u64>,
    /// In how many states what was lost.
    losses: &'a BTreeMap<&'static str, u64>,
    sites: u64,
    sites_crashed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_coverage: Option<Vec<SyncJson>>,
    budget_used: bool,
    elapsed_ms: u64,
    violations: Vec<ViolationJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
}

#[derive(Serialize)]
struct SyncJson {
    site: String,
    call: &'static str,
    calls: u64,
    states: u64,
    bad: u64,
    first: Option<u64>,
}

#[derive(Serialize)]
struct ViolationJson<'a> {
    case: String,
    what: &'a str,
    story: &'a str,
    test: &'a str,
}

impl<'a> From<&'a Violation> for ViolationJson<'a> {
    fn from(violation: &'a Violation) -> Self {
        ViolationJson {
            case: violation.case.to_string(),
            what: &violation.what,
            story: &violation.story,
            test: &violation.test,
        }
    }
}

pub(super) fn of<'a>(report: &'a Report, plan: &Plan, kept: Option<&Path>) -> SummaryJson<'a> {
    let mut summary = plain(report, kept);
    if plan.coverage {
        let sites = report.sites.iter();
        summary.sync_coverage = Some(
            sites
                .filter_map(|((site, call), found)| {
                    found.without.as_ref().map(|without| SyncJson {
                        site: site.to_string(),
                        call: call.word(),
                        calls: found.calls,
                        states: without.states,
                        bad: without.bad,
                        first: without.first,
                    })
                })
                .collect(),
        );
    }
    summary
}

pub(super) fn of_replay<'a>(
    report: &'a Report,
    _case: &Case,
    kept: Option<&Path>,
) -> SummaryJson<'a> {
    SummaryJson {
        mode: "replay",
        ..plain(report, kept)
    }
}

fn plain<'a>(report: &'a Report, kept: Option<&Path>) -> SummaryJson<'a> {
    SummaryJson {
        verdict: report.verdict().to_string(),
        ok: report.verdict() == peercask::crash::Verdict::Survived,
        mode: "explore",
        seed: report.seed,
        states: report.states,
        distinct: report.distinct,
        states_per_s: report.states_per_s().round(),
        recovery_states: report.recovery_states,
        repeated: report.repeated,
        runs: report.runs,
        points: report.points,
        points_whole: report.points_whole,
        legal_states: report.legal_states.to_string(),
        failures: report.violations.len(),
        faults: faults_by_kind(report),
        losses: &report.losses,
        sites: units::wide(report.sites.len()),
        sites_crashed: sites_crashed(report),
        sync_coverage: None,
        budget_used: report.budget_used,
        elapsed_ms: units::whole_ms(report.elapsed),
        violations: report.violations.iter().map(ViolationJson::from).collect(),
        kept: kept.map(|dir| dir.display().to_string()),
    }
}

pub(super) fn faults_by_kind(report: &Report) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    for ((_, failure), met) in &report.faults {
        *kinds.entry(failure.word()).or_default() += met;
    }
    kinds
}

pub(super) fn sites_crashed(report: &Report) -> u64 {
    let crashed = report.sites.values().filter(|site| site.crashed > 0);
    units::wide(crashed.count())
}
