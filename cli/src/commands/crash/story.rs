//! A run told to a person: what was tried, what held, and a violation as the story of what happened.

use std::path::Path;

use peercask::crash::{Case, Report, Verdict, Violation};

use super::explore::Plan;
use super::summary;
use crate::exit::Failure;
use crate::human::Table;
use crate::output::Output;
use crate::units::{self, count, counted};

pub(super) fn print(
    report: &Report,
    plan: &Plan,
    kept: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line(states_line(report))?;
    output.line(runs_line(report, plan))?;
    if !report.losses.is_empty() {
        let losses = report.losses.iter();
        let losses: Vec<String> = losses
            .map(|(kind, states)| format!("{kind} {}", count(*states)))
            .collect();
        output.line(format_args!(
            "what crashes did, in states: {}",
            losses.join(", ")
        ))?;
    }
    let faults: Vec<String> = summary::faults_by_kind(report)
        .into_iter()
        .map(|(kind, met)| format!("{kind} {}", count(met)))
        .collect();
    if !faults.is_empty() {
        output.line(format_args!("calls that failed: {}", faults.join(", ")))?;
    }
    output.line(format_args!(
        "{} of the engine changed the disk, crashed after at {}",
        counted(units::wide(report.sites.len()), "line"),
        count(summary::sites_crashed(report))
    ))?;
    if plan.coverage {
        print_coverage(report, output)?;
    }
    for (index, violation) in report.violations.iter().enumerate() {
        print_violation(violation, index == 0, output)?;
    }
    print_kept(kept, output)?;
    output.line(verdict_line(report.verdict()))
}

pub(super) fn print_replay(
    report: &Report,
    case: &Case,
    kept: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line(format_args!("case {case}"))?;
    if let Some(workload) = &case.workload {
        output.line(format_args!("steps {workload}"))?;
    }
    for violation in &report.violations {
        print_violation(violation, true, output)?;
    }
    print_kept(kept, output)?;
    output.line(match report.verdict() {
        Verdict::NotMeasured => {
            "NOT MEASURED: the run of this case has no such point; is the case of another release?"
        }
        verdict => verdict_line(verdict),
    })
}

fn print_kept(kept: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let Some(dir) = kept else { return Ok(()) };
    let dir = dir.display();
    output.line(format_args!(
        "the state is kept in {dir}; `peercask doctor {dir}` tells what it proves, opening changes it"
    ))
}

fn states_line(report: &Report) -> String {
    format!(
        "{} judged in {} ({} a second): {} different, {} left by a crash within a recovery",
        counted(report.states, "crash state"),
        units::duration(report.elapsed),
        count(units::whole_per_second(report.states, report.elapsed)),
        count(report.distinct),
        count(report.recovery_states)
    )
}

fn runs_line(report: &Report, plan: &Plan) -> String {
    let legal = report.legal_states;
    format!(
        "{}, crashed at {}, {} of them in every one of their legal states ({}{legal} in all); seed {}",
        counted(report.runs, "workload"),
        counted(report.points, "call"),
        count(report.points_whole),
        if legal == u128::MAX { "more than " } else { "" },
        plan.seed
    )
}

fn print_coverage(report: &Report, output: &mut Output) -> Result<(), Failure> {
    let heads = [
        "sync coverage: without the sync at",
        "call",
        "states",
        "bad",
        "noticed after",
    ];
    let mut table = Table::headed(2, &heads);
    let (mut tried, mut useless) = (0_u64, 0);
    for ((site, call), found) in &report.sites {
        let Some(without) = &found.without else {
            continue;
        };
        tried += 1;
        useless += u64::from(without.bad == 0);
        table.row(vec![
            site.to_string(),
            call.word().to_owned(),
            count(without.states),
            count(without.bad),
            without.first.map_or_else(|| "never".to_owned(), count),
        ]);
    }
    if tried == 0 {
        return output.line("sync coverage: no line was tried");
    }
    for line in table.lines() {
        output.line(line)?;
    }
    if useless > 0 {
        let lines = counted(useless, "line");
        output.line(format_args!(
            "{lines} could lose the sync unnoticed: not tried enough, or another sync does the same"
        ))?;
    }
    Ok(())
}

fn print_violation(
    violation: &Violation,
    with_test: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    output.line("")?;
    output.line(format_args!("VIOLATION: {}", violation.what))?;
    for line in violation.story.lines() {
        output.line(format_args!("  {line}"))?;
    }
    output.line(format_args!(
        "see it again: peercask crash --replay '{}'",
        violation.case
    ))?;
    if with_test {
        output.line("as a test:")?;
        for line in violation.test.lines() {
            output.line(format_args!("  {line}"))?;
        }
    }
    output.line("")
}

fn verdict_line(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Survived => {
            "survived: nothing acknowledged was lost, nothing deleted came back, every state opened"
        }
        Verdict::Violated => "VIOLATED",
        Verdict::NotMeasured => "NOT MEASURED: no state was judged, and that proves nothing",
    }
}
